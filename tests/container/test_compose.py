"""compose.yaml as people use it at first: MAAS on a bridge, and a PostgreSQL beside it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from .compose import COMPOSE, ROOT, Project, up
from .docker import Container, docker, ports_of_this_machine, until

pytestmark = pytest.mark.container


@pytest.fixture(scope="module")
def project(image: str) -> Iterator[Project]:
    with ports_of_this_machine(), up(image, "bridge,postgres", BIND_ADDRESS="127.0.0.77") as project:
        yield project


@pytest.fixture
def maas(project: Project) -> Container:
    return project.maas("maas")


def test_compose_file_for_work_on_maas_init_is_understood() -> None:
    files = ("--file", str(ROOT / "compose.yaml"), "--file", str(ROOT / "compose.dev.yaml"))
    command = [*COMPOSE, *files, "config", "--quiet"]
    environ = os.environ | {"POSTGRES_PASSWORD": "a"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_compose_brings_maas_up_with_a_database_beside_it(project: Project, maas: Container) -> None:
    until(lambda: maas.health() == "healthy", "healthy")

    assert project.services().keys() == {"maas", "postgres"}
    services = maas.status()["services"]
    assert "postgresql" not in services
    assert services["database"]["level"] == "ready"
    assert services["api"]["level"] == "ready"


def test_the_external_database_s_outage_restarts_nothing_and_heals_by_itself(project: Project, maas: Container) -> None:
    until(lambda: maas.status()["level"] == "healthy", "healthy")
    before = maas.processes()
    database = project.services()["postgres"]

    docker("pause", database)
    try:
        until(lambda: maas.status()["level"] == "unhealthy", "unhealthy")
        until(lambda: "database is " in maas.status()["summary"], "the reason")
    finally:
        docker("unpause", database)
    until(lambda: maas.status()["level"] == "healthy", "healthy again")

    assert maas.processes() == before


def test_both_stop_at_once_and_well_and_start_again(project: Project, maas: Container) -> None:
    """Neither waits for the other: MAAS does that by itself."""
    project.compose("stop")
    assert {Container("", "", name=name).inspect(".State.ExitCode") for name in project.services().values()} == {0}
    project.compose("up", "--detach")
    until(lambda: maas.health() == "healthy" and maas.status()["level"] == "healthy", "healthy again")
