"""Boot: look around, make the directories that must exist, sweep away what a killed container left."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from . import files, log, paths, services
from .errors import ExitCode, MaasInitError, ServiceFileError, SettingsError
from .paths import Paths
from .privileges import Privileges
from .settings import RegionSettings, Settings

DIRECTORIES = {
    "/run/maas-init": 0o711,  # others may pass to what is readable inside, and see nothing else
    "/run/maas-init/http": 0o755,
    "/run/maas": 0o755,
    "/run/maas-dhcp": 0o755,
    "/run/lock": 0o1777,
    "/run/named": 0o755,
    "/run/chrony": 0o750,
    "/run/postgresql": 0o755,
    # In the image, links lead here from where programs look: /etc and /var belong to root and may be read-only.
    "/run/maas-init/etc/bind": 0o755,
    "/run/maas-init/etc/chrony": 0o755,
    "/run/maas-init/bind": 0o755,
    "/run/maas-init/chrony": 0o750,
    "/tmp/maas/agent": 0o755,
    "/tmp/maas/proxy": 0o750,
    # Keys, configuration and zones of DNS belong together and to the deployment: the image's /etc/bind/maas and
    # /var/lib/bind/maas are links to here.
    "/var/lib/maas/bind/etc": 0o755,
    "/var/lib/maas/bind/zones": 0o775,
    # Absent, these keep regiond starting up for ever: an empty volume hides what the packages put there.
    "/var/lib/maas/image-storage": 0o755,
    "/var/lib/maas/certificates": 0o755,
    "/var/lib/maas/http": 0o755,
    "/var/lib/maas/prometheus": 0o755,
    "/var/lib/maas/tftp_root": 0o755,
    "/var/lib/maas/dhcp": 0o755,
    "/var/lib/maas/rsyslog": 0o755,
    "/var/log/maas/http": 0o755,
    "/var/log/maas/proxy": 0o755,
    "/var/log/maas/rsyslog": 0o755,
}

FILLED = ("/etc/bind", "/etc/chrony")
"""Configuration that begins as the packages brought it, and is changed by MAAS."""

# MAAS's locks are links that hold a process id. Ids come again after a restart, so an old lock would look held for
# ever. Sockets and pid files of the last run only confuse those who find them.
STALE = (
    "/run/lock/maas*",
    "/run/maas-init/*.json",
    "/run/maas-init/health",
    "/run/maas-init/*.pid",
    "/run/maas-init/*.sock",
    "/run/maas-init/.pebble.socket",
    "/run/maas-init/http/*.sock",
    "/run/maas-init/http/status/*",
    "/run/maas-init/http/www/maas-init/*",
    "/run/*.pid",
    "/run/maas/*.sock",
    "/run/named/*",
    "/run/chrony/*",
    "/run/maas-dhcp/*",
    "/var/lib/maas/*.sock",
    "/var/lib/maas/*.sock.*",
    "/var/lib/maas/rsyslog/log.sock",
    # regiond writes it at each start, and Temporal must not run with the last run's database and address.
    "/var/lib/maas/temporal/production.yaml",
    # So does regiond with its site: until then port 5240 shows the start page and not the last run's site, dead.
    "/var/lib/maas/http/regiond.nginx.conf",
)


def prepare(where: Paths, privileges: Privileges) -> None:
    """Make the place ready for `configure`.

    Raises NotWritable when a volume cannot be written, with the command that helps.
    """
    _look_at_volumes(where)
    with explained():
        for directory, mode in DIRECTORIES.items():
            _make(where.at(directory), mode)
        removed = _sweep(where)
        filled = [
            path
            for directory in (*where.volumes, *map(where.at, FILLED))
            if (skeleton := where.at(f"{paths.SKELETON}/{directory.relative_to(where.root)}")).is_dir()
            for path in files.fill(skeleton, directory)
        ]
        others = [path for volume in where.volumes for path in foreign(volume)]
    _take_over(others)
    _look_at_host_name(os.uname().nodename)
    log.info(
        "container.examined",
        uid=privileges.uid,
        capabilities=",".join(sorted(privileges.raised)) or "none",
        no_new_privileges=privileges.no_new_privileges,
        stale_files_removed=removed,
        packaged_files_restored=len(filled),
    )


def is_made_up(host_name: str) -> bool:
    """Whether Docker has given this name for want of another: the container's own id."""
    return bool(re.fullmatch("[0-9a-f]{12}", host_name))


