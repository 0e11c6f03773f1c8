"""Mourning: what is known of an end that nobody wished is written down (lastwords.py)."""

from __future__ import annotations

import asyncio

from .. import lastwords, log, loglines, logs
from ..health import State
from ..paths import Paths

HEALTH = "health"
"""The listener's own name, under which its log is kept."""
SEARCHED, TRIED = 1000, 10
"""Lines of it in which is looked for what was done about a service, and how many of them are told."""


class Mourner:
    """Knows how the container's memory was at the end before."""

    def __init__(self, where: Paths) -> None:
        self._where = where
        self._memory = lastwords.memory(where)

    async def leave(self, name: str, how: str, at: float, state: State | None) -> None:
        """Keep how a service, or the listener, ended at this time (seconds since the epoch)."""
        before, self._memory = self._memory, lastwords.memory(self._where)
        head = [f"{name} {how} at {loglines.stamp(at)}", self._memory.since(before)]
        if state:
            wanted = "on" if state.desired.on else "off"
            head.append(f"wanted {wanted} by {state.desired.owner}: {state.desired.reason}")
            head.append(f"so far {state.restarts} restarts, {state.failed} failures since it was last ready")
        await asyncio.to_thread(self._write, name, loglines.stamp(at), head)

    def _write(self, name: str, time: str, head: list[str]) -> None:
        printed = logs.last(self._where, name, lastwords.LINES, until=time)
        tried = [line for line in logs.last(self._where, HEALTH, SEARCHED, until=time) if f" service={name} " in line]
        head += ["", "What was done about it before:", *tried[-TRIED:]] if tried else []
        try:
            lastwords.leave(self._where, name, time, "\n".join(head), printed)
        except OSError as error:
            log.warning("last_words.not_kept", service=name, end=head[0], reason=error.strerror)
