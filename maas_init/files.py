"""The one door to the file system: files are written whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from pathlib import Path
from typing import Any

from . import log


def write(path: Path, text: str, *, mode: int = 0o644, sync: bool = True) -> bool:
    """Make `path` hold `text` with `mode`; return whether anything changed.

    The same content is left untouched. Otherwise a temporary file beside it is written, synced and renamed, so that
    a reader or a crash sees the old content or the new one, never a part. Without `sync` only a crash of the machine
    can lose the content: good for what lives no longer than the container.
    """
    if _holds(path, text):
        status = path.stat()
        if status.st_mode & 0o7777 == mode:
            return False
        if status.st_uid == os.geteuid():
            try_chmod(path, mode)
            return path.stat().st_mode & 0o7777 == mode
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with open(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            try_chmod(temporary, mode)
            if not mode & 0o007 and os.fstat(stream.fileno()).st_mode & 0o007:
                log.warning(
                    "file.readable_by_others", file=path, reason="this file system ignores modes: see its lists"
                )
            if sync:
                os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return True


def _holds(path: Path, text: str) -> bool:
    try:
        return path.read_text(encoding="utf-8") == text
    except (OSError, ValueError):
        return False


def try_chmod(path: Path, mode: int) -> None:
    """Give `path` this mode where that is possible: datasets with access control lists refuse it, or ignore it."""
    with contextlib.suppress(OSError):
        path.chmod(mode)


def sync(path: Path) -> None:
    """Have the disk hold what `path` holds; for a directory, its names: they must survive a power cut, too."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def try_to_write(directory: Path) -> None:
    """Make, write and remove a file in `directory`. Raises OSError when that cannot be done."""
    probe = directory / f".maas-init.{os.getpid()}"
    probe.write_text("can this be written?\n", encoding="utf-8")
    probe.unlink()


def modes_can_be_changed(directory: Path) -> bool:
    """Whether changing modes is permitted in `directory`, if only without effect. Raises OSError as writing does."""
    probe = directory / f".maas-init.{os.getpid()}"
    probe.touch()
    try:
        probe.chmod(0o600)
    except OSError:
        return False
    finally:
        probe.unlink()
    return True


def as_json(value: Any) -> str:
    """Return `value` as JSON that people can read, too."""
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"


def write_json(path: Path, value: Any, *, mode: int = 0o644, sync: bool = True) -> bool:
    """Write `value` as JSON, whole, for another process to read."""
    return write(path, json.dumps(value, ensure_ascii=False) + "\n", mode=mode, sync=sync)


def read_json(path: Path) -> Any:
    """Return what `path` holds, or None when it is missing or half-written by somebody else."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def fill(skeleton: Path, target: Path) -> list[Path]:
    """Copy below `target` whatever `skeleton` has and `target` lacks; return what was added.

    An empty volume hides what a package put there; nothing that exists is touched.
    """
    added = []
    for source in sorted(skeleton.rglob("*")):
        destination = target / source.relative_to(skeleton)
        if destination.exists() or destination.is_symlink():
            continue
        if source.is_dir() and not source.is_symlink():
            destination.mkdir(mode=source.stat().st_mode & 0o7777)
        else:
            _copy(source, destination)
        added.append(destination)
    return added


def take_over(path: Path) -> bool:
    """Make a file of somebody else's, or of another group, our own; return whether that could be done.

    Who may write a directory may replace what is in it, whoever owns that: by a copy.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.stat().st_uid == os.geteuid():
            os.chown(path, -1, os.getegid())
            return True
        _copy(path, temporary)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        return False
    return True


def _copy(source: Path, destination: Path) -> None:
    """Copy a file, or a link as such; nobody else can read the copy before it has the original's mode."""
    if source.is_symlink():
        destination.symlink_to(source.readlink())
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    with source.open("rb") as original, open(os.open(destination, flags, 0o600), "wb") as copy:
        while piece := original.read(1 << 20):
            copy.write(piece)
    try_chmod(destination, source.stat().st_mode & 0o7777)


def may_read(file: Path, uid: int, gid: int) -> bool:
    """Whether the modes of a file and of what it lies in let a user read it who has this group alone."""

    def may(path: Path, bit: int) -> bool:
        status = path.stat()
        shift = 6 if status.st_uid == uid else 3 if status.st_gid == gid else 0
        return bool(status.st_mode >> shift & bit)

    file = file.resolve()
    return may(file, 4) and all(may(directory, 1) for directory in file.parents)


def give(directory: Path, uid: int, gid: int) -> tuple[int, int]:
    """Make what lies below `directory` and belongs to another user `uid`:`gid`; return how many are, and how many not.

    A file must have the group, too: MAAS gives what it replaces the group that it had, and may not if that is none of
    its own. What is right is not touched, links are not followed, and single files that were mounted from elsewhere
    stay whose they are. File systems that know no owners are left as they are: trying to write tells more.
    """
    mounted = mount_points()
    given = left = 0
    unread: list[OSError] = []
    try:
        for where, directories, others, folder in os.fwalk(directory, onerror=unread.append):
            links = (name for name in directories if Path(where, name).is_symlink())
            for name in (".", *links, *others):
                if name != "." and f"{where}/{name}" in mounted:
                    continue
                try:
                    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                    if status.st_uid != uid or (stat.S_ISREG(status.st_mode) and status.st_gid != gid):
                        os.chown(name, uid, gid, dir_fd=folder, follow_symlinks=False)
                        given += 1
                except OSError:
                    left += 1
    except OSError as error:  # the top itself
        unread.append(error)
    return given, left + len(unread)


def mount_points() -> set[str]:
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    # The kernel writes blanks and the like as octal numbers.
    return {re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), line.split()[4]) for line in lines}
