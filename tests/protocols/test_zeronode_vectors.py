"""ZeroNode's rules, driven by tests/vectors/zeronode."""

import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from nacl.signing import SigningKey

import protocols.uptime_gossip
from protocols import zeronode_beats as beats
from protocols.errors import ForgedError, GossipIgnore, LocalError, RemoteError
from protocols.types import NetworkId, NodeKey, TimeMs
from protocols.uptime import Stretch, compute_day, find_gate
from protocols.uptime_gossip import (
    BatchEquivocation,
    JudgedBatch,
    ReceiptMemory,
    ServiceView,
    check_departure,
    validate_receipts_gossip,
)
from protocols.uptime_messages import Departure, ReceiptBatch
from protocols.wire import Bytes, Form, Message, Text, Uint
from protocols.zeronode_frames import Beat, Frame, decode_client_frame, decode_service_frame
from protocols.zeronode_rules import rules_of
from protocols.zeronode_session import BeatRefused, Session
from tests.protocols import zeronode_reference as ref
from tests.protocols.compute_vectors import VECTORS, load, render
from tests.protocols.zeronode_vectors import FILES

Case = dict[str, Any]

OWN_KEY = ("hello", "token", "consent")
"""Statements that name the key that signs them."""


def cases(name: str) -> Callable[..., Any]:
    """A test for each case of a file."""
    return pytest.mark.parametrize("case", load(f"zeronode/{name}.json"), ids=str_of)


def str_of(case: Case) -> str:
    """What the case is called."""
    return str(case.get("name") or case["message"])


@pytest.mark.parametrize("name", FILES)
def test_vectors_are_up_to_date(name: str) -> None:
    text = render(FILES[name])
    assert (VECTORS / name).read_text() == text, "python -m tests.protocols.zeronode_vectors"


def test_no_vector_is_left_over() -> None:
    found = {f"zeronode/{path.name}" for path in (VECTORS / "zeronode").iterdir()}
    assert found == set(FILES)


@cases("signatures")
def test_signature(case: Case) -> None:
    statement, network = case["statement"], NetworkId(bytes.fromhex(case["network"]))
    said = {
        name: value if name == "seq" else bytes.fromhex(value)
        for name, value in case["fields"].items()
    }
    signature = bytes.fromhex(case["signature"])
    signer = NodeKey(bytes.fromhex(case["signer"]))
    whose = {} if statement in OWN_KEY else {"key": signer}
    if statement == "challenge":
        whose = {"service": signer}
    verify = {
        "hello": beats.verify_hello,
        "challenge": beats.verify_challenge,
        "beat": beats.verify_beat,
        "token": beats.verify_token_request,
        "consent": beats.verify_consent,
    }[statement]
    if not case["valid"]:
        with pytest.raises(ForgedError, match="bad node signature"):
            verify(network=network, signature=signature, **said, **whose)
        return
    verify(network=network, signature=signature, **said, **whose)
    seed = SigningKey(bytes.fromhex(case["private_seed"]))
    if statement in OWN_KEY:
        # The key that is spoken of is the signer's own.
        assert said.pop("key") == signer
    sign: dict[str, Callable[..., bytes]] = {
        "hello": beats.sign_hello,
        "challenge": beats.sign_challenge,
        "beat": beats.sign_beat,
        "token": beats.sign_token_request,
        "consent": beats.sign_consent,
    }
    assert sign[statement](seed, network, **said) == signature
    encode: dict[str, Callable[..., bytes]] = {
        "hello": beats.encode_hello,
        "challenge": beats.encode_challenge,
        "beat": beats.encode_beat,
        "token": beats.encode_token_request,
        "consent": beats.encode_consent,
    }
    if statement in OWN_KEY:
        said["key"] = signer
    assert case["signed_bytes"].endswith(network.hex() + encode[statement](**said).hex())


@pytest.mark.parametrize("seq", [-1, 1 << 32])
def test_a_sequence_outside_its_bits_is_not_signed(seq: int) -> None:
    with pytest.raises(LocalError, match="sequence"):
        beats.encode_challenge(bytes(16), seq, bytes(32), NodeKey(bytes(32)))


@pytest.mark.parametrize("field", ["service", "nonce", "boot", "key"])
@pytest.mark.parametrize("change", [-1, 1])
def test_a_field_of_another_width_is_not_signed(field: str, change: int) -> None:
    sizes = {"service": 32, "nonce": 32, "boot": 16, "key": 32}
    sizes[field] += change
    with pytest.raises(LocalError, match="field of"):
        beats.encode_hello(**{name: bytes(size) for name, size in sizes.items()})  # type: ignore[arg-type]


@cases("frames")
def test_frame(case: Case) -> None:
    decode = {"client": decode_client_frame, "service": decode_service_frame}[case["from"]]
    if "reason" in case:
        with pytest.raises(RemoteError) as caught:
            decode(case["text"])
        assert caught.value.reason == case["reason"]
        return
    frame: Frame = decode(case["text"])
    shown = {
        each.name: value.hex() if isinstance(value := getattr(frame, each.name), bytes) else value
        for each in fields(frame)
    }
    assert (frame.T, shown) == (case["t"], case["fields"])
    assert decode(frame.encode()) == frame
    if " " not in case["text"]:
        assert frame.encode() == case["text"]


