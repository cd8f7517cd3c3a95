"""Claimed medians: Consensus takes the low median of every lane and nothing beside it."""

import random
from collections.abc import Sequence

import boa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.reports import low_median
from tests.chain.contracts import reference, world
from tests.chain.contracts.reference import LANES, MAX_SCORE
from tests.chain.contracts.snapshots import Snapshot
from tests.chain.contracts.world import World

EPOCH = 1
SEATS = 11
WRONG = "consensus: not the median"


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    network = world.build(seats=SEATS)
    network.populate(checkers=SEATS, providers=LANES)
    network.enter(EPOCH)
    return Snapshot.of(network)


def with_seats(net: World, seats: int) -> World:
    """The network with committees of another size, all the eleven checkers in the draw."""
    net.consensus = world.deployer("Consensus").deploy(
        net.registry, net.beacon, seats, world.GRACE_SECONDS, world.TOLERANCE_SHIFT, world.RING
    )
    net.seats = seats
    return net


@pytest.fixture
def net(snapshot: Snapshot) -> World:
    """Eleven checkers for eleven seats and a provider in every lane; EPOCH has just begun."""
    return snapshot.resume()


class Bundle:
    """Reports encoded and signed once, to be submitted with one claim after the other."""

    def __init__(self, net: World, vectors: Sequence[Sequence[int]]) -> None:
        self._net = net
        self._reports = net.reports(vectors, EPOCH)
        self._encoded = [net.encode(report, EPOCH) for report in self._reports]
        columns = zip(*vectors, strict=True)
        self.medians = [low_median(column) for column in columns]

    def claim(self, medians: Sequence[int]) -> None:
        self._net.submit(self._reports, EPOCH, medians=medians, encoded=self._encoded)

    def claim_in_lane(self, lane: int, value: int) -> None:
        self.claim([*self.medians[:lane], value, *self.medians[lane + 1 :]])

    def assert_refused_in_lane(self, lane: int, value: int) -> None:
        with boa.reverts(WRONG):
            self.claim_in_lane(lane, value)

    def assert_accepted(self) -> None:
        with boa.env.anchor():
            self.claim(self.medians)
            stored = self._net.consensus.scores(EPOCH, 0)
            assert reference.unpack(stored) == self.medians


def same_in_all_lanes(column: Sequence[int]) -> list[list[int]]:
    return [[score] * LANES for score in column]


@pytest.mark.parametrize("word", range(16))
def test_off_by_one_in_each_lane(net: World, word: int) -> None:
    """Four reports score m - 1, m, m + 1 and m + 2: the wrong claims are scores, too."""
    with_seats(net, 4)
    shuffle = random.Random(word).sample
    medians = [1 + (lane * 8_191) % (MAX_SCORE - 3) for lane in range(LANES)]
    columns = [shuffle([m - 1, m, m + 1, m + 2], 4) for m in medians]
    bundle = Bundle(net, list(zip(*columns, strict=True)))
    assert bundle.medians == medians
    for lane in range(16 * word, 16 * word + 16):
        bundle.assert_refused_in_lane(lane, medians[lane] - 1)
        bundle.assert_refused_in_lane(lane, medians[lane] + 1)
    bundle.assert_accepted()


# Columns of scores; what the low median of each is, is in the second place.
EVEN = [
    ([1, 2, 3, 4], 2),
    ([4, 3, 2, 1], 2),
    ([0, 0, 9, 9], 0),
    ([9, 9, 9, 0], 9),
    ([0, 5, 5, 9], 5),
    ([7, 7, 7, 7], 7),
    ([0, 0, 0, 0], 0),
    ([0, 0, 1, 1], 0),
    ([0, 1, 1, 1], 1),
    ([MAX_SCORE] * 4, MAX_SCORE),
    ([0, 0, MAX_SCORE, MAX_SCORE], 0),
    ([0, MAX_SCORE, MAX_SCORE, MAX_SCORE], MAX_SCORE),
    ([MAX_SCORE - 1, MAX_SCORE - 1, MAX_SCORE, MAX_SCORE], MAX_SCORE - 1),
    ([1, 2, 3, 4, 5, 6], 3),
    ([6, 5, 4, 3, 2, 1], 3),
    ([0, 0, 0, 8, 8, 8], 0),
    ([0, 0, 8, 8, 8, 8], 8),
    ([3, 3, 3, 3, 3, 3], 3),
    ([0, 2, 4, 6, 8, 10, 12, 14], 6),
    ([0, 0, 0, 0, 1, 1, 1, 1, 1, 1], 1),
    ([0, 0, 0, 0, 0, 1, 1, 1, 1, 1], 0),
]
ODD = [
    ([1, 2, 3], 2),
    ([3, 1, 2], 2),
    ([0, 0, 9], 0),
    ([0, 9, 9], 9),
    ([MAX_SCORE, MAX_SCORE, 0], MAX_SCORE),
    ([5, 4, 3, 2, 1], 3),
    ([0, 0, 1, 1, 1], 1),
    ([1, 1, 1, 1, 1], 1),
    ([0, 1, 2, 3, 4, 5, 6], 3),
    ([0] * 5 + [MAX_SCORE] * 6, MAX_SCORE),
    ([0] * 6 + [MAX_SCORE] * 5, 0),
    ([10, 0, 9, 1, 8, 2, 7, 3, 6, 4, 5], 5),
]


