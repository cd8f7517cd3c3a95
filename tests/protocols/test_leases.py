"""Leases: which step leads where, and that no money comes from or goes to nowhere."""

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from protocols.errors import LocalError
from protocols.leases import (
    BPS,
    TRANSITIONS,
    Lease,
    LeaseAction,
    LeaseRefused,
    LeaseState,
    compute_bond,
    compute_escrow,
    compute_fee,
    compute_overlap,
    compute_settlement,
    require_transition,
)
from tests.protocols.lease_world import LEASE, make_lease
from tests.protocols.test_spec import read, rows, section
from tests.vectors.generate import load

SETTLEMENTS = load("leases/settlements.json")

amounts = st.integers(0, 10**24)
seconds = st.integers(1, 92 * 86_400)
parts = st.integers(0, BPS)


@pytest.mark.parametrize("case", SETTLEMENTS, ids=lambda case: case["name"])
def test_settlement_vector(case: dict[str, Any]) -> None:
    lease = make_lease(
        seconds=case["seconds"],
        price=int(case["price"]),
        minimum_seconds=case["minimum_seconds"],
        fee_bps=case["fee_bps"],
        bond=int(case["bond"]),
        started_at=case["started_at"],
        ended_by_provider=case["ended_by_provider"],
    )
    expected = {name: int(value) for name, value in case["settled"].items()}

    settled = compute_settlement(lease, case["ended_at"], case["away"], gone=case["gone"])

    assert compute_escrow(lease.seconds, lease.terms) == expected.pop("escrow")
    assert {name: getattr(settled, name) for name in expected} == expected


@st.composite
def ended_leases(draw: st.DrawFn) -> tuple[Lease, int, int, bool]:
    """A lease, when it ended, its seconds away, and whether it was gone at the end."""
    opened = draw(seconds)
    price = draw(amounts)
    lease = make_lease(
        seconds=opened + draw(st.integers(0, 10**6)),
        price=price,
        minimum_seconds=draw(st.integers(1, opened)),
        fee_bps=draw(parts),
        bond=compute_bond(opened, price, draw(parts)),
        ended_by_provider=draw(st.booleans()),
    )
    after = draw(st.integers(0, 2 * lease.seconds))
    away = draw(st.integers(0, min(after, lease.seconds)))
    return lease, lease.started_at + after, away, bool(away) and draw(st.booleans())


@given(ended_leases())
def test_what_came_in_goes_out(ended: tuple[Lease, int, int, bool]) -> None:
    lease, ended_at, away, gone = ended
    escrow = compute_escrow(lease.seconds, lease.terms)

    settled = compute_settlement(lease, ended_at, away, gone=gone)

    assert (
        settled.paid + settled.fee + settled.refund + settled.bond_back == escrow + lease.terms.bond
    )
    assert min(settled.paid, settled.fee, settled.refund, settled.bond_back) >= 0
    assert settled.refund >= settled.penalty >= 0
    assert settled.paid <= lease.seconds * lease.terms.price
    assert settled.paid == settled.charged_seconds * lease.terms.price
    assert 0 <= settled.charged_seconds <= lease.seconds


@given(ended_leases(), st.integers(0, 10**6))
def test_later_is_never_cheaper_for_the_renter(
    ended: tuple[Lease, int, int, bool], more: int
) -> None:
    lease, ended_at, away, gone = ended

    early = compute_settlement(lease, ended_at, away, gone=gone)
    late = compute_settlement(lease, ended_at + more, away, gone=gone)

    # But a provider that stays to the end has not left, and is paid the minimum.
    assert late.paid >= early.paid
    assert late.bond_back >= early.bond_back


@given(ended_leases(), st.integers(1, 10**6))
def test_more_away_never_pays_the_provider(ended: tuple[Lease, int, int, bool], more: int) -> None:
    lease, ended_at, away, gone = ended
    assume(away + more <= min(ended_at - lease.started_at, lease.seconds))

    there = compute_settlement(lease, ended_at, away, gone=gone)
    gone_longer = compute_settlement(lease, ended_at, away + more, gone=gone)

    assert gone_longer.paid <= there.paid
    assert gone_longer.refund >= there.refund


@given(ended_leases(), st.integers(0, 10**6))
def test_what_was_collected_before_is_never_more_than_what_is_paid(
    ended: tuple[Lease, int, int, bool], earlier: int
) -> None:
    """The contract credits the online part of a lease before it ends; that is final."""
    lease, ended_at, away, gone = ended
    used = min(ended_at - lease.started_at, lease.seconds)
    judged = min(earlier, used - away)

    settled = compute_settlement(lease, ended_at, away, gone=gone)

    assert judged * lease.terms.price <= settled.paid


@given(seconds, st.integers(0, 10**6), amounts, parts)
def test_an_extension_costs_what_it_adds(opened: int, more: int, price: int, fee_bps: int) -> None:
    terms = make_lease(price=price, fee_bps=fee_bps).terms

    added = compute_escrow(opened + more, terms) - compute_escrow(opened, terms)

    assert more * price <= added <= more * price + compute_fee(more * price, fee_bps) + 1


