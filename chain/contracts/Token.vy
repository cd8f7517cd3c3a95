#pragma version 0.4.3
#pragma evm-version london
"""
@title Kaisar test token
@license Apache-2.0
@notice An ERC-20 with a fixed supply for local networks and testnets: no owner, no minting, no
        burning. On a real network an existing token's address takes its place.
@dev snekmate's ERC-20 was considered and left out: it is licensed AGPL-3.0-only, and its bytecode
     would have to be shipped in our Apache-2.0 package. Stake and rewards need nothing beyond
     ERC-20.
"""

from ethereum.ercs import IERC20
from ethereum.ercs import IERC20Detailed

implements: IERC20
implements: IERC20Detailed

# Public state in lower case: the getters' names are given by ERC-20.
name: public(immutable(String[32]))
symbol: public(immutable(String[8]))
decimals: public(constant(uint8)) = 18
totalSupply: public(immutable(uint256))

balanceOf: public(HashMap[address, uint256])
allowance: public(HashMap[address, HashMap[address, uint256]])


@deploy
def __init__(name_: String[32], symbol_: String[8], initial_supply: uint256):
    """
    @notice Creates the token and gives the whole supply to the deployer.
    @param name_ Name shown by wallets.
    @param symbol_ Ticker shown by wallets.
    @param initial_supply Supply for ever, in the smallest unit (10**-18).
    """
    name = name_
    symbol = symbol_
    totalSupply = initial_supply
    self.balanceOf[msg.sender] = initial_supply
    log IERC20.Transfer(sender=empty(address), receiver=msg.sender, value=initial_supply)


@external
def transfer(to: address, amount: uint256) -> bool:
    """
    @notice Moves `amount` from the caller to `to`.
    @param to Receiver; not the zero address.
    @param amount Amount in the smallest unit; reverts beyond the caller's balance.
    @return bool Always True.
    """
    self._transfer(msg.sender, to, amount)
    return True


@external
def transferFrom(owner: address, to: address, amount: uint256) -> bool:
    """
    @notice Moves `amount` from `owner` to `to` out of the caller's allowance.
    @param owner Whose tokens move.
    @param to Receiver; not the zero address.
    @param amount Amount in the smallest unit. An allowance of 2**256 - 1 is never used up.
    @return bool Always True.
    """
    allowed: uint256 = self.allowance[owner][msg.sender]
    assert amount <= allowed, "token: allowance is too small"
    if allowed != max_value(uint256):
        self.allowance[owner][msg.sender] = unsafe_sub(allowed, amount)
    self._transfer(owner, to, amount)
    return True


@external
def approve(spender: address, amount: uint256) -> bool:
    """
    @notice Lets `spender` move up to `amount` of the caller's tokens; replaces any earlier
            allowance.
    @param spender Who may move them.
    @param amount Amount in the smallest unit.
    @return bool Always True.
    """
    self.allowance[msg.sender][spender] = amount
    log IERC20.Approval(owner=msg.sender, spender=spender, value=amount)
    return True


@internal
def _transfer(sender: address, to: address, amount: uint256):
    assert to != empty(address), "token: receiver is the zero address"
    balance: uint256 = self.balanceOf[sender]
    assert amount <= balance, "token: balance is too small"
    self.balanceOf[sender] = unsafe_sub(balance, amount)
    # Cannot overflow: all balances together are the fixed supply.
    self.balanceOf[to] = unsafe_add(self.balanceOf[to], amount)
    log IERC20.Transfer(sender=sender, receiver=to, value=amount)
