#pragma version 0.4.3
#pragma evm-version london
"""
@title A token that misbehaves on request
@license Apache-2.0
"""

# What transfers do.
NORMAL: public(constant(uint256)) = 0
REVERT: public(constant(uint256)) = 1
RETURN_FALSE: public(constant(uint256)) = 2

balanceOf: public(HashMap[address, uint256])
allowance: public(HashMap[address, HashMap[address, uint256]])
totalSupply: public(uint256)
mode: public(uint256)
fee_percent: public(uint256)
refuses: public(HashMap[address, bool])
_target: address
_call: Bytes[512]


@deploy
def __init__(supply: uint256):
    self.totalSupply = supply
    self.balanceOf[msg.sender] = supply


@external
def set_mode(mode: uint256):
    self.mode = mode


@external
def set_fee(percent: uint256):
    """
    @notice Takes a fee from what the receiver gets.
    """
    self.fee_percent = percent


@external
def set_refusing(wallet: address, refuses: bool):
    """
    @notice Lets nothing be sent to a wallet, as if it were a contract that wants no tokens.
    """
    self.refuses[wallet] = refuses


@external
def set_hook(target: address, call: Bytes[512]):
    """
    @notice Calls `target` in the middle of the next transferFrom or transfer.
    """
    self._target = target
    self._call = call


@external
def approve(spender: address, amount: uint256) -> bool:
    self.allowance[msg.sender][spender] = amount
    return True


@external
def transfer(to: address, amount: uint256) -> bool:
    return self._move(msg.sender, to, amount)


@external
def transferFrom(owner: address, to: address, amount: uint256) -> bool:
    if self.mode == NORMAL:
        self.allowance[owner][msg.sender] -= amount
    return self._move(owner, to, amount)


@internal
def _move(owner: address, to: address, amount: uint256) -> bool:
    assert self.mode != REVERT and not self.refuses[to], "odd: refused"
    if self.mode == RETURN_FALSE:
        return False
    target: address = self._target
    if target != empty(address):
        self._target = empty(address)
        raw_call(target, self._call)
    fee: uint256 = amount * self.fee_percent // 100
    self.balanceOf[owner] -= amount
    self.balanceOf[to] += amount - fee
    self.totalSupply -= fee
    return True
