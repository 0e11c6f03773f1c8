"""A port that somebody else has, as on a host's network."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from .conftest import Run
from .docker import docker, until

pytestmark = pytest.mark.container

HOLD = """
import socket, time
held = []
tcp, udp = socket.SOCK_STREAM, socket.SOCK_DGRAM
for kind, port in ((udp, 53), (tcp, 53), (udp, 123), (tcp, 8000)):
    held.append(socket.socket(socket.AF_INET, kind))
    held[-1].bind(("0.0.0.0", port))
    if kind == tcp:
        held[-1].listen()
time.sleep(100000)
"""


@pytest.fixture
def neighbours(image: str, network: str) -> Iterator[tuple[str, str]]:
    """A network that lasts, and in it a container that has ports of MAAS's."""
    names = [f"maas-init-test-{secrets.token_hex(4)}" for _ in range(2)]
    owner, holder = names
    run = ("run", "--detach", "--user", "0")
    docker(
        *run, "--name", owner, "--hostname", "maas", "--network", network, "--entrypoint", "sleep", image, "infinity"
    )
    there = ("--network", f"container:{owner}")
    docker(*run, "--name", holder, *there, "--entrypoint", "python3", image, "-c", HOLD)
    yield owner, holder
    for name in names:
        docker("rm", "--force", "--volumes", name, check=False)


def test_what_cannot_have_its_port_says_who_has_it_and_comes_up_when_that_is_gone(
    new: Run, neighbours: tuple[str, str]
) -> None:
    owner, holder = neighbours
    maas = new()
    maas.network = f"container:{owner}"
    maas.start_plainly()

    def blocked() -> dict[str, str]:
        services = maas.status()["services"].items()
        return {name: each["because"] for name, each in services if each["level"] == "blocked"}

    until(lambda: set(blocked()) == {"bind9", "ntp", "proxy"}, "three that have no port", within=600)
    for name, port in (("bind9", "53/udp"), ("ntp", "123/udp"), ("proxy", "8000/tcp")):
        number = port.partition("/")[0]
        told = f"port {port} is taken: uid 0 outside this container listens at 0.0.0.0:{number}"
        assert blocked()[name].startswith(told), blocked()[name]
    status = maas.status()
    assert status["level"] == "degraded"
    assert status["services"]["api"]["level"] == "ready"
    assert all(each["restarts"] < 30 for each in status["services"].values()), "it is tried later and later"

    docker("rm", "--force", holder)
    try:
        until(lambda: maas.status()["level"] == "healthy", "everything is well")
    except AssertionError as error:
        told = maas.execute("maas-init", "status", check=False)
        raise AssertionError(f"{error}\n{told}\n{maas.logs()[-6000:]}") from error
    maas.remove()
