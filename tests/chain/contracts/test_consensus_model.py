"""Consensus against protocols.reports and protocols.committee, the rules that nodes go by."""

import random
from dataclasses import dataclass

import boa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.committee import compute_committee
from protocols.lanes import pack_words, unpack_words
from protocols.reports import (
    Agreement,
    Report,
    agree,
    compute_domain_separator,
    compute_report_digest,
    compute_weight,
)
from protocols.signing import sign_digest
from protocols.types import Digest, Epoch, Shard, Wallet
from tests.chain.contracts import world
from tests.chain.contracts.reference import LANES, MAX_SCORE
from tests.chain.contracts.snapshots import Snapshot
from tests.chain.contracts.world import World

EPOCH = Epoch(1)
SHARD = Shard(0)


@dataclass(frozen=True)
class Setting:
    """A network: its committee, how strict it is, and how much of the shard is in use."""

    seats: int
    tolerance_shift: int
    providers: int


SETTINGS = [
    Setting(4, 4, 256),
    Setting(5, 1, 17),
    Setting(6, 14, 1),
    Setting(7, 4, 200),
    Setting(8, 2, 255),
    Setting(9, 8, 64),
    Setting(10, 4, 3),
    Setting(11, 4, 256),
]


def units(checker: int) -> int:
    """Stake units of a checker: all different, one of them as many as count."""
    return 2**15 - 1 if checker == 3 else 2 + 5 * checker


@pytest.fixture(
    scope="module", params=SETTINGS, ids=lambda setting: f"k{setting.seats}-{setting.providers}"
)
def case(request: pytest.FixtureRequest) -> tuple[Setting, Snapshot]:
    setting: Setting = request.param
    net = world.build(seats=setting.seats)
    net.consensus = world.deployer("Consensus").deploy(
        net.registry,
        net.beacon,
        setting.seats,
        world.GRACE_SECONDS,
        setting.tolerance_shift,
        world.RING,
    )
    for checker in range(setting.seats + 2):
        # Half a unit more than whole units: only whole ones count.
        stake = units(checker) * world.UNIT + world.UNIT // 2
        net.register("checker", f"checker {checker}", stake)
    net.populate(checkers=0, providers=setting.providers)
    net.enter(EPOCH)
    return setting, Snapshot.of(net)


def random_scores(
    rng: random.Random, setting: Setting, style: str, count: int
) -> list[tuple[int, ...]]:
    """Vectors of `count` reports, more or less in agreement; lanes without provider mostly 0."""
    base = [rng.randint(0, MAX_SCORE) for _ in range(LANES)]
    vectors = []
    for _ in range(count):
        liar = rng.random() < 0.3
        vector = []
        for lane, m in enumerate(base):
            slack = m >> (1 + setting.tolerance_shift)
            if style == "absent":
                score = rng.choice([0, 0, m])
            elif style == "edges":
                # Halves at and just beyond the tolerance, so the lowest bit must not matter.
                half = (m >> 1) + rng.choice([-1, 0, 0, 0, 1]) * (slack + rng.randint(0, 1))
                score = 2 * half + rng.randint(0, 1)
            elif style == "extremes":
                score = rng.choice([0, 1, 2, MAX_SCORE - 1, MAX_SCORE, m])
            elif liar:
                score = rng.randint(0, MAX_SCORE)
            else:
                score = m + rng.randint(-slack, slack)
            score = min(max(score, 0), MAX_SCORE)
            vector.append(score if lane < setting.providers else 0)
        # One report may score a lane without provider; the majority must not.
        if len(vectors) == 1 and liar and setting.providers < LANES:
            vector[rng.randrange(setting.providers, LANES)] = 77
        vectors.append(tuple(vector))
    return vectors


def random_bitmap(rng: random.Random, density: float) -> int:
    return sum(1 << lane for lane in range(LANES) if rng.random() < density)


