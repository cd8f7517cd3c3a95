#pragma version 0.4.3
#pragma evm-version london
"""
@title The bit tricks of lanes.vy and committee.vy, one by one
@license Apache-2.0
"""

from chain.contracts import committee
from chain.contracts import lanes


@external
@pure
def sum_wide(word: uint256) -> uint256:
    return lanes._sum_wide(word)


@external
@pure
def spread(bits: uint256) -> uint256:
    return lanes._spread(bits)


@external
@pure
def majority(bitmaps: DynArray[uint256, 16], count: uint256) -> uint256:
    return lanes._majority(bitmaps, count)


@external
@pure
def members(
    seed: bytes32, shard: uint256, n: uint256, seats: uint256
) -> DynArray[uint256, 16]:
    k: uint256 = min(seats, n)
    offset: uint256 = committee._offset(seed, shard, n)
    drawn: DynArray[uint256, 16] = []
    for seat: uint256 in range(k, bound=16):
        drawn.append(committee._member(seed, shard, seat, n, k, offset))
    return drawn
