"""What people see at the command line: the status file as a table, one service as a sentence."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from . import files, lastwords, loglines, operate, pxe, statusfile
from .errors import ExitCode
from .paths import Paths
from .services import CAPABILITIES, without

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rich.table import Table

WELL = ("healthy", "degraded")

STALE_AFTER = 30.0
"""Seconds; the status file is written every 5."""
SILENT = "The health listener has said nothing for {:.0f} s; this is what it said last."


LOOK_EVERY = 0.25
"""Seconds between two looks at the status file with --watch."""


def status(where: Paths) -> int:
    """Print every service with its level and why; return 0 when the container is healthy or degraded, else 1."""
    found = _read(where)
    if sys.stdout.isatty():
        from . import terminal

        terminal.console().print(_table(found))
    else:
        sys.stdout.write(_plain(found))
    return _code(found)


def status_as_json(where: Paths) -> int:
    """Print the status file; return as `status` does."""
    found = _read(where)
    sys.stdout.write(files.as_json(found))
    return _code(found)


def watch(where: Paths) -> int:
    """Show the status whenever it says something new, until somebody interrupts it."""
    if not sys.stdout.isatty():
        return _print_changes(where)
    from rich.live import Live

    from . import terminal

    with Live(_table(_read(where)), console=terminal.console(), auto_refresh=False, screen=True) as live:
        while True:
            time.sleep(LOOK_EVERY)
            live.update(_table(_read(where)), refresh=True)


def _print_changes(where: Paths) -> int:
    told = ""
    while True:
        text = _plain(_read(where))
        if text != told:
            sys.stdout.write(f"\n{text}" if told else text)
            sys.stdout.flush()
        told = text
        time.sleep(LOOK_EVERY)


def _rows(found: Any) -> list[tuple[str, str, str]]:
    return [(name, service["level"], service["because"]) for name, service in found["services"].items()]


def _plain(found: Any) -> str:
    rows = _rows(found)
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    lines = [f"{name:<{widths[0]}}  {level:<{widths[1]}}  {reason}".rstrip() for name, level, reason in rows]
    return "\n".join([f"{found['level']}: {found['summary']}", *lines, *_more(found), ""])


def _more(found: Any) -> list[str]:
    """Return what is told besides the services: missing capabilities, and whether machines can boot."""
    lines = [*without(found["services"]), f"Can machines boot over the network? {pxe.in_words(found['pxe'])}"]
    return [*lines, pxe.import_in_words(found["images"])] if found["images"] else lines


def _table(found: Any) -> Table:
    """Return the same for a terminal, which wraps long reasons; with what only fits there: since when, restarts."""
    from rich.table import Table
    from rich.text import Text

    from . import terminal

    def coloured(level: str) -> Text:
        return Text(level, style=terminal.COLOURS.get(level, ""))

    title = Text.assemble(coloured(found["level"]), ": ", found["summary"], "\n", "\n".join(_more(found)), "\n")
    table = Table("service", "level", "since", "restarts", "why", title=title, title_justify="left", title_style="")
    table.box = None
    table.columns[-1].overflow = "fold"
    for name, service in found["services"].items():
        since = loglines.ago(int(found["uptime"] - service["since"])) if service["pid"] else ""
        again = str(service["restarts"]) if service["restarts"] else ""
        table.add_row(name, coloured(service["level"]), since, again, Text(service["because"]))
    return table


def _code(found: Any) -> int:
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
        told = [
            services[name]["why"],
            wanted,
            *(f"without {each.upper()}: {CAPABILITIES.get(each, each)}" for each in missing),
        ]
    elif name == lastwords.CONTAINER:
        told = [f"the container is {found['level']}: {found['summary']}"]
    else:
        raise operate.unknown("explain", name, (lastwords.CONTAINER, *services))
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
    found = statusfile.read(where)
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - found["uptime"]
    if age > STALE_AFTER:
        sys.stderr.write(SILENT.format(age) + "\n")
    return found
