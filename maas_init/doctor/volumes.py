"""The volumes: whether what MAAS knows is kept, and whether there is room for more."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from .. import boot, files, probes
from .finding import Check, Finding, failure, warning
from .patient import NotNow, Patient

SHOWN = 3
"""Files that are named of many."""
LEAST_INODES = 10_000
FORGETFUL = {"tmpfs", "ramfs"}
SHARED = {"nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p"}
WITHOUT_OWNERS = {"cifs", "smb3", "vfat", "exfat", "ntfs", "ntfs3"}


class Mount(NamedTuple):
    """A line of /proc/self/mountinfo."""

    point: Path
    root: str
    """What of the file system is mounted there."""
    kind: str
    options: tuple[str, ...]


def mounts(text: str) -> list[Mount]:
    """Return what `text` says, in the form of /proc/self/mountinfo."""
    found = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        words = [re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), word) for word in before.split()]
        found.append(Mount(Path(words[4]), words[3], after.split()[0], tuple(words[5].split(","))))
    return found


def mount_of(path: Path, among: Iterable[Mount]) -> Mount:
    """Return the mount on which `path` lies."""
    real = path.resolve()
    return max((each for each in among if real.is_relative_to(each.point)), key=lambda each: len(each.point.parts))


def _mounted(patient: Patient) -> dict[Path, Mount]:
    found = mounts(Path("/proc/self/mountinfo").read_text())
    return {volume: mount_of(volume, found) for volume in patient.where.volumes if volume.exists()}


def volumes_writable(patient: Patient) -> str | Finding:
    """Can every volume be written?"""
    for volume in patient.where.volumes:
        try:
            files.try_to_write(volume)
        except OSError as error:
            status = volume.stat() if volume.exists() else None
            whose = f"; it belongs to {status.st_uid}:{status.st_gid}" if status else ""
            return failure(
                f"cannot write in {volume}: {error.strerror}{whose}, and this is {os.geteuid()}:{os.getegid()}"
            )
    return f"all {len(patient.where.volumes)} can"


def volumes_modes(patient: Patient) -> str | Finding:
    """May the modes of files in the volumes be changed?"""
    try:
        refused = [str(volume) for volume in patient.where.volumes if not files.modes_can_be_changed(volume)]
    except OSError as error:
        raise NotNow(f"{error.filename}: {error.strerror}") from error
    if refused:
        return failure(f"not in {', '.join(refused)}")
    return f"in all {len(patient.where.volumes)}"


def volumes_owner(patient: Patient) -> str | Finding:
    """Does everything in the volumes belong to the container's user?"""
    try:
        foreign = (path for volume in patient.where.volumes for path in boot.foreign(volume))
        # Another group is put right by the start.
        found = [path for path in foreign if path.lstat().st_uid != os.geteuid()]
    except OSError as error:
        return failure(f"{error.filename}: {error.strerror}")
    if not found:
        return f"all belongs to {os.geteuid()}:{os.getegid()}"
    examples = ", ".join(f"{path} ({path.lstat().st_uid})" for path in itertools.islice(found, SHOWN))
    return warning(f"{len(found)} files belong to others: {examples}")


def volumes_kept(patient: Patient) -> str | Finding:
    """Do /etc/maas and /var/lib/maas outlive this container?"""
    kept = {volume: mount for volume, mount in _mounted(patient).items() if volume in patient.where.volumes[:2]}
    lost = []
    for volume, mount in kept.items():
        if re.search(r"/volumes/[0-9a-f]{64}/_data$", mount.root):
            lost.append(f"{volume} is a volume without a name, which the next container does not get")
        elif mount.point != volume.resolve() and mount.kind == "overlay":
            lost.append(f"{volume} is no volume: it goes with the container")
    return warning("; ".join(lost)) if lost else "they are mounted"


def file_systems(patient: Patient) -> str | Finding:
    """Are the volumes on file systems that can hold what MAAS keeps?"""
    data = patient.where.maas_data
    found = {volume: mount.kind for volume, mount in _mounted(patient).items()}
    told = ", ".join(f"{volume} {kind}" for volume, kind in found.items())
    kept = {volume: found[volume] for volume in patient.where.volumes[:2] if volume in found}
    for volume, kind in kept.items():
        if kind in FORGETFUL:
            return failure(f"{volume} is in memory ({kind}): all is lost at the next start")
        if kind in WITHOUT_OWNERS:
            return failure(f"{volume} is on {kind}, which keeps no owners and no sockets")
    if found.get(data) in SHARED and patient.region().database.embedded:
        return warning(f"{data} is on {found[data]}, and the database inside it")
    return told


def disk_space(patient: Patient) -> str | Finding:
    """Is there room in the volumes?"""
    check = patient.catalogue["disk-space"].check
    assert check is not None
    try:
        return probes.disk_space(probes.Question(check.arguments, check.within))
    except probes.ProbeFailed as failed:
        return failure(str(failed))
    except OSError as error:
        return failure(f"{error.filename}: {error.strerror}")


def inodes(patient: Patient) -> str | Finding:
    """May more files be made in the volumes?"""
    left = {}
    for volume in filter(Path.exists, patient.where.volumes):
        found = os.statvfs(volume)
        if found.f_files:  # some file systems have no limit
            left[volume] = found.f_favail
    short = [f"{number} in {volume}" for volume, number in left.items() if number < LEAST_INODES]
    if short:
        return warning(f"there is only room for {', '.join(short)}")
    if not left:
        raise NotNow("these file systems have no limit")
    return f"for {min(left.values())} at least"


CHECKS: Iterable[Check] = (
    Check(
        volumes_writable,
        "The container ends at once with code 78.",
        "On the host: chown -R 568:568 the directory that is mounted there; mount it writable.",
    ),
    Check(
        volumes_modes,
        "MAAS changes the mode of each file that it writes, and fails where that is refused.",
        "On TrueNAS: in the dataset's advanced options, ACL Mode: Passthrough (zfs set aclmode=passthrough DATASET).",
    ),
    Check(
        volumes_owner,
        "MAAS gives a file that it replaces back to its owner, which only root may: DHCP or nginx stay unconfigured.",
        "On the host: chown -R 568:568 the directories that are mounted there.",
    ),
    Check(
        volumes_kept,
        "A new container, after an upgrade for example, begins empty.",
        "Name them: `-v maas-config:/etc/maas -v maas-data:/var/lib/maas`, or mount directories of the host.",
    ),
    Check(
        file_systems,
        "What MAAS keeps is lost, or its database is damaged when the connection breaks.",
        "Keep /etc/maas and /var/lib/maas on a local disk; put only images on the network.",
    ),
    Check(
        disk_space,
        "Imports of images fail, then the database and everything that writes.",
        "Make room, or move the volume.",
    ),
    Check(
        inodes,
        "Nothing new can be written, though there seems to be room.",
        "Remove files, or make a larger file system.",
    ),
)
