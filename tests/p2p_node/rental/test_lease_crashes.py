"""A landlord that crashes at any write or deed: the next start makes up for it, and no more."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from p2p_node.rental.keeping import LeaseKeeper
from p2p_node.rental.lease_book import LeaseBook
from p2p_node.rental.tenancy import Tenancy
from protocols.errors import RemoteError
from protocols.lease_messages import DeployRequest, LeasePurpose
from protocols.leases import LeaseState
from tests.fakes.enclosure import FakeEnclosure, FakeRunner
from tests.fakes.rental import FakeWallet
from tests.p2p_node.rental.landlord_world import World, open_world, set_jumps, until


@pytest.fixture
def jumps(mock_clock: trio.testing.MockClock) -> trio.testing.MockClock:
    """The clock of the test; it has to be named by each."""
    set_jumps(mock_clock)
    return mock_clock


class Crash(BaseException):
    """The process is gone; nothing may catch that."""


STEPS: tuple[tuple[type, str, int], ...] = (
    (LeaseBook, "choose", 1),
    (FakeWallet, "execute", 2),
    (FakeWallet, "execute", 3),
    (LeaseBook, "set_place", 1),
    (FakeRunner, "prepare", 1),
    (FakeEnclosure, "stop", 1),
    (Tenancy, "wipe", 1),
    (FakeRunner, "wipe", 1),
    (LeaseBook, "set_wiped", 1),
    (FakeWallet, "execute", 4),
    (LeaseBook, "set_settled", 1),
    (FakeWallet, "execute", 5),
)
"""What is done in the life of a lease, and the how-manieth call of it. The wallet's calls are the
offer, the approval, the acceptance, the settlement and the payment."""


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("owner", "name", "call"), STEPS, ids=[f"{o.__name__}.{n} {c}" for o, n, c in STEPS]
)
async def test_a_crash_leaves_nothing_undone_and_nothing_twice(
    tmp_path: Path,
    jumps: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    name: str,
    call: int,
    after: bool,
) -> None:
    crash = arm(monkeypatch, owner, name, call, after=after)
    async with open_world(tmp_path) as world:
        lease = 0
        while not (crash.is_set() and is_over(world, lease)):
            try:
                async with world.run_landlord() as landlord:
                    if not lease:
                        await until(lambda: bool(world.wallet.sent))
                        lease = world.open_lease(60)
                    await live_through(world, landlord.keeper, lease, crash)
            except* Crash:
                # As after a power cut, nothing of the runner's is in memory.
                world.runner.enclosures.clear()
        assert await world.runner.leftovers() == []
        for once in (f"accept {lease}", f"settle {lease}", "withdraw"):
            assert world.wallet.sent.count(once) == 1, world.wallet.sent


def arm(
    monkeypatch: pytest.MonkeyPatch, owner: type, name: str, number: int, *, after: bool
) -> trio.Event:
    """Let a call of a method fail; the event tells whether it has."""
    method: Callable[..., Awaitable[Any]] = getattr(owner, name)
    crashed, calls = trio.Event(), 0

    async def crash(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        is_due = calls == number
        if is_due and not after:
            crashed.set()
            raise Crash
        result = await method(*arguments, **options)
        if is_due:
            crashed.set()
            raise Crash
        return result

    monkeypatch.setattr(owner, name, crash)
    return crashed


async def live_through(world: World, keeper: LeaseKeeper, lease: int, crash: trio.Event) -> None:
    """Be the renter until all is over."""
    deployed = False
    with trio.fail_after(1000):
        while not (crash.is_set() and is_over(world, lease)) or keeper.rows:
            tenancy = keeper.tenancy
            if tenancy is not None and not tenancy.is_stopped and not deployed:
                deployed = True
                request = DeployRequest(template="base")
                # The provider may be gone before it has answered.
                with suppress(RemoteError):
                    async with world.visit(lease, LeasePurpose.DEPLOY, request) as channel:
                        await channel.receive_frame()
            await trio.sleep(1)


def is_over(world: World, lease: int) -> bool:
    if not lease or "withdraw" not in world.wallet.sent:
        return False
    return world.rental.of(lease).state is LeaseState.SETTLED and not list(
        world.runner.root.glob("*")
    )
