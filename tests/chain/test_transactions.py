"""The transaction manager on real chains: the devchain always, anvil where it is installed."""

from typing import Any

import pytest
import trio

from chain.errors import (
    ExpiredError,
    FailedError,
    QueueFullError,
    RefusedError,
    RevertedError,
    UnfundedError,
)
from chain.fees import FeePolicy
from chain.records import Call
from chain.transactions import MAX_GAS, MAX_QUEUE
from protocols.errors import LocalError
from tests.chain.backends import ALICE, ETHER, Backend, DevchainBackend
from tests.chain.managing import (
    NOBODY,
    SEND,
    Forward,
    deploy,
    fields_of,
    managing,
    reverting_code,
    transfer,
    until,
)
from tests.chain.test_devchain_node import creation_of


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
        assert bench.manager.paid == receipt.gas_used * receipt.gas_price


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
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    async with managing(backend) as bench:
        for label, gas_limit in (("castle", 21_000), ("palace", None), ("manor", 21_000)):
            bench.start(transfer(2000 * ETHER, gas_limit), label)
            await until(lambda: label in bench.outcomes)  # noqa: B023 - used at once
            error = bench.outcomes[label]
            assert isinstance(error, UnfundedError), error
        told = [text for text in caplog.messages if "cannot pay" in text]
        assert len(told) == 1, "not at every refusal"
        assert "0x" + ALICE.address.hex() in told[0]
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
