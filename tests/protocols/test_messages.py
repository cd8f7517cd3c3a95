"""Bodies of messages: vectors, round trips, limits, and what is not of their form."""

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import LocalError, MalformedError
from protocols.host_proof import MAX_DEVICES
from protocols.memory import MAX_PASS_OPENINGS
from protocols.messages import (
    MAX_OPENINGS_BYTES,
    Announcement,
    JobRefusal,
    Openings,
    ReportMessage,
    ReportsResponse,
    compute_chain_nonce,
    compute_challenge_commitment,
    compute_job_nonce,
    compute_message_digest,
    compute_pass_nonce,
)
from protocols.openings import INDEX_BYTES, MAX_OPENINGS
from protocols.params import MAX_SEATS, MEMORY_OPENINGS, OPENINGS
from protocols.types import Digest, NodeKey
from protocols.wire import Bytes, ListOf, Message, Text, Uint
from tests.protocols import wire_reference as ref
from tests.protocols.strategies import MESSAGES, messages
from tests.vectors.builders.actors import node, secret
from tests.vectors.generate import load

BY_NAME = {kind.__name__: kind for kind in MESSAGES}
VECTORS = {name: load(f"messages/{name}.json") for name in ref.FORMS}

Case = dict[str, Any]


def pairs(part: str) -> pytest.MarkDecorator:
    """Every case of every kind, one test each."""
    return pytest.mark.parametrize(
        ("kind", "case"),
        [
            pytest.param(BY_NAME[name], case, id=f"{name}-{case['name']}")
            for name, vector in VECTORS.items()
            for case in vector[part]
        ],
    )


def parse_field(form: object, shown: Any) -> Any:
    """Read a field as the vectors write it."""
    match form:
        case Uint():
            return int(shown)
        case Bytes():
            return bytes.fromhex(shown)
        case Text():
            return shown
        case ListOf(item, _):
            return tuple(parse_field(item, each) for each in shown)
    raise AssertionError(form)


def describe(form: object) -> str:
    """Name a form as the reference and docs/spec/messages.md do."""
    match form:
        case Uint(maximum):
            return f"uint{maximum.bit_length()}"
        case Bytes(minimum, maximum) if minimum == maximum:
            return f"bytes[{maximum}]"
        case Bytes(minimum, maximum):
            return f"bytes[{minimum}…{maximum}]"
        case Text(maximum):
            return f"text[{maximum}]"
        case ListOf(item, maximum):
            return f"list[{maximum}] of {describe(item)}"
    raise AssertionError(form)


def test_the_kinds_are_those_of_the_reference() -> None:
    assert {
        kind.__name__: (
            kind.KIND,
            kind.MAX_BYTES,
            {each.name: describe(each.metadata["form"]) for each in fields(kind)},
        )
        for kind in MESSAGES
    } == ref.FORMS


@pairs("valid")
def test_vector_is_encoded_and_decoded(kind: type[Message], case: Case) -> None:
    message = kind(
        **{
            each.name: parse_field(each.metadata["form"], case["fields"][each.name])
            for each in fields(kind)
        }
    )
    body = bytes.fromhex(case["body"])

    assert message.encode() == body
    assert kind.decode(body) == message
    assert compute_message_digest(body).hex() == case["digest"]


@pairs("invalid")
def test_invalid_vector_is_refused(kind: type[Message], case: Case) -> None:
    with pytest.raises(MalformedError) as caught:
        kind.decode(bytes.fromhex(case["body"]))

    assert caught.value.reason == case["reason"]


