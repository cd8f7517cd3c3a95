#pragma version 0.4.3
#pragma evm-version london
"""
@title Sixteen scores to a word
@license Apache-2.0
@notice A score has 15 bits and sits in a 16-bit lane; lane l of a vector of 256 is in word l // 16
        at bits 16 * (l % 16) and up. The spare top bit of each lane (H) lets one subtraction
        compare all sixteen: with m and x free of H, bit 15 of a lane of (m | H) - x is set exactly
        where x <= m, and no lane borrows from the next because (m | H) is at least 2**15 > x in
        every lane. Likewise, bit 15 of a lane of (m | H) - ONES - x is set exactly where x < m:
        2**15 + m - 1 - x is not negative. A bitmap holds lane l of the vector at bit l.
"""

# The largest score, and all bits of a lane.
MAX_SCORE: constant(uint256) = 32_767
LANE: constant(uint256) = 65_535

# One in every lane. Multiplying by it adds all lanes up in the top one.
ONES: constant(uint256) = max_value(uint256) // LANE

# The top bit of every lane, which a score must not use.
H: constant(uint256) = ONES * 2**15

# The top bit of every byte.
BYTE_TOPS: constant(uint256) = max_value(uint256) // 255 * 128

# One and two less than H in every lane.
BELOW_H: constant(uint256) = ONES * (2**15 - 1)
BELOW_H_BY_2: constant(uint256) = ONES * (2**15 - 2)

# Every second lane, and one in every second lane: sums of scores need more than 16 bits.
EVEN_ONES: constant(uint256) = max_value(uint256) // (2**32 - 1)
EVEN: constant(uint256) = EVEN_ONES * LANE

# A bit at each of the sixteen multiples of 15 from 0 to 225.
_STEPS: constant(uint256) = (2**240 - 1) // MAX_SCORE


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
    @notice A word with bit i of the 16 `bits` in the lowest bit of lane i.
    @dev The product puts bit t of the lower fifteen at t + 15 * i for every i, no two in one place.
         Lane i keeps what is at 16 * i, which is bit i. Bit 15 is put in its lane by hand.
    """
    return (unsafe_mul(bits & MAX_SCORE, _STEPS) & ONES) | ((bits >> 15) << 240)


@internal
@pure
def _majority(bitmaps: DynArray[uint256, 16], count: uint256) -> uint256:
    """
    @notice The bits set in more than half of `count` bitmaps; those that are not given are 0.
    @dev Counts all 256 bits at once: bit i of the planes p3 p2 p1 p0 is the binary count of bit i.
         The counts start so high that a bit reaches its majority, count // 2 + 1, exactly when it
         carries out of p3; they start at 15 or less and grow by at most 16, so that happens at most
         once.
    """
    start: uint256 = 15 - unsafe_div(count, 2)
    p0: uint256 = unsafe_sub(0, start & 1)
    p1: uint256 = unsafe_sub(0, (start >> 1) & 1)
    p2: uint256 = unsafe_sub(0, (start >> 2) & 1)
    p3: uint256 = unsafe_sub(0, (start >> 3) & 1)
    carried: uint256 = 0
    for bitmap: uint256 in bitmaps:
        c0: uint256 = p0 & bitmap
        c1: uint256 = p1 & c0
        c2: uint256 = p2 & c1
        carried |= p3 & c2
        p0 ^= bitmap
        p1 ^= c0
        p2 ^= c1
        p3 ^= c2
    return carried
