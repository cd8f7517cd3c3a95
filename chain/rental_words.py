"""The words in which Rental.vy keeps a lease (leases.vy has the layout), as a typed lease."""

from collections.abc import Sequence
from typing import Final

from protocols.leases import Base, Lease, LeaseState, Terms, compute_bond
from protocols.params import Preset
from protocols.types import Epoch, NodeKey, Wallet

WORDS: Final = 5

_SECONDS: Final = 24
"""Bits of a duration."""

_TIME: Final = 40


def unpack_lease(lease_id: int, words: Sequence[int | bytes], preset: Preset) -> Lease | None:
    """Take a lease's words apart: tenant, renter, key, terms, course.

    None where there is no lease. ValueError for words that the contract cannot have written.
    """
    tenant, renter, key, terms, course = words
    if not (
        isinstance(tenant, int)
        and isinstance(renter, int)
        and isinstance(key, bytes)
        and isinstance(terms, int)
        and isinstance(course, int)
    ):
        raise ValueError("words of other types")
    state = LeaseState(_field(course, 0, 8))
    if state is LeaseState.NONE:
        return None
    price = renter >> 160
    return Lease(
        id=lease_id,
        state=state,
        provider=_field(tenant, 192, 32),
        provider_wallet=_wallet(tenant),
        renter=_wallet(renter),
        key=NodeKey(key),
        terms=Terms(
            price=price,
            minimum_seconds=_field(terms, 0, _SECONDS),
            maximum_seconds=_field(terms, 24, _SECONDS),
            fee_bps=preset.lease_fee_bps,
            bond=compute_bond(_field(terms, 48, _SECONDS), price, preset.lease_penalty_bps),
        ),
        seconds=_field(course, 8, _SECONDS),
        accept_by=_field(terms, 72, _TIME),
        started_at=_field(course, 32, _TIME),
        ended_at=_field(course, 72, _TIME),
        ended_by_provider=bool(_field(course, 216, 1)),
        judged_until=Epoch(_field(course, 112, 32)),
        away_seconds=_field(course, 144, _SECONDS),
        gone=bool(_field(course, 217, 1)),
        collected=_field(course, 168, _SECONDS) * price,
        base=Base(
            epoch=Epoch(_field(terms, 112, 32)),
            score=_field(terms, 144, 16),
            total=_field(terms, 160, 48),
        ),
    )


def unpack_kept_seconds(course: int) -> int:
    """Return for how many seconds the renter's money is still there or was paid; what it paid for
    more was returned when the lease was ended."""
    return _field(course, 192, _SECONDS)


def _field(word: int, shift: int, bits: int) -> int:
    return word >> shift & (1 << bits) - 1


def _wallet(word: int) -> Wallet:
    return Wallet(_field(word, 0, 160).to_bytes(20, "big"))
