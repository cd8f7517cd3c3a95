"""What a leased provider scores: vectors, and that it cannot buy a score from itself."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.epochs import Timeline
from protocols.leased_scores import (
    FRESH_EPOCHS,
    JOB_WEIGHT,
    LeaseUnproved,
    compute_fee_points,
    compute_leased_score,
    require_lease,
)
from protocols.leases import Base, Lease, LeaseState, compute_settlement
from protocols.membership import Member
from protocols.params import MAINNET, MAX_SCORE, PRESETS, TOKEN
from protocols.settlement import compute_schedule, share_pool
from protocols.types import Epoch, NodeKey, Seat, TimeMs, Wallet
from tests.protocols.lease_world import make_lease
from tests.protocols.test_spec import read, rows, section
from tests.vectors.generate import load

SCORES = load("leases/scores.json")

EPOCH = Epoch(SCORES["epoch"])
SEAT = Seat(SCORES["seat"])

TIMELINE = Timeline(
    TimeMs(SCORES["genesis"] * 1000),
    replace(MAINNET, **{name: int(value) for name, value in SCORES["preset"].items()}),
)

PROVIDER = Member(
    index=SCORES["provider"],
    wallet=Wallet(bytes.fromhex(SCORES["wallet"])),
    node_key=NodeKey(bytes(32)),
    stake=0,
    joined=Epoch(0),
    exits=Epoch(2**32 - 1),
)


def lease_of(case: dict[str, Any]) -> Lease | None:
    """The lease that the chain has in a case."""
    shown = case["lease"]
    if shown is None:
        return None
    return make_lease(
        state=LeaseState(shown["state"]),
        provider=shown["provider"],
        provider_wallet=Wallet(bytes.fromhex(shown["provider_wallet"])),
        started_at=shown["started_at"],
        ended_at=shown["ended_at"],
        seconds=shown["seconds"],
        price=int(shown["price"]),
        fee_bps=shown["fee_bps"],
        base=Base(Epoch(shown["base_epoch"]), shown["base_score"], int(shown["base_total"])),
    )


@pytest.mark.parametrize("case", SCORES["cases"], ids=lambda case: case["name"])
def test_vector(case: dict[str, Any]) -> None:
    found = lease_of(case)
    if "reason" in case:
        with pytest.raises(LeaseUnproved) as caught:
            require_lease(found, PROVIDER, EPOCH, SEAT, TIMELINE)
        assert caught.value.reason == case["reason"]
        return

    lease = require_lease(found, PROVIDER, EPOCH, SEAT, TIMELINE)

    assert lease is found
    assert compute_leased_score(lease, EPOCH, TIMELINE) == case["score"]


def test_reasons_are_those_of_the_page() -> None:
    table = rows(section(read("leases.md"), "## A leased provider's score"))

    assert {cells[1].strip("`") for cells in table} == {
        case["reason"] for case in SCORES["cases"] if "reason" in case
    }


def test_numbers_are_those_of_the_page() -> None:
    text = section(read("leases.md"), "## A leased provider's score")

    assert f"e − base.epoch ≤ {FRESH_EPOCHS}, else 0" in text
    assert f"min({MAX_SCORE:,}, max(fresh, min({1 + JOB_WEIGHT} · base.score, fee_points)))" in text


def test_before_the_first_epoch_nothing_was_paid() -> None:
    lease = make_lease(started_at=TIMELINE.genesis_ms // 1000, base=Base(Epoch(0), 0, 0))

    assert compute_fee_points(lease, Epoch(0), TIMELINE) == 0
    assert compute_leased_score(lease, Epoch(0), TIMELINE) == 0


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_the_slack_never_reaches_the_epoch_before(preset: Any) -> None:
    """So the seconds that are counted are over, and no end can change them any more."""
    timeline = Timeline(TimeMs(0), preset)

    assert timeline.slot_start(Epoch(5), Seat(0)) - preset.rank_delay_ms > timeline.start_of(
        Epoch(5)
    )


bases = st.builds(
    Base, st.integers(0, 60).map(Epoch), st.integers(1, MAX_SCORE), st.integers(1, 10**9)
)


@st.composite
def leases(draw: st.DrawFn) -> Lease:
    """Leases that begin some epochs after their base."""
    base = draw(bases)
    base = replace(base, total=max(base.total, base.score))
    start = TIMELINE.start_of(Epoch(base.epoch + 1)) // 1000
    return make_lease(
        provider=PROVIDER.index,
        provider_wallet=PROVIDER.wallet,
        started_at=start + draw(st.integers(0, 4 * 3600)),
        seconds=draw(st.integers(1, 60 * 3600)),
        price=draw(st.integers(0, 10**6) | st.integers(0, 10 * TOKEN)),
        minimum_seconds=1,
        fee_bps=draw(st.integers(0, 1000)),
        base=base,
    )


@given(leases(), st.integers(0, 200).map(Epoch))
def test_a_score_is_within_its_bounds(lease: Lease, epoch: Epoch) -> None:
    score = compute_leased_score(lease, epoch, TIMELINE)
    is_fresh = epoch - lease.base.epoch <= FRESH_EPOCHS

    assert 0 <= score <= min(MAX_SCORE, (1 + JOB_WEIGHT) * lease.base.score)
    assert score >= (lease.base.score if is_fresh else 0)


@given(leases(), st.integers(0, 200).map(Epoch), st.integers(1, 10**18))
def test_a_dearer_lease_never_scores_less(lease: Lease, epoch: Epoch, more: int) -> None:
    dearer = replace(lease, terms=replace(lease.terms, price=lease.terms.price + more))

    assert compute_leased_score(dearer, epoch, TIMELINE) >= compute_leased_score(
        lease, epoch, TIMELINE
    )


def earn(lease: Lease, epochs: range, *, total: int | None = None) -> tuple[int, int]:
    """What a lease earns in the epochs that it excuses, fresh ones and others: of pools by the
    schedule, where all scores come to the total of its base, or another one."""
    preset = TIMELINE.preset
    fresh = beyond = 0
    for number in epochs:
        epoch = Epoch(number)
        try:
            require_lease(lease, PROVIDER, epoch, SEAT, TIMELINE)
        except LeaseUnproved:
            continue
        pool = compute_schedule(preset.provider_pool, epoch, preset)
        score = compute_leased_score(lease, epoch, TIMELINE)
        income = share_pool(pool, score, total or lease.base.total)
        if epoch - lease.base.epoch <= FRESH_EPOCHS:
            fresh += income
        else:
            beyond += income
    return fresh, beyond


@given(leases(), st.integers(0, 60 * 3600))
def test_a_lease_to_oneself_earns_no_more_than_its_fee(lease: Lease, used: int) -> None:
    """Beyond the fresh epochs, whenever it is ended and whatever its price: the price itself comes
    back to the one who paid it."""
    ended_at = min(lease.started_at + used, lease.ends_at)
    ended = replace(lease, ended_at=ended_at, state=LeaseState.SETTLED)
    fee = compute_settlement(lease, ended_at, 0, gone=False).fee

    _, beyond = earn(ended, range(200))

    assert beyond <= fee


@given(leases())
def test_a_fresh_epoch_earns_no_more_than_the_proof_and_the_fee(lease: Lease) -> None:
    fee = compute_settlement(lease, lease.ends_at, 0, gone=False).fee
    preset = TIMELINE.preset
    proved = share_pool(
        compute_schedule(preset.provider_pool, lease.base.epoch, preset),
        lease.base.score,
        lease.base.total,
    )

    fresh, _ = earn(lease, range(200))

    assert fresh <= FRESH_EPOCHS * (proved + 1) + fee


@given(leases(), st.integers(1, 10))
def test_a_network_that_shrinks_pays_its_factor(lease: Lease, factor: int) -> None:
    """The assumption that is left: where all scores together are a part of what they were, a score
    earns as many times more."""
    fee = compute_settlement(lease, lease.ends_at, 0, gone=False).fee
    total = -(-lease.base.total // factor)

    _, beyond = earn(lease, range(200), total=total)

    assert beyond <= factor * fee


@given(leases(), st.integers(1, 10))
def test_ended_and_leased_anew_earns_no_more(lease: Lease, count: int) -> None:
    """Many short leases one after another, each with the base of the one before."""
    fees = beyond = 0
    start = lease.started_at
    for _ in range(count):
        each = replace(lease, started_at=start)
        fees += compute_settlement(each, each.ends_at, 0, gone=False).fee
        beyond += earn(each, range(200))[1]
        start = each.ends_at

    assert beyond <= fees


def test_every_seat_finds_the_same() -> None:
    lease = make_lease(
        provider=PROVIDER.index,
        provider_wallet=PROVIDER.wallet,
        started_at=TIMELINE.start_of(Epoch(EPOCH - 1)) // 1000 + 100,
        seconds=10 * 3600,
        price=TOKEN,
        base=Base(Epoch(EPOCH - 2), 300, 10**6),
    )

    found = {
        compute_leased_score(
            require_lease(lease, PROVIDER, EPOCH, Seat(seat), TIMELINE), EPOCH, TIMELINE
        )
        for seat in range(TIMELINE.preset.seats)
    }

    assert len(found) == 1
