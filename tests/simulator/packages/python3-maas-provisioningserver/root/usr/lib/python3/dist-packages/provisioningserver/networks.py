"""What a controller knows of its own network, through sudo as MAAS does."""

from __future__ import annotations

import functools
import json
import os
import platform
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import Any

from . import paths, processes
from .log import log

ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "armhf",
    "i686": "i386",
    "ppc64le": "ppc64el",
    "s390x": "s390x",
}
IGNORED = {"loopback", "ipip", "tunnel"}


def architecture() -> str:
    return ARCHITECTURES.get(platform.machine(), platform.machine())


@functools.lru_cache(maxsize=1)
def in_container() -> bool:
    """Asked once. A missing program raises; a non-zero exit means no container."""
    return processes.run(["systemd-detect-virt", "-c"]).returncode == 0


def raw() -> dict[str, Any]:
    """The `networks` part of what machine-resources prints (plain sudo, no -n)."""
    folder = paths.program("/usr/share/maas/machine-resources")
    output = processes.check(["sudo", f"{folder}/{architecture()}"])
    return json.loads(output)["networks"]


def interfaces() -> dict[str, dict[str, Any]]:
    """Interfaces that count: name -> mac, type, enabled, addresses (CIDR)."""
    container = in_container()
    for needed in (["ip", "-json", "route", "list", "scope", "global"], ["ps", "-eo", "pid,comm"]):
        processes.run(needed)  # MAAS looks for DHCP clients; a missing program raises
    found: dict[str, dict[str, Any]] = {}
    for name, network in raw().items():
        kind = _kind(name, network)
        if kind in IGNORED or kind.startswith("unknown") or not network["hwaddr"]:
            continue
        if kind == "ethernet" and not container:
            continue
        addresses = [f"{a['address']}/{a['netmask']}" for a in network["addresses"] if a["scope"] != "link"]
        found[name] = {
            "type": kind if kind in {"vlan", "bridge", "bond"} else "physical",
            "mac_address": network["hwaddr"],
            "enabled": network["state"] == "up",
            "addresses": addresses,
        }
    return found


def _kind(name: str, network: dict[str, Any]) -> str:
    for special in ("vlan", "bridge", "bond"):
        if network.get(special):
            return special
    if network.get("type") == "loopback":
        return "loopback"
    folder = Path("/sys/class/net") / name
    try:
        hardware = int((folder / "type").read_text())
    except OSError:
        return "missing"
    if hardware == 1:
        if (folder / "tun_flags").is_file():
            return "tunnel"
        return "physical" if (folder / "device").is_symlink() else "ethernet"
    return "ipip" if hardware == 768 else f"unknown-{hardware}"


def addresses(found: dict[str, dict[str, Any]]) -> list[str]:
    return [str(ip_interface(cidr).ip) for interface in found.values() for cidr in interface["addresses"]]


def address_towards(subnet: str, found: dict[str, dict[str, Any]]) -> tuple[str, str]:
    """(interface name, own address) of this controller on a subnet."""
    wanted = ip_network(subnet)
    for name, interface in found.items():
        for cidr in interface["addresses"]:
            if ip_interface(cidr).ip in wanted:
                return name, str(ip_interface(cidr).ip)
    raise LookupError(f"no interface is on {subnet}")


class PidLock:
    """A symlink under /run/lock whose target is a pid, as Twisted makes them.

    It counts as held while a process with that pid lives, be it this very
    process: a lock that a killed container left behind can stay for ever.
    """

    def __init__(self, name: str) -> None:
        self.path = paths.lock(name)

    def take(self) -> bool:
        for _ in range(2):
            try:
                os.symlink(str(os.getpid()), self.path)
                return True
            except FileExistsError:
                try:
                    os.kill(int(os.readlink(self.path)), 0)
                except (ProcessLookupError, PermissionError):
                    self.path.unlink(missing_ok=True)
                    continue
                except (FileNotFoundError, ValueError):
                    continue
                return False
            except OSError as error:
                log("provisioningserver.utils.fs").error("%s", error)
                return False
        return False

    def release(self) -> None:
        self.path.unlink(missing_ok=True)
