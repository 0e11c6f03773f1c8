"""The part that runs inside supervisord: wakes it at every signal, paces restarts, ends what a dead service leaves.

Stock supervisord sleeps in poll() for up to a second whatever happens to its children: since Python 3.5 a signal no
longer ends the call. So a crash is noticed, and a stop acted on, up to two seconds late, and the first service starts
a second after supervisord itself. Python can write each signal's number into a pipe; with that pipe among the things
supervisord polls, it wakes at once.

It also starts again at once whatever ran for a second, however often that dies, waits seconds before it tries anew what
died younger, and after a few tries gives up for good. Here all that exits by itself is paced alike (retry.py), by means
of supervisord's own state for it, BACKOFF.

When a service's main process dies, supervisord forgets the rest of it: nginx's workers keep the ports, and its
replacement cannot have them. systemd ends the whole control group; every service of supervisord has a process group.

What an operator asks of supervisord is done there before anybody else knows. From a process that stopped nobody could
tell who wanted it, so it is noted where it is said: whoever calls supervisord's own methods, as supervisorctl does, is
an operator; the health listener has methods of its own, and they give way to what an operator asked later.

Each service has the rights and the environment that its file names, and nothing else of what supervisord has. It is
supervisord that passes them on, so it must have them all.

What the services print is the business of output.py. Nothing of supervisord's files is changed.

Loaded by `[rpcinterface:supervisor] supervisor.rpcinterface_factory = maas_init.plugin:operators` and
`[rpcinterface:maas_init] supervisor.rpcinterface_factory = maas_init.plugin:make`.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import time
from collections import defaultdict
from typing import Any

from supervisor import events
from supervisor.datatypes import RestartWhenExitUnexpected
from supervisor.process import Subprocess
from supervisor.rpcinterface import SupervisorNamespaceRPCInterface
from supervisor.states import ProcessStates, SupervisorStates
from supervisor.xmlrpc import Faults, RPCError

from . import confine, output
from .retry import Failures


@functools.cache  # a reload of supervisord makes us again in the same process
def _let_children_hear_signals() -> None:
    """See to it that a service which is stopped in the moment of its start ends.

    Between fork and exec a child has supervisord's handlers, which only note the signal: it would start, deaf to the
    stop, and be killed when the time for stopping is over.
    """
    mask: set[int] = set()

    def before() -> None:
        mask.update(signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals()))

    def after() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def in_child() -> None:
        signal.set_wakeup_fd(-1)
        for number in signal.valid_signals():
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.SIG_DFL)
        after()

    os.register_at_fork(before=before, after_in_parent=after, after_in_child=in_child)


# What each service may do and see.

CAPABILITIES: dict[str, set[str]] = {}
ENVIRONMENT: dict[str, set[str]] = {}
"""Of each service that its file gives any: the capabilities, and the variables that not all services see."""


@functools.cache  # as above
def _confine_children() -> None:
    """Let a child give up what it may not have where supervisord sets its user: right before it becomes the service.

    supervisord ends a child in which that fails.
    """
    stock = Subprocess.set_uid

    def set_uid(process: Any) -> Any:
        told = stock(process)
        name = process.config.name
        confine.keep_capabilities(CAPABILITIES.get(name, ()))
        for variable in _all(ENVIRONMENT) - ENVIRONMENT.get(name, set()):
            os.environ.pop(variable, None)
        return told

    Subprocess.set_uid = set_uid


def _all(given: dict[str, set[str]]) -> set[str]:
    return set().union(*given.values())


def _by_name(text: str) -> dict[str, set[str]]:
    """Return the sets that `NAME:this,that OTHER:this` describes (configure/supervisord.py)."""
    return {name: set(what.split(",")) for name, _, what in (word.partition(":") for word in text.split())}


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


# When what ended by itself is tried again.

FAILURES: dict[str, Failures] = defaultdict(Failures)
"""Of each service, on CLOCK_MONOTONIC."""


def _pace(event: Any) -> None:
    """Choose the time of the next try for what exited by itself, or could not even be started."""
    process, exited = event.process, isinstance(event, events.ProcessStateExitedEvent)
    config = process.config
    expected = config.autorestart is RestartWhenExitUnexpected and process.exitstatus in config.exitcodes
    if not config.autorestart or (exited and expected) or event.from_state == ProcessStates.EXITED:
        return
    failures, now = FAILURES[config.name], time.monotonic()
    failures.add(now, ran_for=max(0.0, process.laststop - process.laststart) if exited else 0.0)
    seconds = failures.delay(now, int.from_bytes(os.urandom(2), "big") / 0xFFFF)
    process.change_state(ProcessStates.BACKOFF)
    process.delay = time.time() + seconds if seconds else 0
    # supervisord gives up when the first is larger, and mends the delay by it when the clock is set back.
    process.backoff = config.startretries = int(seconds) + 1
    _wake_in(seconds)


def _wake_in(seconds: float) -> None:
    """Wake supervisord when something is due; it looks by itself each second."""
    left, _ = signal.getitimer(signal.ITIMER_REAL)
    if 0 < seconds < (left or 1.0):
        signal.setitimer(signal.ITIMER_REAL, seconds + 0.001, 0)


def _forget_failures(event: Any) -> None:
    FAILURES[event.process.config.name].forget()


def _let_it_hear(event: Any) -> None:
    """Let a process that somebody suspended hear that it shall stop."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(event.process.pid, signal.SIGCONT)


