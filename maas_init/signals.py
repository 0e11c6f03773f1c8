"""Signals before `watch` waits for them: the first SIGTERM or SIGINT ends process 1, whatever it is doing."""

from __future__ import annotations

import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

HEARD_WITHIN = 0.2
"""Seconds."""


class Stopped(BaseException):
    """SIGTERM or SIGINT came before anything was running; not an Exception: nobody may swallow it."""


def hear() -> None:
    """Turn the first SIGTERM or SIGINT into Stopped; later ones are ignored."""

    def stop(number: int, _frame: FrameType | None) -> None:
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_IGN)
        raise Stopped(signal.Signals(number).name)

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, stop)
    # Python sees a signal between two instructions, or when one interrupts a wait. What comes just before a wait is
    # heard only after that, and a file may let us wait for ever: so each wait is interrupted now and then.
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, HEARD_WITHIN, HEARD_WITHIN)


def hear_no_more() -> None:
    """Somebody else takes over: another program in this process, or who waits for signals and nothing else."""
    signal.setitimer(signal.ITIMER_REAL, 0)


def ignore_none() -> None:
    """Another program takes our place: what Python ignores, it would inherit."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
