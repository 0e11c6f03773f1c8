"""Canonical Pebble's HTTP API on a Unix socket: how MAAS, and people, ask for services.

MAAS 3.5 uses this instead of `sudo systemctl` when $PEBBLE is set, so its own service list tells the truth. A start or
restart is done when the service runs, and has failed when it failed: MAAS looks at its state right afterwards.
HTTP is parsed by h11.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import h11

from .. import __version__, health
from ..health import Process
from ..supervisor import SupervisorError
from .manager import Manager, uptime

LARGEST_BODY = 1 << 20
SLOWEST_CLIENT = 30.0
"""Seconds a client may take for a request."""
LONGEST_CHANGE = 30.0
"""Seconds after which a start that has not come to an end counts as failed."""
CHANGES_KEPT = 500

CURRENT = {
    Process.RUNNING: "active",
    Process.STARTING: "active",
    Process.STOPPING: "active",
    Process.BACKOFF: "backoff",
    Process.FATAL: "error",
    Process.UNKNOWN: "error",
    Process.EXITED: "inactive",
    Process.STOPPED: "inactive",
}


class Refused(Exception):
    """The request cannot be done: an HTTP status and a message in Pebble's form."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Change:
    """One asynchronous request and how far it has come."""

    id: str
    kind: str
    services: tuple[str, ...]
    spawned: float = field(default_factory=time.time)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    finished: float = 0.0
    error: str = ""

    def as_json(self) -> dict[str, Any]:
        done = self.ready.is_set()
        status = "Doing" if not done else "Error" if self.error else "Done"
        shown = {
            "id": self.id,
            "kind": self.kind,
            "summary": f"{self.kind.capitalize()} {', '.join(self.services)}",
            "status": status,
            "ready": done,
            "spawn-time": _time(self.spawned),
        }
        if done:
            shown["ready-time"] = _time(self.finished)
        if self.error:
            shown["err"] = self.error
        return shown


async def serve(path: Path, manager: Manager) -> asyncio.AbstractServer:
    """Listen on the socket; every connection is served on its own."""
    api = Api(manager)
    path.unlink(missing_ok=True)
    server = await asyncio.start_unix_server(api.connected, path)
    path.chmod(0o600)
    return server


