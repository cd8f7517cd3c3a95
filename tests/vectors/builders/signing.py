"""tests/vectors/signing: network ids, bindings of node keys to wallets, wallet signatures."""

from collections.abc import Iterator
from typing import Any

from eth_account import Account

from tests.protocols import wire_reference as ref
from tests.vectors.builders.actors import (
    CHAIN_ID,
    CONSENSUS,
    REGISTRY,
    node,
    secret,
    wallet,
    wallet_key,
)

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Order of secp256k1."""


def network_ids() -> list[dict[str, Any]]:
    """Deployments that differ in one thing each."""
    return [
        {"chain_id": chain_id, "consensus": consensus.hex(), "network": network.hex()}
        for chain_id, consensus in (
            (CHAIN_ID, CONSENSUS),
            (9990, CONSENSUS),
            (CHAIN_ID, REGISTRY),
            ((1 << 64) - 1, bytes(20)),
        )
        for network in [ref.network_id(chain_id, consensus)]
    ]


def bindings() -> dict[str, Any]:
    """A binding, and what it does not bind."""
    key, address = node("provider"), wallet("provider")
    good = ref.binding(key, CHAIN_ID, REGISTRY, address)
    base = {
        "node_key": bytes(key.verify_key),
        "chain_id": CHAIN_ID,
        "registry": REGISTRY,
        "wallet": address,
        "binding": good,
    }
    spoilt: dict[str, dict[str, Any]] = {
        "valid": {},
        "other_node_key": {"node_key": bytes(node("outsider").verify_key)},
        "other_chain": {"chain_id": CHAIN_ID + 1},
        "other_registry": {"registry": CONSENSUS},
        "other_wallet": {"wallet": wallet("outsider")},
        "binding_bit_flipped": {"binding": bytes([good[0] ^ 1]) + good[1:]},
        "binding_of_zeros": {"binding": bytes(64)},
        "binding_is_short": {"binding": good[:-1]},
        "node_key_is_no_point": {"node_key": b"\xff" * 32},
        "node_key_of_zeros": {"node_key": bytes(32)},
    }
    return {
        "private_seed": secret("provider's node").hex(),
        "cases": [
            {
                "name": name,
                **{
                    field: value.hex() if isinstance(value, bytes) else value
                    for field, value in {**base, **change}.items()
                },
                "valid": not change,
            }
            for name, change in spoilt.items()
        ],
    }


def wallet_signatures() -> dict[str, Any]:
    """Signatures of digests, and 65 bytes (or not) that are none."""
    return {
        "valid": [
            {
                "private_key": wallet_key(name).hex(),
                "wallet": wallet(name).hex(),
                "digest": digest.hex(),
                "signature": bytes(
                    Account.unsafe_sign_hash(digest, wallet_key(name)).signature
                ).hex(),
            }
            for name in ("provider", "checker", "alice", "bob")
            for digest in (secret("digest"), bytes(32), b"\xff" * 32)
        ],
        "invalid": [
            {
                "name": name,
                "digest": secret("digest").hex(),
                "signature": signature.hex(),
                "reason": "bad wallet signature",
            }
            for name, signature in spoilt_signatures(secret("digest"), wallet_key("checker"))
        ],
    }


def spoilt_signatures(digest: bytes, private_key: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield what contract and nodes refuse to recover a wallet from."""
    good = bytes(Account.unsafe_sign_hash(digest, private_key).signature)
    r, s, v = good[:32], int.from_bytes(good[32:64], "big"), good[64]
    yield "empty", b""
    yield "too_short", good[:-1]
    yield "too_long", good + b"\x00"
    yield "zeros", bytes(65)
    yield "zeros_with_v", bytes(64) + b"\x1b"
    yield "v_is_0", good[:64] + b"\x00"
    yield "v_is_1", good[:64] + b"\x01"
    yield "v_is_26", good[:64] + b"\x1a"
    yield "v_is_29", good[:64] + b"\x1d"
    yield "high_s", r + (ORDER - s).to_bytes(32, "big") + bytes([27 + 28 - v])
    yield "s_above_half", r + (ORDER // 2 + 1).to_bytes(32, "big") + bytes([v])
    yield "s_is_0", r + bytes(32) + bytes([v])
    yield "r_is_0", bytes(32) + good[32:]
    yield "r_is_the_order", ORDER.to_bytes(32, "big") + good[32:]
    yield "r_is_no_x_of_a_point", (5).to_bytes(32, "big") + good[32:]


FILES = {
    "signing/network_ids.json": network_ids,
    "signing/bindings.json": bindings,
    "signing/wallet_signatures.json": wallet_signatures,
}