def submit(
    net: World, reports: dict[int, Report], members: tuple[int, ...], agreement: Agreement
) -> None:
    """Send the bundle as a node does: words, digests and signatures by protocols."""

    def blocks(scores: tuple[int, ...]) -> list[tuple[int, ...]]:
        words = pack_words(scores)
        return [words[i : i + 4] for i in range(0, 16, 4)]

    address = Wallet(bytes.fromhex(net.consensus.address.removeprefix("0x")))
    domain = compute_domain_separator(boa.env.evm.patch.chain_id, address)
    encoded = []
    for seat, report in reports.items():
        key = world.private_key(net.checkers[members[seat]]).to_bytes()
        signature = sign_digest(key, compute_report_digest(domain, report))
        s = int.from_bytes(signature[32:64], "big")
        encoded.append(
            (
                seat,
                blocks(report.scores),
                report.online,
                report.fraud,
                report.evidence,
                signature[:32],
                s | (signature[64] - 27) << 255,
            )
        )
    net.consensus.submit(EPOCH, SHARD, blocks(agreement.medians), encoded)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**64),
    style=st.sampled_from(["close", "absent", "edges", "extremes"]),
    online=st.sampled_from([0.0, 0.5, 0.9, 1.0]),
    fraud=st.sampled_from([0.0, 0.0, 0.01, 0.5, 1.0]),
    absent_seats=st.integers(0, 11),
)
def test_bundle_equals_what_the_nodes_compute(
    case: tuple[Setting, Snapshot],
    seed: int,
    style: str,
    online: float,
    fraud: float,
    absent_seats: int,
) -> None:
    setting, snapshot = case
    net = snapshot.resume()
    rng = random.Random(seed)
    k = setting.seats
    members = compute_committee(net.beacon.seed(EPOCH), SHARD, k + 2, k)
    quorum = -(-2 * k // 3)
    count = max(quorum, k - absent_seats)
    seats = rng.sample(range(k), count)
    reports = {
        seat: Report(
            EPOCH,
            SHARD,
            scores,
            random_bitmap(rng, online),
            random_bitmap(rng, fraud) if rng.random() < 0.8 else 0,
            Digest(rng.randbytes(32)),
        )
        for seat, scores in zip(seats, random_scores(rng, setting, style, count), strict=True)
    }
    agreement = agree(list(reports.values()), setting.tolerance_shift)
    weights = {
        seat: compute_weight(deviations, setting.providers)
        for seat, deviations in zip(reports, agreement.deviations, strict=True)
    }
    submit(net, reports, members, agreement)
    (event,) = net.consensus.get_logs()

    reported = sum(1 << seat for seat in reports)
    checkers = sum(members[seat] << 16 * seat for seat in reports)
    stakes = sum(units(members[seat]) << 16 * seat for seat in reports)
    deviations = sum(
        count << 9 * seat for seat, count in zip(reports, agreement.deviations, strict=True)
    )
    provider_total = sum(agreement.scores)
    checker_total = sum(weights[seat] * units(members[seat]) for seat in reports)

    consensus = net.consensus
    assert consensus.has_bundle(EPOCH, SHARD)
    assert unpack_words(consensus.scores(EPOCH, SHARD)) == agreement.scores
    assert consensus.totals(EPOCH) == (provider_total, checker_total)
    bundle = consensus.bundle(EPOCH, SHARD)
    assert bundle.reported == event.reported == reported
    assert bundle.checkers == event.checkers == checkers
    assert bundle.units == event.units == stakes
    assert bundle.deviations == event.deviations == deviations
    assert bundle.online == event.online == agreement.online
    assert bundle.fraud == event.fraud == agreement.fraud
    assert bundle.lanes == setting.providers
    assert (event.epoch, event.shard, event.total) == (EPOCH, SHARD, provider_total)
    for seat in range(16):
        expected = (0, 0, 0, 0)
        if seat in reports:
            expected = (members[seat], weights[seat], units(members[seat]), checker_total)
        assert net.checker_share(EPOCH, SHARD, seat) == expected
    for lane in rng.sample(range(LANES), 8):
        share = net.provider_share(EPOCH, lane)
        assert share == (agreement.scores[lane], provider_total)


def test_totals_add_up_over_the_shards() -> None:
    net = world.build(seats=4)
    net.populate(checkers=6, providers=2 * LANES + 3)
    net.enter(EPOCH)
    expected_providers = expected_checkers = 0
    for shard, lanes_in_use in ((2, 3), (0, LANES), (1, LANES)):
        members = compute_committee(net.beacon.seed(EPOCH), Shard(shard), 6, 4)
        assert tuple(net.consensus.committee(EPOCH, shard)) == members
        vectors = [[shard * 1_000 + 7] * lanes_in_use + [0] * (LANES - lanes_in_use)] * 4
        net.submit(net.reports(vectors, EPOCH, shard), EPOCH, shard)
        expected_providers += lanes_in_use * (shard * 1_000 + 7)
        expected_checkers += 4 * lanes_in_use * 10
        assert net.consensus.totals(EPOCH) == (expected_providers, expected_checkers)
        assert net.consensus.bundle(EPOCH, shard).lanes == lanes_in_use
    assert net.provider_share(EPOCH, 2 * LANES + 2)[0] == 2_007
    assert net.provider_share(EPOCH, LANES - 1)[0] == 7
    assert net.provider_share(EPOCH, LANES)[0] == 1_007


def test_ring_forgets_after_its_epochs() -> None:
    net = world.build(seats=4)
    net.populate(checkers=4, providers=2)
    for epoch in range(1, world.RING + 3):
        net.enter(epoch)
        # Fraud in odd epochs only: what an even one overwrites must not shine through.
        reports = [
            world.change(report, fraud=epoch % 2)
            for report in net.reports([world.lanes(epoch, 10 * epoch)] * 4, epoch)
        ]
        net.submit(reports, epoch)
        oldest = max(1, epoch - world.RING + 1)
        for kept in range(oldest, epoch + 1):
            scores = [0, 10 * kept] if kept % 2 else [kept, 10 * kept]
            assert unpack_words(net.consensus.scores(kept, 0))[:2] == tuple(scores)
            assert net.consensus.bundle(kept, 0).fraud == kept % 2
            assert net.consensus.totals(kept)[0] == sum(scores)
        for gone in range(oldest):
            assert not net.consensus.has_bundle(gone, 0)
            with boa.reverts("consensus: no bundle"):
                net.consensus.scores(gone, 0)
            with boa.reverts("consensus: no bundle"):
                net.consensus.bundle(gone, 0)
            assert net.consensus.totals(gone) == (0, 0)
            assert net.provider_share(gone, 0) == (0, 0)
            assert net.checker_share(gone, 0, 0) == (0, 0, 0, 0)


def test_ring_after_epochs_without_bundles() -> None:
    net = world.build(seats=4)
    net.populate(checkers=4, providers=2)
    net.enter(1)
    net.submit(net.reports([world.lanes(5)] * 4, 1), 1)
    later = 1 + world.RING
    net.enter(later)
    # The place in the ring still holds epoch 1, and must not pass for the present.
    assert not net.consensus.has_bundle(later, 0)
    assert net.consensus.totals(later) == (0, 0)
    assert net.provider_share(later, 0) == (0, 0)
    net.submit(net.reports([world.lanes(6)] * 4, later), later)
    assert net.consensus.totals(later)[0] == 6
    assert not net.consensus.has_bundle(1, 0)


@settings(max_examples=15)
@given(
    seats=st.integers(1, 16),
    arrivals=st.lists(st.integers(0, 9), min_size=1, max_size=4),
    shards=st.lists(st.integers(0, 2**24), min_size=1, max_size=4),
)
def test_committee_equals_what_the_nodes_draw(
    seats: int, arrivals: list[int], shards: list[int]
) -> None:
    net = world.build(seats=seats)
    slots = [0]
    for epoch, newcomers in enumerate(arrivals):
        net.enter(epoch)
        for _ in range(newcomers):
            net.register("checker", f"checker {len(net.checkers)}")
        slots.append(len(net.checkers))
        # What registers in an epoch does not change its committees, nor those of the one before.
        for judged in range(max(0, epoch - 1), epoch + 1):
            for shard in shards:
                drawn = compute_committee(
                    net.beacon.seed(judged), Shard(shard), slots[judged], seats
                )
                assert tuple(net.consensus.committee(judged, shard)) == drawn
                assert len(set(drawn)) == min(seats, slots[judged])
    with boa.reverts():
        net.consensus.committee(len(arrivals), 0)
    if len(arrivals) > 2:
        with boa.reverts():
            net.consensus.committee(len(arrivals) - 3, 0)
