#pragma version 0.4.3
#pragma evm-version london
"""
@title What a provider meets at MachineSubscription on peaq: a bond per tier, paid in an ERC-20
"""

interface Desk:
    def peaqToken() -> address: view

interface Token:
    def transferFrom(owner: address, receiver: address, amount: uint256) -> bool: nonpayable

STATE_AND_SYNC: constant(address) = 0xcD1917FB2a56459AcA34FDD118e08776dE0890f2
INFO_DESK: constant(address) = 0x6C7426ada37212D94477Ac4CFcA43A38177D6A82

price: public(uint256)
credits: public(HashMap[address, uint256])
tier_of: public(HashMap[uint256, uint8])


@external
def set_price(price: uint256):
    self.price = price


@external
def set_credit(operator: address, amount: uint256):
    self.credits[operator] = amount


@external
@view
def requiredPeaqAmount(tier: uint8) -> uint256:
    return self._required(tier)


@external
@view
def pendingVoucherCredit(operator: address) -> uint256:
    return self.credits[operator]


@external
def bond(machine_id: uint256, operator: address, tier: uint8):
    assert msg.sender == STATE_AND_SYNC, "not the machines' contract"
    gross: uint256 = self._required(tier)
    credit: uint256 = min(self.credits[operator], gross)
    self.credits[operator] -= credit
    self.tier_of[machine_id] = tier
    if gross > credit:
        token: address = staticcall Desk(INFO_DESK).peaqToken()
        assert extcall Token(token).transferFrom(operator, self, gross - credit)


@internal
@view
def _required(tier: uint8) -> uint256:
    assert tier < 3, "InvalidTier"
    assert self.price > 0, "PriceNotAvailable"
    return self.price * (convert(tier, uint256) + 1)
