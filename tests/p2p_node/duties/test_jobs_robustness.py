"""Whatever happens to a job, both sides go on: a clear verdict, no bug, and nothing left over."""

import gc
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import trio

import tests.p2p_node.duties.world as world_module
from p2p_node.duties import job_serving
from p2p_node.duties.challenging import challenge_provider
from p2p_node.duties.hosting import open_host
from p2p_node.duties.observations import Observation
from p2p_node.workloads import core_worker, reservation
from p2p_node.workloads.backend import DeviceLostError, DeviceMemoryError
from p2p_node.workloads.core_chains import CoreChains
from p2p_node.workloads.numpy_plan import make_plan
from p2p_node.workloads.reservation import LOCK_FILE, Reservation
from protocols.compute import Shape
from protocols.errors import LocalError
from protocols.gossip import JOB_PROTOCOL
from protocols.messages import MAX_SEATS, Commitment
from protocols.scoring import Verdict
from tests.p2p_node.duties.job_harness import (
    PATIENCE,
    CountedBackend,
    Offer,
    Stage,
    hand_of,
    offering,
)
from tests.p2p_node.duties.test_jobs import IN_SLOT_0, make_challenge
from tests.p2p_node.duties.world import PRESET, World, open_world

LOST = DeviceLostError("it is gone")
FULL = DeviceMemoryError("it is full")
NO_MEMORY = MemoryError("the host's")


