"""Signatures of node keys and wallets, beside eth_account and libsodium."""

from typing import Any

import pytest
from eth_account import Account
from eth_keys.datatypes import PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from protocols.errors import ForgedError
from protocols.signing import (
    compute_network_id,
    is_binding_valid,
    recover_wallet,
    sign_binding,
    sign_digest,
    sign_node_message,
    verify_node_signature,
    wallet_of_public_key,
)
from protocols.types import Digest, NetworkId, NodeKey, Wallet
from tests.vectors.builders.actors import NETWORK as NETWORK_BYTES
from tests.vectors.builders.actors import node, wallet, wallet_key
from tests.vectors.generate import load

Case = dict[str, Any]

NETWORK = NetworkId(NETWORK_BYTES)
NETWORK_IDS = load("signing/network_ids.json")
BINDINGS = load("signing/bindings.json")
WALLETS = load("signing/wallet_signatures.json")

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

private_keys = st.integers(1, ORDER - 1).map(lambda number: number.to_bytes(32, "big"))
digests = st.binary(min_size=32, max_size=32).map(Digest)


@pytest.mark.parametrize("case", NETWORK_IDS)
def test_network_id_vector(case: Case) -> None:
    found = compute_network_id(case["chain_id"], Wallet(bytes.fromhex(case["consensus"])))

    assert found.hex() == case["network"]


def test_network_ids_differ() -> None:
    assert len({case["network"] for case in NETWORK_IDS}) == len(NETWORK_IDS)


@pytest.mark.parametrize("case", BINDINGS["cases"], ids=lambda case: case["name"])
def test_binding_vector(case: Case) -> None:
    assert (
        is_binding_valid(
            NodeKey(bytes.fromhex(case["node_key"])),
            case["chain_id"],
            Wallet(bytes.fromhex(case["registry"])),
            Wallet(bytes.fromhex(case["wallet"])),
            bytes.fromhex(case["binding"]),
        )
        is case["valid"]
    )


def test_binding_is_made_as_in_the_vector() -> None:
    case = BINDINGS["cases"][0]

    binding = sign_binding(
        SigningKey(bytes.fromhex(BINDINGS["private_seed"])),
        case["chain_id"],
        Wallet(bytes.fromhex(case["registry"])),
        Wallet(bytes.fromhex(case["wallet"])),
    )

    assert case["name"] == "valid"
    assert binding.hex() == case["binding"]


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_no_bytes_bind_by_chance(node_key: bytes, binding: bytes) -> None:
    assert not is_binding_valid(NodeKey(node_key), 1, Wallet(bytes(20)), Wallet(bytes(20)), binding)


def test_node_signature_covers_domain_network_and_message() -> None:
    key = node("alice")
    signature = sign_node_message(key, b"domain", NETWORK, b"message")
    signer = NodeKey(bytes(key.verify_key))

    verify_node_signature(signer, b"domain", NETWORK, b"message", signature)

    other_network = NetworkId(bytes(32))
    bob = NodeKey(bytes(node("bob").verify_key))
    for arguments in (
        (bob, b"domain", NETWORK, b"message", signature),
        (signer, b"domaim", NETWORK, b"message", signature),
        (signer, b"domain", other_network, b"message", signature),
        (signer, b"domain", NETWORK, b"messagf", signature),
        (signer, b"domain", NETWORK, b"message", bytes(64)),
        (signer, b"domain", NETWORK, b"message", signature[:-1]),
        (NodeKey(b"short"), b"domain", NETWORK, b"message", signature),
    ):
        with pytest.raises(ForgedError) as caught:
            verify_node_signature(*arguments)
        assert caught.value.reason == "bad node signature"


@pytest.mark.parametrize("case", WALLETS["valid"])
def test_wallet_signature_vector(case: Case) -> None:
    digest = Digest(bytes.fromhex(case["digest"]))
    signature = bytes.fromhex(case["signature"])

    assert sign_digest(bytes.fromhex(case["private_key"]), digest) == signature
    assert recover_wallet(digest, signature).hex() == case["wallet"]


@pytest.mark.parametrize("case", WALLETS["invalid"], ids=lambda case: case["name"])
def test_invalid_wallet_signature_is_refused(case: Case) -> None:
    with pytest.raises(ForgedError) as caught:
        recover_wallet(Digest(bytes.fromhex(case["digest"])), bytes.fromhex(case["signature"]))

    assert caught.value.reason == case["reason"]


def test_the_largest_low_s_is_not_refused_for_its_size() -> None:
    half = (ORDER // 2).to_bytes(32, "big")
    r = bytes.fromhex(WALLETS["valid"][0]["signature"])[:32]

    assert len(recover_wallet(Digest(bytes(31) + b"\x01"), r + half + b"\x1b")) == 20


@given(private_keys, digests)
def test_signatures_are_those_of_eth_account(private_key: bytes, digest: Digest) -> None:
    signature = sign_digest(private_key, digest)

    assert signature == bytes(Account.unsafe_sign_hash(digest, private_key).signature)
    assert (
        recover_wallet(digest, signature).hex()
        == Account.from_key(private_key).address.removeprefix("0x").lower()
    )


@given(digests, st.binary(min_size=64, max_size=64), st.sampled_from([27, 28]))
def test_arbitrary_signatures_recover_as_in_eth_account_or_are_refused(
    digest: Digest, rs: bytes, v: int
) -> None:
    signature = rs + bytes([v])
    try:
        found = recover_wallet(digest, signature)
    except ForgedError:
        return

    recovered = Account._recover_hash(digest, signature=signature)
    assert found.hex() == recovered.removeprefix("0x").lower()


@given(digests, st.binary(max_size=70))
def test_arbitrary_bytes_are_recovered_or_refused(digest: Digest, signature: bytes) -> None:
    try:
        found = recover_wallet(digest, signature)
    except ForgedError:
        return

    assert len(found) == 20


@pytest.mark.parametrize("name", ["provider", "checker"])
def test_wallet_of_a_public_key(name: str) -> None:
    public = PrivateKey(wallet_key(name)).public_key.to_bytes()

    assert wallet_of_public_key(b"\x04" + public) == wallet(name)
