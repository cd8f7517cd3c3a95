"""A landlord and its leases: from the reservation to the money, over restarts and bad times."""

import logging
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from chain.client import BlockTag
from chain.errors import RevertedError
from chain.records import Call, Receipt
from p2p_node.rental import runner_finding
from p2p_node.rental.cashing import BROKEN_SECONDS
from p2p_node.rental.lease_book import LeaseRow
from p2p_node.rental.runner import Runner
from p2p_node.rental.settings import RentalSettings
from protocols.lease_frames import FrameKind
from protocols.lease_messages import DeployRequest, LeasePurpose
from protocols.leases import LeaseState
from tests.fakes.rental import BOND
from tests.p2p_node.rental.landlord_world import (
    PRESET,
    SETTINGS,
    World,
    open_world,
    set_jumps,
    until,
)


@pytest.fixture
def jumps(mock_clock: trio.testing.MockClock) -> trio.testing.MockClock:
    """The clock of the test; it has to be named by each."""
    set_jumps(mock_clock)
    return mock_clock


async def deploy(world: World, lease: int, template: str = "base") -> list[str]:
    """Deploy as the renter; returns what was said, the last frame's kind in front."""
    said = []
    async with world.visit(lease, LeasePurpose.DEPLOY, DeployRequest(template=template)) as channel:
        while True:
            kind, payload = await channel.receive_frame()
            if kind is not FrameKind.TEXT:
                return [kind.name, *said]
            said.append(str(payload, "utf-8"))


async def begin(world: World, seconds: int = 100) -> int:
    """Open a lease, and wait until the machine is the renter's for good."""
    lease = world.open_lease(seconds)
    await until(lambda: world.rental.of(lease).state is LeaseState.ACTIVE)
    await trio.sleep(world.rental.finality + 2)
    return lease


async def test_a_lease_from_its_reservation_to_its_money(
    tmp_path: Path, jumps: trio.testing.MockClock
) -> None:
    async with open_world(tmp_path) as world, world.run_landlord() as landlord:
        await until(lambda: bool(world.wallet.sent))
        assert landlord.leased() == 0
        lease = await begin(world)
        assert landlord.leased() == lease
        tenancy = landlord.keeper.tenancy
        assert tenancy is not None
        assert await deploy(world, lease) == ["DONE"]
        assert tenancy.enclosure is not None
        (tenancy.enclosure.workspace / "file").write_text("the renter's")
        started = world.rental.of(lease).started_at
        await until(lambda: landlord.leased() == 0)
        assert 0 <= world.rental.now - (started + 100) <= 3
        await until(lambda: landlord.keeper.tenancy is None)
        assert not tenancy.enclosure or not tenancy.enclosure.workspace.exists()
        assert await world.runner.leftovers() == []
        await until(lambda: not landlord.keeper.rows)
        await until(lambda: "withdraw" in world.wallet.sent)
    assert [text.split()[0] for text in world.wallet.sent] == [
        "offer",
        "approve",
        "accept",
        "settle",
        "withdraw",
    ]
    assert world.rental.write().balance == 10**6 - BOND + 100 * 10


async def test_nothing_is_accepted_in_an_epoch_whose_slots_were_missed(
    tmp_path: Path, jumps: trio.testing.MockClock
) -> None:
    """The contract would find the provider away in it: no pay, and the bond for the renter."""
    async with open_world(tmp_path) as world:
        await trio.sleep(60)
        async with world.run_landlord():
            epoch = world.rental.epoch_at(world.rental.now)
            lease = world.open_lease()
            await until(lambda: world.rental.of(lease).state is LeaseState.ACTIVE)
            assert world.rental.epoch_at(world.rental.of(lease).started_at) == epoch + 1


async def test_nothing_is_accepted_before_it_is_final(
    tmp_path: Path, jumps: trio.testing.MockClock
) -> None:
    async with open_world(tmp_path) as world, world.run_landlord():
        await trio.sleep(10)
        world.rental.freeze()
        lease = world.open_lease()
        await trio.sleep(40)
        assert world.rental.of(lease).state is LeaseState.RESERVED
        world.rental.frozen = None
        await until(lambda: world.rental.of(lease).state is LeaseState.ACTIVE)


