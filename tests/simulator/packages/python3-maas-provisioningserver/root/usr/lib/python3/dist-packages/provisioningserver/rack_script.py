"""maas-rack and maas-common: only root, but for the observers."""

from __future__ import annotations

import grp
import os
import pwd
import sys

OBSERVERS = {"observe-arp", "observe-beacons"}


def run() -> None:
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    allowed = ["root"]
    if command in OBSERVERS:
        allowed.append("maas")
    if command == "dhcp-notify":
        allowed.append("dhcpd")
    uids = {name: _uid(name) for name in allowed}
    if os.getuid() not in uids.values() and command != "observe-mdns":
        raise SystemExit(f"This utility may only be run as {', '.join(allowed)}.")
    if os.getuid() == 0:
        try:
            os.setegid(grp.getgrnam("maas").gr_gid)
        except KeyError:
            raise SystemExit("No such group: maas") from None
        os.umask(0o007)
    from .__main__ import main

    sys.exit(main())


def _uid(name: str) -> int | None:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None
