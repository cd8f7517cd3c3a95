#pragma version 0.4.3
#pragma evm-version london
"""
@title The packed word of a participant's slot
@license Apache-2.0
@notice A slot belongs to one provider or one checker at a time. Everything that Consensus, Beacon
        and Rewards must know of it sits in one storage word, so that judging a seat costs one cold
        SLOAD:

            bits   0..159   wallet
            bits 160..191   joined_epoch   first epoch in which the tenant is active
            bits 192..223   exit_epoch     first epoch in which it is not; NO_EXIT while it stays
            bits 224..255   stake_units    what its stake weighs, now

        A suspended tenant is one that will be back: joined_epoch is later than exit_epoch, and it
        is active before its exit and again from joined_epoch on. Only checkers are suspended.

        An empty slot is the zero word: its wallet is the zero address and it is never active.
"""

# Exit epoch of a tenant that has not left. Epochs are 32 bits: at 20 s each they last 2,700 years.
NO_EXIT: constant(uint256) = 2**32 - 1

# Four billion units is far beyond any stake the unit is chosen for; a provider's stake may not be
# worth more.
MAX_UNITS: constant(uint256) = 2**32 - 1

# A checker's stake, with what was delegated to it, weighs no more than this: what a seat weighed has
# 16 bits where it is kept (results.vy).
MAX_CHECKER_UNITS: constant(uint256) = 2**15 - 1

_WALLET_MASK: constant(uint256) = 2**160 - 1
_FIELD_MASK: constant(uint256) = 2**32 - 1
_JOINED_MASK: constant(uint256) = (2**32 - 1) << 160
_EXIT_MASK: constant(uint256) = (2**32 - 1) << 192
_UNITS_MASK: constant(uint256) = (2**32 - 1) << 224


@internal
@pure
def _pack(wallet: address, joined_epoch: uint256, stake_units: uint256) -> uint256:
    """
    @notice The word of a new tenant, who has not left.
    @dev The caller guarantees joined_epoch < 2**32 and stake_units <= MAX_UNITS.
    """
    return (
        convert(convert(wallet, uint160), uint256)
        | (joined_epoch << 160)
        | (NO_EXIT << 192)
        | (stake_units << 224)
    )


@internal
@pure
def _with_exit(word: uint256, exit_epoch: uint256) -> uint256:
    """
    @notice The same tenant, leaving at `exit_epoch`.
    """
    return (word & ~_EXIT_MASK) | (exit_epoch << 192)


@internal
@pure
def _with_joined(word: uint256, joined_epoch: uint256) -> uint256:
    """
    @notice The same tenant, active from `joined_epoch` on.
    """
    return (word & ~_JOINED_MASK) | (joined_epoch << 160)


@internal
@pure
def _with_units(word: uint256, stake_units: uint256) -> uint256:
    """
    @notice The same tenant with another stake.
    """
    return (word & ~_UNITS_MASK) | (stake_units << 224)


@internal
@pure
def _wallet(word: uint256) -> address:
    """
    @notice The tenant's wallet; the zero address for an empty slot.
    """
    return convert(word & _WALLET_MASK, address)


@internal
@pure
def _joined_epoch(word: uint256) -> uint256:
    """
    @notice First epoch in which the tenant is active, or is again if it is suspended.
    """
    return (word >> 160) & _FIELD_MASK


@internal
@pure
def _exit_epoch(word: uint256) -> uint256:
    """
    @notice First epoch in which the tenant is no longer active, or NO_EXIT.
    """
    return (word >> 192) & _FIELD_MASK


@internal
@pure
def _units(word: uint256) -> uint256:
    """
    @notice The tenant's stake in whole stake units, rounded down.
    """
    return word >> 224


@internal
@pure
def _is_suspended(word: uint256) -> bool:
    """
    @notice Whether the tenant was suspended and has not left since, be it back or not.
    """
    return ((word >> 192) & _FIELD_MASK) < ((word >> 160) & _FIELD_MASK)


@internal
@pure
def _has_left(word: uint256) -> bool:
    """
    @notice Whether the tenant is on its way out, or gone. True for an empty slot.
    """
    exit: uint256 = (word >> 192) & _FIELD_MASK
    return exit != NO_EXIT and ((word >> 160) & _FIELD_MASK) <= exit


@internal
@pure
def _has_future(word: uint256, epoch: uint256) -> bool:
    """
    @notice Whether the tenant is, or may yet be, active in `epoch` or a later one.
    """
    exit: uint256 = (word >> 192) & _FIELD_MASK
    return epoch < exit or exit < ((word >> 160) & _FIELD_MASK)


@internal
@pure
def _is_active(word: uint256, epoch: uint256) -> bool:
    """
    @notice Whether the tenant takes part in `epoch`. False for an empty slot.
    """
    joined: uint256 = (word >> 160) & _FIELD_MASK
    exit: uint256 = (word >> 192) & _FIELD_MASK
    if joined <= exit:
        return joined <= epoch and epoch < exit
    return joined <= epoch or epoch < exit


@internal
@pure
def _active_wallet(word: uint256, epoch: uint256) -> address:
    """
    @notice The tenant's wallet if it takes part in `epoch`, else the zero address.
    @dev The first condition is that of everybody who was never suspended, and costs them no more
         than it did when nobody could be.
    """
    joined: uint256 = (word >> 160) & _FIELD_MASK
    exit: uint256 = (word >> 192) & _FIELD_MASK
    if joined <= epoch and epoch < exit:
        return convert(word & _WALLET_MASK, address)
    if exit < joined and (joined <= epoch or epoch < exit):
        return convert(word & _WALLET_MASK, address)
    return empty(address)
