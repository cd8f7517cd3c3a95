#pragma version 0.4.3
#pragma evm-version london
"""
@title What a provider meets at MachineStateAndSync on peaq
@dev The ABI of peaq-os-sdk 0.12.1. It asks MachineSubscription, MachineRegistry and InfoDesk at
     their addresses on mainnet, so that it does what it does there only where they are as well.
"""

struct VerificationMethod:
    id: String[64]
    methodType: String[64]
    controller: address
    publicKeyMultibase: String[128]

struct ServiceEndpoint:
    id: String[64]
    serviceType: String[64]
    serviceEndpoint: String[128]

struct DIDDocument:
    id: String[64]
    controller: address
    verificationMethods: DynArray[VerificationMethod, 4]
    authentication: DynArray[uint256, 4]
    serviceEndpoints: DynArray[ServiceEndpoint, 4]

interface Registry:
    def mint(machine_id: uint256, owner: address): nonpayable

interface Subscription:
    def bond(machine_id: uint256, operator: address, tier: uint8): nonpayable

event MachineOnboarded:
    machineId: indexed(uint256)
    operator: indexed(address)

REGISTRY: constant(address) = 0x64b93Cc29b251fAFa83BD110cDB1C24207f85536
SUBSCRIPTION: constant(address) = 0x9e37AD189c334C92e6B8a812Ca4c02f35Ac43895

document: public(DIDDocument)
manufacturer: public(address)


@external
def activateMachine(
    doc: DIDDocument,
    machineType_: String[64],
    credentialSubject_: Bytes[256],
    manufacturer_: address,
    tier: uint8,
) -> uint256:
    assert len(machineType_) > 0, "no machine type"
    for index: uint256 in doc.authentication:
        assert index < len(doc.verificationMethods), "authentication out of range"
    machine_id: uint256 = convert(keccak256(abi_encode(machineType_, credentialSubject_)), uint256)
    self.document = doc
    self.manufacturer = manufacturer_
    extcall Registry(REGISTRY).mint(machine_id, msg.sender)
    extcall Subscription(SUBSCRIPTION).bond(machine_id, msg.sender, tier)
    log MachineOnboarded(machineId=machine_id, operator=msg.sender)
    return machine_id