@pytest.mark.parametrize(
    ("changes", "ended_at", "away"),
    [
        ({"started_at": 0}, LEASE.started_at, 0),
        ({}, LEASE.started_at - 1, 0),
        ({}, LEASE.started_at + 10, 11),
        ({}, LEASE.started_at + 7200, 3601),
        ({}, LEASE.started_at + 10, -1),
    ],
)
def test_what_cannot_be_is_not_settled(changes: dict[str, int], ended_at: int, away: int) -> None:
    with pytest.raises(LocalError, match="lease 11"):
        compute_settlement(make_lease(**changes), ended_at, away, gone=False)


def test_the_bond_is_a_part_of_the_price() -> None:
    assert compute_bond(3600, 5, 1000) == 1800
    assert compute_bond(3, 3, 1000) == 0


@pytest.mark.parametrize("state", LeaseState)
@pytest.mark.parametrize("action", LeaseAction)
def test_only_the_steps_of_the_table_are_taken(state: LeaseState, action: LeaseAction) -> None:
    if (state, action) in TRANSITIONS:
        assert require_transition(state, action) == TRANSITIONS[state, action]
        return
    with pytest.raises(LeaseRefused) as caught:
        require_transition(state, action)
    assert caught.value.reason == f"{action.value}: not in state {state.name.lower()}"


def test_every_lease_can_come_to_its_end() -> None:
    """From wherever one is, somebody can have all of its money paid out."""
    last = {LeaseState.SETTLED, LeaseState.RECLAIMED}
    for state in set(LeaseState) - last:
        reached, before = {state}, set()
        while reached != before:
            before = set(reached)
            for (origin, _), targets in TRANSITIONS.items():
                if origin in before:
                    reached |= targets
        assert reached & last, state
    assert not last & {origin for origin, _ in TRANSITIONS}


def test_the_steps_are_those_of_the_page() -> None:
    states, steps = (
        rows(part)
        for part in section(read("leases.md"), "## Lifecycle").split("\n\n| State | Action")
    )

    assert [(cells[0], int(cells[1])) for cells in states] == [
        (state.name, state.value) for state in LeaseState
    ]
    assert {
        (LeaseState[cells[0]], LeaseAction(cells[1])): frozenset(
            LeaseState[name] for name in cells[2].split(", ")
        )
        for cells in steps
    } == TRANSITIONS


@pytest.mark.parametrize(
    ("changes", "ends_at"),
    [
        ({}, LEASE.started_at + 3600),
        ({"seconds": 7200}, LEASE.started_at + 7200),
        ({"ended_at": LEASE.started_at + 5, "state": LeaseState.ENDED}, LEASE.started_at + 5),
        ({"started_at": 0, "state": LeaseState.RESERVED}, 0),
    ],
)
def test_when_a_lease_ends(changes: dict[str, Any], ends_at: int) -> None:
    assert make_lease(**changes).ends_at == ends_at


def test_whose_machine_it_is() -> None:
    start, end = LEASE.started_at, LEASE.ends_at
    ended = make_lease(state=LeaseState.ENDED, ended_at=start + 5)
    reserved = make_lease(state=LeaseState.RESERVED, started_at=0)

    assert [LEASE.covers(now) for now in (start - 1, start, end - 1, end)] == [0, 1, 1, 0]
    assert [LEASE.is_usable(now) for now in (start, end - 1, end)] == [1, 1, 0]
    assert [ended.covers(now) for now in (start, start + 4, start + 5)] == [1, 1, 0]
    assert not ended.is_usable(start)
    assert not reserved.covers(0)
    assert not reserved.is_usable(0)


@pytest.mark.parametrize(
    ("start", "end", "overlap"),
    [
        (LEASE.started_at - 100, LEASE.started_at, 0),
        (LEASE.started_at - 100, LEASE.started_at + 100, 100),
        (LEASE.started_at, LEASE.started_at + 3600, 3600),
        (LEASE.started_at + 3500, LEASE.started_at + 3700, 100),
        (LEASE.started_at + 3600, LEASE.started_at + 3700, 0),
    ],
)
def test_seconds_within_an_epoch(start: int, end: int, overlap: int) -> None:
    assert compute_overlap(LEASE, start, end) == overlap


def test_a_reserved_lease_overlaps_nothing() -> None:
    reserved = make_lease(state=LeaseState.RESERVED, started_at=0)

    assert compute_overlap(reserved, 0, 1 << 40) == 0


@given(st.integers(1, 10**5))
def test_epochs_have_all_of_a_leases_seconds(length: int) -> None:
    first, last = LEASE.started_at // length, LEASE.ends_at // length
    overlaps = [
        compute_overlap(LEASE, epoch * length, (epoch + 1) * length)
        for epoch in range(first, last + 1)
    ]

    assert sum(overlaps) == LEASE.seconds
