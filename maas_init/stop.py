"""Stop: end what is left, leave the last words, return the exit code."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from . import files, lastwords, log, loglines, watch
from .errors import ExitCode
from .paths import Paths

GRACE_SECONDS = 0.5
"""What is left when everything was asked to stop has had its time."""
GRACE_UNEXPECTED = 7.0
"""When supervisord was killed nobody has been asked yet, and the database wants to end well."""


def bury_the_rest(*, expected: bool) -> None:
    """End every process that outlived supervisord: politely, then by force.

    `expected` says whether everything had been asked to stop.
    """
    grace = GRACE_SECONDS if expected else GRACE_UNEXPECTED
    # INT after TERM: PostgreSQL would wait for its clients, which nobody ends any more.
    for numbers in ((signal.SIGTERM, signal.SIGINT), (signal.SIGKILL,)):
        for number in numbers:
            _tell_the_rest(number)
        deadline = time.monotonic() + grace
        while time.monotonic() < deadline:
            for _ in watch.reap():
                pass
            if not _children():
                return
            signal.sigtimedwait({signal.SIGCHLD}, 0.05)


def _tell_the_rest(number: signal.Signals) -> None:
    if os.getpid() == 1:
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, number)
        return
    import psutil

    # Others than ours may be here as well. What lost its parent is a child of ours (watch.adopt_orphans).
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)


def _children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def last_words(where: Paths, supervisord_status: int, began: str) -> int:
    """Say how it ended, in the log and in a file, and return the exit code: the listener's reason if it left one.

    `began` is when this life of the container did, as records of the log carry it.
    """
    found = files.read_json(where.exit_reason) or {}
    code = int(found.get("code", supervisord_status))
    reason = found.get("reason", "supervisord ended")
    say = log.info if code == ExitCode.STOPPED else log.error
    ended = loglines.now()
    badly = lastwords.since(where, began)
    for sentence in badly:
        log.warning("service.ended", how=sentence)
    try:
        head = f"the container ended with code {code} at {ended}: {reason}\nit began at {began}"
        lastwords.leave(where, lastwords.CONTAINER, ended, head, badly)
    except OSError as error:
        log.warning("last_words.not_kept", reason=error.strerror)
    say("container.stopped", code=code, reason=reason)
    return code
