#pragma version 0.4.3
#pragma evm-version london
"""
@title How many slots there were before an epoch
@license Apache-2.0
@notice Slots of both kinds are numbered in the order in which they are first allocated, so "the
        slots allocated before epoch e" are the first n of them, and everybody must agree on n. One
        storage word answers for the current and the previous epoch, the only ones in which bundles
        are judged.
@dev Let a be the latest epoch in which a slot of either kind was allocated, and b the one before
     it. The word holds eight numbers of 32 bits: for each kind, from bit 96 * kind, the slots now,
     before a and before b; then, from bit 192, a and b.
"""

# The two kinds of participant, as they appear in events and as keys of the Registry's maps.
PROVIDER: constant(uint256) = 0
CHECKER: constant(uint256) = 1

# Slots of one kind that the word can count.
MAX_SLOTS: constant(uint256) = 2**32 - 1

_KIND_BITS: constant(uint256) = 96
_BEFORE_A_SHIFT: constant(uint256) = 32
_BEFORE_B_SHIFT: constant(uint256) = 64
_A_SHIFT: constant(uint256) = 192
_B_SHIFT: constant(uint256) = 224
_MASK: constant(uint256) = 2**32 - 1
_BOTH_COUNTS: constant(uint256) = _MASK | (_MASK << _KIND_BITS)

_word: uint256


@internal
@view
def _count(kind: uint256) -> uint256:
    """
    @notice Slots of a kind ever allocated.
    """
    return (self._word >> (_KIND_BITS * kind)) & _MASK


@internal
@view
def _slots_before(epoch: uint256) -> (uint256, uint256):
    """
    @notice Provider slots and checker slots allocated before `epoch`.
    @dev The caller guarantees that `epoch` is the current epoch or the one before. A later epoch's
         numbers could still grow; an earlier one's may have been forgotten.
    """
    word: uint256 = self._word
    if epoch <= (word >> _A_SHIFT) & _MASK:
        # Nothing was allocated between b and a, so every epoch after b sees what was there before
        # a. And epoch is not before b: b < a <= current.
        if epoch > word >> _B_SHIFT:
            word = word >> _BEFORE_A_SHIFT
        else:
            word = word >> _BEFORE_B_SHIFT
    return word & _MASK, (word >> _KIND_BITS) & _MASK


@internal
def _allocate(kind: uint256, epoch: uint256, limit: uint256) -> uint256:
    """
    @notice Allocates the next slot of a kind, in the current epoch.
    @return uint256 Its index; reverts at `limit`, which is at most MAX_SLOTS.
    """
    word: uint256 = self._word
    a: uint256 = (word >> _A_SHIFT) & _MASK
    if epoch > a:
        now: uint256 = word & _BOTH_COUNTS
        before_a: uint256 = (word >> _BEFORE_A_SHIFT) & _BOTH_COUNTS
        word = (
            now
            | (now << _BEFORE_A_SHIFT)
            | (before_a << _BEFORE_B_SHIFT)
            | (epoch << _A_SHIFT)
            | (a << _B_SHIFT)
        )
    index: uint256 = (word >> (_KIND_BITS * kind)) & _MASK
    assert index < limit, "registry: no slot is free"
    self._word = word + (1 << (_KIND_BITS * kind))
    return index
