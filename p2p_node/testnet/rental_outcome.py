"""What the rentals of a run came to, each one's money to the last unit.

What a lease should have paid is worked out here from its times and from the online maps of the
bundles, not asked of the contract that paid it, so that the two check each other.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from p2p_node.testnet.outcome import SettledEpoch
from protocols.leases import Lease, LeaseState, Settlement, compute_overlap, compute_settlement
from protocols.params import LANES, Preset
from protocols.types import Epoch, Wallet


class RentalKind(StrEnum):
    """How a rental of the run is meant to end."""

    COMPLETED = "completed"
    CANCELLED = "cancelled"
    KILLED = "killed"
    """Its provider is killed while it lasts, and does not come back."""


@dataclass(frozen=True, slots=True)
class Money:
    """What the contract says that a lease moved, in the token's smallest unit."""

    escrow: int
    bond: int
    settlement: Settlement
    end_tx: str
    """The transaction that ended it, empty when its time ran out."""
    settle_tx: str


@dataclass(slots=True)
class Rental:
    """One rental. `funded` is what the renter's wallet was given; `lease` and `money` are known
    once the chain has them; `output` is what the command that was run inside printed."""

    name: str
    kind: RentalKind
    provider: str
    wallet: Wallet
    funded: int
    seconds: int
    lease: Lease | None = None
    money: Money | None = None
    output: str = ""
    problems: list[str] = field(default_factory=list)

    @property
    def is_settled(self) -> bool:
        """Whether its money has gone where it belongs."""
        return self.money is not None

    def to_json(self) -> dict[str, Any]:
        """Return the rental in the form that `--json` documents; amounts as decimal text."""
        result: dict[str, Any] = {
            "renter": self.name,
            "kind": self.kind.value,
            "provider": self.provider,
            "problems": self.problems,
        }
        if self.lease is not None:
            result["lease"] = {
                "id": self.lease.id,
                "state": self.lease.state.name.lower(),
                "seconds": self.lease.seconds,
                "used": self.lease.ends_at - self.lease.started_at,
                "price": str(self.lease.terms.price),
            }
        if self.money is not None:
            settled = self.money.settlement
            result["money"] = {
                "escrow": str(self.money.escrow),
                "paid": str(settled.paid),
                "fee": str(settled.fee),
                "refund": str(settled.refund),
                "bond": str(self.money.bond),
                "bond_back": str(settled.bond_back),
                "penalty": str(settled.penalty),
                "charged_seconds": settled.charged_seconds,
                "end_tx": self.money.end_tx,
                "settle_tx": self.money.settle_tx,
            }
        return result


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


def sum_fees(rentals: Iterable[Rental]) -> int:
    """Return what all rentals brought for the fund of rewards."""
    return sum(each.money.settlement.fee for each in rentals if each.money is not None)


def earned_by_renting(rentals: Iterable[Rental]) -> Mapping[str, int]:
    """Return by provider's name what its wallet gained from settled rentals; less than 0 where it
    lost its bond."""
    gains: dict[str, int] = {}
    for each in rentals:
        if each.money is not None:
            settled = each.money.settlement
            gain = settled.paid + settled.bond_back - each.money.bond
            gains[each.provider] = gains.get(each.provider, 0) + gain
    return gains


def left_of_funds(rental: Rental) -> int:
    """Return what the renter's wallet should hold in the end."""
    if rental.money is None:
        return rental.funded
    return rental.funded - rental.money.escrow + rental.money.settlement.refund


def last_epoch_of(lease: Lease, genesis: int, epoch_seconds: int) -> Epoch:
    """Return the last epoch that has a second of a lease that began."""
    return Epoch((lease.ends_at - 1 - genesis) // epoch_seconds)
