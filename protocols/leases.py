"""Leases: what a renter pays for, who may do what when, and where the money goes.

Rental.vy keeps a lease and its escrow; this is the same rules in words that nodes work with. A
lease is *reserved* when its renter has paid, *active* from the provider's acceptance on, *ended*
when either side ended it early and the consensus has not yet judged all of its epochs, and then
*settled*; or it is *reclaimed*, having never begun. A lease whose time is over needs nobody's word:
anybody may settle it.

    escrow = seconds · price + fee on it            what the renter pays at opening, or more later
    bond   = a part of that price                   what the provider leaves at acceptance

    paid   = charged seconds · price                to the provider
    fee    = paid · fee_bps / 10,000                to the fund of rewards, on top
    refund = escrow − paid − fee + penalty          to the renter
    back   = bond − penalty                         to the provider

Seconds in epochs of which the consensus says that the provider was away are not charged. Amounts
are in the token's smallest unit, times in Unix seconds, everything rounded down.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final

from protocols.errors import LocalError, RemoteError
from protocols.types import Digest, Epoch, NodeKey, Wallet

BPS: Final = 10_000
"""What a part of something is counted in."""


class LeaseState(IntEnum):
    """Where a lease is, with its number in Rental.vy."""

    NONE = 0
    RESERVED = 1
    ACTIVE = 2
    ENDED = 3
    SETTLED = 4
    RECLAIMED = 5


class LeaseAction(StrEnum):
    """What can be done about a lease, named as in Rental.vy."""

    OPEN = "open"
    ACCEPT = "accept"
    RECLAIM = "reclaim"
    EXTEND = "extend"
    JUDGE = "judge"
    COLLECT = "collect"
    END = "end"
    SETTLE = "settle"


TRANSITIONS: Final[Mapping[tuple[LeaseState, LeaseAction], frozenset[LeaseState]]] = {
    (LeaseState.NONE, LeaseAction.OPEN): frozenset({LeaseState.RESERVED}),
    (LeaseState.RESERVED, LeaseAction.ACCEPT): frozenset({LeaseState.ACTIVE}),
    (LeaseState.RESERVED, LeaseAction.RECLAIM): frozenset({LeaseState.RECLAIMED}),
    (LeaseState.ACTIVE, LeaseAction.EXTEND): frozenset({LeaseState.ACTIVE}),
    (LeaseState.ACTIVE, LeaseAction.JUDGE): frozenset({LeaseState.ACTIVE}),
    (LeaseState.ACTIVE, LeaseAction.COLLECT): frozenset({LeaseState.ACTIVE}),
    # A renter that confirms the time until now leaves nothing to be judged.
    (LeaseState.ACTIVE, LeaseAction.END): frozenset({LeaseState.ENDED, LeaseState.SETTLED}),
    (LeaseState.ENDED, LeaseAction.JUDGE): frozenset({LeaseState.ENDED}),
    (LeaseState.ENDED, LeaseAction.COLLECT): frozenset({LeaseState.ENDED}),
    (LeaseState.ACTIVE, LeaseAction.SETTLE): frozenset({LeaseState.SETTLED}),
    (LeaseState.ENDED, LeaseAction.SETTLE): frozenset({LeaseState.SETTLED}),
}
"""Every step there is, and where it may lead; all others are refused."""


class LeaseRefused(RemoteError):
    """What somebody asked for is not theirs to ask, or not now."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a provider asks for its machine. `since` is the first epoch of the tenancy that made it,
    so that whoever has the slot later is not held to it.

    `price` is per second. A lease is opened for `minimum_seconds` … `maximum_seconds`, and a
    renter that ends it earlier pays for the minimum. `capability` is the digest of what the
    provider says that it has.
    """

    provider: int
    wallet: Wallet
    since: Epoch
    price: int
    minimum_seconds: int
    maximum_seconds: int
    capability: Digest


@dataclass(frozen=True, slots=True)
class Terms:
    """What is frozen when a lease is opened; `bond` and `price` are amounts."""

    price: int
    minimum_seconds: int
    maximum_seconds: int
    fee_bps: int
    bond: int


@dataclass(frozen=True, slots=True)
class Base:
    """The provider's score in the last settled epoch in which it was not leased.

    `total` is the sum of all scores in that epoch. All 0 when there is none.
    """

    epoch: Epoch
    score: int
    total: int


@dataclass(frozen=True, slots=True)
class Lease:
    """One lease as the chain has it. Times that have not come are 0.

    `key` is the Ed25519 key that the paying wallet named: who holds it uses the machine.
    `judged_until` is the first epoch that the contract has not looked at yet; `away_seconds` is
    what it found before that; `collected` is what the provider was credited with so far.
    `gone` tells whether the provider was away in the last epoch that was judged.
    """

    id: int
    state: LeaseState
    provider: int
    provider_wallet: Wallet
    renter: Wallet
    key: NodeKey
    terms: Terms
    seconds: int
    accept_by: int
    started_at: int
    ended_at: int
    ended_by_provider: bool
    judged_until: Epoch
    away_seconds: int
    gone: bool
    collected: int
    base: Base

    @property
    def ends_at(self) -> int:
        """When its time is over, or was ended; 0 before it began."""
        if not self.started_at:
            return 0
        return self.ended_at or self.started_at + self.seconds

    def is_usable(self, now: int) -> bool:
        """Tell whether its renter may use the machine at `now`."""
        return self.state is LeaseState.ACTIVE and now < self.ends_at

    def covers(self, moment: int) -> bool:
        """Tell whether the machine is, or was, this renter's at `moment`."""
        return bool(self.started_at) and self.started_at <= moment < self.ends_at


