"""What stands on a terminal: rich draws it. Elsewhere (a pipe, a file, `docker exec` without -t) text stays plain.

Only imported by verbs that print for people: rich takes longer to import than the rest of them to run.
"""

from __future__ import annotations

import sys

from rich.console import Console

COLOURS = {
    **dict.fromkeys(("ready", "healthy", "ok"), "green"),
    **dict.fromkeys(("up", "starting", "degraded", "warning", "stopping"), "yellow"),
    **dict.fromkeys(("unwell", "down", "unhealthy", "failure"), "bold red"),
    "blocked": "magenta",
    **dict.fromkeys(("off", "skipped"), "dim"),
}
"""Of every level that is shown; each is also written as a word."""


def console() -> Console:
    """Return the terminal that standard output is; rich heeds NO_COLOR and the terminal's abilities."""
    return Console(file=sys.stdout, highlight=False)
