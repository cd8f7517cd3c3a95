"""Seeds, replayed from the contributions that made them, as Beacon.vy does it.

A contribution does accumulator = keccak256(accumulator ‖ secret ‖ hash of the block before its
own). What was contributed in an epoch reaches the seed of the next. The event of a frozen seed
tells the accumulator at its epoch's start, so a replay begins at the last one frozen before.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from chain.audit.findings import Checks, Place
from chain.events import Contributed, SeedFrozen
from protocols.hashing import keccak256
from protocols.types import Digest, Epoch, Wallet

_RANDOM_BYTES = 12
_GAP = bytes(16)


@dataclass(frozen=True, slots=True)
class Contribution:
    """A contribution, and the hash of the block before the one that it is in."""

    event: Contributed
    parent_hash: bytes


@dataclass(frozen=True, slots=True)
class SeedFacts:
    """What a replay of one seed needs.

    `before` is the last seed frozen before the epoch, None for epoch 0, `contributions` those from
    then on until the epoch's start, in order. `frozen` is the epoch's own event, `stored` what the
    Beacon answers; each None if there is none.
    """

    epoch: Epoch
    before: SeedFrozen | None
    contributions: Sequence[Contribution]
    frozen: SeedFrozen | None
    stored: Digest | None


def compute_genesis_accumulator(chain_id: int, beacon: Wallet, parent_hash: bytes) -> Digest:
    """Return what a Beacon starts from; `parent_hash` is that of the block that created it."""
    return keccak256(chain_id.to_bytes(32, "big"), bytes(12) + beacon, parent_hash)


def compute_seed(accumulator: Digest, epoch: Epoch) -> Digest:
    """Return the seed of an epoch that began with this accumulator.

    96 random bits, a gap in which Consensus keeps the epoch's totals, and the epoch.
    """
    digest = keccak256(accumulator, epoch.to_bytes(32, "big"))
    return Digest(digest[:_RANDOM_BYTES] + _GAP + epoch.to_bytes(4, "big"))


def judge_seed(facts: SeedFacts, genesis_accumulator: Digest, checks: Checks) -> Digest:
    """Return the seed that follows from the contributions; DifferenceError if the chain's differs.

    `genesis_accumulator` is what the Beacon started from.
    """
    place = Place(facts.epoch)
    accumulator = genesis_accumulator if facts.before is None else facts.before.accumulator
    for each in facts.contributions:
        accumulator = keccak256(accumulator, each.event.secret, each.parent_hash)
    seed = compute_seed(accumulator, facts.epoch)
    if facts.frozen is not None:
        found = facts.frozen
        checks.equal("Beacon", "SeedFrozen.accumulator", place, found.accumulator, accumulator)
        checks.equal("Beacon", "SeedFrozen.seed", place, found.seed, seed)
    if facts.stored is not None:
        checks.equal("Beacon", "seed", place, facts.stored, seed)
    return seed
