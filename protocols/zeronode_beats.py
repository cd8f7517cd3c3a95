"""The exact bytes that a ZeroNode client and its service sign (Ed25519).

What is signed is `domain ‖ network id ‖ fields`, all of fixed width, integers big-endian. A
client's statements name the service, so that no service can pass them on to another.
"""

from typing import Final

from nacl.signing import SigningKey

from protocols.errors import LocalError
from protocols.signing import sign_node_message, verify_node_signature
from protocols.types import NetworkId, NodeKey

BEATS_VERSION: Final = 1
"""`v` of greeting and hello."""

NONCE_BYTES: Final = 32
SESSION_BYTES: Final = 16
BOOT_BYTES: Final = 16
KEY_BYTES: Final = 32
MAX_SEQUENCE: Final = (1 << 32) - 1

HELLO_DOMAIN: Final = b"kaisar/zeronode-hello/1"
CHALLENGE_DOMAIN: Final = b"kaisar/zeronode-challenge/1"
BEAT_DOMAIN: Final = b"kaisar/zeronode-beat/1"
TOKEN_DOMAIN: Final = b"kaisar/zeronode-token/1"
CONSENT_DOMAIN: Final = b"kaisar/zeronode-consent/1"


def encode_hello(service: NodeKey, nonce: bytes, boot: bytes, key: NodeKey) -> bytes:
    """What a hello says: service ‖ greeting's nonce ‖ boot ‖ key."""
    return _join((service, KEY_BYTES), (nonce, NONCE_BYTES), (boot, BOOT_BYTES), (key, KEY_BYTES))


def encode_challenge(sid: bytes, seq: int, nonce: bytes, key: NodeKey) -> bytes:
    """What a challenge says: session ‖ sequence ‖ nonce ‖ the client's key."""
    return _join((sid, SESSION_BYTES), (_sequence(seq), 4), (nonce, NONCE_BYTES), (key, KEY_BYTES))


def encode_beat(service: NodeKey, sid: bytes, seq: int, nonce: bytes, boot: bytes) -> bytes:
    """What a beat says: service ‖ session ‖ sequence ‖ the challenge's nonce ‖ boot."""
    return _join(
        (service, KEY_BYTES),
        (sid, SESSION_BYTES),
        (_sequence(seq), 4),
        (nonce, NONCE_BYTES),
        (boot, BOOT_BYTES),
    )


def encode_token_request(service: NodeKey, nonce: bytes, key: NodeKey) -> bytes:
    """What a request for an HTTP token says: service ‖ the service's nonce ‖ key."""
    return _join((service, KEY_BYTES), (nonce, NONCE_BYTES), (key, KEY_BYTES))


def encode_consent(service: NodeKey, nonce: bytes, key: NodeKey) -> bytes:
    """What a consent says: service ‖ the service's nonce ‖ key."""
    return _join((service, KEY_BYTES), (nonce, NONCE_BYTES), (key, KEY_BYTES))


def sign_hello(
    key: SigningKey, network: NetworkId, service: NodeKey, nonce: bytes, boot: bytes
) -> bytes:
    """A client's signature of its hello."""
    message = encode_hello(service, nonce, boot, NodeKey(bytes(key.verify_key)))
    return sign_node_message(key, HELLO_DOMAIN, network, message)


def verify_hello(
    network: NetworkId,
    service: NodeKey,
    nonce: bytes,
    boot: bytes,
    key: NodeKey,
    signature: bytes,
) -> None:
    """Raise ForgedError unless `key` said hello to this greeting."""
    message = encode_hello(service, nonce, boot, key)
    verify_node_signature(key, HELLO_DOMAIN, network, message, signature)


def sign_challenge(
    service_key: SigningKey, network: NetworkId, sid: bytes, seq: int, nonce: bytes, key: NodeKey
) -> bytes:
    """A service's signature of its challenge to `key`."""
    message = encode_challenge(sid, seq, nonce, key)
    return sign_node_message(service_key, CHALLENGE_DOMAIN, network, message)


def verify_challenge(
    network: NetworkId,
    service: NodeKey,
    sid: bytes,
    seq: int,
    nonce: bytes,
    key: NodeKey,
    signature: bytes,
) -> None:
    """Raise ForgedError unless `service` challenged `key` so."""
    message = encode_challenge(sid, seq, nonce, key)
    verify_node_signature(service, CHALLENGE_DOMAIN, network, message, signature)


def sign_beat(
    key: SigningKey,
    network: NetworkId,
    service: NodeKey,
    sid: bytes,
    seq: int,
    nonce: bytes,
    boot: bytes,
) -> bytes:
    """A client's signature of its answer to a challenge."""
    message = encode_beat(service, sid, seq, nonce, boot)
    return sign_node_message(key, BEAT_DOMAIN, network, message)


def verify_beat(
    network: NetworkId,
    service: NodeKey,
    sid: bytes,
    seq: int,
    nonce: bytes,
    boot: bytes,
    key: NodeKey,
    signature: bytes,
) -> None:
    """Raise ForgedError unless `key` answered this challenge."""
    message = encode_beat(service, sid, seq, nonce, boot)
    verify_node_signature(key, BEAT_DOMAIN, network, message, signature)


def sign_token_request(
    key: SigningKey, network: NetworkId, service: NodeKey, nonce: bytes
) -> bytes:
    """A client's signature of its request for a token."""
    message = encode_token_request(service, nonce, NodeKey(bytes(key.verify_key)))
    return sign_node_message(key, TOKEN_DOMAIN, network, message)


def verify_token_request(
    network: NetworkId, service: NodeKey, nonce: bytes, key: NodeKey, signature: bytes
) -> None:
    """Raise ForgedError unless `key` asked this service for a token."""
    message = encode_token_request(service, nonce, key)
    verify_node_signature(key, TOKEN_DOMAIN, network, message, signature)


def sign_consent(key: SigningKey, network: NetworkId, service: NodeKey, nonce: bytes) -> bytes:
    """A client's signature of its consent to be bound to a wallet at one service."""
    message = encode_consent(service, nonce, NodeKey(bytes(key.verify_key)))
    return sign_node_message(key, CONSENT_DOMAIN, network, message)


def verify_consent(
    network: NetworkId, service: NodeKey, nonce: bytes, key: NodeKey, signature: bytes
) -> None:
    """Raise ForgedError unless `key` agreed to be bound at this service."""
    message = encode_consent(service, nonce, key)
    verify_node_signature(key, CONSENT_DOMAIN, network, message, signature)


def _sequence(seq: int) -> bytes:
    if not 0 <= seq <= MAX_SEQUENCE:
        raise LocalError(f"sequence {seq}, expected 0 … {MAX_SEQUENCE}")
    return seq.to_bytes(4, "big")


def _join(*fields: tuple[bytes, int]) -> bytes:
    # Widths are fixed: otherwise two meanings could share their bytes.
    for value, size in fields:
        if len(value) != size:
            raise LocalError(f"field of {len(value)} bytes, expected {size}")
    return b"".join(value for value, _ in fields)
