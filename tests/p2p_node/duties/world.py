"""A small network for duty tests: real keys, store, proofs and rules; the chain read is scripted.

Time is real, because jobs run in threads; the calendar is set so that the test starts in the
moment it is about.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import trio
from nacl.signing import SigningKey

from p2p_node.clock import Clock
from p2p_node.keystore import WalletKey
from p2p_node.net.settings import NetworkSettings
from p2p_node.node import Identity, Node
from p2p_node.storage import AsyncStore, Store
from p2p_node.watcher import Watcher
from protocols.epochs import Timeline
from protocols.membership import EpochView
from protocols.params import MINIMAL, TOKEN
from protocols.reports import compute_domain_separator
from protocols.signing import compute_network_id
from protocols.types import Epoch, Seat, Shard, TimeMs, Wallet
from tests.fakes.epochs import CHAIN_ID, REGISTRY, FakeEpochSource, make_slot
from tests.fakes.network import FakeHub

CONSENSUS = Wallet(b"\x22" * 20)
NETWORK = compute_network_id(CHAIN_ID, CONSENSUS)
GENESIS = 1_700_000_000
EPOCH = Epoch(1)
SHARD = Shard(0)

PRESET = replace(
    MINIMAL,
    k=64,
    n=32,
    window_ms=50,
    commitment_slack_ms=600,
    pass_window_ms=20,
    pass_slack_ms=300,
    chain_window_ms=20,
    chain_slack_ms=300,
    opening_ms=1000,
)
"""Jobs of 90 ms; the deadlines are those of a busy machine."""

CHECKERS = 3
PROVIDERS = 2

IN_COMMIT = PRESET.draw_ms + PRESET.transfer_ms + PRESET.check_ms + 50
IN_REVEAL = IN_COMMIT + PRESET.commit_ms


@dataclass(frozen=True, slots=True)
class MovableClock(Clock):
    """A clock that the test puts forward; whoever sleeps already is not woken by that."""

    shift: list[int] = field(default_factory=lambda: [0])

    def now(self) -> TimeMs:
        return TimeMs(Clock.now(self) + self.shift[0])

    def deadline(self, moment: TimeMs) -> float:
        return Clock.deadline(self, TimeMs(moment - self.shift[0]))


@dataclass
class World:
    """Everything a duty test needs; nodes share one hub and one view of the chain."""

    hub: FakeHub
    source: FakeEpochSource
    checkers: list[Node]
    providers: list[Node]
    outsider: Node
    shift: list[int]

    def move_to(self, moment_ms: int) -> None:
        """Put every clock to a moment of EPOCH."""
        start = self.outsider.watcher.timeline.start_of(EPOCH)
        self.shift[0] += start + moment_ms - self.outsider.clock.now()

    @property
    def view(self) -> EpochView:
        return self.checkers[0].watcher.view.epochs[EPOCH]

    def seat(self, number: int) -> tuple[Node, Seat]:
        """The checker that holds a seat."""
        index = self.view.committee(SHARD)[number]
        return self.checkers[index], Seat(number)


@asynccontextmanager
async def open_world(directory: Path, moment_ms: int) -> AsyncIterator[World]:
    """Start all nodes `moment_ms` after the beginning of EPOCH, each with EPOCH's view read."""
    start = GENESIS * 1000 + EPOCH * PRESET.epoch_ms + moment_ms
    source = FakeEpochSource(start // 1000)
    node_keys = [SigningKey(bytes([n + 1] * 32)) for n in range(CHECKERS + PROVIDERS + 1)]
    wallets = [WalletKey(bytes([n + 101] * 32)) for n in range(len(node_keys))]
    pairs = list(zip(node_keys, wallets, strict=True))
    for index, (key, wallet) in enumerate(pairs[:CHECKERS]):
        source.checker_slots.append(make_slot(index, key, wallet.address, stake=1000 * TOKEN))
    for index, (key, wallet) in enumerate(pairs[CHECKERS:-1]):
        source.provider_slots.append(make_slot(index, key, wallet.address, stake=100 * TOKEN))
    hub = FakeHub()
    shift = [0]
    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        nodes = []
        for number, (key, wallet) in enumerate(pairs):
            clock = MovableClock(started_at=TimeMs(start), shift=shift)
            node = await _open_node(stack, hub, source, directory / str(number), key, wallet, clock)
            nursery.start_soon(node.watcher.run)
            nodes.append(node)
        with trio.fail_after(5):
            for node in nodes:
                await node.watcher.next_view(Epoch(EPOCH - 1))
        yield World(hub, source, nodes[:CHECKERS], nodes[CHECKERS:-1], nodes[-1], shift)
        nursery.cancel_scope.cancel()


async def _open_node(
    stack: AsyncExitStack,
    hub: FakeHub,
    source: FakeEpochSource,
    directory: Path,
    key: SigningKey,
    wallet: WalletKey,
    clock: Clock,
) -> Node:
    directory.mkdir(mode=0o700, exist_ok=True)
    network = await stack.enter_async_context(
        hub.open_network(NetworkSettings(seed=bytes(key), network=NETWORK.hex()[:16]))
    )
    store = await stack.enter_async_context(AsyncStore(Store.open(directory, NETWORK)))
    watcher = Watcher(
        source,
        clock,
        network=NETWORK,
        domain=compute_domain_separator(CHAIN_ID, CONSENSUS),
        timeline=Timeline(TimeMs(GENESIS * 1000), PRESET),
        chain_id=CHAIN_ID,
        registry=REGISTRY,
    )
    # Duties that use the chain beyond the watcher are tested against a real one.
    nothing = cast("Any", None)
    return Node(
        identity=Identity(key, wallet.address, wallet.sign_digest),
        preset=PRESET,
        clock=clock,
        watcher=watcher,
        network=network,
        chain=nothing,
        calls=nothing,
        transactions=nothing,
        store=store,
        data_dir=directory,
    )