def refuse_root(settings: Settings) -> None:
    """Raise SettingsError where a database shall run inside and everything has to run as root."""
    if os.geteuid() == 0 and isinstance(settings, RegionSettings) and settings.database.embedded:
        raise SettingsError(
            "cannot run PostgreSQL in this container: it refuses to run as root, which may become nobody else here",
            hint="start the container without a user, or with --user 568:568; or give it cap_add: [SETUID, SETGID]; "
            "or set POSTGRES_HOST to a PostgreSQL server",
        )


def _look_at_volumes(where: Paths) -> None:
    """Raise NotWritable with all volumes that cannot be written, before anything is."""
    wrong = {}
    for volume in where.volumes:
        try:
            volume.mkdir(parents=True, exist_ok=True)
            files.try_to_write(volume)
        except OSError as error:
            wrong[volume] = error
    if len(wrong) > 1 and all(map(_belongs_to_another, wrong, wrong.values())):
        uid, gid, those = os.geteuid(), os.getegid(), " ".join(map(str, wrong))
        owners = ", ".join(f"{volume} of {_owner(volume)}" for volume in wrong)
        raise NotWritable(
            f"cannot write to the volumes {owners}: this container runs as {uid}:{gid}",
            hint=f"as root: chown -R {uid}:{gid} {those}, or on the host, the directories mounted there; "
            "or start the container as their owner, or with group 0 where that may write",
        )
    for volume, reason in wrong.items():
        raise _not_writable(volume, reason)
    for volume in where.volumes:
        if not files.modes_can_be_changed(volume):
            log.warning(
                "volume.modes_refused",
                volume=volume,
                reason="nobody may change the modes of files there, and MAAS changes that of each file it writes",
                remedy="on TrueNAS: in the dataset's advanced options, ACL Mode: Passthrough",
            )


def _belongs_to_another(volume: Path, reason: OSError) -> bool:
    return reason.errno in (errno.EACCES, errno.EPERM) and volume.exists() and volume.stat().st_uid != os.geteuid()


def _owner(path: Path) -> str:
    status = path.stat()
    return f"{status.st_uid}:{status.st_gid} (mode {status.st_mode & 0o7777:o})"


def _look_at_host_name(name: str) -> None:
    if is_made_up(name):
        log.warning(
            "hostname.made_up",
            hostname=name,
            reason="Docker makes up another one for each container, and MAAS knows a controller by its name",
            remedy="give it one: --hostname maas, or hostname: maas in compose.yaml",
        )


def _make(directory: Path, mode: int) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    if directory.stat().st_uid == os.geteuid():
        files.try_chmod(directory, mode)


NOT_SEARCHED = {"image-storage", "boot-resources", "postgresql", "backups"}
"""Directories below volumes that hold much and nothing that MAAS replaces; PostgreSQL looks after its own."""

LARGEST_TAKEN_OVER = 64 << 20


def foreign(directory: Path) -> Iterator[Path]:
    """Yield what of somebody else's below `directory` would be in MAAS's way.

    That is each file of another user, or of a group that is none of ours, and each directory that cannot be written.
    """
    groups = {os.getegid(), *os.getgroups()}
    for entry in os.scandir(directory):
        status = entry.stat(follow_symlinks=False)
        if entry.is_dir(follow_symlinks=False):
            if entry.name in NOT_SEARCHED:
                continue
            if status.st_uid != os.geteuid() and not os.access(entry.path, os.R_OK | os.W_OK | os.X_OK):
                yield Path(entry.path)
            if os.access(entry.path, os.R_OK | os.X_OK):
                yield from foreign(Path(entry.path))
        elif stat.S_ISREG(status.st_mode) and (status.st_uid != os.geteuid() or status.st_gid not in groups):
            yield Path(entry.path)


