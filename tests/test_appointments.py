"""What is due at about the same time is done at the same time."""

from __future__ import annotations

import random

import pytest

from maas_init.listen.appointments import EARLIEST, JITTER, LATEST, Appointments

EVERY = 4.0


@pytest.fixture(autouse=True)
def _the_same_chance_each_time() -> None:
    random.seed(1)


def test_who_comes_alone_keeps_his_pace_within_the_jitter() -> None:
    appointments, now = Appointments(), 0.0
    waits = []
    for _ in range(200):
        waits.append(appointments.wait(EVERY, now))
        now += waits[-1]
    assert min(waits) >= EVERY * (1 - JITTER)
    assert max(waits) <= EVERY * (1 + JITTER)
    assert max(waits) - min(waits) > EVERY * JITTER / 2, "two containers that began together would stay together"


def test_those_with_the_same_pace_find_each_other_wherever_they_began() -> None:
    appointments = Appointments()
    due = {f"service{number}": number * EVERY / 13 for number in range(13)}
    for _ in range(13 * 50):
        name = min(due, key=lambda each: due[each])
        wait = appointments.wait(EVERY, due[name])
        assert EARLIEST * EVERY <= wait <= LATEST * EVERY
        due[name] += wait
    moments = {round(at, 3) for at in due.values()}
    # Those that have been asked this round and those that have not.
    assert len(moments) <= 2, moments


def test_who_asks_often_joins_those_who_ask_seldom() -> None:
    appointments = Appointments()
    due = {"often": (0.0, EVERY), "seldom": (2.0, 2 * EVERY)}
    moments: dict[str, set[float]] = {name: set() for name in due}
    for _ in range(150):
        name = min(due, key=lambda each: due[each])
        at, every = due[name]
        moments[name].add(round(at, 3))
        due[name] = (at + appointments.wait(every, at), every)
    # Who asks often finds the other's appointment when it comes near.
    assert len(moments["seldom"] & moments["often"]) >= 5, len(moments["seldom"])


def test_nobody_is_made_to_wait_for_what_is_over() -> None:
    appointments = Appointments()
    first = appointments.wait(EVERY, 0.0)
    assert appointments.wait(EVERY, first) > 0
    assert appointments.wait(EVERY, 1000.0) <= LATEST * EVERY