class Api:
    """The requests we understand; the state is the manager's."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._changes: dict[str, Change] = {}
        self._last_change = 0
        self._doing: set[asyncio.Task[None]] = set()

    # HTTP.

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client until it goes, is too slow, or does not speak HTTP."""
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=65536)
        owner = _who(writer)
        with contextlib.closing(writer), contextlib.suppress(OSError, asyncio.TimeoutError):
            while True:
                try:
                    received = await asyncio.wait_for(_receive(connection, reader), SLOWEST_CLIENT)
                    if received is None:
                        break
                    status, body = await self._respond(*received, owner)
                except h11.RemoteProtocolError as error:
                    status, body = error.error_status_hint, _error(error.error_status_hint, str(error))
                except Refused as refusal:
                    status, body = refusal.status, _error(refusal.status, str(refusal))
                except (ValueError, LookupError) as error:
                    status, body = 400, _error(400, f"cannot understand the request: {error}")
                writer.write(_response(connection, status, body))
                await writer.drain()
                if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                    break
                connection.start_next_cycle()

    async def _respond(self, method: str, target: str, body: bytes, owner: str) -> tuple[int, dict[str, Any]]:
        url = urlsplit(target)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        route = (method, *url.path.strip("/").split("/"))
        if route == ("GET", "v1", "system-info"):
            return _sync({"version": f"maas-init {__version__}", "boot-id": ""})
        if route == ("GET", "v1", "services"):
            return _sync(self._services(query.get("names", "")))
        if route == ("POST", "v1", "services"):
            return await self._change(_payload(body), owner)
        if route == ("POST", "v1", "signals"):
            return await self._signal(_payload(body))
        if route[:3] == ("GET", "v1", "changes") and len(route) in (4, 5):
            return await self._show_change(route[3], route[4:], query)
        raise Refused(404 if method in ("GET", "POST") else 405, f"maas-init does not offer {method} {url.path}")

    # What is asked.

    def _services(self, names: str) -> list[dict[str, Any]]:
        wanted = [name for name in names.split(",") if name]
        return [
            {
                "name": name,
                "startup": "disabled" if state.service.on_request else "enabled",
                "current": CURRENT[state.process],
                "current-since": _time(time.time() - max(0.0, uptime() - state.since)),
            }
            for name, state in sorted(self._manager.states.items())
            if not state.service.watched_only and (not wanted or name in wanted)
        ]

    async def _change(self, payload: Mapping[str, Any], owner: str) -> tuple[int, dict[str, Any]]:
        action = payload.get("action")
        if action not in ("start", "stop", "restart"):
            raise Refused(400, f"cannot do {action!r} with services: give start, stop or restart")
        names = self._names(payload)
        if self._manager.stopping:
            raise Refused(400, f"cannot {action} {', '.join(names)}: the container is stopping")
        self._last_change += 1
        change = Change(str(self._last_change), action, names)
        self._changes[change.id] = change
        for outdated in list(self._changes)[:-CHANGES_KEPT]:
            del self._changes[outdated]
        for name in names:
            self._manager.want(name, on=action != "stop", owner=owner, reason=f"{action} asked over the Pebble API")
            if action == "restart":
                self._manager.restart(name)
        task = asyncio.create_task(self._carry_out(change))
        self._doing.add(task)
        task.add_done_callback(self._doing.discard)
        return _answer(202, {"type": "async", "result": None, "change": change.id})

    async def _carry_out(self, change: Change) -> None:
        errors = await asyncio.gather(*(self._settled(change.kind, name) for name in change.services))
        change.error = "; ".join(filter(None, errors))
        change.finished = time.time()
        change.ready.set()

    async def _settled(self, action: str, name: str) -> str:
        """Wait until the service is as asked; return what went wrong, or nothing."""
        state, manager = self._manager.states[name], self._manager
        failed = state.failed
        deadline = time.monotonic() + LONGEST_CHANGE
        while time.monotonic() < deadline:
            await manager.changed()
            if manager.is_busy(name):
                continue
            if action == "stop":
                if not state.process.alive:
                    return ""
            elif state.process is Process.RUNNING or (state.service.oneshot and state.exit_status == 0):
                return ""
            elif state.condition:
                return f"cannot {action} {name}: {state.condition}"
            elif state.process in (Process.FATAL, Process.BACKOFF) or state.failed > failed:
                return f"cannot {action} {name}: {state.exit}"
        return f"cannot {action} {name} within {LONGEST_CHANGE:g} s: {health.explain(state, manager.levels)}"

    async def _signal(self, payload: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        try:
            number = signal.Signals[str(payload.get("signal"))]
        except KeyError:
            raise Refused(400, f"cannot send {payload.get('signal')!r}: give a name such as SIGHUP") from None
        for name in self._names(payload):
            try:
                await self._manager.signal(name, number)
            except SupervisorError as error:
                raise Refused(400, f"cannot send {number.name} to {name}: {error}") from error
        return _sync(True)

    async def _show_change(
        self, identity: str, rest: tuple[str, ...], query: Mapping[str, str]
    ) -> tuple[int, dict[str, Any]]:
        change = self._changes.get(identity)
        if change is None or rest not in ((), ("wait",)):
            raise Refused(404, f"cannot find change with id {identity!r}")
        if rest:
            try:
                await asyncio.wait_for(change.ready.wait(), _duration(query.get("timeout", "")))
            except asyncio.TimeoutError:
                raise Refused(504, f"timed out waiting for change {identity}") from None
        return _sync(change.as_json())

    def _names(self, payload: Mapping[str, Any]) -> tuple[str, ...]:
        names = payload.get("services")
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise Refused(400, "cannot tell which services are meant: give a list of names")
        for name in names:
            if name not in self._manager.states or self._manager.states[name].service.watched_only:
                raise Refused(400, f'service "{name}" does not exist')
        return tuple(dict.fromkeys(names))


async def _receive(connection: h11.Connection, reader: asyncio.StreamReader) -> tuple[str, str, bytes] | None:
    """Return method, target and body of the next request, or None when the client has gone."""
    request: h11.Request | None = None
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(65536))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > LARGEST_BODY:
                raise Refused(413, f"the request is larger than {LARGEST_BODY} bytes")
        elif isinstance(event, h11.EndOfMessage) and request is not None:
            return request.method.decode(), request.target.decode("ascii", "replace"), bytes(body)
        else:
            return None


def _response(connection: h11.Connection, status: int, body: Mapping[str, Any]) -> bytes:
    text = json.dumps(body).encode()
    head = h11.Response(
        status_code=status, headers=[("Content-Type", "application/json"), ("Content-Length", str(len(text)))]
    )
    parts = [connection.send(head)]
    with contextlib.suppress(h11.LocalProtocolError):  # the answer to HEAD has no body
        parts += [connection.send(h11.Data(text)), connection.send(h11.EndOfMessage())]
    return b"".join(part for part in parts if part)


def _answer(status: int, rest: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    words = {200: "OK", 202: "Accepted"}
    return status, {"status-code": status, "status": words[status], **rest}


def _sync(result: Any) -> tuple[int, dict[str, Any]]:
    return _answer(200, {"type": "sync", "result": result})


def _error(status: int, message: str) -> dict[str, Any]:
    return {"type": "error", "status-code": status, "status": "Error", "result": {"message": message}}


def _payload(body: bytes) -> Mapping[str, Any]:
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"cannot decode the request's JSON: {error}") from error
    if not isinstance(payload, dict):
        raise Refused(400, "cannot use the request: give a JSON object")
    return payload


def _duration(text: str) -> float | None:
    """Return the seconds of a Go duration such as 10s, 500ms or 1m30s; None, which waits for ever, of nothing."""
    if not text:
        return None
    factors = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    parts = re.findall(r"([0-9]+(?:\.[0-9]+)?)(ms|[smh])", text)
    if "".join(number + unit for number, unit in parts) != text:
        raise Refused(400, f"cannot understand the duration {text!r}: give for example 10s or 1m30s")
    return sum(float(number) * factors[unit] for number, unit in parts)


def _who(writer: asyncio.StreamWriter) -> str:
    """Return whose words these are: MAAS's own daemons, or somebody at the keyboard."""
    client: socket.socket = writer.get_extra_info("socket")
    credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid = struct.unpack("3i", credentials)[0]
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return "operator"
    return "MAAS" if any(name in command for name in (b"/regiond", b"/rackd")) else "operator"


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
