"""compose.yaml as people use it: MAAS beside a PostgreSQL of its own."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .docker import POSTGRES_PASSWORD, Container, docker, ports_of_this_machine, postgres_image, until

pytestmark = pytest.mark.container

ROOT = Path(__file__).parents[2]


def compose(project: str, environ: dict[str, str], *argv: str) -> None:
    """Run whichever compose this machine has."""
    program = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
    command = [*program, "--project-name", project, "--file", str(ROOT / "compose.yaml"), *argv]
    done = subprocess.run(
        command, check=False, env=os.environ | environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def maas(image: str) -> Iterator[Container]:
    project = f"maasinittest{secrets.token_hex(4)}"
    environ = {
        "MAAS_IMAGE": image,
        "POSTGRES_IMAGE": postgres_image(image),
        "MASQUERADE": "false",
        "BIND_ADDRESS": "127.0.0.77",
        "POSTGRES_PASSWORD": POSTGRES_PASSWORD,
        "MAAS_URL": "http://localhost:5240/MAAS",
        "MAAS_ADMIN_PASSWORD": "admin password",
        "MAAS_ADMIN_EMAIL": "admin@example.com",
        "MAAS_BOOT_IMAGES_AUTO_IMPORT": "false",
    }
    with ports_of_this_machine():
        try:
            compose(project, environ, "up", "--detach")
            name = docker(
                *("ps", "--all", "--format", "{{.Names}}"),
                *("--filter", f"label=com.docker.compose.project={project}"),
                *("--filter", "label=com.docker.compose.service=maas"),
            ).strip()
            yield Container(image, f"{project}_default", name=name)
        finally:
            compose(project, environ, "down", "--volumes")


def test_compose_file_for_work_on_maas_init_is_understood() -> None:
    program = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
    files = ("--file", str(ROOT / "compose.yaml"), "--file", str(ROOT / "compose.dev.yaml"))
    command = [*program, *files, "config", "--quiet"]
    environ = os.environ | {"POSTGRES_PASSWORD": "a"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_compose_brings_maas_up_with_a_database_beside_it(maas: Container) -> None:
    until(lambda: maas.health() == "healthy", "healthy")

    services = maas.status()["services"]
    assert "postgresql" not in services
    assert services["database"]["level"] == "ready"
    assert services["api"]["level"] == "ready"


def test_the_external_database_s_outage_restarts_nothing_and_heals_by_itself(maas: Container) -> None:
    until(lambda: maas.status()["level"] == "healthy", "healthy")
    before = maas.processes()
    database = maas.name.replace("maas_1", "postgres_1").replace("maas-1", "postgres-1")

    docker("pause", database)
    try:
        until(lambda: maas.status()["level"] == "unhealthy", "unhealthy")
        until(lambda: "database is " in maas.status()["summary"], "the reason")
    finally:
        docker("unpause", database)
    until(lambda: maas.status()["level"] == "healthy", "healthy again")

    assert maas.processes() == before
