"""compose.yaml, with the profiles of a test."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from .docker import POSTGRES_PASSWORD, Container, docker, postgres_image

ROOT = Path(__file__).parents[2]
COMPOSE = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
"""Whichever this machine has."""


class Project:
    """What compose makes of a file for these profiles."""

    def __init__(self, image: str, profiles: str, file: Path, environ: Mapping[str, str]) -> None:
        self.name = f"maasinittest{secrets.token_hex(4)}"
        self._image, self._file = image, file
        self._environ = {
            "COMPOSE_PROFILES": profiles,
            "MAAS_IMAGE": image,
            "POSTGRES_IMAGE": postgres_image(image),
            "MASQUERADE": "false",
            "MAAS_DNS_FORWARDER": "none",
            "POSTGRES_PASSWORD": POSTGRES_PASSWORD,
            "MAAS_URL": "http://localhost:5240/MAAS",
            "MAAS_ADMIN_PASSWORD": "admin password",
            "MAAS_ADMIN_EMAIL": "admin@example.com",
            "MAAS_BOOT_IMAGES_AUTO_IMPORT": "false",
            **environ,
        }

    def compose(self, *argv: str) -> str:
        command = [*COMPOSE, "--project-name", self.name, "--file", str(self._file), *argv]
        done = subprocess.run(
            command,
            check=False,
            env=os.environ | self._environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def services(self) -> dict[str, str]:
        """Return the container of each service that there is one of."""
        listed = docker(
            *("ps", "--all", "--filter", f"label=com.docker.compose.project={self.name}"),
            *("--format", '{{.Label "com.docker.compose.service"}} {{.Names}}'),
        )
        return dict(line.split() for line in listed.splitlines())

    def maas(self, service: str) -> Container:
        return Container(self._image, f"{self.name}_default", name=self.services()[service])


@contextmanager
def up(image: str, profiles: str = "", file: Path = ROOT / "compose.yaml", **environ: str) -> Iterator[Project]:
    project = Project(image, profiles, file, environ)
    try:
        project.compose("up", "--detach")
        yield project
    finally:
        project.compose("down", "--volumes")
