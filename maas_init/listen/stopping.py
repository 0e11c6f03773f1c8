"""Stopping everything in order: independent services together, each before what it needs, the database last."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Mapping
from typing import Protocol

from .. import log
from ..health import State
from ..supervisor import SupervisorError

HURRY_AFTER, HURRY_EVERY = 4.5, 0.5
"""Seconds after which nobody is waited for any longer who keeps others from being told, and then again: all of it must
end before process 1 loses patience, and the database, which is last, needs its time."""


class Manager(Protocol):
    """What is asked of the manager here; each member is explained there."""

    states: Mapping[str, State]

    def dependants(self, name: str) -> set[str]: ...

    async def seen(self) -> None: ...

    async def signal(self, name: str, number: int) -> None: ...

    async def stop(self, name: str) -> None: ...


async def in_order(manager: Manager, hurry_after: float = HURRY_AFTER) -> None:
    """Stop every service; return when all have ended, or supervisord could not be asked."""
    running = {name: asyncio.Event() for name, state in manager.states.items() if not state.service.watched_only}
    told: set[str] = set()

    await manager.seen()  # what was being started when this began must be stopped as well

    async def stop_after_dependants(name: str) -> None:
        for dependant in manager.dependants(name):
            await running[dependant].wait()
        told.add(name)
        try:
            if manager.states[name].process.active:
                await manager.stop(name)
        except SupervisorError as error:
            log.warning("service.not_stopped", service=name, reason=str(error))
        running[name].set()

    hurrying = asyncio.ensure_future(_hurry(manager, told, hurry_after))
    await asyncio.gather(*map(stop_after_dependants, running))
    hurrying.cancel()


async def _hurry(manager: Manager, told: set[str], after: float) -> None:
    """Kill what was told to stop, still lives, and keeps others from being told."""
    await asyncio.sleep(after)
    while True:
        untold = [name for name, state in manager.states.items() if state.process.alive and name not in told]
        awaited = set().union(*map(manager.dependants, untold))
        for name in sorted(awaited & told):
            if manager.states[name].process.alive:
                log.warning("service.killed", service=name, reason="it keeps others from being told to stop")
                with contextlib.suppress(SupervisorError):
                    await manager.signal(name, signal.SIGKILL)
        await asyncio.sleep(HURRY_EVERY)
