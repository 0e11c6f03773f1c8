"""One exchange over a socket: connect, say something, hear the answer, close; without a thread.

The listener asks all the time, so this is most of what it costs. HTTP is so much of it as asking takes: version 1.0,
whose answers come in one piece and end with the connection. The standard library's client would read each answer's
headers with its e-mail parser, and loading that takes as long as all of our own modules.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable

Address = str | tuple[str, int]
"""A socket's file, or an IP address and a port."""

LONGEST = 4 << 20
"""Bytes of an answer that are read at the most."""


class NotUnderstood(Exception):
    """What answered does not speak as it should."""


async def connected(address: Address, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """Return a socket connected to the address. Raises OSError."""
    host = address if isinstance(address, str) else address[0]
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, kind)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


async def exchange(
    address: Address,
    words: bytes,
    enough: Callable[[bytes], bool],
    within: float,
    kind: socket.SocketKind = socket.SOCK_STREAM,
) -> bytes:
    """Say `words`; return the answer once it is enough, or all there is when the other end closes before.

    Raises TimeoutError when that takes longer than `within` seconds, and OSError.
    """

    async def speak() -> bytes:
        loop = asyncio.get_running_loop()
        with await connected(address, kind) as sock:
            await loop.sock_sendall(sock, words)
            heard = b""
            while not enough(heard) and len(heard) < LONGEST and (more := await loop.sock_recv(sock, 1 << 16)):
                heard += more
            return heard

    try:
        return await asyncio.wait_for(speak(), within)
    except asyncio.TimeoutError:  # the built-in one only from Python 3.11 on
        raise TimeoutError from None


async def http(
    address: Address, path: str, within: float, *, host: str = "", body: bytes | None = None
) -> tuple[int, bytes]:
    """GET the path, or POST `body` (XML) to it; return the answer's status and body. `host` is who is meant there.

    Raises TimeoutError, OSError, and NotUnderstood when the answer is not HTTP.
    """
    host = host or ("localhost" if isinstance(address, str) else "{}:{}".format(*address))
    lines = [f"Host: {host}", "User-Agent: maas-init", "Connection: close"]
    if body is not None:
        lines += ["Content-Type: text/xml", f"Content-Length: {len(body)}"]
    head = "\r\n".join([f"{'GET' if body is None else 'POST'} {path} HTTP/1.0", *lines, "", ""])
    answer = await exchange(address, head.encode() + (body or b""), _is_complete, within)
    found = re.match(rb"HTTP/1\.[01] ([0-9]{3})[ \r]", answer)
    if not found:
        raise NotUnderstood("the answer is not HTTP")
    return int(found[1]), answer.partition(b"\r\n\r\n")[2]


def _is_complete(answer: bytes) -> bool:
    """Whether the answer has all that it announces; one that announces nothing ends with the connection."""
    head, end, body = answer.partition(b"\r\n\r\n")
    announced = re.search(rb"(?i)\r\ncontent-length: *([0-9]+)", head)
    return bool(end and announced and len(body) >= int(announced[1]))
