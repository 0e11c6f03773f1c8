"""Probes: one real transaction each.

A probe returns what it saw, in words for the operator. Whatever it raises is a failure, told in the words of the
exception. Those that are asked often speak over sockets without a thread (exchange.py); what can only block, because it
asks the file system or a library, is made a probe by `in_thread`.

What only some of them need and takes long to import is imported there: no service starts before the listener does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
import struct
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import files, lastwords
from .errors import MaasInitError
from .exchange import NotUnderstood, exchange, http
from .health import Result
from .paths import Paths
from .settings import Database, MaasUrl, Settings, Tls

if TYPE_CHECKING:
    from . import grpc

TEMPORAL_FRONTEND = "temporal.api.workflowservice.v1.WorkflowService"
"""The service that Temporal's own clients ask about."""


class ProbeFailed(Exception):
    """An answer came, and it was wrong."""


class NoCertificate(Exception):
    """We have nothing to show that we may ask."""


class Suspended(ProbeFailed):
    """Nobody was asked: the process does not run on, so it is as silent as it can be."""


@dataclass(frozen=True)
class Question:
    """What a probe is given."""

    arguments: tuple[str, ...]
    """What the service file says after the probe's name."""
    within: float
    """Seconds in which the answer must come."""
    pid: int = 0
    """The service's main process; 0 when there is none."""


Probe = Callable[[Question], Awaitable[str]]


def in_thread(ask: Callable[[Question], str]) -> Probe:
    """Make a probe of what blocks. A question that is still open is not asked once more: threads are not endless."""
    open_questions: dict[Question, asyncio.Future[str]] = {}

    async def probe(question: Question) -> str:
        if question not in open_questions:
            open_questions[question] = asked = asyncio.ensure_future(asyncio.to_thread(ask, question))
            asked.add_done_callback(lambda _: open_questions.pop(question))
        try:
            return await asyncio.wait_for(asyncio.shield(open_questions[question]), question.within)
        except asyncio.TimeoutError:  # the built-in one only from Python 3.11 on
            raise TimeoutError from None

    return probe


def probes(settings: Settings, where: Paths) -> Mapping[str, Probe]:
    """Return every probe by the name that service files use."""
    return {
        "certificate": in_thread(lambda _: in_use(settings.region().tls, where)),
        "disk-space": in_thread(disk_space),
        "discovery": lambda question: discovery(os.fspath(where.discovery_socket), question.within),
        "dns": dns,
        "http": answer,
        "maas-url": lambda question: regions([settings.region().maas_url], question.within),
        "link": in_thread(Link(lambda: _pid_of("rackd", where))),
        "memory": in_thread(Memory(where)),
        "ntp": ntp,
        "omapi": omapi,
        "peer": in_thread(peer),
        "postgres": in_thread(lambda question: postgres(settings.region().database, where, question.within)),
        "postgres-server": in_thread(
            lambda question: postgres_server(settings.region().database, where, question.within)
        ),
        "proxy": proxy,
        "regions": lambda question: regions(settings.region_urls, question.within),
        "rpc": rpc,
        "syslog": syslog,
        "tcp": tcp,
        "temporal": Temporal(where),
        "tftp": in_thread(tftp),
        "writable": in_thread(writable),
        "zone": zone,
    }


async def run(probe: Probe, kind: str, question: Question) -> Result:
    """Ask once; a failure is a result, not an exception."""
    started = time.monotonic()
    try:
        _require_awake(question.pid)
        seen = await probe(question)
    except Exception as error:  # whatever it is: it must not end the listener
        what = " ".join((kind, *question.arguments))
        took = question.within if isinstance(error, Suspended) else time.monotonic() - started
        return Result(False, f"{what}: {_reason(error, question.within)}", took)
    return Result(True, seen, time.monotonic() - started)


def _require_awake(pid: int) -> None:
    """Raise Suspended when the main process is suspended: its workers may answer for it, but not for ever."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] if pid else ""
    except OSError:
        return  # it ended: that is told otherwise
    if state == "T":
        raise Suspended(f"process {pid} is suspended")


def _reason(error: Exception, within: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {within:g} s"
    if isinstance(error, OSError) and error.strerror:
        # asyncio tells the address, which is known, in place of the reason; what a resolver says has a negative number.
        return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
    return str(error).partition("\n")[0] or type(error).__name__


async def discovery(socket_file: str, within: float) -> str:
    """It opens a raw socket (discovery.py)."""
    answer = await exchange(socket_file, b"\0\0", lambda heard: heard.endswith(b"\n"), within)
    if answer != b"0\n":
        raise ProbeFailed(answer.decode(errors="replace").partition(" ")[2].strip() or "it closed the connection")
    return "it opens raw sockets"


async def tcp(question: Question) -> str:
    """ADDRESS PORT: a connection is accepted."""
    address, port = question.arguments
    await exchange((address, int(port)), b"", lambda _: True, question.within)
    return f"port {port} accepts connections"


def peer(question: Question) -> str:
    """PORT: the service's main process holds a connection to this port, wherever that is."""
    port = int(question.arguments[0])
    if not _connections(question.pid, port, port):
        raise ProbeFailed(f"process {question.pid} is not connected to port {port}")
    return f"connected to port {port}"