async def test_one_at_a_time_the_oldest_first(
    tmp_path: Path, jumps: trio.testing.MockClock
) -> None:
    async with open_world(tmp_path) as world, world.run_landlord():
        world.rental.accept_seconds = 1000
        first, second = world.open_lease(), world.open_lease()
        await until(lambda: world.rental.of(first).state is LeaseState.ACTIVE)
        await trio.sleep(50)
        assert world.rental.of(second).state is LeaseState.RESERVED
        await until(lambda: world.rental.of(second).state is LeaseState.ACTIVE)
        assert world.rental.of(second).started_at >= world.rental.of(first).ends_at


async def test_a_reclaimed_reservation_makes_way(
    tmp_path: Path, jumps: trio.testing.MockClock
) -> None:
    """Also when it is reclaimed while its acceptance is on the way."""
    async with open_world(tmp_path) as world, world.run_landlord() as landlord:
        world.wallet.held.add("approve")
        first = world.open_lease()
        await until(lambda: first in landlord.keeper.rows)
        world.rental.reclaim(first)
        world.wallet.held.clear()
        second = await begin(world)
        assert landlord.leased() == second
        assert set(landlord.keeper.rows) == {second}


async def test_what_the_contract_refuses_is_not_tried_for_ever(
    tmp_path: Path, jumps: trio.testing.MockClock
) -> None:
    async with open_world(tmp_path) as world, world.run_landlord() as landlord:
        world.wallet.reverting.add("accept")
        first = world.open_lease()
        await until(lambda: first in landlord.keeper.refused)
        world.wallet.reverting.clear()
        await begin(world)
        assert world.rental.of(first).state is LeaseState.RESERVED


