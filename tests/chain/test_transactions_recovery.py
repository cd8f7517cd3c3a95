"""The transaction manager when things go wrong: crashes, strangers, outages, reorganisations."""

from typing import Any

import pytest
import trio

from chain.errors import (
    ExpiredError,
    MalformedAnswerError,
    RefusedError,
    SupersededError,
    UnreachableError,
    WrongChainError,
)
from chain.journal import JournalEntry, MemoryJournal
from chain.rpc import Rpc
from chain.transactions import TransactionManager
from protocols.errors import LocalError
from tests.chain.backends import ALICE, BOB, CHAIN_ID, Backend, DevchainBackend
from tests.chain.managing import (
    NOBODY,
    SEND,
    Forward,
    crash,
    managing,
    transfer,
    until,
)


@pytest.mark.parametrize("after_sending", [False, True])
@pytest.mark.parametrize("mined_meanwhile", [False, True])
async def test_a_crash_around_the_broadcast_sends_nothing_twice(
    backend: Backend, after_sending: bool, mined_meanwhile: bool
) -> None:
    journal = MemoryJournal()
    await crash(backend, journal, after_sending=after_sending)
    (entry,) = journal.entries()
    assert backend.waits(entry.hash) is after_sending
    if mined_meanwhile:
        backend.mine(5)
    async with managing(backend, journal) as bench:
        if not mined_meanwhile or not after_sending:
            # Sent again by itself, and byte for byte the same.
            await until(lambda: backend.waits(entry.hash))
        bench.start(transfer(), "rent")
        receipt = await bench.receipt_of("rent")
        assert receipt.transaction_hash == entry.hash
        assert await bench.nonce() == 1
        # The same intent once more, after its outcome was handed out, is a new one.
        bench.start(transfer(), "rent again", confirmations=1)
        await bench.receipt_of("rent again")
        assert await bench.nonce() == 2


async def test_an_outcome_that_became_final_before_it_is_asked_for(backend: Backend) -> None:
    journal = MemoryJournal()
    await crash(backend, journal, after_sending=True)
    (entry,) = journal.entries()
    async with managing(backend, journal) as bench:
        backend.mine(5)
        await until(lambda: bench.is_settled)
        bench.start(transfer(), "rent")
        await until(lambda: "rent" in bench.outcomes)
        receipt = bench.outcomes["rent"]
        assert not isinstance(receipt, Exception), receipt
        assert receipt.transaction_hash == entry.hash
        assert await bench.nonce() == 1


async def test_another_intent_after_a_crash_gets_its_own_nonce(backend: Backend) -> None:
    journal = MemoryJournal()
    await crash(backend, journal, after_sending=True)
    (entry,) = journal.entries()
    async with managing(backend, journal) as bench:
        bench.start(transfer(9), "rent", confirmations=1)
        receipt = await bench.receipt_of("rent")
        assert await bench.nonce() == 2
        assert receipt.transaction_hash != entry.hash


async def test_a_nonce_that_a_stranger_has_just_used(backend: Backend) -> None:
    async with managing(backend) as bench:
        strangers: list[bytes] = []

        async def hook(method: str, _: tuple[Any, ...], forward: Forward) -> object:
            if method == SEND and not strangers:
                strangers.append(await bench.send_as_stranger(0))
                backend.mine()
            return await forward()

        bench.rpc.hook = hook
        bench.start(transfer(), "rent", confirmations=1)
        receipt = await bench.receipt_of("rent")
        assert receipt.transaction_hash not in strangers
        assert await bench.nonce() == 2
        assert [entry.nonce for entry in bench.history] == [0, 1]


async def test_a_nonce_that_a_stranger_takes_from_us(backend: Backend) -> None:
    async with managing(backend) as bench:
        bench.start(transfer(), "rent")
        await bench.until_waiting()
        await bench.send_as_stranger(0)
        error = await bench.error_of("rent")
        assert isinstance(error, SupersededError), error
        assert error.nonce == 0
        await until(lambda: bench.is_settled)
        bench.start(transfer(), "rent once more", confirmations=1)
        await bench.receipt_of("rent once more")


@pytest.mark.parametrize("depth", [1, 2])
async def test_after_a_reorganisation_the_same_bytes_are_sent(backend: Backend, depth: int) -> None:
    async with managing(backend) as bench:
        bench.start(transfer(), "rent")
        sent = await bench.until_waiting()
        backend.mine(depth)
        # The manager has seen it in a block when it lets the next one go.
        bench.start(transfer(), "next", confirmations=1)
        await until(lambda: len(bench.hashes) == 2)
        backend.reorganise(depth)
        await until(lambda: backend.waits(sent))
        receipt = await bench.receipt_of("rent")
        assert receipt.transaction_hash == sent
        await bench.receipt_of("next")
        assert await bench.nonce() == 2


async def test_what_a_caller_took_for_done_is_still_watched(devchain: DevchainBackend) -> None:
    async with managing(devchain) as bench:
        bench.start(transfer(), "rent", confirmations=1)
        sent = await bench.until_waiting()
        devchain.mine()
        await until(lambda: "rent" in bench.outcomes)
        devchain.reorganise(1)
        await until(lambda: devchain.waits(sent))
        devchain.mine(3)
        await until(lambda: bench.is_settled)
        assert await bench.nonce() == 1


