"""What this process may do, and how its children come to the same.

A container that runs as a user other than root has its capabilities only in the bounding set: `cap_add` alone gives a
process nothing. A copy of setpriv with file capabilities (permitted, not effective) may raise them to ambient, which
every child inherits. Under no-new-privileges file capabilities are ignored and nothing can be raised.
"""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from . import confine, paths
from .errors import MaasInitError

MAAS = "maas"
"""The user that everything runs as; the image decides its uid (568)."""

USEFUL = confine.NUMBERS
"""The capabilities that some service may have; nothing of MAAS needs another one."""

NEEDED_TO_LEAVE_ROOT = {"chown": 0, "setgid": 6, "setuid": 7}

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
    """Whether the container was started so."""
    missing_to_leave_root: tuple[str, ...] = ()
    effective: frozenset[str] = frozenset()
    """Those of USEFUL that this process has now."""

    @classmethod
    def look(cls, status: Path = Path("/proc/self/status"), init: Path = Path("/proc/1/status")) -> Privileges:
        facts = _facts(status)
        return cls(
            uid=os.geteuid(),
            bounding=_names(facts["CapBnd"]),
            ambient=_names(facts["CapAmb"]),
            # Of process 1, who alone keeps it as it was: supervisord sets it for itself and all below (plugin.py).
            no_new_privileges=_facts(init)["NoNewPrivs"].strip() == "1",
            effective=_names(facts["CapEff"]),
            missing_to_leave_root=tuple(
                name for name, number in NEEDED_TO_LEAVE_ROOT.items() if not int(facts["CapEff"], 16) >> number & 1
            ),
        )

    @property
    def raised(self) -> frozenset[str]:
        """What services will have."""
        can_raise = self.uid == 0 or not self.no_new_privileges
        return self.bounding if can_raise and SETPRIV.exists() else self.ambient

    def lacks(self, needed: Iterable[str]) -> str:
        """Return, in words for the operator, what of `needed` this process does not have and what helps; or nothing."""
        missing = [name for name in needed if name not in self.effective]
        if not missing:
            return ""
        names = " and ".join(name.upper() for name in missing)
        if self.bounding.issuperset(missing) and self.no_new_privileges:
            remedy = "start the container without no-new-privileges, or as root: it becomes the user maas by itself"
        else:
            remedy = f"add it to the container: cap_add: [{', '.join(name.upper() for name in missing)}]"
        return f"it needs {names}, which this container does not have; {remedy}"


def ports_are_free(lowest: int = 53, start: Path = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")) -> bool:
    """Whether anybody may use ports from `lowest` on: so on a Docker bridge, and not on the host's network."""
    try:
        return int(start.read_text()) <= lowest
    except (OSError, ValueError):
        return False


def _facts(status: Path) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)


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


def leave_root() -> None:
    """Become the user maas when started as root: replaces this process by itself, started again as maas.

    Raises MaasInitError when this root may not even do that.
    """
    privileges = Privileges.look()
    if privileges.uid != 0:
        return
    if privileges.missing_to_leave_root:
        names = " ".join(name.upper() for name in privileges.missing_to_leave_root)
        raise MaasInitError(
            f"cannot become the user {MAAS}: this container runs as root without the capabilities {names}",
            hint="start it without a user, or with --user 568:568; the image needs no root",
        )
    maas = pwd.getpwnam(MAAS)
    for stream in (1, 2):
        # Services open the container's output by its name, and it belongs to whom the container was started as.
        os.fchown(stream, maas.pw_uid, maas.pw_gid)
    argv = [*launcher(privileges, uid=maas.pw_uid, gid=maas.pw_gid), *sys.argv]
    os.execv(argv[0], argv)