async def test_an_endpoint_that_lags_has_no_accepted_lease_forgotten(
    tmp_path: Path, jumps: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was accepted looks reserved for some blocks more, and cannot be accepted again."""
    async with open_world(tmp_path) as world:
        rental, behind, accept = world.rental, [0], world.wallet.execute
        number_of = rental._number_of

        def lag(block: BlockTag) -> int:
            return number_of(block) - (behind[0] if isinstance(block, str) else 0)

        monkeypatch.setattr(rental, "_number_of", lag)

        async def execute(call: Call, **options: Any) -> Receipt:
            receipt = await accept(call, **options)
            if call.data.startswith(b"accept"):
                behind[0] = 8
                world.wallet.reverting.add("accept")
            return receipt

        monkeypatch.setattr(world.wallet, "execute", execute)
        async with world.run_landlord() as landlord:
            await trio.sleep(30)
            lease = world.open_lease(1000)
            await until(lambda: rental.of(lease).state is LeaseState.ACTIVE)
            await trio.sleep(30)
            behind[0] = 0
            await trio.sleep(10)
            assert landlord.leased() == lease
            assert await deploy(world, lease) == ["DONE"]
            assert [text for text in world.wallet.sent if text.startswith("approve")] == [
                f"approve {BOND}"
            ]


async def test_an_acceptance_that_was_refused_since_it_is_one_already_is_not_dropped(
    tmp_path: Path, jumps: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal says little: the lease is looked at before it is forgotten."""
    async with open_world(tmp_path) as world, world.run_landlord() as landlord:
        accept = world.wallet.execute

        async def execute(call: Call, **options: Any) -> Receipt:
            receipt = await accept(call, **options)
            if call.data.startswith(b"accept"):
                raise RevertedError(3, "reverted", "rental: not in this state")
            return receipt

        monkeypatch.setattr(world.wallet, "execute", execute)
        lease = world.open_lease()
        await until(lambda: world.rental.of(lease).state is LeaseState.ACTIVE)
        await trio.sleep(10)
        assert landlord.leased() == lease
        assert await deploy(world, lease) == ["DONE"]


async def test_without_the_bond_nothing_is_sent(
    tmp_path: Path, jumps: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_world(tmp_path) as world, world.run_landlord() as landlord:
        await until(lambda: bool(world.wallet.sent))
        world.rental.write().balance = BOND - 1
        lease = world.open_lease()
        await until(lambda: lease in landlord.keeper.refused)
        assert len(world.wallet.sent) == 1
        assert "its bond is" in caplog.text


async def test_an_end_by_the_renter_stops_at_once_and_wipes_when_it_is_final(
    tmp_path: Path,
    jumps: trio.testing.MockClock,
) -> None:
    async with open_world(tmp_path) as world, world.run_landlord() as landlord:
        lease = await begin(world, 1000)
        await deploy(world, lease)
        tenancy = landlord.keeper.tenancy
        assert tenancy is not None
        enclosure = tenancy.enclosure
        assert enclosure is not None
        world.rental.freeze()
        world.rental.end(lease)
        await trio.sleep(3)
        assert tenancy.is_stopped
        assert world.runner.enclosures[lease].stops == 1
        assert enclosure.workspace.exists()
        assert landlord.leased() == 0
        world.rental.frozen = None
        await until(lambda: landlord.keeper.tenancy is None)
        assert not enclosure.workspace.exists()


async def test_an_end_that_is_taken_back_lets_the_renter_in_again(
    tmp_path: Path, jumps: trio.testing.MockClock
) -> None:
    async with open_world(tmp_path) as world, world.run_landlord() as landlord:
        lease = await begin(world, 1000)
        await deploy(world, lease)
        first = landlord.keeper.tenancy
        assert first is not None
        world.rental.freeze()
        world.rental.end(lease)
        await until(lambda: first.is_stopped)
        world.rental.change(lease, state=LeaseState.ACTIVE, ended_at=0)
        await until(lambda: landlord.keeper.tenancy is not first)
        assert await deploy(world, lease) == ["DONE"]
        assert landlord.leased() == lease


async def test_an_extension_is_noticed_before_it_is_final(
    tmp_path: Path, jumps: trio.testing.MockClock
) -> None:
    async with open_world(tmp_path) as world, world.run_landlord() as landlord:
        lease = await begin(world, 100)
        ends_at = world.rental.of(lease).ends_at
        await trio.sleep(ends_at - world.rental.now - 2)
        world.rental.change(lease, seconds=200)
        await trio.sleep(50)
        assert landlord.leased() == lease
        await until(lambda: landlord.leased() == 0)
        assert world.rental.now >= ends_at + 100


async def test_a_lease_ends_also_when_the_chain_is_silent(
    tmp_path: Path, jumps: trio.testing.MockClock
) -> None:
    """As late as the clocks may differ; and it is wiped when the chain is there again."""
    async with open_world(tmp_path) as world, world.run_landlord() as landlord:
        lease = await begin(world, 100)
        tenancy = landlord.keeper.tenancy
        assert tenancy is not None
        world.rental.is_down = True
        await until(lambda: tenancy.is_stopped)
        assert world.rental.now - world.rental.of(lease).ends_at < 50
        assert landlord.keeper.tenancy is tenancy
        world.rental.is_down = False
        await until(lambda: landlord.keeper.tenancy is None)


@pytest.mark.parametrize("deployed", [False, True])
async def test_a_restart_finds_the_renter_again(
    tmp_path: Path, jumps: trio.testing.MockClock, deployed: bool
) -> None:
    async with open_world(tmp_path) as world:
        async with world.run_landlord() as landlord:
            lease = await begin(world, 1000)
            if deployed:
                await deploy(world, lease)
                (world.runner.enclosures[lease].workspace / "file").write_text("kept")
        world.runner.enclosures.clear()
        async with world.run_landlord() as landlord:
            await until(lambda: landlord.leased() == lease)
            await until(lambda: landlord.keeper.tenancy is not None)
            if deployed:
                await until(lambda: lease in world.runner.enclosures)
            assert await deploy(world, lease) == ["DONE"]
            assert (world.runner.enclosures[lease].workspace / "file").exists() is deployed
        assert world.wallet.sent.count(f"accept {lease}") == 1


async def test_a_lease_that_ended_meanwhile_is_wiped_and_settled_after_a_restart(
    tmp_path: Path,
    jumps: trio.testing.MockClock,
) -> None:
    async with open_world(tmp_path) as world:
        async with world.run_landlord():
            lease = await begin(world, 100)
            await deploy(world, lease)
        world.runner.enclosures.clear()
        await trio.sleep(300)
        async with world.run_landlord() as landlord:
            assert await world.runner.leftovers() == [lease]
            await until(lambda: landlord.keeper.view is not None and not landlord.keeper.rows)
            assert await world.runner.leftovers() == []
            assert world.rental.of(lease).state is LeaseState.SETTLED
        assert world.wallet.sent.count(f"settle {lease}") == 1


@pytest.mark.parametrize("step", ["chosen", "approved", "accepted"])
async def test_a_restart_at_any_step_accepts_the_same_lease(
    tmp_path: Path, jumps: trio.testing.MockClock, step: str
) -> None:
    """And only that one, though an older one came to light meanwhile."""
    async with open_world(tmp_path) as world:
        world.rental.accept_seconds = 1000
        world.wallet.held |= {"chosen": {"approve", "accept"}, "approved": {"accept"}}.get(
            step, set()
        )
        async with world.run_landlord() as landlord:
            lease = world.open_lease(1000)
            await until(lambda: lease in landlord.keeper.rows)
            await trio.sleep(10)
        assert world.rental.of(lease).state is (
            LeaseState.ACTIVE if step == "accepted" else LeaseState.RESERVED
        )
        world.wallet.held.clear()
        world.open_lease()
        async with world.run_landlord() as landlord:
            await until(lambda: landlord.leased() == lease)
            await trio.sleep(20)
            assert await landlord.keeper.book.rows() == [LeaseRow(lease)]
        assert [text for text in world.wallet.sent if text.startswith("accept")] == [
            f"accept {lease}"
        ]


async def test_what_belongs_to_no_lease_is_wiped_at_the_start(
    tmp_path: Path, jumps: trio.testing.MockClock
) -> None:
    async with open_world(tmp_path) as world:
        (tmp_path / "runner" / "77" / "workspace").mkdir(parents=True)
        async with world.run_landlord():
            await until(lambda: not (tmp_path / "runner" / "77").exists())


async def test_it_is_wiped_as_soon_as_there_is_a_runner(
    tmp_path: Path, jumps: trio.testing.MockClock
) -> None:
    (tmp_path / "runner" / "77" / "workspace").mkdir(parents=True)
    problem = "docker is not up yet"
    async with open_world(tmp_path, problem=problem) as world, world.run_landlord() as landlord:
        await until(lambda: landlord.keeper.view is not None)
        world.problem = ""
        await until(lambda: not (tmp_path / "runner" / "77").exists())


async def test_a_place_that_cannot_be_read_is_made_anew(
    tmp_path: Path, jumps: trio.testing.MockClock
) -> None:
    async with open_world(tmp_path) as world:
        async with world.run_landlord() as landlord:
            lease = await begin(world, 1000)
            await deploy(world, lease)
            await landlord.keeper.book.set_place(lease, b"damaged")
        async with world.run_landlord() as landlord:
            await until(lambda: landlord.keeper.tenancy is not None)
            assert await deploy(world, lease) == ["DONE"]


async def test_a_lease_that_the_store_does_not_know_is_taken_up(
    tmp_path: Path, jumps: trio.testing.MockClock
) -> None:
    async with open_world(tmp_path) as world:
        lease = world.open_lease(1000)
        world.rental.change(lease, state=LeaseState.ACTIVE, started_at=world.rental.now)
        await trio.sleep(10)
        async with world.run_landlord() as landlord:
            await until(lambda: landlord.keeper.tenancy is not None)
            assert await deploy(world, lease) == ["DONE"]


async def test_without_a_price_leases_go_on_and_no_more_are_accepted(
    tmp_path: Path, jumps: trio.testing.MockClock
) -> None:
    async with open_world(tmp_path) as world:
        async with world.run_landlord():
            lease = await begin(world, 1000)
        world.settings = RentalSettings()
        waiting = world.open_lease(1000)
        async with world.run_landlord() as landlord:
            await until(lambda: landlord.keeper.tenancy is not None)
            assert await deploy(world, lease) == ["DONE"]
            await until(lambda: not world.rental.write().offers)
            world.rental.end(lease)
            await until(lambda: landlord.keeper.tenancy is None)
            await trio.sleep(30)
            assert world.rental.of(waiting).state is LeaseState.RESERVED


async def test_the_offer_follows_the_settings(
    tmp_path: Path, jumps: trio.testing.MockClock
) -> None:
    async with open_world(tmp_path) as world:
        for price in (10, 10, 11):
            world.settings = replace(SETTINGS, price=price)
            async with world.run_landlord() as landlord:
                await until(lambda landlord=landlord: landlord.offerer.deal is not None)
                await trio.sleep(30)
        sent = [text.split()[:2] for text in world.wallet.sent]
        assert sent == [["offer", "10"], ["offer", "11"]]


async def test_an_offer_waits_until_the_provider_is_active(
    tmp_path: Path, jumps: trio.testing.MockClock
) -> None:
    async with open_world(tmp_path) as world, world.run_landlord():
        world.wallet.reverting.add("offer")
        await trio.sleep(20)
        assert not world.wallet.sent
        world.wallet.reverting.clear()
        await until(lambda: bool(world.wallet.sent))


async def test_without_a_runner_nothing_is_offered_and_the_reason_is_said(
    tmp_path: Path, jumps: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    problem = "no bubblewrap: install it"
    async with open_world(tmp_path, problem=problem) as world, world.run_landlord():
        await trio.sleep(10)
        world.open_lease()
        await trio.sleep(30)
        assert not world.wallet.sent
        warnings = [each for each in caplog.records if each.levelno >= logging.WARNING]
        assert len([each for each in warnings if "no bubblewrap" in each.message]) == 1
        world.problem = ""
        await until(lambda: bool(world.wallet.sent))


async def test_a_trial_that_the_host_has_no_room_for_does_not_end_the_node(
    tmp_path: Path, jumps: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_world(tmp_path) as world:
        choose = world.choose_runner
        failures: list[Exception] = [
            OSError(24, "Too many open files"),
            subprocess.TimeoutExpired("bwrap", 30),
        ]

        def try_runner(data_dir: Path, wanted: str) -> Runner:
            if failures:
                raise failures.pop()
            return choose(data_dir, wanted)

        monkeypatch.setattr(world, "choose_runner", try_runner)
        async with world.run_landlord():
            await until(lambda: bool(world.wallet.sent))
        assert not failures


async def test_a_runner_that_works_no_more_ends_the_offer(
    tmp_path: Path, jumps: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_finding, "CHECK_SECONDS", 100.0)
    async with open_world(tmp_path) as world, world.run_landlord():
        await until(lambda: bool(world.rental.write().offers))
        world.problem = "docker is gone"
        await until(lambda: not world.rental.write().offers)
        world.problem = ""
        await until(lambda: bool(world.rental.write().offers))


async def test_a_lease_that_cannot_be_served_is_ended_after_a_while(
    tmp_path: Path, jumps: trio.testing.MockClock
) -> None:
    async with open_world(tmp_path) as world:
        async with world.run_landlord():
            lease = await begin(world, 10_000)
        world.problem = "docker is gone"
        async with world.run_landlord() as landlord:
            await trio.sleep(BROKEN_SECONDS - 100)
            assert landlord.leased() == lease
            await until(lambda: world.rental.of(lease).state is not LeaseState.ACTIVE)
            assert world.rental.of(lease).ended_by_provider


async def test_earnings_of_a_long_lease_are_collected_meanwhile(
    tmp_path: Path, jumps: trio.testing.MockClock
) -> None:
    async with open_world(tmp_path) as world, world.run_landlord():
        lease = await begin(world, 100_000)
        early = world.rental.now - 63 * PRESET.epoch_seconds
        world.rental.change(lease, judged_until=world.rental.epoch_at(early))
        await until(lambda: f"collect {lease}" in world.wallet.sent)
        await until(lambda: "withdraw" in world.wallet.sent)
        assert world.rental.of(lease).state is LeaseState.ACTIVE
