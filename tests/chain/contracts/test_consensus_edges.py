"""Where random bundles rarely go: the smallest and largest committees, the ends of tolerance and of
weight, fraud in single lanes, words that are kept from an older bundle, and settings out of range.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import boa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.chain.contracts import reference
from tests.chain.contracts.reference import LANES, MAX_SCORE
from tests.chain.contracts.world import (
    RING,
    TOLERANCE_SHIFT,
    Report,
    World,
    build,
    change,
    deployer,
    lanes,
    wallet,
)

NOT_MEDIAN = "consensus: not the median"
ALL_ONLINE = 2**LANES - 1


def spoil(medians: Sequence[int], lane: int, score: int) -> list[int]:
    return [*medians[:lane], score, *medians[lane + 1 :]]


def assert_kept(world: World, reports: Sequence[Report], epoch: int, shard: int, used: int) -> None:
    """The ring and the event hold what the model says of these reports."""
    (event,) = world.consensus.get_logs()
    medians = reference.low_medians([report.scores for report in reports])
    fraud = reference.majority([report.fraud for report in reports])
    online = reference.majority([report.online for report in reports])
    scores = reference.without_fraud(medians, fraud)
    members = world.committee(epoch, shard)
    reported = deviations = checkers = units = 0
    for report in reports:
        deviating = reference.deviations(report.scores, medians, TOLERANCE_SHIFT)
        reported |= 1 << report.seat
        deviations |= deviating << 9 * report.seat
        checkers |= members[report.seat] << 16 * report.seat
        share = world.checker_share(epoch, shard, report.seat)
        assert share[0] == members[report.seat]
        assert share[1] == reference.weight(used, deviating)
        assert share[2] == 10, "everybody has ten units"
        units |= 10 << 16 * report.seat
    expected = (reported, deviations, used, online, fraud, checkers, units)
    assert tuple(world.consensus.bundle(epoch, shard)) == expected
    assert list(world.consensus.scores(epoch, shard)) == reference.pack(scores)
    assert (event.epoch, event.shard, event.total) == (epoch, shard, sum(scores))
    assert (event.reported, event.deviations, event.checkers) == (reported, deviations, checkers)
    assert (event.online, event.fraud, event.units) == (online, fraud, units)


def weighted(reports: Sequence[Report], used: int) -> int:
    """What a bundle adds to the checkers' total; everybody has ten units."""
    medians = reference.low_medians([report.scores for report in reports])
    return sum(
        10 * reference.weight(used, reference.deviations(r.scores, medians, TOLERANCE_SHIFT))
        for r in reports
    )


# -- the model


