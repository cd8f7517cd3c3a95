#pragma version 0.4.3
#pragma evm-version london
"""
@title What a provider meets at MachineRegistry on peaq: who owns which machine
"""

STATE_AND_SYNC: constant(address) = 0xcD1917FB2a56459AcA34FDD118e08776dE0890f2

_owners: HashMap[uint256, address]


@external
@view
def ownerOf(tokenId: uint256) -> address:
    owner: address = self._owners[tokenId]
    # The real one reverts with ERC721NonexistentToken(uint256).
    if owner == empty(address):
        raw_revert(abi_encode(tokenId, method_id=method_id("ERC721NonexistentToken(uint256)")))
    return owner


@external
@view
def computeTokenId(machineType: String[64], credentialSubject: Bytes[256]) -> uint256:
    return convert(keccak256(abi_encode(machineType, credentialSubject)), uint256)


@external
def mint(machine_id: uint256, owner: address):
    assert msg.sender == STATE_AND_SYNC, "not the machines' contract"
    assert self._owners[machine_id] == empty(address), "exists"
    self._owners[machine_id] = owner