def _take_over(foreign: list[Path]) -> None:
    """Make what others left in the volumes our own: MAAS gives a file that it replaces back to its last owner.

    That is refused to all but root, and one such file is enough to keep DHCP, the clock or nginx unconfigured.
    """
    if not foreign:
        return
    mounted = files.mount_points()
    foreign = [path for path in foreign if str(path) not in mounted or path.stat().st_uid != os.geteuid()]
    left = [path for path in foreign if not _can_be_taken_over(path) or not files.take_over(path)]
    if len(foreign) > len(left):
        log.info("files.taken_over", files=len(foreign) - len(left))
    if left:
        log.warning(
            "files.foreign",
            files=len(left),
            examples=", ".join(map(str, left[:5])),
            remedy=f"on the host: chown {os.geteuid()}:{os.getegid()} these in the directory mounted there",
        )


def _can_be_taken_over(path: Path) -> bool:
    return path.is_file() and path.stat().st_size <= LARGEST_TAKEN_OVER


def _sweep(where: Paths) -> int:
    stale = [path for pattern in STALE for path in where.root.glob(pattern.lstrip("/"))]
    for path in stale:
        if path.is_symlink() or not path.is_dir():
            path.unlink(missing_ok=True)
    return len(stale)


def take_drop_ins(where: Paths) -> Path:
    """Copy the operator's service files to where nobody changes them while the container runs; return where.

    Raises ServiceFileError for a name that supervisord would not understand, and for a file that cannot be used.
    """
    taken = where.taken_drop_ins
    for old in taken.glob("*"):
        old.unlink()
    for file in services.service_files(where.drop_ins):
        if not re.fullmatch(r"[A-Za-z0-9_.@-]+", file.name):
            raise ServiceFileError(f"cannot use {file}: its name may hold letters, digits and _ . @ - only")
        services.read_file(file)  # what is wrong is told of the operator's file, not of our copy
        try:
            files.write(taken / file.name, file.read_text(encoding="utf-8"), sync=False)
        except (OSError, ValueError) as error:
            raise ServiceFileError(f"cannot read {file}: {error}") from error
    return taken


class NotWritable(MaasInitError):
    """A file or directory that must be written cannot be."""

    exit_code = ExitCode.BAD_SETTINGS


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turn what goes wrong with a file into NotWritable: which one, whose it is, and what to do."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            raise
        raise _not_writable(Path(os.fsdecode(error.filename2 or error.filename)), error) from error


def _not_writable(path: Path, error: OSError) -> NotWritable:
    nearest = next(each for each in (path, *path.parents) if each.exists())
    status, uid, gid = nearest.stat(), os.geteuid(), os.getegid()
    if status.st_uid == uid:
        rights = f"as root: chmod u+rwx {nearest}, or on the host, the directory mounted there"
    else:
        rights = f"as root: chown -R {uid}:{gid} {nearest}, or on the host, the directory mounted there; "
        rights += "or start the container as its owner"
    hint = {
        errno.EROFS: f"mount a volume or a tmpfs at {path.parent}, or do not start the container read-only",
        errno.ENOSPC: "make room on the disk that holds it",
    }.get(error.errno or 0, rights)
    return NotWritable(
        f"cannot write to {path}: {error.strerror}; {nearest} belongs to {status.st_uid}:{status.st_gid} "
        f"with mode {status.st_mode & 0o7777:o} and this container runs as {uid}:{gid}",
        hint=hint,
    )
