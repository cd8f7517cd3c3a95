#pragma version 0.4.3
#pragma evm-version london
"""
@title In which epochs a checker contributed to the Beacon
@license Apache-2.0
@notice One word per checker slot: bits 0..31 the epoch of its latest commitment, bit 32 + d whether
        it contributed d epochs before that one. So 224 epochs of history fit, and a claim of many
        epochs reads one word.
"""

# Epochs that are remembered, up to the latest commitment.
HISTORY_EPOCHS: constant(uint256) = 224

EPOCH_MASK: constant(uint256) = 2**32 - 1


@internal
@pure
def _contributed(history: uint256, epoch: uint256) -> bool:
    """
    @notice Whether the slot contributed in `epoch`; False for one that is not remembered.
    """
    last: uint256 = history & EPOCH_MASK
    if epoch > last or last - epoch >= HISTORY_EPOCHS:
        return False
    return (history >> (32 + last - epoch)) & 1 == 1


@internal
@pure
def _aged(history: uint256, epoch: uint256) -> uint256:
    """
    @notice The contributions in `history` as seen from `epoch`, epoch field replaced.
    @dev Shifting a 224-bit field left drops what is older than 224 epochs.
    """
    age: uint256 = epoch - (history & EPOCH_MASK)
    return (((history >> 32) << age) << 32) | epoch
