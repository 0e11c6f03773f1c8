"""Bootstrap: everything MAAS needs before its first daemon may start, once for each start of the container.

Every step finds out by itself whether it has anything to do, and may be cut off at any point: the next start resumes
there. What takes MAAS's own programs, seconds each, is noted in a journal when it is done; see `journal`.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from types import FrameType

import psycopg

from .. import database, log
from ..errors import MaasInitError
from ..paths import Paths
from ..settings import Settings
from . import admin, configuration, dns, reach, region, schema
from .work import PYTHON, Maas, Work, tell

STEPS: tuple[tuple[str, Callable[[Work], bool]], ...] = (
    ("configuration", configuration.write),
    ("dns", dns.set_up),
    ("schema", schema.upgrade),
    ("admin", admin.create),
    ("settings", region.apply),
)
"""In this order, after the database answers. Each returns whether it changed anything."""


def run(settings: Settings, paths: Paths, *, python: str = PYTHON) -> None:
    """Wait for PostgreSQL, then take every step.

    `python` is the interpreter that has MAAS's modules.

    Raises DatabaseUnavailable, CommandFailed or MaasInitError; SystemExit on SIGTERM.
    """
    logger = log.bound(phase="bootstrap")
    began = time.monotonic()
    on_term = signal.signal(signal.SIGTERM, _end)
    # As maas-region does: what its commands create is for MAAS's group and nobody else.
    umask = os.umask(0o007)
    maas = Maas(settings, paths, python)
    changed = []
    try:
        with reach.database(settings, paths) as connection:
            reach.turn(connection, paths)
            for name, step in STEPS:
                tell(paths, name, f"checking {name}")
                if step(Work(settings, paths, maas, connection)):
                    changed.append(name)
    except psycopg.OperationalError as error:
        # It was there: that is no reason to end the container, and the next attempt waits for it again.
        raise MaasInitError(f"lost the database half-way: {database.classify(str(error))[1]}") from error
    finally:
        os.umask(umask)
        signal.signal(signal.SIGTERM, on_term)
    tell(paths, "done", "done")
    if changed:
        logger.info("bootstrap.finished", changed=",".join(changed), seconds=time.monotonic() - began)
    else:
        logger.info("bootstrap.finished", changed="nothing to do", seconds=time.monotonic() - began)


def _end(number: int, _frame: FrameType | None) -> None:
    """Leave through every `finally`: files with passwords are removed, and programs that we started are ended."""
    raise SystemExit(128 + number)
