"""Signatures: Ed25519 by node keys, secp256k1 by wallets.

What is signed is always `domain tag ‖ network id ‖ exact bytes`, so that a signature made for one
kind of message, or for one deployment, is void everywhere else.
"""

import coincurve
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from protocols.errors import ForgedError
from protocols.hashing import keccak256
from protocols.types import Digest, NetworkId, NodeKey, Wallet

NODE_SIGNATURE_BYTES = 64
WALLET_SIGNATURE_BYTES = 65

_HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
"""Half of secp256k1's order: signatures above it have a twin below, and are refused."""

_BINDING_TAG = b"kaisar/binding/1"


def compute_network_id(chain_id: int, consensus: Wallet) -> NetworkId:
    """Identify a deployment by its chain and its Consensus contract."""
    return NetworkId(keccak256(b"kaisar/network/1", chain_id.to_bytes(32, "big"), consensus))


def sign_node_message(key: SigningKey, domain: bytes, network: NetworkId, message: bytes) -> bytes:
    """Sign `message` (the exact bytes sent) for `domain` and `network`; 64 bytes."""
    return key.sign(domain + network + message).signature


def verify_node_signature(
    signer: NodeKey, domain: bytes, network: NetworkId, message: bytes, signature: bytes
) -> None:
    """Raise ForgedError unless `signature` is `signer`'s over exactly these bytes."""
    try:
        VerifyKey(signer).verify(domain + network + message, signature)
    except (BadSignatureError, ValueError, TypeError) as error:
        raise ForgedError("bad node signature") from error


def compute_binding_message(chain_id: int, registry: Wallet, wallet: Wallet) -> bytes:
    """Bytes that a node key signs to say "this wallet is mine" in this registry."""
    return _BINDING_TAG + chain_id.to_bytes(32, "big") + registry + wallet


def sign_binding(key: SigningKey, chain_id: int, registry: Wallet, wallet: Wallet) -> bytes:
    """Make the 64-byte binding that a registration carries."""
    return key.sign(compute_binding_message(chain_id, registry, wallet)).signature


def is_binding_valid(
    node_key: NodeKey, chain_id: int, registry: Wallet, wallet: Wallet, binding: bytes
) -> bool:
    """Tell whether the owner of `node_key` agreed to stand behind `wallet`.

    The EVM cannot afford Ed25519 (about 500,000 gas), so every peer checks this for itself and
    ignores a registration whose binding is false.
    """
    try:
        VerifyKey(node_key).verify(compute_binding_message(chain_id, registry, wallet), binding)
    except (BadSignatureError, ValueError, TypeError):
        return False
    return True


def sign_digest(private_key: bytes, digest: Digest) -> bytes:
    """Sign a 32-byte digest with a wallet's key: r ‖ s ‖ v, low s, v in {27, 28}."""
    signature = coincurve.PrivateKey(private_key).sign_recoverable(digest, hasher=None)
    return signature[:64] + bytes([signature[64] + 27])


def recover_wallet(digest: Digest, signature: bytes) -> Wallet:
    """Find the wallet that signed `digest`.

    Raises ForgedError for a wrong length, a high s, a v other than 27 or 28, and values that are
    no signature at all: exactly what the contract refuses too.
    """
    if len(signature) != WALLET_SIGNATURE_BYTES:
        raise ForgedError("bad wallet signature", f"{len(signature)} bytes")
    if signature[64] not in (27, 28):
        raise ForgedError("bad wallet signature", "v is neither 27 nor 28")
    if int.from_bytes(signature[32:64], "big") > _HALF_ORDER:
        raise ForgedError("bad wallet signature", "high s")
    compact = signature[:64] + bytes([signature[64] - 27])
    try:
        public = coincurve.PublicKey.from_signature_and_message(compact, digest, hasher=None)
    except ValueError as error:
        raise ForgedError("bad wallet signature", "not on the curve") from error
    return wallet_of_public_key(public.format(compressed=False))


def wallet_of_public_key(uncompressed: bytes) -> Wallet:
    """Derive the wallet's address from a 65-byte uncompressed secp256k1 public key."""
    return Wallet(keccak256(uncompressed[1:])[12:])
