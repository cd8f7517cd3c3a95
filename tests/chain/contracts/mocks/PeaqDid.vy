#pragma version 0.4.3
#pragma evm-version london
"""
@title What peaq's DID precompile does at 0x800, as far as a caller sees
@dev peaqnetwork/peaq-network-node, precompiles/peaq-did, at ea4f75c; the deposit is left out.
"""

struct Attribute:
    name: Bytes[64]
    value: Bytes[2560]
    validity: uint32
    created: uint256

event AddAttribute:
    sender: address
    did_account: address
    name: Bytes[64]
    value: Bytes[2560]
    validity: uint32

event UpdateAttribute:
    sender: address
    did_account: address
    name: Bytes[64]
    value: Bytes[2560]
    validity: uint32

_attributes: HashMap[bytes32, Attribute]
_owners: HashMap[address, HashMap[address, bool]]
refuses: public(bool)


@external
def set_refuses(refuses: bool):
    self.refuses = refuses


@external
@view
def readAttribute(did_account: address, name: Bytes[64]) -> Attribute:
    found: Attribute = self._attributes[self._key(did_account, name)]
    assert found.created > 0, "Cannot find the item"
    return found


@external
def addAttribute(
    did_account: address, name: Bytes[64], document: Bytes[2560], validity_for: uint32
) -> bool:
    assert not self.refuses, "Dispatched call failed with error: InsufficientBalance"
    key: bytes32 = self._key(did_account, name)
    assert self._attributes[key].created == 0, "Dispatched call failed with error: AttributeAlreadyExist"
    self._store(key, name, document, validity_for)
    # Whoever adds it first owns it, whosever account it is.
    self._owners[msg.sender][did_account] = True
    log AddAttribute(
        sender=msg.sender, did_account=did_account, name=name, value=document, validity=validity_for
    )
    return True


@external
def updateAttribute(
    did_account: address, name: Bytes[64], document: Bytes[2560], validity_for: uint32
) -> bool:
    assert self._owners[msg.sender][did_account], "Dispatched call failed with error: AttributeAuthorizationFailed"
    key: bytes32 = self._key(did_account, name)
    assert self._attributes[key].created > 0, "Dispatched call failed with error: AttributeNotFound"
    self._store(key, name, document, validity_for)
    log UpdateAttribute(
        sender=msg.sender, did_account=did_account, name=name, value=document, validity=validity_for
    )
    return True


@internal
def _store(key: bytes32, name: Bytes[64], document: Bytes[2560], validity_for: uint32):
    self._attributes[key] = Attribute(
        name=name, value=document, validity=validity_for, created=block.timestamp
    )


@internal
@pure
def _key(did_account: address, name: Bytes[64]) -> bytes32:
    return keccak256(abi_encode(did_account, name))
