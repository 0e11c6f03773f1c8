"""What this process may do, and how its children come to the same.

A container that runs as a user other than root has its capabilities only in the bounding set: `cap_add` alone gives a
process nothing. A copy of setpriv with file capabilities (permitted, not effective) may raise them to ambient, which
every child inherits. Under no-new-privileges file capabilities are ignored and nothing can be raised.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from . import paths

# Numbers from linux/capability.h. DHCP needs the raw socket, ports below 1024 on host networking need the second.
USEFUL = {"net_bind_service": 10, "net_admin": 12, "net_raw": 13}

SETPRIV = paths.PROGRAMS / "setpriv"


@dataclass(frozen=True)
class Privileges:
    """Facts about this process from /proc/self/status."""

    uid: int
    bounding: frozenset[str]
    """Those of USEFUL that the container allows."""
    ambient: frozenset[str]
    """Those of USEFUL that children inherit already."""
    no_new_privileges: bool

    @classmethod
    def look(cls, status: Path = Path("/proc/self/status")) -> Privileges:
        facts = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
        return cls(
            uid=os.geteuid(),
            bounding=_names(facts["CapBnd"]),
            ambient=_names(facts["CapAmb"]),
            no_new_privileges=facts["NoNewPrivs"].strip() == "1",
        )

    @property
    def raised(self) -> frozenset[str]:
        """What services will have."""
        can_raise = self.uid == 0 or not self.no_new_privileges
        return self.bounding if can_raise and SETPRIV.exists() else self.ambient


def _names(mask: str) -> frozenset[str]:
    return frozenset(name for name, number in USEFUL.items() if int(mask, 16) >> number & 1)


def launcher(privileges: Privileges, *, uid: int, gid: int) -> list[str]:
    """Return the command line to put before another one, so that it runs as `uid`:`gid` with what it may have."""
    if privileges.uid == uid and privileges.raised == privileges.ambient:
        return []
    argv = [os.fspath(SETPRIV)]
    if privileges.uid != uid:
        argv += [f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]
    if privileges.raised:
        # setpriv fails when asked for more than the bounding set holds.
        wanted = ",".join(f"+{name}" for name in sorted(privileges.raised))
        argv += [f"--inh-caps={wanted}", f"--ambient-caps={wanted}"]
    return argv
