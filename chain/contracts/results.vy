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

        One word per bundle, `meta`:

            bits   0..143   9 bits per seat: lanes in which its report deviates
            bits 144..159   bit per seat: it reported
            bits 160..175   provider slots of the shard allocated before the epoch, 1..256
            bit  176        the word of fraud is of this bundle (it is written only if it is not 0)
            bits 224..255   epoch

        And sixteen words of scores per bundle. In word w, lane by lane: 15 bits of score, and in
        the lane's top bit, for lane i, bit i of the stake units that the checker of seat w had when
        the bundle was accepted; 0 if the seat did not report.
"""

from . import committee as draw
from . import lanes

# Seats of a committee at most, and providers of a shard.
MAX_SEATS: constant(uint256) = 16
SHARD_LANES: constant(uint256) = 256

EPOCH_MASK: constant(uint256) = 2**32 - 1
PROVIDER_TOTAL_SHIFT: constant(uint256) = 32
CHECKER_TOTAL_SHIFT: constant(uint256) = 80
CHECKER_SLOTS_SHIFT: constant(uint256) = 144
_SEED_MASK: constant(uint256) = ((2**96 - 1) << 160) | EPOCH_MASK

REPORTED_SHIFT: constant(uint256) = 144
LANES_SHIFT: constant(uint256) = 160
HAS_FRAUD: constant(uint256) = 1 << 176
META_EPOCH_SHIFT: constant(uint256) = 224
DEVIATIONS_MASK: constant(uint256) = 2**144 - 1

_MASK_9: constant(uint256) = 2**9 - 1
_MASK_16: constant(uint256) = 2**16 - 1
_MASK_48: constant(uint256) = 2**48 - 1
_MASK_64: constant(uint256) = 2**64 - 1


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
def _reported(meta: uint256, seat: uint256) -> bool:
    """
    @notice Whether the seat reported; False for seats that there are not.
    @dev Bits 160 and up are of something else.
    """
    return seat < MAX_SEATS and (meta >> unsafe_add(REPORTED_SHIFT, seat)) & 1 == 1


@internal
@pure
def _used(meta: uint256) -> uint256:
    """
    @notice Lanes in use: provider slots of the shard.
    """
    return (meta >> LANES_SHIFT) & _MASK_16


@internal
@pure
def _deviating(meta: uint256, seat: uint256) -> uint256:
    """
    @notice Lanes in which the report of `seat`, which is below 16, deviates.
    """
    return (meta >> unsafe_mul(9, seat)) & _MASK_9


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
def _units(scores: uint256) -> uint256:
    """
    @notice The stake units in the spare bits of word w of the scores, which are those of seat w.
    """
    return lanes._gather_tops(scores)


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
