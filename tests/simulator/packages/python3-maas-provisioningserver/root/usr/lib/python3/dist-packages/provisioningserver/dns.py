"""BIND as MAAS drives it: keys, blank files, includes, zones, rndc."""

from __future__ import annotations

import grp
import os
import re
import socket
import struct
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from ipaddress import ip_network
from pathlib import Path

from . import files, isc, paths, processes
from .log import log, maaslog

CONTROLS = "controls {\n    inet 127.0.0.1 port 953 allow { localhost; };\n};\n"
HEADER = """\
//
// Managed by MAAS (simulator): changes made here are kept where possible, but
// forwarders and dnssec-validation belong into MAAS's settings.
//
// The file as it was before: %s
//
"""
terse = log("provisioningserver.dns")
human = maaslog("dns")


def set_up(no_clobber: bool = False) -> None:
    """`setup-dns`: new keys on every run, no zones, blank configuration."""
    key = processes.check(["tsig-keygen", "-a", "HMAC-SHA512", "maas."])
    files.atomic_write(key, paths.dns("keys.conf.maas"), mode=0o644)
    if paths.zones().is_dir():
        for zone in paths.zones().glob("zone.*"):
            zone.unlink()
    else:
        paths.zones().mkdir(mode=0o775)
        os.chown(paths.zones(), os.getuid(), grp.getgrnam("bind").gr_gid)
    _write_rndc()
    if not (no_clobber and paths.dns("named.conf.options.inside.maas").exists()):
        write_options(upstream=[], dnssec_validation="auto")
    if not (no_clobber and paths.dns("named.conf.maas").exists()):
        write_config(zones={}, trusted=[])


def _write_rndc() -> None:
    port = os.environ.get("MAAS_DNS_RNDC_PORT", "954")
    rndc = processes.check(["rndc-confgen", "-b", "256", "-k", "rndc-maas-key", "-p", port]).decode()
    suggested = rndc.split("as needed:\n", 1)[1].split("# End of named.conf", 1)[0]
    named = re.sub("^# ", "", suggested, flags=re.M)
    if os.environ.get("MAAS_DNS_DEFAULT_CONTROLS", "1") == "1":
        named += CONTROLS
    paths.dns("rndc.conf.maas").write_text(rndc)
    paths.dns("named.conf.rndc.maas").write_text(named)


def write_options(upstream: Iterable[str], dnssec_validation: str) -> None:
    """The part of `options {}` that is MAAS's; what the admin said is not repeated."""
    said: set[str] = set()
    with suppress(OSError, ValueError):
        for statement in isc.parse(paths.bind("named.conf.options").read_text()):
            if statement[0] == "options":
                said = {inner[0] for inner in statement[-1]}
    lines = []
    if upstream := list(upstream):
        lines += ["forwarders {", *(f"    {address};" for address in upstream), "};"]
    lines += [f"dnssec-validation {dnssec_validation};", "empty-zones-enable no;"]
    for name, who in (
        ("allow-query", "any"),
        ("allow-recursion", "trusted"),
        ("allow-query-cache", "trusted"),
    ):
        if name not in said:
            lines.append(f"{name} {{ {who}; }};")
    target = paths.dns("named.conf.options.inside.maas")
    files.atomic_write("\n".join(lines) + "\n", target, mode=0o644)


def write_config(zones: dict[str, Path], trusted: Iterable[str]) -> None:
    """named.conf.maas: the keys, the zones, the ACL `trusted`."""
    parts = [
        f'include "{paths.dns("named.conf.rndc.maas")}";',
        f'include "{paths.dns("keys.conf.maas")}";',
    ]
    for name, file in zones.items():
        parts.append(
            f'zone "{name}" {{\n    type master;\n    forwarders {{ }};\n'
            f'    file "{file}";\n    allow-update {{ key maas.; }};\n}};'
        )
    networks = [*trusted, "localnets", "localhost"]
    parts.append('acl "trusted" { ' + " ".join(f"{n};" for n in networks) + " };")
    files.atomic_write("\n".join(parts) + "\n", paths.dns("named.conf.maas"), mode=0o644)


def include_snippet() -> str:
    return f'include "{paths.dns("named.conf.maas")}";\n'


