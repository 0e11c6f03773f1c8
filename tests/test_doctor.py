"""The doctor's questions one by one; against a real container they are asked in tests/container/test_doctor.py."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest
from fix_deployment import Deployment
from fix_postgresql import Server
from harness import REQUIRED

from maas_init import database, doctor
from maas_init.doctor import Patient, dhcp, network, upkeep, volumes
from maas_init.doctor import database as questions
from maas_init.doctor.finding import Check, Finding, Level
from maas_init.doctor.patient import NotNow
from maas_init.errors import MaasInitError
from maas_init.paths import Paths

OURS = Path(__file__).parent.parent / "supervisord.conf.d"


def patient(root: Path, **environ: str) -> Patient:
    return Patient(Paths(root), REQUIRED | environ, (OURS,))


def ask(name: str, who: Patient) -> Finding:
    check = next(each for checks in doctor.CONCERNS.values() for each in checks if each.name == name)
    return doctor.answer(check, who)


# What is common to all.


def test_there_are_many_questions_and_each_is_explained() -> None:
    checks = [check for checks in doctor.CONCERNS.values() for check in checks]
    assert len(checks) >= 30
    assert len({check.name for check in checks}) == len(checks)
    for check in checks:
        assert "?" in check.asks, check.name
        assert check.meaning.endswith(".") and check.remedy, check.name
        assert "|" not in check.asks + check.meaning + check.remedy, "it would break the table of the page"


def test_whatever_a_question_comes_to_is_an_answer(tmp_path: Path) -> None:
    def raising(error: Exception) -> Finding:
        def look(_patient: Patient) -> str:
            raise error

        return doctor.answer(Check(look, "", ""), patient(tmp_path))

    assert raising(NotNow("not running")) == Finding(Level.SKIPPED, "not running")
    assert raising(MaasInitError("cannot do it", hint="do that")) == Finding(Level.FAILURE, "cannot do it", "do that")
    assert raising(ZeroDivisionError("oh")) == Finding(Level.WARNING, "cannot tell: ZeroDivisionError: oh")


def test_exit_code_is_that_of_the_worst(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def code(*levels: Level) -> int:
        checks = [Check(lambda _, level=level: Finding(level, "seen"), "", "") for level in levels]  # type: ignore[misc]
        monkeypatch.setattr(doctor, "CONCERNS", {"one": checks})
        return doctor.main(patient(tmp_path), everything=False, as_json=True)

    assert code(Level.OK, Level.SKIPPED) == 0
    assert code(Level.WARNING, Level.OK) == 1
    assert code(Level.FAILURE, Level.WARNING) == 2


def test_where_nothing_runs_what_needs_it_is_skipped(tmp_path: Path) -> None:
    who = patient(tmp_path)
    for check in upkeep.CHECKS:
        if check.name != "unwished-ends":
            assert doctor.answer(check, who) == Finding(Level.SKIPPED, "not running"), check.name


def test_without_usable_settings_the_rest_is_still_asked(tmp_path: Path) -> None:
    who = patient(tmp_path, MAAS_URL="maas")
    found = {check.name: finding for check, finding in doctor.examine(who)}
    assert found["settings"].level is Level.FAILURE
    assert "MAAS_URL" in found["settings"].evidence
    assert found["database-reachable"] == Finding(Level.SKIPPED, "the settings cannot be used: see settings")
    assert not [finding for finding in found.values() if finding.evidence.startswith("cannot tell")]


# Container and volumes.


def test_memory_that_the_kernel_killed_for_is_told(tmp_path: Path) -> None:
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    for name, text in {
        "memory.current": str(1900 << 20),
        "memory.max": str(2000 << 20),
        "memory.events": "oom_kill 2\n",
        "memory.stat": "inactive_file 0\n",
        "pids.max": "100\n",
    }.items():
        (group / name).write_text(text)
    who = patient(tmp_path)
    assert ask("memory-killed", who) == Finding(Level.FAILURE, "it killed 2 processes since the container began")
    assert ask("memory-limit", who) == Finding(Level.WARNING, "the limit is 2000 MiB")
    assert ask("memory-used", who) == Finding(Level.WARNING, "1900 of 2000 MiB are used")
    assert ask("process-limit", who) == Finding(Level.WARNING, "the limit is 100")
    (group / "memory.events").write_text("oom_kill 0\n")
    assert ask("memory-killed", who).level is Level.OK


MOUNTINFO = (
    "86 61 0:39 / / rw,relatime master:2 - overlay overlay rw\n"
    "103 86 254:0 /srv/docker/volumes/{id}/_data /var/lib/maas rw,relatime - ext4 /dev/vda rw\n"
    "104 86 254:0 /tank/my\\040maas /etc/maas rw,relatime - zfs tank rw\n"
)


def test_mounts_are_read_as_the_kernel_writes_them() -> None:
    found = volumes.mounts(MOUNTINFO)
    assert volumes.mount_of(Path("/var/lib/maas/http"), found).kind == "ext4"
    assert volumes.mount_of(Path("/var/lib/maasx"), found).kind == "overlay"
    assert volumes.mount_of(Path("/etc/maas"), found).root == "/tank/my maas"


# Network: what answers to a DHCPDISCOVER.


def offer(identity: bytes, *, kind: int = 2, port: int = 68, server: str = "192.0.2.1") -> bytes:
    """Return a DHCP server's packet."""
    bootp = struct.pack("!4B4s8x4s8x16s192x", 2, 1, 6, 0, identity, socket.inet_aton("192.0.2.77"), bytes(16))
    options = bytes([0, 53, 1, kind, 54, 4]) + socket.inet_aton(server) + b"\xff"
    payload = bootp + dhcp.MAGIC + options
    udp = struct.pack("!4H", 67, port, 8 + len(payload), 0) + payload
    return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, bytes(4), b"\xff" * 4) + udp


