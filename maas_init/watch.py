"""Watch: pass signals on, bury the dead and see that the listener is not stuck, until supervisord ends.

Signals are blocked and waited for, so there is no handler in which anything could go wrong. Only this module waits
for children after hand-over: whoever else did would lose exit statuses to it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from . import files, log, signals
from .errors import MaasInitError
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
HEARD_WITHIN = 2.0
"""Seconds in which the listener says that it is stopping; one that does not is stuck, and another one does it."""

STUCK_AFTER = 20.0
"""Seconds without a sign of life after which the listener is killed: it gives one every 5, and healthcheck.sh
distrusts what is older than 30."""
BEAT_EVERY = 5.0
"""Seconds between two looks at it."""

ORPHANS_AFTER, ORPHANS_EVERY = 5.0, 600.0
"""Seconds after the first orphan when their number is told, and between two such lines at least."""


_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Be the parent of what loses its own, also where another program is process 1 (`docker run --init`)."""
    if os.getpid() != 1:
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def block_signals() -> None:
    """From here on signals wait for `watch`."""
    signals.hear_no_more()
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)


class End(NamedTuple):
    """How supervisord ended."""

    status: int
    """Its exit status as a shell would tell it: 128 + n for signal n."""
    wished: bool
    """Whether anybody had asked to stop."""


def watch(supervisord: int, where: Paths, configure_again: Callable[[], list[Path]]) -> End:
    """Wait until supervisord ends; on SIGHUP `configure_again` writes all files anew and returns those that changed.

    A supervisord that dies of the signal with which we stop it had not begun to listen: that is a stop like any other.
    """
    stop, heart, orphans = Stop(supervisord, where), Heart(supervisord, where), Orphans()
    while True:
        information = signal.sigtimedwait(WATCHED, stop.patience())
        number = information.si_signo if information else None
        if number in STOP:
            stop.go_on()
        elif number in PASSED_ON:
            os.kill(supervisord, number)
        elif number == signal.SIGUSR1:
            tell_status(where)
        elif number == signal.SIGHUP and not stop.asked:
            reload(supervisord, where, configure_again)
        for pid, status in reap():
            if pid == supervisord:
                return End(0 if stop.asked and status == 128 + signal.SIGTERM else status, stop.asked)
            orphans.add()
        stop.keep_on()
        orphans.tell()
        if not stop.asked:
            heart.listen()


class Stop:
    """How far stopping has come: in order, hurried, by force. A further request goes one stage on, and so does time."""

    def __init__(self, supervisord: int, where: Paths) -> None:
        self._supervisord = supervisord
        self._where = where
        self._stage = 0
        self._began = 0.0
        self._told = 0
        self._told_at = 0.0
        self._replaced = False

    @property
    def asked(self) -> bool:
        """Whether anybody asked to stop."""
        return self._stage > 0

    def patience(self) -> float:
        """Seconds until there is something to do, also when no signal comes."""
        return LOOK_EVERY if self.asked else BEAT_EVERY

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
            self._replace_who_does_not_hear()
        elif self._stage == 2 and passed >= PATIENCE_SECONDS:
            self.go_on()

    def _tell_listener(self) -> bool:
        listener = listener_pid(self._where, self._supervisord)
        if listener and listener != self._told:
            self._told, self._told_at = listener, time.monotonic()
            os.kill(listener, ORDERLY_STOP)
        return listener != 0

    def _replace_who_does_not_hear(self) -> None:
        """Kill a listener that was told and does nothing, once: else no time would be left for the database."""
        if self._replaced or time.monotonic() - self._told_at < HEARD_WITHIN:
            return
        self._replaced = True
        listener = listener_pid(self._where, self._supervisord)
        if listener and not self._is_stopping():
            log.error("listener.stuck", pid=listener, remedy="it is killed, and the next one stops everything")
            os.kill(listener, signal.SIGKILL)

    def _is_stopping(self) -> bool:
        try:
            return self._where.health.read_text().startswith("stopping ")
        except OSError:
            return False


class Heart:
    """Whether the listener gives signs of life; one that does not is killed, and supervisord starts another."""

    def __init__(self, supervisord: int, where: Paths) -> None:
        self._supervisord = supervisord
        self._where = where
        self._look_at = 0.0
        self._doubted = 0

    def listen(self) -> None:
        """Look at most every BEAT_EVERY seconds; only who is silent at two looks is stuck.

        After a sleep of the whole machine the last sign of life is old, and the next one comes at once.
        """
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + BEAT_EVERY
        listener, silent = listener_pid(self._where, self._supervisord), self._silent_for()
        if not listener or silent < STUCK_AFTER:
            self._doubted = 0
        elif listener != self._doubted:
            self._doubted = listener
        else:
            log.error("listener.stuck", pid=listener, silent_for=silent, remedy="it is killed and started anew")
            os.kill(listener, signal.SIGKILL)
            self._doubted = 0

    def _silent_for(self) -> float:
        """Return the seconds since the last sign of life; 0 before the first."""
        try:
            written = float(self._where.health.read_text().split()[1])
        except (OSError, ValueError, IndexError):
            return 0.0
        return time.clock_gettime(time.CLOCK_BOOTTIME) - written


class Orphans:
    """What lost its parent became our child and ended: how many, told now and then in one line."""

    def __init__(self) -> None:
        self._buried = 0
        self._tell_at = 0.0

    def add(self) -> None:
        if not self._buried:
            self._tell_at = max(self._tell_at, time.monotonic() + ORPHANS_AFTER)
        self._buried += 1

    def tell(self) -> None:
        now = time.monotonic()
        if self._buried and now >= self._tell_at:
            log.info("orphans.buried", number=self._buried)
            self._buried, self._tell_at = 0, now + ORPHANS_EVERY


def reload(supervisord: int, where: Paths, configure_again: Callable[[], list[Path]]) -> None:
    """Write the configuration anew, from what the variables and the files they name say now; have it used."""
    try:
        changed = configure_again()
    except (MaasInitError, OSError) as error:
        log.error("reload.refused", reason=str(error), remedy="what was used before is still used")
        return
    # They are added to what a listener that is away has not heard of yet.
    known = files.read_json(where.changed) or []
    files.write_json(where.changed, [*known, *map(os.fspath, changed)], sync=False)
    listener = listener_pid(where, supervisord)
    if listener:
        os.kill(listener, signal.SIGHUP)


def tell_status(where: Paths) -> None:
    """Print how everything is, a line for each service, as the listener said it last."""
    found = files.read_json(where.status)
    if not found:
        log.warning("status.unknown", reason="the health listener has not written it yet")
        return
    log.info("status.told", level=found["level"], summary=found["summary"], uptime=found["uptime"])
    for name, service in found["services"].items():
        log.info("service.told", service=name, level=service["level"], because=service["because"])


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