def _connections(pid: int, first: int, last: int) -> list[tuple[object, object]]:
    """Return both ends of a process's connections to ports from `first` to `last`: those of IPv4, or else of IPv6.

    For each of its two tables the kernel walks through room for all connections of the machine, megabytes of it.
    """
    import psutil

    found: list[tuple[object, object]] = []
    for kind in ("tcp4", "tcp6"):
        found = found or [
            (each.laddr, each.raddr)
            for each in psutil.Process(pid).net_connections(kind)
            if each.status == psutil.CONN_ESTABLISHED and first <= each.raddr.port <= last
        ]
    return found


async def answer(question: Question) -> str:
    """URL STATUS: an HTTP GET is answered with this status, or with `any`.

    A URL is http://ADDRESS:PORT/PATH or unix:SOCKET:/PATH; with * in SOCKET each of these must answer.
    """
    url, wanted = question.arguments
    if url.startswith("unix:") and "*" in url:
        return await _every_socket(url, wanted, question.within)
    status, _ = await _get(url, question.within)
    _require(status, wanted)
    return "it answers" if wanted == "any" else f"HTTP status {status}"


async def _every_socket(url: str, wanted: str, within: float) -> str:
    pattern, path = Path(url.split(":")[1]), url.split(":")[2]
    sockets = sorted(pattern.parent.glob(pattern.name))
    if not sockets:
        raise ProbeFailed(f"no {pattern.name} is there")

    async def one(file: Path) -> None:
        try:
            _require((await _get(f"unix:{file}:{path}", within))[0], wanted)
        except (OSError, NotUnderstood, ProbeFailed) as failure:
            raise ProbeFailed(f"{file.name}: {_reason(failure, within)}") from failure

    await asyncio.gather(*map(one, sockets))
    return f"HTTP status {wanted} from {len(sockets)} sockets"


async def _get(url: str, within: float) -> tuple[int, bytes]:
    if url.startswith("unix:"):
        _, file, path = url.split(":", 2)
        return await http(file, path, within)
    address, _, path = url.removeprefix("http://").partition("/")
    return await http(_host_and_port(address), f"/{path}", within)


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


def _require(status: int, wanted: str) -> None:
    if wanted not in ("any", str(status)):
        raise ProbeFailed(f"HTTP status {status} instead of {wanted}")


async def rpc(question: Question) -> str:
    """URL: MAAS tells racks where to connect, and that is somewhere: its workers have registered."""
    (url,) = question.arguments
    return _registered(*await _get(url, question.within))


def _registered(status: int, text: bytes) -> str:
    _require(status, "200")
    try:
        loops = len(json.loads(text)["eventloops"])
    except (ValueError, LookupError, TypeError):
        raise ProbeFailed("the answer is not that of a region") from None
    if not loops:
        raise ProbeFailed("no worker of the region has registered yet")
    return f"{loops} workers are registered"


class Link:
    """PORT PORT: the rack holds a connection to a region, to a port between these, and it lasts.

    A region that refuses the rack's secret takes each connection and drops it again.
    """

    LASTS = 3.0
    """Seconds for which it must have been seen."""

    def __init__(self, rack: Callable[[], int], clock: Callable[[], float] = time.monotonic) -> None:
        self._rack = rack
        self._clock = clock
        self._seen: dict[tuple[object, ...], float] = {}

    def __call__(self, question: Question) -> str:
        first, last = map(int, question.arguments)
        now = self._clock()
        self._seen = {each: self._seen.get(each, now) for each in _connections(self._rack(), first, last)}
        lasting = [each for each, since in self._seen.items() if now - since >= self.LASTS]
        if not lasting:
            raise ProbeFailed("no connection to a region lasts: is MAAS_REGION_SECRET that of the region?")
        return f"{len(lasting)} connections to a region"


def _pid_of(service: str, where: Paths) -> int:
    """Return the main process of a service other than the one that is asked about."""
    found = files.read_json(where.status) or {}
    return int(found.get("services", {}).get(service, {}).get("pid") or 0)


