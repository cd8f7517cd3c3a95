"""The signed wrapper of every message, and the steps of trust: bytes → Envelope → Verified.

An envelope is the array [version, kind, network id, signer, body, signature]. The signature
covers `"kaisar/message/" ‖ version ‖ kind ‖ network id ‖ body`.
"""

from dataclasses import dataclass
from typing import Generic, TypeVar

from nacl.signing import SigningKey

from protocols.codec import decode, encode
from protocols.errors import ForgedError, MalformedError
from protocols.params import PROTOCOL_VERSION
from protocols.signing import NODE_SIGNATURE_BYTES, sign_node_message, verify_node_signature
from protocols.types import NetworkId, NodeKey
from protocols.wire import Message

MessageT = TypeVar("MessageT", bound=Message)

ENVELOPE_OVERHEAD = 256
"""Room for everything around the body: 142 bytes at most."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """Parsed, of the right network and version, but not yet checked for its signature."""

    kind: int
    signer: NodeKey
    body: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Verified(Generic[MessageT]):
    """A message whose signature holds. `raw` are the exact bytes, to be stored or passed on."""

    signer: NodeKey
    message: MessageT
    body: bytes
    raw: bytes


def seal(key: SigningKey, network: NetworkId, message: Message) -> bytes:
    """Sign `message` and wrap it for sending."""
    body = message.encode()
    signature = sign_node_message(key, _domain(message.KIND), network, body)
    return encode([PROTOCOL_VERSION, message.KIND, network, bytes(key.verify_key), body, signature])


def decode_envelope(data: bytes, max_bytes: int, network: NetworkId) -> Envelope:
    """Parse an envelope; MalformedError names what is wrong, without touching the body."""
    values = decode(data, max_bytes)
    if len(values) != 6:
        raise MalformedError("wrong field count", f"{len(values)} in an envelope")
    version, kind, found_network, signer, body, signature = values
    if version != PROTOCOL_VERSION:
        found = version if isinstance(version, int) else type(version).__name__
        raise MalformedError("wrong version", f"found {found}, expected {PROTOCOL_VERSION}")
    if found_network != network:
        raise MalformedError("wrong network")
    if not isinstance(kind, int) or not isinstance(body, bytes):
        raise MalformedError("bad envelope")
    if not isinstance(signer, bytes) or len(signer) != 32:
        raise MalformedError("bad envelope", "signer")
    if not isinstance(signature, bytes) or len(signature) != NODE_SIGNATURE_BYTES:
        raise MalformedError("bad envelope", "signature")
    return Envelope(kind, NodeKey(signer), body, signature)


def open_envelope(
    data: bytes,
    expected: type[MessageT],
    network: NetworkId,
    *,
    signer: NodeKey | None = None,
    max_bytes: int | None = None,
) -> Verified[MessageT]:
    """Parse and check a message of one kind, from `signer` when one is expected.

    The cheap checks come first: size, form, kind, expected signer, then the signature, then the
    fields. `max_bytes` lowers the cap of the body where the caller knows better.
    Raises MalformedError or ForgedError.
    """
    cap = expected.MAX_BYTES if max_bytes is None else min(expected.MAX_BYTES, max_bytes)
    envelope = decode_envelope(data, cap + ENVELOPE_OVERHEAD, network)
    if envelope.kind != expected.KIND:
        raise MalformedError("wrong kind", f"found {envelope.kind}, expected {expected.KIND}")
    if signer is not None and envelope.signer != signer:
        raise ForgedError("unexpected signer")
    verify_node_signature(
        envelope.signer, _domain(envelope.kind), network, envelope.body, envelope.signature
    )
    return Verified(envelope.signer, expected.decode(envelope.body), envelope.body, data)


def peek_kind(data: bytes, max_bytes: int, network: NetworkId) -> int:
    """Return the kind of an envelope where one of several may come; MalformedError otherwise."""
    return decode_envelope(data, max_bytes, network).kind


def _domain(kind: int) -> bytes:
    return b"kaisar/message/" + bytes([PROTOCOL_VERSION]) + kind.to_bytes(2, "big")
