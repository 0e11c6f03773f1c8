"""Watch: pass signals on and bury the dead until supervisord ends.

Signals are blocked and waited for, so there is no handler in which anything could go wrong. Only this module waits
for children after hand-over: whoever else did would lose exit statuses to it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from . import log
from .paths import Paths

STOP = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})
PASSED_ON = frozenset({signal.SIGUSR2})
"""supervisord reopens its logs."""
WATCHED = STOP | PASSED_ON | {signal.SIGCHLD, signal.SIGHUP, signal.SIGUSR1}

ORDERLY_STOP = signal.SIGRTMIN + 3
"""Tells the listener to stop everything in order (what systemd calls halt)."""

# Docker kills after 10 s: by then everything must have been told, waited for and buried.
ORDERLY_SECONDS = 8.0
"""How long the listener may take, before supervisord stops what is left in its own order."""
HURRIED_SECONDS = 1.0
"""How long supervisord may take then, before everything is killed."""


def block_signals() -> None:
    """From here on signals wait for `watch`."""
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)


def watch(supervisord: int, where: Paths) -> int:
    """Wait until supervisord ends; return its exit status as a shell would (128 + n for signal n)."""
    stop = Stop(supervisord, where)
    while True:
        information = signal.sigtimedwait(WATCHED, stop.patience())
        number = information.si_signo if information else None
        if number in STOP or stop.overdue:
            stop.go_on()
        elif number in PASSED_ON:
            os.kill(supervisord, number)
        for pid, status in reap():
            if pid == supervisord:
                return status


class Stop:
    """How far stopping has come: in order, hurried, by force. Each further request, or patience's end, goes one on."""

    def __init__(self, supervisord: int, where: Paths) -> None:
        self._supervisord = supervisord
        self._where = where
        self._stage = 0
        self._next = float("inf")

    def patience(self) -> float:
        """Seconds until the next stage begins by itself; a day when nobody asked to stop."""
        return min(max(0.0, self._next - time.monotonic()), 86400.0)

    @property
    def overdue(self) -> bool:
        """Whether the present stage has had its time."""
        return time.monotonic() >= self._next

    def go_on(self) -> None:
        """Begin the next stage."""
        self._stage += 1
        listener = listener_pid(self._where, self._supervisord)
        if self._stage == 1 and listener:
            log.info("stop.requested", way="in order", seconds=ORDERLY_SECONDS)
            os.kill(listener, ORDERLY_STOP)
            self._next = time.monotonic() + ORDERLY_SECONDS
        elif self._stage <= 2:
            self._stage = 2
            log.warning("stop.hurried", way="supervisord stops what is left", seconds=HURRIED_SECONDS)
            os.kill(self._supervisord, signal.SIGTERM)
            self._next = time.monotonic() + HURRIED_SECONDS
        else:
            log.error("stop.forced", way="everything is killed")
            os.kill(self._supervisord, signal.SIGKILL)
            self._next = float("inf")


def reap() -> Iterator[tuple[int, int]]:
    """Bury every dead child; yield its process id and exit status."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        code = os.waitstatus_to_exitcode(status)
        yield pid, code if code >= 0 else 128 - code


def listener_pid(where: Paths, supervisord: int) -> int:
    """Return the listener's process id, or 0 when it is not there to be told anything."""
    try:
        pid = int(where.listener_pid.read_text())
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError):
        return 0
    return pid if parent == supervisord else 0
