"""Who checks which shard: a stratified draw that the contract can repeat with one hash per seat.

Membership is a row of slots, allocated once and in order, so that "the slots that existed before
epoch e" is a prefix of length n. The row is turned by a random offset and cut into k nearly equal
strata; each seat is drawn within its own. Seats are therefore distinct by construction — with
independent draws, four checkers would fill fewer than three of four seats in a third of all
epochs — and the number of bad seats is a sum of independent draws with the same mean as
sampling with replacement. As long as that mean lies below a majority by one, a bad majority is
never likelier than the binomial says (Hoeffding 1956).
"""

from protocols.errors import LocalError
from protocols.hashing import keccak256
from protocols.params import MAX_SEATS
from protocols.types import Digest, Seat, Shard

_OFFSET_WORD = 0xFFFF
_RANK_BIT = 1 << 64
"""Sets the draws of ranks apart: shard and word of a seat stay below 2^48."""


def compute_committee(seed: Digest, shard: Shard, slots: int, seats: int) -> tuple[int, ...]:
    """Return the checker index of each seat: min(seats, slots) distinct indices below `slots`.

    `seed` is the epoch's, `slots` the number of checker slots created before the epoch. A seat
    whose checker has left is void; the caller decides that from the registry.
    """
    if not 0 < seats <= MAX_SEATS:
        raise LocalError(f"seats: found {seats}, expected 1 … {MAX_SEATS}")
    if slots <= 0:
        return ()
    drawn = min(seats, slots)
    offset = _draw(seed, shard, _OFFSET_WORD) % slots
    committee = []
    for seat in range(drawn):
        low, high = seat * slots // drawn, (seat + 1) * slots // drawn
        position = low + _draw(seed, shard, seat) % (high - low)
        committee.append((offset + position) % slots)
    return tuple(committee)


def compute_transmission_order(seed: Digest, shard: Shard, seats: int) -> tuple[Seat, ...]:
    """Return the seats in the order in which they send the bundle: rank 0 first.

    A keyed permutation, so that nobody is always the one who pays for the transaction.
    """
    return tuple(
        sorted(
            (Seat(seat) for seat in range(seats)),
            key=lambda seat: (_draw(seed, shard, seat, _RANK_BIT), seat),
        )
    )


def _draw(seed: Digest, shard: Shard, word: int, use: int = 0) -> int:
    packed = use | shard << 16 | word
    return int.from_bytes(keccak256(seed, packed.to_bytes(32, "big")), "big")
