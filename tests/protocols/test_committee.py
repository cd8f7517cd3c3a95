"""Committees: the draw, its fairness, and what it costs to capture one."""

import random
from collections import Counter
from functools import cache
from math import comb, isclose
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.committee import compute_committee, compute_transmission_order
from protocols.errors import LocalError
from protocols.hashing import keccak256
from protocols.params import MAX_SEATS
from protocols.types import Digest, Seat, Shard
from tests.vectors.generate import load

DRAWS = load("committee/draws.json")

seeds = st.binary(min_size=32, max_size=32).map(Digest)
shards = st.integers(0, (1 << 32) - 1).map(Shard)
seat_counts = st.integers(1, MAX_SEATS)
slot_counts = st.integers(0, 60) | st.integers(61, 65_535)


def seed_of(number: int) -> Digest:
    """The seed of a numbered trial."""
    return keccak256(b"trial", number.to_bytes(8, "big"))


@pytest.mark.parametrize("case", DRAWS)
def test_vector(case: dict[str, Any]) -> None:
    seed, shard = Digest(bytes.fromhex(case["seed"])), Shard(case["shard"])

    committee = compute_committee(seed, shard, case["checker_slots"], case["seats"])

    assert list(committee) == case["committee"]
    assert (
        list(compute_transmission_order(seed, shard, case["seats"])) == case["transmission_order"]
    )


@given(seeds, shards, slot_counts, seat_counts)
def test_seats_are_distinct_and_exist(seed: Digest, shard: Shard, slots: int, seats: int) -> None:
    committee = compute_committee(seed, shard, slots, seats)

    assert len(committee) == len(set(committee)) == min(seats, slots)
    assert all(0 <= checker < slots for checker in committee)


@given(seeds, shards, seat_counts)
def test_everybody_sits_where_there_are_enough_seats(
    seed: Digest, shard: Shard, seats: int
) -> None:
    for slots in range(1, seats + 1):
        assert set(compute_committee(seed, shard, slots, seats)) == set(range(slots))


@given(seeds, shards, slot_counts, seat_counts)
def test_strata_follow_one_another_around_the_circle(
    seed: Digest, shard: Shard, slots: int, seats: int
) -> None:
    """Seat j is drawn in the j-th arc from the offset on; so the arcs never change places."""
    committee = compute_committee(seed, shard, slots, seats)
    drawn = len(committee)
    offset = _draw(seed, shard, 0xFFFF) % slots if slots else 0
    for seat, checker in enumerate(committee):
        position = (checker - offset) % slots
        assert seat * slots // drawn <= position < (seat + 1) * slots // drawn


@pytest.mark.parametrize("seats", [0, -1, MAX_SEATS + 1])
def test_seats_out_of_range_are_our_own_fault(seats: int) -> None:
    with pytest.raises(LocalError, match="seats"):
        compute_committee(seed_of(0), Shard(0), 5, seats)


def test_nobody_registered_nobody_seated() -> None:
    assert compute_committee(seed_of(0), Shard(0), 0, 11) == ()


@pytest.mark.parametrize(("slots", "seats"), [(12, 4), (13, 4), (23, 11), (40, 11)])
def test_every_checker_is_seated_equally_often(slots: int, seats: int) -> None:
    trials = 3000
    seated = Counter(
        checker
        for trial in range(trials)
        for checker in compute_committee(seed_of(trial), Shard(trial % 7), slots, seats)
    )
    expected = trials * seats / slots

    # Strata make the counts vary less than a multinomial's, so the usual bound holds all the more.
    statistic = sum((seated[each] - expected) ** 2 / expected for each in range(slots))
    assert statistic < _chi_square_bound(slots - 1)
    assert set(seated) == set(range(slots))


def test_every_seat_falls_on_every_checker_equally_often() -> None:
    slots, seats, trials = 10, 4, 4000
    for seat in range(seats):
        seated = Counter(
            compute_committee(seed_of(trial), Shard(3), slots, seats)[seat]
            for trial in range(trials)
        )
        statistic = sum((seated[each] - 400) ** 2 / 400 for each in range(slots))
        assert statistic < _chi_square_bound(slots - 1)


def test_shards_and_epochs_are_drawn_apart() -> None:
    committees = {
        compute_committee(seed_of(epoch), Shard(shard), 100, 11)
        for epoch in range(30)
        for shard in range(30)
    }

    assert len(committees) == 900


