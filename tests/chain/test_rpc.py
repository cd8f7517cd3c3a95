"""The RPC endpoint's errors, each told from the others, and its bounds."""

import time
from collections.abc import Iterator

import pytest
import trio

from chain.errors import (
    MalformedAnswerError,
    RefusedError,
    RevertedError,
    TimedOutError,
    UnavailableError,
    UnreachableError,
)
from chain.provider import MAX_ANSWER_BYTES
from chain.rpc import Rpc
from protocols.errors import LocalError
from tests.chain.backends import CHAIN_ID, DevchainBackend
from tests.chain.scripted import error, respond, result, scripted

NO = (  # Error("no")
    "0x08c379a0" + f"{32:064x}" + f"{2:064x}" + b"no".hex() + "00" * 30
)


async def test_a_result_comes_back(rpc: Rpc) -> None:
    assert await rpc.request("eth_chainId") == hex(CHAIN_ID)
    assert await rpc.quantity("eth_chainId") == CHAIN_ID
    assert await rpc.octets("eth_getCode", "0x" + "11" * 20, "latest") == b""


async def test_many_tasks_share_few_connections(devchain: DevchainBackend) -> None:
    rpc = Rpc(devchain.url, connections=2)
    numbers: list[int] = []

    async def ask() -> None:
        numbers.append(await rpc.quantity("eth_chainId"))

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(ask)
    assert numbers == [CHAIN_ID] * 50
    rpc.close()


async def test_nobody_listens() -> None:
    rpc = Rpc("http://127.0.0.1:1")
    with pytest.raises(UnreachableError) as caught:
        await rpc.request("eth_chainId")
    assert isinstance(caught.value, UnavailableError)
    assert caught.value.reason == "rpc unreachable"


async def test_no_such_host() -> None:
    with pytest.raises(UnreachableError):
        await Rpc("http://nowhere.invalid:8545").request("eth_chainId")


@pytest.mark.parametrize("url", ["", "localhost:8545", "ws://127.0.0.1", "file:///etc/passwd"])
def test_a_bad_url_is_our_own_mistake(url: str) -> None:
    with pytest.raises(LocalError, match="rpc url"):
        Rpc(url)


async def test_silence_times_out() -> None:
    with scripted(lambda _: endpoint.wait_until_stopped(20)) as endpoint:
        rpc = Rpc(endpoint.url, timeout_seconds=0.2)
        started = time.monotonic()
        with pytest.raises(TimedOutError):
            await rpc.request("eth_chainId")
        assert time.monotonic() - started < 5


async def test_an_answer_that_drips_times_out() -> None:
    def drip(_: bytes) -> bytes:
        return b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"

    with scripted(drip) as endpoint:
        rpc = Rpc(endpoint.url, timeout_seconds=0.2)
        with pytest.raises(TimedOutError):
            await rpc.request("eth_chainId")


async def test_waiting_for_a_connection_times_out() -> None:
    with scripted(lambda _: endpoint.wait_until_stopped(20)) as endpoint:
        rpc = Rpc(endpoint.url, timeout_seconds=0.3, connections=1)
        outcomes: list[str] = []

        async def ask() -> None:
            with pytest.raises(TimedOutError) as caught:
                await rpc.request("eth_chainId")
            outcomes.append(caught.value.reason)

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for _ in range(8):
                    nursery.start_soon(ask)
        assert outcomes == ["rpc timed out"] * 8


async def test_a_cancelled_request_lets_go_at_once() -> None:
    with scripted(lambda _: endpoint.wait_until_stopped(20)) as endpoint:
        rpc = Rpc(endpoint.url, timeout_seconds=3)
        with trio.move_on_after(0.1) as scope:
            await rpc.request("eth_chainId")
        assert scope.cancelled_caught


async def test_a_closed_connection_is_tried_once_more() -> None:
    answers: Iterator[bytes | None] = iter([result("0x1"), None, result("0x2"), None, None])

    with scripted(lambda _: next(answers)) as endpoint:
        rpc = Rpc(endpoint.url, timeout_seconds=5)
        assert await rpc.quantity("eth_blockNumber") == 1
        assert await rpc.quantity("eth_blockNumber") == 2
        with pytest.raises(UnreachableError):
            await rpc.request("eth_blockNumber")


async def test_a_transaction_is_not_sent_twice() -> None:
    """The first one may have arrived; the manager finds out what became of it."""
    answers: Iterator[bytes | None] = iter([result("0x1"), None, result("0x2")])

    with scripted(lambda _: next(answers)) as endpoint:
        rpc = Rpc(endpoint.url, timeout_seconds=5)
        await rpc.request("eth_blockNumber")
        with pytest.raises(UnreachableError):
            await rpc.request("eth_sendRawTransaction", "0x")
        assert len(endpoint.requests) == 2


