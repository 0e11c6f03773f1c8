"""When to try again what failed: at once the first time, then later and later, for ever. Pure: no clock.

Two use it: the part inside supervisord for what exits by itself, and the health listener for what does not answer.
"""

from __future__ import annotations

from collections import deque

LONGEST = 30.0
"""Seconds between two tries at the most, give or take JITTER."""
QUICK, QUICK_TRIES = 0.1, 5
"""So many tries come within seconds; from then on the delay doubles."""
JITTER = 0.25
"""Share of a delay by which it may be shorter or longer, so that many that failed together do not return together."""

SETTLED = 10.0
"""Seconds after which what runs is no longer taken for one that has just failed."""

BUDGET, WINDOW = 10, 300.0
"""It has given up after so many failures in a row, or so many crashes within so many seconds between which it ran
well for a while; then it is tried again only at the longest delay."""


class Failures:
    """Those of one service; times are in seconds of any one clock that is not set."""

    def __init__(self) -> None:
        self._rows: deque[float] = deque(maxlen=BUDGET)
        self.in_a_row = 0

    def add(self, now: float, *, ran_for: float = 0.0) -> None:
        """Count a failure; one that comes long after the last start begins a new row."""
        if ran_for >= SETTLED or not self.in_a_row:
            self.in_a_row = 0
            self._rows.append(now)
        self.in_a_row += 1

    def gave_up(self, now: float) -> bool:
        """Whether the budget is used up."""
        return self.in_a_row >= BUDGET or self._too_many_rows(now)

    def _too_many_rows(self, now: float) -> bool:
        return len(self._rows) == BUDGET and now - self._rows[0] < WINDOW

    def delay(self, now: float, chance: float) -> float:
        """Return the seconds to wait before the next try; `chance` is a random number from 0 to 1."""
        seconds = LONGEST if self._too_many_rows(now) else delay(self.in_a_row)
        return seconds * (1 + JITTER * (2 * chance - 1))

    def forget(self) -> None:
        """Begin anew: it runs well, or somebody asks for it anew."""
        self._rows.clear()
        self.in_a_row = 0


def delay(in_a_row: int) -> float:
    """Return the seconds to wait after so many failures in a row: 0, four times a tenth, then twice the last."""
    if in_a_row <= 1:
        return 0.0
    return float(min(QUICK * 2 ** min(max(0, in_a_row - QUICK_TRIES), 10), LONGEST))
