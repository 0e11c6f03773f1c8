"""Appointments: what is done every few seconds is done together with something else that is due then anyway.

A processor that was woken for one question is slow with it, and quick with the twelve after it: on a quiet machine
thirteen questions at one moment cost a quarter of what they cost one by one (docs/explanation/performance.md).
"""

from __future__ import annotations

import random

EARLIEST, LATEST = 0.7, 1.1
"""Shares of the time that somebody wants to wait, between which he takes another's appointment."""
JITTER = 0.1
"""Share of that time by which his own may come sooner or later: no two containers must stay in step."""


class Appointments:
    """When something is going to be done."""

    def __init__(self) -> None:
        self._planned: list[float] = []

    def wait(self, seconds: float, now: float) -> float:
        """Return the seconds to wait from `now`, for what should happen about every so many `seconds`."""
        self._planned = [at for at in self._planned if at > now]
        near = [at for at in self._planned if EARLIEST * seconds <= at - now <= LATEST * seconds]
        if not near:
            near = [now + jittered(seconds)]
            self._planned += near
        return max(near) - now


def jittered(seconds: float) -> float:
    """Return about so many seconds."""
    return seconds * (1 + JITTER * (2 * random.random() - 1))
