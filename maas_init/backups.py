"""Backups of the database: whole files made by pg_dump, put back in one transaction or not at all.

A backup is called by when and why it was made, and by the version of MAAS that used the database:
20261124T141500.000Z-3.5.12-before-upgrade.dump. It is pg_dump's custom format, which pg_restore understands alone.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from . import commands, files
from . import database as postgres
from .database import Connection
from .errors import CommandFailed, MaasInitError
from .paths import Paths
from .settings import Database, RegionSettings

BEFORE_UPGRADE, BEFORE_RESTORE, MANUAL = "before-upgrade", "before-restore", "manual"
"""Why a backup was made; the newest of each are kept."""

KEPT = 3
"""How many of each: the eldest is removed when a new one is complete."""

NAME = re.compile(
    rf"\d{{8}}T\d{{6}}\.\d{{3}}Z-(?P<maas>.+)-(?P<reason>{BEFORE_UPGRADE}|{BEFORE_RESTORE}|{MANUAL})\.dump"
)

Advance = Callable[[int, int], None]
"""Hears how many tables of how many are done."""


class CannotBackUp(MaasInitError):
    """No pg_dump here can save this server's database."""


def save(settings: RegionSettings, connection: Connection, paths: Paths, label: str, advance: Advance) -> Path:
    """Save the database to a new file, complete or absent, readable by this user only; return its path.

    `label` is the version of MAAS that used the database and the reason, for example 3.5.12-before-upgrade.

    Raises CannotBackUp when no pg_dump here is new enough, and MaasInitError when it fails.
    """
    programs = _programs(connection, paths)
    row = connection.execute(TABLES).fetchone()
    assert row is not None
    target = paths.backups / f"{_now()}-{label}.dump"
    temporary = target.with_name(f".{target.name}")
    try:
        paths.backups.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in paths.backups.glob(".*.dump"):  # by a container that was killed
            left.unlink(missing_ok=True)
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        commands.run(
            *("pg_dump", "--format=custom", "--no-password", "--verbose", f"--file={temporary}"),
            environ=_environment(settings.database, paths, programs),
            on_line=_counting("dumping contents of table", row[0], advance),
            silent_within=settings.migration_timeout,
        )
        files.sync(temporary)
        temporary.replace(target)
        files.sync(paths.backups)
    except (CommandFailed, OSError) as failure:
        free = shutil.disk_usage(paths.maas_data).free // 1_000_000
        raise MaasInitError(
            f"cannot back up the database to {target}: {failure}",
            hint=f"{free} MB are free there; MAAS_INIT_BACKUP=off (or restore --no-backup) goes on without a backup",
        ) from failure
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    for outdated in [path for path in found(paths) if reason(path) == reason(target)][:-KEPT]:
        outdated.unlink()
    return target


def reason(backup: Path) -> str:
    """Return why a backup was made; nothing when it is not one of ours."""
    ours = NAME.fullmatch(backup.name)
    return ours["reason"] if ours else ""


def maas(backup: Path) -> str:
    """Return the version of MAAS that used the database when the backup was made."""
    ours = NAME.fullmatch(backup.name)
    return ours["maas"] if ours else "unknown"


def found(paths: Paths) -> list[Path]:
    """Return every backup, the newest last."""
    return sorted(path for path in paths.backups.glob("*.dump") if reason(path))


def choose(paths: Paths, wanted: str) -> Path:
    """Return the backup that is meant: by its path, by its name, or `latest`.

    That is the newest but those made before a restore: who restores twice wants the same again.

    Raises MaasInitError when there is none.
    """
    there = found(paths)
    if wanted == "latest":
        candidates = [path for path in there if reason(path) != BEFORE_RESTORE]
    else:
        candidates = [path for path in (paths.backups / wanted, Path(wanted).absolute()) if path.is_file()]
    if not candidates:
        names = ", ".join(path.name for path in there) or "none"
        raise MaasInitError(f'cannot find the backup "{wanted}"', hint=f"{paths.backups} holds: {names}")
    return candidates[-1]


def load(settings: RegionSettings, paths: Paths, backup: Path, advance: Advance) -> None:
    """Replace everything in the database by what `backup` holds, in one transaction: else nothing is changed.

    Nobody else may use the database. Raises MaasInitError when the file cannot be read, or what it holds not be made.
    """
    environ = _environment(settings.database, paths, _newest(paths)[1])
    try:
        tables = commands.run("pg_restore", "--list", os.fspath(backup), environ=environ).count(" TABLE DATA ")
    except CommandFailed as failure:
        raise MaasInitError(
            f"cannot use the backup {backup}: {failure}", hint="it must be a file that pg_dump --format=custom made"
        ) from failure
    try:
        commands.run(
            *("bash", "-o", "pipefail", "-c", LOAD, "restore", EMPTY, os.fspath(backup)),
            environ=environ,
            on_line=_counting("processing data for table", tables, advance),
            silent_within=settings.migration_timeout,
        )
    except CommandFailed as failure:
        # Without the command line, which is long and nobody's.
        told = str(failure).partition("\n")[2].strip()
        raise MaasInitError(
            f"cannot restore {backup}:\n    {told}", hint="the database is as it was before; nothing was changed"
        ) from failure


