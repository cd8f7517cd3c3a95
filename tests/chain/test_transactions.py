"""The transaction manager on real chains: the devchain always, anvil where it is installed."""

from typing import Any

import pytest
import trio
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from hexbytes import HexBytes

from chain.errors import (
    ExpiredError,
    FailedError,
    MalformedAnswerError,
    QueueFullError,
    RefusedError,
    RevertedError,
    SupersededError,
    UnreachableError,
    WrongChainError,
)
from chain.fees import FeePolicy
from chain.journal import JournalEntry, MemoryJournal
from chain.records import Call
from chain.rpc import Rpc
from chain.transactions import MAX_GAS, MAX_QUEUE, TransactionManager
from protocols.errors import LocalError
from protocols.types import Wallet
from tests.chain.backends import ALICE, BOB, CHAIN_ID, ETHER, Backend, DevchainBackend
from tests.chain.managing import NOBODY, Bench, Forward, managing, transfer, until
from tests.chain.test_devchain_node import creation_of

SEND = "eth_sendRawTransaction"


class CrashError(BaseException):
    """Stands for kill -9: nothing handles it."""


def fields_of(entry: JournalEntry) -> dict[str, Any]:
    return TypedTransaction.from_bytes(HexBytes(entry.raw)).as_dict()


async def crash(backend: Backend, journal: MemoryJournal, *, after_sending: bool) -> None:
    """Let a manager die at its first broadcast."""

    async def hook(method: str, _: tuple[Any, ...], forward: Forward) -> object:
        if method == SEND:
            if after_sending:
                await forward()
            raise CrashError
        return await forward()

    with pytest.RaisesGroup(CrashError, flatten_subgroups=True):
        async with managing(backend, journal) as bench:
            bench.rpc.hook = hook
            bench.start(transfer(), "rent")
            await trio.sleep_forever()


async def test_a_transfer_is_journalled_sent_and_confirmed(backend: Backend) -> None:
    async with managing(backend) as bench:
        bench.start(transfer(5), "rent", confirmations=1)
        await bench.until_waiting()
        (entry,) = bench.history
        assert (entry.nonce, entry.label) == (0, "rent")
        backend.mine()
        await until(lambda: "rent" in bench.outcomes)
        receipt = bench.outcomes["rent"]
        assert not isinstance(receipt, Exception)
        assert receipt.succeeded
        assert (receipt.transaction_hash, receipt.gas_used) == (entry.hash, 21_000)
        assert await bench.rpc.quantity("eth_getBalance", "0x" + NOBODY.hex(), "latest") == 5
        fields = fields_of(entry)
        assert fields["maxPriorityFeePerGas"] > 0
        assert fields["gas"] == 21_000


async def test_final_means_final_and_clears_the_journal(backend: Backend) -> None:
    async with managing(backend) as bench:
        bench.start(transfer(), "rent")
        await bench.until_waiting()
        receipt = await bench.receipt_of("rent")
        final = await bench.rpc.request("eth_getBlockByNumber", "finalized", False)
        assert isinstance(final, dict)
        assert int(final["number"], 16) >= receipt.block_number
        await until(lambda: bench.is_settled)


async def test_confirmations_are_counted(devchain: DevchainBackend) -> None:
    async with managing(devchain) as bench:
        bench.start(transfer(), "rent", confirmations=3)
        await bench.until_waiting()
        devchain.mine(2)
        with trio.move_on_after(0.2):
            await until(lambda: "rent" in bench.outcomes)
        assert "rent" not in bench.outcomes
        devchain.mine()
        await until(lambda: "rent" in bench.outcomes)


async def test_finality_can_be_a_number_of_blocks(devchain: DevchainBackend) -> None:
    async def hook(method: str, parameters: tuple[Any, ...], forward: Forward) -> object:
        assert parameters != ("finalized", False), f"{method} asked for the tag"
        return await forward()

    async with managing(devchain, finality_blocks=1) as bench:
        bench.rpc.hook = hook
        bench.start(transfer(), "rent")
        await bench.until_waiting()
        devchain.mine(2)
        await until(lambda: "rent" in bench.outcomes)
        assert bench.is_settled


async def test_one_nonce_at_a_time(backend: Backend) -> None:
    async with managing(backend) as bench:
        bench.start(transfer(1), "first", confirmations=1)
        await bench.until_waiting()
        bench.start(transfer(2), "second", confirmations=1)
        with trio.move_on_after(0.2):
            await bench.until_waiting(2)
        assert len(bench.hashes) == 1
        backend.mine()
        await bench.until_waiting(2)
        assert [entry.nonce for entry in bench.history] == [0, 1]
        await bench.receipt_of("second")


