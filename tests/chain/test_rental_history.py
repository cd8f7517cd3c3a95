"""Finding what happened to a lease: by its number, in whatever range an endpoint takes."""

from dataclasses import replace
from typing import Any, cast

import pytest

from chain.errors import MalformedAnswerError, RefusedError
from chain.hexes import to_hex
from chain.records import Log
from chain.rental_events import LeaseAccepted, LeaseReclaimed
from chain.rental_history import FIRST_SPAN, LEAST_SPAN, find_block, read_lease_steps
from chain.rpc import JsonRpc
from tests.chain.samples import DEPLOYMENT, make_log

ACCEPTED = make_log("Rental", "Accepted", {"id": 5, "provider": 2, "bond": 9})
RECLAIMED = make_log("Rental", "Reclaimed", {"id": 6, "refund": 7})


class Chain:
    """An endpoint with a block every six seconds that takes a limited range of logs."""

    def __init__(self, head: int, logs: tuple[Log, ...] = (), most: int = 10**9) -> None:
        self.head = head
        self.logs = logs
        self.most = most
        self.ranges: list[tuple[int, int]] = []
        self.blocks = 0

    async def request(self, method: str, *parameters: Any) -> object:
        if method == "eth_getBlockByNumber":
            self.blocks += 1
            number = self.head if parameters[0] == "latest" else int(parameters[0], 16)
            return {
                "number": hex(number),
                "hash": "0x" + "11" * 32,
                "timestamp": hex(1000 + 6 * number),
                "baseFeePerGas": "0x1",
            }
        assert method == "eth_getLogs"
        (wanted,) = parameters
        first, last = int(wanted["fromBlock"], 16), int(wanted["toBlock"], 16)
        if last - first + 1 > self.most:
            raise RefusedError(-32005, "range too large")
        self.ranges.append((first, last))
        assert wanted["address"] == to_hex(DEPLOYMENT.address("Rental"))
        assert wanted["topics"][1] == [to_hex(n.to_bytes(32, "big")) for n in (5, 6)]
        return [_to_json(log) for log in self.logs if first <= log.block_number <= last]


def _to_json(log: Log) -> dict[str, object]:
    return {
        "address": to_hex(log.address),
        "topics": [to_hex(each) for each in log.topics],
        "data": to_hex(log.data),
        "blockNumber": hex(log.block_number),
        "transactionHash": to_hex(log.transaction_hash),
        "logIndex": hex(log.log_index),
    }


def rpc(chain: Chain) -> JsonRpc:
    return cast(JsonRpc, chain)


@pytest.mark.parametrize(
    ("moment", "number"), [(1000 + 6 * 500, 499), (1000 + 6 * 500 + 1, 500), (0, 7), (10**9, 9999)]
)
async def test_the_newest_block_before_a_moment(moment: int, number: int) -> None:
    chain = Chain(9999)
    assert await find_block(rpc(chain), moment, 7) == number
    assert chain.blocks < 20


async def test_steps_come_in_their_order() -> None:
    chain = Chain(200_000, (ACCEPTED, replace(RECLAIMED, block_number=150_000)))

    steps = await read_lease_steps(rpc(chain), DEPLOYMENT, [5, 6], 0, 200_000)

    assert [step.event for step in steps] == [LeaseAccepted(5, 2, 9), LeaseReclaimed(6, 7)]
    assert [step.block for step in steps] == [9, 150_000]
    assert steps[0].transaction == ACCEPTED.transaction_hash
    assert chain.ranges[0] == (0, FIRST_SPAN - 1)


async def test_an_endpoint_that_takes_less_is_asked_for_less() -> None:
    chain = Chain(9000, (ACCEPTED,), most=1000)

    steps = await read_lease_steps(rpc(chain), DEPLOYMENT, [5, 6], 0, 9000)

    assert len(steps) == 1
    assert all(last - first < 1000 for first, last in chain.ranges)
    # Without gaps and without overlaps.
    assert chain.ranges[0][0] == 0
    assert chain.ranges[-1][1] == 9000
    assert all(
        one[1] + 1 == two[0] for one, two in zip(chain.ranges, chain.ranges[1:], strict=False)
    )


async def test_an_endpoint_that_takes_hardly_anything_is_an_error() -> None:
    chain = Chain(9000, most=LEAST_SPAN // 4)
    with pytest.raises(RefusedError):
        await read_lease_steps(rpc(chain), DEPLOYMENT, [5, 6], 0, 9000)


@pytest.mark.parametrize(
    "foreign",
    [
        make_log("Rental", "Accepted", {"id": 7, "provider": 2, "bond": 9}),
        make_log("Rental", "FeesSwept", {"amount": 1}),
        replace(ACCEPTED, topics=(b"\x01" * 32,)),
    ],
)
async def test_what_was_not_asked_for_is_not_believed(foreign: Log) -> None:
    with pytest.raises(MalformedAnswerError, match="not asked for"):
        await read_lease_steps(rpc(Chain(100, (foreign,))), DEPLOYMENT, [5, 6], 0, 100)


async def test_nobodys_leases_have_no_steps() -> None:
    chain = Chain(100)
    assert await read_lease_steps(rpc(chain), DEPLOYMENT, [], 0, 100) == []
    assert chain.ranges == []
