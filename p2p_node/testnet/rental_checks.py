"""Whether the rentals of a run went as they should.

What a lease should have paid is worked out here from its times and from the online maps of the
bundles, not asked of the contract that paid it, so that the two check each other.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from p2p_node.testnet.outcome import SettledEpoch
from p2p_node.testnet.rental_outcome import Money, Rental, RentalKind
from protocols.leases import Lease, LeaseState, compute_overlap, compute_settlement
from protocols.params import LANES, Preset
from protocols.types import Epoch


@dataclass(frozen=True, slots=True)
class Absence:
    """How long the consensus saw a lease's provider away: in how many epochs of it, for how many of
    its seconds, and whether in the last one that was judged."""

    epochs: int
    seconds: int
    gone: bool


def find_absence(
    lease: Lease, epochs: Iterable[SettledEpoch], genesis: int, epoch_seconds: int
) -> Absence:
    """Work out from the bundles when the provider was away, as far as the contract has judged.

    An epoch without a bundle tells nothing.
    """
    shard, lane = divmod(lease.provider, LANES)
    count, seconds, gone = 0, 0, False
    for epoch in sorted(epochs, key=lambda each: each.epoch):
        start = genesis + epoch.epoch * epoch_seconds
        overlap = compute_overlap(lease, start, start + epoch_seconds)
        bundle = next((each for each in epoch.bundles if each.shard == shard), None)
        if not overlap or bundle is None or epoch.epoch >= lease.judged_until:
            continue
        gone = not bundle.online >> lane & 1
        if gone:
            count += 1
            seconds += overlap
    return Absence(count, seconds, gone)


def check_rental(
    rental: Rental, epochs: Sequence[SettledEpoch], genesis: int, preset: Preset
) -> list[str]:
    """List what is odd about a rental: how it ended, and where its money went."""
    lease, money = rental.lease, rental.money
    if lease is None or money is None:
        return [f"{rental.name}: not settled"]
    absence = find_absence(lease, epochs, genesis, preset.epoch_seconds)
    expected = compute_settlement(lease, lease.ends_at, absence.seconds, gone=absence.gone)
    odd = []
    if lease.state is not LeaseState.SETTLED:
        odd.append(f"{rental.name}: is {lease.state.name.lower()}")
    if money.settlement != expected:
        odd.append(f"{rental.name}: money went {money.settlement}, expected {expected}")
    odd += [f"{rental.name}: {text}" for text in _check_kind(rental, lease, money, absence)]
    settled = money.settlement
    if money.escrow + money.bond != (
        settled.paid + settled.fee + settled.refund + settled.bond_back
    ):
        odd.append(f"{rental.name}: what came in is not what went out")
    return odd


def _check_kind(rental: Rental, lease: Lease, money: Money, absence: Absence) -> Iterable[str]:
    used = lease.ends_at - lease.started_at
    price, settled = lease.terms.price, money.settlement
    if rental.kind is RentalKind.COMPLETED:
        if used != lease.seconds:
            yield f"ended after {used} of {lease.seconds} seconds"
        if settled.paid != lease.seconds * price:
            yield f"paid {settled.paid}, expected {lease.seconds} seconds at {price}"
    elif rental.kind is RentalKind.CANCELLED:
        if used >= lease.seconds:
            yield "was not ended before its time"
        if settled.paid != used * price:
            yield f"paid {settled.paid}, expected {used} seconds at {price}"
        if not money.end_tx or money.end_tx != money.settle_tx:
            yield "the rest was not returned in the transaction that ended it"
    elif not absence.epochs:
        yield "no epoch without its provider was seen"


def last_epoch_of(lease: Lease, genesis: int, epoch_seconds: int) -> Epoch:
    """Return the last epoch that has a second of a lease that began."""
    return Epoch((lease.ends_at - 1 - genesis) // epoch_seconds)
