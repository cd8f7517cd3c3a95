"""Randomness for draws: over real HTTP from relays of all kinds, and from the Beacon."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from chain.client import BlockTag
from chain.errors import RevertedError, UnreachableError
from p2p_node.zeronode import randomness
from p2p_node.zeronode.randomness import MAX_ANSWER_BYTES, BeaconSeeds, DrandRelays
from protocols import drand
from protocols.lucky_draw import Source, SourceKind
from protocols.types import Digest, Epoch, TimeMs
from tests.vectors.builders.draws import ROUNDS

pytestmark = pytest.mark.integration

ROUND = 1000
SOURCE = Source(SourceKind.DRAND, ROUND)
SIGNATURE = bytes.fromhex(ROUNDS[ROUND])


def answer(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


def round_of(number: int, signature: str) -> bytes:
    return answer(json.dumps({"round": number, "signature": signature}).encode())


@asynccontextmanager
async def relay(content: bytes, *, hangs: bool = False) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that says `content` to every request, and what it was asked."""
    asked: list[bytes] = []

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            asked.append(await stream.receive_some(4096))
            await stream.send_all(content)
            if hangs:
                await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        port = listener.socket.getsockname()[1]
        yield f"http://127.0.0.1:{port}", asked
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def relays(*urls: str) -> AsyncIterator[DrandRelays]:
    made = DrandRelays(urls)
    yield made
    await made.aclose()


async def test_a_round_is_fetched_and_verified() -> None:
    async with relay(round_of(ROUND, ROUNDS[ROUND])) as (url, asked), relays(url + "/") as drands:
        assert await drands.fetch(SOURCE) == SIGNATURE
        assert asked[0].startswith(b"GET /%s/public/1000 HTTP" % drand.CHAIN.hex().encode())
        assert not drands.refusals


BAD = {
    "drand relay refused": answer(b"", "425 Too Early"),
    "drand answer malformed": answer(b"{}"),
    "drand answer of another round": round_of(999, ROUNDS[ROUND]),
    "drand signature does not hold": round_of(ROUND, ROUNDS[657_413]),
    "drand signature is no point": round_of(ROUND, "00" * 48),
    "drand signature length": round_of(ROUND, "00"),
    "drand answer too long": answer(b" " * (MAX_ANSWER_BYTES + 1)),
    "drand relay unreachable": b"nonsense\r\n\r\n",
}


@pytest.mark.parametrize("reason", BAD)
async def test_a_bad_relay_is_passed_over(reason: str) -> None:
    good = round_of(ROUND, ROUNDS[ROUND])
    async with relay(BAD[reason]) as (bad, _), relay(good) as (url, _), relays(bad, url) as drands:
        assert await drands.fetch(SOURCE) == SIGNATURE
        assert drands.refusals == {reason: 1}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"7",
        b"[" * 3_000,
        b'{"signature": 7, "round": 1000}',
        b'{"signature": "zz", "round": 1000}',
        b'{"signature": "00"}',
        b"\xff",
    ],
)
async def test_answers_that_are_no_round(body: bytes) -> None:
    async with relay(answer(body)) as (url, _), relays(url) as drands:
        assert await drands.fetch(SOURCE) is None
        assert drands.refusals == {"drand answer malformed": 1}


async def test_a_redirect_is_not_followed() -> None:
    good = round_of(ROUND, ROUNDS[ROUND])
    async with relay(good) as (url, asked):
        moved = answer(b"", "302 Found", f"Location: {url}/\r\n")
        async with relay(moved) as (first, _), relays(first) as drands:
            assert await drands.fetch(SOURCE) is None
        assert asked == []


async def test_a_relay_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(randomness, "ANSWER_SECONDS", 0.2)
    slow = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"
    async with relay(slow, hangs=True) as (url, _), relays(url) as drands:
        assert await drands.fetch(SOURCE) is None
        assert drands.refusals == {"drand relay too slow": 1}


async def test_no_relay_at_all(unused_tcp_port: int) -> None:
    async with relays(f"http://127.0.0.1:{unused_tcp_port}", "http://[") as drands:
        assert await drands.fetch(SOURCE) is None
        assert drands.refusals == {"drand relay unreachable": 2}


async def test_rounds_are_planned_ahead() -> None:
    async with relays() as drands:
        moment = TimeMs(drand.time_of_round(1000) - 1)
        assert drands.plan(moment) == SOURCE
        assert drands.known_from(SOURCE) == drand.time_of_round(1000)


class Chain:
    def __init__(self, says: Callable[[], Digest]) -> None:
        self._says = says
        self.asked: list[tuple[int, BlockTag]] = []

    async def beacon_seed(self, epoch: Epoch, block: BlockTag = "latest") -> Digest:
        self.asked.append((epoch, block))
        return self._says()


def fail(error: Exception) -> Callable[[], Digest]:
    def say() -> Digest:
        raise error

    return say


async def test_seeds_are_read_of_final_blocks() -> None:
    chain = Chain(lambda: Digest(b"s" * 32))
    beacon = BeaconSeeds(chain, 1_000, 25)
    assert await beacon.fetch(Source(SourceKind.BEACON, 7)) == b"s" * 32
    assert chain.asked == [(7, "finalized")]


@pytest.mark.parametrize("error", [RevertedError(3, "x", None), UnreachableError("away")])
async def test_a_seed_that_is_not_there_yet(error: Exception) -> None:
    beacon = BeaconSeeds(Chain(fail(error)), 1_000, 25)
    assert await beacon.fetch(Source(SourceKind.BEACON, 7)) is None


@pytest.mark.parametrize(
    ("moment_ms", "epoch"),
    [(0, 1), (1_000_000, 1), (1_000_001, 2), (1_025_000, 2), (1_025_001, 3)],
)
def test_epochs_are_planned_ahead(moment_ms: int, epoch: int) -> None:
    beacon = BeaconSeeds(Chain(fail(RevertedError(3, "x", None))), 1_000, 25)
    source = beacon.plan(TimeMs(moment_ms))
    assert source == Source(SourceKind.BEACON, epoch)
    assert beacon.known_from(source) >= moment_ms