@pytest.fixture(autouse=True)
def _long_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for several jobs of one seat in its slot, on a busy machine."""
    longer = replace(PRESET, epoch_seconds=300, check_ms=240_000)
    monkeypatch.setattr(world_module, "PRESET", longer)


async def challenge(world: World, number: int = 0) -> tuple[Observation, set[str]]:
    """What the checker of a seat sees of provider 0, and the reasons that it counted."""
    checker, challenge = await make_challenge(world, number)
    with trio.fail_after(PATIENCE):
        seen = await challenge_provider(checker, challenge, world.view.providers[0])
    refused = {
        reason for protocol, reason in checker.network.counters.refused if protocol == JOB_PROTOCOL
    }
    assert checker.network.counters.bugs == {}
    # A core that is busy with something else may come to less than a point.
    assert not seen.score or seen.verdict is Verdict.OK
    return seen, refused


async def challenge_again(offer: Offer) -> None:
    """After all that, a job is as good as the first one would have been."""
    await offer.settle()
    offer.forget()
    for backend in offer.backends:
        backend.stages.update((name, Stage()) for name in backend.NAMES)
    offer.cores.stage = Stage()
    seen, _ = await challenge(offer.world)
    assert seen.verdict is Verdict.OK


@pytest.mark.parametrize(
    ("stage", "failure", "verdict", "reason"),
    [
        ("prepare", LOST, Verdict.BUSY, "provider: not ready"),
        ("prepare", FULL, Verdict.BUSY, "provider: not ready"),
        ("prepare", NO_MEMORY, Verdict.BUSY, "provider: not ready"),
        ("run", LOST, Verdict.BUSY, "provider: not ready"),
        ("run", FULL, Verdict.BUSY, "provider: not ready"),
        ("run", NO_MEMORY, Verdict.BUSY, "provider: not ready"),
        ("run_passes", LOST, Verdict.SLOW, "closed by the peer"),
        ("run_passes", FULL, Verdict.OK, None),
        ("open", LOST, Verdict.SLOW, "closed by the peer"),
        ("open", FULL, Verdict.SLOW, "closed by the peer"),
        ("open", NO_MEMORY, Verdict.SLOW, "closed by the peer"),
        ("open_passes", LOST, Verdict.SLOW, "closed by the peer"),
        ("open_passes", FULL, Verdict.SLOW, "closed by the peer"),
    ],
)
async def test_only_device_fails(
    tmp_path: Path, stage: str, failure: Exception, verdict: Verdict, reason: str | None
) -> None:
    """What was committed to has to be opened; only passes may be left out."""
    async with open_world(tmp_path, IN_SLOT_0) as world, offering(world) as offer:
        offer.backends[0].stages[stage].failure = failure
        seen, refused = await challenge(world)
        assert seen.verdict is verdict
        assert refused == ({reason} if reason else set())
        await challenge_again(offer)


@pytest.mark.parametrize(
    ("stage", "failure", "verdict"),
    [
        ("prepare", LOST, Verdict.OK),
        ("run", LOST, Verdict.OK),
        ("run", FULL, Verdict.OK),
        ("run_passes", FULL, Verdict.OK),
        # Committed to, and drawn with the other device's rows.
        ("run_passes", LOST, Verdict.SLOW),
        ("open", LOST, Verdict.SLOW),
        ("open_passes", LOST, Verdict.SLOW),
    ],
)
async def test_one_of_two_devices_fails(
    tmp_path: Path, stage: str, failure: Exception, verdict: Verdict
) -> None:
    good, bad = CountedBackend(), CountedBackend()
    async with open_world(tmp_path, IN_SLOT_0) as world, offering(world, good, bad) as offer:
        bad.stages[stage].failure = failure
        seen, _ = await challenge(world)
        assert seen.verdict is verdict
        if verdict is Verdict.OK:
            assert good.calls["run"] == good.calls["run_passes"] == good.calls["open"] == 1
        await challenge_again(offer)


async def test_device_that_comes_back_is_prepared_within_the_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_serving, "PREPARE_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(job_serving, "LONGEST_PAUSE_SECONDS", 0.05)
    backend = CountedBackend()
    backend.stages["prepare"].failure = FULL
    async with open_world(tmp_path, IN_SLOT_0) as world, offering(world, backend):
        with trio.fail_after(PATIENCE):
            while backend.calls["prepare"] < 3:
                await trio.sleep(0.005)
        backend.stages["prepare"].failure = None
        entered = backend.stages["prepare"].entered
        entered.clear()
        await trio.to_thread.run_sync(entered.wait, PATIENCE)
        assert backend.calls["run"] == 0, "no job was needed for it"
        seen, _ = await challenge(world)
        assert seen.verdict is Verdict.OK


async def test_memory_for_one_round_and_nothing_to_keep(tmp_path: Path) -> None:
    """The smallest memory with which a device starts: its job holds, with no memory to it."""
    shape, memory = Shape(32, PRESET.k, PRESET.n), 1 << 10
    while True:
        with suppress(DeviceMemoryError):
            plan = make_plan(shape, 1, memory)
            break
        memory += 1 << 8
    assert (plan.kept_rounds, plan.max_rounds) == (0, 1)
    backend = CountedBackend(memory)
    async with open_world(tmp_path, IN_SLOT_0) as world, offering(world, backend):
        seen, _ = await challenge(world)
    assert seen.verdict is Verdict.OK
    assert (backend.works[0].kept, backend.calls["run_passes"]) == (0, 0)


async def test_memory_for_nothing(tmp_path: Path) -> None:
    backend = CountedBackend(memory_bytes=1 << 10)
    async with open_world(tmp_path, IN_SLOT_0) as world, offering(world, backend):
        seen, refused = await challenge(world)
    assert (seen.verdict, refused) == (Verdict.BUSY, {"provider: not ready"})


@pytest.mark.parametrize("failure", [LocalError("no such core"), MemoryError("none left")])
async def test_cores_that_fail_cost_their_own_term_only(tmp_path: Path, failure: Exception) -> None:
    async with open_world(tmp_path, IN_SLOT_0) as world, offering(world) as offer:
        offer.cores.stage.failure = failure
        seen, _ = await challenge(world)
        assert seen.verdict is Verdict.OK
        await challenge_again(offer)
        assert len(offer.cores.works) == 1


async def test_cores_that_are_closed_cost_their_own_term_only(tmp_path: Path) -> None:
    async with open_world(tmp_path, IN_SLOT_0) as world, offering(world) as offer:
        offer.cores.close()
        seen, _ = await challenge(world)
        assert seen.verdict is Verdict.OK


async def test_cores_that_hang_are_gone_on_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job that finds out goes on, and so does the next one, at once."""
    monkeypatch.setattr(core_worker, "OVERRUN_SECONDS", 0.05)
    async with open_world(tmp_path, IN_SLOT_0) as world, offering(world) as offer:
        offer.cores.hangs = offer.cores.stage.held = True
        seen, _ = await challenge(world)
        assert seen.verdict is Verdict.OK
        assert offer.cores.active == 1
        offer.forget()
        seen, _ = await challenge(world)
        assert seen.verdict is Verdict.OK
        offer.cores.stage.held = False
        offer.cores.hangs = False
        await challenge_again(offer)


