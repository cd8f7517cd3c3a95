"""Uptime as it is drawn."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import LocalError
from protocols.types import TimeMs
from protocols.uptime import Stretch, clip, merge
from protocols.uptime_display import join_nearest


def stretch(start: int, end: int) -> Stretch:
    return Stretch(TimeMs(start), TimeMs(end))


def test_the_shortest_gaps_are_joined() -> None:
    day = [stretch(0, 10), stretch(12, 20), stretch(21, 30), stretch(50, 60)]
    assert join_nearest(day, 4) == tuple(day)
    assert join_nearest(day, 3) == (stretch(0, 10), stretch(12, 30), stretch(50, 60))
    assert join_nearest(day, 1) == (stretch(0, 60),)
    assert join_nearest([], 1) == ()


def test_no_room_at_all_is_a_mistake() -> None:
    with pytest.raises(LocalError, match="0 stretches"):
        join_nearest([], 0)


stretches = st.builds(
    lambda start, length: stretch(start, start + length), st.integers(0, 500), st.integers(1, 30)
)


@given(st.lists(stretches, max_size=40), st.integers(1, 12))
def test_all_uptime_is_drawn_within_its_bounds(day: list[Stretch], most: int) -> None:
    drawn = join_nearest(day, most)
    assert len(drawn) == min(most, len(merge(day)))
    assert merge(drawn) == drawn
    for each in merge(day):
        assert clip(drawn, each.start_ms, each.end_ms) == (each,)
