"""Receipts: the contract's own figures once settled, and what they would be before."""

import csv
import io
from dataclasses import replace

from chain.rental_events import (
    LeaseAccepted,
    LeaseCollected,
    LeaseEnded,
    LeaseOpened,
    LeaseReclaimed,
    LeaseSettled,
)
from chain.rental_history import LeaseEvent, LeaseStep
from p2p_node.rental.renter_receipts import make_receipt, to_json, write_csv
from protocols.leases import Base, Lease, LeaseState, Terms
from protocols.types import Epoch, NodeKey, Wallet

LEASE = Lease(
    id=5,
    state=LeaseState.ACTIVE,
    provider=2,
    provider_wallet=Wallet(b"\x0a" * 20),
    renter=Wallet(b"\x0b" * 20),
    key=NodeKey(b"\x0c" * 32),
    terms=Terms(price=1000, minimum_seconds=60, maximum_seconds=3600, fee_bps=500, bond=60_000),
    seconds=600,
    accept_by=10_060,
    started_at=10_020,
    ended_at=0,
    ended_by_provider=False,
    judged_until=Epoch(4),
    away_seconds=0,
    gone=False,
    collected=0,
    base=Base(Epoch(3), 100, 200),
)
ESCROW = 630_000


def step(event: LeaseEvent, number: int) -> LeaseStep:
    return LeaseStep(event, bytes([number]) * 32, number)


OPENED = step(LeaseOpened(5, LEASE.renter, 2, 600, 1000, ESCROW, LEASE.key), 1)
ACCEPTED = step(LeaseAccepted(5, 2, 60_000), 2)


def test_what_waits_has_cost_nothing() -> None:
    reserved = replace(LEASE, state=LeaseState.RESERVED, started_at=0)

    receipt = make_receipt(reserved, [OPENED], 10_010)

    assert (receipt.state, receipt.used_seconds, receipt.escrow) == ("reserved", 0, ESCROW)
    assert (receipt.paid, receipt.fee, receipt.refund) == (0, 0, 0)
    assert not receipt.final
    assert receipt.transactions == (("opened", "0x" + "01" * 32),)


def test_what_was_reclaimed_came_back() -> None:
    reclaimed = replace(LEASE, state=LeaseState.RECLAIMED, started_at=0)

    receipt = make_receipt(reclaimed, [OPENED, step(LeaseReclaimed(5, ESCROW), 3)], 20_000)

    assert (receipt.paid, receipt.fee, receipt.refund) == (0, 0, ESCROW)
    assert receipt.final


def test_what_goes_on_costs_by_the_second() -> None:
    receipt = make_receipt(replace(LEASE, away_seconds=20), [OPENED, ACCEPTED], 10_120)
    over = make_receipt(LEASE, [OPENED, ACCEPTED], 10_620)

    assert (receipt.state, over.state, over.charged_seconds) == ("active", "over", 600)
    assert (receipt.used_seconds, receipt.away_seconds, receipt.charged_seconds) == (100, 20, 80)
    assert (receipt.paid, receipt.fee, receipt.refund) == (80_000, 4_000, 0)
    assert (receipt.ended_at, receipt.final) == (0, False)


def test_what_is_over_shows_what_is_left_to_judge() -> None:
    ended = replace(LEASE, state=LeaseState.ENDED, ended_at=10_320, gone=True, away_seconds=100)

    receipt = make_receipt(
        ended, [OPENED, ACCEPTED, step(LeaseEnded(5, LEASE.renter, 10_320, False, 1), 3)], 11_000
    )

    assert (receipt.used_seconds, receipt.charged_seconds, receipt.ended_at) == (300, 200, 10_320)
    assert (receipt.paid, receipt.fee) == (200_000, 10_000)
    assert receipt.refund == ESCROW - 210_000 + 60_000
    assert (receipt.penalty, receipt.final) == (60_000, False)


def test_what_is_settled_is_the_contracts_word() -> None:
    settled = replace(LEASE, state=LeaseState.SETTLED)
    money = LeaseSettled(5, 500_000, 25_000, 105_000, 60_000, 0)
    steps = [OPENED, ACCEPTED, step(LeaseCollected(5, 1), 3), step(money, 4)]

    receipt = make_receipt(settled, steps, 99_999)

    assert (receipt.paid, receipt.fee, receipt.refund) == (500_000, 25_000, 105_000)
    assert (receipt.charged_seconds, receipt.used_seconds) == (500, 600)
    assert receipt.paid + receipt.fee + receipt.refund == receipt.escrow
    assert receipt.final
    assert [what for what, _ in receipt.transactions] == ["opened", "accepted", "settled"]


def test_csv_and_json_say_the_same() -> None:
    receipt = make_receipt(LEASE, [OPENED, ACCEPTED], 10_120)

    (row,) = csv.DictReader(io.StringIO(write_csv([receipt])))
    shown = to_json(receipt)

    assert row["transactions"] == f"opened:0x{'01' * 32} accepted:0x{'02' * 32}"
    assert shown["transactions"][1] == {"what": "accepted", "tx": "0x" + "02" * 32}
    assert (row["final"], shown["final"]) == ("no", False)
    for name in ("lease", "paid", "fee", "refund", "escrow", "used_seconds", "renter"):
        assert row[name] == str(shown[name])
