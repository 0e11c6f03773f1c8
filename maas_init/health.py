"""Verdicts: from what processes and probes show to what is well. Pure: no clock, no input, no output."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from .retry import Failures
from .services import Service


class Level(enum.Enum):
    """How one service is."""

    READY = "ready"
    """It answers (a one-shot: it ended well)."""
    UP = "up"
    """It runs and has not answered yet."""
    UNWELL = "unwell"
    """It runs and does not answer any more."""
    DOWN = "down"
    """It should run and does not."""
    BLOCKED = "blocked"
    """It waits for, or suffers from, something that is not ready."""
    OFF = "off"
    """Nobody wants it now, or its configuration does not exist yet."""


class Container(enum.Enum):
    """How the whole container is."""

    STARTING = "starting"
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    """Works, but something that is not critical is missing."""
    UNHEALTHY = "unhealthy"
    STOPPING = "stopping"


class Process(enum.Enum):
    """supervisord's process states, with supervisord's names."""

    STOPPED = "STOPPED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    BACKOFF = "BACKOFF"
    STOPPING = "STOPPING"
    EXITED = "EXITED"
    FATAL = "FATAL"
    UNKNOWN = "UNKNOWN"

    @property
    def alive(self) -> bool:
        return self in (Process.STARTING, Process.RUNNING, Process.STOPPING)

    @property
    def active(self) -> bool:
        """Whether it lives, or supervisord is about to start it again."""
        return self.alive or self is Process.BACKOFF


@dataclass(frozen=True)
class Result:
    """One answer, or its absence: `detail` says what was seen, in words for the operator."""

    ok: bool
    detail: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Health:
    """What a check's results add up to since the process started."""

    last: Result | None = None
    successes: int = 0
    failures: int = 0
    """Failures in a row."""
    at: float = 0.0
    """Seconds of uptime at which the last result came."""
    failing_since: float = 0.0
    """Seconds of uptime at which the first of the failures in a row came."""


def fold(health: Health, result: Result, now: float = 0.0) -> Health:
    """Add one result that came at `now`."""
    if result.ok:
        return Health(last=result, successes=health.successes + 1, at=now)
    since = health.failing_since if health.failures else now
    return replace(health, last=result, failures=health.failures + 1, at=now, failing_since=since)


@dataclass(frozen=True)
class Desired:
    """Whether a service should run, who said so, and why."""

    on: bool
    owner: str
    """init, MAAS, operator or health."""
    reason: str
    at: float
    """Seconds since the epoch, for people."""
    moment: float = 0.0
    """The same in seconds of CLOCK_MONOTONIC, which nobody sets: tells which of two wishes came later."""


@dataclass
class State:
    """What is known of one service; the listener changes it, the functions below read it."""

    service: Service
    desired: Desired
    process: Process = Process.STOPPED
    pid: int = 0
    """0 when there is no process."""
    started: int = 0
    """supervisord's stamp of its last start; 0 when there was none."""
    since: float = 0.0
    """Seconds of uptime at which `process` was entered."""
    exit: str = ""
    """How it last ended, in words."""
    exit_status: int | None = None
    health: Health = field(default_factory=Health)
    condition: str = ""
    """The condition that is not met, in words; empty when all are."""
    lacks: str = ""
    """What it cannot do without in this container and what helps, in words; empty when it has all."""
    missing: tuple[str, ...] = ()
    """Capabilities that it may have and this container does not."""
    occupied: str = ""
    """Who else holds a port that it needs, in words; empty while it is well, or nobody does."""
    freed_at: float = 0.0
    """Seconds of uptime at which that one was gone."""
    failures: Failures = field(default_factory=Failures)
    """Ends that nobody wished and answers that did not come, since it last ran well for a while."""
    failed: int = 0
    """How many of them came in a row."""
    rung: int = 0
    """What is done next when it does not answer (decide.Rung)."""
    heal_at: float = 0.0
    """Seconds of uptime before which that is not done."""
    gave_up: bool = False
    """It failed too often: it is still tried, but seldom."""
    ready_since: float = 0.0
    """Seconds of uptime at which it became ready."""
    retry_at: float = 0.0
    """Seconds of uptime before which it is not tried again."""
    reload_when_ready: bool = False
    """It was told to reload before it ever answered: it may have read its configuration by then."""
    restarts: int = 0
    bound: tuple[tuple[str, int], ...] = ()
    """While it lives: what it is bound to, each with the process id it had when this one came to life."""
    overdue: bool = False
    """See `overdue`."""


