"""The report: from raw values to the tables of docs/explanation/performance.md."""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import image
from .duties import DUTIES, Duty
from .peers import OURS, PYPI_PROGRAMS

Found = dict[str, Any]
"""What __main__.py keeps of one duty: when, how often, where, and the raw values."""

BEGIN = "<!-- written by make bench: do not edit below -->"
END = "<!-- written by make bench: end -->"
COMPARED = {"ms", "s", "MiB", "ms/min", "us/line", "wake-ups/min", "% of a core"}
"""Units of which less is better, so that a ratio says something."""


@dataclass(frozen=True)
class Goal:
    """One number to reach."""

    duty: str
    what: str
    most: float
    words: str
    who: str = OURS.name
    largest: bool = False
    """The largest value counts, not the median."""


GOALS = (
    Goal("start", "13th service, ms", 350, "process 1's exec to the 13th service's first instruction"),
    Goal("crash", "settled, ms", 10, "a settled service is killed: median to its replacement's first instruction"),
    Goal("crash", "settled, ms", 40, "the same: slowest", largest=True),
    *(Goal("crashes", f"{n}, ms", 200, f"a young service is killed: {n} time") for n in ("2nd", "3rd", "4th", "5th")),
    Goal("hung", "restarted after, s", 10, "a service hangs: restarted"),
    Goal("stop", "exit after, ms", 100, "SIGTERM to exit, all told and waited for"),
    Goal("stubborn", "last of the others told after, ms", 100, "one ignores SIGTERM: the others told"),
    Goal("stubborn", "exit after, s", 9, "one ignores SIGTERM: exit"),
    Goal("orphans", "none left after, ms", 20, "10,000 orphans: none left"),
    Goal("orphans", "log lines", 1, "10,000 orphans: log lines"),
    Goal("healthcheck", "CPU, ms", 1.5, "HEALTHCHECK", who=f"{OURS.name}: healthcheck.sh"),
    Goal("idle", "CPU, ms/min", 60, "idle, 13 services asked every 4 s"),
    Goal("memory", "PSS, MiB", 45, "memory of process 1, supervisord and listener"),
    Goal("memory", "of that process 1, MiB", 10, "memory of process 1"),
    Goal("growth", "restart, ms", 10, "500 services: a settled one is killed", who=f"{OURS.name}, 500"),
    Goal("growth", "in the status after, ms", 1000, "500 services: the status tells", who=f"{OURS.name}, 500"),
    Goal("growth", "idle, % of a core", 3, "500 services: idle", who=f"{OURS.name}, 500"),
)


def write(page: Path, directory: Path) -> None:
    """Put the tables of everything that was measured into the page; what was not keeps the table that is there."""
    before, _, rest = page.read_text("utf-8").partition(BEGIN)
    old, _, after = rest.partition(END)
    there = {part.partition("\n")[0]: part.strip() for part in re.split("^### ", old, flags=re.MULTILINE)[1:]}
    duties = (*DUTIES, *image.DUTIES)
    files = {duty.name: directory / f"{duty.name}.json" for duty in duties}
    found = {name: json.loads(file.read_text("utf-8")) for name, file in files.items() if file.exists()}
    tables = [
        table(duty, found[duty.name]) if duty.name in found else f"### {there[duty.title]}"
        for duty in duties
        if duty.name in found or duty.title in there
    ]
    parts = [BEGIN, *_machines(found.values(), old), _goals(found, old), *tables, END]
    page.write_text(before + "\n\n".join(parts) + after, "utf-8")


def table(duty: Duty, found: Found) -> str:
    """Return one duty's heading, explanation and table."""
    values = _by_cell(found)
    who = list(dict.fromkeys(row for row, _ in values))
    # Ours first; of the others the order in which they stand in peers.py, whoever began.
    who.sort(key=lambda row: not row.startswith(OURS.name))
    what = list(dict.fromkeys(column for _, column in values))
    lines = [f"| | {' | '.join(what)} |", "|---|" + "---:|" * len(what)]
    for row in who:
        cells = (_cell(values.get((row, column), []), values.get((_ours(row), column), []), column) for column in what)
        lines.append(f"| {row} | {' | '.join(cells)} |")
    times = f"{found['repetitions']} repetitions, {found['at']}, load {found['load'][0]:.1f} to {found['load'][1]:.1f}"
    return f"### {duty.title}\n\n{duty.explanation} ({times})\n\n" + "\n".join(lines)


