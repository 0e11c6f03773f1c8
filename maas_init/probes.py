"""Probes: one real transaction each. They block: the listener runs them in threads.

A probe returns what it saw, in words for the operator. Whatever it raises is a failure, told in the words of the
exception.
"""

from __future__ import annotations

import contextlib
import http.client
import secrets
import socket
import struct
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from . import certificate, database, files
from .errors import MaasInitError
from .health import Result
from .paths import Paths
from .settings import Database, MaasUrl, Settings, Tls
from .unixhttp import UnixConnection


class ProbeFailed(Exception):
    """An answer came, and it was wrong."""


@dataclass(frozen=True)
class Question:
    """What a probe is given."""

    arguments: tuple[str, ...]
    """What the service file says after the probe's name."""
    within: float
    """Seconds in which the answer must come."""
    pid: int = 0
    """The service's main process; 0 when there is none."""


Probe = Callable[[Question], str]


def probes(settings: Settings, where: Paths) -> Mapping[str, Probe]:
    """Return every probe by the name that service files use."""
    return {
        "certificate": lambda _: in_use(settings.region().tls, where),
        "connect": connect,
        "dns": dns,
        "http": answer,
        "maas-url": lambda question: regions([settings.region().maas_url], question.within),
        "ntp": ntp,
        "peer": peer,
        "postgres": lambda question: postgres(settings.region().database, where, question.within),
        "postgres-server": lambda question: postgres_server(settings.region().database, where, question.within),
        "proxy": proxy,
        "regions": lambda question: regions(settings.region_urls, question.within),
        "tcp": tcp,
        "writable": writable,
    }


def run(probe: Probe, kind: str, question: Question) -> Result:
    """Ask once; a failure is a result, not an exception."""
    started = time.monotonic()
    try:
        seen = probe(question)
    except Exception as error:  # whatever it is: it must not end the listener
        what = " ".join((kind, *question.arguments))
        return Result(False, f"{what}: {_reason(error, question.within)}", time.monotonic() - started)
    return Result(True, seen, time.monotonic() - started)


def _reason(error: Exception, within: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {within:g} s"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).partition("\n")[0] or type(error).__name__


def tcp(question: Question) -> str:
    """ADDRESS PORT: a connection is accepted."""
    address, port = question.arguments
    with socket.create_connection((address, int(port)), timeout=question.within):
        return f"port {port} accepts connections"


def peer(question: Question) -> str:
    """PORT: the service's main process holds a connection to this port, wherever that is."""
    (port,) = question.arguments
    connections = psutil.Process(question.pid).net_connections(kind="tcp")
    if not any(each.raddr and each.raddr.port == int(port) and each.status == "ESTABLISHED" for each in connections):
        raise ProbeFailed(f"process {question.pid} is not connected to port {port}")
    return f"connected to port {port}"


def connect(question: Question) -> str:
    """PATH: a Unix socket accepts a connection."""
    (path,) = question.arguments
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.settimeout(question.within)
        stream.connect(path)
    return f"{path} accepts connections"


def answer(question: Question) -> str:
    """URL STATUS: an HTTP GET is answered with this status, or with `any`.

    A URL is http://ADDRESS:PORT/PATH or unix:SOCKET:/PATH.
    """
    url, wanted = question.arguments
    connection: http.client.HTTPConnection
    if url.startswith("unix:"):
        _, file, path = url.split(":", 2)
        connection = UnixConnection(Path(file), timeout=question.within)
    else:
        address, _, path = url.removeprefix("http://").partition("/")
        connection = http.client.HTTPConnection(address, timeout=question.within)
        path = f"/{path}"
    try:
        connection.request("GET", path, headers={"User-Agent": "maas-init", "Connection": "close"})
        status = connection.getresponse().status
    finally:
        connection.close()
    if wanted not in ("any", str(status)):
        raise ProbeFailed(f"HTTP status {status} instead of {wanted}")
    return f"HTTP status {status}"


def in_use(wanted: Tls | None, where: Paths) -> str:
    """MAAS uses the certificate that the settings name, and it has not expired."""
    try:
        return certificate.watch(wanted, where)
    except MaasInitError as error:
        raise ProbeFailed(str(error)) from None


def proxy(question: Question) -> str:
    """ADDRESS URL: a proxy answers a request for URL, whatever comes of it."""
    address, url = question.arguments
    with contextlib.closing(http.client.HTTPConnection(address, timeout=question.within)) as connection:
        connection.request("GET", url, headers={"User-Agent": "maas-init", "Connection": "close"})
        return f"HTTP status {connection.getresponse().status} for {url}"


def regions(urls: Iterable[MaasUrl], within: float) -> str:
    """One of these regions tells racks where to connect; of an https one only the port is tried."""
    failures = []
    for url in urls:
        try:
            if url.text.startswith("https:"):
                socket.create_connection((url.host, url.port), within).close()
            else:
                answer(Question((f"{url.text}/rpc/", "200"), within, 0))
        except (OSError, http.client.HTTPException, ProbeFailed) as failure:
            failures.append(f"{url.text}: {failure}")
        else:
            return f"{url.text} answers"
    raise ProbeFailed("; ".join(failures))


def dns(question: Question) -> str:
    """ADDRESS NAME TYPE: a query is answered with at least one record (RFC 1035)."""
    address, name, kind = question.arguments
    number = {"A": 1, "SOA": 6}[kind]
    identity = secrets.token_bytes(2)
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    query = identity + struct.pack("!5H", 0, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", number, 1)
    reply = _ask(address, 53, query, question.within)
    if len(reply) < 12 or reply[:2] != identity:
        raise ProbeFailed("the reply does not belong to the question")
    code, answers = reply[3] & 0x0F, struct.unpack("!H", reply[6:8])[0]
    if code or not answers:
        raise ProbeFailed(f"answer code {code} with {answers} records for {name} {kind}")
    return f"{name} {kind} answered"


def ntp(question: Question) -> str:
    """ADDRESS: a client's packet is answered by a server's (RFC 5905: mode 3, then mode 4)."""
    (address,) = question.arguments
    reply = _ask(address, 123, bytes([0x23]) + bytes(47), question.within)
    if len(reply) < 48 or reply[0] & 7 != 4:
        raise ProbeFailed("the reply is not a server's")
    return f"answered at stratum {reply[1]}"


def _ask(address: str, port: int, packet: bytes, within: float) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.settimeout(within)
        datagrams.connect((address, port))
        datagrams.send(packet)
        return datagrams.recv(4096)


def postgres(settings: Database, where: Paths, within: float) -> str:
    """MAAS's database answers MAAS's user."""
    return f"SELECT 1 in {database.ping(settings, where, within=within) * 1000:.1f} ms"


def postgres_server(settings: Database, where: Paths, within: float) -> str:
    """The embedded server lets its superuser in; MAAS's database may not exist yet."""
    with database.connect_as_superuser(settings, where, within=within) as connection:
        connection.execute("SELECT 1")
    return "the server accepts connections"


def writable(question: Question) -> str:
    """DIRECTORY...: a file can be made, written and removed in each."""
    for directory in question.arguments:
        try:
            files.try_to_write(Path(directory))
        except OSError as error:
            raise ProbeFailed(f"cannot write in {directory}: {error.strerror}") from error
    return f"{len(question.arguments)} directories can be written"