async def test_devices_that_another_process_has_are_busy_and_prepared_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_serving, "PREPARE_PAUSE_SECONDS", 0.05)
    lock = tmp_path / LOCK_FILE
    hold = "import fcntl,sys; f=open(sys.argv[1],'w'); fcntl.flock(f,2); print(); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", hold, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        await trio.to_thread.run_sync(process.stdout.readline)
        backend = CountedBackend()
        async with (
            open_world(tmp_path, IN_SLOT_0) as world,
            offering(world, backend, reservation=Reservation(lock)) as offer,
        ):
            seen, refused = await challenge(world)
            assert (seen.verdict, refused) == (Verdict.BUSY, {"provider: busy"})
            assert backend.calls == dict.fromkeys(backend.NAMES, 0), "not touched"
            process.kill()
            process.wait()
            prepared = backend.stages["prepare"].entered
            assert await trio.to_thread.run_sync(prepared.wait, PATIENCE)
            await challenge_again(offer)
    finally:
        process.kill()
        process.communicate()


async def test_lock_file_that_fails_does_not_end_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a file system without locks."""
    monkeypatch.setattr(job_serving, "PREPARE_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(job_serving, "LONGEST_PAUSE_SECONDS", 0.05)
    fails = False

    def wrap(function: Callable[..., None]) -> Callable[..., None]:
        def perhaps(*arguments: int) -> None:
            if fails and arguments[1:] != (8,):
                raise OSError(37, "No locks available")
            function(*arguments)

        return perhaps

    monkeypatch.setattr(reservation.fcntl, "flock", wrap(reservation.fcntl.flock))
    backend = CountedBackend()
    async with open_world(tmp_path, IN_SLOT_0) as world:
        held = Reservation(tmp_path / LOCK_FILE)
        fails = True
        async with offering(world, backend, reservation=held) as offer:
            seen, _ = await challenge(world)
            assert seen.verdict is Verdict.BUSY
            fails = False
            prepared = backend.stages["prepare"].entered
            assert await trio.to_thread.run_sync(prepared.wait, PATIENCE)
            await challenge_again(offer)


STAGES = ("run", "run_passes", "chains", "open", "open_passes")


def hold(offer: Offer, name: str) -> Stage:
    stage = offer.cores.stage if name == "chains" else offer.backends[0].stages[name]
    stage.held = True
    return stage


@pytest.mark.parametrize("name", STAGES)
async def test_checker_that_is_ended_in_a_stage(tmp_path: Path, name: str) -> None:
    async with open_world(tmp_path, IN_SLOT_0) as world, offering(world) as offer:
        stage = hold(offer, name)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(challenge, world)
            assert await trio.to_thread.run_sync(stage.entered.wait, PATIENCE)
            nursery.cancel_scope.cancel()
        stage.held = False
        await challenge_again(offer)


@pytest.mark.parametrize("name", STAGES)
async def test_provider_that_is_ended_in_a_stage(tmp_path: Path, name: str) -> None:
    """As by a node that stops: the checker is told at once, and accuses nobody."""
    async with open_world(tmp_path, IN_SLOT_0) as world, offering(world) as offer:
        stage = hold(offer, name)
        seen: list[Observation] = []

        async def observe() -> None:
            seen.append((await challenge(world))[0])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(observe)
            assert await trio.to_thread.run_sync(stage.entered.wait, PATIENCE)
            if name.startswith("open"):
                # These do not look whether they are given up; they take a moment.
                stage.held = False
            offer.answering[0].cancel()
        assert seen[0].verdict is (Verdict.ABSENT if name == "run" else Verdict.SLOW)
        stage.held = False
        await challenge_again(offer)


async def test_checker_that_leaves_while_the_devices_run(tmp_path: Path) -> None:
    """The stream ends; the provider finds out when it commits, and is free then."""
    async with open_world(tmp_path, IN_SLOT_0) as world, offering(world) as offer:
        async with hand_of(world) as hand:
            await hand.send(hand.job)
            ran = offer.backends[0].stages["run"].entered
            assert await trio.to_thread.run_sync(ran.wait, PATIENCE)
            hand.stream._pipe.reset("gone")  # type: ignore[attr-defined]
        await challenge_again(offer)


async def test_memory_is_back_after_jobs_of_every_end(tmp_path: Path) -> None:
    """Each of them keeps most of a megabyte while it lasts."""
    async with open_world(tmp_path, IN_SLOT_0) as world, offering(world) as offer:

        async def run_all() -> None:
            for name, failure in (("open", FULL), ("run_passes", FULL), ("open_passes", FULL)):
                offer.backends[0].stages[name].failure = failure
                await challenge(world)
                await challenge_again(offer)
            offer.backends[0].works.clear()
            offer.cores.works.clear()
            gc.collect()

        await run_all()
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            await run_all()
            after, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak - before > 1 << 19, "the jobs were seen"
    assert after - before < 1 << 18


async def test_host_is_closed_whatever_ends_it(tmp_path: Path) -> None:
    """Devices and cores, also when one of them makes trouble; the lock can be had again."""
    async with open_world(tmp_path, IN_SLOT_0) as world:
        node = world.providers[0]
        backends = [CountedBackend(), CountedBackend()]
        with suppress(RuntimeError):
            async with open_host(node, backends) as host:
                assert host.cores is not None
                raise RuntimeError("the role failed")
        with trio.move_on_after(0):
            async with open_host(node, [CountedBackend()]):
                await trio.sleep_forever()
        held = Reservation(node.data_dir / LOCK_FILE)
        assert held.find_holder() is None
        held.close()
    assert [each.closed for each in backends] == [1, 1]


async def test_host_whose_lock_cannot_be_opened_closes_its_devices(tmp_path: Path) -> None:
    backends = [CountedBackend(), CountedBackend()]
    async with open_world(tmp_path, IN_SLOT_0) as world:
        node = replace(world.providers[0], data_dir=tmp_path / "missing")
        with pytest.raises(FileNotFoundError):
            await open_host(node, backends).__aenter__()
    assert [each.closed for each in backends] == [1, 1]


async def test_host_with_cores_that_hang_is_closed_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("p2p_node.duties.hosting.GIVE_UP_SECONDS", 0.05)
    stage = Stage()
    stage.held = True
    monkeypatch.setattr(CoreChains, "close", lambda _: stage.enter())
    backend = CountedBackend()
    async with open_world(tmp_path, IN_SLOT_0) as world:
        with trio.fail_after(PATIENCE):
            async with open_host(world.providers[0], [backend]):
                pass
        assert backend.closed == 1
        stage.held = False


def test_most_receipts_of_the_largest_size_fit_a_commitment() -> None:
    """Or the provider could not commit at all: bytes that others chose would end its job."""
    Commitment(
        job=bytes(32), devices=(bytes(48),) * 16, receipts=(bytes(512),) * MAX_SEATS
    ).encode()
