"""The document that peaq's DID precompile stores: protobuf, in the form of peaq's own SDK.

Written by hand, since it is five messages of texts. Field numbers are those of
`did_document_format.proto` in peaq-sdk 1.0.1; the stored value is the message's hexadecimal digits
as ASCII, as that SDK stores it (`did.py`, `_create_evm`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from eth_utils.address import to_checksum_address

from protocols.types import NetworkId, NodeKey, Wallet

SECP256K1: Final = "EcdsaSecp256k1RecoveryMethod2020"
ED25519: Final = "Ed25519VerificationKey2020"

NODE_SERVICE: Final = "#kaisar"
SERVICE_TYPE: Final = "KaisarProvider"

_ED25519_CODEC: Final = b"\xed\x01"
"""Multicodec of an Ed25519 public key."""

_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

_LENGTH_DELIMITED: Final = 2


@dataclass(frozen=True, slots=True)
class MachineCard:
    """Whom a document speaks of: a provider's wallet and node key in one network on one chain."""

    chain_id: int
    network_id: NetworkId
    wallet: Wallet
    node_key: NodeKey

    @property
    def address(self) -> str:
        """The wallet with its checksum."""
        return str(to_checksum_address(self.wallet))

    @property
    def did(self) -> str:
        """The wallet as a DID of peaq's older kind; machines of the newer kind have numbers."""
        return f"did:peaq:{self.address}"

    @property
    def key_text(self) -> str:
        """The node key as a Multikey: z, and Base58 of codec and key."""
        return "z" + encode_base58(_ED25519_CODEC + self.node_key)


def encode_did_document(card: MachineCard) -> bytes:
    """Return the value of the attribute: both keys of the node, and the network it works in."""
    wallet_key, node_key = f"{card.did}#keys-1", f"{card.did}#keys-2"
    document = (
        _text(1, card.did)
        + _text(2, card.did)
        + _message(
            3, _method(card, wallet_key, SECP256K1, f"eip155:{card.chain_id}:{card.address}")
        )
        + _message(3, _method(card, node_key, ED25519, card.key_text))
        + _message(5, _service(card))
        + _text(6, wallet_key)
        + _text(6, node_key)
    )
    return document.hex().encode("ascii")


def _method(card: MachineCard, name: str, kind: str, key: str) -> Sequence[str]:
    return name, kind, card.did, key


def _service(card: MachineCard) -> Sequence[str]:
    # No service_endpoint: a node's address changes, and peers find it by its key.
    return NODE_SERVICE, SERVICE_TYPE, "", card.network_id.hex()


def _message(number: int, texts: Sequence[str]) -> bytes:
    """A message whose fields 1, 2, 3 … are texts; an empty one is left out."""
    body = b"".join(_text(place, text) for place, text in enumerate(texts, 1) if text)
    return _field(number, body)


def _text(number: int, text: str) -> bytes:
    return _field(number, text.encode("utf-8"))


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def encode_base58(data: bytes) -> str:
    """Write bytes in Bitcoin's Base58; zeros in front are ones in front."""
    number = int.from_bytes(data, "big")
    digits = ""
    while number:
        number, digit = divmod(number, 58)
        digits = _BASE58[digit] + digits
    zeros = len(data) - len(data.lstrip(b"\0"))
    return "1" * zeros + digits
