"""supervisord's event listener protocol: READY, an event, RESULT, again.

A single stray line on standard output would make supervisord deaf to this listener for ever, so nobody else can write
there: the descriptor is taken away before anything else happens. Every event is acknowledged before it is acted on.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Protocol:
    """The two descriptors that speak with supervisord."""

    events: int
    answers: int


def take_stdout() -> Protocol:
    """Keep standard output for the protocol; whatever else is printed goes to standard error."""
    answers = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return Protocol(events=0, answers=answers)


async def follow(protocol: Protocol, said: Callable[[str], None]) -> None:
    """Call `said` with the name of each event until supervisord closes the pipe."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    pipe = os.fdopen(protocol.events, "rb", buffering=0, closefd=False)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    os.write(protocol.answers, b"READY\n")
    while header := await reader.readline():
        facts = dict(token.split(":", 1) for token in header.decode().split())
        await reader.readexactly(int(facts["len"]))
        os.write(protocol.answers, b"RESULT 2\nOKREADY\n")
        said(facts["eventname"])
