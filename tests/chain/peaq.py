"""Contracts of ours at peaq's addresses, and what a provider there looks like."""

from dataclasses import dataclass, replace
from functools import cache

from chain.abi import get_interface
from chain.did import MachineCard
from chain.identity import DID_PRECOMPILE
from chain.networks import LOCAL, PEAQ, MachineContracts
from protocols.types import NetworkId, NodeKey, Wallet
from tests.chain.backends import ALICE, CHAIN_ID
from tests.chain.contracts.world import deployer

assert PEAQ.machines is not None
MACHINES: MachineContracts = PEAQ.machines

PEAQ_HERE = replace(LOCAL, machines=MACHINES)
"""The local chain, with peaq's contracts of mainnet."""

CARD = MachineCard(
    chain_id=CHAIN_ID,
    network_id=NetworkId(bytes(range(32))),
    wallet=ALICE.address,
    node_key=NodeKey(b"\x5a" * 32),
)

AT_PEAQ: dict[str, Wallet] = {
    "PeaqDid": DID_PRECOMPILE,
    "PeaqMachines": MACHINES.state_and_sync,
    "PeaqMachineRegistry": MACHINES.registry,
    "PeaqSubscription": MACHINES.subscription,
    "PeaqInfoDesk": MACHINES.info_desk,
}
"""Our stand-ins, and where they stand."""


@dataclass(frozen=True)
class StandIn:
    """A compiled mock: the code that is put at an address, and how to call it."""

    code: bytes
    selectors: dict[str, bytes]


@cache
def stand_in(name: str) -> StandIn:
    compiled = deployer(name).compiler_data
    identifiers = {
        signature.split("(")[0]: int(selector, 16).to_bytes(4, "big")
        for signature, selector in _identifiers(compiled).items()
    }
    return StandIn(compiled.bytecode_runtime, identifiers)


def _identifiers(compiled: object) -> dict[str, str]:
    from vyper.compiler.output import build_method_identifiers_output

    found: dict[str, str] = build_method_identifiers_output(compiled)  # type: ignore[no-untyped-call]
    return found


def token_creation(supply: int = 10**24) -> bytes:
    """Creation code of the ERC-20 that stands for PEAQ."""
    return get_interface("Token").encode_deployment(["peaq", "PEAQ", supply])
