"""What process 1 wrote anew on SIGHUP is used: first steps that depend on a setting, then by whoever reads it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from .. import files, log
from ..health import State
from ..paths import Paths
from ..services import Catalogue
from ..settings import Settings

FIRST_STEPS = "bootstrap"


class Manager(Protocol):
    """What is asked of the manager here; each member is explained there."""

    where: Paths
    catalogue: Catalogue
    states: Mapping[str, State]

    def use_settings(self, settings: Settings) -> None: ...

    def is_busy(self, name: str) -> bool: ...

    def restart(self, name: str) -> None: ...

    async def changed(self) -> None: ...

    async def reload(self, name: str) -> None: ...


async def use(manager: Manager) -> None:
    """Have every service that runs read what changed of its configuration: by a reload, or else by a restart."""
    where = manager.where
    changed = {Path(path) for path in files.read_json(where.changed) or []}
    where.changed.unlink(missing_ok=True)
    if where.supervisord_conf in changed:
        log.warning("reload.incomplete", reason="other services are wanted", remedy="restart the container")
    if where.settings in changed:
        manager.use_settings(Settings.load(where.settings))
        changed |= await _take_first_steps_anew(manager)
    affected = [
        service
        for service in manager.catalogue.services
        if changed & set(map(where.at, service.configuration)) and manager.states[service.name].process.alive
    ]
    names = ",".join(service.name for service in affected) or "nothing"
    log.info("reload.finished", files=len(changed), affected=names)
    for service in affected:
        if service.reloadable:
            await manager.reload(service.name)
        else:
            manager.restart(service.name)


async def _take_first_steps_anew(manager: Manager) -> set[Path]:
    """Run the one-shot that every other waits for; return the configuration that it changed."""
    watched = {manager.where.at(path) for service in manager.catalogue.services for path in service.configuration}
    before = {path: path.read_bytes() for path in watched if path.exists()}
    state = manager.states.get(FIRST_STEPS)
    if state and state.desired.on:
        manager.restart(FIRST_STEPS)
        while manager.is_busy(FIRST_STEPS) or state.process.active:
            await manager.changed()
    return {path for path in watched if path.exists() and path.read_bytes() != before.get(path)}