def edit_options(path: Path, drop: tuple[str, ...] = ("forwarders", "dnssec-validation")) -> dict:
    """Put the include into `options {}`; return the statements taken out.

    A changed file is copied first, beside itself, with the time in its name.
    """
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    statements = isc.parse(path.read_text(encoding="ascii"))
    blocks = [s[-1] for s in statements if s[0] == "options" and isinstance(s[-1], list)]
    if not blocks:
        raise ValueError(f"Can't find options {{}} block in {path}, nothing was changed")
    before = isc.text(statements)
    taken = {inner[0]: inner for inner in blocks[0] if inner[0] in drop}
    include = ["include", f'"{path.parent / "maas" / "named.conf.options.inside.maas"}"']
    blocks[0][:] = [i for i in blocks[0] if i[0] not in drop and i[0] != "include"]
    blocks[0].append(include)
    after = isc.text(statements)
    if after != before:
        backup = f"{path}.{datetime.now().isoformat()}"
        Path(backup).write_text(path.read_text())
        path.write_text(HEADER % backup + after)
    return taken


def rndc(*words: str) -> None:
    processes.check(["rndc", "-c", str(paths.dns("rndc.conf.maas")), *words], timeout=2.0)


def reload(attempts: int = 10, every: float = 2.0) -> bool:
    for attempt in range(attempts):
        try:
            rndc("reload")
            return True
        except (processes.CommandFailed, subprocess.TimeoutExpired) as error:
            if attempt == attempts - 1:
                terse.error("Reloading BIND failed (is it running?): %s", error)
            else:
                time.sleep(every)
    return False


def write_zone(name: str, serial: int, ttl: int, records: Iterable[str]) -> Path:
    """One zone file; a zone that exists is frozen before and thawed after."""
    path = paths.zones(f"zone.{name}")
    text = (
        f"; Zone file of the MAAS simulator.\n$TTL {ttl}\n"
        f"@ IN SOA {name}. nobody.example.com. ( {serial} 600 1800 604800 {ttl} )\n"
        f"@ {ttl} IN NS {socket.gethostname().split('.')[0]}.maas.\n"
    ) + "".join(f"{record}\n" for record in records)
    existed = path.exists()
    if existed:
        try:
            rndc("freeze", name)
        except (processes.CommandFailed, subprocess.TimeoutExpired):
            human.error("Freezing %s for update failed", name)
            raise
    try:
        files.atomic_write(text, path, mode=0o644)
    finally:
        if existed:
            rndc("thaw", name)
    return path


def reverse_zone(cidr: str) -> str:
    """The reverse zone of a network, at the nearest shorter octet boundary."""
    network = ip_network(cidr)
    if network.version == 4:
        kept = str(network.network_address).split(".")[: max(1, network.prefixlen // 8)]
        return ".".join(reversed(kept)) + ".in-addr.arpa"
    nibbles = network.network_address.exploded.replace(":", "")
    return ".".join(reversed(nibbles[: max(1, network.prefixlen // 4)])) + ".ip6.arpa"


def nsupdate(zone: str, *updates: str) -> None:
    script = "\n".join(["server localhost", f"zone {zone}", *updates, "send", ""])
    processes.check(["nsupdate", "-k", str(paths.dns("keys.conf.maas"))], stdin=script.encode())


def soa_serial(zone: str, within: float = 1.0) -> int | None:
    """Ask 127.0.0.1:53 for a zone's serial."""
    name = b"".join(bytes([len(p)]) + p.encode() for p in zone.strip(".").split("."))
    query = struct.pack(">6H", 0x4D41, 0x0100, 1, 0, 0, 0) + name + b"\0\0\x06\0\x01"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(within)
        try:
            sock.sendto(query, ("127.0.0.1", 53))
            answer = sock.recv(4096)
        except OSError:
            return None
    answers = struct.unpack(">H", answer[6:8])[0]
    if answer[3] & 15 or not answers:
        return None
    at = len(query)  # the question comes back unchanged; then name, type, class, ttl
    at = _skip_name(answer, at) + 10
    at = _skip_name(answer, _skip_name(answer, at))
    return struct.unpack(">I", answer[at : at + 4])[0]


def _skip_name(message: bytes, at: int) -> int:
    while message[at]:
        if message[at] & 0xC0:
            return at + 2
        at += 1 + message[at]
    return at + 1
