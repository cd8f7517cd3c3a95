#pragma version 0.4.3
#pragma evm-version london
"""
@title What a provider meets at InfoDesk on peaq: which ERC-20 PEAQ is
"""

peaqToken: public(address)


@external
def setPeaqToken(addr: address):
    self.peaqToken = addr
