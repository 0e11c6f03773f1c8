"""supervisord's event listener protocol: READY, an event, RESULT, again.

A single stray line on standard output would make supervisord deaf to this listener for ever, so nobody else can write
there: the descriptor is taken away before anything else happens. Every event is acknowledged before it is acted on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import MaasInitError


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
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    os.write(protocol.answers, b"READY\n")
    # supervisord may end in the middle of an event.
    with contextlib.closing(transport), contextlib.suppress(asyncio.IncompleteReadError):
        while True:
            try:
                header = await reader.readuntil(b"\n")
            except asyncio.LimitOverrunError:
                header = await reader.read(200)
            name, length = understood(header)
            await reader.readexactly(length)
            os.write(protocol.answers, b"RESULT 2\nOKREADY\n")
            said(name)


def understood(header: bytes) -> tuple[str, int]:
    """Return an event's name and the length of what follows its header.

    Raises MaasInitError for anything else: nobody knows then where the next one begins, and supervisord starts a
    new listener.
    """
    found = re.search(rb"(?:^| )eventname:([A-Z0-9_]+) len:([0-9]{1,7})$", header.rstrip(b"\n"))
    if not found:
        raise MaasInitError(f"cannot understand supervisord: it says {header[:200]!r}, which is no event")
    return found[1].decode(), int(found[2])