@cases("sessions")
def test_session(case: Case) -> None:
    session = Session(
        NetworkId(bytes.fromhex(case["network"])),
        NodeKey(bytes.fromhex(case["service"])),
        bytes.fromhex(case["sid"]),
        NodeKey(bytes.fromhex(case["key"])),
        bytes.fromhex(case["boot"]),
        rules_of(case["rules"]),
    )
    service = SigningKey(bytes.fromhex(case["service_private_seed"]))
    for step in case["steps"]:
        now = TimeMs(step["at_ms"])
        if step["do"] == "challenge":
            made = session.challenge(service, bytes.fromhex(step["nonce"]), now)
            assert (made.seq, made.sig.hex()) == (step["seq"], step["sig"])
        elif step["do"] == "expire":
            assert session.expire(now) == step["expected"]
        elif step["do"] == "over":
            assert session.is_over == step["expected"]
        elif "reason" in step:
            with pytest.raises(BeatRefused) as caught:
                session.on_beat(read_beat(step["text"]), now)
            assert caught.value.reason == step["reason"]
        else:
            paid = session.on_beat(read_beat(step["text"]), now)
            shown = None if paid is None else [paid.start_ms, paid.end_ms]
            assert shown == step["expected"]


def read_beat(text: str) -> Beat:
    """A beat's text."""
    beat = decode_client_frame(text)
    assert isinstance(beat, Beat)
    return beat


def stretches_of(case: Case) -> list[Stretch]:
    """The stretches of a case."""
    return [Stretch(TimeMs(start), TimeMs(end)) for start, end in case["stretches"]]


@cases("uptime")
def test_uptime(case: Case) -> None:
    found = compute_day(
        stretches_of(case), case["day"], rules_of(case["rules"]), case["linked_ms"], case["gate_ms"]
    )
    names = [
        *("seconds", "doubled_seconds", "referred_seconds", "referred_doubled_seconds"),
        *("units", "doubled_units", "referred_units"),
    ]
    assert {name: getattr(found, name) for name in names} == {name: case[name] for name in names}


@cases("gates")
def test_gate(case: Case) -> None:
    assert find_gate(stretches_of(case), rules_of(case["rules"])) == case["gate_ms"]


KINDS: dict[str, type[Message]] = {"ReceiptBatch": ReceiptBatch, "Departure": Departure}


@cases("messages")
def test_message(case: Case) -> None:
    kind = KINDS[case["message"]]
    body = bytes.fromhex(case["body"])
    message = kind.decode(body)
    shown = {
        each.name: value.hex() if isinstance(value := getattr(message, each.name), bytes) else value
        for each in fields(kind)
    }
    assert {name: str(value) for name, value in shown.items()} == case["fields"]
    assert message.encode() == body
    assert (case["kind"], case["max_bytes"]) == (kind.KIND, kind.MAX_BYTES)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_fields_are_those_of_the_reference(kind: type[Message]) -> None:
    def show(form: Form) -> str:
        if isinstance(form, Uint):
            return f"uint{form.maximum.bit_length()}"
        if isinstance(form, Text):
            return f"text[{form.maximum}]"
        assert isinstance(form, Bytes)
        return f"bytes[{form.minimum}{f'…{form.maximum}' if form.minimum < form.maximum else ''}]"

    shown = {each.name: show(each.metadata["form"]) for each in fields(kind)}
    assert (kind.KIND, kind.MAX_BYTES, shown) == ref.FORMS[kind.__name__]


def view_of(case: Case) -> ServiceView:
    """What the judge knows."""
    return ServiceView(
        NetworkId(bytes.fromhex(case["network"])),
        frozenset(NodeKey(bytes.fromhex(each)) for each in case["services"]),
        rules_of(case["rules"]),
    )


def memory_of(case: Case) -> ReceiptMemory:
    """What it has seen."""
    memory = ReceiptMemory()
    for service, highest in case["highest"].items():
        memory.restore(NodeKey(bytes.fromhex(service)), highest)
    for each in case["seen"]:
        judge(case, memory, each)
    return memory


def judge(case: Case, memory: ReceiptMemory, each: Case) -> JudgedBatch:
    """Judge one message."""
    data = bytes.fromhex(each["message"])
    return validate_receipts_gossip(memory, view_of(case), data, TimeMs(each["now_ms"]))


@cases("gossip")
def test_gossip(case: Case) -> None:
    memory = memory_of(case)
    if case["expected"] == "accept":
        judged = judge(case, memory, case)
        assert judged.verified.raw.hex() == case["message"]
        assert judged.service == judged.verified.signer
        assert memory.highest_of(judged.service) is not None
        with pytest.raises(GossipIgnore, match="seen before"):
            judge(case, memory, case)
        return
    # A refusal leaves no trace: the second time is as the first.
    for _ in range(2):
        with pytest.raises(RemoteError) as caught:
            judge(case, memory, case)
        assert caught.value.reason == case["reason"]
        assert isinstance(caught.value, GossipIgnore) is (case["expected"] == "ignore")
    if case["reason"] == "equivocation":
        assert isinstance(caught.value, BatchEquivocation)
        assert len(caught.value.first) == 32


def reasons(expected: str) -> set[str]:
    """What the vectors of gossip are refused for."""
    return {case["reason"] for case in load("zeronode/gossip.json") if case["expected"] == expected}


def test_every_reason_of_the_rule_has_a_vector() -> None:
    source = Path(protocols.uptime_gossip.__file__).read_text(encoding="utf-8")
    for error, expected in (("GossipIgnore", "ignore"), ("GossipReject", "reject")):
        named = set(re.findall(rf'{error}\("([^"]+)"', source))
        assert len(named) > 4
        assert named <= reasons(expected)


@cases("departures")
def test_departure(case: Case) -> None:
    arguments = (
        view_of(case),
        bytes.fromhex(case["message"]),
        NodeKey(bytes.fromhex(case["own"])),
        TimeMs(case["now_ms"]),
    )
    if case["reason"] is None:
        assert check_departure(*arguments).raw.hex() == case["message"]
        return
    with pytest.raises(RemoteError) as caught:
        check_departure(*arguments)
    assert caught.value.reason == case["reason"]
