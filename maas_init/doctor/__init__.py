"""The doctor: asks everything that keeps MAAS from working, and says what was seen, what it means and what to do.

It looks and changes nothing. The same questions are asked in a running container (`docker exec`), also in one that is
unwell or still starting, and in one made for the purpose (`docker run ... doctor`), where what needs something running
is skipped. A check is a function in one of the modules here; docs/reference/doctor.md is made from their tables.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .. import files, privileges
from ..errors import MaasInitError
from ..paths import Paths
from ..privileges import Privileges
from . import container, database, identity, network, upkeep, volumes
from .finding import Check, Finding, Level, warning
from .patient import NotNow
from .patient import Patient as Patient

CONCERNS: Mapping[str, Sequence[Check]] = {
    "container": tuple(container.CHECKS),
    "volumes": tuple(volumes.CHECKS),
    "network": tuple(network.CHECKS),
    "database": tuple(database.CHECKS),
    "identity": tuple(identity.CHECKS),
    "services": tuple(upkeep.CHECKS),
}
EXIT_CODES = {Level.OK: 0, Level.SKIPPED: 0, Level.WARNING: 1, Level.FAILURE: 2}

Findings = list[tuple[Check, Finding]]


def come_as_services_do(where: Paths) -> None:
    """Take the user and the capabilities that services have: replaces this process by itself, where that can be had.

    Raw sockets can then be opened, and processes be seen that have these capabilities.
    """
    now = Privileges.look()
    if now.uid == 0 and not now.missing_to_leave_root:
        running = where.run.stat() if where.settings.exists() else None
        privileges.leave_root(running and running.st_uid, running and running.st_gid)
    argv = privileges.launcher(now, uid=os.geteuid(), gid=os.getegid())
    if argv:
        os.execv(argv[0], [*argv, *sys.argv])


def main(patient: Patient, *, everything: bool, as_json: bool) -> int:
    """Examine and print; return 0 when all is well, 1 when the worst is a warning, 2 when something is broken."""
    found = examine(patient)
    if as_json:
        sys.stdout.write(files.as_json(described(found)))
    else:
        _print(found, everything)
    return max(EXIT_CODES[finding.level] for _, finding in found)


def examine(patient: Patient) -> Findings:
    """Ask everything: the concerns side by side, because some answers come late or never."""
    with contextlib.closing(patient), ThreadPoolExecutor() as pool:
        return [each for found in pool.map(lambda checks: _ask(checks, patient), CONCERNS.values()) for each in found]


def _ask(checks: Sequence[Check], patient: Patient) -> Findings:
    return [(check, answer(check, patient)) for check in checks]


def answer(check: Check, patient: Patient) -> Finding:
    """Ask one question; whatever comes of it is an answer."""
    try:
        found = check.look(patient)
    except NotNow as reason:
        return Finding(Level.SKIPPED, str(reason))
    except MaasInitError as error:
        return Finding(Level.FAILURE, str(error.args[0]), error.hint)
    except Exception as error:  # a question that goes wrong must not keep the others from being asked
        return warning(f"cannot tell: {type(error).__name__}: {error}")
    return found if isinstance(found, Finding) else Finding(Level.OK, found)


def described(found: Findings) -> list[dict[str, Any]]:
    """Return the findings for programs."""
    concern = {check.name: name for name, checks in CONCERNS.items() for check in checks}
    return [
        {
            "name": check.name,
            "concern": concern[check.name],
            "asks": check.asks,
            "level": finding.level.value,
            "evidence": finding.evidence,
            "meaning": check.meaning,
            "remedy": finding.remedy or check.remedy,
        }
        for check, finding in found
    ]


def _print(found: Findings, everything: bool) -> None:
    shown = [
        (check, finding) for check, finding in found if everything or finding.level in (Level.WARNING, Level.FAILURE)
    ]
    blocks = [block for check, finding in shown for block in _block(check, finding)]
    if not sys.stdout.isatty():
        sys.stdout.write("".join(f"{text}\n" for _, text in [*blocks, ("", summary(found))]))
        return
    from rich.text import Text

    from .. import terminal

    console = terminal.console()
    for level, text in [*blocks, ("", summary(found))]:
        console.print(Text(text, style=terminal.COLOURS.get(level, "")))


def _block(check: Check, finding: Finding) -> list[tuple[str, str]]:
    """Return the lines about one finding, each with the level by which it is coloured."""
    level = finding.level.value
    lines = [(level, f"{level:<8} {check.name}: {finding.evidence}")]
    if finding.level in (Level.WARNING, Level.FAILURE):
        lines += [("", f"         {check.meaning}"), ("", f"         Do: {finding.remedy or check.remedy}")]
    return lines


def summary(found: Findings) -> str:
    """Return how many checks came to what."""
    counts = {level: sum(finding.level is level for _, finding in found) for level in Level}
    told = [f"{number} {level.value}" for level, number in counts.items() if number]
    return f"{len(found)} checks: {', '.join(told)}"