async def test_more_nonces_at_a_time_if_asked(backend: Backend) -> None:
    async with managing(backend, max_unmined=8) as bench:
        for number in range(12):
            bench.start(transfer(number + 1), f"wage {number}", confirmations=1)
        await bench.until_waiting(8)
        backend.mine()
        await bench.until_waiting(12)
        backend.mine()
        await until(lambda: len(bench.outcomes) == 12)
        assert await bench.nonce() == 12
        assert await bench.rpc.quantity("eth_getBalance", "0x" + NOBODY.hex(), "latest") == 78


async def test_a_gas_limit_is_estimated_with_a_margin(backend: Backend) -> None:
    async with managing(backend) as bench:
        code = creation_of(bytes(100))
        bench.start(Call(to=None, data=code), "creation", confirmations=1)
        await bench.until_waiting()
        (entry,) = bench.history
        receipt = await bench.receipt_of("creation")
        assert receipt.contract is not None
        assert receipt.gas_used < fields_of(entry)["gas"] < receipt.gas_used * 14 // 10
        found = await bench.rpc.octets("eth_getCode", "0x" + receipt.contract.hex(), "latest")
        assert found == bytes(100)


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


async def test_what_is_not_mined_is_replaced_at_a_higher_price(backend: Backend) -> None:
    lost: list[str] = []

    async def hook(method: str, parameters: tuple[Any, ...], forward: Forward) -> object:
        if method == SEND and (not lost or parameters[0] == lost[0]):
            # The endpoint takes the first attempt and loses it, every time.
            lost.append(parameters[0])
            return "0x" + "00" * 32
        return await forward()

    async with managing(backend, replace_after_blocks=2) as bench:
        bench.rpc.hook = hook
        bench.start(transfer(), "rent", confirmations=1)
        await until(lambda: len(lost) == 1)
        backend.mine()
        # With each block the same bytes are sent again.
        await until(lambda: len(lost) == 2)
        assert len(bench.hashes) == 1
        backend.mine()
        second = await bench.until_waiting(2)
        receipt = await bench.receipt_of("rent")
        assert receipt.transaction_hash == second
    first_fields, second_fields = (fields_of(entry) for entry in bench.history)
    assert first_fields["nonce"] == second_fields["nonce"] == 0
    for price in ("maxPriorityFeePerGas", "maxFeePerGas"):
        assert second_fields[price] * 100 >= first_fields[price] * 120
    assert all(first_fields[key] == second_fields[key] for key in ("to", "value", "data", "gas"))


async def test_an_offer_below_the_base_fee_is_raised_to_it(backend: Backend) -> None:
    spiked = False

    async def hook(method: str, _: tuple[Any, ...], forward: Forward) -> object:
        answer = await forward()
        if not spiked and method == "eth_getBlockByNumber":
            assert isinstance(answer, dict)
            return answer | {"baseFeePerGas": "0x1"}
        return "0x1" if not spiked and method == "eth_maxPriorityFeePerGas" else answer

    async with managing(backend, fees=FeePolicy(min_tip=1), replace_after_blocks=1) as bench:
        bench.rpc.hook = hook
        bench.start(transfer(), "rent", confirmations=1)
        await until(lambda: len(bench.hashes) == 1)
        spiked = True
        receipt = await bench.receipt_of("rent")
        assert receipt.succeeded
        assert len(bench.hashes) == 2


async def test_an_underpriced_attempt_is_replaced_with_the_next_block(
    devchain: DevchainBackend,
) -> None:
    async with managing(devchain, replace_after_blocks=100) as bench:

        async def hook(method: str, _: tuple[Any, ...], forward: Forward) -> object:
            if method == SEND and len(bench.hashes) == 1:
                raise RefusedError(-32000, "replacement transaction underpriced")
            return await forward()

        bench.rpc.hook = hook
        bench.start(transfer(), "rent", confirmations=1)
        await until(lambda: len(bench.hashes) == 1)
        devchain.mine()
        await bench.until_waiting(2)
        receipt = await bench.receipt_of("rent")
        assert receipt.transaction_hash == bench.hashes[-1]


async def test_intents_that_expired_do_not_fill_the_queue(devchain: DevchainBackend) -> None:
    async with managing(devchain) as bench:
        bench.start(transfer(), "first", confirmations=1)
        await bench.until_waiting()
        for number in range(MAX_QUEUE):
            bench.start(transfer(), f"hasty {number}", deadline=trio.current_time() + 0.2)
        await until(lambda: len(bench.outcomes) == MAX_QUEUE)
        bench.start(transfer(), "patient", confirmations=1)
        await bench.receipt_of("patient")
        assert await bench.nonce() == 2


