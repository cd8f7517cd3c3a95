#pragma version 0.4.3
#pragma evm-version london
"""
@title How many slots there were before an epoch, and whether bundles are paused
@license Apache-2.0
@notice Slots of both kinds are numbered in the order in which they are first allocated, so "the
        slots allocated before epoch e" are the first n of them, and everybody must agree on n. One
        storage word answers for the current and the previous epoch, the only ones in which bundles
        are judged. The same word says until when no bundle is taken, so that settling a shard does
        not read a second one.
@dev Let a be the latest epoch in which a slot of either kind was allocated, and b the one before
     it. The word holds three counts of each kind, the slots now, before a and before b: of
     providers in 32 bits each from bit 0, of checkers in 16 bits each from bit 96. Then come a and
     b, 32 bits each from bit 144, and from bit 208 the end of the pause in Unix seconds.
"""

from . import failing

# The two kinds of participant, as they appear in events and as keys of the Registry's maps.
PROVIDER: constant(uint256) = 0
CHECKER: constant(uint256) = 1

# Slots of one kind that the word can count. Consensus keeps the number of checkers in 15 bits.
MAX_SLOTS: constant(uint256) = 2**32 - 1
MAX_CHECKERS: constant(uint256) = 2**15 - 1

_CHECKER_SHIFT: constant(uint256) = 96
_A_SHIFT: constant(uint256) = 144
_B_SHIFT: constant(uint256) = 176
_PAUSE_SHIFT: constant(uint256) = 208
_MASK_16: constant(uint256) = 2**16 - 1
_MASK_32: constant(uint256) = 2**32 - 1
_PAUSE_MASK: constant(uint256) = (2**48 - 1) << _PAUSE_SHIFT

_word: uint256


@internal
@view
def _count(kind: uint256) -> uint256:
    """
    @notice Slots of a kind ever allocated.
    """
    word: uint256 = self._word
    if kind == PROVIDER:
        return word & _MASK_32
    return (word >> _CHECKER_SHIFT) & _MASK_16


@internal
@view
def _paused_until() -> uint256:
    """
    @notice Unix seconds from which on bundles are taken (again).
    """
    return self._word >> _PAUSE_SHIFT


@internal
@view
def _slots_before(epoch: uint256) -> (uint256, uint256):
    """
    @notice Provider slots and checker slots allocated before `epoch`.
    @dev The caller guarantees that `epoch` is the current epoch or the one before. A later epoch's
         numbers could still grow; an earlier one's may have been forgotten.
    """
    word: uint256 = self._word
    if epoch <= (word >> _A_SHIFT) & _MASK_32:
        # Nothing was allocated between b and a, so every epoch after b sees what was there before
        # a. And epoch is not before b: b < a <= current.
        if epoch > (word >> _B_SHIFT) & _MASK_32:
            return (word >> 32) & _MASK_32, (word >> 112) & _MASK_16
        return (word >> 64) & _MASK_32, (word >> 128) & _MASK_16
    return word & _MASK_32, (word >> _CHECKER_SHIFT) & _MASK_16


@internal
def _allocate(kind: uint256, epoch: uint256) -> uint256:
    """
    @notice Allocates the next slot of a kind, in the current epoch.
    @return uint256 Its index; reverts when there are as many as can be counted.
    """
    word: uint256 = self._word
    providers: uint256 = word & _MASK_32
    checkers: uint256 = (word >> _CHECKER_SHIFT) & _MASK_16
    a: uint256 = (word >> _A_SHIFT) & _MASK_32
    if epoch > a:
        word = (
            providers
            | (providers << 32)
            | (((word >> 32) & _MASK_32) << 64)
            | (checkers << _CHECKER_SHIFT)
            | (checkers << 112)
            | (((word >> 112) & _MASK_16) << 128)
            | (epoch << _A_SHIFT)
            | (a << _B_SHIFT)
            | (word & _PAUSE_MASK)
        )
    if kind == PROVIDER:
        if providers >= MAX_SLOTS:
            failing._fail("registry: no slot is free")
        self._word = word + 1
        return providers
    if checkers >= MAX_CHECKERS:
        failing._fail("registry: no slot is free")
    self._word = word + (1 << _CHECKER_SHIFT)
    return checkers


@internal
def _pause(until: uint256):
    """
    @notice Takes no bundles before `until`, Unix seconds below 2**48.
    """
    self._word = (self._word & ~_PAUSE_MASK) | (until << _PAUSE_SHIFT)
