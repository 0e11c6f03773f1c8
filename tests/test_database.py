from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fix_postgresql import Server, settings

from maas_init import database
from maas_init.database import CannotUse, Cause
from maas_init.errors import ExitCode
from maas_init.paths import Paths

NOWHERE = Paths(Path("/nonexistent"))

TOLD = {
    Cause.DNS: "failed to resolve host 'db': [Errno -2] Name or service not known",
    Cause.REFUSED: 'connection failed: connection to server at "10.0.0.1", port 5432 failed: Connection refused\n'
    "\tIs the server running on that host and accepting TCP/IP connections?",
    Cause.UNREACHABLE: 'connection is bad: connection to server at "10.0.0.1", port 5432 failed: No route to host',
    Cause.TIMEOUT: "connection timeout expired",
    Cause.STARTING: "connection failed: FATAL:  the database system is starting up",
    Cause.TOO_MANY_CONNECTIONS: "connection failed: FATAL:  sorry, too many clients already",
    Cause.AUTHENTICATION: 'connection failed: FATAL:  no pg_hba.conf entry for host "10.0.0.2", user "maas"',
    Cause.MISSING_DATABASE: 'connection failed: FATAL:  database "maasdb" does not exist',
    Cause.OTHER: "connection failed: received invalid response to SSL negotiation: H",
}


@pytest.mark.parametrize("cause", TOLD)
def test_each_failure_is_told_from_the_others(cause: Cause) -> None:
    assert database.classify(TOLD[cause])[0] is cause


def test_of_several_addresses_the_one_that_came_furthest_decides() -> None:
    text = (
        "multiple connection attempts failed:\n"
        "- host: 'db', port: 5432, hostaddr: '::1': connection to server at \"::1\", port 5432 failed: "
        "Connection refused\n"
        "\tIs the server running on that host and accepting TCP/IP connections?\n"
        "- host: 'db', port: 5432, hostaddr: '127.0.0.1': connection to server at \"127.0.0.1\", port 5432 failed: "
        'FATAL:  password authentication failed for user "maas"\n'
    )
    cause, detail = database.classify(text)
    assert cause is Cause.AUTHENTICATION
    assert detail.startswith("host: 'db'")
    assert detail.endswith('password authentication failed for user "maas"')


def test_words_in_another_language_are_quoted() -> None:
    words = "connection failed: FATAL:  Passwort-Authentifizierung für Benutzer »maas« fehlgeschlagen"
    assert database.classify(words) == (Cause.OTHER, words.removeprefix("connection failed: "))


def test_silence_is_a_failure_too() -> None:
    assert database.classify("") == (Cause.OTHER, "nothing was said")


def test_every_cause_has_a_hint() -> None:
    assert set(database.HINTS) == set(Cause)


def refusal(**environ: str) -> CannotUse:
    with pytest.raises(CannotUse) as raised:
        database.ping(settings(**environ).database, NOWHERE, within=1)
    return raised.value


def test_a_name_that_does_not_exist() -> None:
    failure = refusal(POSTGRES_HOST="nothing.invalid")
    assert failure.cause is Cause.DNS
    assert failure.exit_code is ExitCode.DATABASE_UNAVAILABLE
    assert "nothing.invalid:5432 (database maasdb, user maas)" in str(failure)
    assert "POSTGRES_HOST" in failure.hint


@contextmanager
def listening(*, backlog: int = 8) -> Iterator[tuple[socket.socket, str]]:
    with socket.create_server(("127.0.0.1", 0), backlog=backlog) as server:
        yield server, str(server.getsockname()[1])


def test_a_port_on_which_nothing_listens() -> None:
    with listening() as (_, port):
        pass
    assert refusal(POSTGRES_HOST="127.0.0.1", POSTGRES_PORT=port).cause is Cause.REFUSED


def test_a_socket_that_does_not_exist() -> None:
    assert refusal(POSTGRES_HOST="embedded").cause is Cause.REFUSED


def test_a_server_that_accepts_and_says_nothing() -> None:
    with listening() as (_, port):
        assert refusal(POSTGRES_HOST="127.0.0.1", POSTGRES_PORT=port).cause is Cause.TIMEOUT


