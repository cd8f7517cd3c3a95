#pragma version 0.4.3
#pragma evm-version london
"""
@title The packed word of slots.vy, one question at a time
@license Apache-2.0
"""

from chain.contracts import slots


@external
@pure
def is_active(word: uint256, epoch: uint256) -> bool:
    return slots._is_active(word, epoch)


@external
@pure
def active_wallet(word: uint256, epoch: uint256) -> address:
    return slots._active_wallet(word, epoch)


@external
@pure
def is_suspended(word: uint256) -> bool:
    return slots._is_suspended(word)


@external
@pure
def has_left(word: uint256) -> bool:
    return slots._has_left(word)


@external
@pure
def has_future(word: uint256, epoch: uint256) -> bool:
    return slots._has_future(word, epoch)


@external
@pure
def changed(
    word: uint256, joined_epoch: uint256, exit_epoch: uint256, units: uint256
) -> uint256:
    return slots._with_units(
        slots._with_exit(slots._with_joined(word, joined_epoch), exit_epoch), units
    )
