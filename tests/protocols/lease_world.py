"""Leases for tests, and the forms of their vectors."""

from dataclasses import replace
from typing import Any

from protocols.leases import Base, Lease, LeaseState, Terms
from protocols.types import Epoch, NodeKey, Wallet

PROVIDER_WALLET = Wallet(b"\x70" * 20)

LEASE = Lease(
    id=11,
    state=LeaseState.ACTIVE,
    provider=7,
    provider_wallet=PROVIDER_WALLET,
    renter=Wallet(b"\x71" * 20),
    key=NodeKey(b"\x72" * 32),
    terms=Terms(price=5, minimum_seconds=60, maximum_seconds=86_400, fee_bps=500, bond=1800),
    seconds=3600,
    accept_by=1_700_000_600,
    started_at=1_700_000_300,
    ended_at=0,
    ended_by_provider=False,
    judged_until=Epoch(0),
    away_seconds=0,
    gone=False,
    collected=0,
    base=Base(Epoch(9), 3000, 1_000_000),
)
"""An active one, of an hour."""

_TERMS = ("price", "minimum_seconds", "maximum_seconds", "fee_bps", "bond")


def make_lease(**changes: Any) -> Lease:
    """LEASE with something else; the fields of its terms may be named like its own."""
    terms = {name: changes.pop(name) for name in _TERMS if name in changes}
    return replace(LEASE, terms=replace(LEASE.terms, **terms), **changes)


def read_number(shown: Any) -> int:
    """An integer as vectors write it."""
    return int(shown)
