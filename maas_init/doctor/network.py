"""The network: who can reach MAAS, whom MAAS can reach, and who else is there."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import re
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

from .. import probes
from ..settings import RegionSettings
from ..surroundings import is_bridged
from . import dhcp
from .finding import Check, Finding, failure, warning
from .patient import NotNow, Patient

DHCP_WITHIN = 4.0
"""Seconds; a server that first looks whether somebody uses the address answers after one or two."""
NAMES_WITHIN = 2.0
REGION_WITHIN = 5.0


Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Port(NamedTuple):
    """A port that machines or people use, and whose it is."""

    number: int
    kinds: str
    service: str
    role: str = ""
    """Only with this one."""


PORTS = (
    Port(53, "tcp udp", "bind9"),
    Port(67, "udp", "dhcpd", "rack"),
    Port(69, "udp", "rackd", "rack"),
    Port(123, "udp", "ntp"),
    Port(5240, "tcp", "http", "region"),
    Port(5247, "tcp udp", "syslog"),
    Port(5248, "tcp", "http", "rack"),
    Port(5249, "tcp", "rackd", "rack"),
    Port(5443, "tcp", "http", "region"),
    Port(8000, "tcp", "proxy"),
)

STUB_RESOLVER = ("127.0.0.53", "127.0.0.54")
"""Where systemd-resolved answers its host. named takes each address of its own, so the two do not meet."""


def interfaces(_patient: Patient) -> str | Finding:
    """Is there a network?"""
    found = [f"{name} {address}" for name, address in _addresses()]
    return ", ".join(found) if found else failure("no interface but loopback has an IPv4 address")


def network_mode(patient: Patient) -> str | Finding:
    """Do broadcasts of machines reach this container?"""
    patient.rack()
    names = {name for name, _ in _addresses()}
    if not names:
        raise NotNow("there is no network: see interfaces")
    if all(map(is_bridged, names)):
        return warning(f"{', '.join(sorted(names))} leads to a bridge inside the host")
    return f"{', '.join(sorted(name for name in names if not is_bridged(name)))} is on a network of the host"


def _addresses() -> Iterator[tuple[str, str]]:
    """Yield each interface that is up, but loopback, with each of its IPv4 addresses."""
    states = psutil.net_if_stats()
    for name, addresses in psutil.net_if_addrs().items():
        for each in addresses:
            loopback = each.family == socket.AF_INET and ipaddress.ip_address(each.address).is_loopback
            if each.family == socket.AF_INET and not loopback and name in states and states[name].isup:
                yield name, each.address


def maas_url(patient: Patient) -> str | Finding:
    """Is MAAS_URL an address at which machines can reach MAAS?"""
    url = patient.region().maas_url
    if url.is_local:
        return failure(f"{url.text} means this machine to everybody, and so another one to each")
    try:
        found = {ipaddress.ip_address(each[4][0]) for each in socket.getaddrinfo(url.host, url.port)}
    except OSError as error:
        return warning(f"{url.text}: the name {url.host} is not known here: {error.strerror}")
    wrong = [finding for address in sorted(found, key=str) if (finding := _unfit(address))]
    return wrong[0] if wrong else f"{url.text} ({', '.join(sorted(map(str, found)))})"


def _unfit(address: Address) -> Finding | None:
    """Say why machines cannot use an address, if it can be told."""
    bridged = {ipaddress.ip_address(own) for name, own in _addresses() if is_bridged(name)}
    if address.is_loopback:
        return failure(f"{address} means this machine to everybody, and so another one to each")
    if address.is_unspecified:
        return failure(f"{address} is no address: it only says where to listen")
    if address in bridged:
        return warning(f"{address} is this container's address on a bridge inside the host")
    if address in _gateways():
        return warning(f"{address} is the host's address on a bridge inside it")
    return warning(f"{address} is only valid on one cable, and chosen anew") if address.is_link_local else None


def _gateways() -> set[Address]:
    """Return where packets leave by interfaces on a bridge."""
    rows = [line.split() for line in Path("/proc/net/route").read_text().splitlines()[1:]]
    return {ipaddress.ip_address(bytes.fromhex(row[2])[::-1]) for row in rows if is_bridged(row[0]) and int(row[2], 16)}


def maas_url_answers(patient: Patient) -> str:
    """Does MAAS_URL lead to MAAS, as seen from inside?"""
    patient.region()
    return patient.ask("maas-url")


def region_answers(patient: Patient) -> str | Finding:
    """Does a region answer this rack controller?"""
    settings = patient.told()
    if isinstance(settings, RegionSettings):
        raise NotNow("the region is in this container")
    try:
        return asyncio.run(probes.regions(settings.region_urls, REGION_WITHIN))
    except probes.ProbeFailed as failed:
        return failure(str(failed))


def ports(patient: Patient) -> str | Finding:
    """Are the ports of MAAS free, or held by MAAS?"""
    roles = patient.told().roles
    ours = {facts["pid"]: name for name, facts in patient.status["services"].items() if facts["pid"]}
    wanted = {(kind, port.number): port for port in PORTS for kind in port.kinds.split() if port.role in ("", *roles)}
    foreign = set()
    held = set()
    for each in psutil.net_connections("inet"):
        kind = "udp" if each.type == socket.SOCK_DGRAM else "tcp"
        if not each.laddr or (kind == "tcp" and each.status != "LISTEN"):
            continue
        port = wanted.get((kind, each.laddr.port))
        if port is None or (port.service == "bind9" and each.laddr.ip in STUB_RESOLVER):
            continue
        held.add(port.number)
        if _service_of(each.pid, ours) != port.service:
            foreign.add(f"{kind} {port.number} ({port.service}) is held by {_holder(each.pid)}")
    if foreign:
        return failure("; ".join(sorted(foreign)))
    return f"{len(held)} are held by MAAS's services, {len({port.number for port in wanted.values()} - held)} are free"


def _service_of(pid: int | None, ours: dict[int, str]) -> str:
    """Return the service to which a process belongs: each has a process group, led by its main process."""
    with contextlib.suppress(OSError):
        return ours.get(os.getpgid(pid), "") if pid else ""
    return ""


def _holder(pid: int | None) -> str:
    with contextlib.suppress(psutil.Error):
        return f"{psutil.Process(pid).name()} (process {pid})" if pid else "a process outside this container"
    return f"process {pid}"


def name_servers(patient: Patient) -> str | Finding:
    """Does a name server of this container answer?"""
    file = patient.where.at("/etc/resolv.conf")
    servers = re.findall(r"(?m)^\s*nameserver\s+(\S+)", file.read_text() if file.exists() else "")
    if not servers:
        return warning(f"{file} names none")
    silent = [server for server in servers if not _answers(server)]
    return warning(f"{', '.join(silent)} does not answer") if silent else ", ".join(servers)


def dns_forwarders(patient: Patient) -> str | Finding:
    """Do the resolvers answer that bind9 asks for names outside MAAS?"""
    forwarders = patient.region().dns_forwarders
    if not forwarders:
        raise NotNow("there are none: MAAS_DNS_FORWARDER is none")
    silent = [server for server in forwarders if not _answers(server)]
    return warning(f"{', '.join(silent)} does not answer") if silent else ", ".join(forwarders)


def _answers(server: str) -> bool:
    """Whether a name server says anything; "no such name" is an answer."""
    if ":" in server:
        return True  # only IPv4 is asked
    try:
        asyncio.run(probes.dns(probes.Question((server, "localhost", "A"), NAMES_WITHIN)))
    except probes.ProbeFailed:
        return True
    except OSError:
        return False
    return True


def ipv6(_patient: Patient) -> str | Finding:
    """Can nginx listen on IPv6, too?"""
    try:
        with socket.socket(socket.AF_INET6) as stream:
            stream.bind(("::", 0))
    except OSError as error:
        return failure(f"nothing can listen on IPv6: {error.strerror}")
    return "it can"


def other_dhcp_servers(patient: Patient) -> str | Finding:
    """Does another DHCP server answer on the network? Only asked with --dhcp."""
    patient.rack()
    if not patient.may_ask_for_dhcp:
        raise NotNow("not asked: with --dhcp it sends one DHCPDISCOVER on each interface")
    own = {address for _, address in _addresses()}
    names = sorted({name for name, _ in _addresses()})
    told = []
    for name in names:
        mac = bytes.fromhex((Path("/sys/class/net") / name / "address").read_text().strip().replace(":", ""))
        try:
            offers = dhcp.discover(name, mac, DHCP_WITHIN) if len(mac) == 6 else []
        except PermissionError:
            raise NotNow("it needs NET_RAW: see raw-sockets") from None
        told += [f"on {name}, {each.server} offers {each.address}" for each in offers if each.server not in own]
    return warning("; ".join(told)) if told else f"none answered on {', '.join(names)} within {DHCP_WITHIN:g} s"


CHECKS: Iterable[Check] = (
    Check(
        interfaces,
        "Nobody can reach MAAS.",
        "Give the container a network: `--network host` for machines that boot from it.",
    ),
    Check(
        network_mode,
        "Machines cannot boot from this container: their DHCP and PXE broadcasts stay outside. The rest works.",
        "`--network host` (`network_mode: host`), or a macvlan network; or serve DHCP from a rack elsewhere.",
    ),
    Check(
        maas_url,
        "Machines are told this address when they boot and when they are deployed, and come to nothing.",
        "Set MAAS_URL to the address of this host as machines see it, for example http://192.168.1.100:5240/MAAS.",
    ),
    Check(
        maas_url_answers,
        "Racks, machines and people that use this address do not reach MAAS.",
        "Look for a wrong address or port in MAAS_URL, a port that is not published, or a proxy in front of MAAS.",
    ),
    Check(
        region_answers,
        "A rack controller without its region does nothing.",
        "Check MAAS_REGION_URLS, and that the region runs and can be reached from here.",
    ),
    Check(
        ports,
        "The service that needs the port cannot start, or answers only on some addresses.",
        "Stop the other program, for example systemd-resolved or dnsmasq on the host, or give MAAS an address of its "
        "own with a macvlan network.",
    ),
    Check(
        name_servers,
        "Names are not known in the container: of the database, of mirrors, of image servers.",
        "Check the name servers of the host, or give others: `--dns 192.168.1.1`.",
    ),
    Check(
        dns_forwarders,
        "Machines resolve MAAS's names and no others; they cannot install packages.",
        "Set MAAS_DNS_FORWARDER to resolvers that can be reached from here, or to none.",
    ),
    Check(
        ipv6,
        "nginx listens on IPv6 as well and does not start without: nothing answers on port 5240.",
        "Do not start the host's kernel with ipv6.disable=1; net.ipv6.conf.all.disable_ipv6=1 does no harm.",
    ),
    Check(
        other_dhcp_servers,
        "Where MAAS serves DHCP, machines get the answer of either, and boot from the network by chance.",
        "Switch the other one off on this network; or leave DHCP to it and have it name MAAS as next-server.",
    ),
)