@pytest.mark.parametrize(("column", "median"), EVEN + ODD)
def test_even_and_odd_counts_with_ties_and_extremes(
    net: World, column: list[int], median: int
) -> None:
    count = len(column)
    # The smallest committee whose quorum the reports of this count reach, or are the whole of.
    with_seats(net, min(count, SEATS))
    bundle = Bundle(net, same_in_all_lanes(column))
    assert bundle.medians == [median] * LANES
    bundle.assert_accepted()
    others = {*column, median - 1, median + 1, 0, MAX_SCORE} - {median}
    for claim in sorted(others):
        if 0 <= claim <= MAX_SCORE:
            bundle.assert_refused_in_lane(random.Random(claim).randrange(LANES), claim)


@pytest.mark.parametrize("count", [3, 4, 8, 9, 10, 11])
def test_all_lanes_absent(net: World, count: int) -> None:
    seats = {3: 4, 4: 4}.get(count, SEATS)
    with_seats(net, seats)
    bundle = Bundle(net, same_in_all_lanes([0] * count))
    for lane in (0, 15, 16, 255):
        bundle.assert_refused_in_lane(lane, 1)
        bundle.assert_refused_in_lane(lane, MAX_SCORE)
    bundle.claim(bundle.medians)
    # Nobody deviates from nothing, so the checkers have done their work.
    assert net.consensus.bundle(EPOCH, 0).deviations == 0
    assert net.consensus.totals(EPOCH) == (0, count * LANES * 10)


def test_absent_and_largest_scores_side_by_side(net: World) -> None:
    """A lane that borrowed from or carried into the next one would show here."""
    vectors = [
        [0 if (lane + seat) % 2 else MAX_SCORE for lane in range(LANES)] for seat in range(9)
    ]
    bundle = Bundle(net, vectors)
    assert set(bundle.medians) == {0, MAX_SCORE}
    bundle.assert_accepted()
    for lane in range(0, LANES, 17):
        bundle.assert_refused_in_lane(lane, MAX_SCORE - bundle.medians[lane])
        bundle.assert_refused_in_lane(lane, abs(bundle.medians[lane] - 1))


def test_upper_median_of_an_even_count(net: World) -> None:
    bundle = Bundle(net, same_in_all_lanes([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]))
    with boa.reverts(WRONG):
        bundle.claim([6] * LANES)
    bundle.claim([5] * LANES)


def test_medians_of_one_report_more(net: World) -> None:
    ten = Bundle(net, same_in_all_lanes(range(100, 110)))
    nine = Bundle(net, same_in_all_lanes(range(101, 110)))
    with boa.reverts(WRONG):
        nine.claim(ten.medians)
    nine.assert_accepted()


@settings(max_examples=60)
@given(data=st.data())
def test_any_wrong_claim_is_refused(snapshot: Snapshot, data: st.DataObject) -> None:
    """Random scores, wrong in one lane or several, in ways that could make up for one another."""
    net = snapshot.resume()
    seats = data.draw(st.sampled_from([4, 5, 6, 7, SEATS]), label="seats")
    with_seats(net, seats)
    count = data.draw(st.integers(-(-2 * seats // 3), seats), label="count")
    rng = random.Random(data.draw(st.integers(0, 2**32), label="scores"))
    spread = data.draw(st.sampled_from([0, 1, 3, 1_000, MAX_SCORE]), label="spread")
    base = [rng.randint(0, MAX_SCORE - spread) for _ in range(LANES)]
    vectors = [[m + rng.randint(0, spread) for m in base] for _ in range(count)]
    bundle = Bundle(net, vectors)
    bundle.assert_accepted()
    wrong = data.draw(
        st.dictionaries(st.integers(0, 255), st.sampled_from([-1, 1, -7, 7]), min_size=1),
        label="wrong lanes",
    )
    claim = [
        min(max(m + wrong.get(lane, 0), 0), MAX_SCORE) for lane, m in enumerate(bundle.medians)
    ]
    if claim != bundle.medians:
        with boa.reverts(WRONG):
            bundle.claim(claim)
