"""A landlord with a fake chain, a fake runner and a network in memory, and renters to visit it.

Time is virtual; it jumps when nothing happens for some milliseconds, since the store and the
workloads are real.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import trio
import trio.testing
from nacl.signing import SigningKey

from p2p_node.clock import Clock
from p2p_node.net.settings import NetworkSettings
from p2p_node.node import Identity, Node
from p2p_node.rental.channel import Channel, open_channel
from p2p_node.rental.contract import RentalContract
from p2p_node.rental.landlord import Landlord, RunnerTools
from p2p_node.rental.runner import Limits, NoRunnerError, Runner, Template
from p2p_node.rental.settings import RentalSettings
from p2p_node.storage import AsyncStore, Store
from p2p_node.watcher import Watcher
from p2p_node.workloads.device_group import DeviceGroup
from p2p_node.workloads.numpy_backend import NumpyBackend
from protocols.epochs import Timeline
from protocols.lease_messages import LeasePurpose
from protocols.params import MINIMAL
from protocols.types import Digest, NetworkId, NodeKey, TimeMs, Wallet
from protocols.wire import Message
from tests.fakes.enclosure import FakeRunner
from tests.fakes.network import FakeHub, FakeNetwork
from tests.fakes.rental import FakeRental, FakeRentalCalls, FakeWallet

GENESIS = 1_700_000_000
START = GENESIS + 100_000
NETWORK = NetworkId(b"\x05" * 32)
PROVIDER = 5
WALLET = Wallet(b"\x01" * 20)
LEASE_KEY = SigningKey(b"\x21" * 32)
KEY = NodeKey(bytes(LEASE_KEY.verify_key))
SETTINGS = RentalSettings(
    price=10,
    minimum_seconds=20,
    maximum_seconds=10**6,
    cores=1,
    memory_bytes=10**9,
    disk_bytes=10**8,
    processes=32,
)
TEMPLATES = {
    "base": Template("base", "host", (), (), "whatever is here"),
    "server": Template("server", "host", ("sh", "-c", "echo up; sleep 1000"), (8888,), "serves"),
}
PRESET = replace(MINIMAL, epoch_seconds=80, max_lease_seconds=10**6)
"""A look at the chain every two seconds."""
TIMELINE = Timeline(TimeMs(GENESIS * 1000), PRESET)


def set_jumps(clock: trio.testing.MockClock) -> None:
    """Let time jump, but not while a thread writes to the disk."""
    clock.autojump_threshold = 0.01


@dataclass
class World:
    """What a test moves and looks at."""

    hub: FakeHub
    rental: FakeRental
    wallet: FakeWallet
    runner: FakeRunner
    renter: FakeNetwork
    data_dir: Path
    settings: RentalSettings = SETTINGS
    problem: str = ""
    """Set, there is no runner, and this is why."""

    def choose_runner(self, data_dir: Path, wanted: str) -> Runner:
        assert data_dir == self.data_dir
        if self.problem:
            raise NoRunnerError(self.problem)
        return self.runner

    @asynccontextmanager
    async def run_landlord(self) -> AsyncIterator[Landlord]:
        """Run one until the block ends: a node that is stopped, and can be started again."""
        key = SigningKey(b"\x31" * 32)
        async with (
            self.hub.open_network(NetworkSettings(seed=bytes(key), network="test")) as network,
            AsyncStore(Store.open(self.data_dir, NETWORK)) as store,
            trio.open_nursery() as nursery,
        ):
            clock = Clock(started_at=TimeMs(self.rental.now * 1000))
            nothing = cast("Any", None)
            node = Node(
                identity=Identity(key, WALLET, nothing),
                preset=PRESET,
                clock=clock,
                watcher=Watcher(
                    nothing,
                    clock,
                    network=NETWORK,
                    domain=Digest(bytes(32)),
                    timeline=TIMELINE,
                    chain_id=1,
                    registry=WALLET,
                ),
                network=cast("Any", network),
                chain=cast("Any", self.rental),
                calls=nothing,
                transactions=cast("Any", self.wallet),
                store=store,
                data_dir=self.data_dir,
            )
            devices = DeviceGroup([NumpyBackend(rows=1)])
            landlord = Landlord(
                node,
                RentalContract(self.settings, self.rental, cast("Any", FakeRentalCalls())),
                PROVIDER,
                devices,
                devices.describe(),
                RunnerTools(self.choose_runner, lambda: TEMPLATES),
            )
            landlord.show_receipts(lambda: [b"receipt"])
            nursery.start_soon(landlord.run)
            try:
                yield landlord
            finally:
                nursery.cancel_scope.cancel()
                with trio.CancelScope(shield=True):
                    await devices.close()

    def open_lease(self, seconds: int = 100) -> int:
        """Open a lease, as a renter does."""
        return self.rental.open(PROVIDER, WALLET, KEY, seconds)

    def visit(
        self,
        lease: int,
        purpose: LeasePurpose,
        request: Message,
        *,
        key: SigningKey = LEASE_KEY,
    ) -> AbstractAsyncContextManager[Channel]:
        """Open a channel as the renter."""
        provider = NodeKey(bytes(SigningKey(b"\x31" * 32).verify_key))
        return open_channel(
            cast("Any", self.renter),
            provider,
            NETWORK,
            key,
            lease,
            purpose,
            request,
            now=lambda: TimeMs(self.rental.now * 1000),
        )


@asynccontextmanager
async def open_world(directory: Path, **changes: Any) -> AsyncIterator[World]:
    """A chain that has just begun, and nobody there yet."""
    hub = FakeHub()
    data_dir = directory / "provider"
    data_dir.mkdir(mode=0o700)
    rental = FakeRental(START, lambda now: TIMELINE.epoch_at(TimeMs(now * 1000)))
    async with hub.open_network(NetworkSettings(seed=b"\x41" * 32, network="test")) as renter:
        yield World(
            hub,
            rental,
            FakeWallet(rental, PROVIDER, WALLET),
            FakeRunner(directory / "runner"),
            renter,
            data_dir,
            **changes,
        )


async def until(condition: Any, seconds: float = 300) -> None:
    """Wait in virtual time."""
    with trio.fail_after(seconds):
        while not condition():
            await trio.sleep(0.5)


LIMITS = Limits(1, 10**9, 10**8, 32, False)
