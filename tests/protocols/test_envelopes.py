"""Envelopes: what is signed, the order of the checks, and nothing but RemoteError on any bytes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from protocols.envelopes import ENVELOPE_OVERHEAD, open_envelope, peek_kind, seal
from protocols.errors import ForgedError, MalformedError, RemoteError
from protocols.messages import Commitment, JobRefusal, Openings
from protocols.types import Digest, NetworkId, NodeKey
from protocols.wire import Message
from tests.protocols import wire_reference as ref
from tests.protocols.strategies import MESSAGES, messages
from tests.vectors.builders.actors import NETWORK as NETWORK_BYTES
from tests.vectors.builders.actors import node
from tests.vectors.builders.messages import TYPICAL
from tests.vectors.builders.spoilt import spoil
from tests.vectors.generate import load

VALID = load("envelopes/valid.json")
INVALID = load("envelopes/invalid.json")
NETWORK = NetworkId(NETWORK_BYTES)
BY_NAME = {kind.__name__: kind for kind in MESSAGES}

named = pytest.mark.parametrize("case", VALID["cases"], ids=lambda case: case["name"])
of_every_kind = pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)

FORGED_REASONS = {"bad node signature", "unexpected signer"}


@named
def test_vector_is_sealed(case: dict[str, Any]) -> None:
    key = SigningKey(bytes.fromhex(VALID["private_seed"]))
    message = BY_NAME[case["name"]].decode(bytes.fromhex(case["body"]))

    sealed = seal(key, NetworkId(bytes.fromhex(VALID["network"])), message)

    assert sealed.hex() == case["envelope"]


@named
def test_vector_is_opened(case: dict[str, Any]) -> None:
    kind, raw = BY_NAME[case["name"]], bytes.fromhex(case["envelope"])

    verified = open_envelope(raw, kind, NetworkId(bytes.fromhex(VALID["network"])))

    assert verified.signer.hex() == VALID["signer"]
    assert verified.body.hex() == case["body"]
    assert verified.message == kind.decode(verified.body)
    assert verified.raw == raw


@named
def test_vector_shows_its_kind(case: dict[str, Any]) -> None:
    raw = bytes.fromhex(case["envelope"])

    assert peek_kind(raw, len(raw), NETWORK) == case["kind"]


@pytest.mark.parametrize("case", INVALID["cases"], ids=lambda case: case["name"])
def test_invalid_vector_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(RemoteError) as caught:
        open_envelope(
            bytes.fromhex(case["envelope"]),
            BY_NAME[INVALID["expected"]],
            NetworkId(bytes.fromhex(INVALID["network"])),
        )

    assert caught.value.reason == case["reason"]
    assert isinstance(
        caught.value, ForgedError if case["reason"] in FORGED_REASONS else MalformedError
    )


@of_every_kind
def test_an_envelope_of_any_kind_is_refused_for_the_same_reasons(kind: type[Message]) -> None:
    for name, reason, data in spoil(kind.__name__, TYPICAL[kind.__name__], node("alice")):
        with pytest.raises(RemoteError) as caught:
            open_envelope(data, kind, NETWORK)
        assert caught.value.reason == reason, name


def test_a_message_of_the_expected_signer_is_opened() -> None:
    key = node("alice")
    sealed = seal(key, NETWORK, _refusal())

    verified = open_envelope(sealed, JobRefusal, NETWORK, signer=NodeKey(bytes(key.verify_key)))

    assert verified.message == _refusal()


def test_a_message_of_another_signer_is_refused() -> None:
    sealed = seal(node("alice"), NETWORK, _refusal())

    with pytest.raises(ForgedError) as caught:
        open_envelope(sealed, JobRefusal, NETWORK, signer=NodeKey(bytes(node("bob").verify_key)))

    assert caught.value.reason == "unexpected signer"


@pytest.mark.parametrize("spare", [0, 1])
def test_a_lower_cap_is_kept(spare: int) -> None:
    body = ref.body("Openings", {**TYPICAL["Openings"], "data": bytes(1000)})
    message = Openings.decode(body)
    sealed = seal(node("alice"), NETWORK, message)
    cap = len(sealed) - ENVELOPE_OVERHEAD

    assert open_envelope(sealed, Openings, NETWORK, max_bytes=cap + spare).message == message
    with pytest.raises(MalformedError) as caught:
        open_envelope(sealed, Openings, NETWORK, max_bytes=cap - 1)
    assert caught.value.reason == "oversized"


@of_every_kind
@pytest.mark.parametrize(("beyond", "reason"), [(256, "not msgpack"), (257, "oversized")])
def test_an_envelope_has_room_for_256_bytes_beyond_its_body(
    kind: type[Message], beyond: int, reason: str
) -> None:
    with pytest.raises(MalformedError) as caught:
        open_envelope(bytes(kind.MAX_BYTES + beyond), kind, NETWORK)

    assert caught.value.reason == reason


def test_a_cap_of_zero_is_no_missing_cap() -> None:
    message = Openings.decode(ref.body("Openings", {**TYPICAL["Openings"], "data": bytes(1000)}))

    with pytest.raises(MalformedError) as caught:
        open_envelope(seal(node("alice"), NETWORK, message), Openings, NETWORK, max_bytes=0)

    assert caught.value.reason == "oversized"


def test_a_cap_above_that_of_the_kind_changes_nothing() -> None:
    sealed = seal(node("alice"), NETWORK, _commitment()) + bytes(Commitment.MAX_BYTES + 256)

    with pytest.raises(MalformedError) as caught:
        open_envelope(sealed, Commitment, NETWORK, max_bytes=1 << 20)

    assert caught.value.reason == "oversized"


@of_every_kind
def test_the_wrapping_of_the_largest_body_takes_142_bytes(kind: type[Message]) -> None:
    body = bytes(kind.MAX_BYTES)
    envelope = ref.pack([ref.VERSION, kind.KIND, NETWORK, bytes(32), body, bytes(64)])

    assert len(envelope) - len(body) <= 142 <= ENVELOPE_OVERHEAD


@of_every_kind
@given(data=st.data())
def test_round_trip(kind: type[Message], data: st.DataObject) -> None:
    message = data.draw(messages(kind))

    verified = open_envelope(seal(node("alice"), NETWORK, message), kind, NETWORK)

    assert verified.message == message


@of_every_kind
@given(data=st.binary(max_size=400))
def test_arbitrary_bytes_are_refused(kind: type[Message], data: bytes) -> None:
    with pytest.raises(RemoteError):
        open_envelope(data, kind, NETWORK)


@of_every_kind
@given(data=st.data())
def test_a_mutated_envelope_is_refused(kind: type[Message], data: st.DataObject) -> None:
    sealed = ref.seal(node("alice"), NETWORK_BYTES, kind.__name__, TYPICAL[kind.__name__])
    start = data.draw(st.integers(0, len(sealed)))
    end = data.draw(st.integers(start, min(start + 8, len(sealed))))
    mutated = sealed[:start] + data.draw(st.binary(max_size=8)) + sealed[end:]
    if mutated == sealed:
        return

    with pytest.raises(RemoteError):
        open_envelope(mutated, kind, NETWORK)


@of_every_kind
@given(data=st.data())
def test_a_signed_body_of_any_bytes_is_a_message_or_malformed(
    kind: type[Message], data: st.DataObject
) -> None:
    body = ref.body(kind.__name__, TYPICAL[kind.__name__])
    start = data.draw(st.integers(0, len(body)))
    end = data.draw(st.integers(start, min(start + 8, len(body))))
    mutated = body[:start] + data.draw(st.binary(max_size=8)) + body[end:]
    key = node("alice")
    signature = ref.sign(key, kind.KIND, NETWORK_BYTES, mutated)
    sealed = ref.pack(
        [ref.VERSION, kind.KIND, NETWORK_BYTES, bytes(key.verify_key), mutated, signature]
    )

    try:
        verified = open_envelope(sealed, kind, NETWORK)
    except MalformedError:
        return

    assert verified.message.encode() == mutated


@given(data=st.binary(max_size=400))
def test_no_bytes_have_a_kind_by_chance(data: bytes) -> None:
    with pytest.raises(MalformedError):
        peek_kind(data, 400, NETWORK)


def _refusal() -> JobRefusal:
    return JobRefusal(job=Digest(bytes(32)), code=1, detail="busy", lease=0)


def _commitment() -> Commitment:
    return Commitment(job=Digest(bytes(32)), devices=(bytes(48),), receipts=())