async def test_an_outage_of_the_endpoint_is_waited_out(backend: Backend) -> None:
    down = True
    asked = 0

    async def hook(method: str, _: tuple[Any, ...], forward: Forward) -> object:
        nonlocal asked
        asked += 1
        if down:
            raise UnreachableError(method)
        return await forward()

    async with managing(backend) as bench:
        bench.rpc.hook = hook
        bench.start(transfer(), "rent", confirmations=1)
        await until(lambda: asked > 3)
        down = False
        await bench.until_waiting()
        down = True
        before = asked
        await until(lambda: asked > before + 3)
        backend.mine()
        down = False
        await bench.receipt_of("rent")
        assert await bench.nonce() == 1


@pytest.mark.parametrize(
    "method",
    [
        "eth_getBlockByNumber",
        "eth_maxPriorityFeePerGas",
        "eth_getTransactionCount",
        "eth_getTransactionReceipt",
        SEND,
    ],
)
async def test_malformed_answers_are_survived(devchain: DevchainBackend, method: str) -> None:
    failures = 0

    async def hook(asked: str, _: tuple[Any, ...], forward: Forward) -> object:
        nonlocal failures
        answer = await forward()
        if asked == method and failures < 3:
            failures += 1
            if method == SEND:
                raise MalformedAnswerError("no JSON")
            return ["nonsense"]
        return answer

    async with managing(devchain) as bench:
        bench.rpc.hook = hook
        bench.start(transfer(), "rent", confirmations=1)
        await bench.receipt_of("rent")
        assert await bench.nonce() == 1
    assert failures == 3 if method != SEND else failures >= 1


async def test_a_receipt_of_another_transaction_is_not_believed(
    devchain: DevchainBackend,
) -> None:
    stranger = Rpc(devchain.url)

    async def hook(method: str, _: tuple[Any, ...], forward: Forward) -> object:
        if method == "eth_getTransactionReceipt":
            return await stranger.request(method, "0x" + other.hex())
        return await forward()

    async with managing(devchain, signer=BOB) as bobs:
        other = await bobs.send_as_stranger(0)
        devchain.mine()
        async with managing(devchain) as bench:
            bench.rpc.hook = hook
            bench.start(transfer(), "rent", confirmations=1)
            await bench.until_waiting()
            devchain.mine()
            with trio.move_on_after(0.2):
                await until(lambda: "rent" in bench.outcomes)
            assert "rent" not in bench.outcomes
            bench.rpc.hook = None
            await bench.receipt_of("rent")
    stranger.close()


async def test_another_chain_is_refused(backend: Backend) -> None:
    with pytest.RaisesGroup(
        pytest.RaisesExc(WrongChainError, match=f"found {CHAIN_ID}, expected 3338")
    ):
        async with managing(backend, chain_id=3338):
            await trio.sleep_forever()


async def test_a_void_that_was_mined_after_a_crash_is_said(devchain: DevchainBackend) -> None:
    journal = MemoryJournal()
    async with managing(devchain, journal) as bench:
        bench.start(transfer(5), "rent", deadline=trio.current_time() + 1.5)
        await bench.until_waiting()
        await bench.until_waiting(2)
    devchain.mine()
    async with managing(devchain, journal) as bench:
        bench.start(transfer(5), "rent")
        error = await bench.error_of("rent")
        assert isinstance(error, ExpiredError), error
        await until(lambda: bench.is_settled)


async def test_a_stranger_who_is_faster_again_and_again(devchain: DevchainBackend) -> None:
    async with managing(devchain) as bench:
        used = 0

        async def hook(method: str, _: tuple[Any, ...], forward: Forward) -> object:
            nonlocal used
            if method == SEND:
                await bench.send_as_stranger(used)
                used += 1
                devchain.mine()
            return await forward()

        bench.rpc.hook = hook
        bench.start(transfer(), "rent")
        await until(lambda: "rent" in bench.outcomes)
        error = bench.outcomes["rent"]
        assert isinstance(error, RefusedError), error
        assert "nonce too low" in error.message
        assert bench.is_settled


def test_a_broken_journal_is_told_at_once(devchain: DevchainBackend) -> None:
    for raw in (
        b"",
        b"\xc0",
        b"\x02\xc0",
        ALICE.sign_transaction(
            {
                "type": 2,
                "chainId": 1,
                "nonce": 4,
                "gas": 1,
                "to": NOBODY,
                "value": 0,
                "data": b"",
                "maxFeePerGas": 1,
                "maxPriorityFeePerGas": 1,
            }
        ),
    ):
        journal = MemoryJournal()
        journal.record(JournalEntry(nonce=3, hash=bytes(32), raw=raw, label="rent"))
        with pytest.raises(LocalError, match="journal: entry 'rent'"):
            TransactionManager(Rpc(devchain.url), ALICE, journal, chain_id=CHAIN_ID)
