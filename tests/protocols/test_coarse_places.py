"""Positions and their distances, against floating point."""

from math import cos, radians, sin, sqrt

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocols.coarse_places import EARTH_RADIUS_KM, Position, is_mismatch, measure_km
from protocols.errors import MalformedError

HANOI, SAIGON, BERLIN = Position(210, 1_058), Position(108, 1_067), Position(525, 134)

positions = st.builds(Position, st.integers(-900, 900), st.integers(-1_800, 1_800))


def exact_km(first: Position, second: Position) -> float:
    def point(each: Position) -> tuple[float, float, float]:
        lat, lon = radians(each.lat_tenths / 10), radians(each.lon_tenths / 10)
        return cos(lat) * cos(lon), cos(lat) * sin(lon), sin(lat)

    gap = zip(point(first), point(second), strict=True)
    return EARTH_RADIUS_KM * sqrt(sum((one - other) ** 2 for one, other in gap))


@given(positions, positions)
@example(Position(0, -1_800), Position(0, 1_800))
@example(Position(900, 0), Position(-900, 0))
def test_distances_are_right_to_a_half_percent(first: Position, second: Position) -> None:
    assert abs(measure_km(first, second) - exact_km(first, second)) < 40
    assert measure_km(first, second) == measure_km(second, first)


def test_known_distances() -> None:
    assert measure_km(HANOI, HANOI) == 0
    assert 1_120 < measure_km(HANOI, SAIGON) < 1_150
    assert 7_650 < measure_km(HANOI, BERLIN) < 7_800


def test_a_mismatch_is_told_only_where_it_can_be() -> None:
    assert is_mismatch(HANOI, None, 0, "VN") is None
    assert is_mismatch(HANOI, BERLIN, 500, "VN") is True
    assert is_mismatch(HANOI, BERLIN, 6_000, "VN") is False
    assert is_mismatch(HANOI, SAIGON, 0, "VN") is False
    # New York and Los Angeles are in one country, New York and Berlin in no country of that size.
    assert is_mismatch(Position(407, -740), Position(341, -1_182), 0, "US") is False
    assert is_mismatch(Position(407, -740), Position(341, -1_182), 0, "VN") is True


@pytest.mark.parametrize(("lat", "lon"), [(901, 0), (-901, 0), (0, 1_801), (0, -1_801)])
def test_what_is_no_position(lat: int, lon: int) -> None:
    with pytest.raises(MalformedError, match="not a position"):
        Position(lat, lon)
