"""MAAS's API, as people's programs use it."""

from __future__ import annotations

import ipaddress
import json
import secrets
import time
import urllib.parse
import urllib.request
from typing import Any

from .docker import ADMIN_PASSWORD, Container, until


class Api:
    """MAAS's HTTP API, as its administrator (OAuth 1.0, PLAINTEXT)."""

    def __init__(self, maas: Container, password: str = ADMIN_PASSWORD, *, at: str = "") -> None:
        """`at` is where it listens, if that is not a port of this machine."""
        self._base = f"http://{at or maas.port('5240/tcp')}/MAAS"
        self._token = self._send("POST", "/accounts/authenticate/", {"username": "admin", "password": password}, {})

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

    def set_dhcp(self, address: str, *, on: bool) -> None:
        """Switch DHCP on or off for the network that has this address of a rack, as people do in MAAS."""
        rack = until(lambda: self("GET", "rackcontrollers/"), "a registered rack")[0]["system_id"]
        networks = {ipaddress.ip_network(each["cidr"]): each["vlan"] for each in self("GET", "subnets/")}
        network, vlan = next(each for each in networks.items() if ipaddress.ip_address(address) in each[0])
        if not any(each["type"] == "dynamic" for each in self("GET", "ipranges/")):
            first, last = network[100], network[150]
            self("POST", "ipranges/", type="dynamic", start_ip=str(first), end_ip=str(last))
        path = f"fabrics/{vlan['fabric_id']}/vlans/{vlan['vid']}/"
        self("PUT", path, dhcp_on="true" if on else "false", primary_rack=rack)

    def _send(self, method: str, path: str, form: dict[str, Any], headers: dict[str, str]) -> Any:
        body = urllib.parse.urlencode(form).encode() if form else None
        request = urllib.request.Request(self._base + path, data=body, headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read().decode()
        try:
            return json.loads(text)
        except ValueError:
            return text  # a sentence
