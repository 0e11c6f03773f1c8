"""A dump of the database before its schema is upgraded: there is no way back from an upgrade but this."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

from .. import commands, log
from .. import database as postgres
from ..errors import CommandFailed, MaasInitError
from ..paths import Paths
from ..settings import RegionSettings
from .work import tell

KEPT = 3
"""Dumps; the oldest goes when a newer one is complete."""

TOO_OLD = "server version mismatch"
"""pg_dump's words when the server is newer than itself."""

TELL_EVERY = 0.5
"""Seconds between two writes of the progress file."""


def make(settings: RegionSettings, paths: Paths, version: str) -> Path | None:
    """Dump the database and return the file; None where the settings allow to go on without.

    `version` is that of the MAAS which is about to upgrade it.

    Raises MaasInitError when there must be a dump and cannot be.
    """
    logger = log.bound(phase="bootstrap")
    if settings.backup == "off":
        logger.warning("backup.skipped", reason="MAAS_INIT_BACKUP is off")
        return None
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    file = paths.backups / f"{settings.database.name}-{stamp}-before-{re.sub(r'[^0-9A-Za-z.]+', '_', version)}.dump"
    began = time.monotonic()
    tell(paths, "backup", "dumping the database before the upgrade")
    try:
        dump(settings, paths, file)
    except (CommandFailed, OSError) as failure:
        if settings.backup == "auto" and TOO_OLD in str(failure):
            logger.warning("backup.skipped", reason="the server is newer than pg_dump in this image")
            return None
        raise MaasInitError(
            f"cannot upgrade the database: it could not be dumped before; nothing was changed\n{failure}",
            hint=f"make room in {paths.backups}, or set MAAS_INIT_BACKUP=off when you have a dump of your own",
        ) from failure
    logger.info("backup.made", file=file, bytes=file.stat().st_size, seconds=time.monotonic() - began)
    for old in dumps(paths)[KEPT:]:
        old.unlink(missing_ok=True)
        logger.info("backup.removed", file=old)
    return file


def dumps(paths: Paths) -> list[Path]:
    """Return the complete dumps, newest first."""
    return sorted(paths.backups.glob("*.dump"), key=lambda file: file.stat().st_mtime, reverse=True)


def dump(settings: RegionSettings, paths: Paths, file: Path) -> None:
    """Write a dump that only this user may read, whole or not at all. Raises CommandFailed."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in file.parent.glob(".*.part"):  # of a dump that was cut off
        left.unlink(missing_ok=True)
    part = file.with_name(f".{file.name}.part")
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        tool(
            settings,
            paths,
            "pg_dump",
            "--format=custom",
            "--verbose",
            f"--file={part}",
            *place(settings, paths, settings.database.name),
        )
        with part.open("rb") as stream:
            os.fsync(stream.fileno())
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def tool(settings: RegionSettings, paths: Paths, name: str, *arguments: str) -> None:
    """Run one of PostgreSQL's programs as MAAS's user and tell how many tables it has come to.

    Raises CommandFailed, also when it makes no progress.
    """
    done, told = 0, 0.0

    def hear(line: str) -> None:
        nonlocal done, told
        done += bool(re.search(r"(dumping contents of|processing data for) table", line))
        if done and time.monotonic() > told + TELL_EVERY:
            told = time.monotonic()
            doing = "dumping" if name == "pg_dump" else "restoring"
            tell(paths, "backup", f"{doing} table {done} of the database")

    environ = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PGPASSWORD": settings.database.password.reveal()}
    commands.run(
        *(os.fspath(_program(paths, name)), "--no-password", *arguments),
        environ=environ,
        on_line=hear,
        silent_within=settings.migration_timeout,
    )


def _program(paths: Paths, name: str) -> Path:
    """Return PostgreSQL's program, the newest installed: an older one may not read what a newer server has."""
    found = [path for path in paths.at("/usr/lib/postgresql").glob(f"*/bin/{name}") if path.parts[-3].isdecimal()]
    if not found:
        raise CommandFailed(f"cannot run {name}: it is not installed in this image")
    return max(found, key=lambda path: int(path.parts[-3]))


def place(settings: RegionSettings, paths: Paths, name: str) -> list[str]:
    """Return the options that lead PostgreSQL's programs to the database of this name."""
    wanted = settings.database
    return [
        f"--host={postgres.host(wanted, paths)}",
        f"--port={wanted.port}",
        f"--username={wanted.user}",
        f"--dbname={name}",
    ]
