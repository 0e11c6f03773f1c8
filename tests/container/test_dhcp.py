"""DHCP as MAAS asks for it: dhcpd runs when it should and never else, and machines get what they boot from."""

from __future__ import annotations

import json
import re
import secrets
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from . import docker
from .conftest import Run
from .docker import ADMIN_PASSWORD, Container, until

pytestmark = pytest.mark.container

SUBNET = "172.31.77"


class Api:
    """MAAS's HTTP API, as its administrator (OAuth 1.0, PLAINTEXT)."""

    def __init__(self, maas: Container) -> None:
        self._base = f"http://{maas.port('5240/tcp')}/MAAS"
        self._token = self._send(
            "POST", "/accounts/authenticate/", {"username": "admin", "password": ADMIN_PASSWORD}, {}
        )

    def __call__(self, method: str, path: str, **form: Any) -> Any:
        facts = {
            "oauth_version": "1.0",
            "oauth_signature_method": "PLAINTEXT",
            "oauth_consumer_key": self._token["consumer_key"],
            "oauth_token": self._token["token_key"],
            "oauth_signature": "&" + self._token["token_secret"],
            "oauth_timestamp": str(int(time.time())),
            "oauth_nonce": secrets.token_hex(8),
        }
        words = ", ".join(f'{name}="{urllib.parse.quote(value, safe="")}"' for name, value in facts.items())
        return self._send(method, f"/api/2.0/{path}", form, {"Authorization": f"OAuth {words}"})

    def _send(self, method: str, path: str, form: dict[str, Any], headers: dict[str, str]) -> Any:
        body = urllib.parse.urlencode(form).encode() if form else None
        request = urllib.request.Request(self._base + path, data=body, headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())


@pytest.fixture(scope="module")
def network() -> Iterator[str]:
    name = f"maas-init-test-{secrets.token_hex(4)}"
    no_way_out = "com.docker.network.bridge.enable_ip_masquerade=false"
    docker.docker("network", "create", "--subnet", f"{SUBNET}.0/24", "-o", no_way_out, name)
    yield name
    docker.docker("network", "rm", name, check=False)


@pytest.fixture(scope="module")
def maas(new: Run) -> Container:
    container = new().run()
    container.until_healthy()
    return container


def set_dhcp(maas: Container, on: bool) -> None:
    """Switch DHCP on or off for the network the container is on, as people do in MAAS."""
    api = Api(maas)
    rack = until(lambda: api("GET", "rackcontrollers/"), "a registered rack")[0]["system_id"]
    vlan = next(each for each in api("GET", "subnets/") if each["cidr"] == f"{SUBNET}.0/24")["vlan"]
    if not any(each["type"] == "dynamic" for each in api("GET", "ipranges/")):
        api("POST", "ipranges/", type="dynamic", start_ip=f"{SUBNET}.100", end_ip=f"{SUBNET}.150")
    path = f"fabrics/{vlan['fabric_id']}/vlans/{vlan['vid']}/"
    api("PUT", path, dhcp_on="true" if on else "false", primary_rack=rack)


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

    maas.execute("kill", "-9", str(maas.processes()["rackd"]))
    maas.until_healthy()
    until(lambda: "agent" in maas.processes(), "rackd has done what it does first")
    assert "dhcpd" not in maas.processes()

    docker.docker("restart", maas.name)
    maas.until_healthy()
    until(lambda: "agent" in maas.processes(), "rackd has done what it does first")
    assert "dhcpd" not in maas.processes()
