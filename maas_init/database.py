"""The one door to PostgreSQL: connect, or say which kind of failure it is.

What cannot connect says so in words only: a client learns no error code before it is logged in. Our own library's
words and an English server's are recognised; a server that speaks another language is quoted as it is.
"""

from __future__ import annotations

import enum
import math
import os
import re
import time
from typing import Any

import psycopg

from .errors import DatabaseUnavailable
from .paths import Paths
from .settings import SUPERUSER, Database

Connection = psycopg.Connection[tuple[Any, ...]]

APPLICATION = "maas-init"
"""How the server's list of sessions calls ours, with the host they come from."""

OLDEST = 12
"""The oldest major version that regiond works with (maasserver/plugin.py); it waits for ever for a newer one."""


class Cause(enum.Enum):
    """Why PostgreSQL cannot be used; the value completes the sentence "cannot use PostgreSQL: ..."."""

    DNS = "its name cannot be resolved"
    REFUSED = "nothing accepts connections there"
    UNREACHABLE = "no network leads there"
    TIMEOUT = "it does not answer in time"
    STARTING = "it is starting up or shutting down"
    TOO_MANY_CONNECTIONS = "it has no connection left"
    TLS = "the two cannot agree on TLS"
    AUTHENTICATION = "it refuses this user or password"
    MISSING_DATABASE = "the database does not exist"
    TOO_OLD = "it is too old for MAAS"
    STANDBY = "it is a read-only copy"
    NO_RIGHTS = "the user may not create tables in the database"
    OTHER = "it gave an unexpected answer"


HINTS = {
    Cause.DNS: "check POSTGRES_HOST, and that both containers are on the same network",
    Cause.REFUSED: "check POSTGRES_HOST and POSTGRES_PORT, and that PostgreSQL runs and listens on that address",
    Cause.UNREACHABLE: "check POSTGRES_HOST, and that this container is on a network from which it can be reached",
    Cause.TIMEOUT: "look for a firewall between the two, and whether the server is overloaded or stopped",
    Cause.STARTING: "raise MAAS_INIT_DATABASE_ATTEMPTS if it needs longer",
    Cause.TOO_MANY_CONNECTIONS: "raise max_connections of the server; one region needs about 100",
    Cause.TLS: "check POSTGRES_SSLMODE and POSTGRES_SSLROOTCERT: the server's certificate must be signed by that "
    "authority and, for verify-full, name POSTGRES_HOST",
    Cause.AUTHENTICATION: "check POSTGRES_USER and POSTGRES_PASSWORD, and pg_hba.conf of the server",
    Cause.MISSING_DATABASE: "check POSTGRES_DB, or create it: CREATE DATABASE maasdb OWNER maas ENCODING 'UTF8'",
    Cause.TOO_OLD: f"use PostgreSQL {OLDEST} or newer; 14 or newer is better",
    Cause.STANDBY: "set POSTGRES_HOST to the primary server",
    Cause.NO_RIGHTS: "set POSTGRES_USER to the database's owner, or: ALTER DATABASE maasdb OWNER TO maas",
    Cause.OTHER: "check that POSTGRES_HOST and POSTGRES_PORT are those of a PostgreSQL server",
}

# A name may stand for several addresses, and each fails in its own way: what came furthest is listed first and wins.
WORDS = (
    (
        r"server does not support SSL|SSL error|certificate verify failed|server certificate for|root certificate file"
        r"|certificate .* does not match|certificate file|private key file",
        Cause.TLS,
    ),
    (r'database ".*" does not exist', Cause.MISSING_DATABASE),
    (
        r"authentication failed|pg_hba\.conf|no password supplied|role .* (does not exist|is not permitted to log in)",
        Cause.AUTHENTICATION,
    ),
    (r"too many (clients|connections)|remaining connection slots", Cause.TOO_MANY_CONNECTIONS),
    (r"the database system is|not yet accepting connections", Cause.STARTING),
    (r"timeout expired|timed out", Cause.TIMEOUT),
    (r"Connection refused|No such file or directory", Cause.REFUSED),
    (r"No route to host|(Network|Host) is (unreachable|down)", Cause.UNREACHABLE),
    (r"failed to resolve host|could not translate host name", Cause.DNS),
)


