"""Last words: what is known of an end that nobody wished, and of every end of the container, in a plain file for each.

They lie beside the logs, so that they outlive the container where the volume does.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import NamedTuple

from . import files
from .paths import Paths

KEPT = 10
"""Ends of each service that are kept."""
LINES = 200
"""Of what a service printed at last."""
LARGEST = 65536
"""Characters of a file: its beginning and as much of the newest lines as fits."""

CONTAINER = "container"
"""The name under which the container's own ends are kept."""

CONTROL_GROUP = "/sys/fs/cgroup"
MEMORY = (
    ("memory.current", "memory.max", "memory.events", "memory.stat"),
    (
        *("memory/memory.usage_in_bytes", "memory/memory.limit_in_bytes"),
        *("memory/memory.oom_control", "memory/memory.stat"),
    ),
)
"""What is used, the limit and the kernel's counters: in control groups of version 2, and of version 1."""
NO_LIMIT = 1 << 60
"""Version 2 says "max"; version 1 has a number as large as this or larger."""


def leave(where: Paths, name: str, time: str, head: str, lines: list[str]) -> None:
    """Keep how `name` ended at `time` (as records of the log carry it): a sentence and facts, then `lines`.

    An end that is told a second time is kept as it was. Raises OSError.
    """
    file = where.last_words / f"{name}.{time}.txt"
    if file.exists():
        return
    shown = "\n".join(lines)[-max(1, LARGEST - len(head)) :] if lines else "(none)"
    files.write(file, f"{head}\n\nThe last lines:\n{shown}\n")
    # The newest by its name was not written last where the clock was set back.
    for old in [each for each in of(where, name) if each != file][: 1 - KEPT]:
        with contextlib.suppress(FileNotFoundError):
            old.unlink()


def of(where: Paths, name: str) -> list[Path]:
    """Return the files about one service, or about CONTAINER, the oldest first."""
    return sorted(where.last_words.glob(f"{name}.*.txt"))


def since(where: Paths, time: str) -> list[str]:
    """Return in a sentence each how services ended since `time`, the oldest first."""
    found = [file for file in where.last_words.glob("*.txt") if _time(file) >= time]
    return [first_line(file) for file in sorted(found, key=_time) if not file.name.startswith(f"{CONTAINER}.")]


def first_line(file: Path) -> str:
    """Return the sentence that a file begins with."""
    try:
        return file.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
    except OSError as error:
        return f"{file} cannot be read: {error.strerror}"


def _time(file: Path) -> str:
    return file.name.partition(".")[2].removesuffix(".txt")


class Memory(NamedTuple):
    """The container's, as its control group tells; None where it does not."""

    used: int | None
    """Bytes."""
    limit: int | None
    """Bytes; None also when there is none."""
    killed: int | None
    """Processes that the kernel killed for want of memory since the container began."""
    reclaimable: int = 0
    """Bytes of what is used that the kernel can take back at once: files read once."""

    def since(self, before: Memory) -> str:
        """Say in a sentence how much is used, and what the kernel killed since `before`."""
        if self.used is None:
            return "memory: the control group does not tell"
        of_limit = f" of {self.limit >> 20}" if self.limit else ""
        killed = (self.killed or 0) - (before.killed or 0)
        told = f"killed {killed} for want of memory" if killed else "killed nothing for want of memory"
        return f"memory: {self.used >> 20}{of_limit} MiB used; the kernel {told} since the end before"


def memory(where: Paths) -> Memory:
    """Look at the control group of the container."""
    group = where.at(CONTROL_GROUP)
    used, limit, events, stat = next((files for files in MEMORY if (group / files[0]).exists()), MEMORY[0])
    counters, pages = (dict(line.split() for line in _read(group / file).splitlines()) for file in (events, stat))
    most = _number(_read(group / limit))
    return Memory(
        used=_number(_read(group / used)),
        limit=most if most and most < NO_LIMIT else None,
        killed=_number(counters.get("oom_kill", "")),
        reclaimable=_number(pages.get("total_inactive_file") or pages.get("inactive_file", "")) or 0,
    )


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""


def _number(text: str) -> int | None:
    return int(text) if text.strip().isdigit() else None
