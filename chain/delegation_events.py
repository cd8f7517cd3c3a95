"""What Delegation reports, as typed events whose names and fields are the contract's.

`owner` is the delegator, `index` the checker's, `since` the first epoch of the tenancy that is
meant; amounts are in the token's smallest unit.
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

from protocols.types import Epoch, Wallet


@dataclass(frozen=True, slots=True)
class Deposited:
    """Stake was left for the checker whose tenancy began in `since`; it waits to be activated."""

    owner: Wallet
    index: int
    since: Epoch
    amount: int
    ready_epoch: Epoch


@dataclass(frozen=True, slots=True)
class TakenBack:
    """A delegator took back what was not activated."""

    owner: Wallet
    index: int
    since: Epoch
    amount: int


@dataclass(frozen=True, slots=True)
class Activated:
    """Delegated stake counts from here on; it became shares of the tenancy's pool."""

    owner: Wallet
    index: int
    since: Epoch
    amount: int
    shares: int


@dataclass(frozen=True, slots=True)
class Undelegated:
    """Delegated stake counts no longer, and can be withdrawn from `unlocks_at` on."""

    owner: Wallet
    index: int
    since: Epoch
    amount: int
    shares: int
    unlocks_at: int


@dataclass(frozen=True, slots=True)
class Returned:
    """Undelegated stake was paid out."""

    owner: Wallet
    index: int
    since: Epoch
    amount: int


@dataclass(frozen=True, slots=True)
class Distributed:
    """Rewards of a checker were shared out among its delegators."""

    index: int
    since: Epoch
    amount: int


@dataclass(frozen=True, slots=True)
class Collected:
    """A delegator was paid its part of a checker's rewards."""

    owner: Wallet
    index: int
    since: Epoch
    amount: int


@dataclass(frozen=True, slots=True)
class DelegationSlashed:
    """Delegated stake was taken for an offence of the checker's: active, and on its way out."""

    index: int
    since: Epoch
    active: int
    leaving: int


@dataclass(frozen=True, slots=True)
class CommissionAnnounced:
    """A checker gives another part of its rewards to its delegators from `from_epoch` on."""

    index: int
    since: Epoch
    bps: int
    from_epoch: Epoch


DelegationEvent: TypeAlias = (
    Deposited
    | TakenBack
    | Activated
    | Undelegated
    | Returned
    | Distributed
    | Collected
    | DelegationSlashed
    | CommissionAnnounced
)

DELEGATION_EVENTS: Final[tuple[type[DelegationEvent], ...]] = (
    Deposited,
    TakenBack,
    Activated,
    Undelegated,
    Returned,
    Distributed,
    Collected,
    DelegationSlashed,
    CommissionAnnounced,
)
