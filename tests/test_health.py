from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas_init import health
from maas_init.health import Container, Desired, Health, Level, Process, Result, State
from maas_init.services import Check, Service

GOOD = Result(True, "it answered")
BAD = Result(False, "it did not answer")
CHECK = Check("tcp", threshold=3)
ON = Desired(True, "init", "it is part of this container", 0.0)
OFF = Desired(False, "operator", "stopped with supervisorctl", 0.0)


def after(*results: Result) -> Health:
    found = Health()
    for result in results:
        found = health.fold(found, result)
    return found


def running(name: str = "a", *requires: str, check: Check | None = None, critical: bool = False) -> State:
    return State(Service(name, requires=requires, check=check, critical=critical), ON, Process.RUNNING, pid=7)


def alone(state: State) -> Level:
    return health.level(state, {})


# Counting answers.


@pytest.mark.parametrize(
    ("results", "successes", "failures"),
    [
        ([], 0, 0),
        ([GOOD], 1, 0),
        ([BAD], 0, 1),
        ([BAD, BAD, GOOD], 1, 0),
        ([GOOD, BAD, BAD], 1, 2),
        ([GOOD, BAD, GOOD, BAD], 2, 1),
    ],
)
def test_failures_are_counted_in_a_row(results: list[Result], successes: int, failures: int) -> None:
    found = after(*results)
    assert (found.successes, found.failures) == (successes, failures)
    assert found.last is (results[-1] if results else None)


@given(st.lists(st.booleans()))
def test_good_answer_always_mends(answers: list[bool]) -> None:
    found = after(*(GOOD if answer else BAD for answer in answers), GOOD)
    assert found.failures == 0
    assert found.successes == sum(answers) + 1


# One service.


@pytest.mark.parametrize(
    ("process", "level"),
    [
        (Process.RUNNING, Level.READY),
        (Process.STARTING, Level.UP),
        (Process.STOPPED, Level.DOWN),
        (Process.BACKOFF, Level.DOWN),
        (Process.STOPPING, Level.DOWN),
        (Process.EXITED, Level.DOWN),
        (Process.FATAL, Level.DOWN),
        (Process.UNKNOWN, Level.DOWN),
    ],
)
def test_service_without_a_probe_is_ready_when_it_runs(process: Process, level: Level) -> None:
    state = running()
    state.process = process
    assert alone(state) is level


@pytest.mark.parametrize(
    ("results", "level"),
    [
        ([], Level.UP),
        ([BAD], Level.UP),
        ([BAD, BAD, BAD, BAD], Level.UP),
        ([GOOD], Level.READY),
        ([GOOD, BAD, BAD], Level.READY),
        ([GOOD, BAD, BAD, BAD], Level.UNWELL),
        ([GOOD, BAD, BAD, BAD, GOOD], Level.READY),
    ],
)
def test_up_is_not_ready(results: list[Result], level: Level) -> None:
    state = running(check=CHECK)
    state.health = after(*results)
    assert alone(state) is level


def test_service_that_never_answers_in_its_time_is_unwell() -> None:
    state = running(check=CHECK)
    state.health = after(BAD)
    state.overdue = True
    assert alone(state) is Level.UNWELL


@pytest.mark.parametrize(
    ("results", "ran_for", "overdue"),
    [
        ([], CHECK.start_within - 1, False),
        ([BAD], CHECK.start_within + 1, True),
        ([], CHECK.start_within + 1, True),
        ([GOOD], CHECK.start_within + 1, False),
        ([GOOD, BAD, BAD, BAD], CHECK.start_within + 1, False),
    ],
)
def test_only_what_never_answered_is_overdue(results: list[Result], ran_for: float, overdue: bool) -> None:
    state = running(check=CHECK)
    state.since, state.health = 100.0, after(*results)
    assert health.overdue(state, 100.0 + ran_for) is overdue
    state.process = Process.STARTING
    assert not health.overdue(state, 100.0 + ran_for)


def test_what_began_without_its_port_is_overdue_once_that_is_free_and_it_was_asked_again() -> None:
    state = running(check=CHECK)
    state.since, state.health = 100.0, health.fold(Health(), BAD, 102.0)
    assert not health.overdue(state, 103.0)
    state.freed_at = 103.0
    assert not health.overdue(state, 103.0)
    state.health = health.fold(state.health, BAD, 104.0)
    assert health.overdue(state, 104.0)


def test_answer_of_a_process_that_is_gone_does_not_count() -> None:
    state = running(check=CHECK)
    state.health = after(GOOD)
    state.process = Process.FATAL
    assert alone(state) is Level.DOWN


