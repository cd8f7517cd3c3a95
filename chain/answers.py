"""JSON-RPC objects, parsed strictly into records. MalformedAnswerError names the field."""

from collections.abc import Mapping

from chain.errors import MalformedAnswerError
from chain.records import Head, Log, Receipt, TransactionRecord
from chain.rpc import parse_answer_bytes, parse_answer_quantity
from protocols.types import Wallet


def parse_head(answer: object) -> Head:
    """Parse a block."""
    block = _object(answer, "block")
    return Head(
        number=_quantity(block, "number"),
        hash=_octets(block, "hash", 32),
        timestamp=_quantity(block, "timestamp"),
        base_fee=_quantity(block, "baseFeePerGas"),
    )


def parse_receipt(answer: object) -> Receipt:
    """Parse a receipt with its logs."""
    receipt = _object(answer, "receipt")
    status = _quantity(receipt, "status")
    if status not in (0, 1):
        raise MalformedAnswerError(f"status: found {status}, expected 0 or 1")
    contract = receipt.get("contractAddress")
    logs = receipt.get("logs")
    if not isinstance(logs, list):
        raise MalformedAnswerError("logs: not a list")
    return Receipt(
        transaction_hash=_octets(receipt, "transactionHash", 32),
        block_number=_quantity(receipt, "blockNumber"),
        block_hash=_octets(receipt, "blockHash", 32),
        succeeded=status == 1,
        gas_used=_quantity(receipt, "gasUsed"),
        gas_price=_quantity(receipt, "effectiveGasPrice"),
        contract=None if contract is None else Wallet(_octets(receipt, "contractAddress", 20)),
        logs=tuple(parse_log(log) for log in logs),
    )


def parse_transaction(answer: object) -> TransactionRecord | None:
    """Parse a transaction; None when there is none, or when it is not in a block yet."""
    if answer is None:
        return None
    transaction = _object(answer, "transaction")
    if transaction.get("blockNumber") is None:
        return None
    to = transaction.get("to")
    return TransactionRecord(
        hash=_octets(transaction, "hash", 32),
        block_number=_quantity(transaction, "blockNumber"),
        to=None if to is None else Wallet(_octets(transaction, "to", 20)),
        data=_octets(transaction, "input"),
    )


def parse_log(answer: object) -> Log:
    """Parse a log that is in a block."""
    log = _object(answer, "log")
    topics = log.get("topics")
    if not isinstance(topics, list) or len(topics) > 4:
        raise MalformedAnswerError("topics: not a list of at most 4")
    return Log(
        address=Wallet(_octets(log, "address", 20)),
        topics=tuple(parse_answer_bytes(topic, "topic", 32) for topic in topics),
        data=_octets(log, "data"),
        block_number=_quantity(log, "blockNumber"),
        transaction_hash=_octets(log, "transactionHash", 32),
        log_index=_quantity(log, "logIndex"),
    )


def _object(answer: object, name: str) -> Mapping[str, object]:
    if not isinstance(answer, dict):
        raise MalformedAnswerError(f"{name}: not an object")
    return answer


def _quantity(answer: Mapping[str, object], field: str) -> int:
    return parse_answer_quantity(answer.get(field), field)


def _octets(answer: Mapping[str, object], field: str, length: int | None = None) -> bytes:
    return parse_answer_bytes(answer.get(field), field, length)
