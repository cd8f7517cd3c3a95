"""Device facts and messages: forms, limits, one encoding for each value."""

import hashlib
import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.codec import MAX_ITEMS, encode
from protocols.device_facts import (
    MAX_FACTS_BYTES,
    MAX_GPUS,
    MAX_NOTE,
    MAX_TEXT,
    DeviceFacts,
    GpuFacts,
    HostFacts,
    SoftwareFacts,
    decode_facts,
    encode_facts,
)
from protocols.device_messages import (
    MAX_ATTESTATION_BYTES,
    MAX_CERTIFICATES,
    MAX_CHAIN_BYTES,
    MAX_REPORT_BYTES,
    DeviceReport,
    DeviceRequest,
    compute_attestation_nonce,
    decode_attestation,
    encode_attestation,
)
from protocols.envelopes import open_envelope, seal
from protocols.errors import LocalError, MalformedError
from protocols.types import Digest, NodeKey
from protocols.wire import Text
from tests.vectors.builders.actors import node, secret

SPEC = Path(__file__).parents[2] / "docs" / "spec" / "device.md"
NETWORK = secret("network")
KEY = NodeKey(b"\x0a" * 32)

printable = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=MAX_TEXT)


def facts_of(kind: type[Any]) -> st.SearchStrategy[Any]:
    """Facts of one kind, each known or not."""
    return st.builds(
        kind,
        **{
            each.name: st.none()
            | (
                printable.filter(bool)
                if isinstance(each.metadata["form"], Text)
                else st.integers(0, (1 << 64) - 1)
            )
            for each in fields(kind)
        },
    )


device_facts = st.builds(
    DeviceFacts,
    note=printable,
    host=facts_of(HostFacts),
    software=facts_of(SoftwareFacts),
    gpus=st.lists(facts_of(GpuFacts), max_size=3).map(tuple),
)


def largest(kind: type[Any]) -> Any:
    """Facts as long as they may be."""
    return kind(
        *(
            "x" * MAX_TEXT if isinstance(each.metadata["form"], Text) else (1 << 64) - 1
            for each in fields(kind)
        )
    )


LARGEST = DeviceFacts(
    "n" * MAX_NOTE, largest(HostFacts), largest(SoftwareFacts), (largest(GpuFacts),) * MAX_GPUS
)


@given(facts=device_facts)
def test_facts_round_trip(facts: DeviceFacts) -> None:
    assert decode_facts(encode_facts(facts)) == facts


def test_facts_are_written_as_the_page_says() -> None:
    """Against another msgpack user: positions, and the empty text for what is not known."""
    facts = DeviceFacts(
        "no GPU", HostFacts(cores=2), SoftwareFacts(python="3.11"), (GpuFacts(name="H100"),)
    )
    version, note, host, software, (gpu,) = msgpack.unpackb(encode_facts(facts))
    assert (version, note) == (1, "no GPU")
    assert host == ["", 2, *[""] * 8]
    assert software == ["", "3.11", *[""] * 7]
    assert gpu == ["H100", *[""] * 28]


def test_the_largest_facts_fit() -> None:
    data = encode_facts(LARGEST)
    assert len(data) <= MAX_FACTS_BYTES
    assert decode_facts(data) == LARGEST


def test_every_array_fits_the_codec() -> None:
    assert max(len(fields(kind)) for kind in (GpuFacts, HostFacts, SoftwareFacts)) <= MAX_ITEMS
    assert MAX_GPUS <= MAX_ITEMS


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        (DeviceFacts("x" * (MAX_NOTE + 1)), "facts.note: found 201 characters"),
        (DeviceFacts(gpus=(GpuFacts(),) * (MAX_GPUS + 1)), "facts: 17 GPUs"),
        (DeviceFacts(host=HostFacts(cpu="x" * 65)), "HostFacts.cpu: found 65 characters"),
        (DeviceFacts(host=HostFacts(cpu="")), "HostFacts.cpu: found nothing"),
        (DeviceFacts(host=HostFacts(cpu="ä")), "HostFacts.cpu: not printable"),
        (DeviceFacts(host=HostFacts(cores=-1)), "HostFacts.cores: found -1"),
        (DeviceFacts(host=HostFacts(cores="2")), "HostFacts.cores: found str"),  # type: ignore[arg-type]
    ],
)
def test_facts_that_break_their_limits_are_not_sent(facts: DeviceFacts, problem: str) -> None:
    with pytest.raises(LocalError, match=problem):
        encode_facts(facts)


HOST = [""] * 10
SOFTWARE = [""] * 9
GPU = [""] * 29


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([], "wrong field count"),
        ([2, "", HOST, SOFTWARE, []], "wrong version"),
        ([1, 7, HOST, SOFTWARE, []], "bad field"),
        ([1, "x" * 201, HOST, SOFTWARE, []], "bad field"),
        ([1, "", HOST[1:], SOFTWARE, []], "bad field"),
        ([1, "", "host", SOFTWARE, []], "bad field"),
        ([1, "", HOST, SOFTWARE, "gpus"], "bad field"),
        ([1, "", HOST, SOFTWARE, [GPU] * 17], "bad field"),
        ([1, "", HOST, SOFTWARE, [[*GPU, ""]]], "bad field"),
        ([1, "", HOST, SOFTWARE, [[7, *GPU[1:]]]], "bad field"),
        ([1, "", ["", "two", *HOST[2:]], SOFTWARE, []], "bad field"),
        ([1, "", ["\x1b", *HOST[1:]], SOFTWARE, []], "bad field"),
    ],
)
def test_other_values_are_no_facts(value: list[Any], reason: str) -> None:
    with pytest.raises(MalformedError) as caught:
        decode_facts(encode(value))
    assert caught.value.reason == reason


