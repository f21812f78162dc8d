"""The node's clock follows the database's: never ahead of it, never back."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from understudy.runtime.clock import READING_AGE_MAX_SECONDS, SystemClock

T = datetime(2040, 1, 1, tzinfo=UTC)


class Hand(SystemClock):
    """A system clock whose machine is turned by hand."""

    def __init__(self) -> None:
        self.seconds = 500.0
        super().__init__()

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Hand:
    return Hand()


def after(seconds: float) -> datetime:
    return T + timedelta(seconds=seconds)


def test_the_first_reading_replaces_the_machine_s_own_time(clock: Hand) -> None:
    clock.learn(datetime(2001, 1, 1, tzinfo=UTC))
    assert clock.now() == datetime(2001, 1, 1, tzinfo=UTC)


def test_a_reading_is_extended_by_the_local_clock(clock: Hand) -> None:
    clock.learn(T)
    clock.seconds += 3
    assert clock.now() == after(3)


def test_a_late_reading_does_not_move_time_back(clock: Hand) -> None:
    clock.learn(T)
    clock.seconds += 3
    clock.learn(after(2))
    assert clock.now() == after(3)


def test_a_reading_ahead_of_the_estimate_moves_time_on(clock: Hand) -> None:
    clock.learn(T)
    clock.seconds += 3
    clock.learn(after(3.5))
    assert clock.now() == after(3.5)


def test_a_local_clock_that_runs_fast_is_corrected_before_it_gets_far(clock: Hand) -> None:
    clock.learn(T)
    real = 0.0
    for _ in range(1_000):
        clock.seconds += 1.01
        real += 1
        clock.learn(after(real))
        assert clock.now() <= after(real + READING_AGE_MAX_SECONDS * 0.02)


def test_a_clock_that_was_set_back_stands_until_the_database_has_caught_up(clock: Hand) -> None:
    clock.learn(T)
    clock.seconds += 20
    assert clock.now() == after(20)
    clock.learn(after(-3_600))
    clock.seconds += 60
    assert clock.now() == after(20)
    clock.seconds += 3_600
    assert clock.now() == after(60)


def test_ids_are_of_their_version_and_ordered_ones_grow(clock: Hand) -> None:
    assert clock.new_id().version == 4
    assert clock.new_id(ordered=True).version == 7
    milliseconds = [clock.new_id(ordered=True).int >> 80 for _ in range(100)]
    assert milliseconds == sorted(milliseconds)


def test_draws_lie_in_the_half_open_interval(clock: Hand) -> None:
    draws = [clock.fraction() for _ in range(100)]
    assert all(0 <= draw < 1 for draw in draws)
    assert len(set(draws)) > 90


def test_ids_differ(clock: Hand) -> None:
    ids: set[UUID] = {clock.new_id() for _ in range(100)} | {clock.new_id(ordered=True) for _ in range(100)}
    assert len(ids) == 200
