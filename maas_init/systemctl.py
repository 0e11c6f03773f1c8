"""systemd's command for services: for people, and for what in MAAS says `sudo systemctl`.

How everything is, is read from the status file. What is asked goes to the health listener over the Pebble socket; its
answer comes when the service runs or has failed. Words and exit codes are systemd's: MAAS and people parse them.
"""

from __future__ import annotations

import fnmatch
import getopt
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import __version__, asking, report, units
from .errors import MaasInitError
from .paths import Paths
from .units import Unit

FAILED, NOT_APPLICABLE, NOT_RUNNING, UNKNOWN, NOT_INSTALLED = 1, 3, 3, 4, 5
"""systemd's exit codes, which are those of the Linux Standard Base."""

SAME = {
    "condrestart": "try-restart",
    "force-reload": "reload-or-restart",
    "reload-or-try-restart": "try-reload-or-restart",
}
JOBS = ("start", "stop", "restart", "try-restart", "reload", "reload-or-restart", "try-reload-or-restart", *SAME)
WITHOUT_EFFECT = {
    "enable": "what starts with the container is written in supervisord.conf.d",
    "disable": "what starts with the container is written in supervisord.conf.d",
    "daemon-reload": "supervisord.conf.d is read when the container starts",
}
VERBS = ("status", *JOBS, "kill", "is-active", "is-failed", "is-enabled", *WITHOUT_EFFECT, "list-units", "show")

SHORT = "afhlqrn:o:p:s:t:"
LONG = (
    *("all", "failed", "force", "full", "help", "no-ask-password", "no-block", "no-legend", "no-pager", "no-reload"),
    *("non-interactive", "no-wall", "now", "plain", "quiet", "recursive", "system", "value", "version", "job-mode="),
    *("kill-who=", "kill-whom=", "lines=", "output=", "property=", "signal=", "state=", "type="),
)
IN_FULL = {"-a": "--all", "-h": "--help", "-p": "--property", "-q": "--quiet", "-s": "--signal", "-t": "--type"}

USAGE = f"""\
usage: maas-init systemctl [OPTION...] VERB [UNIT...]

Says to maas-init what one says to systemd elsewhere. The verbs are {", ".join(VERBS)}.
A unit is a service under its name in `maas-init status`, or under that of its systemd unit: http or maas-http.service.
Options: -q, -a, --now, --no-block, -s SIGNAL, -p PROPERTY, --value, --state STATE, --failed, --no-legend; those about
pagers, lines and passwords change nothing.
"""


@dataclass(frozen=True)
class Asked:
    """The command line, understood, and the units there are."""

    names: tuple[str, ...]
    options: dict[str, str]
    units: tuple[Unit, ...]
    socket: Path

    def each(self) -> dict[str, Unit | None]:
        """Return what was named, by its full name; None for what does not exist."""
        known = {f"{unit.name}.service": unit for unit in self.units} | {unit.id: unit for unit in self.units}
        found: dict[str, Unit | None] = {}
        for name in self.names:
            full = f"{name.removesuffix('.service')}.service"
            if any(letter in name for letter in "*?["):
                found |= {unit.id: unit for unit in self.units if fnmatch.fnmatchcase(unit.id, full)}
            else:
                unit = known.get(full)
                found[unit.id if unit else full] = unit
        return found


