"""A made-up deployment and logs of its contracts."""

from typing import Any

from eth_abi.abi import encode

from chain.abi import CONTRACTS, get_interface
from chain.deployment import Contract, Deployment
from chain.records import Log
from protocols.hashing import keccak256
from protocols.params import MINIMAL
from protocols.types import Wallet

PLACES = {name: Wallet(bytes([index + 1]) * 20) for index, name in enumerate(CONTRACTS)}

DEPLOYMENT = Deployment(
    chain_id=31337,
    genesis=1_700_000_000,
    block=7,
    contracts={name: Contract(place, keccak256(name.encode())) for name, place in PLACES.items()},
    preset=MINIMAL,
)


def make_log(contract: str, event: str, values: dict[str, Any]) -> Log:
    """A log as the contract would emit it."""
    shape = get_interface(contract).events[event]
    indexed = [(kind, values[name]) for name, kind, is_indexed in shape.inputs if is_indexed]
    plain = [(kind, values[name]) for name, kind, is_indexed in shape.inputs if not is_indexed]
    return Log(
        address=PLACES[contract],
        topics=(shape.topic, *(encode([kind], [value]) for kind, value in indexed)),
        data=encode([kind for kind, _ in plain], [value for _, value in plain]),
        block_number=9,
        transaction_hash=b"\x77" * 32,
        log_index=0,
    )
