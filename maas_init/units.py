"""Services as systemd would show them: what the status file says, in systemd's words."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import loglines, statusfile
from .paths import Paths

STATES = {
    "RUNNING": ("active", "running"),
    "STARTING": ("activating", "start"),
    "BACKOFF": ("activating", "auto-restart"),
    "STOPPING": ("deactivating", "stop-sigterm"),
    "STOPPED": ("inactive", "dead"),
    "EXITED": ("inactive", "dead"),
    "FATAL": ("failed", "failed"),
    "UNKNOWN": ("failed", "failed"),
}
"""systemd's state and sub-state for each of supervisord's."""

MARKS = {"active": "●", "failed": "\N{MULTIPLICATION SIGN}"}


@dataclass(frozen=True)
class Unit:
    """One service; `facts` is what the status file says of it."""

    name: str
    facts: dict[str, Any]

    @property
    def id(self) -> str:
        return f"{self.facts.get('unit') or self.name}.service"

    @property
    def state(self) -> tuple[str, str]:
        """The state and the sub-state."""
        if self.facts["process"] == "EXITED" and self.facts["level"] == "ready":
            return "active", "exited"
        if self.facts["process"] == "EXITED" and self.facts["failed"]:
            return "failed", "failed"
        return STATES.get(self.facts["process"], STATES["UNKNOWN"])

    @property
    def runs(self) -> bool:
        return self.state[0] in ("active", "activating")

    @property
    def reloadable(self) -> bool:
        return bool(self.facts.get("reloadable"))

    @property
    def enabled(self) -> str:
        return "disabled" if self.facts.get("start") == "request" else "enabled"

    @property
    def result(self) -> str:
        return "exit-code" if "failed" in self.state or "auto-restart" in self.state else "success"

    @property
    def why(self) -> str:
        return " ".join(self.facts["why"].split())

    @property
    def since(self) -> float:
        """When its process came into this state, in seconds since the epoch."""
        return time.time() - (_uptime() - float(self.facts["since"]))


def read(where: Paths) -> tuple[tuple[Unit, ...], float]:
    """Return every unit, and how many seconds ago that was written. Raises MaasInitError before it ever was."""
    found = statusfile.read(where)
    # What has no process is a check, not a unit.
    units = tuple(Unit(name, facts) for name, facts in sorted(found["services"].items()) if facts["process"])
    return units, _uptime() - float(found["uptime"])


def described(unit: Unit) -> str:
    """Return what `systemctl status` prints; MAAS reads the lines Loaded and Active."""
    state, sub = unit.state
    facts, desired = unit.facts, unit.facts["desired"]
    active = "failed" if state == "failed" else f"{state} ({sub})"
    if unit.result != "success":
        active += f" (Result: {unit.result})"
    if state != "inactive":
        active += f" since {_date(unit.since)}; {loglines.ago(int(time.time() - unit.since))} ago"
    lines = [
        f"{MARKS.get(state, '○')} {unit.id} - {facts['description'] or unit.name}",
        f"     Loaded: loaded (service {unit.name} of maas-init; {unit.enabled})",
        f"     Active: {active}",
        *([f"   Main PID: {facts['pid']}"] if facts["pid"] else []),
        f'     Status: "{unit.why}"',
        f"     Wanted: {'on' if desired['on'] else 'off'} by {desired['owner']} ({desired['reason']})",
    ]
    return "\n".join([*lines, ""])


def not_found(name: str) -> str:
    """Return the same for what does not exist: MAAS calls output without these lines broken, not a unit unknown."""
    return f"○ {name}\n     Loaded: not-found (Reason: Unit {name} not found.)\n     Active: inactive (dead)\n"


def properties(name: str, unit: Unit | None) -> dict[str, object]:
    """Return what `systemctl show` prints."""
    if unit is None:
        return {"Id": name, "Names": name, "LoadState": "not-found", "ActiveState": "inactive", "SubState": "dead"}
    state, sub = unit.state
    return {
        "Id": unit.id,
        "Names": " ".join(dict.fromkeys([unit.id, f"{unit.name}.service"])),
        "Description": unit.facts["description"] or unit.name,
        "LoadState": "loaded",
        "ActiveState": state,
        "SubState": sub,
        "Result": unit.result,
        "UnitFileState": unit.enabled,
        "MainPID": unit.facts["pid"] or 0,
        "NRestarts": unit.facts["restarts"],
        "StatusText": unit.why,
        "CanReload": "yes" if unit.reloadable else "no",
        "StateChangeTimestamp": _date(unit.since),
        "ActiveEnterTimestamp": _date(unit.since) if state == "active" else "",
    }


def _uptime() -> float:
    """Return the clock of the status file, which no change of the time of day disturbs."""
    return float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])


def _date(seconds: float) -> str:
    return time.strftime("%a %Y-%m-%d %H:%M:%S %Z", time.localtime(seconds))
