"""A valid envelope with one thing spoiled, in every way that can be told from its bytes alone."""

from collections.abc import Iterator, Mapping
from typing import Any

from nacl.signing import SigningKey

from tests.protocols import wire_reference as ref
from tests.vectors.builders.actors import NETWORK, OTHER_NETWORK, node

ENVELOPE_ROOM = 256
"""How many bytes an envelope may have beyond the cap of its body."""

CURVE_ORDER = (1 << 252) + 27742317777372353535851937790883648493


def spoil(
    name: str, fields: Mapping[str, Any], key: SigningKey
) -> Iterator[tuple[str, str, bytes]]:
    """Yield (what is wrong, reason of the refusal, bytes) for a message of `key`."""
    kind, max_bytes, forms = ref.FORMS[name]
    body = ref.body(name, fields)
    signer, signature = bytes(key.verify_key), ref.sign(key, kind, NETWORK, body)
    good = [ref.VERSION, kind, NETWORK, signer, body, signature]
    raw = ref.pack(good)

    def altered(position: int, value: Any) -> bytes:
        return ref.pack([*good[:position], value, *good[position + 1 :]])

    def signed(other: bytes) -> bytes:
        changed = [other, ref.sign(key, kind, NETWORK, other)]
        return ref.pack([*good[:4], *changed])

    yield "empty", "not msgpack", b""
    yield "truncated", "not msgpack", raw[:-1]
    yield "trailing_byte", "not msgpack", raw + b"\x00"
    yield "bytes_in_place_of_an_array", "not an array", ref.pack(raw)
    yield "version_in_two_bytes", "not canonical", raw[:1] + b"\xcc" + raw[1:]
    yield "nil_in_place_of_the_body", "value not allowed", _with_nil_body(good)
    yield "oversized", "oversized", signed(bytes(max_bytes + ENVELOPE_ROOM))

    yield "field_missing", "wrong field count", ref.pack(good[:-1])
    yield "unknown_field", "wrong field count", ref.pack([*good, 0])
    yield "version_before", "wrong version", altered(0, ref.VERSION - 1)
    yield "version_after", "wrong version", altered(0, ref.VERSION + 1)
    yield "version_is_bytes", "wrong version", altered(0, b"\x01")
    yield "other_network", "wrong network", ref.seal(key, OTHER_NETWORK, name, fields)
    yield "network_is_short", "wrong network", altered(2, NETWORK[:-1])
    yield "network_is_integer", "wrong network", altered(2, 1)
    yield "kind_is_bytes", "bad envelope", altered(1, bytes([kind]))
    yield "signer_is_short", "bad envelope", altered(3, signer[:-1])
    yield "signer_is_integer", "bad envelope", altered(3, 1)
    yield "body_is_integer", "bad envelope", altered(4, 1)
    yield "signature_is_short", "bad envelope", altered(5, signature[:-1])
    yield "signature_is_text", "bad envelope", altered(5, "x" * 64)
    yield "other_kind", "wrong kind", altered(1, kind % 10 + 1)
    yield "kind_above_16_bits", "wrong kind", altered(1, 1 << 16 | kind)

    yield "signature_bit_flipped", "bad node signature", altered(5, _flip(signature))
    yield "signature_of_zeros", "bad node signature", altered(5, bytes(64))
    yield "signature_malleated", "bad node signature", altered(5, _malleate(signature))
    yield "body_bit_flipped", "bad node signature", altered(4, _flip(body))
    yield (
        "signed_by_somebody_else",
        "bad node signature",
        altered(5, ref.sign(node("outsider"), kind, NETWORK, body)),
    )
    yield (
        "signed_for_other_network",
        "bad node signature",
        altered(5, ref.sign(key, kind, OTHER_NETWORK, body)),
    )
    yield (
        "signed_as_other_kind",
        "bad node signature",
        altered(5, ref.sign(key, kind + 1, NETWORK, body)),
    )
    yield "signer_is_no_point", "bad node signature", altered(3, b"\xff" * 32)
    yield "signer_of_small_order", "bad node signature", _small_order(good)

    yield "body_empty", "not msgpack", signed(b"")
    yield (
        "body_not_canonical",
        "not canonical",
        signed(b"\xdc\x00" + bytes([len(forms)]) + body[1:]),
    )
    if forms:
        yield "body_field_missing", "wrong field count", signed(b"\x90")
        yield "body_field_misfits", "bad field", signed(ref.pack([[0]] * len(forms)))


def _flip(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


def _malleate(signature: bytes) -> bytes:
    """The same signature with s + L in place of s, which a careless verifier accepts."""
    s = int.from_bytes(signature[32:], "little") + CURVE_ORDER
    return signature[:32] + s.to_bytes(32, "little")


def _small_order(good: list[Any]) -> bytes:
    """A neutral key with a signature that satisfies the bare equation for every message."""
    neutral = b"\x01" + bytes(31)
    return ref.pack([*good[:3], neutral, good[4], neutral + bytes(32)])


def _with_nil_body(good: list[Any]) -> bytes:
    return b"\x96" + b"".join(ref.pack(each) for each in good[:4]) + b"\xc0" + ref.pack(good[5])