class CannotUse(DatabaseUnavailable):
    """PostgreSQL cannot be used, and why."""

    def __init__(self, place: str, cause: Cause, detail: str) -> None:
        super().__init__(f"cannot use PostgreSQL at {place}: {cause.value} ({detail})", hint=HINTS[cause])
        self.cause = cause
        self.detail = detail


def host(database: Database, paths: Paths) -> str:
    """Return where clients connect to: a host, or the directory of the embedded server's socket."""
    return os.fspath(paths.postgresql_socket) if database.embedded else database.host


def connect(database: Database, paths: Paths, *, within: float = 5.0) -> Connection:
    """Connect as the owner of MAAS's database; every statement is a transaction of its own.

    Raises CannotUse; `within` seconds count for each address of the host, after the name is resolved.
    """
    password = database.password.reveal()
    return _connect(database, paths, within, {"dbname": database.name, "user": database.user, "password": password})


def connect_as_superuser(database: Database, paths: Paths, *, within: float = 5.0) -> Connection:
    """Connect to the embedded server's maintenance database. Raises CannotUse."""
    return _connect(database, paths, within, {"dbname": "postgres", "user": SUPERUSER})


def _connect(database: Database, paths: Paths, within: float, credentials: dict[str, Any]) -> Connection:
    try:
        return psycopg.connect(
            host=host(database, paths),
            port=database.port,
            connect_timeout=math.ceil(within),
            # Without it a server that vanishes from the network keeps a statement waiting for a quarter of an hour.
            tcp_user_timeout=math.ceil(within * 1000),
            application_name=f"{APPLICATION} on {os.uname().nodename}",
            autocommit=True,
            **(credentials | database.tls(paths)),
        )
    except psycopg.OperationalError as error:
        raise failure(database, paths, error) from error


def failure(database: Database, paths: Paths, error: psycopg.OperationalError) -> CannotUse:
    """Return what `error` means for the operator."""
    cause, detail = classify(str(error))
    return CannotUse(_place(database, paths), cause, detail)


def classify(text: str) -> tuple[Cause, str]:
    """Return the cause of a failure told in `text`, and the line that shows it."""
    lines = [re.sub(r"^(- |connection (failed|is bad): )+", "", line.strip()) for line in text.splitlines()]
    for pattern, cause in WORDS:
        for line in lines:
            if re.search(pattern, line):
                return cause, line
    return Cause.OTHER, lines[0] if lines else "nothing was said"


def _place(database: Database, paths: Paths) -> str:
    return f"{host(database, paths)}:{database.port} (database {database.name}, user {database.user})"


def require_usable(connection: Connection, database: Database, paths: Paths) -> None:
    """Raise CannotUse when MAAS could not create its tables over `connection`."""
    version = connection.info.server_version // 10000
    if version < OLDEST:
        raise CannotUse(_place(database, paths), Cause.TOO_OLD, f"it is PostgreSQL {version}")
    row = connection.execute(
        "SELECT pg_is_in_recovery(), pg_get_userbyid(datdba), has_database_privilege(datname, 'CREATE')"
        " AND coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)"
        " FROM pg_database WHERE datname = current_database()"
    ).fetchone()
    assert row is not None
    standby, owner, may_create = row
    if standby:
        raise CannotUse(_place(database, paths), Cause.STANDBY, "it follows another server")
    if not may_create:
        raise CannotUse(_place(database, paths), Cause.NO_RIGHTS, f"the database belongs to {owner}")


def ping(database: Database, paths: Paths, *, within: float = 5.0) -> float:
    """Log in, ask for one row and leave; return how many seconds that took. Raises CannotUse."""
    began = time.monotonic()
    with connect(database, paths, within=within) as connection:
        try:
            connection.execute("SELECT 1")
        except psycopg.OperationalError as error:
            raise failure(database, paths, error) from error
    return time.monotonic() - began
