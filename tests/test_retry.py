from __future__ import annotations

import pytest

from maas_init.retry import BUDGET, LONGEST, SETTLED, WINDOW, Failures, delay


def test_first_try_comes_at_once_four_soon_and_then_each_twice_as_late_up_to_half_a_minute() -> None:
    assert [delay(failures) for failures in range(7)] == [0, 0, 0.1, 0.1, 0.1, 0.1, 0.2]
    assert [delay(failures) for failures in (10, 13, 14, 10_000_000)] == [3.2, 25.6, 30, 30]


@pytest.mark.parametrize(("chance", "seconds"), [(0.0, 0.075), (0.5, 0.1), (1.0, 0.125)])
def test_delay_is_a_little_shorter_or_longer_by_chance(chance: float, seconds: float) -> None:
    failures = Failures()
    for _ in range(3):
        failures.add(1.0)
    assert failures.delay(1.0, chance) == pytest.approx(seconds)


def test_what_ran_for_long_is_tried_at_once_again() -> None:
    failures = Failures()
    for _ in range(4):
        failures.add(1.0)
    failures.add(100.0, ran_for=SETTLED)
    assert failures.in_a_row == 1
    assert failures.delay(100.0, 0.5) == 0


def test_budget_counts_failures_that_are_far_apart_too() -> None:
    failures = Failures()
    for number in range(BUDGET):
        assert not failures.gave_up(number * 20.0)
        failures.add(number * 20.0, ran_for=15.0)
    now = (BUDGET - 1) * 20.0
    assert failures.gave_up(now)
    assert failures.delay(now, 0.5) == LONGEST
    assert not failures.gave_up(WINDOW), "a try that lasts closes the matter"


def test_many_in_a_row_use_up_the_budget_too_and_the_delay_still_grows() -> None:
    failures = Failures()
    for _ in range(BUDGET):
        assert not failures.gave_up(0.0)
        failures.add(0.0)
    assert failures.gave_up(0.0)
    assert failures.delay(0.0, 0.5) == delay(BUDGET) < LONGEST


def test_who_asks_anew_gets_a_new_budget() -> None:
    failures = Failures()
    for _ in range(BUDGET):
        failures.add(0.0)
    failures.forget()
    failures.add(1.0)
    assert failures.delay(1.0, 0.5) == 0
    assert not failures.gave_up(1.0)