@pytest.mark.parametrize(
    ("process", "status", "level"),
    [
        (Process.RUNNING, None, Level.UP),
        (Process.STARTING, None, Level.UP),
        (Process.EXITED, 0, Level.READY),
        (Process.EXITED, 1, Level.DOWN),
        (Process.EXITED, -1, Level.DOWN),
        (Process.STOPPED, None, Level.DOWN),
        (Process.FATAL, 1, Level.DOWN),
    ],
)
def test_one_shot_is_ready_when_it_ended_well(process: Process, status: int | None, level: Level) -> None:
    state = State(Service("first", oneshot=True), ON, process, exit_status=status)
    assert alone(state) is level


@pytest.mark.parametrize("process", list(Process))
def test_what_nobody_wants_is_off(process: Process) -> None:
    state = running()
    state.process, state.desired = process, OFF
    assert alone(state) is Level.OFF


@pytest.mark.parametrize(
    ("process", "level"),
    [(Process.STOPPED, Level.OFF), (Process.FATAL, Level.OFF), (Process.RUNNING, Level.READY)],
)
def test_what_has_no_configuration_yet_is_off_unless_it_runs_already(process: Process, level: Level) -> None:
    state = running()
    state.process, state.condition = process, "/etc/a.conf does not exist yet"
    assert alone(state) is level


@pytest.mark.parametrize("process", [Process.STOPPED, Process.FATAL, Process.EXITED, Process.BACKOFF])
def test_what_cannot_run_without_another_is_blocked(process: Process) -> None:
    state = running("web", "database")
    state.process = process
    for level in Level:
        expected = Level.DOWN if level is Level.READY else Level.BLOCKED
        assert health.level(state, {"database": level}) is expected


def test_what_suffers_from_another_is_blocked_and_not_unwell() -> None:
    state = running("web", "database", check=CHECK)
    state.health = after(GOOD, BAD, BAD, BAD)
    assert health.level(state, {"database": Level.UNWELL}) is Level.BLOCKED
    assert health.level(state, {"database": Level.READY}) is Level.UNWELL


def test_what_answers_is_ready_whatever_it_needs() -> None:
    state = running("web", "database", check=CHECK)
    state.health = after(GOOD)
    assert health.level(state, {"database": Level.DOWN}) is Level.READY


@pytest.mark.parametrize(
    ("results", "overdue", "level"),
    [
        ([], False, Level.DOWN),
        ([BAD], False, Level.DOWN),
        ([GOOD], False, Level.READY),
        ([GOOD, BAD, BAD, BAD], False, Level.UNWELL),
        ([BAD], True, Level.UNWELL),
    ],
)
def test_what_is_only_watched_is_judged_by_its_answers(results: list[Result], overdue: bool, level: Level) -> None:
    state = State(Service("volumes", watched_only=True, check=CHECK), ON, health=after(*results), overdue=overdue)
    assert alone(state) is level


# All services together.


def states(*all_: State) -> dict[str, State]:
    return {state.service.name: state for state in all_}


def test_needs_are_judged_first_in_whatever_order_services_come() -> None:
    chain = [running("c", "b", check=CHECK), running("b", "a", check=CHECK), running("a", check=CHECK)]
    assert health.levels(chain) == {"a": Level.UP, "b": Level.BLOCKED, "c": Level.BLOCKED}


def test_root_causes_are_what_is_wrong_by_its_own_fault_and_critical_ones_come_first() -> None:
    all_ = states(
        running("apart", check=CHECK),
        running("database", check=CHECK, critical=True),
        running("web", "database", check=CHECK, critical=True),
        running("fine"),
    )
    found = health.levels(all_.values())
    assert health.root_causes(all_, found) == ["database", "apart"]


def test_what_is_off_is_a_cause_only_when_it_is_critical() -> None:
    all_ = states(running("main", critical=True), running("extra"))
    assert health.root_causes(all_, {"main": Level.OFF, "extra": Level.OFF}) == ["main"]


@pytest.mark.parametrize(
    ("critical", "extra", "was_healthy", "expected"),
    [
        (Level.READY, Level.READY, False, Container.HEALTHY),
        (Level.READY, Level.OFF, False, Container.HEALTHY),
        (Level.READY, Level.DOWN, True, Container.DEGRADED),
        (Level.READY, Level.UP, False, Container.DEGRADED),
        (Level.READY, Level.BLOCKED, False, Container.DEGRADED),
        (Level.UP, Level.READY, False, Container.STARTING),
        (Level.DOWN, Level.READY, False, Container.STARTING),
        (Level.BLOCKED, Level.READY, False, Container.STARTING),
        (Level.OFF, Level.READY, False, Container.STARTING),
        (Level.UNWELL, Level.READY, False, Container.UNHEALTHY),
        (Level.UP, Level.READY, True, Container.UNHEALTHY),
        (Level.DOWN, Level.READY, True, Container.UNHEALTHY),
        (Level.OFF, Level.READY, True, Container.UNHEALTHY),
    ],
)
def test_container_is_as_well_as_what_is_critical(
    critical: Level, extra: Level, was_healthy: bool, expected: Container
) -> None:
    all_ = states(running("main", critical=True), running("extra"))
    found = {"main": critical, "extra": extra}
    assert health.container(all_, found, was_healthy=was_healthy) is expected


