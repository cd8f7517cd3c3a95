"""The bit tricks and the draw, each against a plain reimplementation."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.chain.contracts import reference
from tests.chain.contracts.world import deployer

WORDS = st.integers(0, 2**256 - 1)


@pytest.fixture(scope="module")
def harness() -> Any:
    return deployer("LanesHarness").deploy()


@given(bits=st.integers(0, 2**16 - 1))
@settings(max_examples=60)
def test_spread_puts_each_bit_into_its_lane(harness: Any, bits: int) -> None:
    expected = sum((bits >> lane & 1) << 16 * lane for lane in range(16))
    assert harness.spread(bits) == expected


@pytest.mark.parametrize("bit", range(16))
def test_spread_of_single_bits(harness: Any, bit: int) -> None:
    assert harness.spread(1 << bit) == 1 << 16 * bit


@given(halves=st.lists(st.integers(0, 2**19), min_size=8, max_size=8))
@settings(max_examples=30)
def test_sum_wide_adds_eight_lanes(harness: Any, halves: list[int]) -> None:
    assert harness.sum_wide(sum(v << 32 * i for i, v in enumerate(halves))) == sum(halves)


@given(bitmaps=st.lists(WORDS, min_size=1, max_size=16))
@settings(max_examples=60)
def test_majority(harness: Any, bitmaps: list[int]) -> None:
    assert harness.majority(bitmaps, len(bitmaps)) == reference.majority(bitmaps)


@pytest.mark.parametrize("count", range(1, 17))
def test_majority_is_more_than_half(harness: Any, count: int) -> None:
    # Bit b is set in b of the bitmaps.
    bitmaps = [sum(1 << votes for votes in range(j + 1, count + 1)) for j in range(count)]
    expected = sum(1 << votes for votes in range(count + 1) if 2 * votes > count)
    assert harness.majority(bitmaps, count) == expected


@given(bitmaps=st.lists(WORDS, max_size=8), empty=st.integers(0, 8))
@settings(max_examples=30)
def test_majority_counts_bitmaps_that_are_left_out_as_zero(
    harness: Any, bitmaps: list[int], empty: int
) -> None:
    count = len(bitmaps) + empty
    if count:
        expected = reference.majority([*bitmaps, *[0] * empty])
        assert harness.majority(bitmaps, count) == expected


@given(
    seed=st.binary(min_size=32, max_size=32),
    shard=st.integers(0, 2**24 - 1),
    slots=st.one_of(st.integers(1, 40), st.integers(1, 2**15)),
    seats=st.integers(1, 16),
)
@settings(max_examples=100)
def test_members_follow_the_formula(
    harness: Any, seed: bytes, shard: int, slots: int, seats: int
) -> None:
    drawn = harness.members(seed, shard, slots, seats)
    assert drawn == reference.committee(seed, shard, slots, seats)
    assert len(set(drawn)) == min(seats, slots), "seats are distinct"
    assert all(index < slots for index in drawn)
