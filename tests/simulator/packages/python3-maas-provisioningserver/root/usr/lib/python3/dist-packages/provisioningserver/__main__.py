"""`python3 -m provisioningserver COMMAND`: what maas-rack and maas-common run.

There is no check of the uid here; the two programs have it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from functools import partial
from ipaddress import IPv4Address, IPv4Network, ip_interface
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

from . import config, dns, files, networks, paths


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="maas-rack", description="MAAS rack (simulator)")
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser
    add("setup-dns").add_argument("--no-clobber", action="store_true")
    named = add("get-named-conf")
    named.add_argument("--edit", action="store_true")
    named.add_argument("--config-path", default="/etc/bind/named.conf.local", type=Path)
    options = add("edit-named-options")
    options.add_argument("--config-path", default="/etc/bind/named.conf.options", type=Path)
    rack = add("config")
    rack.add_argument("--region-url", action="append")
    rack.add_argument("--tftp-port", type=int)
    rack.add_argument("--tftp-root")
    rack.add_argument("--debug", type=lambda t: config.typed(config.RACK, "debug", t))
    add("install-shared-secret")
    add("check-for-shared-secret")
    for name in ("observe-arp", "observe-beacons"):
        add(name).add_argument("interface")
    add("observe-mdns")
    scan = add("scan-network")
    scan.add_argument("targets", nargs="*")
    scan.add_argument("--threads", type=int)
    scan.add_argument("--ping", action="store_true")
    scan.add_argument("--slow", action="store_true")
    args = parser.parse_args(argv)
    return COMMANDS[args.command](args) or 0


def setup_dns(args: argparse.Namespace) -> None:
    dns.set_up(no_clobber=args.no_clobber)


def get_named_conf(args: argparse.Namespace) -> None:
    if args.edit:
        with args.config_path.open("a") as file:
            file.write(dns.include_snippet())
    else:
        print(dns.include_snippet())


def edit_named_options(args: argparse.Namespace) -> None:
    """Trouble is only said on stderr: the exit code is 0 all the same."""
    try:
        dns.edit_options(args.config_path)
    except ValueError as error:
        print(error, file=sys.stderr)


def set_config(args: argparse.Namespace) -> None:
    changes = {
        "maas_url": args.region_url,
        "tftp_port": args.tftp_port,
        "tftp_root": args.tftp_root,
        "debug": args.debug,
    }
    changes = {name: value for name, value in changes.items() if value is not None}
    if changes:
        config.update(paths.rack_conf(), changes)
    else:
        config.touch(paths.rack_conf())


def install_shared_secret(_: argparse.Namespace) -> int:
    prompt = "Secret (hex/base16 encoded): " if sys.stdin.isatty() else ""
    secret = input(prompt).strip()
    try:
        bytes.fromhex(secret)
    except ValueError as error:
        print(f"Secret could not be decoded: {error}", file=sys.stderr)
        return 1
    files.atomic_write(secret, paths.data("secret"), mode=0o640)
    print(f"Secret installed to {paths.data('secret')}.")
    return 0


def check_for_shared_secret(_: argparse.Namespace) -> int:
    present = paths.data("secret").exists()
    print("Shared-secret is installed." if present else "Shared-secret is NOT installed.")
    return 0 if present else 1


def observe_beacons(args: argparse.Namespace) -> int:
    os.setpgrp()
    return _follow(["sudo", "-n", "/usr/lib/maas/beacon-monitor", args.interface])


def observe_arp(args: argparse.Namespace) -> None:
    """Leave the helper alone with our output, and go."""
    os.setpgrp()
    subprocess.Popen(["sudo", "-n", "/usr/sbin/maas-netmon", args.interface])


def _follow(argv: list[str]) -> int:
    """Read a helper's output and drop it. SIGTERM ends us and not the helper."""
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as helper:
        assert helper.stdout
        while os.read(helper.stdout.fileno(), 65536):
            pass
        return helper.wait()


def observe_mdns(_: argparse.Namespace) -> int:
    time.sleep(1.0)
    return subprocess.run(["avahi-browse", "--all", "--parsable", "--terminate"]).returncode


def scan_network(args: argparse.Namespace) -> None:
    """Scan each network of each interface; `targets` are an interface, networks that one has, or both."""
    found = networks.interfaces()
    chosen = [target for target in args.targets if target in found]
    given = {target for target in args.targets if target not in found}
    began, events = time.monotonic(), []
    with ThreadPool(args.threads) as pool:
        for interface in chosen or found:
            on_link = {ip_interface(address).network for address in found[interface]["addresses"] if "." in address}
            for network in sorted(each for each in on_link if not given or str(each) in given):
                jobs: Iterable[Any] = network.hosts() if args.ping else [network]
                for event in pool.imap_unordered(partial(_ping if args.ping else _nmap, interface, args.slow), jobs):
                    print(json.dumps(event), flush=True)
                    events.append(event)
    up = sum(event.get("result", False) for event in events)
    told = f"Pinged {len(events)} hosts ({up} up)" if args.ping else f"{len(events)} nmap scan(s) completed"
    told += f" in {time.monotonic() - began:.0f} second(s)."
    print(told if events else "Requested network(s) not available to scan", file=sys.stderr)


def _nmap(interface: str, slow: bool, network: IPv4Network) -> dict[str, Any]:
    argv = ["sudo", "-n", "nmap", "-e", interface, *(["--max-rate", "9"] if slow else [])]
    code = _run([*argv, "-sn", "-n", "-oX", "-", "-PR", str(network)])
    return {"scan_type": "nmap", "interface": interface, "cidr": str(network), "returncode": code, "slow": slow}


def _ping(interface: str, _slow: bool, address: IPv4Address) -> dict[str, Any]:
    """Without sudo: elsewhere the file has the capability."""
    sent = ["-c", "3", "-w", "1", "-i", "0.2", "-D", "-O", "-n", "-p", "687474703a2f2f6d6161732e696f2f20"]
    code = _run(["ping", "-r", "-I", interface, str(address), *sent])
    return {"scan_type": "ping", "interface": interface, "ip": str(address), "result": code == 0}


def _run(argv: list[str]) -> int:
    silent = subprocess.DEVNULL
    return subprocess.run(argv, stdin=silent, stdout=silent, stderr=silent, check=False).returncode


COMMANDS = {
    "setup-dns": setup_dns,
    "get-named-conf": get_named_conf,
    "edit-named-options": edit_named_options,
    "config": set_config,
    "install-shared-secret": install_shared_secret,
    "check-for-shared-secret": check_for_shared_secret,
    "observe-arp": observe_arp,
    "observe-beacons": observe_beacons,
    "observe-mdns": observe_mdns,
    "scan-network": scan_network,
}

if __name__ == "__main__":
    sys.exit(main())
