"""The part that runs inside supervisord: wakes it at every signal, ends what a dead service leaves, labels lines.

Stock supervisord sleeps in poll() for up to a second whatever happens to its children: since Python 3.5 a signal no
longer ends the call. So a crash is noticed, and a stop acted on, up to two seconds late, and the first service starts
a second after supervisord itself. Python can write each signal's number into a pipe; with that pipe among the things
supervisord polls, it wakes at once.

When a service's main process dies, supervisord forgets the rest of it: nginx's workers keep the ports, and its
replacement cannot have them. systemd ends the whole control group; every service of supervisord has a process group.

What the services print is the business of output.py. Nothing of supervisord's files is changed.

Loaded by `[rpcinterface:maas_init] supervisor.rpcinterface_factory = maas_init.plugin:make`.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import Any

from supervisor import events
from supervisor.states import SupervisorStates

from . import output


class Wakeup:
    """A pipe end in supervisord's socket map; the methods are those of its dispatchers."""

    def __init__(self, supervisord: Any) -> None:
        self._supervisord = supervisord
        self._map = supervisord.options.get_socket_map()
        self._read_end, self._write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._map[self._read_end] = self
        signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        events.subscribe(events.SupervisorStoppingEvent, self._stopping)
        os.write(self._write_end, b"\0")  # do not sleep before the first services are started

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def handle_read_event(self) -> None:
        signals = sorted(set(os.read(self._read_end, 65536)))
        # supervisord handles one kind of signal a turn: wake once more for each of the others.
        again = signals[1:]
        # It buries the dead at the end of a turn, a hundred at a time, and starts replacements in the next one.
        if signal.SIGCHLD in signals or _somebody_died():
            again.append(0)
        os.write(self._write_end, bytes(again))

    def handle_error(self) -> None:
        raise  # noqa: PLE0704 - called inside supervisord's except block: an error here is a bug to be seen

    def _stopping(self, _event: object) -> None:
        if self._supervisord.options.mood == SupervisorStates.RESTARTING:
            # A reload closes every descriptor, forgets all subscriptions and loads us again.
            signal.set_wakeup_fd(-1)
            self._map.pop(self._read_end, None)
            os.close(self._read_end)
            os.close(self._write_end)


def _somebody_died() -> bool:
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


def _end_what_is_left(event: Any) -> None:
    """Kill the process group of a service whose main process has just been buried, before it is started again.

    While any member lives, the kernel gives the group's number to nobody else.
    """
    leader = event.process.pid
    if leader:  # nothing was started; and 0 would mean supervisord's own group
        with contextlib.suppress(ProcessLookupError):
            os.killpg(leader, signal.SIGKILL)


class NoMethods:
    """supervisord wants an object with XML-RPC methods; we have none to offer."""


def make(supervisord: Any, log_format: str = "console") -> NoMethods:
    """Entry point for supervisord; `log_format` is one of loglines.FORMATS."""
    Wakeup(supervisord)
    output.take(supervisord, log_format)
    for ended in (events.ProcessStateExitedEvent, events.ProcessStateStoppedEvent, events.ProcessStateBackoffEvent):
        events.subscribe(ended, _end_what_is_left)
    return NoMethods()
