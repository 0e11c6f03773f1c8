"""A backup as the settings want it: made, required, or skipped; its progress is told."""

from __future__ import annotations

import time

from .. import backups, log
from ..database import Connection
from ..paths import Paths
from ..settings import RegionSettings
from . import journal
from .work import tell

TELL_EVERY = 10.0
"""Seconds between two log lines about progress."""


def make(settings: RegionSettings, connection: Connection, paths: Paths, reason: str) -> None:
    """Back up the database unless that is not wanted, or cannot be and need not be.

    Raises CannotBackUp when it is required and no pg_dump here is new enough, MaasInitError when it fails.
    """
    logger = log.bound(phase="bootstrap")
    if settings.backup == "off":
        logger.warning("backup.skipped", reason="MAAS_INIT_BACKUP is off")
        return
    began = time.monotonic()
    maas = str(journal.read(paths).get("version", "unknown"))
    tell(paths, "backup", "backing up the database")
    try:
        path = backups.save(settings, connection, paths, f"{maas}-{reason}", Advance(paths, "backing up the database"))
    except backups.CannotBackUp as failure:
        if settings.backup == "required":
            raise
        logger.warning("backup.impossible", reason=str(failure.args[0]), remedy=failure.hint)
        return
    megabytes = path.stat().st_size / 1e6
    logger.info("backup.made", path=path, megabytes=megabytes, seconds=time.monotonic() - began)


class Advance:
    """Tells how many tables of how many are done."""

    def __init__(self, paths: Paths, doing: str) -> None:
        self._paths = paths
        self._doing = doing
        self._logged = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        summary = f"{self._doing}: table {done} of {total}"
        tell(self._paths, "backup", summary, done=done, total=total)
        if time.monotonic() - self._logged >= TELL_EVERY:
            self._logged = time.monotonic()
            log.bound(phase="bootstrap").info("backup.advanced", progress=summary)
