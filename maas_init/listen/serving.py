"""HTTP on a Unix socket, parsed by h11: one request after another from each client, every answer in Pebble's form."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import h11

LARGEST_BODY = 1 << 20
LARGEST_UPLOAD = 64 << 20
"""So much is read and thrown away: whoever still sends would see a broken pipe instead of our answer."""
SLOWEST_CLIENT = 30.0
"""Seconds a client may take for a request."""

Answer = tuple[int, dict[str, Any]]
"""An HTTP status and a JSON object."""


@dataclass(frozen=True)
class Lines:
    """An answer that comes bit by bit: lines of JSON, until there are no more or the client goes."""

    objects: AsyncIterator[Mapping[str, Any]]


class Refused(Exception):
    """The request cannot be done: an HTTP status, a message and, where Pebble has one, the kind of error."""

    def __init__(self, status: int, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind


@dataclass(frozen=True)
class Request:
    """What a client asks; a parameter that is given several times is one list with commas."""

    method: str
    path: str
    query: Mapping[str, str]
    body: bytes | None
    """None when it is larger than we keep."""
    owner: str
    """Whose words these are: MAAS or operator."""

    @property
    def words(self) -> list[str]:
        """The path's: at least one, which may be empty."""
        return self.path.strip("/").split("/")

    def listed(self, name: str) -> tuple[str, ...]:
        """Return the words of a parameter that takes several."""
        return tuple(word.strip() for word in self.query.get(name, "").split(",") if word.strip())

    def payload(self) -> Mapping[str, Any]:
        """Return the JSON object of the body."""
        if self.body is None:
            raise Refused(413, f"the request is larger than {LARGEST_BODY} bytes")
        try:
            payload = json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise Refused(400, f"cannot decode the request's JSON: {error}") from error
        if not isinstance(payload, dict):
            raise Refused(400, "cannot use the request: give a JSON object")
        return payload


Respond = Callable[[Request], Awaitable["Answer | Lines"]]


async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, respond: Respond) -> None:
    """Serve one client until it goes, is too slow, or does not speak HTTP."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=65536)
    owner = _who(writer)
    with contextlib.closing(writer), contextlib.suppress(OSError, asyncio.TimeoutError):
        while True:
            request = None
            try:
                request = await asyncio.wait_for(_receive(connection, reader, owner), SLOWEST_CLIENT)
                if request is None:
                    break
                found = await respond(request)
                if isinstance(found, Lines):
                    await _stream(connection, reader, writer, found)
                    break
                status, body = found
            except h11.RemoteProtocolError as error:
                status, body = _error(Refused(error.error_status_hint, str(error)))
            except Refused as refusal:
                status, body = _error(refusal)
            except (ValueError, LookupError) as error:
                status, body = _error(Refused(400, f"cannot understand the request: {error}"))
            # Whoever sends too much sends no second request.
            last = request is None or request.body is None
            writer.write(_response(connection, status, body, last=last))
            await writer.drain()
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                break
            connection.start_next_cycle()


async def _receive(connection: h11.Connection, reader: asyncio.StreamReader, owner: str) -> Request | None:
    """Return the next request, or None when the client has gone."""
    head: h11.Request | None = None
    body = bytearray()
    size = 0
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(65536))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            size += len(event.data)
            if size > LARGEST_UPLOAD:
                raise Refused(413, f"the request is larger than {LARGEST_UPLOAD} bytes")
            if size <= LARGEST_BODY:
                body += event.data
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            url = urlsplit(head.target.decode("ascii", "replace"))
            query = {name: ",".join(values) for name, values in parse_qs(url.query).items()}
            kept = bytes(body) if size <= LARGEST_BODY else None
            return Request(head.method.decode(), url.path, query, kept, owner)
        else:
            return None


async def _stream(
    connection: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lines: Lines
) -> None:
    """Send every object as it comes; a client that goes ends it."""
    headers = [("Content-Type", "application/x-ndjson"), ("Connection", "close")]
    writer.write(connection.send(h11.Response(status_code=200, headers=headers)) or b"")

    async def send() -> None:
        async for each in lines.objects:
            text = json.dumps(each, ensure_ascii=False) + "\n"
            writer.write(connection.send(h11.Data(text.encode("utf-8", "replace"))) or b"")
            await writer.drain()
        writer.write(connection.send(h11.EndOfMessage()) or b"")
        await writer.drain()

    sending, gone = asyncio.ensure_future(send()), asyncio.ensure_future(reader.read(1))
    try:
        await asyncio.wait((sending, gone), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (sending, gone):
            task.cancel()
        await asyncio.gather(sending, gone, return_exceptions=True)


def _response(connection: h11.Connection, status: int, body: Mapping[str, Any], *, last: bool) -> bytes:
    text = json.dumps(body).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(text)))]
    headers += [("Connection", "close")] if last else []
    parts = [connection.send(h11.Response(status_code=status, headers=headers))]
    with contextlib.suppress(h11.LocalProtocolError):  # the answer to HEAD has no body
        parts += [connection.send(h11.Data(text)), connection.send(h11.EndOfMessage())]
    return b"".join(part for part in parts if part)


def answer(status: int, kind: str, result: Any, **more: Any) -> Answer:
    """Return an answer in Pebble's form; `kind` is sync, async or error."""
    return status, {"type": kind, "status-code": status, "status": HTTPStatus(status).phrase, "result": result, **more}


def _error(refusal: Refused) -> Answer:
    kind = {"kind": refusal.kind} if refusal.kind else {}
    return answer(refusal.status, "error", {"message": str(refusal), **kind})


def _who(writer: asyncio.StreamWriter) -> str:
    """Return whose words these are: MAAS's own daemons and what they run, or somebody at the keyboard."""
    client: socket.socket = writer.get_extra_info("socket")
    credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid = struct.unpack("3i", credentials)[0]
    try:
        while pid > 1:  # `sudo systemctl ...` is a child of the daemon that says it
            if _is_daemon_of_maas(Path(f"/proc/{pid}/cmdline").read_bytes()):
                return "MAAS"
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        pass  # it has gone
    return "operator"


def _is_daemon_of_maas(command: bytes) -> bool:
    """Whether it is regiond's or rackd's command line: a program, or the script that an interpreter runs."""
    program, *arguments = command.split(b"\0")
    script = next((word for word in arguments if not word.startswith(b"-")), b"")
    return any(word.endswith((b"/regiond", b"/rackd")) for word in (program, script))
