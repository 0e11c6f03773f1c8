"""DHCP as MAAS asks for it: dhcpd runs when it should and never else, and machines get what they boot from."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator

import pytest

from . import docker, machine
from .api import Api
from .conftest import Run
from .docker import Container, until

pytestmark = pytest.mark.container

# Another one each time, outside Docker's own: two runs may share an engine.
SUBNET = f"10.{200 + secrets.randbelow(50)}.{secrets.randbelow(250)}"
BRIDGE = f"maas{secrets.token_hex(4)}"


@pytest.fixture(scope="module")
def network() -> Iterator[str]:
    name = f"maas-init-test-{secrets.token_hex(4)}"
    no_way_out = "com.docker.network.bridge.enable_ip_masquerade=false"
    bridge = f"com.docker.network.bridge.name={BRIDGE}"
    docker.docker("network", "create", "--subnet", f"{SUBNET}.0/24", "-o", no_way_out, "-o", bridge, name)
    yield name
    docker.docker("network", "rm", name, check=False)


@pytest.fixture(scope="module")
def maas(new: Run) -> Container:
    container = new().run()
    # MAAS's monitors look every 30 s; rackd is started anew to hear of it.
    container.execute("sh", "-c", "echo 1 > /etc/maas-simulator/monitor-seconds", user="0")
    container.until_healthy()
    container.execute("supervisorctl", "restart", "rackd")
    container.until_healthy()
    return container


def three_rounds(maas: Container) -> None:
    """Wait until MAAS's monitor has looked three times: each time it starts the agent, which we stop."""
    for _ in range(3):
        maas.execute("supervisorctl", "stop", "agent")
        until(lambda: "agent" in maas.processes(), "a round of MAAS's monitor")


def set_dhcp(maas: Container, on: bool) -> None:
    Api(maas).set_dhcp(maas.address(), on=on)


def client(image: str, network: str, script: str) -> str:
    """Run a machine's programs on the same network: a container that is nothing but a DHCP client."""
    return docker.docker(
        *("run", "--rm", "--user", "0", "--network", network, "--cap-add", "NET_ADMIN", "--cap-add", "NET_RAW"),
        *("--entrypoint", "sh", image, "-c", script),
        check=False,
    )


# A BIOS machine that boots from the network (RFC 4578: architecture 0). Its address is noted, not used.
ASK = """
cat > /tmp/dhclient.conf << end
option arch code 93 = unsigned integer 16;
send arch 0;
send vendor-class-identifier "PXEClient:Arch:00000:UNDI:002001";
end
dhclient -1 -v -cf /tmp/dhclient.conf -sf /bin/true -lf /tmp/leases -pf /tmp/pid eth0
cat /tmp/leases
"""


def test_a_machine_gets_an_address_and_its_boot_file(maas: Container, image: str, network: str) -> None:
    assert "dhcpd" not in maas.processes()
    set_dhcp(maas, on=True)
    until(lambda: "dhcpd" in maas.processes(), "dhcpd")
    until(lambda: maas.status()["services"]["dhcpd"]["level"] == "ready", "dhcpd ready")
    assert "MAAS wants it on" in maas.execute("maas-init", "why", "dhcpd")

    lease = client(image, network, ASK)

    assert re.search(rf"fixed-address {SUBNET}\.1[0-9]{{2}};", lease), lease
    assert 'filename "lpxelinux.0"' in lease
    address = maas.address()
    fetched = client(
        image, network, f"curl -fsS --max-time 20 tftp://{address}/lpxelinux.0 | wc -c; curl -fsS --max-time 20 "
        f"-o /dev/null -w '%{{http_code}}' http://{address}:5248/lpxelinux.0"
    )  # fmt: skip
    assert int(fetched.split()[0]) > 20_000
    assert fetched.split()[1] == "200"


@pytest.mark.parametrize(
    ("script", "loader"), [("", ""), (machine.LIKE_A_PLAIN_BIOS, "lpxelinux.0")], ids=["iPXE", "plain BIOS"]
)
def test_a_virtual_machine_boots_from_the_network(maas: Container, script: str, loader: str) -> None:
    set_dhcp(maas, on=True)
    until(lambda: "dhcpd" in maas.processes(), "dhcpd")

    with machine.switched_on(BRIDGE, script) as booting:
        lease = until(
            lambda: re.search(rf"DHCPACK on ({SUBNET}\.1\d\d) to {booting.mac}", maas.logs()), "the machine's lease"
        )
        if loader:
            until(lambda: f"{loader} requested by {lease[1]}" in maas.logs(), "the boot loader over TFTP")
            until(lambda: "PXELINUX" in booting.console, "the boot loader on the machine's console")
            asked = f"pxelinux.cfg/01-{booting.mac.replace(':', '-')} requested by {lease[1]}"
            until(lambda: asked in maas.logs(), "its question over HTTP")
        else:
            until(lambda: "MAAS simulator: ipxe.cfg" in booting.console, "the boot file over HTTP")


def test_dhcpd_dies_with_rackd_and_comes_back_when_maas_asks(maas: Container) -> None:
    set_dhcp(maas, on=True)
    until(lambda: "dhcpd" in maas.processes(), "dhcpd")
    before = maas.processes()

    maas.execute("kill", "-9", str(before["rackd"]))

    until(lambda: "it stops with rackd" in maas.logs(), "the end of dhcpd")
    until(lambda: maas.processes().get("dhcpd", before["dhcpd"]) != before["dhcpd"], "another dhcpd, asked for by MAAS")


def test_dhcp_that_was_switched_off_stays_off(maas: Container) -> None:
    set_dhcp(maas, on=True)
    until(lambda: "dhcpd" in maas.processes(), "dhcpd")
    set_dhcp(maas, on=False)
    until(lambda: "dhcpd" not in maas.processes(), "no dhcpd")

    three_rounds(maas)
    assert "dhcpd" not in maas.processes()

    maas.execute("kill", "-9", str(maas.processes()["rackd"]))
    maas.until_healthy()
    three_rounds(maas)
    assert "dhcpd" not in maas.processes()

    docker.docker("restart", maas.name)
    maas.until_healthy()
    three_rounds(maas)
    assert "dhcpd" not in maas.processes()
