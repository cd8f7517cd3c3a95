"""What the rentals of a run came to, each one's money to the last unit."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from protocols.leases import Lease, Settlement
from protocols.types import Wallet


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
