"""What a run says about its rentals: who was away when, and which money is odd."""

from dataclasses import replace

import pytest

from p2p_node.testnet.outcome import Bundle, SettledEpoch
from p2p_node.testnet.rental_checks import Absence, check_rental, find_absence
from p2p_node.testnet.rental_outcome import (
    Money,
    Rental,
    RentalKind,
    earned_by_renting,
    left_of_funds,
    sum_fees,
)
from protocols.leases import (
    Base,
    Lease,
    LeaseState,
    Terms,
    compute_escrow,
    compute_settlement,
)
from protocols.params import MINIMAL
from protocols.types import Epoch, NodeKey, Shard, Wallet

GENESIS = 1_000
EPOCH = MINIMAL.epoch_seconds
LANE = 3

LEASE = Lease(
    id=1,
    state=LeaseState.SETTLED,
    provider=LANE,
    provider_wallet=Wallet(b"\x01" * 20),
    renter=Wallet(b"\x02" * 20),
    key=NodeKey(b"\x03" * 32),
    terms=Terms(price=1_000, minimum_seconds=10, maximum_seconds=3_600, fee_bps=500, bond=5_000),
    seconds=60,
    accept_by=1_200,
    # From the middle of epoch 4 to the middle of epoch 7.
    started_at=GENESIS + 4 * EPOCH + 10,
    ended_at=0,
    ended_by_provider=False,
    judged_until=Epoch(7),
    away_seconds=0,
    gone=False,
    collected=0,
    base=Base(Epoch(0), 0, 0),
)


def settled(epoch: int, *, online: bool) -> SettledEpoch:
    bundle = Bundle(Shard(0), "0x00", 1, 4, (), (), online=1 << LANE if online else 0)
    return SettledEpoch(Epoch(epoch), (bundle,), 0, 0, 0, 0, frozenset())


PRESENT = [settled(epoch, online=True) for epoch in range(3, 9)]


def rental(kind: RentalKind, lease: Lease, *, away: int = 0, gone: bool = False) -> Rental:
    money = Money(
        escrow=compute_escrow(lease.seconds, lease.terms),
        bond=lease.terms.bond,
        settlement=compute_settlement(lease, lease.ends_at, away, gone=gone),
        end_tx="0x01" if lease.ended_at else "",
        settle_tx="0x01",
    )
    wallet = Wallet(b"\x02" * 20)
    return Rental("renter-1", kind, "provider-1", wallet, 10**6, lease.seconds, lease, money)


def test_a_provider_that_was_seen_in_every_epoch_was_never_away() -> None:
    assert find_absence(LEASE, PRESENT, GENESIS, EPOCH) == Absence(0, 0, gone=False)


def test_only_the_seconds_of_the_lease_in_an_epoch_count_as_away() -> None:
    epochs = [settled(4, online=False), settled(5, online=True), settled(6, online=False)]
    # 15 seconds of epoch 4, and the 20 of epoch 6 until the lease's end.
    assert find_absence(LEASE, epochs, GENESIS, EPOCH) == Absence(2, 35, gone=True)


def test_epochs_that_are_not_judged_or_have_no_bundle_tell_nothing() -> None:
    lease = replace(LEASE, judged_until=Epoch(6))
    epochs = [
        replace(settled(4, online=False), bundles=()),
        settled(5, online=True),
        settled(6, online=False),
    ]
    assert find_absence(lease, epochs, GENESIS, EPOCH) == Absence(0, 0, gone=False)


def test_what_came_as_it_should_is_not_odd() -> None:
    cancelled = replace(LEASE, ended_at=LEASE.started_at + 30, judged_until=Epoch(5))
    away = [settled(4, online=True), settled(5, online=False), settled(6, online=False)]
    for each, epochs in (
        (rental(RentalKind.COMPLETED, LEASE), PRESENT),
        (rental(RentalKind.CANCELLED, cancelled), PRESENT),
        (rental(RentalKind.KILLED, LEASE, away=45, gone=True), away),
    ):
        assert check_rental(each, epochs, GENESIS, MINIMAL) == []


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        (Rental("renter-1", RentalKind.COMPLETED, "p", Wallet(bytes(20)), 0, 1), "not settled"),
        (rental(RentalKind.COMPLETED, replace(LEASE, state=LeaseState.ENDED)), "is ended"),
        (rental(RentalKind.COMPLETED, LEASE, away=25), "money went"),
        (rental(RentalKind.COMPLETED, replace(LEASE, ended_at=LEASE.started_at + 30)), "30 of 60"),
        (rental(RentalKind.CANCELLED, LEASE), "not ended before its time"),
        (rental(RentalKind.KILLED, LEASE), "no epoch without its provider"),
    ],
)
def test_what_came_otherwise_is_named(odd: Rental, words: str) -> None:
    assert words in "; ".join(check_rental(odd, PRESENT, GENESIS, MINIMAL))


def test_a_cancellation_that_returns_the_rest_later_is_odd() -> None:
    cancelled = rental(
        RentalKind.CANCELLED, replace(LEASE, ended_at=LEASE.started_at + 30, judged_until=Epoch(5))
    )
    assert cancelled.money is not None
    cancelled.money = replace(cancelled.money, settle_tx="0x02")
    assert "in the transaction" in check_rental(cancelled, PRESENT, GENESIS, MINIMAL)[0]


def test_money_that_vanished_is_odd() -> None:
    lost = rental(RentalKind.COMPLETED, LEASE)
    assert lost.money is not None
    lost.money = replace(lost.money, escrow=lost.money.escrow + 1)
    assert "what came in" in check_rental(lost, PRESENT, GENESIS, MINIMAL)[0]


def test_wallets_gain_and_lose_what_the_leases_moved() -> None:
    one, other = rental(RentalKind.COMPLETED, LEASE), rental(RentalKind.KILLED, LEASE, gone=True)
    assert earned_by_renting([one, other]) == {"provider-1": 60_000 + 60_000 - 5_000}
    assert sum_fees([one, other]) == 6_000
    assert left_of_funds(one) == 10**6 - 63_000
    assert left_of_funds(other) == 10**6 - 63_000 + 5_000
    waiting = Rental("r", RentalKind.COMPLETED, "provider-1", Wallet(bytes(20)), 7, 60)
    assert (left_of_funds(waiting), earned_by_renting([waiting])) == (7, {})
    assert waiting.to_json()["kind"] == "completed"
    assert one.to_json()["money"]["paid"] == "60000"