async def test_a_price_cap_ends_the_raising(devchain: DevchainBackend) -> None:
    sent: list[str] = []

    async def hook(method: str, parameters: tuple[Any, ...], forward: Forward) -> object:
        if method == SEND:
            sent.append(parameters[0])
            return "0x" + "00" * 32
        return await forward()

    policy = FeePolicy(min_tip=10**9, max_fee=4 * 10**9)
    async with managing(devchain, fees=policy, replace_after_blocks=1) as bench:
        bench.rpc.hook = hook
        bench.start(transfer(), "rent")
        for block in range(12):
            await until(lambda: len(sent) > block)  # noqa: B023 - used at once
            devchain.mine()
        assert 2 <= len(bench.hashes) <= 8
        prices = [fields_of(entry)["maxFeePerGas"] for entry in bench.history]
        assert prices == sorted(set(prices))
        assert prices[-1] <= policy.max_fee


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


async def deploy(bench: Bench, code: bytes) -> Wallet:
    bench.start(Call(to=None, data=creation_of(code)), "creation", confirmations=1)
    receipt = await bench.receipt_of("creation")
    assert receipt.contract is not None
    return receipt.contract


def reverting_code(reason: str) -> bytes:
    text = bytes.fromhex("08c379a0") + (32).to_bytes(32, "big")
    text += len(reason).to_bytes(32, "big") + reason.encode().ljust(32, b"\0")
    return bytes.fromhex(f"60{len(text):02x}600c60003960{len(text):02x}6000fd") + text


async def test_a_revert_is_reported_with_its_reason(backend: Backend) -> None:
    async with managing(backend) as bench:
        contract = await deploy(bench, reverting_code("consensus: bundle exists"))
        bench.start(Call(to=contract, gas_limit=100_000), "bundle", confirmations=1)
        error = await bench.error_of("bundle")
        assert isinstance(error, FailedError), error
        assert error.revert_reason == "consensus: bundle exists"
        assert error.transaction_hash == bench.hashes[-1]
        assert await bench.nonce() == 2


async def test_a_revert_found_by_the_estimate_costs_nothing(backend: Backend) -> None:
    async with managing(backend) as bench:
        contract = await deploy(bench, reverting_code("no"))
        bench.start(Call(to=contract), "bundle")
        await until(lambda: "bundle" in bench.outcomes)
        error = bench.outcomes["bundle"]
        assert isinstance(error, RevertedError), error
        assert error.revert_reason == "no"
        assert await bench.nonce() == 1


async def test_running_out_of_gas_is_said(backend: Backend) -> None:
    async with managing(backend) as bench:
        contract = await deploy(bench, bytes.fromhex("5b600056"))  # an endless loop
        bench.start(Call(to=contract, gas_limit=60_000), "loop", confirmations=1)
        error = await bench.error_of("loop")
        assert isinstance(error, FailedError), error
        assert error.revert_reason == "out of gas"


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


async def test_what_was_not_mined_in_time_gives_its_nonce_back(backend: Backend) -> None:
    async with managing(backend) as bench:
        bench.start(transfer(5), "rent", deadline=trio.current_time() + 1.5)
        await bench.until_waiting()
        await until(lambda: "rent" in bench.outcomes)
        assert isinstance(bench.outcomes["rent"], ExpiredError)
        void = await bench.until_waiting(2)
        bench.start(transfer(7), "food", confirmations=1)
        receipt = await bench.receipt_of("food")
        assert receipt.transaction_hash not in (void, bench.hashes[0])
        assert await bench.nonce() == 2
        # Only the second intent reached its receiver.
        assert await bench.rpc.quantity("eth_getBalance", "0x" + NOBODY.hex(), "latest") == 7
    voided = next(fields_of(e) for e in bench.history if e.hash == void)
    assert (bytes(voided["to"]), voided["value"]) == (bytes(ALICE.address), 0)


async def test_a_cancelled_caller_gives_its_nonce_back(backend: Backend) -> None:
    async with managing(backend) as bench:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:

                async def cancel() -> None:
                    await bench.until_waiting()
                    scope.cancel()

                nursery.start_soon(cancel)
                await bench.manager.execute(
                    transfer(5), label="rent", deadline=trio.current_time() + 20
                )
        await bench.until_waiting(2)
        backend.mine()
        assert await bench.rpc.quantity("eth_getBalance", "0x" + NOBODY.hex(), "latest") == 0
        assert await bench.nonce() == 1


