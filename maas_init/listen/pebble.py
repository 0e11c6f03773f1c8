"""Canonical Pebble's HTTP API on a Unix socket: how MAAS, and people, ask for services.

MAAS 3.5 uses this instead of `sudo systemctl` when $PEBBLE is set, so its own service list tells the truth. What an
init for MAAS does not do is refused in Pebble's form (docs/reference/pebble.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from .. import __version__, health, logs
from ..health import Container, Process
from ..supervisor import SupervisorError
from . import plan, serving
from .changes import Change, Changes, timestamp
from .manager import Manager, uptime
from .serving import Answer, Lines, Refused, Request, answer

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

LOGS_SHOWN = 30
"""Records that are shown when nobody says how many; Pebble's own number."""
FOLLOW_EVERY = 0.2
"""Seconds between two looks for new records."""

NOT_SUPPORTED = {
    "checks": "refreshing checks: each is asked as long as its service runs",
    "exec": "running commands: use docker exec",
    "files": "reading and writing files: use docker cp",
    "identities": "identities: whoever may open this socket may do everything",
    "layers": "layers: services are described in supervisord.conf.d and do not change while the container runs",
    "metrics": "metrics",
    "notices": "adding notices",
    "pairing": "pairing",
    "tasks": "websockets of tasks: nothing is run over this API",
}


