#pragma version 0.4.3
#pragma evm-version london
"""
@title The words in which results are kept
@license Apache-2.0
@notice Consensus keeps three kinds of words (ring.vy) and hands them out as they are, so that a
        claim of many epochs costs one call; whoever reads them takes them apart with this module.

        One word per epoch:

            bits   0..31    epoch
            bits  32..79    sum of all scores accepted so far
            bits  80..143   sum of all weight * stake units accepted so far
            bits 144..159   checker slots allocated before the epoch
            bits 160..255   what is random in the epoch's seed

        So with bits 32..159 cleared it is the seed (Beacon.vy). The sums stay below 2**47 (2**32
        scores of 15 bits) and 2**52 (2**24 shards, 16 seats, weight 2**8, 15 bits of units).

        Two words per bundle, one for each half of the committee: half 0 is of seats 0..7, half 1 of
        seats 8..15, and written only if one of them reported. Seat by seat, beginning with the
        half's first:

            bits   0..71    9 bits per seat: lanes in which its report deviates
            bits  72..199   16 bits per seat: the stake units that its checker had when the bundle
                            was accepted; 0 if the seat did not report
            bits 200..207   bit per seat: it reported
            bits 208..216   provider slots of the shard allocated before the epoch, 1..256
            bit  217        in half 0: the word of fraud is of this bundle (it is written only if it
                            is not 0)
            bits 224..255   epoch

        And sixteen words of scores per bundle, lane l in word l // 16 (lanes.vy).
"""

from . import committee as draw

# Seats of a committee at most, and providers of a shard.
MAX_SEATS: constant(uint256) = 16
SHARD_LANES: constant(uint256) = 256

EPOCH_MASK: constant(uint256) = 2**32 - 1
PROVIDER_TOTAL_SHIFT: constant(uint256) = 32
CHECKER_TOTAL_SHIFT: constant(uint256) = 80
CHECKER_SLOTS_SHIFT: constant(uint256) = 144
_SEED_MASK: constant(uint256) = ((2**96 - 1) << 160) | EPOCH_MASK

HALF_SEATS: constant(uint256) = 8
UNITS_SHIFT: constant(uint256) = 72
REPORTED_SHIFT: constant(uint256) = 200
LANES_SHIFT: constant(uint256) = 208
HAS_FRAUD: constant(uint256) = 1 << 217
HALF_EPOCH_SHIFT: constant(uint256) = 224

# The fields of a half when they are put together or taken apart.
DEVIATIONS_BITS: constant(uint256) = 72
UNITS_BITS: constant(uint256) = 128

_MASK_8: constant(uint256) = 2**8 - 1
_MASK_9: constant(uint256) = 2**9 - 1
_MASK_16: constant(uint256) = 2**16 - 1
_MASK_48: constant(uint256) = 2**48 - 1
_MASK_64: constant(uint256) = 2**64 - 1
_MASK_72: constant(uint256) = 2**72 - 1
_MASK_128: constant(uint256) = 2**128 - 1


@internal
@pure
def _seed(epoch_word: uint256) -> bytes32:
    """
    @notice The seed of the epoch.
    """
    return convert(epoch_word & _SEED_MASK, bytes32)


@internal
@pure
def _provider_total(epoch_word: uint256) -> uint256:
    """
    @notice Sum of all scores.
    """
    return (epoch_word >> PROVIDER_TOTAL_SHIFT) & _MASK_48


@internal
@pure
def _checker_total(epoch_word: uint256) -> uint256:
    """
    @notice Sum of all weight * stake units.
    """
    return (epoch_word >> CHECKER_TOTAL_SHIFT) & _MASK_64


@internal
@pure
def _checker_slots(epoch_word: uint256) -> uint256:
    """
    @notice Checker slots allocated before the epoch.
    """
    return (epoch_word >> CHECKER_SLOTS_SHIFT) & _MASK_16


@internal
@pure
def _half_of(reported: uint256, deviations: uint256, units: uint256, half: uint256) -> uint256:
    """
    @notice What of these (as in IConsensus.Bundle) is of the seats of a half, as it is kept there.
    """
    return (
        ((deviations >> unsafe_mul(DEVIATIONS_BITS, half)) & _MASK_72)
        | (((units >> unsafe_mul(UNITS_BITS, half)) & _MASK_128) << UNITS_SHIFT)
        | (((reported >> unsafe_mul(HALF_SEATS, half)) & _MASK_8) << REPORTED_SHIFT)
    )


@internal
@pure
def _reported(half: uint256) -> uint256:
    """
    @notice Bit per seat of the half: it reported.
    """
    return (half >> REPORTED_SHIFT) & _MASK_8


@internal
@pure
def _deviations(half: uint256) -> uint256:
    """
    @notice 9 bits per seat of the half: lanes in which its report deviates.
    """
    return half & _MASK_72


@internal
@pure
def _all_units(half: uint256) -> uint256:
    """
    @notice 16 bits per seat of the half: the stake units of its checker.
    """
    return (half >> UNITS_SHIFT) & _MASK_128


@internal
@pure
def _used(half: uint256) -> uint256:
    """
    @notice Lanes in use: provider slots of the shard.
    """
    return (half >> LANES_SHIFT) & _MASK_9


@internal
@pure
def _deviating(half: uint256, seat: uint256) -> uint256:
    """
    @notice Lanes in which the report of `seat`, which is one of the half, deviates.
    """
    return (half >> unsafe_mul(9, seat & 7)) & _MASK_9


@internal
@pure
def _units(half: uint256, seat: uint256) -> uint256:
    """
    @notice The stake units of `seat`, which is one of the half; 0 if it did not report.
    """
    return (half >> unsafe_add(UNITS_SHIFT, (seat & 7) << 4)) & _MASK_16


@internal
@pure
def _weight(used: uint256, deviating: uint256) -> uint256:
    """
    @notice What a report is worth. It falls from `used` to half of it as the error rate rises to
            one half, and is nothing beyond: worse than a coin earns nothing.
    @param used Lanes in use, the denominator of the error rate.
    @param deviating Lanes in which the report deviates; more than `used` if it scores empty lanes.
    """
    if unsafe_mul(2, deviating) > used:
        return 0
    return unsafe_sub(used, deviating)


@internal
@pure
def _holder(epoch_word: uint256, shard: uint256, seat: uint256, seats: uint256) -> uint256:
    """
    @notice The checker index that holds a seat that reported.
    @param seats Seats of the deployment's committees.
    """
    seed: bytes32 = convert(epoch_word & _SEED_MASK, bytes32)
    n: uint256 = (epoch_word >> CHECKER_SLOTS_SHIFT) & _MASK_16
    k: uint256 = seats
    if n < seats:
        k = n
    return draw._member(seed, shard, seat, n, k, draw._offset(seed, shard, n))
