"""Files as MAAS writes them: whole, by rename, to the previous owner."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from . import paths, processes


def atomic_write(content: bytes | str, path: Path | str, mode: int = 0o600) -> None:
    """Replace `path`; an existing file keeps its owner, or the write fails.

    The folder must be writable, and a file that root left behind cannot be
    replaced by anybody else: MAAS behaves so, and it stops services.
    """
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, mode)
        with suppress(FileNotFoundError):
            before = path.stat()
            os.chown(name, before.st_uid, before.st_gid)
        os.rename(name, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name)
        raise


def sudo_write_file(path: Path | str, content: str, mode: int) -> None:
    helper = paths.program("/usr/lib/maas/maas-write-file")
    processes.check(
        ["sudo", "-n", helper, os.fspath(path), f"{mode:04o}"],
        stdin=content.encode(),
    )


def sudo_delete_file(path: Path | str) -> None:
    helper = paths.program("/usr/lib/maas/maas-delete-file")
    processes.check(["sudo", "-n", helper, os.fspath(path)])


def read_if_present(path: Path) -> str | None:
    """The stripped text of a small file such as maas_id, or None."""
    try:
        return path.read_text().strip() or None
    except FileNotFoundError:
        return None
