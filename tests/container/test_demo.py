"""`make demo`, the first thing that the README shows."""

from __future__ import annotations

import os
import re
import secrets
import socket
import subprocess
from pathlib import Path

import pytest

from .docker import docker

pytestmark = pytest.mark.container

ROOT = Path(__file__).parents[2]


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname()[1])


def shown(port: str, path: str) -> str:
    address = f"http://localhost:{port}{path}"
    command = ["curl", "--silent", "--show-error", "--noproxy", "*", "--fail", "--location", address]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_demo_shows_maas_coming_up_and_leaves_nothing(image: str) -> None:
    name = f"maas-init-test-{secrets.token_hex(4)}"
    port, status = free_port(), free_port()
    environ = {"DEMO_NAME": name, "DEMO_PORT": port, "DEMO_STATUS_PORT": status}
    environ |= {"IMAGE": f"{image.rpartition(':')[0]}-demo", "MAAS_SOURCE": "simulator"}

    # Not what the make that runs this test was told.
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))} | environ

    def make(target: str) -> tuple[str, str]:
        command = ["make", "--no-print-directory", "-C", str(ROOT), target]
        done = subprocess.run(command, env=mine, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout, done.stderr

    try:
        told, progress = make("demo")
        changes = re.findall(r"^ +\d+ s  (\S+) +(\S+)", progress, re.MULTILINE)
        assert ("api", "ready") in changes and "Can" not in dict(changes), progress
        assert f"MAAS       http://localhost:{port}/MAAS/  as admin" in told
        assert re.search("^api +ready", told, re.MULTILINE), told
        assert "This is a SIMULATOR of MAAS" in told
        assert "MAAS" in shown(port, "/MAAS/")
        assert "Can machines boot over the network?" in shown(status, "/")
        make("demo-stop")
        left = docker("ps", "--all", "--quiet", "--filter", f"name={name}")
        assert (left, docker("network", "ls", "--quiet", "--filter", f"name={name}")) == ("", "")
    finally:
        make("demo-stop")
        docker("rmi", "--force", environ["IMAGE"], check=False)