# How services end.

ENDINGS: dict[str, dict[str, Any]] = {}
"""How each service ended last; supervisord itself forgets the signal, and everything of what ended too quickly. One
that could not even be started has no process id and an error."""


@functools.cache  # as above
def _remember_endings() -> None:
    stock = Subprocess.finish

    def finish(process: Any, pid: int, status: int) -> None:
        wished = process.killing
        stock(process, pid, status)
        _note_ending(process, pid, code=os.waitstatus_to_exitcode(status), wished=wished)
        if process.state == ProcessStates.BACKOFF and not process.delay:
            process.transition()  # started at once, not in supervisord's next turn

    Subprocess.finish = finish


def _note_ending(process: Any, pid: int, *, code: int, wished: bool, error: str = "") -> None:
    at = process.laststop if pid else time.time()
    ENDINGS[process.config.name] = {
        "pid": pid,
        "code": code,
        "error": error,
        "wished": wished,
        "at": at,
        "lasted": max(0.0, at - process.laststart),
        "again_in": max(0.0, process.delay - at) if process.delay else 0.0,
    }


def _note_failed_start(event: Any) -> None:
    if not event.process.pid:
        _note_ending(event.process, 0, code=127, wished=False, error=str(event.process.spawnerr))


# What operators ask.

ASKED: dict[str, tuple[bool, float]] = {}
"""What an operator asked last of a service: to run or not, and when (CLOCK_MONOTONIC, which all processes share)."""


class _Starter(SupervisorNamespaceRPCInterface):  # type: ignore[misc]  # it has no types
    """supervisord's own methods; what waits for its next try gets it when somebody asks."""

    def startProcess(self, name: str, wait: bool = True) -> Any:  # noqa: N802 - supervisord's name
        _, process = self._getGroupAndProcess(name)
        if process is not None and process.get_state() == ProcessStates.BACKOFF:
            process.state = ProcessStates.STOPPED  # and nobody is told: who is stopped has its failures forgotten
        return super().startProcess(name, wait)


