#pragma version 0.4.3
#pragma evm-version london
"""
@title snekmate's ERC-20, standing for a token that somebody else wrote
@notice Used in tests only; snekmate is licensed AGPL-3.0-only.
"""

from snekmate.auth import ownable
from snekmate.tokens import erc20

initializes: ownable
initializes: erc20[ownable := ownable]

exports: erc20.__interface__


@deploy
def __init__(supply: uint256):
    ownable.__init__()
    erc20.__init__("Foreign", "FRGN", 18, "Foreign", "1")
    erc20._mint(msg.sender, supply)