@dataclass(frozen=True, slots=True)
class Settlement:
    """Where the money of a lease goes: `paid` and `bond_back` to the provider, `fee` to the fund,
    `refund` to the renter."""

    charged_seconds: int
    paid: int
    fee: int
    refund: int
    bond_back: int
    penalty: int


def require_transition(state: LeaseState, action: LeaseAction) -> frozenset[LeaseState]:
    """Return where `action` may lead from `state`; LeaseRefused if nowhere."""
    try:
        return TRANSITIONS[state, action]
    except KeyError:
        raise LeaseRefused(f"{action.value}: not in state {state.name.lower()}") from None


def compute_fee(amount: int, fee_bps: int) -> int:
    """Return the fee on an amount, which is paid on top of it."""
    return amount * fee_bps // BPS


def compute_escrow(seconds: int, terms: Terms) -> int:
    """Return what a lease of so many seconds takes from its renter."""
    amount = seconds * terms.price
    return amount + compute_fee(amount, terms.fee_bps)


def compute_bond(seconds: int, price: int, penalty_bps: int) -> int:
    """Return what a lease opened for so many seconds takes from its provider at acceptance."""
    return seconds * price * penalty_bps // BPS


def compute_settlement(lease: Lease, ended_at: int, away_seconds: int, *, gone: bool) -> Settlement:
    """Divide the money of a lease that was active and ended at `ended_at`.

    `away_seconds` of its time lie in epochs in which the consensus saw the provider away, `gone`
    tells whether the last judged one is of them. Then, or when the provider ended it before its
    time, the bond is the renter's. A renter that ends it early pays for the minimum all the same,
    unless the provider was away at any time. LocalError for a lease that never began, an end before
    its beginning, and more time away than there was.
    """
    used = min(ended_at - lease.started_at, lease.seconds)
    if not lease.started_at or not 0 <= away_seconds <= used:
        raise LocalError(f"lease {lease.id}: ended at {ended_at}, {away_seconds} s of it away")
    charged = used - away_seconds
    left_early = lease.ended_by_provider and used < lease.seconds
    if not left_early and not away_seconds:
        charged = max(charged, min(lease.terms.minimum_seconds, lease.seconds))
    paid = charged * lease.terms.price
    fee = compute_fee(paid, lease.terms.fee_bps)
    penalty = lease.terms.bond if left_early or gone else 0
    return Settlement(
        charged_seconds=charged,
        paid=paid,
        fee=fee,
        refund=compute_escrow(lease.seconds, lease.terms) - paid - fee + penalty,
        bond_back=lease.terms.bond - penalty,
        penalty=penalty,
    )


def compute_overlap(lease: Lease, start: int, end: int) -> int:
    """Return how many seconds of an epoch from `start` to `end` belong to the lease."""
    return max(0, min(end, lease.ends_at) - max(start, lease.started_at))
