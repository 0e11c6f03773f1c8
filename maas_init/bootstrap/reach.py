"""Reach the database: wait until PostgreSQL answers and is fit for MAAS; in the container, make what is missing."""

from __future__ import annotations

import time

from psycopg import sql

from .. import database as postgres
from .. import log
from ..database import CannotUse, Cause, Connection
from ..paths import Paths
from ..settings import Database, RegionSettings
from .work import tell

LOCK = 0x6D6161732D696E69
"""Key of the advisory lock of this program ("maas-ini"); MAAS's own locks have keys of two parts."""

TELL_EVERY = 10
"""Attempts between two log lines about the same cause."""


def database(settings: RegionSettings, paths: Paths) -> Connection:
    """Return a connection to a database that MAAS can use.

    Raises CannotUse with the last cause after `database_attempts`.
    """
    logger = log.bound(phase="bootstrap")
    began = time.monotonic()
    last_cause = None
    for attempt in range(1, settings.database_attempts + 1):
        try:
            connection = _connect(settings, paths)
        except CannotUse as failure:
            cause = failure.cause.name.lower()
            so_far = f"{attempt}/{settings.database_attempts}"
            tell(paths, "database", f"waiting for PostgreSQL: {failure.cause.value} ({so_far})")
            if failure.cause is not last_cause or attempt % TELL_EVERY == 0:
                logger.warning("database.missed", cause=cause, attempt=so_far, detail=failure.detail)
            last_cause = failure.cause
            if attempt == settings.database_attempts:
                raise
            time.sleep(settings.database_interval)
        else:
            version = connection.info.server_version // 10000
            logger.info("database.answered", version=version, attempt=attempt, seconds=time.monotonic() - began)
            return connection
    raise AssertionError("settings allow no attempt")


def _connect(settings: RegionSettings, paths: Paths) -> Connection:
    wanted = settings.database
    if wanted.embedded:
        _make_missing(wanted, paths)
    try:
        connection = postgres.connect(wanted, paths)
    except CannotUse as failure:
        if not wanted.embedded or failure.cause is not Cause.AUTHENTICATION:
            raise
        _change_password(wanted, paths)
        connection = postgres.connect(wanted, paths)
    try:
        postgres.require_usable(connection, wanted, paths)
    except CannotUse:
        connection.close()
        raise
    return connection


def _make_missing(wanted: Database, paths: Paths) -> None:
    """Make the role and the database on the embedded server, each if there is none of that name."""
    role, name = sql.Identifier(wanted.user), sql.Identifier(wanted.name)
    with postgres.connect_as_superuser(wanted, paths) as superuser:
        if not _exists(superuser, "SELECT 1 FROM pg_roles WHERE rolname = %s", wanted.user):
            superuser.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, _verifier(superuser, wanted)))
            log.bound(phase="bootstrap").info("role.created", role=wanted.user)
        if not _exists(superuser, "SELECT 1 FROM pg_database WHERE datname = %s", wanted.name):
            superuser.execute(
                sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING 'UTF8'").format(name, role)
            )
            log.bound(phase="bootstrap").info("database.created", name=wanted.name, owner=wanted.user)


def _change_password(wanted: Database, paths: Paths) -> None:
    with postgres.connect_as_superuser(wanted, paths) as superuser:
        role = sql.Identifier(wanted.user)
        superuser.execute(sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(role, _verifier(superuser, wanted)))
    log.bound(phase="bootstrap").info("password.changed", role=wanted.user)


def _verifier(connection: Connection, wanted: Database) -> sql.Literal:
    """Return what the server keeps of the password; sent instead, no log or view of statements can show it."""
    password, user = wanted.password.reveal().encode(), wanted.user.encode()
    return sql.Literal(connection.pgconn.encrypt_password(password, user, b"scram-sha-256").decode())


def _exists(connection: Connection, query: str, name: str) -> bool:
    return connection.execute(query, (name,)).fetchone() is not None


def turn(connection: Connection, paths: Paths) -> None:
    """Wait until no other container prepares the same database; the lock is held until `connection` is closed.

    dbupgrade has no lock of its own: two at once drop each other's triggers.
    """
    # A machine that vanished from the network shall not keep the lock for hours.
    connection.execute(
        "SELECT set_config('tcp_keepalives_idle', '30', false),"
        " set_config('tcp_keepalives_interval', '10', false), set_config('tcp_keepalives_count', '3', false)"
    )
    waited_for = ""
    while not try_lock(connection):
        holder = lock_holder(connection)
        tell(paths, "database", f"waiting for {holder}, which prepares the same database")
        if holder != waited_for:
            log.bound(phase="bootstrap").warning("turn.awaited", holder=holder)
        waited_for = holder
        time.sleep(1)
    if waited_for:
        log.bound(phase="bootstrap").info("turn.came", after=waited_for)


def try_lock(connection: Connection) -> bool:
    """Take the lock that everybody takes who changes the schema, unless somebody has it; return whether we have it."""
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", (LOCK,)).fetchone()
    assert row is not None
    return bool(row[0])


def lock_holder(connection: Connection) -> str:
    """Return who has the lock, from where and since when, as far as the server tells this user."""
    row = connection.execute(
        "SELECT coalesce(nullif(application_name, ''), 'a session of ' || usename),"
        " coalesce(host(client_addr), 'a local socket'), to_char(backend_start, 'YYYY-MM-DD HH24:MI:SS TZ')"
        " FROM pg_locks JOIN pg_stat_activity USING (pid)"
        " WHERE locktype = 'advisory' AND granted AND (classid::bigint << 32 | objid::bigint) = %s"
        " AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        (LOCK,),
    ).fetchone()
    return "somebody who has just ended" if row is None else f"{row[0]} (from {row[1]}, since {row[2]})"