class Api:
    """The requests we understand; the state is the manager's."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._where = manager.where
        self._changes = Changes(manager)
        self._routes: dict[str, Callable[[Request], Awaitable[Answer | Lines]]] = {
            "GET system-info": self._system_info,
            "GET health": self._health,
            "GET services": self._list_services,
            "POST services": self._ask_services,
            "POST signals": self._signal,
            "GET changes": self._list_changes,
            "GET changes/*": self._show_change,
            "POST changes/*": self._abort_change,
            "GET changes/*/wait": self._wait_for_change,
            "GET logs": self._logs,
            "GET plan": self._plan,
            "GET checks": self._list_checks,
            "POST checks": self._ask_checks,
            "GET warnings": _nothing,
            "POST warnings": _no_warnings,
            "GET notices": _nothing,
            "GET notices/*": _no_notice,
        }

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client until it goes."""
        await serving.converse(reader, writer, self.respond)

    async def respond(self, request: Request) -> Answer | Lines:
        """Do what is asked. Raises Refused."""
        version, *words = request.words
        topic = words[0] if words else ""
        if topic in ("changes", "notices") and len(words) > 1:
            words[1] = "*"
        action = self._routes.get(f"{request.method} {'/'.join(words)}")
        if action and version == "v1":
            return await action(request)
        if topic in NOT_SUPPORTED and version == "v1":
            raise _not_supported(NOT_SUPPORTED[topic], "generic-file-error" if topic == "files" else "")
        unknown = 404 if request.method in ("GET", "POST") else 405
        raise Refused(unknown, f"maas-init does not offer {request.method} {request.path}")

    async def _system_info(self, _request: Request) -> Answer:
        return _sync({"version": f"maas-init {__version__}", "boot-id": _boot_id()})

    # Services.

    async def _list_services(self, request: Request) -> Answer:
        wanted = request.listed("names")
        found = [
            {
                "name": name,
                "startup": plan.startup(state.service),
                "current": CURRENT[state.process],
                "current-since": timestamp(time.time() - max(0.0, uptime() - state.since)),
            }
            for name, state in sorted(self._manager.states.items())
            if not state.service.watched_only and (not wanted or name in wanted)
        ]
        return _sync(found)

    async def _ask_services(self, request: Request) -> Answer:
        payload = request.payload()
        action = payload.get("action")
        if action in ("start", "stop", "restart"):
            names = self._names(payload.get("services"))
        elif action in ("autostart", "replan"):
            if payload.get("services"):
                raise Refused(400, f"{action} accepts no service names")
            names = self._startup_names(waiting=action == "replan")
            if action == "autostart" and not names:
                raise Refused(400, "no default services", "no-default-services")
        else:
            raise Refused(400, f"cannot do {action!r} with services: give start, stop, restart, autostart or replan")
        if self._manager.stopping:
            raise Refused(400, f"cannot {action} {', '.join(names)}: the container is stopping")
        change = self._changes.begin(action, names, request.owner)
        return answer(202, "async", None, change=change.id)

    def _startup_names(self, *, waiting: bool) -> tuple[str, ...]:
        """Return the services that are part of the container; when `waiting`, those that do not run or have not."""
        names = []
        for name, state in self._manager.states.items():
            service = state.service
            done = state.process.active or (service.oneshot and state.exit_status == 0)
            if not service.watched_only and not service.on_request and not (waiting and done):
                names.append(name)
        return tuple(names)

    async def _signal(self, request: Request) -> Answer:
        payload = request.payload()
        try:
            number = signal.Signals[str(payload.get("signal"))]
        except KeyError:
            raise Refused(400, f"cannot send {payload.get('signal')!r}: give a name such as SIGHUP") from None
        for name in self._names(payload.get("services")):
            try:
                await self._manager.signal(name, number)
            except SupervisorError as error:
                raise Refused(400, f"cannot send {number.name} to {name}: {error}") from error
        return _sync(True)

    def _names(self, names: object) -> tuple[str, ...]:
        for name in _words(names, "services"):
            if name not in self._manager.states or self._manager.states[name].service.watched_only:
                raise Refused(400, f'service "{name}" does not exist')
        return _words(names, "services")

    # Changes.

    def _change(self, request: Request) -> Change:
        change = self._changes.get(request.words[2])
        if change is None:
            raise Refused(404, f"cannot find change with id {request.words[2]!r}")
        return change

    async def _list_changes(self, request: Request) -> Answer:
        select = request.query.get("select", "in-progress")
        if select not in ("all", "in-progress", "ready"):
            raise Refused(400, f"cannot select {select!r}: give all, in-progress or ready")
        service = request.query.get("for")
        found = [
            change.as_json()
            for change in self._changes
            if select in ("all", "ready" if change.ready.is_set() else "in-progress")
            and (service is None or service in change.services)
        ]
        return _sync(found)

    async def _show_change(self, request: Request) -> Answer:
        return _sync(self._change(request).as_json())

    async def _wait_for_change(self, request: Request) -> Answer:
        change = self._change(request)
        try:
            await asyncio.wait_for(change.ready.wait(), _duration(request.query.get("timeout", "")))
        except asyncio.TimeoutError:
            raise Refused(504, f"timed out waiting for change {change.id}") from None
        return _sync(change.as_json())

    async def _abort_change(self, request: Request) -> Answer:
        change, action = self._change(request), request.payload().get("action")
        if action != "abort":
            raise Refused(400, f"cannot do {action!r} with a change: give abort")
        if change.ready.is_set():
            raise Refused(400, f"cannot abort change {change.id} with nothing pending")
        self._changes.abort(change, request.owner)
        return _sync(change.as_json())

    # What services printed.

    async def _logs(self, request: Request) -> Lines:
        services = request.listed("services") or tuple(
            name for name, state in self._manager.states.items() if not state.service.watched_only
        )
        follow, count = request.query.get("follow", ""), request.query.get("n", "")
        if follow not in ("", "true", "false"):
            raise Refused(400, 'follow parameter must be "true" or "false"')
        if count and not re.fullmatch(r"-1|[0-9]{1,9}", count):
            raise Refused(400, "n must be -1, 0, or a positive integer")
        wanted = int(count or (0 if follow == "true" else LOGS_SHOWN))
        # Opened before the answer begins: whoever sees that it has begun misses nothing of what comes.
        follower = await asyncio.to_thread(logs.Follower, self._where, services, None if wanted < 0 else wanted)
        return Lines(self._printed(follower, follow == "true"))

    async def _printed(self, follower: logs.Follower, follow: bool) -> AsyncIterator[Mapping[str, Any]]:
        with contextlib.closing(follower):
            records = follower.history
            while True:
                for record in records:
                    yield {"time": record.time, "service": record.service, "message": record.message}
                if not follow:
                    return
                await asyncio.sleep(FOLLOW_EVERY)
                records = follower.new()

    # The plan and its checks.

    async def _plan(self, request: Request) -> Answer:
        wanted = request.query.get("format", "")
        if wanted != "yaml":
            raise Refused(400, f"cannot tell the plan as {wanted!r}: give yaml")
        return _sync(plan.render(self._manager.catalogue))

    async def _list_checks(self, request: Request) -> Answer:
        wanted, level = request.listed("names"), _level(request)
        found = [
            plan.check_info(state, self._manager.levels[name])
            for name, state in sorted(self._manager.states.items())
            if (not level or level == plan.level(state.service)) and (not wanted or name in wanted)
        ]
        return _sync(found)

    async def _ask_checks(self, request: Request) -> Answer:
        payload = request.payload()
        action = payload.get("action")
        if action not in ("start", "stop"):
            raise Refused(400, f"cannot do {action!r} with checks: give start")
        if action == "stop":
            raise _not_supported("stopping checks: each is asked as long as its service runs")
        for name in _words(payload.get("checks"), "checks"):
            if name not in self._manager.states:
                raise Refused(400, f'cannot start checks: check "{name}" does not exist')
        return _sync({"changed": []})

    async def _health(self, request: Request) -> Answer:
        wanted, level = request.listed("names"), _level(request)
        levels = self._manager.levels
        states = {name: state for name, state in self._manager.states.items() if not wanted or name in wanted}
        if level == "alive":
            # Alive is also what starts, or is being started again.
            found = {name: levels[name] for name in states}
            healthy = health.container(states, found, was_healthy=False) is not Container.UNHEALTHY
        else:
            asked = (state for state in states.values() if not level or level == plan.level(state.service))
            down = any(plan.is_down(state, levels[state.service.name]) for state in asked)
            healthy = not down and not self._manager.stopping
        return answer(200 if healthy else 502, "sync", {"healthy": healthy})


