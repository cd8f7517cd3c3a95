"""The transaction manager through endpoints that are cut, lie or stand still, on real chains."""

import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from typing import Any

import pytest
import requests
import trio

from chain.endpoints import Endpoints, State
from chain.errors import WrongChainError
from chain.records import Receipt
from chain.rpc import Rpc
from tests.chain.backends import CHAIN_ID, AnvilBackend, Backend, running_anvil
from tests.chain.managing import NOBODY, managing, transfer, until
from tests.chain.scripted import respond, scripted
from tests.chain.tcp_proxy import proxied


@pytest.fixture(scope="module")
def anvil() -> Iterator[AnvilBackend]:
    with running_anvil() as backend:
        yield backend


@asynccontextmanager
async def reaching(*urls: str) -> AsyncIterator[Endpoints]:
    """Endpoints that are watched, and that do not mind the timestamps of blocks made by hand."""
    named = [(f"endpoint {n}", Rpc(url, timeout_seconds=5.0)) for n, url in enumerate(urls, 1)]
    with closing(Endpoints(named, CHAIN_ID, stale_seconds=600, watch_seconds=0.2)) as endpoints:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(endpoints.watch)
            yield endpoints
            nursery.cancel_scope.cancel()


@contextmanager
def altered(url: str, alter: Callable[[str, Any], Any]) -> Iterator[str]:
    """An endpoint in front of another, whose results go through `alter(method, result)`."""
    with requests.Session() as session:

        def answer(body: bytes) -> bytes:
            answered = session.post(url, data=body, timeout=10, headers=_JSON).json()
            if "result" in answered:
                answered["result"] = alter(json.loads(body)["method"], answered["result"])
            return respond(json.dumps(answered).encode())

        with scripted(answer) as endpoint:
            yield endpoint.url


_JSON = {"content-type": "application/json"}


async def mine_until(done: Callable[[], bool], backend: Backend) -> None:
    with trio.fail_after(20):
        while not done():
            backend.mine()
            await trio.sleep(0.1)


async def test_the_endpoint_is_cut_at_any_moment(anvil: AnvilBackend) -> None:
    """One endpoint only, away again and again while transactions go through it."""
    labels = [f"wage {number}" for number in range(8)]
    with proxied(anvil.url) as line:
        async with (
            reaching(line.url) as endpoints,
            managing(anvil, rpc=endpoints) as bench,
        ):
            before, first = await held(bench.rpc), await bench.nonce()
            for number, label in enumerate(labels):
                bench.start(transfer(1 << number), label)
            for _ in range(4):
                await trio.sleep(0.15)
                line.cut()
                anvil.mine()
                await trio.sleep(0.15)
                anvil.mine()
                line.restore()
            await mine_until(lambda: len(bench.outcomes) == len(labels), anvil)
            await mine_until(lambda: bench.is_settled, anvil)
            assert all(isinstance(each, Receipt) for each in bench.outcomes.values())
            assert await held(bench.rpc) - before == (1 << len(labels)) - 1
            assert await bench.nonce() - first == len(labels)
            assert endpoints.counts["down"] >= 1


async def test_another_endpoint_takes_over_and_gives_back(anvil: AnvilBackend) -> None:
    with proxied(anvil.url) as line:
        async with (
            reaching(line.url, anvil.url) as endpoints,
            managing(anvil, rpc=endpoints) as bench,
        ):
            bench.start(transfer(), "first")
            await bench.until_waiting()
            line.cut()
            assert isinstance(await bench.mine_until("first"), Receipt)
            assert endpoints.endpoints[0].state is State.DOWN
            line.restore()
            await until(lambda: endpoints.endpoints[0].state is State.GOOD)
            bench.start(transfer(), "second")
            assert isinstance(await bench.mine_until("second"), Receipt)
            assert endpoints.counts["switched"] == 2


async def test_an_endpoint_that_lies_about_its_chain(anvil: AnvilBackend) -> None:
    def lie(method: str, result: Any) -> Any:
        return "0x1" if method == "eth_chainId" else result

    with altered(anvil.url, lie) as liar:
        async with (
            reaching(liar, anvil.url) as endpoints,
            managing(anvil, rpc=endpoints) as bench,
        ):
            bench.start(transfer(), "rent")
            assert isinstance(await bench.mine_until("rent"), Receipt)
            assert [each.state for each in endpoints.endpoints] == [State.WRONG, State.GOOD]
        with pytest.RaisesGroup(WrongChainError, flatten_subgroups=True):
            async with reaching(liar) as endpoints, managing(anvil, rpc=endpoints):
                await trio.sleep_forever()


async def test_an_endpoint_that_stands_still(anvil: AnvilBackend) -> None:
    """It goes on to answer, with the block it had when it stopped."""
    stopped: list[Any] = []

    def stand_still(method: str, result: Any) -> Any:
        if method == "eth_getBlockByNumber" and stopped:
            return stopped[0]
        return result

    with altered(anvil.url, stand_still) as still:
        async with (
            reaching(still, anvil.url) as endpoints,
            managing(anvil, rpc=endpoints) as bench,
        ):
            bench.start(transfer(), "first")
            assert isinstance(await bench.mine_until("first"), Receipt)
            block = anvil.request("eth_getBlockByNumber", "latest", False)
            assert isinstance(block, dict)
            stopped.append(block | {"timestamp": hex(int(time.time()) - 3600)})
            await until(lambda: endpoints.endpoints[0].state is State.BEHIND)
            bench.start(transfer(), "second")
            assert isinstance(await bench.mine_until("second"), Receipt)
            stopped.clear()
            await until(lambda: endpoints.endpoints[0].state is State.GOOD)


async def held(rpc: Rpc) -> int:
    return await rpc.quantity("eth_getBalance", "0x" + NOBODY.hex(), "latest")
