"""Restore: put a dump in the place of MAAS's database, in the running container.

The dump is read into a database beside the present one. Only when that is complete do the two change names; the one
that was in use stays, as NAME_before_restore, until the next restore.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from . import database as postgres
from . import files, systemctl
from .bootstrap import backup
from .database import Connection
from .errors import CommandFailed, MaasInitError
from .paths import Paths
from .settings import RegionSettings

LATEST = "latest"
RENAME_WITHIN = 30.0
"""Seconds in which everybody must have left the database: connections are ended again and again until then."""


def show(where: Paths) -> None:
    """Print the dumps there are and how to restore one."""
    for file in backup.dumps(where):
        made = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(file.stat().st_mtime))
        sys.stdout.write(f"{made}  {file.stat().st_size / 1e6:8.1f} MB  {file.name}\n")
    if not backup.dumps(where):
        sys.stdout.write(f"there is no dump in {where.backups}; one is made before each upgrade of the schema\n")
    else:
        sys.stdout.write("\nrestore one with: maas-init restore latest, or maas-init restore FILE\n")


def run(settings: RegionSettings, where: Paths, which: str) -> None:
    """Restore the dump `which`: latest, the name of one in the directory of dumps, or a path.

    What uses the database is stopped meanwhile and started afterwards; a dump of an older MAAS is upgraded then.

    Raises MaasInitError; the database is as it was before.
    """
    file = choose(where, which)
    users = _users(where)
    if users and systemctl.main(["stop", *users], where) != 0:
        raise MaasInitError("cannot restore: what uses the database could not be stopped; nothing was changed")
    try:
        _replace(settings, where, file)
        # It upgrades an older schema; what was stopped waits for it.
        systemctl.main(["restart", "bootstrap"], where)
    finally:
        if users:
            systemctl.main(["start", "--no-block", *users], where)
    name = settings.database.name
    sys.stdout.write(
        f"restored {file}\nThe database as it was before is kept as {name}_before_restore.\n"
        "MAAS is starting with the restored one: maas-init status shows how far it is.\n"
    )


def choose(where: Paths, which: str) -> Path:
    """Return the file that is meant. Raises MaasInitError when there is none."""
    dumps = backup.dumps(where)
    if which == LATEST and dumps:
        return dumps[0]
    for file in (Path(which), where.backups / which):
        if which != LATEST and file.is_file():
            return file
    raise MaasInitError(
        f'cannot restore "{which}": there is no such dump', hint=f"maas-init restore lists those in {where.backups}"
    )


def _users(where: Paths) -> list[str]:
    """Return the services that run and need the database, what needs others first."""
    status: Any = files.read_json(where.status)
    if status is None:
        raise MaasInitError("cannot restore: this container does not run MAAS", hint="use docker exec, not docker run")
    services = status["services"]

    def needs(name: str) -> bool:
        return name == "database" or any(needs(other) for other in services[name]["requires"])

    return [name for name in services if needs(name) and services[name]["process"] and services[name]["desired"]["on"]]


def _replace(settings: RegionSettings, where: Paths, file: Path) -> None:
    wanted = settings.database
    fresh = f"{wanted.name}_restored"
    try:
        with postgres.connect_beside(wanted, where) as connection:
            _drop(connection, fresh)
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING 'UTF8'").format(
                    sql.Identifier(fresh), sql.Identifier(wanted.user)
                )
            )
            try:
                options = ("--exit-on-error", "--no-owner", "--verbose", *backup.place(settings, where, fresh))
                backup.tool(settings, where, "pg_restore", *options, os.fspath(file))
            except CommandFailed:
                _drop(connection, fresh)
                raise
            _swap(connection, wanted.name, fresh)
    except psycopg.errors.InsufficientPrivilege as error:
        raise MaasInitError(
            f"cannot restore: {wanted.user} may not do that ({error.diag.message_primary}); nothing was changed",
            hint=f"as the server's administrator: ALTER ROLE {wanted.user} CREATEDB",
        ) from error


def _drop(connection: Connection, name: str) -> None:
    connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))


def _swap(connection: Connection, name: str, fresh: str) -> None:
    """Give the present database another name and the fresh one its own, both or none."""
    before = f"{name}_before_restore"
    _drop(connection, before)
    rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
    deadline = time.monotonic() + RENAME_WITHIN
    while True:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        try:
            with connection.transaction():
                connection.execute(rename.format(sql.Identifier(name), sql.Identifier(before)))
                connection.execute(rename.format(sql.Identifier(fresh), sql.Identifier(name)))
        except psycopg.errors.ObjectInUse:  # somebody came back at once
            if time.monotonic() > deadline:
                raise MaasInitError(
                    "cannot restore: somebody keeps using the database; nothing was changed",
                    hint="stop other MAAS containers that use it",
                ) from None
            time.sleep(0.05)
        else:
            return
