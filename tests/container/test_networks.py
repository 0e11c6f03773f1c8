"""Compose on networks on which machines can reach MAAS: this machine's own, and an address of its own there."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .compose import ROOT, up
from .docker import docker, ports_of_this_machine, until

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
    with up(image, file=file, MACVLAN_PARENT=wire) as project:
        maas = project.maas("maas")
        until(lambda: maas.health() == "healthy" and maas.status()["level"] == "healthy", "healthy")
        neighbour = ("run", "--rm", "--network", f"{project.name}_machines", "--entrypoint", "curl", image)
        assert "eventloops" in docker(*neighbour, "--silent", "--fail", f"http://{net}.50:5240/MAAS/rpc/")
