from __future__ import annotations

from dataclasses import replace

import pytest

from maas_init import health
from maas_init.decide import Decision, Heal, Remedy, Rung, Shutdown, Start, Stop, Unbind, decide
from maas_init.errors import ExitCode
from maas_init.health import Desired, Health, Process, Result, State
from maas_init.services import Action, Check, Service

ON = Desired(True, "init", "it is part of this container", 0.0)
OFF = Desired(False, "MAAS", "asked over the Pebble API", 0.0)
CHECK = Check("tcp", threshold=2)
UNWELL = Health(last=Result(False, "no answer"), successes=1, failures=2)
WELL = Health(last=Result(True, "answered"), successes=1)
A = Service("a")


def state(service: Service = A, process: Process = Process.STOPPED, desired: Desired = ON) -> State:
    return State(service, desired, process)


def decisions(*all_: State, now: float = 100.0) -> list[Decision]:
    return list(decide({each.service.name: each for each in all_}, health.levels(all_), now))


# Starting.


@pytest.mark.parametrize("process", [Process.STOPPED, Process.FATAL])
def test_what_should_run_and_does_not_is_started(process: Process) -> None:
    assert decisions(state(process=process)) == [Start("a")]


@pytest.mark.parametrize(
    "process", [Process.RUNNING, Process.STARTING, Process.STOPPING, Process.BACKOFF, Process.UNKNOWN]
)
def test_what_runs_or_is_in_supervisord_s_hands_is_left_alone(process: Process) -> None:
    assert decisions(state(process=process)) == []


def test_all_that_can_start_starts_at_once() -> None:
    assert decisions(state(), state(Service("b"))) == [Start("a"), Start("b")]


def test_nothing_starts_before_what_it_needs_is_ready() -> None:
    web = state(Service("web", requires=("a",)))
    up = state(replace(A, check=CHECK), Process.RUNNING)
    assert decisions(up, web) == []
    up.health = WELL
    assert decisions(up, web) == [Start("web")]


def test_nothing_starts_before_its_time_has_come_again() -> None:
    failed = state(process=Process.FATAL)
    failed.retry_at = 100.5
    assert decisions(failed, now=100.0) == []
    assert decisions(failed, now=100.5) == [Start("a")]


def test_nothing_starts_without_its_configuration() -> None:
    early = state()
    early.condition = "/etc/a.conf does not exist yet"
    assert decisions(early) == []


def test_nothing_starts_without_a_capability_that_it_needs() -> None:
    powerless = state(process=Process.FATAL)
    powerless.lacks = "it needs NET_RAW"
    assert decisions(powerless) == []


def test_what_runs_is_not_stopped_because_its_configuration_went() -> None:
    late = state(process=Process.RUNNING)
    late.condition = "/etc/a.conf does not exist yet"
    assert decisions(late) == []


@pytest.mark.parametrize(("status", "expected"), [(0, []), (1, [Start("a")]), (-1, [Start("a")])])
def test_one_shot_runs_again_only_when_it_ended_badly(status: int, expected: list[Decision]) -> None:
    first = state(Service("a", oneshot=True), Process.EXITED)
    first.exit_status = status
    assert decisions(first) == expected


def test_what_exited_is_left_to_supervisord_s_autorestart() -> None:
    assert decisions(state(process=Process.EXITED)) == []


# Stopping.


@pytest.mark.parametrize("process", [Process.RUNNING, Process.STARTING, Process.BACKOFF])
def test_what_nobody_wants_is_stopped(process: Process) -> None:
    assert decisions(state(process=process, desired=OFF)) == [Stop("a")]


@pytest.mark.parametrize("process", [Process.STOPPED, Process.EXITED, Process.FATAL])
def test_what_nobody_wants_is_never_revived(process: Process) -> None:
    assert decisions(state(process=process, desired=OFF)) == []


