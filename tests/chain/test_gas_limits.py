"""The fixed gas limits of `calls.py`, held against what the contracts use."""

from dataclasses import replace

from chain.calls import COMMIT_GAS, CONTRIBUTE_GAS, SUBMIT_BASE_GAS, SUBMIT_SEAT_GAS
from chain.networks import NETWORKS
from chain.transactions import MAX_GAS
from protocols.hashing import keccak256
from protocols.params import MAX_SEATS
from protocols.types import Epoch
from tests.chain.network import PRESET, network, secret_of


def assert_ample(limit: int, used: int) -> None:
    """Half as much again as was used; not ten times, since the wallet must be able to pay it."""
    assert used * 3 <= limit * 2, f"{used} gas of a limit of {limit}"
    assert used * 10 >= limit, f"{used} gas of a limit of {limit}"


async def test_limits_of_the_beacons_calls() -> None:
    async with network(2, 0) as net:
        first, second = net.checkers
        # Two epochs that nobody touched: the next call freezes the seeds of both.
        net.enter(3)
        call = net.calls.contribute(
            first.index, secret_of(first.index, 0), keccak256(secret_of(first.index, 3))
        )
        receipt = await net.execute(first.manager, call, "contribution")
        assert_ample(CONTRIBUTE_GAS, receipt.gas_used)
        net.enter(6)
        call = net.calls.commit(second.index, keccak256(b"another secret"))
        receipt = await net.execute(second.manager, call, "commitment")
        assert_ample(COMMIT_GAS, receipt.gas_used)


async def test_limits_of_bundles() -> None:
    # The first bundle of a shard in each slot of the ring is the dearest: all words are new.
    for seats in (4, 11):
        async with network(seats, 20, preset=replace(PRESET, seats=seats)) as net:
            net.enter(1)
            vectors = [[1_000 + 7 * lane + seat for lane in range(20)] for seat in range(seats)]
            call = await net.bundle(Epoch(1), await net.sign_reports(Epoch(1), vectors))
            receipt = await net.execute(net.funder, call, "bundle")
            assert call.gas_limit is not None
            assert_ample(call.gas_limit, receipt.gas_used)


def test_every_chain_takes_what_is_sent() -> None:
    """peaq refuses a transaction by its gas limit, whatever it then needs."""
    for chain in NETWORKS.values():
        assert chain.max_transaction_gas >= MAX_GAS
        assert chain.block_gas >= MAX_GAS
    assert SUBMIT_BASE_GAS + MAX_SEATS * SUBMIT_SEAT_GAS <= MAX_GAS