async def test_an_intent_that_expired_in_the_queue_is_never_sent(backend: Backend) -> None:
    async with managing(backend) as bench:
        bench.start(transfer(1), "first", confirmations=1)
        await bench.until_waiting()
        bench.start(transfer(2), "second", deadline=trio.current_time() + 0.1)
        await until(lambda: "second" in bench.outcomes)
        assert isinstance(bench.outcomes["second"], ExpiredError)
        await bench.receipt_of("first")
        bench.start(transfer(4), "third", confirmations=1)
        await bench.receipt_of("third")
        assert await bench.rpc.quantity("eth_getBalance", "0x" + NOBODY.hex(), "latest") == 5


async def test_a_queue_is_bounded(devchain: DevchainBackend) -> None:
    async with managing(devchain) as bench:
        bench.start(transfer(), "first")
        await bench.until_waiting()
        for number in range(MAX_QUEUE + 1):
            bench.start(transfer(), f"more {number}")
        await until(lambda: len(bench.outcomes) == 1)
        (error,) = bench.outcomes.values()
        assert isinstance(error, QueueFullError)


async def test_what_the_wallet_cannot_pay_is_refused_and_holds_up_nobody(
    backend: Backend,
) -> None:
    async with managing(backend) as bench:
        bench.start(transfer(2000 * ETHER), "castle")
        await until(lambda: "castle" in bench.outcomes)
        error = bench.outcomes["castle"]
        assert isinstance(error, RefusedError), error
        assert bench.is_settled
        bench.start(transfer(), "rent", confirmations=1)
        await bench.receipt_of("rent")
        assert await bench.nonce() == 1


async def test_more_gas_than_a_chain_takes(devchain: DevchainBackend) -> None:
    async with managing(devchain) as bench:
        with pytest.raises(LocalError, match="gas limit"):
            await bench.manager.execute(
                transfer(gas_limit=MAX_GAS + 1), label="rent", deadline=trio.current_time() + 1
            )

        async def hook(method: str, _: tuple[Any, ...], forward: Forward) -> object:
            return hex(MAX_GAS + 1) if method == "eth_estimateGas" else await forward()

        bench.rpc.hook = hook
        bench.start(transfer(gas_limit=None), "rent")
        await until(lambda: "rent" in bench.outcomes)
        assert isinstance(bench.outcomes["rent"], RefusedError)


async def test_an_endpoint_without_a_tip_to_suggest(devchain: DevchainBackend) -> None:
    async def hook(method: str, _: tuple[Any, ...], forward: Forward) -> object:
        if method == "eth_maxPriorityFeePerGas":
            raise RefusedError(-32601, "the method does not exist")
        return await forward()

    async with managing(devchain, fees=FeePolicy(min_tip=123)) as bench:
        bench.rpc.hook = hook
        bench.start(transfer(), "rent", confirmations=1)
        await bench.until_waiting()
        assert fields_of(bench.history[0])["maxPriorityFeePerGas"] == 123
        await bench.receipt_of("rent")


async def test_nothing_is_asked_while_there_is_nothing_to_do(devchain: DevchainBackend) -> None:
    asked: list[str] = []

    async def hook(method: str, _: tuple[Any, ...], forward: Forward) -> object:
        asked.append(method)
        return await forward()

    async with managing(devchain) as bench:
        bench.rpc.hook = hook
        bench.start(transfer(), "rent")
        await bench.until_waiting()
        await bench.receipt_of("rent")
        await until(lambda: bench.is_settled)
        await trio.testing.wait_all_tasks_blocked(0.05)
        before = len(asked)
        devchain.mine(3)
        await trio.testing.wait_all_tasks_blocked(0.1)
        assert len(asked) == before


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


async def test_a_revert_without_words(devchain: DevchainBackend) -> None:
    async def hook(method: str, _: tuple[Any, ...], forward: Forward) -> object:
        if method == "eth_call":
            raise RefusedError(-32000, "missing trie node")
        return await forward()

    async with managing(devchain) as bench:
        contract = await deploy(bench, bytes.fromhex("600080fd"))
        for label in ("silent", "unknown"):
            bench.start(Call(to=contract, gas_limit=60_000), label, confirmations=1)
            error = await bench.error_of(label)
            assert isinstance(error, FailedError), error
            assert error.revert_reason is None
            bench.rpc.hook = hook


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
