"""What a bootstrap that was killed has left behind: ended before its successor starts the same again.

The kernel kills the commands of MAAS that it ran, but not what those had started, such as temporal-sql-tool.
"""

from __future__ import annotations

import psutil

from .. import log
from ..paths import Paths
from .work import MARK, mark

GONE_WITHIN = 10.0
"""Seconds that a killed process may take to end: it may be waiting for a disk."""


def end(paths: Paths) -> None:
    """Kill every process that bears this container's mark, and wait until it is gone."""
    wanted = mark(paths)
    left = [process for process in psutil.process_iter() if _mark_of(process) == wanted]
    for process in left:
        try:
            log.bound(phase="bootstrap").warning("leftover.ended", pid=process.pid, program=process.name())
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(left, timeout=GONE_WITHIN)


def _mark_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(MARK)
    except (psutil.Error, OSError):
        return None  # it ended, or is not ours to look at
