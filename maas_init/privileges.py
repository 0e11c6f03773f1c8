"""What this process may do, and how its children come to the same.

A container that runs as a user other than root has its capabilities only in the bounding set: `cap_add` alone gives a
process nothing. A copy of setpriv with file capabilities (permitted, not effective) may raise them to ambient, which
every child inherits. Under no-new-privileges file capabilities are ignored and nothing can be raised.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from . import confine, files, log, paths, signals
from .paths import Paths

MAAS = "maas"
"""The user that everything runs as; the image decides its uid (568), unless the container is started as another."""

USEFUL = confine.NUMBERS
"""The capabilities that some service may have; nothing of MAAS needs another one."""

NEEDED_TO_LEAVE_ROOT = {"setgid": 6, "setuid": 7}

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
    heeded: bool = True
    """Whether the kernel heeds what our setpriv's file says; see `_is_heeded`."""

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
            heeded=_is_heeded(SETPRIV),
        )

    @property
    def raised(self) -> frozenset[str]:
        """What services will have."""
        can_raise = SETPRIV.exists() if self.uid == 0 else self.heeded and not self.no_new_privileges
        return self.bounding if can_raise else self.ambient

    def lacks(self, needed: Iterable[str], *, refuses_root: bool = False) -> str:
        """Return, in words for the operator, what of `needed` this process does not have and what helps; or nothing."""
        if refuses_root and self.uid == 0:
            return (
                "it refuses to run as root, and the root of this container may not become another user; "
                "start the container without a user, or with --user 568:568, or with cap_add: [SETGID, SETUID]"
            )
        missing = [name for name in needed if name not in self.effective]
        if not missing:
            return ""
        names = " and ".join(name.upper() for name in missing)
        if self.bounding.issuperset(missing) and self.no_new_privileges:
            remedy = "start the container without no-new-privileges, or as root: it becomes the user maas by itself"
        elif self.bounding.issuperset(missing) and not self.heeded:
            remedy = (
                "the image lies on a file system without capabilities of files (mounted nosuid, or without extended "
                "attributes): start the container as root, it becomes the user maas by itself"
            )
        else:
            remedy = f"add it to the container: cap_add: [{', '.join(name.upper() for name in missing)}]"
            if self.no_new_privileges:
                remedy += "; under no-new-privileges that helps only a container that starts as root"
        return f"it needs {names}, which this container does not have; {remedy}"


def ports_are_free(lowest: int = 53, start: Path = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")) -> bool:
    """Whether anybody may use ports from `lowest` on: so on a Docker bridge, and not on the host's network."""
    try:
        return int(start.read_text()) <= lowest
    except (OSError, ValueError):
        return False


def _facts(status: Path) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)


def _is_heeded(program: Path) -> bool:
    """Whether a program's file capabilities count: not where extended attributes were lost or nosuid is set.

    The program would fail there, and with it the start of everything.
    """
    try:
        os.getxattr(program, "security.capability")
        return not os.statvfs(program).f_flag & os.ST_NOSUID
    except OSError:
        return False


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


def names(where: Paths) -> dict[str, str]:
    """Return what has programs take our uid for maas's (configure/users.py); nothing where the image knows it."""
    if not any(where.at("/usr/lib").glob("*/libnss_wrapper.so")):
        return {}
    # The file itself: asked for by its name, maas would be us to those who have these already.
    lines = where.at("/etc/passwd").read_text(encoding="utf-8").splitlines()
    if any(line.startswith(f"{MAAS}:x:{os.geteuid()}:") for line in lines):
        return {}
    return {
        "LD_PRELOAD": "libnss_wrapper.so",
        "NSS_WRAPPER_PASSWD": os.fspath(where.run / "passwd"),
        "NSS_WRAPPER_GROUP": os.fspath(where.run / "group"),
    }


def is_root_as_maas(where: Paths) -> bool:
    """Whether we are root that could not become maas: nginx would try to become somebody else."""
    return os.geteuid() == 0 and bool(names(where))


def leave_root(
    uid: int | None, gid: int | None, volumes: Iterable[Path] = (), secrets: Iterable[tuple[Path, Path]] = ()
) -> None:
    """Become maas, or whoever was asked for, when started as root: replaces this process by itself, started again.

    Before that, the volumes are made this user's own. Of `secrets`, each a file and the place of a copy, those that he
    could not read are copied. Root that may not become anybody stays what it is: without capabilities
    it can do no more than any other user, but to what belongs to root.
    """
    privileges = Privileges.look()
    if privileges.uid != 0 or privileges.missing_to_leave_root:
        _tell_who_we_stay(privileges, uid, gid)
        return
    known = pwd.getpwnam(MAAS)
    uid = known.pw_uid if uid is None else uid
    gid = known.pw_gid if gid is None else gid
    before = launcher(privileges, uid=uid, gid=gid)
    if not before:  # in a container that stays root we are who we shall be
        return
    for file, copy in secrets:
        if not files.may_read(file, uid, gid):
            _take(file, copy, uid, gid)
    for volume in volumes:
        given, left = files.give(volume, uid, gid)
        if given or left:
            log.info("volume.given", path=volume, uid=uid, gid=gid, given=given, left=left)
    for stream in (1, 2):
        # They belong to whom the container was started as, and /dev/stdout shall work for people, too.
        with contextlib.suppress(OSError):
            os.fchown(stream, uid, gid)
    signals.hear_no_more()
    os.execv(before[0], [*before, *sys.argv])


def _take(secret: Path, copy: Path, uid: int, gid: int) -> None:
    """Copy what only root may read to where `uid` alone may, as systemd does with LoadCredential.

    Where it lies belongs to that user since the last start: what is there is root's to remove and never to follow.
    """
    try:
        for directory in (copy.parent.parent, copy.parent):
            if directory.is_symlink() or not directory.is_dir():
                directory.unlink(missing_ok=True)
                directory.mkdir(mode=0o700)
            os.chown(directory, uid, gid, follow_symlinks=False)
        copy.unlink(missing_ok=True)
        with open(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400), "wb") as stream:
            stream.write(secret.read_bytes())
            os.fchown(stream.fileno(), uid, gid)
    except OSError as error:
        log.warning("secret.not_taken", file=secret, reason=error.strerror)
    else:
        log.info("secret.taken", file=secret, uid=uid, gid=gid)


def _tell_who_we_stay(privileges: Privileges, uid: int | None, gid: int | None) -> None:
    if privileges.uid == 0:
        missing = [name.upper() for name in privileges.missing_to_leave_root]
        log.warning(
            "root.kept",
            reason=f"this container runs as root without {' and '.join(missing)}, so it cannot become {MAAS}",
            consequence="everything runs as root with the capabilities that the container has",
            remedy=f"start it without a user, or with --user 568:568; or cap_add: [{', '.join(missing)}]",
        )
    asked = [f"{name}={wanted}" for name, wanted in (("PUID", uid), ("PGID", gid)) if wanted is not None]
    if asked and (uid not in (None, os.geteuid()) or gid not in (None, os.getegid())):
        log.warning(
            "user.kept",
            reason=f"{' and '.join(asked)} need a container that starts as root and may leave it; "
            f"this one runs as {os.geteuid()}:{os.getegid()}",
            remedy="say it with --user (user: in compose.yaml) instead, or start the container as root",
        )
