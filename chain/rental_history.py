"""What happened to leases, with the transactions that did it: from the logs of Rental."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from chain.abi import get_interface
from chain.answers import parse_head, parse_log
from chain.deployment import Deployment
from chain.errors import MalformedAnswerError, RefusedError
from chain.events import decode_event
from chain.hexes import to_hex
from chain.records import Log
from chain.rental_events import (
    LeaseAccepted,
    LeaseCollected,
    LeaseEnded,
    LeaseExtended,
    LeaseOpened,
    LeaseReclaimed,
    LeaseSettled,
)
from chain.rpc import JsonRpc

FIRST_SPAN: Final = 50_000
"""Blocks in one request to begin with; endpoints that take fewer say so, and are asked for less."""

LEAST_SPAN: Final = 64

GROWTH: Final = 2

LEASE_EVENTS: Final = (
    "Opened",
    "Accepted",
    "Reclaimed",
    "Extended",
    "Ended",
    "Settled",
    "Collected",
)
"""Events of Rental.vy whose first topic is a lease's id."""

LeaseEvent: TypeAlias = (
    LeaseOpened
    | LeaseAccepted
    | LeaseReclaimed
    | LeaseExtended
    | LeaseEnded
    | LeaseSettled
    | LeaseCollected
)


@dataclass(frozen=True, slots=True)
class LeaseStep:
    """Something that happened to a lease, and the transaction that did it."""

    event: LeaseEvent
    transaction: bytes
    block: int


async def find_block(rpc: JsonRpc, moment: int, first: int) -> int:
    """Find the newest block that is older than a moment (Unix seconds), from `first` on.

    Raises the errors of `Rpc.request`.
    """
    low = first
    high = parse_head(await rpc.request("eth_getBlockByNumber", "latest", False)).number
    while low < high:
        middle = (low + high + 1) // 2
        block = parse_head(await rpc.request("eth_getBlockByNumber", to_hex(middle), False))
        if block.timestamp < moment:
            low = middle
        else:
            high = middle - 1
    return low


async def read_lease_steps(
    rpc: JsonRpc, deployment: Deployment, lease_ids: Sequence[int], first: int, last: int
) -> list[LeaseStep]:
    """Read all events of some leases in a range of blocks, in their order.

    Raises the errors of `Rpc.request`; RefusedError when an endpoint takes not even few blocks.
    """
    shapes = get_interface("Rental").events
    topics = [
        [to_hex(shapes[name].topic) for name in LEASE_EVENTS],
        [to_hex(lease_id.to_bytes(32, "big")) for lease_id in lease_ids],
    ]
    wanted = set(lease_ids)
    found: list[LeaseStep] = []
    span = FIRST_SPAN
    while first <= last and wanted:
        end = min(last, first + span - 1)
        try:
            logs = await _read_logs(rpc, deployment, topics, first, end)
        except RefusedError:
            if span <= LEAST_SPAN:
                raise
            span //= GROWTH
            continue
        for log in logs:
            event = decode_event(deployment, log)
            if not isinstance(event, LeaseEvent) or event.id not in wanted:
                raise MalformedAnswerError("eth_getLogs: an event that was not asked for")
            found.append(LeaseStep(event, log.transaction_hash, log.block_number))
        first = end + 1
    return found


async def _read_logs(
    rpc: JsonRpc, deployment: Deployment, topics: list[list[str]], first: int, last: int
) -> list[Log]:
    answer = await rpc.request(
        "eth_getLogs",
        {
            "fromBlock": to_hex(first),
            "toBlock": to_hex(last),
            "address": to_hex(deployment.address("Rental")),
            "topics": topics,
        },
    )
    if not isinstance(answer, list):
        raise MalformedAnswerError("eth_getLogs: not a list")
    return [parse_log(item) for item in answer]
