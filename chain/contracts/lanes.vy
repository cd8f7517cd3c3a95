#pragma version 0.4.3
#pragma evm-version london
"""
@title Sixteen scores to a word
@license Apache-2.0
@notice A score has 15 bits and sits in a 16-bit lane; lane l of a vector of 256 is in word l // 16 at
        bits 16 * (l % 16) and up. The spare top bit of each lane (H) lets one instruction work on all
        sixteen: with x and m free of H, ((x | H) - m) & H has a lane's H set exactly where x >= m,
        because no lane can borrow from the next.
        A bitmap holds lane l of the vector at bit l.
"""

# The largest score.
MAX_SCORE: constant(uint256) = 32_767

# One in every lane: the whole word over one lane of it. Multiplying by it adds all lanes up in the top one.
ONES: constant(uint256) = max_value(uint256) // 65_535

# The top bit of every lane: what a score must not use.
H: constant(uint256) = ONES * 32_768

# The top bit of every byte: the same trick as H for two eight-bit counts in a lane.
BYTE_TOPS: constant(uint256) = max_value(uint256) // 255 * 128

# What is left of a lane after halving a 15-bit score: keeps the neighbour's lowest bit out.
HALF: constant(uint256) = ONES * 16_383

# Every second lane, and one in every second lane: sums of scores need more than 16 bits.
EVEN_ONES: constant(uint256) = max_value(uint256) // (2**32 - 1)
EVEN: constant(uint256) = EVEN_ONES * 65_535

# Groups of 8 bits every 128, of 4 every 64, of 2 every 32: the stages of _spread.
_GROUPS_8: constant(uint256) = max_value(uint256) // (2**128 - 1) * 255
_GROUPS_4: constant(uint256) = max_value(uint256) // (2**64 - 1) * 15
_GROUPS_2: constant(uint256) = EVEN_ONES * 3


@internal
@pure
def _sum_small(word: uint256) -> uint256:
    """
    @notice Sum of the sixteen lanes. The caller guarantees that it is below 2**16.
    """
    return unsafe_mul(word, ONES) >> 240


@internal
@pure
def _sum_wide(word: uint256) -> uint256:
    """
    @notice Sum of the eight 32-bit lanes. The caller guarantees that it is below 2**32.
    """
    return unsafe_mul(word, EVEN_ONES) >> 224


@internal
@pure
def _spread(bits: uint256) -> uint256:
    """
    @notice A word with 0xFFFF in lane i wherever bit i of the 16 `bits` is set.
    @dev Each step moves the upper half of every group of bits to its place, halving the groups.
    """
    x: uint256 = bits
    x = (x | (x << 120)) & _GROUPS_8
    x = (x | (x << 60)) & _GROUPS_4
    x = (x | (x << 30)) & _GROUPS_2
    x = (x | (x << 15)) & ONES
    return unsafe_mul(x, 65535)


@internal
@pure
def _majority(bitmaps: DynArray[uint256, 16]) -> uint256:
    """
    @notice The bits set in more than half of the bitmaps.
    @dev Counts all 256 bits at once: bit i of the planes p3 p2 p1 p0 is the binary count of bit i.
         The counts start at 16 - (threshold), so a bit has its majority exactly when its count carries
         out of p3; it starts at 7 or more and grows by at most 16, so it carries out at most once.
    """
    start: uint256 = 15 - unsafe_div(len(bitmaps), 2)
    p0: uint256 = unsafe_sub(0, start & 1)
    p1: uint256 = unsafe_sub(0, (start >> 1) & 1)
    p2: uint256 = unsafe_sub(0, (start >> 2) & 1)
    p3: uint256 = unsafe_sub(0, (start >> 3) & 1)
    carried: uint256 = 0
    for bitmap: uint256 in bitmaps:
        if bitmap != 0:
            carry: uint256 = bitmap
            next: uint256 = p0 & carry
            p0 ^= carry
            carry = p1 & next
            p1 ^= next
            next = p2 & carry
            p2 ^= carry
            carry = p3 & next
            p3 ^= next
            carried |= carry
    return carried
