"""The question of gRPC's health checking protocol, and so much of HTTP/2 as asking it takes.

One connection, one request, one answer: a gRPC library would take ten times the memory of the listener for that.
HTTP/2 is RFC 9113, its compressed headers are RFC 7541, the rest is grpc's doc/PROTOCOL-HTTP2.md and health.proto.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from .exchange import NotUnderstood

if TYPE_CHECKING:
    import ssl  # the listener loads it only when it asks

DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY = 0, 1, 3, 4, 7
END_STREAM, END_HEADERS, PADDED = 0x1, 0x4, 0x8
STREAM = 1
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SERVING = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def _text(value: str) -> bytes:
    return bytes([len(value)]) + value.encode()


def _question(service: str, host: str) -> bytes:
    headers = (
        b"\x83\x87"  # :method POST, :scheme https: both stand in the static table
        + (b"\x04" + _text("/grpc.health.v1.Health/Check"))  # :path
        + (b"\x01" + _text(host))  # :authority
        + (b"\x0f\x10" + _text("application/grpc"))  # content-type
        + (b"\x00" + _text("te") + _text("trailers"))
    )
    request = b"\x0a" + _text(service)
    message = b"\0" + len(request).to_bytes(4, "big") + request  # not compressed
    return (
        PREFACE
        + _frame(SETTINGS, 0, 0, b"")
        + _frame(HEADERS, END_HEADERS, STREAM, headers)
        + _frame(DATA, END_STREAM, STREAM, message)
    )


@dataclass
class Peer:
    """The server for whose name a certificate must be made out, and the certificates that `context` has for that."""

    context: ssl.SSLContext
    host: str
    session: ssl.SSLSession | None = None
    """Of the last connection: going on with it spares both ends the costly part of TLS."""


def health(address: tuple[str, int], service: str, peer: Peer, within: float) -> str:
    """Return what the server says of `service`: SERVING, NOT_SERVING, SERVICE_UNKNOWN or UNKNOWN.

    Raises TimeoutError when any part of the answer takes longer than `within` seconds, OSError (that of TLS among
    them), and NotUnderstood when the answer is something else.
    """
    with (
        socket.create_connection(address, within) as plain,
        peer.context.wrap_socket(plain, server_hostname=peer.host, session=peer.session) as connection,
        connection.makefile("rb") as answer,
    ):
        connection.sendall(_question(service, peer.host))
        status = _status(_message(answer))
        peer.session = connection.session
        return status


def _message(answer: BinaryIO) -> bytes:
    """Return the first message of the answer, without what gRPC puts before it."""
    heard = b""
    while len(heard) < 5 or len(heard) < 5 + int.from_bytes(heard[1:5], "big"):
        head = _exactly(answer, 9)
        length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
        payload = _exactly(answer, length)
        if kind == DATA:
            heard += payload[1 : length - payload[0]] if payload and flags & PADDED else payload
        elif kind in (RST_STREAM, GOAWAY) or (kind == HEADERS and flags & END_STREAM):
            raise NotUnderstood("it refused the question")  # why stands in compressed headers
    return heard[5:]


def _exactly(answer: BinaryIO, size: int) -> bytes:
    found = answer.read(size)
    if len(found) < size:
        raise NotUnderstood("it hung up before it answered")
    return found


def _status(message: bytes) -> str:
    """Return the name of field 1 of a HealthCheckResponse; a field that is not there is 0."""
    if message and (len(message) != 2 or message[0] != 0x08 or message[1] not in SERVING):
        raise NotUnderstood("the answer is none of a health check")
    return SERVING[message[1] if message else 0]