def test_offer_is_told_from_everything_else_on_the_network() -> None:
    mine = b"mine"
    assert dhcp.parse(offer(mine), mine) == dhcp.Offer("192.0.2.1", "192.0.2.77")
    assert dhcp.parse(offer(b"else"), mine) is None, "somebody else asked"
    assert dhcp.parse(offer(mine, kind=5), mine) is None, "an acknowledgement"
    assert dhcp.parse(offer(mine, port=53), mine) is None, "not for a DHCP client"
    for length in range(len(offer(mine)) - 8):
        dhcp.parse(offer(mine)[:length], mine)  # cut off, it must not raise
    assert dhcp.parse(b"", mine) is None


def test_question_is_not_asked_without_the_wish(tmp_path: Path) -> None:
    assert ask("other-dhcp-servers", patient(tmp_path)).evidence.startswith("not asked: with --dhcp")


@pytest.mark.parametrize(
    ("url", "level", "evidence"),
    [
        ("http://localhost:5240/MAAS", Level.FAILURE, "another one to each"),
        ("http://127.0.0.2:5240/MAAS", Level.FAILURE, "another one to each"),
        ("http://[::1]:5240/MAAS", Level.FAILURE, "another one to each"),
        ("http://0.0.0.0:5240/MAAS", Level.FAILURE, "where to listen"),
        ("http://169.254.1.2:5240/MAAS", Level.WARNING, "only valid on one cable"),
        ("http://192.0.2.1:5240/MAAS", Level.OK, "192.0.2.1"),
    ],
)
def test_address_that_machines_cannot_use_is_told(tmp_path: Path, url: str, level: Level, evidence: str) -> None:
    found = ask("maas-url", patient(tmp_path, MAAS_URL=url))
    assert found.level is level
    assert evidence in found.evidence


def test_holder_of_a_port_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.getsockname()[1]
        monkeypatch.setattr(network, "PORTS", (network.Port(number, "tcp", "http"),))
        found = ask("ports", patient(tmp_path))
    assert found.level is Level.FAILURE
    assert f"tcp {number} (http) is held by " in found.evidence
    assert f"(process {os.getpid()})" in found.evidence
    assert ask("ports", patient(tmp_path)).level is Level.OK


def test_stub_resolver_of_the_host_is_in_nobody_s_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.53", 0)) as listener:
        number = listener.getsockname()[1]
        monkeypatch.setattr(network, "PORTS", (network.Port(number, "tcp", "bind9"),))
        assert ask("ports", patient(tmp_path)).level is Level.OK
        monkeypatch.setattr(network, "PORTS", (network.Port(number, "tcp", "http"),))
        assert ask("ports", patient(tmp_path)).level is Level.FAILURE