def main(argv: Sequence[str], where: Paths) -> int:
    """Do what systemctl would do; return its exit code. Raises MaasInitError when that cannot be told or asked."""
    try:
        given, words = getopt.gnu_getopt(list(argv), SHORT, list(LONG))
    except getopt.GetoptError as error:
        raise MaasInitError(f"cannot understand the command: {error}", hint="see systemctl --help") from None
    options: dict[str, str] = {}
    for name, value in given:
        # -p A -p B is -p A,B
        option = IN_FULL.get(name, name)
        options[option] = f"{options[option]},{value}" if options.get(option) else value
    if "--help" in options or "--version" in options:
        sys.stdout.write(USAGE if "--help" in options else f"maas-init {__version__}, not systemd\n")
        return 0
    verb, names = (words[0], tuple(words[1:])) if words else ("list-units", ())
    if verb not in VERBS:
        raise MaasInitError(f'cannot do "{verb}"', hint=f"the verbs are {', '.join(VERBS)}")
    if not names and verb not in ("status", "show", "list-units", "daemon-reload"):
        raise MaasInitError(f"cannot {verb} nothing: name at least one unit", hint="systemctl list-units shows them")
    found, age = units.read(where)
    if age > report.STALE_AFTER:
        _complain(report.SILENT.format(age))
    if verb == "status" and not names:
        return report.status(where)
    return DO.get(verb, _jobs)(SAME.get(verb, verb), Asked(names, options, found, where.pebble_socket))


# Telling.


def _status(_verb: str, asked: Asked) -> int:
    codes, blocks = [], []
    for name, unit in asked.each().items():
        if unit is None:
            _complain(f"Unit {name} could not be found.")
            blocks.append(units.not_found(name))
            codes.append(UNKNOWN)
            continue
        codes.append(0 if unit.state[0] == "active" else NOT_RUNNING)
        blocks.append(units.described(unit))
    sys.stdout.write("\n".join(blocks))
    return next(filter(None, codes), 0)


def _is(verb: str, asked: Asked) -> int:
    """Answer is-active, is-failed and is-enabled: yes when it is so for one of the units."""
    wanted, no = {"is-active": ("active", NOT_RUNNING), "is-failed": ("failed", 1), "is-enabled": ("enabled", 1)}[verb]
    answers = {}
    for name, unit in asked.each().items():
        if unit is None:
            answers[name] = "not-found" if verb == "is-enabled" else "inactive"
        else:
            answers[name] = unit.enabled if verb == "is-enabled" else unit.state[0]
    if "--quiet" not in asked.options:
        sys.stdout.writelines(f"{answer}\n" for answer in answers.values())
    if wanted in answers.values():
        return 0
    return UNKNOWN if verb != "is-failed" and None in asked.each().values() else no


def _show(_verb: str, asked: Asked) -> int:
    if not asked.names:
        asked = Asked(tuple(unit.id for unit in asked.units), asked.options, asked.units, asked.socket)
    wanted = asked.options.get("--property", "")
    blocks = []
    for name, unit in asked.each().items():
        found = units.properties(name, unit)
        shown = {key: found[key] for key in wanted.split(",") if key in found} if wanted else found
        blocks.append(
            "".join(f"{value}\n" if "--value" in asked.options else f"{key}={value}\n" for key, value in shown.items())
        )
    sys.stdout.write("\n".join(blocks))
    return 0


def _list_units(_verb: str, asked: Asked) -> int:
    shown = [unit for unit in Asked(asked.names or ("*",), {}, asked.units, asked.socket).each().values() if unit]
    if asked.options.get("--type", "service") != "service":
        shown = []
    states = set(filter(None, asked.options.get("--state", "failed" * ("--failed" in asked.options)).split(",")))
    if states:
        shown = [unit for unit in shown if states & {"loaded", *unit.state}]
    elif "--all" not in asked.options:
        shown = [unit for unit in shown if unit.state[0] != "inactive"]
    legend = "--no-legend" not in asked.options
    rows = [("UNIT", "LOAD", "ACTIVE", "SUB", "DESCRIPTION")] * legend
    rows += [(unit.id, "loaded", *unit.state, unit.facts["description"]) for unit in shown]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        sys.stdout.write(
            "  " + " ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() + "\n"
        )
    if legend:
        sys.stdout.write(f"\n{len(shown)} units listed; with --all also those that are inactive.\n")
    return 0


# Asking.


