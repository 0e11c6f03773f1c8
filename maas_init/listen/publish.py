"""Publishing: the status file, and the one line that healthcheck.sh reads (docs/reference/status.md)."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from .. import files, health, log, masks, pxe, start_page, status_page, statusfile, surroundings
from ..errors import MaasInitError
from ..health import Container, Desired, Level, State
from ..paths import Paths
from ..settings import Settings

SCHEMA = 1
"""Raised when a key changes its meaning or goes; new keys may come without."""


SIGN_OF_LIFE_EVERY = 3.5
"""Seconds at least, and 5.5 at the most (manager.JUDGE_CALM_EVERY); healthcheck.sh distrusts a file older than 30."""
METRICS_EVERY = 15.0
"""Seconds; Prometheus asks so often where nobody says otherwise. The page is brought up to date as often."""
IMPORTING_EVERY = 5.0
"""Seconds between two looks at an import of boot images; MAAS's workers note their progress about as often."""
STALLED_AFTER = 600.0
"""Seconds without anything new after which an import is none any more."""


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
    """Writes both files and the status page when something changed, and every few seconds as a sign of life."""

    def __init__(self, where: Paths, settings: Settings) -> None:
        self._where = where
        self._settings = settings
        self._around: pxe.Surroundings | None = None
        self._import_seen: pxe.Import | None = None
        self._import_moved = 0.0
        before = _before(where)
        self._boot = {name: each["boot"] for name, each in before.get("services", {}).items() if each.get("boot")}
        self.ready_at: float | None = before.get("ready_at")
        """Seconds of uptime at which the container was healthy or degraded first; None until then."""
        # What a check or a service says of itself may hold anything.
        self._masks = self._read_masks()
        self._told = "{}"
        self._said: tuple[object, ...] = ()
        self._at = 0.0

    def publish(self, picture: Picture) -> None:
        """Tell how everything is."""
        summary = _summary(self._where, picture)
        said = (
            *(picture.level, summary, *picture.levels.items()),
            *((state.desired, state.process, state.pid, state.failed) for state in picture.states.values()),
        )
        changed = said != self._said
        if not changed and picture.now < self._at + SIGN_OF_LIFE_EVERY:
            return
        self._said, self._at = said, picture.now
        line = f"{picture.level.value} {int(picture.now)} {self._masks.hide(summary)}\n"
        files.write(self._where.health, line, sync=False)
        self._note_boot(picture)
        told = _status(self._where, picture, summary) | {"ready_at": self.ready_at}
        for name, service in told["services"].items():
            service["boot"] = self._boot.get(name)
        told["pxe"] = pxe.answer(told["services"], self._around)
        importing = self._around.importing if self._around else None
        told["images"] = importing._asdict() if importing else None
        status = self._masks.hide(json.dumps(told, ensure_ascii=False))
        files.write(self._where.status, f"{status}\n", sync=False)
        self._told = status
        if picture.level not in (Container.HEALTHY, Container.DEGRADED):
            for name, text in start_page.pages(json.loads(status)).items():
                files.write(self._where.start_page / name, text, sync=False)
        if self._settings.status_port and changed:
            self._write_page(json.loads(status))

    def _note_boot(self, picture: Picture) -> None:
        """Remember when each service was first started and first ready, and all of it, in seconds of uptime."""
        if self.ready_at is None and picture.level in (Container.HEALTHY, Container.DEGRADED):
            self.ready_at = round(picture.now, 3)
        for name, state in picture.states.items():
            ready = picture.levels[name] is Level.READY
            if name not in self._boot and (ready or state.process.alive):
                self._boot[name] = {"started": round(state.since, 3), "ready": None}
            if ready and self._boot[name]["ready"] is None:
                self._boot[name]["ready"] = round(picture.now, 3)

    async def look_around_for_ever(self) -> None:
        """See what no service tells: in a thread, for a volume may not answer."""
        while True:
            found = await asyncio.to_thread(surroundings.look, self._where, self._settings, self._around)
            self.note_surroundings(found, time.monotonic())
            await asyncio.sleep(IMPORTING_EVERY if self._around and self._around.importing else METRICS_EVERY)

    def note_surroundings(self, found: pxe.Surroundings, now: float) -> None:
        """Use these from now on, and log how far the import of boot images is: each file, each tenth, and its end.

        One that stands still is none: MAAS leaves what it has when it is stopped, or cannot go on.
        """
        before, comes = self._around.importing if self._around else None, found.importing
        if comes != self._import_seen:
            self._import_seen, self._import_moved = comes, now
        if comes and (comes.complete or now - self._import_moved > STALLED_AFTER):
            if before and comes.complete and comes.of_files:
                log.info("images.imported", files=comes.of_files)
            elif before and not comes.complete:
                log.warning("images.stalled", files=comes.files, of_files=comes.of_files, remedy="see Images in MAAS")
            found = found._replace(importing=None)
        elif comes and (not before or (comes.files, comes.percent // 10) != (before.files, before.percent // 10)):
            log.info(
                "images.importing",
                files=comes.files,
                of_files=comes.of_files,
                megabytes=comes.megabytes,
                of_megabytes=comes.of_megabytes,
            )
        self._around = found

    async def bring_up_to_date_for_ever(self) -> None:
        """Write the page and the metrics anew now and then, and learn what must not be shown."""
        while True:
            await asyncio.sleep(METRICS_EVERY)
            self._masks = self._read_masks()
            status = json.loads(self._told)
            if self._settings.status_port:
                self._write_page(status)
                await asyncio.to_thread(self._write_metrics, status)

    def use_settings(self, settings: Settings) -> None:
        """Go by these from now on."""
        self._settings = settings
        self._masks = self._read_masks()

    def _read_masks(self) -> masks.Masks:
        # MAAS makes the secret that regions and racks share when it starts for the first time.
        return masks.read(os.fspath(self._where.masks), os.fspath(self._where.maas_secret))

    def _write_page(self, status: Mapping[str, Any]) -> None:
        self._try_to_write("index.html", status_page.html(status))

    def _write_metrics(self, status: Mapping[str, Any]) -> None:
        from .. import metrics  # its library takes time to load, and the start is not to wait for it

        self._try_to_write("metrics", metrics.text(status))

    def _try_to_write(self, name: str, text: str) -> None:
        try:
            files.write(self._where.status_page / name, text, sync=False)
        except OSError as error:  # nothing else depends on it
            log.warning("status_page.not_written", file=name, reason=error.strerror)


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
        "events": [{"time": each.time, "level": each.level, "text": each.message} for each in list(log.recent)],
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


def _before(where: Paths) -> dict[str, Any]:
    """Return the status as a listener wrote it before this one, in the same life of the container; else nothing."""
    try:
        found = statusfile.read(where)
    except MaasInitError:
        return {}
    return found if found["schema"] == SCHEMA else {}


def desired_before(where: Paths) -> dict[str, Desired]:
    """Return what was wanted when a listener last wrote the status: it survives this listener's own restart."""
    keys = [field.name for field in fields(Desired)]
    services = _before(where).get("services", {})
    return {name: Desired(**{key: each["desired"][key] for key in keys}) for name, each in services.items()}
