"""What Rental reports, as typed events whose fields are the contract's.

`id` is the lease's, `provider` the provider's index. Amounts are in the token's smallest unit,
times in Unix seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from protocols.types import Digest, Epoch, NodeKey, Wallet


@dataclass(frozen=True, slots=True)
class OfferMade:
    """A provider offers its machine, at a price per second; `since` begins its tenancy."""

    provider: int
    wallet: Wallet
    since: Epoch
    price: int
    minimum_seconds: int
    maximum_seconds: int
    capability: Digest


@dataclass(frozen=True, slots=True)
class OfferWithdrawn:
    """A provider offers its machine no longer."""

    provider: int
    wallet: Wallet


@dataclass(frozen=True, slots=True)
class LeaseOpened:
    """A renter paid the `escrow` for a lease; whoever holds `key` will use the machine."""

    id: int
    renter: Wallet
    provider: int
    seconds: int
    price: int
    escrow: int
    key: NodeKey


@dataclass(frozen=True, slots=True)
class LeaseAccepted:
    """The provider accepted a lease and left a bond: the time runs from this block's time on."""

    id: int
    provider: int
    bond: int


@dataclass(frozen=True, slots=True)
class LeaseReclaimed:
    """A lease was not accepted: the renter is owed all that it paid."""

    id: int
    refund: int


@dataclass(frozen=True, slots=True)
class LeaseExtended:
    """The renter `paid` for more; the lease has so many `seconds` in all now."""

    id: int
    seconds: int
    paid: int


@dataclass(frozen=True, slots=True)
class LeaseEnded:
    """Renter or provider ended a lease. The renter is owed what was not used, `returned`, before
    any further epochs are judged; with `confirmed` the lease is settled in the same transaction."""

    id: int
    by: Wallet
    ended_at: int
    confirmed: bool
    returned: int


@dataclass(frozen=True, slots=True)
class LeaseSettled:
    """The money of a lease was divided. All amounts are those of the whole lease: `paid` with what
    was collected before, `refund` with the penalty and what was returned before."""

    id: int
    paid: int
    fee: int
    refund: int
    bond_back: int
    penalty: int


@dataclass(frozen=True, slots=True)
class LeaseCollected:
    """The provider is owed what judged epochs of a lease earned."""

    id: int
    amount: int


@dataclass(frozen=True, slots=True)
class OwedWithdrawn:
    """A wallet was paid what Rental owed it."""

    wallet: Wallet
    amount: int


@dataclass(frozen=True, slots=True)
class FeesSwept:
    """The fees of leases went into the fund of rewards."""

    amount: int


RentalEvent: TypeAlias = (
    OfferMade
    | OfferWithdrawn
    | LeaseOpened
    | LeaseAccepted
    | LeaseReclaimed
    | LeaseExtended
    | LeaseEnded
    | LeaseSettled
    | LeaseCollected
    | OwedWithdrawn
    | FeesSwept
)

RENTAL_EVENTS: Final[Mapping[str, type[RentalEvent]]] = {
    "OfferMade": OfferMade,
    "OfferWithdrawn": OfferWithdrawn,
    "Opened": LeaseOpened,
    "Accepted": LeaseAccepted,
    "Reclaimed": LeaseReclaimed,
    "Extended": LeaseExtended,
    "Ended": LeaseEnded,
    "Settled": LeaseSettled,
    "Collected": LeaseCollected,
    "Withdrawn": OwedWithdrawn,
    "FeesSwept": FeesSwept,
}
"""By their names in Rental.vy, of which other contracts have some as well."""
