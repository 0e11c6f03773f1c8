"""Bootstrap: everything MAAS needs before its first daemon may start, once for each start of the container.

Every step finds out by itself whether it has anything to do, and may be cut off at any point: the next start resumes
there. What takes MAAS's own programs, seconds each, is noted in a journal when it is done; see `journal`.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from types import FrameType
from typing import TypeVar

import psycopg

from .. import database, log
from ..errors import MaasInitError
from ..paths import Paths
from ..settings import RegionSettings, Settings
from . import admin, configuration, dns, leftovers, reach, region, schema
from .work import PYTHON, Maas, RegionWork, Work, tell

REGION_STEPS: tuple[tuple[str, Callable[[RegionWork], bool]], ...] = (
    ("schema", schema.upgrade),
    ("configuration", configuration.write),
    ("dns", dns.set_up),
    ("admin", admin.create),
    ("settings", region.apply),
)
"""In this order, after the database answers. Each returns whether it changed anything.

The schema is first: where the database belongs to a newer MAAS, nothing at all is changed."""

RACK_STEPS: tuple[tuple[str, Callable[[Work], bool]], ...] = (
    ("configuration", configuration.write),
    ("dns", dns.set_up),
    ("secret", region.seed_secret),
)
"""What a rack controller without a region needs."""

AnyWork = TypeVar("AnyWork", bound=Work)


def run(settings: Settings, paths: Paths, *, python: str = PYTHON) -> None:
    """Take every step that this container's role has; a region waits for PostgreSQL before.

    `python` is the interpreter that has MAAS's modules.

    Raises DatabaseUnavailable, CommandFailed or MaasInitError; SystemExit on SIGTERM.
    """
    logger = log.bound(phase="bootstrap")
    began = time.monotonic()
    on_term = signal.signal(signal.SIGTERM, _end)
    # As maas-region does: what its commands create is for MAAS's group and nobody else.
    umask = os.umask(0o007)
    maas = Maas(settings, paths, python)
    try:
        if isinstance(settings, RegionSettings):
            with reach.database(settings, paths) as connection:
                reach.turn(connection, paths)
                leftovers.end(paths)
                changed = _take(REGION_STEPS, RegionWork(settings, paths, maas, connection))
        else:
            changed = _take(RACK_STEPS, Work(settings, paths, maas))
    except psycopg.OperationalError as error:
        # It was there: that is no reason to end the container, and the next attempt waits for it again.
        raise MaasInitError(
            f"cannot finish: the database went away half-way: {database.classify(str(error))[1]}"
        ) from error
    finally:
        os.umask(umask)
        signal.signal(signal.SIGTERM, on_term)
    tell(paths, "done", "done")
    if changed:
        logger.info("bootstrap.finished", changed=",".join(changed), seconds=time.monotonic() - began)
    else:
        logger.info("bootstrap.finished", changed="nothing to do", seconds=time.monotonic() - began)


def _take(steps: Iterable[tuple[str, Callable[[AnyWork], bool]]], work: AnyWork) -> list[str]:
    """Take the steps; return the names of those that changed anything."""
    changed = []
    for name, step in steps:
        tell(work.paths, name, f"checking {name}")
        if step(work):
            changed.append(name)
    return changed


def _end(number: int, _frame: FrameType | None) -> None:
    """Leave through every `finally`: files with passwords are removed, and programs that we started are ended."""
    raise SystemExit(128 + number)
