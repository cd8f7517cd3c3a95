#pragma version 0.4.3
#pragma evm-version london
"""
@title Holds the place of Delegation: nothing is delegated, unless a test says what share is
@license Apache-2.0
"""

commission: public(HashMap[uint256, uint256])  # checker index -> ten-thousandths
distributed: public(HashMap[uint256, uint256])  # checker index -> what came in for its delegators


@external
def set_commission(index: uint256, bps: uint256):
    self.commission[index] = bps


@external
def distribute(index: uint256, amount: uint256):
    self.distributed[index] += amount


@external
def slash(index: uint256, bps: uint256) -> uint256:
    return 0
