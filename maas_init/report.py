"""What people see at the command line: the status file as a table, one service as a sentence."""

from __future__ import annotations

import sys
from typing import Any

from . import files
from .errors import ExitCode, MaasInitError
from .paths import Paths

WELL = ("healthy", "degraded")


def status(where: Paths) -> int:
    """Print every service with its level and why; return 0 when the container is healthy or degraded, else 1."""
    found = _read(where)
    rows = [(name, service["level"], service["because"]) for name, service in found["services"].items()]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"{name:<{widths[0]}}  {level:<{widths[1]}}  {reason}".rstrip() for name, level, reason in rows]
    sys.stdout.write("\n".join([f"{found['level']}: {found['summary']}", *lines, ""]))
    return ExitCode.STOPPED if found["level"] in WELL else ExitCode.FAILED


def why(where: Paths, name: str) -> int:
    """Print why a service is as it is, and who wants it so; raises MaasInitError for an unknown name."""
    services = _read(where)["services"]
    if name not in services:
        raise MaasInitError(f'cannot explain "{name}": there is no such service', hint=", ".join(services))
    service = services[name]
    desired = service["desired"]
    wanted = "on" if desired["on"] else "off"
    sys.stdout.write(f"{service['why']}\n{desired['owner']} wants it {wanted}: {desired['reason']}\n")
    return ExitCode.STOPPED


def _read(where: Paths) -> Any:
    found = files.read_json(where.status)
    if found is None:
        raise MaasInitError(
            f"cannot read {where.status}: the health listener has not written it yet",
            hint="look at the container's log",
        )
    return found
