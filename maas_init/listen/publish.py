"""Publishing: the status file, and the one line that healthcheck.sh reads (docs/reference/status.md)."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from .. import files, health, masks, start_page, statusfile
from ..errors import MaasInitError
from ..health import Container, Desired, Level, State
from ..paths import Paths

SCHEMA = 1
"""Raised when a key changes its meaning or goes; new keys may come without."""


SIGN_OF_LIFE_EVERY = 5.0
"""Seconds; healthcheck.sh distrusts a file older than 30."""


@dataclass(frozen=True)
class Picture:
    """Everything at one moment."""

    states: Mapping[str, State]
    levels: Mapping[str, Level]
    container: Container
    stopping: str
    now: float

    @property
    def level(self) -> Container:
        return Container.STOPPING if self.stopping else self.container


class Publisher:
    """Writes both files when something changed, and every few seconds as a sign of life."""

    def __init__(self, where: Paths) -> None:
        self._where = where
        # What a check or a service says of itself may hold anything.
        self._masks = masks.read(os.fspath(where.masks), os.fspath(where.maas_secret))
        self._said: tuple[object, ...] = ()
        self._at = 0.0

    def publish(self, picture: Picture) -> None:
        """Tell how everything is."""
        summary = _summary(self._where, picture)
        said = (
            *(picture.level, summary, *picture.levels.items()),
            *((state.desired, state.process, state.pid, state.failed) for state in picture.states.values()),
        )
        if said == self._said and picture.now < self._at + SIGN_OF_LIFE_EVERY:
            return
        self._said, self._at = said, picture.now
        line = f"{picture.level.value} {int(picture.now)} {self._masks.hide(summary)}\n"
        files.write(self._where.health, line, sync=False)
        status = self._masks.hide(json.dumps(_status(self._where, picture, summary), ensure_ascii=False))
        files.write(self._where.status, f"{status}\n", sync=False)
        if picture.level not in (Container.HEALTHY, Container.DEGRADED):
            for name, text in start_page.pages(json.loads(status)).items():
                files.write(self._where.start_page / name, text, sync=False)


def _summary(where: Paths, picture: Picture) -> str:
    """Return the reason in one line: what is wrong by its own fault comes first."""
    if picture.stopping:
        return picture.stopping
    causes = health.root_causes(picture.states, picture.levels)
    if picture.level is Container.STARTING and "bootstrap" in causes:
        return progress(where) or "the first steps are being taken"
    if causes:
        return "; ".join(health.explain(picture.states[name], picture.levels) for name in causes[:3])
    ready = sum(level is Level.READY for level in picture.levels.values())
    blocked = [name for name, level in picture.levels.items() if level is Level.BLOCKED]
    return health.explain(picture.states[blocked[0]], picture.levels) if blocked else f"{ready} services are ready"


def progress(where: Paths) -> str:
    """Return what bootstrap says it is doing; nothing when it is done."""
    found = files.read_json(where.progress) or {}
    return "" if found.get("step") == "done" else str(found.get("summary", ""))


def _status(where: Paths, picture: Picture, summary: str) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "level": picture.level.value,
        "summary": summary,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "uptime": round(picture.now, 1),
        "progress": files.read_json(where.progress),
        "services": {name: _service(name, state, picture) for name, state in sorted(picture.states.items())},
    }


def _service(name: str, state: State, picture: Picture) -> dict[str, Any]:
    last = state.health.last
    return {
        "description": state.service.description,
        "unit": state.service.unit,
        "start": "request" if state.service.on_request else "boot",
        "level": picture.levels[name].value,
        "because": health.because(state, picture.levels),
        "why": health.explain(state, picture.levels),
        "critical": state.service.critical,
        "reloadable": state.service.reloadable,
        "capabilities": [*state.service.ambient_capabilities],
        "missing_capabilities": sorted(state.missing),
        "process": None if state.service.watched_only else state.process.value,
        "pid": state.pid or None,
        "since": round(state.since, 1),
        "restarts": state.restarts,
        "failed": state.failed,
        "requires": list(state.service.requires),
        "desired": {
            "on": state.desired.on,
            "owner": state.desired.owner,
            "reason": state.desired.reason,
            "at": state.desired.at,
            "moment": state.desired.moment,
        },
        "check": None
        if last is None
        else {
            "ok": last.ok,
            "detail": last.detail,
            "seconds": round(last.seconds, 4),
            "failures": state.health.failures,
        },
    }


def desired_before(where: Paths) -> dict[str, Desired]:
    """Return what was wanted when a listener last wrote the status: it survives this listener's own restart."""
    try:
        found = statusfile.read(where)
    except MaasInitError:
        return {}
    if found["schema"] != SCHEMA:
        return {}
    keys = [field.name for field in fields(Desired)]
    return {name: Desired(**{key: each["desired"][key] for key in keys}) for name, each in found["services"].items()}
