"""MAAS's tables: created or upgraded with MAAS's own dbupgrade, when this very schema is not known to be finished."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .. import backups, files, log, temporal
from ..database import Connection
from ..errors import CommandFailed, DatabaseTooNew, MaasInitError, Stalled
from ..paths import Paths
from ..settings import RegionSettings
from . import configuration, journal, saved
from .work import RegionWork, tell

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
    with private_environment(work.settings, work.paths) as environ:
        known = _known(work, environ)
        refuse_newer(work.paths, version, present, known)
        pending = len(known - {f"{app}.{name}" for app, name, _ in present}) if known else None
        if _is_done_elsewhere(work, version, pending):
            _note_done(work, version)
            return False
        _back_up(work, version, present, pending)
        told = "?" if pending is None else pending
        logger.info("schema.started", version=version, applied=len(present), pending=told)
        progress = Progress(work.paths, pending)
        _migrate(work, environ, progress)
    _note_done(work, version)
    logger.info("schema.finished", applied=progress.done, seconds=time.monotonic() - began)
    return True


def _note_done(work: RegionWork, version: str) -> None:
    journal.note(work.paths, schema=fingerprint(version, rows(work.connection)), version=short(version), upgrade=None)


SERVING = """
SELECT DISTINCT hostname FROM maasserver_regioncontrollerprocess JOIN maasserver_node AS node ON node.id = region_id
WHERE maasserver_regioncontrollerprocess.updated > now() - interval '90 seconds' AND system_id <> %s ORDER BY 1
"""
"""The host names of other regions; each renews its rows every minute, and MAAS drops what is older than this."""


def serving(connection: Connection, paths: Paths) -> list[str]:
    """Return which other regions use the database now."""
    if connection.execute("SELECT to_regclass('maasserver_regioncontrollerprocess')").fetchone() == (None,):
        return []
    identity = paths.maas_id
    own = identity.read_text().strip() if identity.exists() else ""
    return [str(row[0]) for row in connection.execute(SERVING, (own,)).fetchall()]


def _is_done_elsewhere(work: RegionWork, version: str, pending: int | None) -> bool:
    """Return whether another region runs on this very schema, so that nothing need be done; wait until none does else.

    dbupgrade takes triggers and views away while it runs, and whoever serves needs them.

    Raises MaasInitError when others go on serving for longer than migrations may stall.
    """
    same = journal.read(work.paths).get("version") in (None, short(version))
    told: list[str] = []
    last = time.monotonic() + work.settings.migration_timeout
    while others := serving(work.connection, work.paths):
        if pending == 0 and same:
            log.bound(phase="bootstrap").info("schema.shared", regions=",".join(others))
            return True
        tell(
            work.paths, "schema", f"waiting for {', '.join(others)} to stop using the database, which must be upgraded"
        )
        if others != told:
            log.bound(phase="bootstrap").warning("schema.in_use", regions=",".join(others))
        told = others
        if time.monotonic() > last:
            raise MaasInitError(
                f"cannot upgrade the database: it is in use by the region controllers {', '.join(others)}",
                hint="stop every region before the first one of a new version starts; nothing was changed",
            )
        time.sleep(1)
    return False


def refuse_newer(paths: Paths, version: str, present: Iterable[tuple[Any, ...]], known: set[str]) -> None:
    """Raise DatabaseTooNew when the database holds migrations that come after all that this MAAS knows of their app.

    Others that it does not know are old: versions of MAAS drop and squash them.
    """
    last: dict[str, int] = {}
    for app, _, name in (each.partition(".") for each in known):
        last[app] = max(last.get(app, 0), _number(name))
    newer = [f"{app}.{name}" for app, name, _ in present if app in last and _number(name) > last[app]]
    if newer:
        tell(paths, "schema", f"the database is newer than this image: it has {newer[-1]}")
        more = f" and {len(newer) - 1} more" if len(newer) > 1 else ""
        raise DatabaseTooNew(
            f"cannot use the database: a newer MAAS than this image's ({short(version)}) has upgraded it; "
            f"the migration {newer[-1]}{more} is unknown here",
            hint="nothing was changed; start the newer image again, or go back to what was saved before the upgrade: "
            "docker compose stop maas; docker compose run --rm maas maas-init restore latest",
        )


def _number(migration: str) -> int:
    found = re.match(r"\d+", migration)
    return int(found[0]) if found else 0


def _back_up(work: RegionWork, version: str, present: list[tuple[Any, ...]], pending: int | None) -> None:
    """Save the database before this upgrade, unless it is empty, of this very version, or this was begun before.

    What was half-way upgraded must not take the place of what was there before.

    Raises MaasInitError when that fails: nothing was changed then.
    """
    this = {"to": version, "of": _place(work)}
    if journal.read(work.paths).get("upgrade") == this:
        return
    known = journal.read(work.paths).get("version")
    if present and not (pending == 0 and known == short(version)):
        saved.make(work.settings, work.connection, work.paths, backups.BEFORE_UPGRADE)
    journal.note(work.paths, upgrade=this)


def _place(work: RegionWork) -> str:
    wanted = work.settings.database
    row = work.connection.execute("SELECT oid::text FROM pg_database WHERE datname = current_database()").fetchone()
    return journal.digest([wanted.host, wanted.port, wanted.name, row])


def _migrate(work: RegionWork, environ: Mapping[str, str], progress: Progress) -> None:
    patience = work.settings.migration_timeout
    try:
        work.maas.run(
            *("django", "dbupgrade"),
            environ=environ,
            on_line=progress.hear,
            silent_within=patience,
        )
    except Stalled as failure:
        blocked = _blocked(work.connection)
        raise MaasInitError(
            f"cannot finish {progress.summary()}: no progress for {patience:g} s{blocked}",
            hint="what was done is kept, the next attempt goes on there; MAAS_INIT_MIGRATION_TIMEOUT gives it longer",
        ) from failure


def _blocked(connection: Connection) -> str:
    """Return for whom somebody waits in the database, or nothing."""
    row = connection.execute(
        "SELECT coalesce(nullif(blocker.application_name, ''), blocker.usename), coalesce(host(blocker.client_addr),"
        " 'a local socket'), to_char(blocker.xact_start, 'YYYY-MM-DD HH24:MI:SS TZ')"
        " FROM pg_stat_activity AS waiting JOIN pg_stat_activity AS blocker"
        " ON blocker.pid = ANY (pg_blocking_pids(waiting.pid)) WHERE waiting.datname = current_database()"
    ).fetchone()
    return "" if row is None else f"; it waits for {row[0]} (from {row[1]}), in a transaction since {row[2]}"


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


def short(version: str) -> str:
    """Return the version as people say it: 3.5.13 for 1:3.5.13-17412-g.0ubuntu1."""
    found = re.match(r"(?:\d+:)?([0-9][0-9.]*)", version)
    return found[1] if found else "unknown"


def fingerprint(version: str, present: Iterable[tuple[Any, ...]]) -> str:
    """Return what stands for this schema: another version, or a database restored or emptied, has another one."""
    return journal.digest([version, [list(row) for row in present]])


def _known(work: RegionWork, environ: Mapping[str, str]) -> set[str]:
    """Return every migration that this MAAS has, as app.name; none when Django cannot say: dbupgrade will tell why."""
    try:
        plan = work.maas.run("django", "showmigrations", "--plan", environ=environ)
    except CommandFailed as failure:
        log.bound(phase="bootstrap").warning("schema.unplanned", reason=str(failure).partition("\n")[0])
        return set()
    return set(re.findall(r"^\[[ X]\] +(\S+)", plan, re.MULTILINE))


class Progress:
    """Hears what dbupgrade prints and tells how far it is."""

    def __init__(self, paths: Paths, pending: int | None) -> None:
        self._paths = paths
        self._pending = pending
        self._logged = 0.0
        self._current = ""
        self.done = 0

    def hear(self, line: str) -> None:
        # The line begins with its migration and ends after it.
        applying = re.match(r"\s*Applying (\S+)\.\.\.", line)
        if line.startswith("Running Temporal"):
            self._current = "Temporal's tables"
        elif applying and applying[1] != self._current:
            self._current = applying[1]
            self.done += 1
        else:
            return
        tell(self._paths, "schema", self.summary(), done=self.done, total=self._pending or 0)
        if time.monotonic() - self._logged >= LOG_EVERY:
            self._logged = time.monotonic()
            log.bound(phase="bootstrap").info("schema.advanced", progress=self.summary())

    def summary(self) -> str:
        """Return "migrating 212/514: maasserver.0212_name", without the second number if it is not known."""
        so_far = f"migrating {self.done}/{self._pending}" if self._pending else f"migrating {self.done or ''}".strip()
        return f"{so_far}: {self._current}" if self._current else so_far


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
            **temporal.tool_environment(settings.database, paths),
        }
    finally:
        conf.unlink(missing_ok=True)
        password_file.unlink(missing_ok=True)


def pgpass(password: str) -> str:
    r"""Return a password file for any server; in it `\` and `:` are written with a `\` before them."""
    escaped = password.replace("\\", "\\\\").replace(":", "\\:")
    return f"*:*:*:*:{escaped}\n"
