"""The document behind an offer: one encoding, bound to its digest, and safe to show."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import LocalError, MalformedError
from protocols.lease_offers import (
    CAPABILITY_PROTOCOL,
    MAX_CAPABILITY_BYTES,
    MAX_CAPABILITY_TEXT,
    MAX_OFFERED_GPUS,
    MAX_OFFERED_PORTS,
    MAX_OFFERED_TEMPLATES,
    Capability,
    OfferedGpu,
    OfferedTemplate,
    compute_capability_digest,
    decode_capability,
    encode_capability,
)
from protocols.types import Digest
from tests.protocols.test_spec import read, rows, section
from tests.vectors.generate import load

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


VECTORS = load("leases/capabilities.json")


@pytest.mark.parametrize("case", VECTORS["valid"], ids=lambda case: case["name"])
def test_vector(case: dict[str, Any]) -> None:
    shown, document = case["fields"], case["document"].encode()

    found = decode_capability(document, Digest(bytes.fromhex(case["digest"])))

    assert found == Capability(
        **{name: shown[name] for name in ("runner", "cpu", "cores", "memory", "disk")},
        **{name: shown[name] for name in ("processes", "network")},
        gpus=tuple(OfferedGpu(**gpu) for gpu in shown["gpus"]),
        templates=tuple(
            OfferedTemplate(**{**each, "ports": tuple(each["ports"])})
            for each in shown["templates"]
        ),
    )
    if case["name"] != "unknown_field":
        assert encode_capability(found) == document


@pytest.mark.parametrize("case", VECTORS["invalid"], ids=lambda case: case["name"])
def test_invalid_vector_is_refused(case: dict[str, Any]) -> None:
    digest = Digest(bytes.fromhex(case["digest"]))
    with pytest.raises(MalformedError) as caught:
        decode_capability(bytes.fromhex(case["document"]), digest)

    assert caught.value.reason == case["reason"]


def test_the_page_has_its_numbers_and_reasons() -> None:
    text = section(read("leases.md"), "## Offers")
    names = [name for cells in rows(text) for name in re.findall(r"`(\w+)`", cells[0])]

    assert names == list(VECTORS["valid"][0]["fields"])
    assert {case["reason"] for case in VECTORS["invalid"]} == set(
        re.findall(r"\(`([a-zA-Z ]+)`\)", text)
    )
    for number in (
        f"at most {MAX_CAPABILITY_BYTES:,} bytes",
        f"at most {MAX_OFFERED_GPUS} of",
        f"at most {MAX_OFFERED_TEMPLATES} of",
        f"at most {MAX_OFFERED_PORTS} numbers",
        f"at most {MAX_CAPABILITY_TEXT} printable",
        f"stream `{CAPABILITY_PROTOCOL}`",
    ):
        assert number in text
