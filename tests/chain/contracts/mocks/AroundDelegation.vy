#pragma version 0.4.3
#pragma evm-version london
"""
@title Holds the places of Rewards, Consensus and the Steward around Delegation
@license Apache-2.0
"""

from ethereum.ercs import IERC20

interface IDelegation:
    def distribute(index: uint256, amount: uint256): nonpayable

token: public(address)
delegation: public(address)
ring_epochs: public(uint256)


@deploy
def __init__(token: address, delegation: address, ring_epochs: uint256):
    self.token = token
    self.delegation = delegation
    self.ring_epochs = ring_epochs


@external
@view
def consensus() -> address:
    return self


@external
@view
def value(id: uint256) -> uint256:
    """
    @notice Every parameter of the Steward's.
    """
    return 10**18


@external
def pay(index: uint256, amount: uint256):
    """
    @notice What Rewards does with the delegators' part of a claim.
    """
    extcall IERC20(self.token).transfer(self.delegation, amount, default_return_value=True)
    extcall IDelegation(self.delegation).distribute(index, amount)