async def _nothing(request: Request) -> Answer:
    """Tell the warnings or notices: there are none."""
    # Who waits for one and is answered at once would ask again at once.
    await asyncio.sleep(_duration(request.query.get("timeout", "")) or 0.0)
    return _sync([])


async def _no_warnings(request: Request) -> Answer:
    action = request.payload().get("action")
    if action != "okay":
        raise Refused(400, f"cannot do {action!r} with warnings: give okay")
    return _sync(0)


async def _no_notice(request: Request) -> Answer:
    raise Refused(404, f"cannot find notice with ID {request.words[2]!r}")


def _sync(result: Any) -> Answer:
    return answer(200, "sync", result)


def _not_supported(what: str, kind: str = "") -> Refused:
    return Refused(501, f"maas-init does not support {what}", kind)


def _words(found: object, what: str) -> tuple[str, ...]:
    if not isinstance(found, list) or not found or not all(isinstance(word, str) for word in found):
        raise Refused(400, f"cannot tell which {what} are meant: give a list of names")
    return tuple(dict.fromkeys(found))


def _level(request: Request) -> str:
    level = request.query.get("level", "")
    if level not in ("", "alive", "ready"):
        raise Refused(400, 'level must be "alive" or "ready"')
    return level


def _duration(text: str) -> float | None:
    """Return the seconds of a Go duration such as 10s, 500ms or 1m30s; None, which waits for ever, of nothing."""
    if not text:
        return None
    factors = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    parts = re.findall(r"([0-9]+(?:\.[0-9]+)?)([nuµm]s|[smh])", text)
    if "".join(number + unit for number, unit in parts) != text:
        raise Refused(400, f"cannot understand the duration {text!r}: give for example 10s or 1m30s")
    return sum(float(number) * factors[unit] for number, unit in parts)


def _boot_id() -> str:
    """Return what is the same as long as the container lives: the machine's boot, and when process 1 started in it."""
    machine = uuid.UUID(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    started = Path("/proc/1/stat").read_text().rpartition(")")[2].split()[19]
    return str(uuid.uuid5(machine, started))
