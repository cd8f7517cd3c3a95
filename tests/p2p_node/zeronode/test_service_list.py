"""Which services are listed: read again and again, kept while the chain is away, passed on by."""

from collections.abc import Sequence

import pytest
import trio
from nacl.signing import SigningKey
from trio.testing import MockClock

from chain.errors import UnavailableError, WrongChainError
from chain.zeronode_client import Service
from p2p_node.clock import Clock
from p2p_node.net.judgement import ACCEPT
from p2p_node.net.settings import NetworkSettings
from p2p_node.zeronode.passing_on import pass_receipts_on
from p2p_node.zeronode.service_list import LOOK_SECONDS, ServiceList
from protocols.envelopes import seal
from protocols.types import NetworkId, NodeKey, TimeMs, Wallet
from protocols.uptime_gossip import UPTIME_TOPIC
from protocols.uptime_messages import ReceiptBatch
from protocols.zeronode_rules import MINIMAL_RULES
from tests.fakes.network import FakeHub

NETWORK = NetworkId(b"\x09" * 32)
KEYS = [SigningKey(bytes([number] * 32)) for number in range(1, 4)]
NOW = TimeMs(1_764_180_000_000)


def service(number: int, retired_at: int = 0) -> Service:
    key = NodeKey(bytes(KEYS[number].verify_key))
    return Service(number, Wallet(bytes([number] * 20)), key, 1, retired_at)


class FakeChain:
    """A list that changes, or cannot be read."""

    def __init__(self, *services: Service) -> None:
        self.there: Sequence[Service] = services
        self.error: Exception | None = None
        self.looks = 0

    async def services(self) -> Sequence[Service]:
        self.looks += 1
        if self.error is not None:
            raise self.error
        return self.there


async def test_retired_services_are_known_and_not_active(autojump_clock: MockClock) -> None:
    chain = FakeChain(service(0), service(1, retired_at=9))
    listed = ServiceList(chain, 600)
    assert listed.active == frozenset()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listed.run)
        await listed.wait_for(service(0).node_key)
        assert listed.active == {service(0).node_key}
        assert len(listed.services) == 2
        chain.there = (service(0, retired_at=5), service(1, retired_at=9), service(2))
        await listed.wait_for(service(2).node_key)
        assert listed.active == {service(2).node_key}
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("error", [UnavailableError("away"), WrongChainError("other")])
async def test_the_list_stays_while_the_chain_is_away(
    error: Exception, autojump_clock: MockClock
) -> None:
    chain = FakeChain(service(0))
    listed = ServiceList(chain, 25)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listed.run)
        await listed.wait_for(service(0).node_key)
        chain.error = error
        await trio.sleep(4 * 25)
        assert listed.active == {service(0).node_key}
        assert 4 <= chain.looks <= 6
        nursery.cancel_scope.cancel()


async def test_a_long_epoch_is_not_waited_for(autojump_clock: MockClock) -> None:
    chain = FakeChain()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ServiceList(chain, 3_600).run)
        await trio.sleep(2 * LOOK_SECONDS + 1)
        assert chain.looks == 3
        nursery.cancel_scope.cancel()


async def test_a_bootstrap_node_passes_on_what_listed_services_say(
    autojump_clock: MockClock,
) -> None:
    hub = FakeHub()
    listed = ServiceList(FakeChain(), 25)
    listed.active = frozenset({service(0).node_key, service(1).node_key})
    clock = Clock(started_at=NOW)
    taken: list[bytes] = []

    def note(data: bytes, _sender: bytes) -> object:
        taken.append(data)
        return ACCEPT

    settings = [NetworkSettings(network="zn", seed=bytes(key)) for key in KEYS]
    async with (
        hub.open_network(settings[0]) as one,
        hub.open_network(settings[1]) as two,
        hub.open_network(settings[2]) as between,
    ):
        pass_receipts_on(between, listed, MINIMAL_RULES, NETWORK, clock)
        two.subscribe(UPTIME_TOPIC, note, deliver=False)
        hub.cut(service(0).node_key, service(1).node_key)
        good = seal(KEYS[0], NETWORK, ReceiptBatch(1, clock.now(), "", b"", b"", b""))
        await one.publish(UPTIME_TOPIC, good)
        stranger = seal(KEYS[2], NETWORK, ReceiptBatch(1, clock.now(), "", b"", b"", b""))
        await one.publish(UPTIME_TOPIC, stranger)
        await trio.sleep(1)
        assert taken == [good]
        assert between.counters.refused[UPTIME_TOPIC, "unknown service"] == 1