CAPTURE_SIZES = [(100, 20, 11), (100, 33, 11), (100, 10, 11), (31, 10, 11), (100, 20, 5)]
"""(checkers, bad ones among them, seats)."""


@pytest.mark.parametrize(("slots", "bad", "seats"), CAPTURE_SIZES)
def test_capture_is_no_likelier_than_the_binomial_says(slots: int, bad: int, seats: int) -> None:
    """Whatever slots the bad ones hold: side by side, spread, at random."""
    claimed = _binomial_tail(seats, bad / slots)
    rng = random.Random(1337)
    placements = [
        frozenset(range(bad)),
        frozenset(index * slots // bad for index in range(bad)),
        *(frozenset(rng.sample(range(slots), bad)) for _ in range(20)),
    ]
    for placement in placements:
        assert len(placement) == bad
        # Spread evenly over equal strata, it is the binomial's but for rounding.
        assert _capture_probability(slots, seats, placement) <= claimed + 1e-12


def test_capture_at_the_defaults_is_as_documented() -> None:
    """params.MAINNET: with 20 % bad checkers of 100, between 0.75 % and 1.2 % for 11 seats."""
    rng = random.Random(1337)
    placements = [frozenset(rng.sample(range(100), 20)) for _ in range(40)]
    average = sum(_capture_probability(100, 11, each) for each in placements) / len(placements)

    assert 0.0075 <= average <= 0.012
    assert isclose(_binomial_tail(11, 0.2), 0.0117, abs_tol=0.0001)


def test_the_draw_captures_as_often_as_computed() -> None:
    """The exact figure above is one of this draw, not of another on paper."""
    bad, trials = frozenset(random.Random(5).sample(range(31), 10)), 20_000
    expected = _capture_probability(31, 11, bad)

    captured = sum(
        2 * len(bad.intersection(compute_committee(seed_of(trial), Shard(0), 31, 11))) > 11
        for trial in range(trials)
    )

    deviation = (trials * expected * (1 - expected)) ** 0.5
    assert abs(captured - trials * expected) < 4 * deviation


@given(seeds, shards, seat_counts)
def test_transmission_order_has_every_seat_once(seed: Digest, shard: Shard, seats: int) -> None:
    order = compute_transmission_order(seed, shard, seats)

    assert sorted(order) == list(range(seats))


def test_every_seat_is_first_to_send_equally_often() -> None:
    first = Counter(
        compute_transmission_order(seed_of(trial), Shard(trial % 5), 11)[0] for trial in range(3300)
    )

    statistic = sum((first[Seat(seat)] - 300) ** 2 / 300 for seat in range(11))
    assert statistic < _chi_square_bound(10)


def test_ranks_and_seats_never_share_a_draw() -> None:
    """The largest shard's words stay below the bit that sets ranks apart."""
    largest_seat_word = ((1 << 32) - 1) << 16 | 0xFFFF

    assert largest_seat_word < 1 << 64


def _draw(seed: Digest, shard: int, word: int) -> int:
    return int.from_bytes(keccak256(seed, (shard << 16 | word).to_bytes(32, "big")), "big")


def _binomial_tail(seats: int, share: float) -> float:
    """Probability that more than half of `seats` independent draws are bad."""
    return sum(
        comb(seats, count) * share**count * (1 - share) ** (seats - count)
        for count in range(seats // 2 + 1, seats + 1)
    )


def _capture_probability(slots: int, seats: int, bad: frozenset[int]) -> float:
    """Exact probability of a bad majority: averaged over the offset, convolved over the strata."""
    return sum(_capture_at(slots, seats, bad, offset) for offset in range(slots)) / slots


def _capture_at(slots: int, seats: int, bad: frozenset[int], offset: int) -> float:
    counts = [1.0] + [0.0] * seats
    for low, high in _strata(slots, seats):
        hits = sum((offset + position) % slots in bad for position in range(low, high))
        share = hits / (high - low)
        counts = [
            counts[held] * (1 - share) + (counts[held - 1] * share if held else 0.0)
            for held in range(seats + 1)
        ]
    return sum(counts[seats // 2 + 1 :])


@cache
def _strata(slots: int, seats: int) -> tuple[tuple[int, int], ...]:
    return tuple((seat * slots // seats, (seat + 1) * slots // seats) for seat in range(seats))


def _chi_square_bound(freedom: int) -> float:
    """Upper 0.1 % point (Wilson and Hilferty's approximation)."""
    spread = 2 / (9 * freedom)
    return float(freedom * (1 - spread + 3.090 * spread**0.5) ** 3)
