"""Decisions: what to do about what is seen. Pure: no clock, no input, no output."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .errors import ExitCode
from .health import Level, Process, State
from .services import Action


class Rung(enum.IntEnum):
    """What is done about a service that runs and does not answer, from the gentlest on."""

    RELOAD = 0
    RESTART = 1
    RESTART_WITH_DEPENDANTS = 2
    GAVE_UP = 3
    """Nothing helped: it is restarted now and then."""


RECOVERY = 30.0
"""Seconds in which what needed something that was away finds back by itself; MAAS does."""

HOPELESS = {
    ExitCode.DATABASE_UNAVAILABLE: "waiting for the database",
    ExitCode.BAD_SETTINGS: "because it needs you",
}
"""With these a one-shot says that trying again changes nothing."""


@dataclass(frozen=True)
class Start:
    name: str


@dataclass(frozen=True)
class Stop:
    name: str


@dataclass(frozen=True)
class Heal:
    """Do something about a service that does not answer."""

    name: str
    rung: Rung
    reason: str


@dataclass(frozen=True)
class Remedy:
    """Run a one-shot again because a check says that something is to be put right; its silence says nothing."""

    check: str
    name: str
    reason: str


@dataclass(frozen=True)
class Unbind:
    """What this service is bound to is gone: it stops and comes back only when asked."""

    name: str
    gone: str


@dataclass(frozen=True)
class Shutdown:
    """End the container."""

    code: ExitCode
    reason: str


Decision = Start | Stop | Heal | Remedy | Unbind | Shutdown


def decide(states: Mapping[str, State], found: Mapping[str, Level], now: float) -> Iterator[Decision]:
    """Yield what should be done at `now` (seconds of uptime); nothing when all is as it should be."""
    for name, state in states.items():
        if not state.service.watched_only:
            yield from _about(name, state, states, found, now)
        elif found[name] is Level.UNWELL and state.service.on_check_failure is Action.SHUTDOWN:
            yield Shutdown(ExitCode.CHECK_GAVE_UP, f"{name}: {_seen(state)}")
        elif state.service.remedy and _answers_wrongly(state) and now >= state.retry_at:
            remedy = states[state.service.remedy]
            if remedy.process is Process.EXITED and remedy.exit_status == 0:
                yield Remedy(name, remedy.service.name, f"{name}: {_seen(state)}")


def _about(
    name: str, state: State, states: Mapping[str, State], found: Mapping[str, Level], now: float
) -> Iterator[Decision]:
    service, process = state.service, state.process
    # A crash and the new process may both have happened since the last look: then only the process id tells.
    gone = [other for other in service.binds_to if not states[other].process.alive]
    gone += [other for other, pid in state.bound if states[other].pid != pid]
    if gone and state.desired.on:
        yield Unbind(name, gone[0])
    elif not state.desired.on:
        if process.active:
            yield Stop(name)
    elif (process is Process.FATAL or state.gave_up) and service.on_failure is Action.SHUTDOWN:
        yield Shutdown(ExitCode.SERVICE_GAVE_UP, f"{name} gave up: {state.exit}")
    elif service.oneshot and process is Process.EXITED and state.exit_status in HOPELESS:
        code = ExitCode(state.exit_status)
        yield Shutdown(code, f"{name} gave up {HOPELESS[code]}: {state.exit}")
    elif _should_start(state, found) and now >= state.retry_at:
        yield Start(name)
    elif found[name] is Level.UNWELL and service.on_check_failure is Action.SHUTDOWN:
        yield Shutdown(ExitCode.CHECK_GAVE_UP, f"{name} does not answer: {_seen(state)}")
    elif (
        found[name] is Level.UNWELL
        and service.on_check_failure is Action.RESTART
        and now >= state.heal_at
        and _is_at_fault(state, states, now)
    ):
        yield Heal(name, _rung(state), f"it does not answer: {_seen(state)}")


def _should_start(state: State, found: Mapping[str, Level]) -> bool:
    ended = state.process in (Process.STOPPED, Process.FATAL) or (
        state.service.oneshot and state.process is Process.EXITED and state.exit_status != 0
    )
    possible = not state.condition and not state.lacks
    return ended and possible and all(found[need] is Level.READY for need in state.service.requires)


def _is_at_fault(state: State, states: Mapping[str, State], now: float) -> bool:
    """Whether all that it needs is well, was not away a moment ago and has answered since it began to fail.

    Else it may only suffer from them, or be about to recover by itself.
    """
    needs = [states[name] for name in state.service.requires]
    began = state.health.failing_since
    return all(
        now - need.ready_since >= RECOVERY
        and (not need.service.check or (need.health.failures == 0 and need.health.at >= began))
        for need in needs
    )


def _rung(state: State) -> Rung:
    """Return what is to be done next; what is silent has nothing to gain from reading its configuration anew."""
    wrong = state.health.successes and _answers_wrongly(state)
    return Rung(max(state.rung, Rung.RELOAD if state.service.reloadable and wrong else Rung.RESTART))


def _answers_wrongly(state: State) -> bool:
    check, last = state.service.check, state.health.last
    return bool(check and last and not last.ok and last.seconds < check.within)


def _seen(state: State) -> str:
    return state.health.last.detail if state.health.last else "no answer"
