"""Compose on networks on which machines can reach MAAS: this machine's own, and an address of its own there."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .compose import COMPOSE, ROOT, up
from .docker import Container, docker, ports_of_this_machine, until

pytestmark = pytest.mark.container


def test_profile_host_has_maas_on_this_machine_s_network(image: str) -> None:
    with ports_of_this_machine(all_of_them=True), up(image, "host,postgres") as project:
        assert project.services().keys() == {"maas-host", "postgres"}
        maas = project.maas("maas-host")
        until(lambda: maas.status()["services"].get("api", {}).get("level") == "ready", "MAAS")
        assert maas.inspect(".HostConfig.NetworkMode") == "host"
        answer = ["curl", "--silent", "--noproxy", "*", "--fail", "http://localhost:5240/MAAS/rpc/"]
        assert "eventloops" in subprocess.run(answer, check=True, capture_output=True, text=True).stdout
        assert "postgresql" not in maas.status()["services"]


def ip(*words: str) -> int:
    return subprocess.run(["ip", "link", *words], check=False, capture_output=True).returncode


@pytest.fixture
def wire() -> Iterator[str]:
    """An interface of this machine that leads nowhere."""
    name = f"maas{secrets.token_hex(3)}"
    assert ip("add", name, "type", "veth", "peer", "name", f"{name}-end") == 0
    for each in (name, f"{name}-end"):
        assert ip("set", each, "up") == 0
    yield name
    ip("delete", name)


def test_macvlan_gives_maas_an_address_of_its_own(image: str, wire: str, tmp_path: Path) -> None:
    if ip("add", "link", wire, "name", f"{wire}-try", "type", "macvlan"):
        pytest.skip("the kernel of this machine has no macvlan")
    assert ip("delete", f"{wire}-try") == 0
    net = f"10.{200 + secrets.randbelow(50)}.{secrets.randbelow(250)}"
    text = (ROOT / "deploy/macvlan.yaml").read_text().replace("192.168.1.", f"{net}.")
    own = '      MAAS_BOOT_IMAGES_AUTO_IMPORT: "false"\n      MAAS_DNS_FORWARDER: none\n'
    file = tmp_path / "macvlan.yaml"
    file.write_text(text.replace("    environment:\n", f"    environment:\n{own}"))
    project = f"maasinittest{secrets.token_hex(4)}"
    compose = [*COMPOSE, "--project-name", project, "--file", str(file)]
    environ = os.environ | {"MAAS_IMAGE": image, "MACVLAN_PARENT": wire}
    try:
        subprocess.run([*compose, "up", "--detach"], env=environ, check=True)
        label = f"label=com.docker.compose.project={project}"
        maas = Container(image, "", name=docker("ps", "--filter", label, "--format", "{{.Names}}").strip())
        until(lambda: maas.health() == "healthy" and maas.status()["level"] == "healthy", "healthy")
        neighbour = ("run", "--rm", "--network", f"{project}_machines", "--entrypoint", "curl", image)
        assert "eventloops" in docker(*neighbour, "--silent", "--fail", f"http://{net}.50:5240/MAAS/rpc/")
    finally:
        subprocess.run([*compose, "down", "--volumes"], env=environ, check=True)