@st.composite
def bundles(draw: st.DrawFn) -> tuple[int, int, list[dict[str, Any]]]:
    """Seats of the committee, a shard, and reports of a quorum or more of the seats."""
    seats = draw(st.sampled_from([1, 2, 3, 16, 16]))
    quorum = -(-2 * seats // 3)
    count = draw(st.integers(quorum, seats))
    chosen = draw(st.permutations(range(seats)))[:count]
    random = draw(st.randoms(use_true_random=False))
    shard = draw(st.sampled_from([0, 0, 1]))
    used = (LANES, 44)[shard]
    kind = draw(st.sampled_from(["any", "near", "edge", "same", "small"]))
    true = [random.randrange(MAX_SCORE + 1) for _ in range(used)]

    def score(lane: int) -> int:
        if kind == "any":
            return random.randrange(MAX_SCORE + 1)
        if kind == "near":
            near = round(true[lane] * random.uniform(0.9, 1.1))
            return min(near, MAX_SCORE)
        if kind == "edge":
            return random.choice((0, 1, 2, MAX_SCORE - 1, MAX_SCORE, 2**14 - 1, 2**14))
        if kind == "small":
            return random.randrange(8)
        return true[lane]

    maps = st.one_of(st.just(0), st.just(ALL_ONLINE), st.integers(0, ALL_ONLINE), st.integers(0, 3))
    return (
        seats,
        shard,
        [
            {
                "seat": seat,
                "scores": lanes(*(score(lane) for lane in range(used))),
                "online": draw(maps),
                "fraud": draw(maps),
                "evidence": random.randbytes(32),
            }
            for seat in chosen
        ],
    )


@given(bundle=bundles(), lane=st.integers(0, 43), step=st.sampled_from([-1, 1, 16, -256]))
# titanoboa's plugin undoes each example on the chain; the test changes nothing else.
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_smallest_and_largest_committees(
    network: World,
    with_seats: Callable[[int], World],
    bundle: tuple[int, int, list[dict[str, Any]]],
    lane: int,
    step: int,
) -> None:
    seats, shard, raw = bundle
    world = with_seats(seats)
    used = (LANES, 44)[shard]
    members = world.committee(1, shard)
    assert list(world.consensus.committee(1, shard)) == members
    reports = [Report(signer=world.checkers[members[r["seat"]]], **r) for r in raw]
    encoded = [world.encode(report, 1, shard) for report in reports]
    medians = reference.low_medians([report.scores for report in reports])
    wrong = medians[lane] + step
    if 0 <= wrong <= MAX_SCORE:
        with boa.reverts(NOT_MEDIAN):
            world.submit(reports, 1, shard, spoil(medians, lane, wrong), encoded=encoded)
    world.submit(reports, 1, shard, encoded=encoded)
    assert_kept(world, reports, 1, shard, used)
    scores = reference.unpack(world.consensus.scores(1, shard))
    assert world.consensus.totals(1) == (sum(scores), weighted(reports, used))
    first = 256 * shard
    assert world.provider_share(1, first + lane) == (scores[lane], sum(scores))


@pytest.mark.parametrize("shift", [1, 2, 5, 14])
def test_tolerance(network: World, shift: int) -> None:
    """Each score at and just beyond both ends of what agrees, over medians of every size."""
    other = deployer("Consensus").deploy(network.registry, network.beacon, 3, 0, shift, RING)
    world = replace(network, consensus=other, seats=3)
    middle = [round(MAX_SCORE * lane / 255) for lane in range(LANES)]
    tested = []
    for lane, median in enumerate(middle):
        half, t = median // 2, median // 2 ** (1 + shift)
        ends = [2 * (half - t) - 1, 2 * (half - t), 2 * (half + t) + 1, 2 * (half + t) + 2]
        tested.append(min(max(ends[lane % 4], 0), MAX_SCORE))
    reports = world.reports([tested, middle, middle], 1)
    world.submit(reports, 1)
    expected = reference.deviations(tested, middle, shift)
    assert 0 < expected < LANES
    assert world.consensus.bundle(1, 0).deviations == expected


# -- weights


@pytest.mark.parametrize(
    ("deviating", "weight"), [(0, 44), (1, 43), (21, 23), (22, 22), (23, 0), (44, 0)]
)
def test_weight_falls_to_a_half_and_then_to_nothing(
    network: World, deviating: int, weight: int
) -> None:
    good = lanes(*[1_000] * 44)
    bad = lanes(*[3_000] * deviating, *[1_000] * (44 - deviating))
    reports = network.reports([good, bad, good], 1, shard=1)
    network.submit(reports, 1, shard=1)
    assert network.checker_share(1, 1, 1)[1] == weight
    assert network.consensus.totals(1) == (44_000, 10 * (44 + 44 + weight))


def test_scores_in_empty_lanes_deviate(network: World) -> None:
    good = lanes(*[1_000] * 44)
    noisy = lanes(*[1_000] * 44, *[9] * 212)
    reports = network.reports([good, noisy, good], 1, shard=1)
    network.submit(reports, 1, shard=1)
    assert network.consensus.bundle(1, 1).deviations >> 9 == 212
    assert network.checker_share(1, 1, 1)[1] == 0


def test_all_lanes_deviate(network: World) -> None:
    """256 deviations need the ninth bit."""
    good, bad = [100] * LANES, [30_000] * LANES
    network.submit(network.reports([good, bad, good], 1), 1)
    assert network.consensus.bundle(1, 0).deviations >> 9 == 256
    assert network.checker_share(1, 0, 1)[1] == 0


def test_seat_that_did_not_report_has_no_share(network: World) -> None:
    network.submit(network.reports([[5] * LANES] * 3, 1), 1)
    assert network.checker_share(1, 0, 2)[1] == LANES
    for seat in (3, 4, 15, 16, 2**255):
        assert network.checker_share(1, 0, seat) == (0, 0, 0, 0)
        with boa.reverts("consensus: no report"):
            network.consensus.seat_result(1, 0, seat)


# -- fraud


@pytest.mark.parametrize("lane", [0, 1, 15, 16, 31, 128, 254, 255])
def test_majority_for_fraud_takes_the_score(network: World, lane: int) -> None:
    vector = [100 + i for i in range(LANES)]
    reports = network.reports([vector] * 4, 1)
    reports[0] = change(reports[0], fraud=1 << lane)
    reports[1] = change(reports[1], fraud=1 << lane)
    with boa.env.anchor():
        network.submit(reports, 1)
        assert network.provider_share(1, lane)[0] == vector[lane], "two of four"
        assert network.consensus.bundle(1, 0).fraud == 0
    reports[3] = change(reports[3], fraud=1 << lane)
    network.submit(reports, 1)
    assert_kept(network, reports, 1, 0, LANES)
    assert network.provider_share(1, lane) == (0, sum(vector) - vector[lane])
    assert network.consensus.bundle(1, 0).deviations == 0, "deviations are of what was reported"


def test_old_fraud_map_is_not_read_again(network: World) -> None:
    """The word is overwritten only when there is fraud."""
    marked = [change(report, fraud=0b101) for report in network.reports([[9] * LANES] * 3, 1)]
    network.submit(marked, 1)
    assert network.consensus.bundle(1, 0).fraud == 0b101
    network.enter(5)
    network.submit(network.reports([[9] * LANES] * 3, 5), 5)
    assert network.consensus.bundle(5, 0).fraud == 0


# -- ring and totals


def test_old_second_half_of_a_committee_is_not_read_again(
    network: World, with_seats: Callable[[int], World]
) -> None:
    """Its word is overwritten only when one of its seats reports."""
    world = with_seats(11)
    good, bad = [100] * LANES, [200] * LANES
    world.submit(world.reports([good] * 10 + [bad], 1), 1)
    assert world.consensus.bundle(1, 0).reported == 2**11 - 1
    assert world.consensus.seat_result(1, 0, 10)[1:] == (LANES, LANES)
    world.enter(1 + RING)
    reports = world.reports([good] * 8, 1 + RING)
    world.submit(reports, 1 + RING)
    assert_kept(world, reports, 1 + RING, 0, LANES)
    for epoch in (1, 1 + RING):
        for seat in (8, 9, 10, 15):
            assert world.checker_share(epoch, 0, seat) == (0, 0, 0, 0)
    with boa.reverts("consensus: no report"):
        world.consensus.seat_result(1 + RING, 0, 10)
    with boa.reverts("consensus: no bundle"):
        world.consensus.seat_result(1, 0, 10)


def test_nothing_is_held_of_epoch_0(network: World) -> None:
    assert not network.consensus.has_bundle(0, 0)
    assert network.provider_share(0, 0) == (0, 0)
    assert network.consensus.totals(0) == (0, 0)
    with boa.reverts("consensus: no bundle"):
        network.consensus.bundle(0, 0)


# -- set-up


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"seats": 0}, "consensus: seats out of range"),
        ({"seats": 17}, "consensus: seats out of range"),
        ({"grace": 601}, "consensus: grace exceeds an epoch"),
        ({"tolerance": 0}, "consensus: tolerance out of range"),
        ({"tolerance": 15}, "consensus: tolerance out of range"),
        ({"ring": 3}, "consensus: ring out of range"),
        ({"ring": 225}, "consensus: ring out of range"),
        ({"ring": 8}, "consensus: ring outlives slots"),
        ({"grace": 300}, "consensus: stake leaves before evidence"),
        ({"ring": 5}, "consensus: stake leaves before evidence"),
    ],
)
def test_bad_settings(empty: World, changes: dict[str, int], reason: str) -> None:
    # An unstake delay of 3,300 s: more than five epochs of 600 s and the grace.
    setting = {"seats": 4, "grace": 299, "tolerance": 5, "ring": 4} | changes
    deployer("Consensus").deploy(empty.registry, empty.beacon, 4, 299, 5, 4)
    with boa.reverts(reason):
        deployer("Consensus").deploy(empty.registry, empty.beacon, *setting.values())


def test_contracts_of_different_registries(empty: World) -> None:
    other = build()
    with boa.reverts("consensus: beacon of another registry"):
        deployer("Consensus").deploy(empty.registry, other.beacon, 4, 0, 5, 4)
    with boa.reverts("consensus: registry is not a contract"):
        deployer("Consensus").deploy(wallet("nobody"), other.beacon, 4, 0, 5, 5)
