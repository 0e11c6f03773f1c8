"""MAAS at its worst: the simulator's switches, one after the other on one container, and what is seen of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from . import docker
from .conftest import Run
from .docker import Container, until

pytestmark = pytest.mark.container


@pytest.fixture(scope="module")
def maas(new: Run) -> Container:
    container = new().run()
    container.until_healthy()
    return container


@contextmanager
def switched(maas: Container, **switches: str) -> Iterator[None]:
    """Let MAAS behave so while the block runs, and be well again after it."""
    for name, value in switches.items():
        maas.execute("sh", "-c", f"cat > /etc/maas-simulator/{name.replace('_', '-')}", stdin=value, user="0")
    yield
    maas.execute("rm", *(f"/etc/maas-simulator/{name.replace('_', '-')}" for name in switches), user="0")
    maas.until_healthy()


@pytest.mark.parametrize(("switch", "service"), [("hang_api", "regiond"), ("hang_apiserver", "apiserver")])
def test_one_that_runs_and_answers_nobody_is_named(maas: Container, switch: str, service: str) -> None:
    with switched(maas, **{switch: "yes"}):
        until(lambda: f'service.restarted service={service} reason="it does not answer' in maas.logs(), "the remedy")
        until(lambda: maas.health() == "unhealthy", "unhealthy: it does not help")
        until(lambda: f"{service} is " in maas.health_reason(), "the reason")


def test_a_region_that_kills_named_again_and_again_gets_it_back_each_time(maas: Container) -> None:
    before = maas.logs().count("service.wanted service=bind9 on=True owner=MAAS")
    with switched(maas, dns_mismatch="yes", dns_check_rounds="1"):
        maas.execute("supervisorctl", "restart", "regiond")
        until(lambda: maas.logs().count("service.wanted service=bind9 on=True owner=MAAS") >= before + 3, "three kills")


def test_daemons_that_ignore_sigterm_do_not_spoil_the_stop(maas: Container) -> None:
    """The last one here: it ends the container."""
    deaf = ("regiond", "rackd", "apiserver", "temporal", "temporal-worker", "agent")
    for name in deaf:
        maas.execute("touch", f"/etc/maas-simulator/{name}-ignores-sigterm", user="0")
    docker.docker("restart", maas.name)
    until(lambda: set(deaf) <= maas.processes().keys(), "all of them")
    before = maas.logs()

    docker.docker("stop", "--time", "120", maas.name)

    assert "database system is shut down" in maas.logs().removeprefix(before)
    assert "stop.forced" not in maas.logs()
    assert maas.inspect(".State.ExitCode") == 0
