#pragma version 0.4.3
#pragma evm-version london
"""
@title What each epoch is worth
@license Apache-2.0
@notice The schedule: an epoch's pool is the deployment's base pool, less in each era, times what the
        Steward lets of it:

            base * (15, 13, 11, 0)[min(epoch // era_epochs, 3)] // 15 * emission_bps // 10,000

        What an epoch does not earn is carried on: without any score its provider pool, without any
        weight its checker pool. A closed epoch that has earned its pool adds a part of the carry to
        it, carry / carry_epochs rounded up, so that a long silence makes no single epoch worth an
        attack. Pools are whole `pool_unit`s, as two epochs' pools share a word; what rounding leaves
        is carried on too.

        No pool is larger than what the fund has left: when both together are, they are cut in
        proportion. A pool that was cut leaves the carry as it is, and what the schedule would have
        given is not made up for later: there never was money for it.
@dev Pure arithmetic on `Books`; Rewards reads and stores them.
"""

# Where the closing of epochs stands.
struct Books:
    next: uint256  # the first epoch that is not closed
    unpromised: uint256  # money that is in no pool yet
    provider_carry: uint256
    checker_carry: uint256
    provider_pool: uint256  # of the epoch closed last
    checker_pool: uint256

# The eras' parts of the base, in fifteenths (protocols/params.py: EMISSION_STEPS); nothing after.
_STEPS: constant(uint256[3]) = [15, 13, 11]
_BPS: constant(uint256) = 10_000

# A carry has 96 bits where Rewards stores it, a pool 56, in units.
_CARRY_BITS: constant(uint256) = 96
MAX_POOL_UNITS: constant(uint256) = 2**56 - 1

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
    # Fine enough that rounding is worth less than 10^-12 of a pool, and with room for 2^16 times the
    # base.
    pool_unit = larger // 2**40 + 1


@internal
@view
def _scheduled(first: uint256, until: uint256, emission_bps: uint256) -> (uint256, uint256):
    """
    @notice The sums of the provider pools and of the checker pools that the schedule has for the
            epochs from `first` up to but not including `until`, however many.
    """
    providers: uint256 = 0
    checkers: uint256 = 0
    for era: uint256 in range(3):
        begin: uint256 = max(first, era * era_epochs)
        end: uint256 = min(until, (era + 1) * era_epochs)
        if begin < end:
            providers += (end - begin) * (provider_pool * _STEPS[era] // 15 * emission_bps // _BPS)
            checkers += (end - begin) * (checker_pool * _STEPS[era] // 15 * emission_bps // _BPS)
    return providers, checkers


@internal
@view
def _skipped(books: Books, until: uint256, emission_bps: uint256) -> Books:
    """
    @notice The books after all epochs before `until` went by without being closed in time: their
            results are gone from the ring, and what they could have paid is carried on.
    """
    result: Books = books
    if until > books.next:
        providers: uint256 = 0
        checkers: uint256 = 0
        providers, checkers = self._scheduled(books.next, until, emission_bps)
        result.provider_carry += providers
        result.checker_carry += checkers
        result.next = until
    return result


@internal
@view
def _closed(books: Books, has_providers: bool, has_checkers: bool, emission_bps: uint256) -> Books:
    """
    @notice The books after the next epoch was closed.
    @param has_providers Whether anybody has a score in it.
    @param has_checkers Whether any report of it has a weight.
    """
    providers: uint256 = 0
    checkers: uint256 = 0
    providers, checkers = self._scheduled(books.next, books.next + 1, emission_bps)
    provider_due: uint256 = 0
    checker_due: uint256 = 0
    if has_providers:
        provider_due = providers + self._part(books.provider_carry)
    if has_checkers:
        checker_due = checkers + self._part(books.checker_carry)
    both: uint256 = provider_due + checker_due

    result: Books = books
    result.next = books.next + 1
    result.provider_pool = self._pool(provider_due, both, books.unpromised)
    result.checker_pool = self._pool(checker_due, both, books.unpromised)
    result.unpromised = books.unpromised - result.provider_pool - result.checker_pool
    cut: bool = both > books.unpromised
    result.provider_carry = self._carried(
        books.provider_carry, providers, result.provider_pool, cut and has_providers
    )
    result.checker_carry = self._carried(
        books.checker_carry, checkers, result.checker_pool, cut and has_checkers
    )
    return result


@internal
@view
def _part(carry: uint256) -> uint256:
    """
    @notice What one epoch gets of a carry: rounded up, so that the last of it arrives too.
    """
    return (carry + carry_epochs - 1) // carry_epochs


@internal
@view
def _pool(due: uint256, both: uint256, unpromised: uint256) -> uint256:
    """
    @notice The pool of an epoch in which so much is due, and `both` to providers and checkers.
    """
    pool: uint256 = due
    if both > unpromised:
        pool = unpromised * due // both
    return min(pool // pool_unit, MAX_POOL_UNITS) * pool_unit


@internal
@pure
def _carried(carry: uint256, scheduled: uint256, pool: uint256, cut: bool) -> uint256:
    """
    @notice The carry after an epoch with that schedule and that pool, which is not larger than both
            together.
    """
    if cut:
        return carry + scheduled - max(scheduled, pool)
    return carry + scheduled - pool