def in_use(wanted: Tls | None, where: Paths) -> str:
    """MAAS uses the certificate that the settings name, and it has not expired."""
    from . import certificate

    try:
        return certificate.watch(wanted, where)
    except MaasInitError as error:
        raise ProbeFailed(str(error)) from None


async def proxy(question: Question) -> str:
    """ADDRESS URL: a proxy answers a request for URL, whatever comes of it."""
    address, url = question.arguments
    status, _ = await http(_host_and_port(address), url, question.within)
    return f"HTTP status {status} for {url}"


async def regions(urls: Iterable[MaasUrl], within: float) -> str:
    """One of these regions tells racks where to connect; of an https one only the port is tried."""
    failures = []
    for url in urls:
        try:
            await _region(url, within)
        except (OSError, NotUnderstood, ProbeFailed) as failure:
            failures.append(f"{url.text}: {_reason(failure, within)}")
        else:
            return f"{url.text} answers"
    raise ProbeFailed("; ".join(failures))


async def _region(url: MaasUrl, within: float) -> None:
    found = await asyncio.get_running_loop().getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
    failure: OSError | None = None
    for address in [(str(each[4][0]), url.port) for each in found]:
        try:
            if url.text.startswith("https:"):
                await exchange(address, b"", lambda _: True, within)
            else:
                host, _, path = url.text.removeprefix("http://").partition("/")
                _registered(*await http(address, f"/{path}/rpc/", within, host=host))
            return
        except OSError as error:
            failure = error
    assert failure, "a name has at least one address"
    raise failure


