"""A committee and its providers at the beginning of a transfer phase, over any network.

Time is real: pieces are made in threads, and sockets know no other.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import trio
from nacl.signing import SigningKey

from p2p_node.clock import Clock
from p2p_node.duties.transfer_serving import TransferServer
from p2p_node.keystore import WalletKey
from p2p_node.net import open_network
from p2p_node.net.api import Network
from p2p_node.net.settings import NetworkSettings
from p2p_node.node import Identity, Node
from p2p_node.watcher import Watcher
from protocols.envelopes import seal
from protocols.epochs import Timeline, TransferWindow
from protocols.membership import EpochView
from protocols.params import MINIMAL, TOKEN, Preset
from protocols.reports import compute_domain_separator
from protocols.signing import compute_network_id
from protocols.transfer_messages import TransferRequest
from protocols.transfers import PIECE_BYTES
from protocols.types import Epoch, Seat, Shard, TimeMs, Wallet
from protocols.wire import Message
from tests.fakes.epochs import CHAIN_ID, REGISTRY, FakeEpochSource, make_slot
from tests.fakes.network import FakeHub

CONSENSUS = Wallet(b"\x22" * 20)
NETWORK = compute_network_id(CHAIN_ID, CONSENSUS)
GENESIS = TimeMs(1_700_000_000_000)
EPOCH = Epoch(1)
SHARD = Shard(0)

PRESET = replace(MINIMAL, transfer_ms=1_000, transfer_bytes=8 * PIECE_BYTES)
"""With one provider: a window of a second, two stages of 437 ms."""

Opener = Callable[[NetworkSettings], AbstractAsyncContextManager[Network]]


@dataclass
class TransferWorld:
    """Who takes part, and their common calendar."""

    preset: Preset
    checkers: list[Node]
    providers: list[Node]
    servers: list[TransferServer]
    """One for each provider; the test says which of them serve."""
    outsider: Node
    hub: FakeHub | None
    source: FakeEpochSource

    @property
    def view(self) -> EpochView:
        return self.outsider.watcher.view.epochs[EPOCH]

    @property
    def timeline(self) -> Timeline:
        return self.outsider.watcher.timeline

    def seated(self, seat: int) -> tuple[Node, int]:
        """The checker of a seat, and its index."""
        index = self.view.committee(SHARD)[seat]
        return self.checkers[index], index

    def window(self, provider: int = 0) -> TransferWindow:
        return self.timeline.transfer_window(EPOCH, provider, len(self.providers))

    def request(self, seat: int = 0, provider: int = 0) -> TransferRequest:
        return TransferRequest(
            epoch=EPOCH,
            shard=SHARD,
            seat=Seat(seat),
            checker=self.seated(seat)[1],
            provider=provider,
        )


def seal_as(node: Node, message: Message) -> bytes:
    return seal(node.identity.node_key, NETWORK, message)


@asynccontextmanager
async def open_transfer_world(
    *,
    checkers: int = 3,
    providers: int = 1,
    preset: Preset = PRESET,
    moment_ms: int = 0,
    sockets: bool = False,
) -> AsyncIterator[TransferWorld]:
    """Start all nodes `moment_ms` after the beginning of the transfer phase of EPOCH."""
    timeline = Timeline(GENESIS, preset)
    keys = [SigningKey(bytes([n + 1] * 32)) for n in range(checkers + providers + 1)]
    wallets = [WalletKey(bytes([n + 101] * 32)) for n in range(len(keys))]
    start = TimeMs(timeline.transfer_start(EPOCH) + moment_ms)
    source = FakeEpochSource(start // 1000)
    pairs = list(zip(keys, wallets, strict=True))
    for index, (key, wallet) in enumerate(pairs[:checkers]):
        source.checker_slots.append(make_slot(index, key, wallet.address, stake=1000 * TOKEN))
    for index, (key, wallet) in enumerate(pairs[checkers:-1]):
        source.provider_slots.append(make_slot(index, key, wallet.address, stake=100 * TOKEN))
    hub = None if sockets else FakeHub()
    opener: Opener = cast("Any", _open_sockets if hub is None else hub.open_network)
    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        networks = [
            await stack.enter_async_context(
                opener(NetworkSettings(seed=bytes(key), network=NETWORK.hex()[:16]))
            )
            for key in keys
        ]
        await _introduce(networks[:checkers], networks[checkers:])
        clock = Clock(started_at=start)
        watcher = Watcher(
            source,
            clock,
            network=NETWORK,
            domain=compute_domain_separator(CHAIN_ID, CONSENSUS),
            timeline=timeline,
            chain_id=CHAIN_ID,
            registry=REGISTRY,
        )
        nursery.start_soon(watcher.run)
        with trio.fail_after(5):
            await watcher.next_view(Epoch(EPOCH - 1))
        nothing = cast("Any", None)
        nodes = [
            Node(
                identity=Identity(key, wallet.address, wallet.sign_digest),
                preset=preset,
                clock=clock,
                watcher=watcher,
                network=network,
                chain=nothing,
                calls=nothing,
                transactions=nothing,
                store=nothing,
                data_dir=Path("/nonexistent"),
            )
            for (key, wallet), network in zip(pairs, networks, strict=True)
        ]
        offering = nodes[checkers:-1]
        servers = [TransferServer(node, index) for index, node in enumerate(offering)]
        yield TransferWorld(preset, nodes[:checkers], offering, servers, nodes[-1], hub, source)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def _open_sockets(settings: NetworkSettings) -> AsyncIterator[Network]:
    async with open_network(replace(settings, listen=("/ip4/127.0.0.1/tcp/0",))) as network:
        yield network


async def _introduce(askers: list[Network], others: list[Network]) -> None:
    for one in askers:
        for other in others:
            one.learn_addresses(other.node_key, other.addresses)
