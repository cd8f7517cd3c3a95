"""Several endpoints as one: which of them answers, and what is said about the others."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio

from chain.endpoints import (
    BEHIND_BLOCKS,
    COOL_DOWN_SECONDS,
    LOOK_SECONDS,
    STALE_SECONDS,
    WATCH_SECONDS,
    WRONG_SECONDS,
    Endpoints,
    State,
)
from chain.errors import (
    ChainError,
    MalformedAnswerError,
    RefusedError,
    RevertedError,
    TimedOutError,
    UnreachableError,
    WrongChainError,
)
from chain.rpc import JsonRpc
from protocols.errors import LocalError

CHAIN_ID = 3338
NOW = 1_000_000
DOWN = UnreachableError("no connection")


@dataclass
class FakeRpc(JsonRpc):
    """Answers with its own name, unless it is told to fail."""

    name: str
    chain_id: int = CHAIN_ID
    number: int = 100
    timestamp: int = NOW
    error: ChainError | None = None
    hangs: bool = False
    asked: list[str] = field(default_factory=list)
    closed: bool = False

    async def request(self, method: str, *parameters: object) -> object:
        self.asked.append(method)
        if self.hangs:
            await trio.sleep(60)
            raise TimedOutError(method)
        if self.error is not None:
            raise self.error
        if method == "eth_chainId":
            return hex(self.chain_id)
        if method == "eth_getBlockByNumber":
            return {
                "number": hex(self.number),
                "hash": "0x" + "11" * 32,
                "timestamp": hex(self.timestamp),
                "baseFeePerGas": "0x7",
            }
        return self.name

    def close(self) -> None:
        self.closed = True


class Bench:
    """Two endpoints, or as many as a test names, and a clock that it moves."""

    def __init__(self, *names: str) -> None:
        self.now = float(NOW)
        self.rpcs = {name: FakeRpc(name) for name in names or ("one", "two")}
        self.endpoints = Endpoints(list(self.rpcs.items()), CHAIN_ID, clock=lambda: self.now)

    def __getitem__(self, name: str) -> FakeRpc:
        return self.rpcs[name]

    async def ask(self, method: str = "eth_gasPrice") -> object:
        return await self.endpoints.request(method)

    async def head(self) -> object:
        return await self.endpoints.request("eth_getBlockByNumber", "latest", False)

    def state(self, name: str) -> State:
        return next(each.state for each in self.endpoints.endpoints if each.name == name)


@asynccontextmanager
async def watching(bench: Bench) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.endpoints.watch)
        yield
        nursery.cancel_scope.cancel()


async def test_the_first_one_answers_and_the_others_stand_by() -> None:
    bench = Bench()
    assert await bench.ask() == "one"
    assert bench["one"].asked == ["eth_chainId", "eth_getBlockByNumber", "eth_gasPrice"]
    assert await bench.ask() == "one"
    assert bench["one"].asked[3:] == ["eth_gasPrice"], "it is verified once"
    assert bench["two"].asked == []


@pytest.mark.parametrize(
    "error",
    [
        DOWN,
        TimedOutError("too slow"),
        MalformedAnswerError("the answer is not JSON"),
        RefusedError(-32005, "daily request count exceeded"),
        RefusedError(-32000, "Too Many Requests, slow down"),
    ],
)
async def test_the_next_one_takes_over(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture, error: ChainError
) -> None:
    bench = Bench()
    await bench.ask()
    bench["one"].error = error
    assert await bench.ask() == "two"
    assert bench["two"].asked[0] == "eth_chainId", "verified before its first use"
    before = len(bench["one"].asked)
    assert await bench.ask() == "two"
    assert len(bench["one"].asked) == before, "left alone"
    assert caplog.messages == [
        f"one: down, {bench.endpoints.endpoints[0].detail}",
        "the chain is read from two now: one is down",
    ]
    assert bench.endpoints.counts["switched"] == 1


@pytest.mark.parametrize(
    "error", [RefusedError(-32601, "no such method"), RevertedError(3, "", "")]
)
async def test_what_the_chain_refuses_is_no_failure(error: ChainError) -> None:
    bench = Bench()
    await bench.ask()
    bench["one"].error = error
    with pytest.raises(type(error)):
        await bench.ask()
    assert bench.state("one") is State.GOOD


async def test_a_transaction_is_handed_to_one_endpoint_only(autojump_clock: Any) -> None:
    bench = Bench()
    await bench.ask()
    bench["one"].error = TimedOutError("it may have taken it")
    with pytest.raises(TimedOutError):
        await bench.ask("eth_sendRawTransaction")
    assert bench["two"].asked == []
    assert await bench.ask("eth_sendRawTransaction") == "two"


async def test_the_first_one_is_used_again_when_it_is_good(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench()
    async with watching(bench):
        await bench.ask()
        bench["one"].error = DOWN
        assert await bench.ask() == "two"
        bench["one"].error = None
        await trio.sleep(COOL_DOWN_SECONDS[0] - 1)
        assert await bench.ask() == "two"
        await trio.sleep(WATCH_SECONDS)
        assert await bench.ask() == "one"
    assert caplog.messages[-2:] == [
        "one: good again",
        "the chain is read from one now: preferred to two",
    ]


async def test_it_is_left_alone_longer_and_longer(autojump_clock: Any) -> None:
    bench = Bench()
    await bench.ask()
    bench["one"].error = DOWN
    await bench.ask()
    looks = []
    async with watching(bench):
        await trio.sleep(1)
        for _ in range(20):
            before = len(bench["one"].asked)
            await trio.sleep(WATCH_SECONDS)
            looks.append(len(bench["one"].asked) - before)
    assert looks[0] == 1
    assert sum(looks[-8:]) == 2, "once a minute"


async def test_all_are_down(autojump_clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    await bench.ask()
    for rpc in bench.rpcs.values():
        rpc.error = DOWN
    for _ in range(5):
        with pytest.raises(UnreachableError):
            await bench.ask()
    assert len(caplog.messages) == 2, "one line for each, however often they are asked"
    bench["two"].error = None
    # Whichever comes back is found by asking, though it was to be left alone.
    answers = []
    for _ in range(3):
        try:
            answers.append(await bench.ask())
        except UnreachableError:
            await trio.sleep(10)
    assert "two" in answers


async def test_one_alone_is_always_tried(autojump_clock: Any) -> None:
    bench = Bench("one")
    await bench.ask()
    bench["one"].error = DOWN
    with pytest.raises(UnreachableError):
        await bench.ask()
    bench["one"].error = None
    assert await bench.ask() == "one"
    assert bench["one"].asked[-3:] == ["eth_chainId", "eth_getBlockByNumber", "eth_gasPrice"]


async def test_an_endpoint_that_hangs_does_not_hold_up_for_long(autojump_clock: Any) -> None:
    bench = Bench("one", "two", "three")
    for name in ("one", "two"):
        bench[name].hangs = True
    started = trio.current_time()
    assert await bench.ask() == "three"
    assert trio.current_time() - started == 2 * LOOK_SECONDS
    with trio.fail_after(1):
        assert await bench.ask() == "three"


async def test_there_is_an_end_to_trying(autojump_clock: Any) -> None:
    bench = Bench(*"abcdefgh")
    for rpc in bench.rpcs.values():
        rpc.hangs = True
    with trio.fail_after(31), pytest.raises(TimedOutError):
        await bench.ask()


# Wrong chains


async def test_another_chain_is_never_used(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench()
    bench["one"].chain_id = 1
    assert await bench.ask() == "two"
    assert "eth_gasPrice" not in bench["one"].asked
    assert "one: wrong chain, chain id: found 1, expected 3338" in caplog.text
    assert bench.endpoints.counts["wrong chain"] == 1
    bench["two"].error = DOWN
    with pytest.raises(UnreachableError):
        await bench.ask()
    assert "eth_gasPrice" not in bench["one"].asked


async def test_all_serve_another_chain() -> None:
    bench = Bench()
    for rpc in bench.rpcs.values():
        rpc.chain_id = 1
    with pytest.raises(WrongChainError, match=r"one: .* two: "):
        await bench.ask()


async def test_another_chain_after_an_outage(autojump_clock: Any) -> None:
    bench = Bench("one")
    await bench.ask()
    bench["one"].error = DOWN
    with pytest.raises(UnreachableError):
        await bench.ask()
    bench["one"].error = None
    bench["one"].chain_id = 1
    with pytest.raises(WrongChainError):
        await bench.ask()


async def test_another_chain_without_an_outage_is_noticed(autojump_clock: Any) -> None:
    bench = Bench()
    async with watching(bench):
        await bench.ask()
        bench["one"].chain_id = 1
        await trio.sleep(WATCH_SECONDS + 1)
        assert await bench.ask() == "two"
        bench["one"].chain_id = CHAIN_ID
        await trio.sleep(WRONG_SECONDS + WATCH_SECONDS)
        assert await bench.ask() == "one"


# Endpoints that are behind


async def test_an_old_newest_block_is_passed_over(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench()
    bench["one"].timestamp = NOW - int(STALE_SECONDS) - 1
    assert await bench.ask() == "two"
    assert "one: behind, its newest block is 61 s old" in caplog.text


async def test_what_is_read_anyway_tells_that_it_is_behind(autojump_clock: Any) -> None:
    bench = Bench()
    async with watching(bench):
        await bench.ask()
        bench.now += STALE_SECONDS + 1
        bench["two"].timestamp = int(bench.now)
        await bench.head()
        assert await bench.ask() == "two"
        bench["one"].timestamp = int(bench.now)
        await trio.sleep(WATCH_SECONDS + 1)
        assert await bench.ask() == "one", "it has caught up"


async def test_far_below_another_one(autojump_clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    async with watching(bench):
        await bench.ask()
        bench["two"].number = bench["one"].number + BEHIND_BLOCKS
        await trio.sleep(WATCH_SECONDS + 1)
        assert await bench.ask() == "one"
        bench["two"].number += 1
        await trio.sleep(2 * WATCH_SECONDS)
        assert await bench.ask() == "two"
        assert caplog.text.count("one: behind, by 11 blocks") == 1
        bench["one"].number = bench["two"].number
        await trio.sleep(WATCH_SECONDS)
        assert await bench.ask() == "one"


async def test_what_was_read_before_counts_when_changing(autojump_clock: Any) -> None:
    bench = Bench("one", "two", "three")
    bench["two"].number = bench["one"].number - BEHIND_BLOCKS - 1
    await bench.ask()
    bench["one"].error = DOWN
    assert await bench.ask() == "three"


async def test_going_back_a_little_is_said(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench()
    bench["two"].number = bench["one"].number - 2
    await bench.ask()
    bench["one"].error = DOWN
    assert await bench.ask() == "two"
    assert caplog.messages[-1].endswith("what is read goes back by 2 blocks")


async def test_where_all_are_behind_the_newest_one_is_used(autojump_clock: Any) -> None:
    bench = Bench()
    bench.now += 1000
    bench["one"].number -= 1
    assert await bench.ask() == "two"
    assert await bench.ask() == "two"


async def test_one_alone_that_is_behind_is_used_and_said(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    bench = Bench("one")
    bench.now += STALE_SECONDS + 1
    for _ in range(3):
        assert await bench.ask() == "one"
        await bench.head()
    bench["one"].timestamp = int(bench.now)
    await bench.head()
    assert caplog.messages == [
        "one: behind, its newest block is 61 s old",
        "one: good again",
    ]


async def test_what_cannot_be_read_is_left_to_whoever_asked(autojump_clock: Any) -> None:
    bench = Bench("one")
    await bench.ask()
    bench["one"].number = -1
    await bench.head()
    assert bench.state("one") is State.GOOD


def test_none_at_all() -> None:
    with pytest.raises(LocalError, match="at least one"):
        Endpoints([], CHAIN_ID)


def test_closing_closes_all() -> None:
    bench = Bench()
    bench.endpoints.close()
    assert all(rpc.closed for rpc in bench.rpcs.values())
