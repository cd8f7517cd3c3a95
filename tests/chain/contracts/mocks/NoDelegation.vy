#pragma version 0.4.3
#pragma evm-version london
"""
@title Holds the place of Delegation: nothing was ever delegated
@license Apache-2.0
"""


@external
def slash(index: uint256, bps: uint256) -> uint256:
    return 0
