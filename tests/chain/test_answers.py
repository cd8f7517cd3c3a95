"""JSON-RPC objects: taken when whole, refused by the name of the field when not."""

from collections.abc import Callable
from typing import Any

import pytest

from chain.answers import parse_head, parse_log, parse_receipt, parse_transaction
from chain.errors import MalformedAnswerError

HASH = "0x" + "11" * 32
BLOCK: dict[str, Any] = {
    "number": "0x5",
    "hash": HASH,
    "timestamp": "0x10",
    "baseFeePerGas": "0x7",
}
LOG: dict[str, Any] = {
    "address": "0x" + "22" * 20,
    "topics": [HASH],
    "data": "0x0102",
    "blockNumber": "0x5",
    "transactionHash": HASH,
    "logIndex": "0x0",
}
RECEIPT: dict[str, Any] = {
    "transactionHash": HASH,
    "blockNumber": "0x5",
    "blockHash": HASH,
    "status": "0x1",
    "gasUsed": "0x5208",
    "effectiveGasPrice": "0x9",
    "contractAddress": "0x" + "33" * 20,
    "logs": [LOG],
}
TRANSACTION: dict[str, Any] = {
    "hash": HASH,
    "blockNumber": "0x5",
    "to": "0x" + "33" * 20,
    "input": "0x0102",
}


def test_whole_answers_are_taken() -> None:
    assert parse_head(BLOCK).timestamp == 16
    assert parse_log(LOG).data == b"\x01\x02"
    receipt = parse_receipt(RECEIPT)
    assert (receipt.succeeded, receipt.gas_used, len(receipt.logs)) == (True, 21_000, 1)
    assert receipt.contract == b"\x33" * 20
    failed = parse_receipt(RECEIPT | {"status": "0x0", "contractAddress": None})
    assert (failed.succeeded, failed.contract) == (False, None)
    transaction = parse_transaction(TRANSACTION)
    assert transaction is not None
    assert (transaction.to, transaction.data) == (b"\x33" * 20, b"\x01\x02")
    creation = parse_transaction(TRANSACTION | {"to": None})
    assert creation is not None
    assert creation.to is None


def test_a_transaction_that_waits_is_none() -> None:
    assert parse_transaction(None) is None
    assert parse_transaction(TRANSACTION | {"blockNumber": None}) is None


@pytest.mark.parametrize(
    ("parse", "whole", "field", "value"),
    [
        (parse_head, BLOCK, "number", None),
        (parse_head, BLOCK, "hash", "0x11"),
        (parse_head, BLOCK, "timestamp", 5),
        (parse_head, BLOCK, "baseFeePerGas", "0x"),
        (parse_log, LOG, "address", "0x" + "22" * 21),
        (parse_log, LOG, "topics", None),
        (parse_log, LOG, "topics", [HASH] * 5),
        (parse_log, LOG, "topics", ["0x11"]),
        (parse_log, LOG, "data", "0x1"),
        (parse_log, LOG, "blockNumber", None),
        (parse_receipt, RECEIPT, "status", "0x2"),
        (parse_receipt, RECEIPT, "status", None),
        (parse_receipt, RECEIPT, "logs", {}),
        (parse_receipt, RECEIPT, "logs", [5]),
        (parse_receipt, RECEIPT, "contractAddress", "0x"),
        (parse_transaction, TRANSACTION, "hash", "0x11"),
        (parse_transaction, TRANSACTION, "to", "0x11"),
        (parse_transaction, TRANSACTION, "input", None),
    ],
)
def test_a_spoilt_field_is_named(
    parse: Callable[[object], object], whole: dict[str, Any], field: str, value: object
) -> None:
    with pytest.raises(MalformedAnswerError) as caught:
        parse(whole | {field: value})
    assert field.rstrip("s") in caught.value.detail or "log" in caught.value.detail


@pytest.mark.parametrize("parse", [parse_head, parse_log, parse_receipt])
@pytest.mark.parametrize("answer", [None, [], "0x", 5])
def test_what_is_no_object_is_malformed(parse: Callable[[object], object], answer: object) -> None:
    with pytest.raises(MalformedAnswerError, match="not an object"):
        parse(answer)


@pytest.mark.parametrize("answer", [[], "0x", 5])
def test_what_is_no_transaction_is_malformed(answer: object) -> None:
    with pytest.raises(MalformedAnswerError, match="not an object"):
        parse_transaction(answer)