def test_name_server_that_is_silent_is_named(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/resolv.conf").write_text("search example\nnameserver 127.0.0.254\n")
    assert ask("name-servers", patient(tmp_path)) == Finding(Level.WARNING, "127.0.0.254 does not answer")
    (tmp_path / "etc/resolv.conf").write_text("search example\n")
    assert "names none" in ask("name-servers", patient(tmp_path)).evidence


# Identity.


def certificate(directory: Path, days: int) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=maas", "-days", str(days)]
    files = ["-keyout", str(directory / "cluster.key"), "-out", str(directory / "cluster.pem")]
    subprocess.run([*argv, *files], check=True, capture_output=True)


def test_certificate_that_soon_ends_is_told(tmp_path: Path) -> None:
    who = patient(
        tmp_path, MAAS_TLS_CERT_FILE=str(tmp_path / "cluster.pem"), MAAS_TLS_KEY_FILE=str(tmp_path / "cluster.key")
    )
    assert ask("cluster-certificate", who).level is Level.SKIPPED
    assert ask("tls-certificate", who).level is Level.WARNING, "it is not there"
    for days, level in ((5, Level.WARNING), (100, Level.OK)):
        certificate(who.where.maas_data / "certificates", days)
        certificate(tmp_path, days)
        assert ask("cluster-certificate", who).level is level
        assert ask("tls-certificate", who).level is level
    (tmp_path / "cluster.key").write_text("nonsense")
    assert ask("tls-certificate", who).level is Level.FAILURE


def test_secret_that_is_another_one_is_told_and_not_shown(tmp_path: Path) -> None:
    who = patient(tmp_path, MAAS_REGION_SECRET="ab" * 16)
    assert ask("region-secret", who).level is Level.SKIPPED
    who.where.maas_data.mkdir(parents=True)
    (who.where.maas_data / "secret").write_text("cd" * 16)
    found = ask("region-secret", who)
    assert found.level is Level.FAILURE
    assert "cdcd" not in found.evidence and "abab" not in found.evidence
    (who.where.maas_data / "secret").write_text("ab" * 16)
    assert ask("region-secret", who).level is Level.OK


# The database: a real one.


def examined(deployment: Deployment, name: str, clock_off: float = 0.0) -> Finding:
    socket_directory = os.fspath(deployment.paths.postgresql_socket)
    who = Patient(
        deployment.paths,
        REQUIRED | {"POSTGRES_HOST": socket_directory, "POSTGRES_PASSWORD": "secret-of-the-database"},
        (OURS,),
        clock=lambda: time.time() + clock_off,
    )
    with contextlib.closing(who):
        return ask(name, who)


def test_database_that_is_as_it_should_be_is_well(deployment: Deployment) -> None:
    deployment.start()
    names = [check.name for check in questions.CHECKS]
    found = {name: examined(deployment, name) for name in names}
    assert {name: each.evidence for name, each in found.items() if each.level is not Level.OK} == {}
    assert "finished by MAAS 3.5.13" in found["database-schema"].evidence


@pytest.mark.parametrize(("seconds", "level"), [(0.0, Level.OK), (5.0, Level.WARNING), (-60.0, Level.FAILURE)])
def test_clocks_that_differ_are_told(deployment: Deployment, seconds: float, level: Level) -> None:
    deployment.start()
    found = examined(deployment, "database-clock", clock_off=seconds)
    assert found.level is level
    assert ("behind" in found.evidence) == (seconds > 0) or not seconds


def test_another_version_of_maas_is_told(deployment: Deployment) -> None:
    deployment.start()
    deployment.dpkg("1:3.5.14-0ubuntu1")
    found = examined(deployment, "database-schema")
    assert found == Finding(Level.WARNING, "MAAS 3.5.13 was here last, and this image has 3.5.14")


def test_database_that_cannot_hold_every_character_or_may_not_be_changed_is_told(
    deployment: Deployment, server: Server
) -> None:
    with server.superuser() as superuser:
        superuser.execute("CREATE ROLE maas LOGIN PASSWORD 'secret-of-the-database'")
        superuser.execute("CREATE DATABASE maasdb TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'")
    assert examined(deployment, "database-encoding") == Finding(Level.FAILURE, "it is SQL_ASCII")
    rights = examined(deployment, "database-rights")
    assert (rights.level, rights.remedy) == (Level.FAILURE, database.HINTS[database.Cause.NO_RIGHTS])
    with server.superuser() as superuser:
        superuser.execute("ALTER ROLE maas PASSWORD 'another'")
    assert examined(deployment, "database-reachable").level is Level.FAILURE
    assert examined(deployment, "database-encoding").level is Level.SKIPPED, "one cause is told once"