def _ours(row: str) -> str:
    """Return the row of ours with which another is compared: where there are sizes, the one of the same size."""
    _, comma, size = row.partition(", ")
    return f"{OURS.name}, {size}" if comma and size.isdigit() else OURS.name


def _by_cell(found: Found) -> dict[tuple[str, str], list[float | None]]:
    cells: dict[tuple[str, str], list[float | None]] = {}
    for value in sorted(found["values"], key=lambda value: value["repetition"]):
        cells.setdefault((value["who"], value["what"]), []).append(value["value"])
    return cells


def _cell(values: Sequence[float | None], ours: Sequence[float | None], column: str) -> str:
    if not values:
        return ""
    happened = [value for value in values if value is not None]
    if not happened:
        return "never"
    middle, least, most = statistics.median(happened), min(happened), max(happened)
    text = _number(middle)
    if least != most:
        text += f" [{_number(least)} - {_number(most)}]"
    if len(happened) < len(values):
        text += f", never {len(values) - len(happened)} of {len(values)}"
    base = statistics.median([value for value in ours if value is not None] or [0.0])
    if values is not ours and base and column.rpartition(", ")[2] in COMPARED:
        text += f" x{_number(middle / base)}"
    return text


def _number(value: float) -> str:
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _goals(found: Mapping[str, Found], old: str = "") -> str:
    lines = ["### What was to be reached", "", "| duty | at most | maas-init | |", "|---|---:|---:|---|"]
    for goal in GOALS:
        values = _by_cell(found[goal.duty]).get((goal.who, goal.what), []) if goal.duty in found else []
        happened = [value for value in values if value is not None]
        unit = goal.what.rpartition(", ")[2]
        unit = f" {unit}" if unit in COMPARED else ""
        if values:
            reached = (max if goal.largest else statistics.median)(happened) if len(happened) == len(values) else None
            told = "never" if reached is None else f"{_number(reached)}{unit}"
            kept = reached is not None and reached <= goal.most
            lines.append(f"| {goal.words} | {_number(goal.most)}{unit} | {told} | {'' if kept else 'missed'} |")
        elif goal.duty not in found:
            lines += [line for line in old.splitlines() if line.startswith(f"| {goal.words} |")]
    return "\n".join(lines)


def machine() -> dict[str, str]:
    """Return what the numbers depend on besides the programs."""
    facts = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2] for line in facts if line.startswith("model name")), platform.machine())
    release = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    python = subprocess.run([PYPI_PROGRAMS / "python", "-V"], capture_output=True, text=True, check=True).stdout.strip()
    return {
        "machine": f"{os.cpu_count()} processors ({model}), kernel {platform.release()}, {release}, {python}",
        "peers": ", ".join([*_debian("s6", "runit", "tini", "dumb-init"), *_pypi("supervisor", "superlance")]),
    }


def _debian(*packages: str) -> list[str]:
    query = ["dpkg-query", "-W", "-f", "${Package} ${Version}\n", *packages]
    return subprocess.run(query, capture_output=True, text=True, check=False).stdout.splitlines()


def _pypi(*packages: str) -> list[str]:
    code = "import sys; from importlib.metadata import version\nfor name in sys.argv[1:]: print(name, version(name))"
    asked = [os.fspath(PYPI_PROGRAMS / "python"), "-c", code, *packages]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()


def _machines(found: Iterable[Found], old: str) -> list[str]:
    """Return a line for each machine that anything was measured on, those of the page first."""
    lines = [line for line in old.splitlines() if line.startswith("Measured on ")]
    lines += [f"Measured on {each['machine']['machine']}; {each['machine']['peers']}." for each in found]
    return list(dict.fromkeys(lines))