def test_container_whose_start_failed_is_unhealthy_and_not_starting_for_ever() -> None:
    state = running("main", critical=True)
    state.process, state.failed = Process.FATAL, 1
    assert health.container(states(state), {"main": Level.DOWN}, was_healthy=False) is Container.UNHEALTHY


def test_failures_of_what_is_not_critical_do_not_make_it_unhealthy() -> None:
    extra = running("extra")
    extra.failed = 5
    all_ = states(running("main", critical=True), extra)
    assert health.container(all_, {"main": Level.UP, "extra": Level.DOWN}, was_healthy=False) is Container.STARTING


def test_what_lacks_a_capability_is_blocked_and_takes_nothing_else_away() -> None:
    powerless, main = running("named", critical=True), running("main", critical=True)
    powerless.process, powerless.lacks = Process.STOPPED, "it needs NET_RAW"
    all_ = states(powerless, main)
    found = health.levels(all_.values())
    assert found == {"named": Level.BLOCKED, "main": Level.READY}
    assert health.container(all_, found, was_healthy=True) is Container.DEGRADED
    assert health.explain(powerless, found) == "named is blocked: it needs NET_RAW"


# In words.


def explained(state: State, found: dict[str, Level] | None = None) -> str:
    return health.explain(state, found or health.levels([state]))


def test_every_level_is_explained() -> None:
    off = running()
    off.desired = OFF
    assert explained(off) == "a is off: operator wants it off (stopped with supervisorctl)"
    waiting = running()
    waiting.process, waiting.condition = Process.STOPPED, "/a does not exist yet"
    assert explained(waiting) == "a is off: /a does not exist yet"
    ready = running(check=CHECK)
    ready.health = after(GOOD)
    assert explained(ready) == "a is ready: it answered"
    assert explained(running()) == "a is ready"
    unwell = running(check=CHECK)
    unwell.health = after(GOOD, BAD, BAD, BAD)
    assert explained(unwell) == "a is unwell: it did not answer"
    assert explained(running(check=CHECK)) == "a is up: no answer yet"
    down = running()
    down.process, down.exit = Process.FATAL, "exited with 3"
    assert explained(down) == "a is down: exited with 3"
    down.exit = ""
    assert "FATAL" in explained(down)


def test_blocked_service_names_only_what_it_waits_for() -> None:
    state = running("web", "database", "bootstrap", "volumes")
    state.process = Process.STOPPED
    found = {"database": Level.UNWELL, "bootstrap": Level.READY, "volumes": Level.DOWN, "web": Level.BLOCKED}
    assert explained(state, found) == "web is blocked: it needs database (unwell), volumes (down)"


processes = st.sampled_from(Process)
results = st.sampled_from([GOOD, BAD])


@st.composite
def stacks(draw: st.DrawFn) -> dict[str, State]:
    """Any services in any state; each may need those before it."""
    names = "abcdef"[: draw(st.integers(1, 6))]
    found = []
    for position, name in enumerate(names):
        requires = tuple(draw(st.sets(st.sampled_from(names[:position])))) if position else ()
        service = Service(
            name,
            requires=requires,
            oneshot=draw(st.booleans()),
            watched_only=draw(st.booleans()),
            critical=draw(st.booleans()),
            check=draw(st.sampled_from([None, CHECK])),
        )
        state = State(service, draw(st.sampled_from([ON, OFF])), draw(processes))
        state.health = after(*draw(st.lists(results, max_size=5)))
        state.condition = draw(st.sampled_from(["", "/a does not exist yet"]))
        state.failed = draw(st.integers(0, 3))
        state.exit_status = draw(st.sampled_from([None, 0, 1, -1]))
        state.overdue = draw(st.booleans())
        found.append(state)
    return states(*draw(st.permutations(found)))


@given(stacks(), st.booleans())
def test_any_state_of_things_has_a_verdict_and_words(all_: dict[str, State], was_healthy: bool) -> None:
    found = health.levels(all_.values())
    assert found.keys() == all_.keys()
    container = health.container(all_, found, was_healthy=was_healthy)
    critical = [found[name] for name, state in all_.items() if state.service.critical]
    assert (container in (Container.HEALTHY, Container.DEGRADED)) == all(level is Level.READY for level in critical)
    for state in all_.values():
        assert health.explain(state, found).startswith(f"{state.service.name} is {found[state.service.name].value}")
    for name in health.root_causes(all_, found):
        assert found[name] not in (Level.READY, Level.BLOCKED)
        assert found[name] is not Level.OFF or all_[name].service.critical


@given(stacks())
def test_something_blocked_has_a_need_that_is_not_ready(all_: dict[str, State]) -> None:
    found = health.levels(all_.values())
    for name, level in found.items():
        if level is Level.BLOCKED:
            assert any(found[need] is not Level.READY for need in all_[name].service.requires)