@pytest.mark.parametrize("process", list(Process))
def test_what_is_bound_goes_with_what_it_is_bound_to(process: Process) -> None:
    rack = state(Service("rackd"), process, OFF)
    dhcp = state(Service("dhcpd", binds_to=("rackd",)), Process.RUNNING)
    expected = [] if process.alive else [Unbind("dhcpd", "rackd")]
    assert [each for each in decisions(rack, dhcp) if each != Stop("rackd")] == expected


def test_what_is_bound_goes_although_what_it_is_bound_to_is_back_already() -> None:
    rack = state(Service("rackd"), Process.RUNNING)
    rack.pid = 7
    dhcp = state(Service("dhcpd", binds_to=("rackd",)), Process.RUNNING)
    dhcp.bound = (("rackd", 7),)
    assert decisions(rack, dhcp) == []
    rack.pid = 8
    assert decisions(rack, dhcp) == [Unbind("dhcpd", "rackd")]


def test_what_is_bound_and_off_stays_off() -> None:
    rack = state(Service("rackd"), Process.RUNNING)
    dhcp = state(Service("dhcpd", binds_to=("rackd",)), Process.STOPPED, OFF)
    assert decisions(rack, dhcp) == []


# Healing.


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (Action.IGNORE, []),
        (Action.RESTART, [Heal("a", Rung.RESTART, "it does not answer: no answer")]),
        (Action.SHUTDOWN, [Shutdown(ExitCode.CHECK_GAVE_UP, "a does not answer: no answer")]),
    ],
)
def test_what_stopped_answering_is_treated_as_its_file_says(action: Action, expected: list[Decision]) -> None:
    silent = state(Service("a", check=CHECK, on_check_failure=action), Process.RUNNING)
    silent.health = UNWELL
    assert decisions(silent) == expected


@pytest.mark.parametrize(
    ("reloadable", "answered", "seconds", "before", "expected"),
    [
        (True, 1, 0.1, Rung.RELOAD, Rung.RELOAD),
        (True, 1, CHECK.within, Rung.RELOAD, Rung.RESTART),
        (True, 0, 0.1, Rung.RELOAD, Rung.RESTART),
        (False, 1, 0.1, Rung.RELOAD, Rung.RESTART),
        (True, 1, 0.1, Rung.RESTART, Rung.RESTART),
        (True, 1, 0.1, Rung.RESTART_WITH_DEPENDANTS, Rung.RESTART_WITH_DEPENDANTS),
        (False, 1, 0.1, Rung.GAVE_UP, Rung.GAVE_UP),
    ],
)
def test_what_does_not_answer_is_treated_gently_first(
    reloadable: bool, answered: int, seconds: float, before: Rung, expected: Rung
) -> None:
    service = Service("a", check=CHECK, on_check_failure=Action.RESTART, reloadable=reloadable)
    silent = state(service, Process.RUNNING)
    silent.health = replace(UNWELL, successes=answered, last=Result(False, "no answer", seconds))
    silent.overdue, silent.rung = True, before
    assert decisions(silent) == [Heal("a", expected, "it does not answer: no answer")]


@pytest.mark.parametrize(
    ("health_of_need", "expected"),
    [
        (Health(successes=9, at=50.0), [Heal("web", Rung.RESTART, "it does not answer: no answer")]),
        (Health(successes=9, at=39.0), []),
        (Health(successes=9, failures=1, at=50.0, failing_since=50.0), []),
    ],
    ids=["it answered since", "nobody asked it since", "it has begun to fail as well"],
)
def test_what_may_only_suffer_is_not_restarted_before_that_is_known(
    health_of_need: Health, expected: list[Decision]
) -> None:
    database = state(replace(A, check=CHECK), Process.RUNNING)
    database.health = health_of_need
    web = state(Service("web", requires=("a",), check=CHECK, on_check_failure=Action.RESTART), Process.RUNNING)
    web.health = replace(UNWELL, failing_since=40.0)
    assert decisions(database, web) == expected


