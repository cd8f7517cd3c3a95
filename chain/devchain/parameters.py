"""JSON-RPC parameters: strict parsing of what a client sent into plain values."""

from collections.abc import Sequence
from typing import Final

from chain.devchain.execution import CallRequest
from chain.devchain.ledger import Block
from chain.devchain.node import Devchain
from chain.hexes import parse_hex_bytes, parse_hex_quantity

INVALID_PARAMS: Final = -32602
SERVER_ERROR: Final = -32000

MAX_CALL_DATA_BYTES = 512 * 1024
"""Call data of one call; a deployment is at most 48 KiB, a full bundle about 11 KiB."""

MAX_TOPIC_CHOICES = 64
MAX_ADDRESSES = 64


class RpcFault(Exception):
    """An error object for the client."""

    def __init__(self, code: int, message: str, data: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


def parse_quantity(value: object, name: str) -> int:
    """Parse a 0x-prefixed hexadecimal number of at most 256 bits."""
    try:
        return parse_hex_quantity(value)
    except ValueError:
        raise _invalid(name, value, "a hexadecimal number such as 0x1f") from None


def parse_bytes(value: object, name: str, max_bytes: int = MAX_CALL_DATA_BYTES) -> bytes:
    """Parse 0x-prefixed hexadecimal bytes."""
    if isinstance(value, str) and len(value) > 2 + 2 * max_bytes:
        raise RpcFault(INVALID_PARAMS, f"{name}: longer than {max_bytes} bytes")
    try:
        return parse_hex_bytes(value)
    except ValueError:
        raise _invalid(name, value, "hexadecimal bytes with 0x in front") from None


def parse_fixed(value: object, name: str, length: int) -> bytes:
    """Parse exactly `length` bytes: an address has 20, a hash or a topic 32."""
    parsed = parse_bytes(value, name, length)
    if len(parsed) != length:
        raise RpcFault(INVALID_PARAMS, f"{name}: found {len(parsed)} bytes, expected {length}")
    return parsed


def parse_flag(value: object, name: str) -> bool:
    """Parse a JSON boolean."""
    if not isinstance(value, bool):
        raise _invalid(name, value, "true or false")
    return value


def find_block(chain: Devchain, value: object) -> Block | None:
    """Find the block a tag, a number, or an EIP-1898 object names; None if there is none.

    `pending` means the newest block: the devchain executes nothing ahead of the block's time.
    """
    if isinstance(value, dict):
        if "blockHash" in value:
            return chain.block_by_hash(parse_fixed(value["blockHash"], "blockHash", 32))
        value = value.get("blockNumber")
    if value in ("latest", "pending"):
        return chain.head()
    if value in ("finalized", "safe"):
        return chain.finalized()
    if value == "earliest":
        return chain.block_by_number(0)
    return chain.block_by_number(parse_quantity(value, "block"))


def require_block(chain: Devchain, parameters: Sequence[object], position: int) -> Block:
    """Find the block that the parameter at `position` names; `latest` when it is left out."""
    value = parameters[position] if len(parameters) > position else "latest"
    block = find_block(chain, value)
    if block is None:
        raise RpcFault(SERVER_ERROR, "header not found")
    return block


def parse_call(value: object) -> tuple[CallRequest, int | None]:
    """Parse a call object; the second value is its gas limit, if it has one."""
    if not isinstance(value, dict):
        raise _invalid("call", value, "an object")
    data = value.get("input", value.get("data"))
    to = value.get("to")
    request = CallRequest(
        sender=parse_fixed(value.get("from", "0x" + "00" * 20), "from", 20),
        to=None if to is None else parse_fixed(to, "to", 20),
        value=parse_quantity(value.get("value", "0x0"), "value"),
        data=b"" if data is None else parse_bytes(data, "data"),
    )
    gas = value.get("gas")
    return request, None if gas is None else parse_quantity(gas, "gas")


def parse_addresses(value: object) -> frozenset[bytes]:
    """Parse the `address` of a log filter: absent, one address or a list of them."""
    if value is None:
        return frozenset()
    values = value if isinstance(value, list) else [value]
    if len(values) > MAX_ADDRESSES:
        raise RpcFault(INVALID_PARAMS, f"address: more than {MAX_ADDRESSES}")
    return frozenset(parse_fixed(item, "address", 20) for item in values)


def parse_topics(value: object) -> list[frozenset[bytes]]:
    """Parse the `topics` of a log filter: per position null, one topic or a list of choices."""
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > 4:
        raise _invalid("topics", value, "a list of at most 4")
    topics = []
    for item in value:
        choices = [] if item is None else item if isinstance(item, list) else [item]
        if len(choices) > MAX_TOPIC_CHOICES:
            raise RpcFault(INVALID_PARAMS, f"topics: more than {MAX_TOPIC_CHOICES} choices")
        topics.append(frozenset(parse_fixed(choice, "topic", 32) for choice in choices))
    return topics


def _invalid(name: str, value: object, expected: str) -> RpcFault:
    return RpcFault(INVALID_PARAMS, f"{name}: found {str(value)[:80]!r}, expected {expected}")