@given(data=st.binary(max_size=300))
def test_arbitrary_bytes_are_facts_or_malformed(data: bytes) -> None:
    try:
        facts = decode_facts(data)
    except MalformedError:
        return
    assert encode_facts(facts) == data


@given(data=st.data())
def test_changed_facts_are_other_facts_or_malformed(data: st.DataObject) -> None:
    encoded = bytearray(encode_facts(data.draw(device_facts)))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        facts = decode_facts(bytes(encoded))
    except MalformedError:
        return
    assert encode_facts(facts) == bytes(encoded)


# Attestations


@given(
    report=st.binary(max_size=100),
    chain=st.lists(st.binary(max_size=100), max_size=MAX_CERTIFICATES),
)
def test_attestation_round_trip(report: bytes, chain: list[bytes]) -> None:
    assert decode_attestation(encode_attestation(report, chain)) == (report, tuple(chain))


LARGEST_ATTESTATION = (bytes(MAX_REPORT_BYTES), (bytes(MAX_CHAIN_BYTES // 5),) * 5)


def test_the_largest_attestation_fits() -> None:
    data = encode_attestation(*LARGEST_ATTESTATION)
    assert len(data) <= MAX_ATTESTATION_BYTES
    assert decode_attestation(data) == LARGEST_ATTESTATION


@pytest.mark.parametrize(
    ("report", "chain"),
    [
        (bytes(MAX_REPORT_BYTES + 1), []),
        (b"", [b""] * (MAX_CERTIFICATES + 1)),
        (b"", [bytes(MAX_CHAIN_BYTES), b"x"]),
    ],
)
def test_attestation_above_its_limits(report: bytes, chain: list[bytes]) -> None:
    with pytest.raises(LocalError, match="attestation: "):
        encode_attestation(report, chain)
    with pytest.raises(MalformedError, match="attestation: "):
        decode_attestation(encode([report, chain]))


@pytest.mark.parametrize("value", [[], [b"", [], b""], [1, []], [b"", b""], [b"", [1]]])
def test_other_values_are_no_attestation(value: list[Any]) -> None:
    with pytest.raises(MalformedError):
        decode_attestation(encode(value))


# Messages


def test_messages_are_sealed_and_opened() -> None:
    request = DeviceRequest(job=Digest(secret("job")))
    report = DeviceReport(job=Digest(secret("job")), facts=b"f", attestations=(b"a",), detail="why")
    for message in (request, report):
        sealed = seal(node("provider"), NETWORK, message)  # type: ignore[arg-type]
        assert open_envelope(sealed, type(message), NETWORK).message == message  # type: ignore[arg-type]


def test_the_largest_report_fits_its_cap() -> None:
    report = DeviceReport(
        job=Digest(bytes(32)),
        facts=bytes(MAX_FACTS_BYTES),
        attestations=(bytes(MAX_ATTESTATION_BYTES),) * MAX_GPUS,
        detail="d" * 128,
    )
    assert DeviceReport.decode(report.encode()) == report
    assert len(report.encode()) > DeviceReport.MAX_BYTES - 200
    for change in (
        {"facts": bytes(MAX_FACTS_BYTES + 1)},
        {"attestations": (b"",) * (MAX_GPUS + 1)},
        {"attestations": (bytes(MAX_ATTESTATION_BYTES + 1),)},
        {"detail": "d" * 129},
    ):
        with pytest.raises(LocalError):
            replace(report, **change).encode()  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [DeviceRequest, DeviceReport])
@given(data=st.binary(max_size=200))
def test_arbitrary_bytes_are_a_message_or_malformed(kind: type[Any], data: bytes) -> None:
    try:
        message = kind.decode(data)
    except MalformedError:
        return
    assert message.encode() == data


# The nonce


def test_nonce_is_as_the_page_says() -> None:
    roots = [b"\1" * 32, b"\2" * 32]
    data = b"kaisar/attestation/1" + b"\2" + b"\1" * 32 + b"\2" * 32 + KEY
    assert compute_attestation_nonce(roots, KEY) == hashlib.sha256(data).digest()


def test_nonce_depends_on_every_part() -> None:
    one, other = b"\1" * 32, b"\2" * 32
    nonces = {
        compute_attestation_nonce(roots, key)
        for roots in ([one], [other], [one, other], [other, one], [one, one])
        for key in (KEY, NodeKey(b"\x0b" * 32))
    }
    assert len(nonces) == 10


@pytest.mark.parametrize("roots", [[], [b"short"], [bytes(32)] * 17])
def test_nonce_of_no_job(roots: list[bytes]) -> None:
    with pytest.raises(LocalError, match="roots"):
        compute_attestation_nonce(roots, KEY)


# The page


def test_page_lists_every_fact_in_its_order() -> None:
    text = SPEC.read_text(encoding="utf-8")
    for kind in (HostFacts, SoftwareFacts, GpuFacts):
        names = [each.name for each in fields(kind)]
        line = next(line for line in text.splitlines() if line.startswith(f"- `{kind.__name__}`: "))
        assert line.partition(": ")[2] == ", ".join(f"`{name}`" for name in names)
    numbers = json.loads(text.partition("```json\n")[2].partition("```")[0])
    assert numbers == {
        "DeviceRequest": DeviceRequest.KIND,
        "DeviceReport": DeviceReport.KIND,
        "MAX_GPUS": MAX_GPUS,
        "MAX_FACTS_BYTES": MAX_FACTS_BYTES,
        "MAX_ATTESTATION_BYTES": MAX_ATTESTATION_BYTES,
        "MAX_CERTIFICATES": MAX_CERTIFICATES,
    }