def _jobs(verb: str, asked: Asked) -> int:
    """Ask for everything, then wait for everything; return the first code that is not 0."""
    codes, changes = [], []
    for name, unit in asked.each().items():
        if unit is None:
            how = "loaded" if verb == "stop" else "found"
            _complain(f"Failed to {verb} {name}: Unit {name} not {how}.")
            codes.append(NOT_INSTALLED)
            continue
        action = _action(verb, unit)
        if action == "reload":
            codes.append(_reload(unit, asked.socket))
        elif action:
            status, answer = asking.ask(
                asked.socket, "POST", "/v1/services", {"action": action, "services": [unit.name]}
            )
            if status != 202:
                codes.append(_failed_to(verb, unit, answer))
            elif "--no-block" not in asked.options:
                changes.append((unit, answer["change"]))
    codes += [_waited_for(unit, change, asked.socket) for unit, change in changes]
    return next(filter(None, codes), 0)


def _action(verb: str, unit: Unit) -> str:
    """Return what the verb means for a unit as it is now; nothing when nothing is to be done."""
    if verb.startswith("try-") and not unit.runs:
        return ""
    if verb in ("reload-or-restart", "try-reload-or-restart"):
        return "reload" if unit.reloadable and unit.state[0] == "active" else "restart"
    return verb.removeprefix("try-")


def _reload(unit: Unit, sock: Path) -> int:
    if not unit.reloadable:
        _complain(f"Failed to reload {unit.id}: Job type reload is not applicable for unit {unit.id}.")
        return NOT_APPLICABLE
    if unit.state[0] != "active":
        _complain(f"{unit.id} is not active, cannot reload.")
        return FAILED
    return _signal("reload", unit, "SIGHUP", sock)


def _signal(verb: str, unit: Unit, name: str, sock: Path) -> int:
    status, answer = asking.ask(sock, "POST", "/v1/signals", {"signal": name, "services": [unit.name]})
    return 0 if status == 200 else _failed_to(verb, unit, answer)


def _waited_for(unit: Unit, change: str, sock: Path) -> int:
    reason = asking.outcome(sock, change)
    if not reason:
        return 0
    _complain(
        f'Job for {unit.id} failed: {reason}\nSee "systemctl status {unit.id}" and the container\'s log for details.'
    )
    return FAILED


def _failed_to(verb: str, unit: Unit, answer: Any) -> int:
    _complain(f"Failed to {verb} {unit.id}: {answer['result']['message']}")
    return FAILED


def _kill(_verb: str, asked: Asked) -> int:
    given = asked.options.get("--signal", "SIGTERM")
    try:
        number = signal.Signals(int(given)) if given.isdecimal() else signal.Signals[f"SIG{given.removeprefix('SIG')}"]
    except (KeyError, ValueError):
        raise MaasInitError(f'cannot send "{given}": give a signal such as SIGHUP, HUP or 1') from None
    codes = []
    for name, unit in asked.each().items():
        if unit is None:
            _complain(f"Failed to kill unit {name}: Unit {name} not loaded.")
            codes.append(FAILED)
        elif not unit.facts["pid"]:
            # Like systemd, no failure: MAAS kills bind9 to start it anew, whether it still lives or not.
            _complain(f"{name} has no process to kill.")
        else:
            codes.append(_signal("kill unit", unit, number.name, asked.socket))
    return next(filter(None, codes), 0)


def _without_effect(verb: str, asked: Asked) -> int:
    missing = [name for name, unit in asked.each().items() if unit is None]
    for name in missing:
        _complain(f"Failed to {verb} unit: Unit file {name} does not exist.")
    if "--quiet" not in asked.options:
        _complain(f"{verb} changes nothing here: {WITHOUT_EFFECT[verb]}.")
    if "--now" in asked.options and verb != "daemon-reload" and not missing:
        return _jobs("start" if verb == "enable" else "stop", asked)
    return FAILED if missing else 0


def _complain(text: str) -> None:
    sys.stdout.flush()
    sys.stderr.write(f"{text}\n")


DO = {
    "status": _status,
    "show": _show,
    "list-units": _list_units,
    "kill": _kill,
    **dict.fromkeys(("is-active", "is-failed", "is-enabled"), _is),
    **dict.fromkeys(WITHOUT_EFFECT, _without_effect),
}
"""What carries out a verb; what is not here is a job."""
