"""Canonical msgpack: one value, one encoding, and nothing else accepted."""

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.codec import MAX_DEPTH, MAX_ITEMS, decode, encode
from protocols.errors import LocalError, MalformedError
from tests.protocols import strategies
from tests.protocols import wire_reference as ref
from tests.vectors.builders.codec import untagged
from tests.vectors.generate import load

Case = dict[str, Any]

VALID = load("codec/valid.json")
INVALID = load("codec/invalid.json")


def _named(cases: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=lambda case: case["name"])


@_named(VALID)
def test_vector_is_encoded_and_decoded(case: Case) -> None:
    value, encoded = untagged(case["value"]), bytes.fromhex(case["encoded"])

    assert encode(value) == encoded
    assert decode(encoded, len(encoded)) == value


@_named(VALID)
def test_one_byte_above_the_limit_is_oversized(case: Case) -> None:
    encoded = bytes.fromhex(case["encoded"])

    with pytest.raises(MalformedError) as caught:
        decode(encoded, len(encoded) - 1)

    assert caught.value.reason == "oversized"


@_named(INVALID)
def test_invalid_vector_is_refused(case: Case) -> None:
    with pytest.raises(MalformedError) as caught:
        decode(bytes.fromhex(case["encoded"]), case["max_bytes"])

    assert caught.value.reason == case["reason"]


@given(strategies.codec_values())
def test_round_trip(value: list[Any]) -> None:
    encoded = encode(value)

    assert decode(encoded, len(encoded)) == value
    assert encoded == ref.pack(value)


@given(strategies.codec_values(), st.data())
def test_every_cut_is_refused(value: list[Any], data: st.DataObject) -> None:
    encoded = encode(value)
    size = data.draw(st.integers(0, len(encoded) - 1))

    with pytest.raises(MalformedError):
        decode(encoded[:size], len(encoded))


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_canonical_or_malformed(data: bytes) -> None:
    try:
        value = decode(data, 300)
    except MalformedError:
        return

    assert encode(value) == data


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ([True], "booleans"),
        ([-1], "integer outside"),
        ([1 << 64], "integer outside"),
        ([None], "NoneType cannot be encoded"),
        ([1.0], "float cannot be encoded"),
        ([{}], "dict cannot be encoded"),
        ([bytearray(1)], "bytearray cannot be encoded"),
        ([msgpack.ExtType(5, b"")], "extensions"),
        (["\ud800"], "not Unicode"),
        ([[[[]]]], f"deeper than {MAX_DEPTH}"),
        ([0] * (MAX_ITEMS + 1), f"at most {MAX_ITEMS}"),
    ],
)
def test_what_the_wire_lacks_is_not_encoded(value: Any, problem: str) -> None:
    with pytest.raises(LocalError, match=problem):
        encode(value)
