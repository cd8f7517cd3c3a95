"""Bodies of transfer messages: vectors, round trips, limits."""

import re
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.envelopes import seal
from protocols.errors import LocalError, MalformedError
from protocols.expand import SEED_BYTES
from protocols.messages import MAX_RECEIPT_BYTES
from protocols.transfer_messages import TransferReceipt, TransferRequest
from protocols.transfers import LIMIT_FACTOR, MIN_RECEIPTS, PIECE_BYTES
from protocols.types import Epoch, NetworkId, Seat, Shard
from protocols.wire import Message
from tests.protocols.compute_vectors import load
from tests.protocols.strategies import messages
from tests.protocols.test_spec import ROOT, read, rows, section
from tests.protocols.transfer_vectors import FORMS
from tests.vectors.builders.actors import NETWORK, node

KINDS: dict[str, type[Message]] = {
    "TransferRequest": TransferRequest,
    "TransferReceipt": TransferReceipt,
}

PAGE = "network-proof.md"

of_each = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())


@pytest.mark.parametrize("case", load("transfers/messages.json"), ids=lambda case: case["message"])
def test_vector(case: dict[str, Any]) -> None:
    kind = KINDS[case["message"]]
    body = bytes.fromhex(case["body"])

    assert (case["kind"], case["max_bytes"]) == (kind.KIND, kind.MAX_BYTES)
    assert kind(**case["fields"]).encode() == body
    assert kind.decode(body) == kind(**case["fields"])


@of_each
def test_fields_are_those_of_the_reference(kind: type[Message]) -> None:
    shown = {
        each.name: f"uint{each.metadata['form'].maximum.bit_length()}" for each in fields(kind)
    }

    assert (kind.KIND, kind.MAX_BYTES, shown) == FORMS[kind.__name__]


@of_each
@given(data=st.data())
def test_round_trip(kind: type[Message], data: st.DataObject) -> None:
    message = data.draw(messages(kind))

    assert kind.decode(message.encode()) == message


@of_each
def test_a_field_too_many_or_too_few_is_refused(kind: type[Message]) -> None:
    values = [0] * len(fields(kind))
    body = kind(*values).encode()

    for other in (body[:-1], body + b"\x00", bytes([body[0] + 1]) + body[1:] + b"\x00"):
        with pytest.raises(MalformedError):
            kind.decode(other)


@of_each
def test_a_field_above_its_form_is_not_sent(kind: type[Message]) -> None:
    with pytest.raises(LocalError, match="epoch"):
        kind(1 << 32, *[0] * (len(fields(kind)) - 1)).encode()


def test_a_receipt_is_told_from_seeds_and_pieces_by_its_length() -> None:
    """And the largest one fits where a commitment carries it."""
    most = (1 << 32) - 1
    smallest = TransferReceipt(Epoch(0), Shard(0), Seat(0), 0, 0, 0, 0)
    largest = TransferReceipt(Epoch(most), Shard(most), Seat(255), (1 << 16) - 1, most, most, most)

    sizes = [len(seal(node("checker"), NetworkId(NETWORK), each)) for each in (smallest, largest)]

    assert min(sizes) > SEED_BYTES
    assert max(sizes) <= MAX_RECEIPT_BYTES < PIECE_BYTES


@of_each
def test_the_page_says_what_the_code_does(kind: type[Message]) -> None:
    page = read(PAGE)
    table = rows(section(page, f"### {kind.__name__}"))
    number, cap, forms = FORMS[kind.__name__]

    assert [(cells[0].strip("`"), cells[1]) for cells in table] == list(forms.items())
    assert [str(number), kind.__name__, str(cap)] in rows(section(page, "## Messages"))


def test_the_numbers_of_the_page_are_those_of_the_code() -> None:
    table = {cells[0].strip("`"): cells[1] for cells in rows(section(read(PAGE), "## Numbers"))}

    assert {name: table[name] for name in ("PIECE_BYTES", "MIN_RECEIPTS", "LIMIT_FACTOR")} == {
        "PIECE_BYTES": f"{PIECE_BYTES:,}",
        "MIN_RECEIPTS": str(MIN_RECEIPTS),
        "LIMIT_FACTOR": str(LIMIT_FACTOR),
    }


def test_every_reason_of_the_duties_is_on_the_page() -> None:
    found = {
        reason
        for name in ("transferring", "transfer_serving")
        for reason in re.findall(
            r'(?:Error|Refused)\("([^"]+)"', (ROOT / f"p2p_node/duties/{name}.py").read_text()
        )
    }

    assert len(found) > 6
    assert found <= set(re.findall(r"\| `([a-z ]+)` \|$", read(PAGE), re.MULTILINE))