async def test_the_endpoint_comes_back() -> None:
    answers = iter([respond(b"busy", "503 Service Unavailable"), result("0x5")])
    with scripted(lambda _: next(answers)) as endpoint:
        rpc = Rpc(endpoint.url)
        with pytest.raises(UnreachableError, match="HTTP 503"):
            await rpc.request("eth_blockNumber")
        assert await rpc.quantity("eth_blockNumber") == 5


@pytest.mark.parametrize(
    "answer",
    [
        respond(b""),
        respond(b"<html>"),
        respond(b"\xff\xfe"),
        respond(b"[" * 200_000),
        respond(b"[]"),
        respond(b"1"),
        respond(b"{}"),
        respond(b'{"jsonrpc": "2.0", "id": 1}'),
        respond(b'{"error": 5}'),
        respond(b'{"error": {"code": "x", "message": "m"}}'),
        respond(b'{"error": {"code": 1}}'),
        respond(b"gone", "404 Not Found"),
        respond(b"", "302 Found", "Location: http://127.0.0.1:1/\r\n"),
    ],
)
async def test_an_answer_that_is_no_json_rpc(answer: bytes) -> None:
    with scripted(lambda _: answer) as endpoint:
        rpc = Rpc(endpoint.url)
        with pytest.raises(MalformedAnswerError):
            await rpc.request("eth_chainId")


@pytest.mark.parametrize(
    "value", [None, 1, True, [], {}, "1", "0x", "0xg", "0x1_0", "0x" + "1" * 65]
)
async def test_a_result_of_the_wrong_type(value: object) -> None:
    with scripted(lambda _: result(value)) as endpoint:
        rpc = Rpc(endpoint.url)
        with pytest.raises(MalformedAnswerError, match="eth_chainId"):
            await rpc.quantity("eth_chainId")


@pytest.mark.parametrize("value", [None, 1, "12", "0x1", "0x 1", "0xzz"])
async def test_bytes_of_the_wrong_type(value: object) -> None:
    with scripted(lambda _: result(value)) as endpoint:
        rpc = Rpc(endpoint.url)
        with pytest.raises(MalformedAnswerError, match="eth_call"):
            await rpc.octets("eth_call")


async def test_an_endless_answer_is_cut_off() -> None:
    body = b"[" + b" " * MAX_ANSWER_BYTES + b"]"
    with scripted(lambda _: respond(body)) as endpoint:
        rpc = Rpc(endpoint.url)
        with pytest.raises(MalformedAnswerError, match="longer than"):
            await rpc.request("eth_chainId")


async def test_an_error_object_is_a_refusal() -> None:
    with (
        scripted(lambda _: error(-32601, "no such\nmethod" + "x" * 500)) as endpoint,
        pytest.raises(RefusedError) as caught,
    ):
        await Rpc(endpoint.url).request("eth_none")
    assert caught.value.code == -32601
    assert caught.value.message.startswith("no suchmethod")
    assert len(caught.value.message) <= 200


async def test_an_error_object_counts_with_an_http_error_too() -> None:
    refusal = error(-32000, "nonce too low").replace(b"200 OK", b"500 Internal Server Error")
    with (
        scripted(lambda _: refusal) as endpoint,
        pytest.raises(RefusedError, match="nonce too low"),
    ):
        await Rpc(endpoint.url).request("eth_sendRawTransaction")


@pytest.mark.parametrize(
    ("code", "message", "data", "reason"),
    [
        # geth and anvil
        (3, "execution reverted: no", NO, "no"),
        (3, "execution reverted", "0x", None),
        (3, "execution reverted", "0x08c379a0ff", None),
        (3, "execution reverted", "0x4e487b71" + f"{17:064x}", "panic 0x11"),
        # frontier, on peaq
        (-32603, "VM Exception while processing transaction: revert no", NO, "no"),
        (-32603, "VM Exception while processing transaction: revert no", None, "no"),
        # parity
        (-32015, "VM execution error: Reverted", "Reverted " + NO, "no"),
        (-32000, "execution reverted: no", None, "no"),
        (3, "what", 5, None),
    ],
)
async def test_a_revert_is_recognised_with_its_reason(
    code: int, message: str, data: object, reason: str | None
) -> None:
    with (
        scripted(lambda _: error(code, message, data)) as endpoint,
        pytest.raises(RevertedError) as caught,
    ):
        await Rpc(endpoint.url).request("eth_call")
    assert caught.value.revert_reason == reason
    assert caught.value.reason == "reverted"
