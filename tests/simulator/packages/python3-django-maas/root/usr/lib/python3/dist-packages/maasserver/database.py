"""PostgreSQL for the daemons: plain SQL, a few pooled connections, LISTEN."""

from __future__ import annotations

import queue
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg2
from psycopg2.extensions import ISOLATION_LEVEL_AUTOCOMMIT
from psycopg2.extras import Json, NamedTupleCursor

from provisioningserver import files, paths
from provisioningserver.log import log

from . import config, default_settings

MINIMUM = 120000
SECURITY, STARTUP, IMPORT_IMAGES, DNS = 2, 1, 4, 6  # advisory locks, class 20120116
_idle: queue.LifoQueue = queue.LifoQueue(3)
terse = log("maasserver.listener")


def connect():
    """A new connection as regiond.conf says; without a password libpq looks for one."""
    said = config.read()
    name = files.read_if_present(paths.data("maas_id")) or "NO_ID"
    return psycopg2.connect(
        host=said.database_host,
        port=said.database_port,
        dbname=said.database_name,
        user=said.database_user or None,
        password=said.database_pass or None,
        application_name=f"maas-regiond-{name}",
        cursor_factory=NamedTupleCursor,
    )


@contextmanager
def transaction() -> Iterator[NamedTupleCursor]:
    """One transaction; a broken connection is not used again."""
    try:
        connection = _idle.get_nowait()
        if connection.closed:
            connection = connect()
    except queue.Empty:
        connection = connect()
    try:
        with connection, connection.cursor() as cursor:
            yield cursor
    except psycopg2.Error as error:
        if lost(error):
            connection.close()
            _forget_idle()
        raise
    finally:
        try:
            if not connection.closed:
                _idle.put_nowait(connection)
        except queue.Full:
            connection.close()


@contextmanager
def locked(number: int) -> Iterator[NamedTupleCursor]:
    """A transaction under one of MAAS's advisory locks."""
    with transaction() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(20120116, %s)", (number,))
        yield cursor


def lost(error: psycopg2.Error) -> bool:
    """Is it about the connection, and not about what was asked?"""
    return error.pgcode is None or error.pgcode.startswith(("08", "57P"))


def _forget_idle() -> None:
    while True:
        try:
            _idle.get_nowait().close()
        except queue.Empty:
            return


def wait_for_server(every: float = 1.0) -> None:
    """Until a PostgreSQL >= 12 answers. Says nothing meanwhile, as MAAS."""
    while True:
        try:
            connection = connect()
            version = connection.server_version
            connection.close()
            if version >= MINIMUM:
                return
        except psycopg2.Error:
            pass
        time.sleep(every)


def get_config(cursor, name: str):
    cursor.execute("SELECT value FROM maasserver_config WHERE name = %s", (name,))
    row = cursor.fetchone()
    return row.value if row else default_settings.DEFAULTS.get(name)


def set_config(cursor, name: str, value) -> None:
    cursor.execute(
        "INSERT INTO maasserver_config (name, value) VALUES (%s, %s) "
        "ON CONFLICT (name) DO UPDATE SET value = EXCLUDED.value",
        (name, Json(value)),
    )


def get_secret(cursor, name: str):
    cursor.execute("SELECT value FROM maasserver_secret WHERE path = %s", (f"global/{name}",))
    row = cursor.fetchone()
    return row.value if row else None


def set_secret(cursor, name: str, value: dict) -> None:
    cursor.execute(
        "INSERT INTO maasserver_secret (path, value, created, updated) "
        "VALUES (%s, %s, now(), now()) "
        "ON CONFLICT (path) DO UPDATE SET value = EXCLUDED.value, updated = now()",
        (f"global/{name}", Json(value)),
    )


def listen(handlers: dict[str, Callable[[str], None]]) -> None:
    """LISTEN on channels for ever; after a lost connection all are called once."""
    first = True
    while True:
        try:
            connection = connect()
            connection.set_isolation_level(ISOLATION_LEVEL_AUTOCOMMIT)
            with connection.cursor() as cursor:
                for channel in handlers:
                    cursor.execute(f"LISTEN {channel}")
            if not first:
                for handler in handlers.values():
                    handler("reconnected")
            first = False
            while True:
                select.select([connection], [], [])
                connection.poll()
                while connection.notifies:
                    notice = connection.notifies.pop(0)
                    handlers[notice.channel](notice.payload)
        except psycopg2.Error as error:
            terse.error("Unable to connect to database: %s", error)
            first = False
            time.sleep(3.0)
