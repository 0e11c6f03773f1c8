"""What people see at the command line: the status file as a table, one service as a sentence."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from . import files, lastwords, loglines
from .errors import ExitCode, MaasInitError
from .paths import Paths
from .services import CAPABILITIES

WELL = ("healthy", "degraded")

STALE_AFTER = 30.0
"""Seconds; the status file is written every 5."""
SILENT = "The health listener has said nothing for {:.0f} s; this is what it said last."


def status(where: Paths) -> int:
    """Print every service with its level and why; return 0 when the container is healthy or degraded, else 1."""
    found = _read(where)
    rows = [(name, service["level"], service["because"]) for name, service in found["services"].items()]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"{name:<{widths[0]}}  {level:<{widths[1]}}  {reason}".rstrip() for name, level, reason in rows]
    sys.stdout.write("\n".join([f"{found['level']}: {found['summary']}", *lines, ""]))
    return ExitCode.STOPPED if found["level"] in WELL else ExitCode.FAILED


def why(where: Paths, name: str) -> int:
    """Print why a service, or the container, is as it is, who wants it so, and how it ended when nobody wished it.

    Raises MaasInitError for an unknown name.
    """
    found = _read(where)
    services = found["services"]
    if name in services:
        desired = services[name]["desired"]
        wanted = f"{desired['owner']} wants it {'on' if desired['on'] else 'off'}: {desired['reason']}"
        wanted += f" (since {loglines.stamp(desired['at'])})"
        missing = services[name]["missing_capabilities"]
        told = [services[name]["why"], wanted, *(f"without {each.upper()}: {CAPABILITIES[each]}" for each in missing)]
    elif name == lastwords.CONTAINER:
        told = [f"the container is {found['level']}: {found['summary']}"]
    else:
        names = ", ".join((lastwords.CONTAINER, *services))
        raise MaasInitError(f'cannot explain "{name}": there is no such service', hint=names)
    kept = lastwords.of(where, name)
    if kept:
        told += ["", "How it ended before:", *map(lastwords.first_line, kept)]
        told += ["", f"Its last words ({kept[-1]}):", *_ending_of(kept[-1])]
    sys.stdout.write("\n".join([*told, ""]))
    return ExitCode.STOPPED


def _ending_of(file: Path) -> list[str]:
    """Return the facts and the last lines of a file of last words."""
    return file.read_text(encoding="utf-8", errors="replace").splitlines()[1:]


def _read(where: Paths) -> Any:
    found = files.read_json(where.status)
    if found is None:
        raise MaasInitError(
            f"cannot read {where.status}: the health listener has not written it yet",
            hint="look at the container's log",
        )
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - found["uptime"]
    if age > STALE_AFTER:
        sys.stderr.write(SILENT.format(age) + "\n")
    return found