async def dns(question: Question) -> str:
    """ADDRESS NAME TYPE: a query is answered with at least one record (RFC 1035)."""
    address, name, kind = question.arguments
    number = {"A": 1, "SOA": 6}[kind]
    identity = os.urandom(2)
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    query = identity + struct.pack("!5H", 0, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", number, 1)
    reply = await _datagram((address, 53), query, question.within)
    if len(reply) < 12 or reply[:2] != identity:
        raise ProbeFailed("the reply does not belong to the question")
    code, answers = reply[3] & 0x0F, struct.unpack("!H", reply[6:8])[0]
    if code or not answers:
        raise ProbeFailed(f"answer code {code} with {answers} records for {name} {kind}")
    return f"{name} {kind} answered"


async def zone(question: Question) -> str:
    """ADDRESS FILE: the SOA of the first zone of names in FILE; before there is one, that of localhost."""
    address, file = question.arguments
    try:
        names = re.findall(r'^\s*zone "([^"]+)"', Path(file).read_text(), re.MULTILINE)
    except FileNotFoundError:
        names = []
    name = next((name for name in names if not name.endswith(".arpa")), "localhost")
    return await dns(Question((address, name, "SOA"), question.within))


async def ntp(question: Question) -> str:
    """ADDRESS: a client's packet is answered by a server's (RFC 5905: mode 3, then mode 4)."""
    (address,) = question.arguments
    reply = await _datagram((address, 123), bytes([0x23]) + bytes(47), question.within)
    if len(reply) < 48 or reply[0] & 7 != 4:
        raise ProbeFailed("the reply is not a server's")
    return f"answered at stratum {reply[1]}"


async def _datagram(address: tuple[str, int], packet: bytes, within: float) -> bytes:
    return await exchange(address, packet, bool, within, socket.SOCK_DGRAM)


async def omapi(question: Question) -> str:
    """ADDRESS PORT: dhcpd greets on its control port (OMAPI: version 100, then the size of its headers)."""
    address, port = question.arguments
    greeting = await exchange((address, int(port)), b"", lambda heard: len(heard) >= 4, question.within)
    if greeting[:4] != struct.pack("!I", 100):
        raise ProbeFailed(f"port {port} does not speak OMAPI")
    return "OMAPI greets"


class Temporal:
    """ADDRESS PORT: Temporal's front end says that it serves, to one who has the certificate of MAAS's cluster.

    Where that certificate cannot be used it is not Temporal's fault, and a restart would end what still works with the
    one that it has read: then its metrics must do.
    """

    NAMES = ("cacerts.pem", "cluster.pem", "cluster.key")
    METRICS = ("http://127.0.0.1:9000/metrics", "200")

    def __init__(self, where: Paths) -> None:
        self._directory = where.at("/var/lib/maas/certificates")
        self._peer: grpc.Peer | None = None
        self._since: list[int] = []
        self._ask = in_thread(self._front_end)

    async def __call__(self, question: Question) -> str:
        try:
            return await self._ask(question)
        except NoCertificate as error:
            await answer(Question(self.METRICS, question.within))
            return f"its metrics answer; MAAS's certificate in {self._directory} cannot be used: {error}"

    def _identified(self) -> grpc.Peer:
        import ssl

        from . import grpc

        files = [self._directory / name for name in self.NAMES]
        since = [file.stat().st_mtime_ns for file in files]
        if not self._peer or since != self._since:
            context = ssl.create_default_context(cafile=files[0])
            context.load_cert_chain(files[1], files[2])
            context.set_alpn_protocols(["h2"])
            self._peer, self._since = grpc.Peer(context, "maas"), since
        return self._peer

    def _front_end(self, question: Question) -> str:
        import ssl

        from . import grpc

        address, port = question.arguments
        try:
            peer = self._identified()
        except OSError as error:  # those of TLS are among them
            raise NoCertificate(str(error)) from None
        try:
            said = grpc.health((address, int(port)), TEMPORAL_FRONTEND, peer, question.within)
        except ssl.SSLError as error:
            raise ProbeFailed(str(error)) from None
        if said != "SERVING":
            raise ProbeFailed(f"its front end says {said}")
        return "its front end is serving"


def tftp(question: Question) -> str:
    """ADDRESS FILE: the first block of a file comes over TFTP (RFC 1350)."""
    address, file = question.arguments
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.settimeout(question.within)
        datagrams.sendto(b"\0\1" + file.encode() + b"\0octet\0", (address, 69))
        reply, server = datagrams.recvfrom(4096)
        if reply[:2] == b"\0\3":
            datagrams.sendto(b"\0\4" + reply[2:4], server)
            return f"{file}: {len(reply) - 4} bytes"
    raise ProbeFailed(reply[4:].rstrip(b"\0").decode("utf-8", "replace") or "the answer is no data")


async def syslog(question: Question) -> str:
    """PORT FILE: a line that is sent to the port comes out in FILE, where rsyslog.sed has it put."""
    port, file = question.arguments
    word = os.urandom(8).hex()
    stamp = time.strftime("%b %e %H:%M:%S", time.gmtime())
    last = time.monotonic() + question.within
    line = f"<191>{stamp} localhost maas-init-probe: {word}\n"
    await exchange(("127.0.0.1", int(port)), line.encode(), lambda _: True, question.within)
    while time.monotonic() < last:
        with contextlib.suppress(FileNotFoundError):
            if word in Path(file).read_text():
                os.truncate(file, 0)
                return "a line came through"
        await asyncio.sleep(0.02)
    raise TimeoutError


def postgres(settings: Database, where: Paths, within: float) -> str:
    """MAAS's database answers MAAS's user."""
    from . import database

    return f"SELECT 1 in {database.ping(settings, where, within=within) * 1000:.1f} ms"


def postgres_server(settings: Database, where: Paths, within: float) -> str:
    """The embedded server lets its superuser in; MAAS's database may not exist yet."""
    from . import database

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


def disk_space(question: Question) -> str:
    """MEGABYTES DIRECTORY...: so much is free where each of them lies."""
    least, *directories = question.arguments
    found = {directory: os.statvfs(directory) for directory in directories}
    free = {directory: each.f_bavail * each.f_frsize // 1_000_000 for directory, each in found.items()}
    short = [
        f"{megabytes} MB are free in {directory}" for directory, megabytes in free.items() if megabytes < int(least)
    ]
    if short:
        raise ProbeFailed(f"{' and '.join(short)}, less than {least}")
    return f"{min(free.values())} MB are free"


class Memory:
    """PERCENT: the container uses less of the memory that it may; says also how fast it grows."""

    OVER, AFTER = 600.0, 300.0
    """Seconds over which growth is told, and for how long at least it must have been seen."""

    def __init__(self, where: Paths, clock: Callable[[], float] = time.monotonic) -> None:
        self._where = where
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque()

    def __call__(self, question: Question) -> str:
        (most,) = question.arguments
        found, now = lastwords.memory(self._where), self._clock()
        if found.used is None:
            return "the control group does not tell"
        used = found.used - found.reclaimable
        self._seen.append((now, used))
        while now - self._seen[0][0] > self.OVER:
            self._seen.popleft()
        then, before = self._seen[0]
        of_limit = f" of {found.limit >> 20}" if found.limit else ""
        told = f"{used >> 20}{of_limit} MiB used"
        if now - then >= self.AFTER:  # what starts grows
            told += f", {(used - before) / (now - then) * 60 / (1 << 20):+.1f} MiB a minute"
        if found.limit and used > found.limit * int(most) / 100:
            raise ProbeFailed(f"{told}: more than {most} %; the kernel kills what goes over the limit")
        return told
