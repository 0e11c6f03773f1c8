"""Changes: what was asked of services, carried out in the background, and how far it has come.

A start or restart is done when the service runs, and has failed when it failed: MAAS looks at its state right after it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from .. import health
from ..health import Desired, Process
from .manager import Manager

LONGEST_CHANGE = 25.0
"""Seconds after which a start that has not come to an end counts as failed; Pebble's clients wait for 30."""
CHANGES_KEPT = 500
GENTLE = ("autostart", "replan")
"""Kinds that ask for whatever can run: a service without its configuration is passed over, not a failure."""


@dataclass
class Task:
    """What a change does with one service."""

    id: str
    action: str
    """start, stop or restart."""
    service: str
    before: Desired
    """What was wanted of the service until now."""
    wish: Desired
    """What is wanted by this change."""
    spawned: float = field(default_factory=time.time)
    finished: float = 0.0
    status: str = "Doing"
    error: str = ""
    log: list[str] = field(default_factory=list)

    def end(self, status: str, *, error: str = "", remark: str = "") -> None:
        """Note how it ended; the log has its lines in Pebble's form: time, level, words."""
        self.finished, self.status, self.error = time.time(), status, error
        if error or remark:
            self.log.append(f"{timestamp(self.finished)} {'ERROR' if error else 'INFO'} {error or remark}")

    def as_json(self) -> dict[str, Any]:
        done = bool(self.finished)
        shown = {
            "id": self.id,
            "kind": self.action,
            "summary": f"{self.action.capitalize()} {self.service}",
            "status": self.status,
            "log": self.log,
            "progress": {"label": "", "done": int(done), "total": 1},
            "spawn-time": timestamp(self.spawned),
        }
        return shown | ({"ready-time": timestamp(self.finished)} if done else {})


@dataclass
class Change:
    """One asynchronous request: a task for each service."""

    id: str
    kind: str
    """start, stop, restart, autostart or replan."""
    tasks: tuple[Task, ...]
    spawned: float = field(default_factory=time.time)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    finished: float = 0.0
    error: str = ""

    @property
    def services(self) -> tuple[str, ...]:
        return tuple(task.service for task in self.tasks)

    def end(self) -> None:
        self.error = "; ".join(task.error for task in self.tasks if task.error)
        self.finished = time.time()
        self.ready.set()

    def as_json(self) -> dict[str, Any]:
        done = self.ready.is_set()
        shown = {
            "id": self.id,
            "kind": self.kind,
            "summary": f"{self.kind.capitalize()} {', '.join(self.services) or '- no services'}",
            "status": "Doing" if not done else "Error" if self.error else "Done",
            "tasks": [task.as_json() for task in self.tasks],
            "ready": done,
            "spawn-time": timestamp(self.spawned),
        }
        if done:
            shown["ready-time"] = timestamp(self.finished)
        if self.error:
            shown["err"] = self.error
        return shown


class Changes:
    """Those of this listener's life, the newest of them; what they do is the manager's."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._changes: dict[str, Change] = {}
        self._last_change = 0
        self._last_task = 0
        self._doing: dict[str, asyncio.Task[None]] = {}

    def get(self, identity: str) -> Change | None:
        return self._changes.get(identity)

    def __iter__(self) -> Iterator[Change]:
        return iter(self._changes.values())

    def begin(self, kind: str, services: Iterable[str], owner: str) -> Change:
        """Want it now, and carry it out in the background."""
        action = "start" if kind in GENTLE else kind
        self._last_change += 1
        tasks = tuple(self._task(action, name, owner, f"{kind} asked over the Pebble API") for name in services)
        change = Change(str(self._last_change), kind, tasks)
        self._changes[change.id] = change
        for outdated in list(self._changes)[:-CHANGES_KEPT]:
            del self._changes[outdated]
        doing = asyncio.create_task(self._carry_out(change))
        self._doing[change.id] = doing
        doing.add_done_callback(lambda _: self._doing.pop(change.id))
        return change

    def abort(self, change: Change, owner: str) -> None:
        """Take back what is not done yet: of each service is wanted what was before, if nobody asked anew meanwhile."""
        if change.id in self._doing:
            self._doing[change.id].cancel()
        for task in change.tasks:
            if task.finished:
                continue
            if self._manager.states[task.service].desired is task.wish:
                reason = f"change {change.id} ({change.kind}) was aborted"
                self._manager.want(task.service, on=task.before.on, owner=owner, reason=reason)
            task.end("Undone", error=f"{task.action} of {task.service} was aborted")
        change.end()

    def _task(self, action: str, name: str, owner: str, reason: str) -> Task:
        state = self._manager.states[name]
        before = state.desired
        self._manager.want(name, on=action != "stop", owner=owner, reason=reason)
        if action == "restart":
            self._manager.restart(name)
        self._last_task += 1
        return Task(str(self._last_task), action, name, before=before, wish=state.desired)

    async def _carry_out(self, change: Change) -> None:
        await asyncio.gather(*(self._finish(task, gentle=change.kind in GENTLE) for task in change.tasks))
        change.end()

    async def _finish(self, task: Task, *, gentle: bool) -> None:
        error = await self._settled(task.action, task.service)
        condition = self._manager.states[task.service].condition
        if error and condition and gentle:
            task.end("Done", remark=f"{task.service} is passed over: {condition}")
        else:
            task.end("Error" if error else "Done", error=error)

    async def _settled(self, action: str, name: str) -> str:
        """Wait until the service is as asked; return what went wrong, or nothing."""
        state, manager = self._manager.states[name], self._manager
        failed = state.failed
        deadline = time.monotonic() + LONGEST_CHANGE
        while time.monotonic() < deadline:
            await manager.changed()
            if manager.is_busy(name):
                continue
            if state.desired.on is (action == "stop"):
                wish = state.desired
                return f"cannot {action} {name}: {wish.owner} wants it {'on' if wish.on else 'off'} ({wish.reason})"
            if action == "stop":
                if not state.process.active:
                    return ""
            elif state.process is Process.RUNNING or (state.service.oneshot and state.exit_status == 0):
                return ""
            elif state.condition or state.lacks:
                return f"cannot {action} {name}: {state.condition or state.lacks}"
            elif state.process in (Process.FATAL, Process.BACKOFF) or state.failed > failed:
                return f"cannot {action} {name}: {state.exit}"
        return f"cannot {action} {name} within {LONGEST_CHANGE:g} s: {health.explain(state, manager.levels)}"


def timestamp(seconds: float) -> str:
    """Return a time of day as RFC 3339 has it, with a fraction as Pebble's clients expect."""
    whole, fraction = divmod(int(seconds * 1e6), 1_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{fraction:06}Z"