@contextmanager
def saying(*messages: bytes) -> Iterator[str]:
    """Be a server that refuses encryption, reads who wants to log in, says `messages` and hangs up."""

    def serve(server: socket.socket) -> None:
        client, _ = server.accept()
        with client:
            while True:
                length, code = struct.unpack("!II", client.recv(8, socket.MSG_WAITALL))
                client.recv(length - 8, socket.MSG_WAITALL)
                if code >> 16 == 3:  # the version of the protocol; anything else asks for encryption
                    break
                client.sendall(b"N")
            for message in messages:
                client.sendall(message[:1] + struct.pack("!I", len(message) + 3) + message[1:])
            client.recv(1)

    with listening() as (server, port):
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        yield port
        thread.join()


def test_a_server_that_is_starting_up() -> None:
    with saying(b"ESFATAL\0C57P03\0Mthe database system is starting up\0\0") as port:
        assert refusal(POSTGRES_HOST="127.0.0.1", POSTGRES_PORT=port).cause is Cause.STARTING


def test_a_server_that_is_too_old_is_told_before_anything_is_asked() -> None:
    messages = (b"R\0\0\0\0", b"Sserver_version\x0011.5\0", b"Sclient_encoding\0UTF8\0", b"ZI")
    with saying(*messages) as port:
        wanted = settings(POSTGRES_HOST="127.0.0.1", POSTGRES_PORT=port).database
        with database.connect(wanted, NOWHERE, within=2) as connection, pytest.raises(CannotUse) as raised:
            database.require_usable(connection, wanted, NOWHERE)
    assert raised.value.cause is Cause.TOO_OLD
    assert "it is PostgreSQL 11" in str(raised.value)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    server.start()
    with server.superuser() as superuser:
        superuser.execute("CREATE ROLE maas LOGIN PASSWORD 'secret-of-the-database'")
        superuser.execute("CREATE ROLE guest LOGIN PASSWORD 'secret-of-the-database'")
        superuser.execute("CREATE DATABASE maasdb OWNER maas")
    yield server
    server.remove()


def failure_at(server: Server, **environ: str) -> CannotUse:
    wanted = settings(**environ).database
    with pytest.raises(CannotUse) as raised, database.connect(wanted, server.paths) as connection:
        database.require_usable(connection, wanted, server.paths)
    return raised.value


@pytest.mark.process
def test_a_usable_database_answers_within_a_moment(server: Server) -> None:
    wanted = settings().database
    assert 0 < database.ping(wanted, server.paths) < 1
    with database.connect(wanted, server.paths) as connection:
        database.require_usable(connection, wanted, server.paths)
        assert connection.autocommit


@pytest.mark.process
def test_a_socket_directory_is_a_host(server: Server) -> None:
    directory = os.fspath(server.paths.postgresql_socket)
    database.ping(settings(POSTGRES_HOST=directory).database, NOWHERE)


@pytest.mark.process
def test_a_wrong_password(server: Server) -> None:
    failure = failure_at(server, POSTGRES_PASSWORD="another-password")
    assert failure.cause is Cause.AUTHENTICATION
    assert "another-password" not in str(failure)


@pytest.mark.process
def test_a_user_that_does_not_exist(server: Server) -> None:
    assert failure_at(server, POSTGRES_USER="nobody-at-all").cause is Cause.AUTHENTICATION


@pytest.mark.process
def test_a_database_that_does_not_exist(server: Server) -> None:
    assert failure_at(server, POSTGRES_DB="nothing").cause is Cause.MISSING_DATABASE


@pytest.mark.process
def test_a_user_that_may_not_create_tables(server: Server) -> None:
    failure = failure_at(server, POSTGRES_USER="guest")
    assert failure.cause is Cause.NO_RIGHTS
    assert "the database belongs to maas" in str(failure)


@pytest.mark.process
def test_a_read_only_copy(server: Server) -> None:
    server.stop()
    [version] = server.paths.postgresql.glob("*/PG_VERSION")
    signal_file = version.with_name("standby.signal")
    signal_file.touch()
    try:
        server.start()
        assert failure_at(server).cause is Cause.STANDBY
        server.stop()
    finally:
        signal_file.unlink()
    server.start()
