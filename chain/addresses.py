"""Addresses of contracts that are still to be created."""

from chain.rlp_codec import encode_rlp
from protocols.hashing import keccak256
from protocols.types import Wallet


def predict_address(creator: Wallet, nonce: int) -> Wallet:
    """Return where the contract goes that `creator` creates with its transaction number `nonce`."""
    return Wallet(keccak256(encode_rlp([bytes(creator), nonce]))[12:])
