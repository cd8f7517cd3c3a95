"""What an epoch is worth and who gets it: the arithmetic of emission.vy and Rewards.vy.

The schedule gives each epoch a pool for providers and one for checkers, less in each era:

    base · (15, 13, 11, 0)[min(epoch // era_epochs, 3)] // 15 · emission_bps // 10,000

Epochs are *closed* in order. One in which nobody earned a pool carries it on; one in which somebody
did adds a part of the carry to its own. No pool is larger than the money that is in no pool yet.
Everything is rounded down, so shares never come to more than their pool, except for the part of the
carry, which is rounded up so that the last of it arrives too.
"""

from dataclasses import dataclass, replace

from protocols.params import EMISSION_STEPS, Preset
from protocols.types import Epoch

BPS = 10_000

MAX_POOL_UNITS = (1 << 28) - 1
"""A pool has 28 bits where the contract stores it, in `pool_unit`s."""

_FINEST_POOL = 1 << 20


@dataclass(frozen=True, slots=True)
class Books:
    """Where the closing of epochs stands, amounts in the token's smallest unit.

    `next_epoch` is the first that is not closed; `unpromised` is the money that is in no pool; the
    pools are those of the epoch closed last.
    """

    next_epoch: Epoch
    unpromised: int
    provider_carry: int = 0
    checker_carry: int = 0
    provider_pool: int = 0
    checker_pool: int = 0


def compute_schedule(
    base: int, epoch: Epoch, preset: Preset, *, until: Epoch | None = None, emission_bps: int = BPS
) -> int:
    """What the schedule gives to an epoch out of a base pool of the first era.

    With `until`, the sum over `epoch` … `until` − 1, however many they are.
    """
    end = epoch + 1 if until is None else until
    total = 0
    for era, step in enumerate(EMISSION_STEPS):
        first = era * preset.era_epochs
        is_last = era == len(EMISSION_STEPS) - 1
        behind = end if is_last else min(end, first + preset.era_epochs)
        count = max(0, behind - max(epoch, first))
        total += count * (base * step // EMISSION_STEPS[0] * emission_bps // BPS)
    return total


def compute_pool_unit(preset: Preset) -> int:
    """What pools are whole numbers of, so that four epochs' pools share a word of the contract."""
    return max(preset.provider_pool, preset.checker_pool) // _FINEST_POOL + 1


def skip_epochs(books: Books, until: Epoch, preset: Preset, emission_bps: int = BPS) -> Books:
    """Carry on what all epochs before `until` could have paid, as they expired before anybody
    closed them. Books that are there already stay as they are."""
    if until <= books.next_epoch:
        return books
    first = books.next_epoch

    def missed(base: int) -> int:
        return compute_schedule(base, first, preset, until=until, emission_bps=emission_bps)

    return replace(
        books,
        next_epoch=until,
        provider_carry=books.provider_carry + missed(preset.provider_pool),
        checker_carry=books.checker_carry + missed(preset.checker_pool),
    )


def close_epoch(
    books: Books,
    preset: Preset,
    *,
    has_providers: bool,
    has_checkers: bool,
    emission_bps: int = BPS,
) -> Books:
    """Close the next epoch.

    `has_providers` tells whether anybody has a score in it, `has_checkers` whether any report has a
    weight and stake behind it. When there is not enough money for what is due, both pools are cut
    in proportion; what the schedule would have given is then not made up for later.
    """
    epoch = books.next_epoch
    scheduled = [
        compute_schedule(base, epoch, preset, emission_bps=emission_bps)
        for base in (preset.provider_pool, preset.checker_pool)
    ]
    carries = (books.provider_carry, books.checker_carry)
    earned = (has_providers, has_checkers)
    dues = [
        own + -(-carry // preset.carry_epochs) if has_any else 0
        for own, carry, has_any in zip(scheduled, carries, earned, strict=True)
    ]
    both = sum(dues)
    is_cut = both > books.unpromised
    unit = compute_pool_unit(preset)
    pools, left = [], []
    for own, carry, has_any, due in zip(scheduled, carries, earned, dues, strict=True):
        amount = books.unpromised * due // both if is_cut else due
        pool = min(amount // unit, MAX_POOL_UNITS) * unit
        pools.append(pool)
        taken = max(own, pool) if is_cut and has_any else pool
        left.append(carry + own - taken)
    return Books(
        next_epoch=Epoch(epoch + 1),
        unpromised=books.unpromised - sum(pools),
        provider_carry=left[0],
        checker_carry=left[1],
        provider_pool=pools[0],
        checker_pool=pools[1],
    )


def share_pool(pool: int, part: int, whole: int) -> int:
    """What somebody earned of a pool: a provider `score` of all scores, a checker `weight · stake
    units` of all of them, per seat that reported. 0 where nobody earned anything."""
    return pool * part // whole if whole else 0


def split_commission(amount: int, commission_bps: int) -> tuple[int, int]:
    """Split a checker's claim into its own part and that of its delegators.

    Kaisar's formula: the commission is the share that goes to the delegators. The claim is split as
    a whole, not epoch by epoch.
    """
    delegators = amount * commission_bps // BPS
    return amount - delegators, delegators
