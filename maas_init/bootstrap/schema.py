"""MAAS's tables: created or upgraded with MAAS's own dbupgrade, when this very schema is not known to be finished."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .. import files, log
from ..database import Connection
from ..errors import CommandFailed, ExitCode, MaasInitError
from ..paths import Paths
from ..settings import RegionSettings
from . import backup, configuration, journal
from .work import RegionWork, tell

TELL_EVERY = 0.5
"""Seconds between two writes of the progress file."""

LOG_EVERY = 10.0
"""Seconds between two log lines about progress."""


def upgrade(work: RegionWork) -> bool:
    """Run dbupgrade unless the journal holds the fingerprint of what the database and the image hold.

    It also renews triggers, views and Temporal's tables, so a new version of MAAS runs it even without migrations.
    """
    logger = log.bound(phase="bootstrap")
    version = package_version(work.paths.at("/var/lib/dpkg/status"))
    present = rows(work.connection)
    if present and journal.read(work.paths).get("schema") == fingerprint(version, present):
        return False
    began = time.monotonic()
    tell(work.paths, "schema", "counting migrations")
    plan = _plan(work)
    refuse_newer(work, present, plan, version)
    pending = None if plan is None else sum(not applied for applied in plan.values())
    if present and pending != 0:
        backup.make(work.settings, work.paths, version)
    logger.info("schema.started", version=version, applied=len(present), pending="?" if pending is None else pending)
    progress = Progress(work.paths, pending)
    with private_environment(work.settings, work.paths) as environ:
        work.maas.run(
            "django", "dbupgrade", environ=environ, on_line=progress.hear, silent_within=work.settings.migration_timeout
        )
    journal.note(work.paths, schema=fingerprint(version, rows(work.connection)))
    logger.info("schema.finished", applied=progress.done, seconds=time.monotonic() - began)
    return True


def rows(connection: Connection) -> list[tuple[Any, ...]]:
    """Return Django's own record of migrations: application, name, time; empty before the first."""
    if connection.execute("SELECT to_regclass('django_migrations')").fetchone() == (None,):
        return []
    return connection.execute(
        "SELECT app, name, extract(epoch from applied)::text FROM django_migrations ORDER BY app, name, applied"
    ).fetchall()


def package_version(status: Path) -> str:
    """Return the installed version of MAAS's region from dpkg's records, or "unknown"."""
    try:
        text = "\n" + status.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "unknown"
    _, _, record = text.partition("\nPackage: maas-region-api\n")
    found = re.search(r"^Version: (\S+)$", record.partition("\n\n")[0], re.MULTILINE)
    return found[1] if found else "unknown"


def fingerprint(version: str, present: Iterable[tuple[Any, ...]]) -> str:
    """Return what stands for this schema: another version, or a database restored or emptied, has another one."""
    return journal.digest([version, [list(row) for row in present]])


def _plan(work: RegionWork) -> dict[str, bool] | None:
    """Return every migration that the image knows and whether it is applied; None when Django cannot say."""
    try:
        told = work.maas.run("django", "showmigrations", "--plan")
    except CommandFailed as failure:
        # dbupgrade will then tell why.
        log.bound(phase="bootstrap").warning("schema.unplanned", reason=str(failure).partition("\n")[0])
        return None
    lines = (re.match(r"\[([X ])\]\s+(\S+)", line) for line in told.splitlines())
    return {found[2]: found[1] == "X" for found in lines if found}


def refuse_newer(
    work: RegionWork, present: Iterable[tuple[Any, ...]], plan: dict[str, bool] | None, version: str
) -> None:
    """Raise DatabaseTooNew when migrations were applied that come after all that this image knows.

    Older ones that are unknown are nothing to fear: MAAS replaces long histories by a single migration now and then.
    """
    newest: dict[str, int] = {}
    for name in plan or ():
        app, _, migration = name.partition(".")
        newest[app] = max(newest.get(app, 0), _number(migration))
    unknown = [
        f"{app}.{name}"
        for app, name, *_ in present
        if app in newest and f"{app}.{name}" not in (plan or ()) and _number(name) > newest[app]
    ]
    if unknown:
        tell(work.paths, "schema", f"the database is newer than this image (MAAS {version})")
        raise DatabaseTooNew(
            f"cannot use the database: it is newer than this image (MAAS {version}), which does not know "
            f"{', '.join(unknown[:3])}{' and more' if len(unknown) > 3 else ''}; nothing was changed",
            hint=f"run the newer image again, or restore a dump made before the upgrade (in {work.paths.backups}) "
            "with the newer image and maas-init restore, then start this one",
        )


def _number(migration: str) -> int:
    found = re.match(r"\d+", migration)
    return int(found[0]) if found else 0


class DatabaseTooNew(MaasInitError):
    """MAAS cannot go back to an older schema."""

    exit_code = ExitCode.BAD_SETTINGS


class Progress:
    """Hears what dbupgrade prints and tells how far it is."""

    def __init__(self, paths: Paths, pending: int | None) -> None:
        self._paths = paths
        self._pending = pending
        self._told = self._logged = time.monotonic()
        self.done = 0

    def hear(self, line: str) -> None:
        applied = re.search(r"Applying (\S+)\.\.\.", line)
        self.done += bool(applied)
        now = time.monotonic()
        if line.startswith("Running Temporal"):
            tell(self._paths, "schema", "preparing Temporal's tables")
        elif applied and now - self._told >= TELL_EVERY:
            self._told = now
            tell(self._paths, "schema", self.summary(), done=self.done, total=self._pending or 0)
        if applied and now - self._logged >= LOG_EVERY:
            self._logged = now
            log.bound(phase="bootstrap").info("schema.advanced", progress=self.summary(), migration=applied[1])

    def summary(self) -> str:
        """Return "migrating 212/514", without the second number if it is not known."""
        return f"migrating {self.done}" if self._pending is None else f"migrating {self.done}/{self._pending}"


@contextmanager
def private_environment(settings: RegionSettings, paths: Paths) -> Iterator[dict[str, str]]:
    """Yield an environment in which dbupgrade reaches the database without knowing the password.

    What Django knows, dbupgrade puts on temporal-sql-tool's command line, where every process can read it. So it gets
    a configuration without password (and without Vault, from which MAAS would fetch it); PostgreSQL's library finds
    it in a file of its own, the tool in its environment, both readable by this user only.
    """
    present = configuration.load(paths.regiond_conf)
    kept = {key: value for key, value in present.items() if not key.startswith("vault_")}
    wanted = configuration.for_region(settings, paths, kept)
    without_password = {key: value for key, value in {**kept, **wanted}.items() if key != "database_pass"}
    password = settings.database.password.reveal()
    conf, password_file = paths.run / "dbupgrade.conf", paths.run / "dbupgrade.pgpass"
    try:
        files.write(conf, configuration.dump(without_password), mode=0o600)
        files.write(password_file, pgpass(password), mode=0o600)
        yield {
            "MAAS_REGION_CONFIG": os.fspath(conf),
            "PGPASSFILE": os.fspath(password_file),
            "SQL_PASSWORD": password,
        }
    finally:
        conf.unlink(missing_ok=True)
        password_file.unlink(missing_ok=True)


def pgpass(password: str) -> str:
    r"""Return a password file for any server; in it `\` and `:` are written with a `\` before them."""
    escaped = password.replace("\\", "\\\\").replace(":", "\\:")
    return f"*:*:*:*:{escaped}\n"