def overdue(state: State, now: float) -> bool:
    """Return whether it never answered, and runs for longer than `start_within` or without its port, which is free now.

    Most daemons ask for their port only when they start: one that began without it is not waited for.
    """
    check, asked = state.service.check, state.health
    if check is None or asked.successes or not (state.process is Process.RUNNING or state.service.watched_only):
        return False
    without_its_port = state.since < state.freed_at < asked.at and asked.failures > 0
    return without_its_port or now - state.since > check.start_within


def level(state: State, needs: Mapping[str, Level]) -> Level:
    """Return how the service is, given the levels of what it needs."""
    service = state.service
    waiting = bool(state.lacks or state.occupied) or any(needs[name] is not Level.READY for name in service.requires)
    if service.watched_only:
        return _answering(state, waiting, before=Level.DOWN)
    if not state.desired.on or (state.condition and not state.process.alive):
        return Level.OFF
    if service.oneshot and state.process is Process.EXITED and state.exit_status == 0:
        return Level.READY
    if state.process is Process.RUNNING:
        return Level.UP if service.oneshot else _answering(state, waiting, before=Level.UP)
    if state.process is Process.STARTING:
        return Level.BLOCKED if state.occupied else Level.UP
    return Level.BLOCKED if waiting else Level.DOWN


def _answering(state: State, waiting: bool, before: Level) -> Level:
    check, health = state.service.check, state.health
    if check is None or (health.successes and health.failures < check.threshold):
        return Level.READY
    if waiting:
        return Level.BLOCKED
    return Level.UNWELL if health.successes or state.overdue else before


def levels(states: Iterable[State]) -> dict[str, Level]:
    """Return every service's level; what is needed is judged before what needs it."""
    found: dict[str, Level] = {}
    left = list(states)
    while left:
        later = []
        for state in left:
            if all(name in found for name in state.service.requires):
                found[state.service.name] = level(state, found)
            else:
                later.append(state)
        left = later
    return found


def root_causes(states: Mapping[str, State], found: Mapping[str, Level]) -> list[str]:
    """Return the names of what is wrong by its own fault, critical ones first; off is wrong only for those."""
    at_fault = (Level.DOWN, Level.UNWELL, Level.UP)
    names = [
        name for name, how in found.items() if how in at_fault or (how is Level.OFF and states[name].service.critical)
    ]
    return sorted(names, key=lambda name: (not states[name].service.critical, name))


def container(states: Mapping[str, State], found: Mapping[str, Level], *, was_healthy: bool) -> Container:
    """Return how the container is; `was_healthy` says whether everything critical was ready before."""
    # What lacks a capability or its port is missed, but no reason to take away the rest.
    critical = [
        name for name, state in states.items() if state.service.critical and not (state.lacks or state.occupied)
    ]
    if all(found[name] is Level.READY for name in critical):
        missing = [name for name in found if found[name] not in (Level.READY, Level.OFF)]
        return Container.DEGRADED if missing else Container.HEALTHY
    failed = any(states[name].failed or found[name] is Level.UNWELL for name in critical)
    return Container.UNHEALTHY if was_healthy or failed else Container.STARTING


def explain(state: State, found: Mapping[str, Level]) -> str:
    """Say in one sentence why the service is as it is."""
    told = because(state, found)
    return f"{state.service.name} is {found[state.service.name].value}" + (f": {told}" if told else "")


def because(state: State, found: Mapping[str, Level]) -> str:
    """Return the reason alone; empty when there is nothing to add to the level."""
    service, last = state.service, state.health.last
    how = found[service.name]
    detail = last.detail if last else "no answer yet"
    match how:
        case Level.OFF:
            return (
                state.desired.on and state.condition
            ) or f"{state.desired.owner} wants it off ({state.desired.reason})"
        case Level.BLOCKED:
            waits = (f"{need} ({found[need].value})" for need in service.requires if found[need] is not Level.READY)
            return state.lacks or state.occupied or f"it needs {', '.join(waits)}"
        case Level.READY:
            return last.detail if last and last.ok else ""
        case Level.DOWN if not service.watched_only:
            told = state.exit or f"supervisord says {state.process.value}"
            return f"{told}; it failed {state.failed} times and is only tried now and then" if state.gave_up else told
        case Level.UP if service.check is None or state.process is Process.STARTING:
            return "it is starting"
        case _:
            return detail
