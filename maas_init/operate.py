"""Start, stop and restart services for the operator: asked of the health listener, waited for, told in a sentence."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Sequence

from . import asking, units
from .errors import ExitCode, MaasInitError
from .paths import Paths
from .units import Unit

DONE = {
    "start": "{0} runs",
    "stop": "{0} is stopped and stays so, until: maas-init start {0}",
    "restart": "{0} was restarted and runs",
}


def main(verb: str, names: Sequence[str], where: Paths) -> int:
    """Do `verb` with every service named; return 0, or 1 when one of them failed.

    Raises MaasInitError for an unknown name, before anything is done.
    """
    found, _ = units.read(where)
    asked = {unit.name: unit for unit in (_meant(verb, name, found) for name in names)}
    failures: dict[str, str] = {}
    changes: dict[str, str] = {}
    for name in asked:
        payload = {"action": verb, "services": [name]}
        status, answer = asking.ask(where.pebble_socket, "POST", "/v1/services", payload)
        if status == 202:
            changes[name] = answer["change"]
        else:
            failures[name] = answer["result"]["message"]
    for name, change in changes.items():
        failures[name] = asking.outcome(where.pebble_socket, change)
    for name in asked:
        if failures[name]:
            sys.stdout.flush()
            reason = failures[name].removeprefix(f"cannot {verb} {name}: ")
            sys.stderr.write(f"cannot {verb} {name}: {reason}\n  (see: maas-init why {name})\n")
        else:
            sys.stdout.write(f"{DONE[verb].format(name)}\n")
    return ExitCode.FAILED if any(failures.values()) else ExitCode.STOPPED


def _meant(verb: str, name: str, found: Iterable[Unit]) -> Unit:
    """Return the service that `name` stands for: its own name, or that of its systemd unit."""
    services = {unit.name: unit for unit in found}
    by_unit = {unit.facts.get("unit"): unit for unit in services.values()}
    bare = name.removesuffix(".service")
    unit = services.get(bare) or by_unit.get(bare)
    if unit is None:
        raise unknown(verb, name, services)
    return unit


def unknown(verb: str, name: str, known: Iterable[str]) -> MaasInitError:
    """Return the error that says there is no such service, and which come close to the name."""
    known = list(known)
    close = difflib.get_close_matches(name, known, cutoff=0.5)
    meant = f"did you mean {' or '.join(close)}? " if close else ""
    return MaasInitError(
        f'cannot {verb} "{name}": there is no such service', hint=f"{meant}There are {', '.join(known)}"
    )
