from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from fix_postgresql import SERVER_USER, Server, settings, until

from maas_init import postgresql
from maas_init.errors import MaasInitError
from maas_init.paths import Paths

OLD, NEW = Path("/usr/lib/postgresql/14/bin"), Path("/usr/lib/postgresql/16/bin")


def test_without_data_the_newest_version_is_run() -> None:
    assert postgresql.choose({14: OLD, 16: NEW}, set()) == 16


def test_with_data_its_own_version_is_run() -> None:
    assert postgresql.choose({14: OLD, 16: NEW}, {14}) == 14


def test_with_data_of_two_versions_the_newer_is_run() -> None:
    assert postgresql.choose({14: OLD, 16: NEW}, {14, 16}) == 16


def test_data_of_a_version_that_is_not_installed_is_refused_with_what_to_do() -> None:
    with pytest.raises(MaasInitError) as refusal:
        postgresql.choose({16: NEW}, {14})
    assert "its data is of PostgreSQL 14 and this image has PostgreSQL 16" in str(refusal.value)
    assert "maas-init backup" in refusal.value.hint
    assert "maas-init restore latest" in refusal.value.hint


def test_an_image_without_server_is_explained() -> None:
    with pytest.raises(MaasInitError, match="no server is installed"):
        postgresql.choose({}, set())


def test_an_external_database_is_not_run_here() -> None:
    with pytest.raises(MaasInitError, match=r"POSTGRES_HOST is db\.example\.com"):
        postgresql.serve(settings(POSTGRES_HOST="db.example.com"), Paths(Path("/nonexistent")))


def test_configuration_listens_on_the_socket_only() -> None:
    text = postgresql.configuration(settings(POSTGRES_PORT="5433"), Paths(Path("/it's")))
    assert "listen_addresses = ''\n" in text
    assert "port = 5433\n" in text
    assert "unix_socket_directories = '/it''s/run/postgresql'\n" in text
    assert text.splitlines()[-1] == "include = '../local.conf'"


def test_who_runs_the_server_is_superuser_and_others_give_a_password() -> None:
    rules = [line.split() for line in postgresql.host_based_authentication().splitlines() if line[0] != "#"]
    assert rules == [
        ["local", "all", "postgres", "peer", "map=maas-init"],
        ["local", "all", "all", "scram-sha-256"],
    ]
    assert postgresql.identity_map("maas").endswith('maas-init  "maas"  postgres\n')


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.remove()


@pytest.mark.process
def test_first_start_makes_the_data_and_the_second_keeps_it(server: Server) -> None:
    server.start()
    with server.superuser() as superuser:
        superuser.execute("CREATE TABLE kept (value integer)")
        shown = {
            name: superuser.execute("SELECT current_setting(%s)", (name,)).fetchone()
            for name in ("server_encoding", "lc_collate", "data_checksums", "listen_addresses", "max_connections")
        }
    assert shown == {
        "server_encoding": ("UTF8",),
        "lc_collate": ("C.UTF-8",),
        "data_checksums": ("on",),
        "listen_addresses": ("",),
        "max_connections": ("200",),
    }
    assert server.stop() == 0
    assert "database system is shut down" in server.log.read_text()
    assert server.start() < 2
    with server.superuser() as superuser:
        superuser.execute("SELECT value FROM kept")
    assert server.log.read_text().count("postgresql.created") == 1


@pytest.mark.process
def test_a_first_start_that_was_cut_off_is_taken_up_again(server: Server) -> None:
    version = max(postgresql.programs(server.paths))
    left = server.paths.postgresql / f".{version}.new"
    left.mkdir(parents=True)
    (left / "PG_VERSION").write_text(f"{version}\n")
    for path in (server.paths.postgresql, left, left / "PG_VERSION"):
        os.chown(path, SERVER_USER, -1)
    server.start()
    assert not left.exists()


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_first_start_may_be_stopped_at_any_moment(server: Server, number: signal.Signals) -> None:
    server.pid = server.spawn(settings())
    until(lambda: bool(list(server.paths.postgresql.glob(".*.new/PG_VERSION"))))
    assert server.stop(number) != 0
    until(lambda: not initdb_runs_below(server.root))
    server.start()


def initdb_runs_below(root: Path) -> bool:
    told = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    return any("initdb" in line and os.fspath(root) in line for line in told)


@pytest.mark.process
def test_after_a_kill_an_id_that_is_now_another_program_does_not_stop_the_server(server: Server) -> None:
    server.start()
    data = server.paths.postgresql / str(max(postgresql.programs(server.paths)))
    pid_file, socket_lock = data / "postmaster.pid", server.paths.postgresql_socket / ".s.PGSQL.5432.lock"
    server.stop(signal.SIGKILL)
    with subprocess.Popen(["sleep", "60"], user=SERVER_USER if os.geteuid() == 0 else None) as other:
        for path in (pid_file, socket_lock):
            _, _, rest = path.read_text().partition("\n")
            path.write_text(f"{other.pid}\n{rest}")
        server.start()
        other.kill()
    assert "postgresql.recovered" in server.log.read_text()
    assert server.stop() == 0


@pytest.mark.process
def test_a_second_server_on_the_same_data_is_refused(server: Server) -> None:
    server.start()
    second = server.spawn(settings(), lock_within=0.2)
    _, status = os.waitpid(second, 0)
    assert os.waitstatus_to_exitcode(status) == 1
    assert "another PostgreSQL server is using it" in server.log.read_text()
    server.superuser().close()


@pytest.mark.process
def test_a_server_started_by_hand_is_left_alone(server: Server) -> None:
    server.start()
    version = max(postgresql.programs(server.paths))
    data = server.paths.postgresql / str(version)
    assert postgresql._is_running(data)
    postgresql._remove_stale(data, server.paths.postgresql_socket)
    assert (data / "postmaster.pid").exists()
    server.stop()
    assert not postgresql._is_running(data)


@pytest.mark.process
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody without a name")
def test_a_user_without_name_is_told_why(server: Server) -> None:
    os.waitpid(server.spawn(settings(), user=54321), 0)
    assert "cannot run PostgreSQL as uid 54321: it has no name in this container" in server.log.read_text()


@pytest.mark.process
def test_local_conf_overrides_and_nothing_is_readable_by_others(server: Server) -> None:
    server.paths.postgresql.mkdir(parents=True)
    (server.paths.postgresql / "local.conf").write_text("max_connections = 17\n")
    os.chown(server.paths.postgresql, SERVER_USER, -1)
    server.start()
    with server.superuser() as superuser:
        assert superuser.execute("SHOW max_connections").fetchone() == ("17",)
    data = server.paths.postgresql / str(max(postgresql.programs(server.paths)))
    for name in ("", "postgresql.conf", "pg_hba.conf", "pg_ident.conf"):
        assert (data / name).stat().st_mode & 0o077 == 0


@pytest.mark.process
def test_log_lines_have_no_time_of_their_own(server: Server) -> None:
    server.start()
    until(lambda: "ready to accept connections" in server.log.read_text())
    lines = [line for line in server.log.read_text().splitlines() if "ready to accept" in line]
    assert re.match(r"^LOG:  database system is ready", lines[0])