TABLES = """
SELECT count(*) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE relkind = 'r' AND nspname !~ '^pg_' AND nspname <> 'information_schema'
"""

LOAD = """
{
    printf '%s\\n' "$1"
    pg_restore --verbose --no-owner --no-privileges --no-comments --file=- "$2" && echo 'COMMIT;'
} | psql --no-psqlrc --no-password --quiet --output=/dev/null --set=ON_ERROR_STOP=1
"""
"""A shell script: what fails half-way never says COMMIT."""

EMPTY = """
BEGIN;
SET LOCAL client_min_messages = warning;
SET LOCAL lock_timeout = '30s';
DO $$
DECLARE
    statement text;
BEGIN
    FOREACH statement IN ARRAY ARRAY(
        SELECT format('DROP EXTENSION IF EXISTS %I CASCADE', extname) FROM pg_extension
            WHERE extname <> 'plpgsql' AND pg_has_role(extowner, 'USAGE')
        UNION ALL
        SELECT format('DROP SCHEMA IF EXISTS %I CASCADE', nspname) FROM pg_namespace
            WHERE nspname !~ '^pg_' AND nspname NOT IN ('public', 'information_schema')
            AND pg_has_role(nspowner, 'USAGE')
        UNION ALL
        SELECT format('DROP %s IF EXISTS public.%I CASCADE', CASE relkind WHEN 'v' THEN 'VIEW'
                WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE' WHEN 'c' THEN 'TYPE' ELSE 'TABLE' END,
                relname) FROM pg_class
            WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S', 'c')
            AND NOT EXISTS (SELECT FROM pg_depend
                WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid AND deptype = 'e')
        UNION ALL
        SELECT format('DROP ROUTINE IF EXISTS public.%I(%s) CASCADE', proname,
                pg_get_function_identity_arguments(oid)) FROM pg_proc
            WHERE pronamespace = 'public'::regnamespace
            AND NOT EXISTS (SELECT FROM pg_depend
                WHERE classid = 'pg_proc'::regclass AND objid = pg_proc.oid AND deptype = 'e')
        UNION ALL
        SELECT format('DROP TYPE IF EXISTS public.%I CASCADE', typname) FROM pg_type
            WHERE typnamespace = 'public'::regnamespace AND typtype IN ('d', 'e')
            AND NOT EXISTS (SELECT FROM pg_depend
                WHERE classid = 'pg_type'::regclass AND objid = pg_type.oid AND deptype = 'e')
    ) LOOP
        EXECUTE statement;
    END LOOP;
END
$$;
"""
"""Begins a transaction and drops all that pg_dump would save; the owner of a database may do that, though often not
drop the database itself. pg_restore's own --clean knows only what is in the file, not what an upgrade has added."""


def _programs(connection: Connection, paths: Paths) -> Path:
    """Return the directory of programs that can save this server's database; raises CannotBackUp."""
    server = connection.info.server_version // 10000
    client, directory = _newest(paths)
    if client < server:
        raise CannotBackUp(
            f"cannot back up PostgreSQL {server}: the newest pg_dump in this image is {client or 'missing'}",
            hint="save it with the server's own, for example: docker compose exec -T postgres pg_dump "
            "--username maas --format custom maasdb > maas.dump",
        )
    return directory


def _newest(paths: Paths) -> tuple[int, Path]:
    """Return the newest major version of PostgreSQL's programs for clients, and where they are (0 when nowhere)."""
    there = paths.at("/usr/lib/postgresql").glob("*/bin/pg_dump")
    versions = {int(path.parts[-3]): path.parent for path in there if path.parts[-3].isdecimal()}
    return max(versions.items(), default=(0, Path("/nowhere")))


def _environment(database: Database, paths: Paths, programs: Path) -> Mapping[str, str]:
    return {
        "PATH": f"{programs}:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "PGHOST": postgres.host(database, paths),
        "PGPORT": str(database.port),
        "PGDATABASE": database.name,
        "PGUSER": database.user,
        "PGPASSWORD": database.password.reveal(),
        "PGAPPNAME": postgres.APPLICATION,
        "PGCONNECT_TIMEOUT": "30",
        **database.tls_environment(paths),
    }


def _counting(words: str, total: int, advance: Advance) -> Callable[[str], None]:
    done = 0

    def hear(line: str) -> None:
        nonlocal done
        if words in line and line.endswith('"'):  # a whole line
            done += 1
            advance(min(done, total), total)

    return hear


def _now() -> str:
    """Return the time of day so that names sort by it."""
    whole, thousandths = divmod(time.time_ns() // 1_000_000, 1000)
    return time.strftime("%Y%m%dT%H%M%S", time.gmtime(whole)) + f".{thousandths:03}Z"