def test_a_misfit_is_named_by_kind_and_field() -> None:
    body = ref.body("JobRefusal", {"job": bytes(32), "code": 256, "detail": "", "lease": 0})

    with pytest.raises(MalformedError) as caught:
        JobRefusal.decode(body)

    assert caught.value.detail == "JobRefusal.code: found 256, expected 0 … 255"


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_round_trip(kind: type[Message], data: st.DataObject) -> None:
    message = data.draw(messages(kind))

    body = message.encode()

    assert kind.decode(body) == message
    assert body == ref.body(
        kind.__name__, {each.name: getattr(message, each.name) for each in fields(kind)}
    )


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
@given(data=st.binary(max_size=200))
def test_arbitrary_bytes_are_a_message_or_malformed(kind: type[Message], data: bytes) -> None:
    try:
        message = kind.decode(data)
    except MalformedError:
        return

    assert message.encode() == data


def test_the_largest_openings_fit_their_cap() -> None:
    room = MAX_OPENINGS_BYTES - 128
    message = Openings(Digest(b"j" * 32), Digest(b"r" * 32), (bytes(room),), (b"",), b"")

    assert Openings.decode(message.encode()) == message


def test_the_largest_response_fits_its_cap() -> None:
    message = ReportsResponse(reports=(bytes(2048),) * MAX_SEATS)

    assert ReportsResponse.decode(message.encode()) == message


def test_a_response_has_room_for_every_sealed_report() -> None:
    largest = VECTORS["ReportMessage"]["valid"][-1]
    sealed = len(bytes.fromhex(largest["body"])) + 142

    assert largest["name"] == "largest"
    assert sealed <= 2048


def test_a_request_has_room_for_all_openings() -> None:
    forms = ref.FORMS["OpenRequest"][2]
    rows = OPENINGS + MEMORY_OPENINGS

    assert forms["rows"] == f"list[{MAX_DEVICES}] of bytes[0…{rows * INDEX_BYTES}]"
    assert forms["passes"] == f"list[{MAX_DEVICES}] of bytes[0…{MEMORY_OPENINGS * INDEX_BYTES}]"
    assert rows <= MAX_OPENINGS
    assert MEMORY_OPENINGS <= MAX_PASS_OPENINGS


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"role": 256}, "Announcement.role: found 256"),
        ({"role": True}, "booleans"),
        ({"wallet": bytes(19)}, "Announcement.wallet: found 19 bytes"),
        ({"time": -1}, "Announcement.time: found -1"),
        ({"addresses": ("x" * 257,)}, "Announcement.addresses: found 257 characters"),
        ({"software": "ä"}, "Announcement.software: not printable ASCII"),
    ],
)
def test_a_message_that_breaks_its_limits_is_not_sent(change: dict[str, Any], problem: str) -> None:
    message = Announcement.decode(bytes.fromhex(VECTORS["Announcement"]["valid"][0]["body"]))

    with pytest.raises(LocalError, match=problem):
        replace(message, **change).encode()


def test_a_body_at_its_cap_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    body = bytes.fromhex(VECTORS["ReportMessage"]["valid"][0]["body"])
    monkeypatch.setattr(ReportMessage, "MAX_BYTES", len(body))

    assert ReportMessage.decode(body).encode() == body


def test_a_body_above_its_cap_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    report = ReportMessage.decode(bytes.fromhex(VECTORS["ReportMessage"]["valid"][0]["body"]))
    monkeypatch.setattr(ReportMessage, "MAX_BYTES", len(report.encode()) - 1)

    with pytest.raises(LocalError, match="at most"):
        report.encode()


def test_the_secret_decides_commitment_and_nonces() -> None:
    announcement = VECTORS["ChallengeAnnouncement"]["valid"][0]["fields"]
    job = VECTORS["Job"]["valid"][0]["fields"]
    provider = NodeKey(bytes(node("provider").verify_key))

    assert compute_challenge_commitment(secret("challenge")).hex() == announcement["commitment"]
    assert compute_job_nonce(secret("challenge"), provider).hex() == job["nonce"]
    nonces = {
        derive(secret("challenge"), provider)
        for derive in (compute_job_nonce, compute_pass_nonce, compute_chain_nonce)
    }
    assert len(nonces) == 3
