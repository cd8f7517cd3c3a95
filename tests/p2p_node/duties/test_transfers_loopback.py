"""Transfers over real sockets on loopback: a whole committee, and peers that stop reading."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import trio

from p2p_node.duties.transferring import measure_transfers, transfer_with
from p2p_node.net.api import RequestStream
from p2p_node.node import Node
from protocols.params import CLOCK_DISPARITY_MS
from protocols.transfer_messages import TRANSFER_PROTOCOL
from protocols.transfers import PIECE_BYTES, expand_pieces, open_receipts, sum_receipts
from protocols.types import Seat
from tests.p2p_node.duties.transfer_world import (
    EPOCH,
    NETWORK,
    PRESET,
    SHARD,
    TransferWorld,
    open_transfer_world,
    seal_as,
)

pytestmark = pytest.mark.integration

LARGE = replace(PRESET, transfer_bytes=100 * PIECE_BYTES)
"""More than a stream's window and a socket's buffers hold."""


async def settle(condition: Callable[[], bool]) -> None:
    with trio.fail_after(10):
        while not condition():
            await trio.sleep(0.01)


def is_at_rest(node: Node) -> bool:
    """Whether nothing of any request stream is left: no task, no stream in use, no unread byte."""
    network = node.network
    connections = network._switch.connections()  # type: ignore[attr-defined]
    return (
        not network._requests._places.taken  # type: ignore[attr-defined]
        and all(connection.busy == 0 for connection in connections)
        and all(connection.muxer.options.budget.used == 0 for connection in connections)
        and all(connection.muxer.writable for connection in connections)
    )


async def test_a_committee_measures_two_lines_at_once_and_one_after_the_other() -> None:
    preset = replace(PRESET, seats=4, transfer_ms=4_000)
    async with open_transfer_world(
        checkers=4, providers=2, preset=preset, moment_ms=-1_500, sockets=True
    ) as world:
        for server in world.servers:
            server.serve()
        with trio.fail_after(15):
            async with trio.open_nursery() as nursery:
                for seat in range(4):
                    node, index = world.seated(seat)
                    nursery.start_soon(
                        measure_transfers, node, world.view, SHARD, Seat(seat), index
                    )
        for index, server in enumerate(world.servers):
            await settle(lambda server=server: len(server.receipts_for(EPOCH)) == 4)
            receipts = open_receipts(server.receipts_for(EPOCH), NETWORK)
            rates = sum_receipts(receipts, world.view, world.timeline, index)
            assert min(rates.down_bits_per_s, rates.up_bits_per_s) > 0
        await settle(lambda: all(map(is_at_rest, [*world.checkers, *world.providers])))
        for node in [*world.checkers, *world.providers]:
            assert not node.network.counters.refused
            assert not node.network.counters.bugs


async def measure_once(world: TransferWorld, seat: int = 0) -> Node:
    node, _ = world.seated(seat)
    with trio.fail_after(5):
        await transfer_with(node, world.view.providers[0], world.request(seat), world.window())
    return node


async def test_a_provider_that_reads_nothing_costs_its_window_and_no_more() -> None:
    async def ignore(_stream: RequestStream) -> None:
        await trio.sleep_forever()

    async with open_transfer_world(preset=LARGE, moment_ms=-1_000, sockets=True) as world:
        world.providers[0].network.serve(TRANSFER_PROTOCOL, ignore)
        node = await measure_once(world)
        assert node.clock.now() <= world.window().end + 1_000
        assert node.network.counters.refused == {(TRANSFER_PROTOCOL, "nothing arrived in time"): 1}
        await settle(lambda: is_at_rest(node))


async def test_a_provider_that_sends_without_end_is_cut_off() -> None:
    """Seeds can be asked for once only: what comes unasked is a wrong answer at the next piece."""

    async def flood(stream: RequestStream) -> None:
        while True:
            await stream.send(bytes(PIECE_BYTES), within=2)

    async with open_transfer_world(preset=LARGE, moment_ms=-1_000, sockets=True) as world:
        world.providers[0].network.serve(TRANSFER_PROTOCOL, flood)
        node = await measure_once(world)
        assert node.network.counters.refused == {(TRANSFER_PROTOCOL, "message too long"): 1}
        await settle(lambda: is_at_rest(node) and is_at_rest(world.providers[0]))
        assert not world.providers[0].network.counters.bugs


async def test_a_checker_that_asks_and_does_not_read_is_dropped_with_its_window() -> None:
    async with open_transfer_world(preset=LARGE, moment_ms=-500, sockets=True) as world:
        world.servers[0].serve()
        provider, (node, _) = world.providers[0], world.seated(0)
        with trio.fail_after(10):
            async with node.network.open_stream(
                provider.network.node_key, TRANSFER_PROTOCOL, 9
            ) as stream:
                await stream.send(seal_as(node, world.request()))
                for number in range(100):
                    await stream.send(bytes([number]) * 32)
                await settle(lambda: bool(provider.network.counters.refused))
                now = node.clock.now()
        assert provider.network.counters.refused == {
            (TRANSFER_PROTOCOL, "peer does not read in time"): 1
        }
        assert now <= world.window().end + CLOCK_DISPARITY_MS + 500
        assert world.servers[0].receipts_for(EPOCH) == []
        await settle(lambda: is_at_rest(provider) and is_at_rest(node))


async def test_a_node_that_closes_ends_its_transfers() -> None:
    """The provider's network goes away between two pieces."""

    async def answer_one(stream: RequestStream) -> None:
        await stream.receive(1024)
        await stream.receive(PIECE_BYTES)
        await stream.send(expand_pieces([bytes(32)])[0][:32])
        await world.providers[0].network.close()  # type: ignore[attr-defined]

    async with open_transfer_world(preset=LARGE, moment_ms=-1_000, sockets=True) as world:
        world.providers[0].network.serve(TRANSFER_PROTOCOL, answer_one)
        node = await measure_once(world)
        assert sum(node.network.counters.refused.values()) == 1
        assert not node.network.counters.bugs
        await settle(lambda: is_at_rest(node))
