#pragma version 0.4.3
#pragma evm-version london
"""
@title What each epoch is worth
@license Apache-2.0
@notice The schedule: an epoch's pool is the deployment's base pool, less in each era, times what
        the Steward lets of it:

            base * (15, 13, 11, 0)[min(epoch // era_epochs, 3)] // 15 * emission_bps // 10,000

        What an epoch does not earn is carried on: without any score its provider pool, without any
        weight its checker pool. A closed epoch that has earned its pool adds a part of the carry to
        it, carry / carry_epochs rounded up, so that a long silence makes no single epoch worth an
        attack. Pools are whole `pool_unit`s, as four epochs' pools share a word; what rounding
        leaves is carried on too.

        No pool is larger than what the fund has left: when both together are, they are cut in
        proportion. A pool that was cut leaves the carry as it is, and what the schedule would have
        given is not made up for later: there never was money for it.
@dev Pure arithmetic on `Books`; Rewards reads and stores them.
"""

from . import results

# Where the closing of epochs stands. Of a pair the first is of providers, the second of checkers.
struct Books:
    next: uint256  # the first epoch that is not closed
    unpromised: uint256  # money that is in no pool yet
    carries: uint256[2]
    pools: uint256[2]  # of the epoch closed last

PROVIDERS: constant(uint256) = 0
CHECKERS: constant(uint256) = 1

# The eras' parts of the base, in fifteenths (protocols/params.py: EMISSION_STEPS); nothing after.
_STEPS: constant(uint256[3]) = [15, 13, 11]
_BPS: constant(uint256) = 10_000

# A carry has 96 bits where Rewards stores it, a pool 28, in units.
_CARRY_BITS: constant(uint256) = 96
MAX_POOL_UNITS: constant(uint256) = 2**28 - 1

provider_pool: public(immutable(uint256))
checker_pool: public(immutable(uint256))
era_epochs: public(immutable(uint256))
carry_epochs: public(immutable(uint256))
pool_unit: public(immutable(uint256))


@deploy
def __init__(
    provider_pool_: uint256, checker_pool_: uint256, era_epochs_: uint256, carry_epochs_: uint256
):
    assert era_epochs_ > 0 and era_epochs_ < 2**32, "rewards: era out of range"
    assert carry_epochs_ > 0 and carry_epochs_ < 2**32, "rewards: carry out of range"
    larger: uint256 = max(provider_pool_, checker_pool_)
    # Nothing is emitted after three eras, so a carry can never exceed its bits.
    assert larger < 2**_CARRY_BITS // (3 * era_epochs_), "rewards: pool is too large"
    provider_pool = provider_pool_
    checker_pool = checker_pool_
    era_epochs = era_epochs_
    carry_epochs = carry_epochs_
    # Fine enough that rounding is worth less than a millionth of a pool, and with room for 256
    # times the base.
    pool_unit = larger // 2**20 + 1


@internal
@view
def _scheduled(kind: uint256, first: uint256, until: uint256, emission_bps: uint256) -> uint256:
    """
    @notice The sum of the pools that the schedule has for the epochs from `first` up to but not
            including `until`, however many.
    """
    base: uint256 = provider_pool
    if kind == CHECKERS:
        base = checker_pool
    sum: uint256 = 0
    for era: uint256 in range(3):
        begin: uint256 = max(first, unsafe_mul(era, era_epochs))
        end: uint256 = min(until, unsafe_mul(unsafe_add(era, 1), era_epochs))
        if begin < end:
            sum += unsafe_sub(end, begin) * (base * _STEPS[era] // 15 * emission_bps // _BPS)
    return sum


@internal
@view
def _closed(books: Books, emission_bps: uint256, epoch_word: uint256) -> Books:
    """
    @notice The books after the next epoch was closed.
    @param epoch_word What Consensus keeps of the epoch (results.vy).
    """
    totals: uint256[2] = [
        results._provider_total(epoch_word), results._checker_total(epoch_word)
    ]
    scheduled: uint256[2] = [0, 0]
    due: uint256[2] = [0, 0]
    both: uint256 = 0
    for kind: uint256 in range(2):
        scheduled[kind] = self._scheduled(kind, books.next, books.next + 1, emission_bps)
        if totals[kind] > 0:
            # Rounded up, so that the last of a carry arrives too.
            part: uint256 = (books.carries[kind] + carry_epochs - 1) // carry_epochs
            due[kind] = scheduled[kind] + part
            both += due[kind]

    result: Books = books
    result.next = books.next + 1
    for kind: uint256 in range(2):
        pool: uint256 = due[kind]
        # What the carry loses to the epoch, or gains.
        taken: uint256 = 0
        if both > books.unpromised:
            pool = books.unpromised * pool // both
        pool = min(pool // pool_unit, MAX_POOL_UNITS) * pool_unit
        if both > books.unpromised and totals[kind] > 0:
            taken = max(pool, scheduled[kind])
        else:
            taken = pool
        result.pools[kind] = pool
        result.carries[kind] = books.carries[kind] + scheduled[kind] - taken
        result.unpromised -= pool
    return result
