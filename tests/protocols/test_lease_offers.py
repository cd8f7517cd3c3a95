"""The document behind an offer: one encoding, bound to its digest, and safe to show."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import LocalError, MalformedError
from protocols.lease_offers import (
    MAX_CAPABILITY_TEXT,
    MAX_OFFERED_GPUS,
    Capability,
    OfferedGpu,
    OfferedTemplate,
    compute_capability_digest,
    decode_capability,
    encode_capability,
)
from protocols.types import Digest

CAPABILITY = Capability(
    runner="bubblewrap",
    cpu="Xeon",
    cores=8,
    memory=10**10,
    disk=2 * 10**10,
    processes=1024,
    network=False,
    gpus=(OfferedGpu("NVIDIA H100", 85_899_345_920),),
    templates=(OfferedTemplate("jupyter", "quay.io/jupyter", (8888,), "notebooks"),),
)


def decode(fields: Any) -> Capability:
    data = json.dumps(fields).encode()
    return decode_capability(data, compute_capability_digest(data))


def fields(**changes: Any) -> dict[str, Any]:
    return {**json.loads(encode_capability(CAPABILITY)), **changes}


def test_what_is_encoded_comes_back() -> None:
    data = encode_capability(CAPABILITY)
    assert decode_capability(data, compute_capability_digest(data)) == CAPABILITY


@given(st.text(max_size=MAX_CAPABILITY_TEXT).filter(str.isprintable), st.booleans())
def test_any_printable_text_comes_back(text: str, network: bool) -> None:
    capability = Capability(text, text, 1, 2, 3, 4, network, (), ())
    data = encode_capability(capability)
    assert decode_capability(data, compute_capability_digest(data)) == capability


def test_encoding_is_canonical() -> None:
    assert encode_capability(CAPABILITY) == encode_capability(
        decode_capability(
            encode_capability(CAPABILITY),
            compute_capability_digest(encode_capability(CAPABILITY)),
        )
    )
    assert b" " not in encode_capability(Capability("a", "b", 1, 2, 3, 4, True, (), ()))


def test_another_document_is_refused() -> None:
    with pytest.raises(MalformedError, match="capability of another offer"):
        decode_capability(encode_capability(CAPABILITY), Digest(bytes(32)))


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 10_000])
def test_no_json_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError, match="no JSON"):
        decode_capability(data, compute_capability_digest(data))


@pytest.mark.parametrize(
    "changed",
    [
        [],
        None,
        fields(version="1"),
        fields(cores=-1),
        fields(cores=True),
        fields(memory=2**63),
        fields(network=1),
        fields(cpu="\x1b[2J"),
        fields(runner="x" * (MAX_CAPABILITY_TEXT + 1)),
        fields(gpus={}),
        fields(gpus=["H100"]),
        fields(gpus=[{"name": "g", "memory": 1}] * (MAX_OFFERED_GPUS + 1)),
        fields(templates=[{"name": "a", "image": "b", "ports": [0], "summary": ""}]),
        fields(templates=[{"name": "a", "image": "b", "ports": ["1"], "summary": ""}]),
    ],
)
def test_what_is_no_capability_is_refused(changed: Any) -> None:
    with pytest.raises(MalformedError, match="bad capability"):
        decode(changed)


def test_another_version_is_refused() -> None:
    with pytest.raises(MalformedError, match="another version"):
        decode(fields(version=2))


def test_too_much_to_offer_is_named() -> None:
    template = OfferedTemplate("n" * 100, "i" * 200, tuple(range(1, 17)), "s" * 200)
    with pytest.raises(LocalError, match="fewer or shorter templates"):
        encode_capability(Capability("a", "b", 1, 2, 3, 4, True, (), (template,) * 100))
