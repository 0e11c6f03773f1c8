"""DHCP on the rack: write the file, then ask the init; never the other way."""

from __future__ import annotations

import subprocess
from ipaddress import ip_network
from typing import Any

from . import files, networks, paths, processes
from .log import log, maaslog
from .service_monitor import OFF, ON, ServiceActionError, ServiceMonitor, Toggle

human = maaslog("dhcp")
_applied: dict[int, tuple[str, str]] = {}
NOTIFY = """\
on {event} {{
   set clhw = binary-to-ascii(16, 8, ":", substring(hardware, 1, 6));
   set clip = binary-to-ascii(10, 8, ".", leased-address);
{more}   execute("/usr/sbin/maas-dhcp-helper", "notify", "--action", "{event}",
       "--mac", clhw, "--ip-family", "ipv4", "--ip", clip{arguments},
       "--socket", "{socket}");
}}
"""


def configure(
    version: int,
    subnets: list[dict[str, Any]],
    omapi_key: str,
    monitor: ServiceMonitor,
    toggle: Toggle,
) -> None:
    """What the region asked for. No subnets means: off, and the file goes."""
    name = "dhcpd" if version == 4 else "dhcpd6"
    target = paths.data(f"{name}.conf")
    if not subnets:
        toggle.set(OFF, None)
        _applied.pop(version, None)
        if target.exists():
            files.sudo_delete_file(target)
        monitor.ensure(name)
        return
    found = networks.interfaces()
    names = sorted({networks.address_towards(s["cidr"], found)[0] for s in subnets})
    text = render(version, subnets, omapi_key, found)
    wanted = (text, " ".join(names))
    try:
        files.sudo_write_file(target, text, 0o640)
        files.sudo_write_file(paths.data(f"{name}-interfaces"), " ".join(names), 0o640)
    except (OSError, processes.CommandFailed, subprocess.TimeoutExpired) as error:
        human.error("Could not rewrite DHCPv%d server configuration: %s", version, error)
        raise
    toggle.set(ON, None)
    try:
        if _applied.get(version) == wanted:
            monitor.ensure(name)
        else:
            monitor.restart(name)
            _applied[version] = wanted
    except ServiceActionError as error:
        human.error("DHCPv%d server failed to restart: %s", version, error)
        raise
    log("provisioningserver.rpc.dhcp").info("DHCPv%d is served on %s.", version, " ".join(names))


def render(version: int, subnets: list[dict[str, Any]], key: str, found: dict) -> str:
    """dhcpd.conf or dhcpd6.conf."""
    port = 7911 if version == 4 else 7912
    head = f"""\
# Written by the MAAS simulator; changes are overwritten.
default-lease-time 600;
max-lease-time 600;
omapi-port {port};
key omapi_key {{ algorithm HMAC-MD5; secret "{key}"; }};
omapi-key omapi_key;
"""
    if version == 6:
        return head + "".join(
            f"subnet6 {s['cidr']} {{\n" + "".join(f"    range6 {low} {high};\n" for low, high in s["ranges"]) + "}\n"
            for s in subnets
        )
    options = """\
option arch code 93 = unsigned integer 16;
option path-prefix code 210 = text;
class "PXE" {
   match if substring (option vendor-class-identifier, 0, 3) = "PXE";
   default-lease-time 30;
   max-lease-time 30;
}
"""
    return head + options + "".join(_subnet4(s, found) for s in subnets) + _notify()


def _subnet4(subnet: dict[str, Any], found: dict) -> str:
    network = ip_network(subnet["cidr"])
    _, rack = networks.address_towards(subnet["cidr"], found)
    http = f"http://{rack}:5248/"
    lines = [
        f"shared-network {subnet['name']} {{",
        f"  subnet {network.network_address} netmask {network.netmask} {{",
        "    ignore-client-uids true;",
        f"    next-server {rack};",
        f"    option subnet-mask {network.netmask};",
        f"    option broadcast-address {network.broadcast_address};",
        f"    option domain-name-servers {', '.join(subnet['dns_servers'] or [rack])};",
        '    option domain-name "maas";',
        f"    option ntp-servers {rack};",
    ]
    if subnet.get("gateway_ip"):
        lines.append(f"    option routers {subnet['gateway_ip']};")
    lines += [
        '    if exists user-class and option user-class = "iPXE" {',
        f'      filename "{http}ipxe.cfg";',
        "    } elsif option arch = 00:00 {",
        '      filename "lpxelinux.0";',
        f'      option path-prefix "{http}";',
        "    } elsif option arch = 00:07 or option arch = 00:09 {",
        '      filename "bootx64.efi";',
        "    } elsif option arch = 00:10 {",
        f'      filename "{http}bootx64.efi";',
        '      option vendor-class-identifier "HTTPClient";',
        "    }",
    ]
    lines += [f"    pool {{ range {low} {high}; }}" for low, high in subnet["ranges"]]
    return "\n".join([*lines, "  }", "}", ""])


def _notify() -> str:
    socket = paths.data("dhcpd.sock")
    lease = (
        '   set cllt = binary-to-ascii(10, 32, "", encode-int(lease-time, 32));\n'
        '   set clht = pick-first-value(option host-name, "(none)");\n'
    )
    commit = ', "--lease-time", cllt, "--hostname", clht'
    return NOTIFY.format(event="commit", more=lease, arguments=commit, socket=socket) + "".join(
        NOTIFY.format(event=event, more="", arguments="", socket=socket) for event in ("expiry", "release")
    )
