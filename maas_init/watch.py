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
PATIENCE_SECONDS = 9.0
"""How long all of it may take, before everything is killed."""
LOOK_EVERY = 0.5
"""Seconds between two looks whether it is still the same listener that was told."""


def block_signals() -> None:
    """From here on signals wait for `watch`."""
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)


def watch(supervisord: int, where: Paths) -> int:
    """Wait until supervisord ends; return its exit status as a shell would (128 + n for signal n).

    A supervisord that dies of the signal with which we stop it had not begun to listen: that is a stop like any other.
    """
    stop = Stop(supervisord, where)
    while True:
        information = signal.sigtimedwait(WATCHED, stop.patience())
        number = information.si_signo if information else None
        if number in STOP:
            stop.go_on()
        elif number in PASSED_ON:
            os.kill(supervisord, number)
        for pid, status in reap():
            if pid == supervisord:
                return 0 if stop.asked and status == 128 + signal.SIGTERM else status
        stop.keep_on()


class Stop:
    """How far stopping has come: in order, hurried, by force. A further request goes one stage on, and so does time."""

    def __init__(self, supervisord: int, where: Paths) -> None:
        self._supervisord = supervisord
        self._where = where
        self._stage = 0
        self._began = 0.0
        self._told = 0

    @property
    def asked(self) -> bool:
        """Whether anybody asked to stop."""
        return self._stage > 0

    def patience(self) -> float:
        """Seconds until `keep_on` has something to do; a day when nobody asked to stop."""
        return LOOK_EVERY if self.asked else 86400.0

    def go_on(self) -> None:
        """Begin the next stage."""
        self._stage += 1
        if self._stage == 1:
            self._began = time.monotonic()
            log.info("stop.requested", way="in order", seconds=ORDERLY_SECONDS)
            if not self._tell_listener():
                self.go_on()
        elif self._stage == 2:
            left = max(0.0, self._began + PATIENCE_SECONDS - time.monotonic())
            log.warning("stop.hurried", way="supervisord stops what is left", seconds=left)
            os.kill(self._supervisord, signal.SIGTERM)
        elif self._stage == 3:
            log.error("stop.forced", way="everything is killed")
            os.kill(self._supervisord, signal.SIGKILL)

    def keep_on(self) -> None:
        """Do what time demands: the next stage, or telling a listener that took the place of the one that was told."""
        passed = time.monotonic() - self._began
        if self._stage == 1 and passed >= ORDERLY_SECONDS:
            self.go_on()
        elif self._stage == 1:
            self._tell_listener()
        elif self._stage == 2 and passed >= PATIENCE_SECONDS:
            self.go_on()

    def _tell_listener(self) -> bool:
        listener = listener_pid(self._where, self._supervisord)
        if listener and listener != self._told:
            self._told = listener
            os.kill(listener, ORDERLY_STOP)
        return listener != 0


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
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except (OSError, ValueError):
        return 0
    return pid if int(parent) == supervisord and state != "Z" else 0
