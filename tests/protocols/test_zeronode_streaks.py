"""Consecutive days of check-ins."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import LocalError
from protocols.zeronode_rules import CHECK_IN_POINTS
from protocols.zeronode_streaks import (
    Streak,
    days_alive,
    extend_streak,
    is_checked_in,
    next_reward,
    reward_of,
)


def test_days_in_a_row_grow_and_a_missed_one_begins_again() -> None:
    first = extend_streak(Streak(), 100)
    assert first == Streak(1, 100)
    assert extend_streak(first, 101) == Streak(2, 101)
    assert extend_streak(first, 102) == Streak(1, 102)
    assert extend_streak(Streak(), 0) == Streak(1, 0)


@pytest.mark.parametrize("day", [0, 99, 100])
def test_the_same_day_and_earlier_ones_change_nothing(day: int) -> None:
    streak = Streak(3, 100)
    assert extend_streak(streak, day) == streak
    assert is_checked_in(streak, day)


def test_a_streak_stands_until_a_whole_day_was_missed() -> None:
    streak = Streak(3, 100)
    assert [days_alive(streak, day) for day in (100, 101, 102)] == [3, 3, 0]
    assert days_alive(Streak(), 5) == 0
    assert not is_checked_in(streak, 101)
    assert not is_checked_in(Streak(), 0)


def test_the_next_reward_is_that_of_the_next_check_in() -> None:
    assert next_reward(Streak(), 100, CHECK_IN_POINTS) == 5
    assert next_reward(Streak(1, 100), 100, CHECK_IN_POINTS) == 10
    assert next_reward(Streak(1, 100), 101, CHECK_IN_POINTS) == 10
    assert next_reward(Streak(1, 100), 102, CHECK_IN_POINTS) == 5
    assert next_reward(Streak(7, 100), 101, CHECK_IN_POINTS) == 5


def test_rewards_repeat_after_the_seventh_day() -> None:
    assert [reward_of(days, CHECK_IN_POINTS) for days in (1, 7, 8, 14, 15)] == [5, 50, 5, 50, 5]


@pytest.mark.parametrize(("days", "rewards"), [(0, (1,)), (-1, (1,)), (1, ())])
def test_no_reward_where_there_is_no_day(days: int, rewards: tuple[int, ...]) -> None:
    with pytest.raises(LocalError, match="nothing is paid"):
        reward_of(days, rewards)


@pytest.mark.parametrize(("days", "last"), [(-1, 5), (0, 5), (1, -1), (1, -2)])
def test_what_is_no_streak(days: int, last: int) -> None:
    with pytest.raises(LocalError, match="no streak"):
        Streak(days, last)


@given(st.lists(st.integers(0, 40), max_size=60))
def test_a_streak_is_what_counting_days_gives(days: list[int]) -> None:
    streak, seen, last = Streak(), set(), -1
    for day in days:
        before = streak
        streak = extend_streak(streak, day)
        if day <= last:
            assert streak == before
            continue
        seen.add(day)
        last = day
        expected = 0
        while day - expected in seen:
            expected += 1
        assert streak == Streak(expected, day)