class Operators(_Starter):
    """The same for operators; what comes here is noted, whether it has an effect or not."""

    def startProcess(self, name: str, wait: bool = True) -> Any:  # noqa: N802
        self._note(name, on=True)
        return super().startProcess(name, wait)

    def stopProcess(self, name: str, wait: bool = True) -> Any:  # noqa: N802
        self._note(name, on=False)
        return super().stopProcess(name, wait)

    def getProcessInfo(self, name: str) -> Any:  # noqa: N802
        """Tell also what was asked (to run or not, and when; nothing when nobody did) and how it ended last."""
        info = super().getProcessInfo(name)
        return info | {"asked": ASKED.get(info["name"], ()), "ending": ENDINGS.get(info["name"], {})}

    def _note(self, name: str, *, on: bool) -> None:
        _, process = self._getGroupAndProcess(name)
        if process is not None:  # not a whole group: of that, each comes here by itself
            ASKED[process.config.name] = on, time.monotonic()
            FAILURES[process.config.name].forget()
            events.notify(events.RemoteCommunicationEvent("asked", process.config.name))


STARTED = (Faults.ALREADY_STARTED, Faults.SPAWN_ERROR)
"""No refusals: it runs already, or died within the call, and its state tells the rest."""


class Listener:
    """The health listener's methods: they act on a wish, and do nothing once an operator wished otherwise."""

    def __init__(self, supervisord: Any) -> None:
        self._stock = _Starter(supervisord)
        self._operators = Operators(supervisord)

    def processes(self) -> str:
        """Tell what getAllProcessInfo tells as JSON: XML would take both sides ten times as long."""
        return json.dumps(self._operators.getAllProcessInfo())

    def start(self, wished: str) -> str:
        """Start the processes that are named, each as was wished at that time, if that still holds.

        JSON both: when each name was wished, and the names whose failures are forgotten; why some could not be started.
        """
        refused = {}
        moments, anew = json.loads(wished)
        for name, moment in moments.items():
            try:
                if self._holds(name, moment, on=True):
                    if name in anew:
                        FAILURES[name].forget()
                    self._stock.startProcess(name, False)
            except RPCError as error:
                if error.code not in STARTED:
                    refused[name] = f"supervisord says {error.text}"
        return json.dumps(refused)

    def stop(self, name: str, wished: float) -> bool:
        """Stop a process as was wished at that time; return whether that still holds."""
        return self._holds(name, wished, on=False) and bool(self._stock.stopProcess(name, False))

    def _holds(self, name: str, wished: float, *, on: bool) -> bool:
        asked_on, asked_at = ASKED.get(name, (on, wished))
        return asked_on is on or asked_at <= wished


def operators(supervisord: Any) -> Operators:
    """Entry point for supervisord, in place of its own."""
    return Operators(supervisord)


def make(supervisord: Any, log_format: str = "console", **given: str) -> Listener:
    """Entry point for supervisord.

    `log_format` is one of loglines.FORMATS; what else is `given` are two files (output.Hidden), and what each service
    may do and see (`_by_name`).
    """
    CAPABILITIES.clear()
    CAPABILITIES.update(_by_name(given.get("ambient_capabilities", "")))
    ENVIRONMENT.clear()
    ENVIRONMENT.update(_by_name(given.get("pass_environment", "")))
    confine.forbid_new_privileges()
    confine.keep_capabilities(_all(CAPABILITIES))
    _confine_children()
    Wakeup(supervisord)
    _let_children_hear_signals()
    _remember_endings()
    output.take(supervisord, log_format, given.get("masks", ""), given.get("shared_secret", ""))
    signal.signal(signal.SIGALRM, lambda *_: None)  # it only wakes
    for ended in (events.ProcessStateExitedEvent, events.ProcessStateStoppedEvent, events.ProcessStateBackoffEvent):
        events.subscribe(ended, _end_what_is_left)
    for failed in (events.ProcessStateExitedEvent, events.ProcessStateBackoffEvent):
        events.subscribe(failed, _pace)
    events.subscribe(events.ProcessStateBackoffEvent, _note_failed_start)
    events.subscribe(events.ProcessStateStoppedEvent, _forget_failures)
    events.subscribe(events.ProcessStateStoppingEvent, _let_it_hear)
    return Listener(supervisord)
