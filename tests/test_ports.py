"""Who is in the way: real sockets of real processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from maas_init import ports, services
from maas_init.errors import ServiceFileError

LISTEN = """
import socket, sys
kind = socket.SOCK_STREAM if sys.argv[1] == "tcp" else socket.SOCK_DGRAM
held = socket.socket(socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET, kind)
held.bind((sys.argv[2], 0))
if kind == socket.SOCK_STREAM:
    held.listen()
print(held.getsockname()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=[("tcp", "127.0.0.1"), ("udp", "127.0.0.1"), ("tcp", "0.0.0.0"), ("udp", "::")], ids="-".join)
def other(request: pytest.FixtureRequest) -> Iterator[tuple[str, str, int, int]]:
    """Another process that holds a port: protocol, address, port, process id."""
    protocol, address = request.param
    command = [sys.executable, "-c", LISTEN, protocol, address]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True, start_new_session=True) as process:
        assert process.stdout
        yield protocol, address, int(process.stdout.readline()), process.pid
        process.kill()


def test_who_holds_a_port_is_named(other: tuple[str, str, int, int]) -> None:
    protocol, address, port, pid = other
    for wanted in ("", "127.0.0.1"):
        found = ports.holder([(protocol, wanted, port)], os.getpgid(0))
        assert found
        assert (found.pid, found.socket.address) == (pid, address)
        shown = f"[{address}]" if ":" in address else address
        assert f"port {port}/{protocol} is taken: {found.name} (process {pid}) listens at {shown}:{port}" in str(found)


def test_its_own_processes_and_other_addresses_are_not_in_the_way(other: tuple[str, str, int, int]) -> None:
    protocol, address, port, pid = other
    assert ports.holder([(protocol, "", port)], pid) is None, "the group of that process"
    assert ports.holder([("tcp" if protocol == "udp" else "udp", "", port)], 0) is None
    if address == "127.0.0.1":
        assert ports.holder([(protocol, "127.0.0.2", port)], 0) is None


def test_connections_do_not_hold_a_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        assert ports.holder([("tcp", "", near.getsockname()[1])], 0) is None
        near.close()


def test_who_is_outside_is_known_by_his_user_and_address() -> None:
    held = ports.Holder(ports.Socket("udp", "0.0.0.0", 53, 101, "1"), 0, "")
    assert str(held) == (
        "port 53/udp is taken: uid 101 outside this container listens at 0.0.0.0:53, to be found there with: "
        "ss -lnpu sport = :53; stop that, then it comes up by itself"
    )


def test_port_that_is_none_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.conf"
    file.write_text("[program:a]\nautostart = false\n[service:a]\nlistens = tcp/http\n")
    with pytest.raises(ServiceFileError, match="for example tcp/5240"):
        services.read_file(file)
