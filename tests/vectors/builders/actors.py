"""Keys and names that the vectors share. Every secret is the hash of a name."""

import hashlib

from nacl.signing import SigningKey

from tests.protocols import wire_reference as ref

CHAIN_ID = 3338
CONSENSUS = bytes.fromhex("c0" * 20)
REGISTRY = bytes.fromhex("1e" * 20)
NETWORK = ref.network_id(CHAIN_ID, CONSENSUS)
OTHER_NETWORK = ref.network_id(CHAIN_ID + 1, CONSENSUS)


def secret(name: str) -> bytes:
    """32 bytes that stand for the randomness called `name`."""
    return hashlib.sha256(b"kaisar vectors: " + name.encode()).digest()


def node(name: str) -> SigningKey:
    """Node key of `name`."""
    return SigningKey(secret(name + "'s node"))


def wallet_key(name: str) -> bytes:
    """Private key of the wallet of `name`."""
    return secret(name + "'s wallet")


def wallet(name: str) -> bytes:
    """Address of the wallet of `name`."""
    return ref.wallet(wallet_key(name))