def test_what_needs_something_that_is_back_is_given_time_to_find_back() -> None:
    database = state(replace(A, check=CHECK), Process.RUNNING)
    database.health, database.ready_since = Health(successes=9, at=99.0), 80.0
    web = state(Service("web", requires=("a",), check=CHECK, on_check_failure=Action.RESTART), Process.RUNNING)
    web.health = replace(UNWELL, failing_since=40.0)
    assert decisions(database, web, now=109.0) == []
    assert decisions(database, web, now=110.0) == [Heal("web", Rung.RESTART, "it does not answer: no answer")]


def test_restart_waits_for_its_time() -> None:
    silent = state(Service("a", check=CHECK, on_check_failure=Action.RESTART), Process.RUNNING)
    silent.health, silent.heal_at = UNWELL, 101.0
    assert decisions(silent, now=100.0) == []


def test_what_only_suffers_from_another_is_not_restarted() -> None:
    database = state(replace(A, check=CHECK), Process.RUNNING)
    web = state(Service("web", requires=("a",), check=CHECK, on_check_failure=Action.RESTART), Process.RUNNING)
    database.health = web.health = UNWELL
    assert decisions(database, web) == []


# Giving up.


def test_container_ends_when_a_service_that_must_not_fail_fails() -> None:
    failed = state(Service("a", on_failure=Action.SHUTDOWN), Process.FATAL)
    failed.exit = "exited with 3"
    assert decisions(failed) == [Shutdown(ExitCode.SERVICE_GAVE_UP, "a gave up: exited with 3")]


def test_container_ends_when_a_service_that_must_not_fail_failed_too_often() -> None:
    failed = state(Service("a", on_failure=Action.SHUTDOWN), Process.BACKOFF)
    failed.exit = "exited with 3"
    assert decisions(failed) == []
    failed.gave_up = True
    assert decisions(failed) == [Shutdown(ExitCode.SERVICE_GAVE_UP, "a gave up: exited with 3")]


def test_container_ends_when_a_check_that_must_not_fail_fails() -> None:
    check = Service("disk", watched_only=True, check=CHECK, on_check_failure=Action.SHUTDOWN)
    watched = state(check)
    assert decisions(watched) == []
    watched.health = UNWELL
    assert decisions(watched) == [Shutdown(ExitCode.CHECK_GAVE_UP, "disk: no answer")]


def test_check_alone_is_neither_started_nor_stopped() -> None:
    assert decisions(state(Service("disk", watched_only=True, check=CHECK))) == []


@pytest.mark.parametrize(
    ("oneshot", "status", "ends"), [(True, 75, True), (True, 1, False), (True, 0, False), (False, 75, False)]
)
def test_container_ends_when_the_first_steps_found_no_database(oneshot: bool, status: int, ends: bool) -> None:
    first = state(Service("a", oneshot=oneshot), Process.EXITED)
    first.exit_status = status
    codes = [each.code for each in decisions(first) if isinstance(each, Shutdown)]
    assert codes == ([ExitCode.DATABASE_UNAVAILABLE] if ends else [])


# Back-off.


def test_check_that_fails_has_its_remedy_run_again_but_not_at_once_and_for_ever() -> None:
    once = state(Service("once", oneshot=True), Process.EXITED)
    once.exit_status = 0
    check = state(Service("check", watched_only=True, remedy="once", check=CHECK))
    assert decisions(once, check) == []
    check.health = Health(last=Result(False, "changed"), successes=1, failures=1)
    assert decisions(once, check) == [Remedy("check", "once", "check: changed")]
    check.retry_at = 100.5
    assert decisions(once, check) == []
    once.process, check.retry_at = Process.RUNNING, 0.0
    assert decisions(once, check) == []


def test_check_that_is_only_slow_has_no_remedy_run() -> None:
    once = state(Service("once", oneshot=True), Process.EXITED)
    once.exit_status = 0
    check = state(Service("check", watched_only=True, remedy="once", check=CHECK))
    check.health = Health(last=Result(False, "no answer", seconds=CHECK.within + 0.1), successes=1, failures=1)
    assert decisions(once, check) == []
