"""Several devices as one: all at once, faults apart, held until closed, reserved for others."""

import errno
import gc
import os
import threading
import tracemalloc
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from p2p_node.workloads import compute_worker
from p2p_node.workloads.backend import (
    DeviceBusyError,
    DeviceLostError,
    DeviceMemoryError,
    JobTimeoutError,
    NotPreparedError,
)
from p2p_node.workloads.device_group import DeviceGroup, NoDeviceLeftError
from p2p_node.workloads.numpy_backend import NumpyBackend
from p2p_node.workloads.numpy_work import NumpyWork
from p2p_node.workloads.reservation import LOCK_FILE, Reservation
from protocols.compute import ComputeJob, Shape
from protocols.errors import LocalError
from protocols.freivalds import prepare_check
from protocols.host_proof import MAX_DEVICES
from protocols.memory import MemoryJob, PassCommitment, PassIndex, draw_passes, verify_passes
from protocols.openings import Index, draw_rows
from protocols.verify import verify_openings
from tests.p2p_node.workloads.held_backend import PATIENCE, SHAPE, HeldBackend, wait_for

SEED, NONCE, PROVIDER = bytes([1]) * 32, bytes([2]) * 32, bytes([3]) * 32
JOB = {
    "b_seed": SEED,
    "k": SHAPE.k,
    "n": SHAPE.n,
    "nonce": NONCE,
    "provider": PROVIDER,
    "window_s": 0.0,
    "limit_s": float(PATIENCE),
}


def make_group(*backends: HeldBackend) -> DeviceGroup:
    return DeviceGroup(backends)


async def test_every_device_does_its_own_job_and_all_of_it_is_verified() -> None:
    """Of its own size, under its own number, all rows and passes drawn over both."""
    group = DeviceGroup([NumpyBackend(rows=16), NumpyBackend(rows=5)])
    with trio.fail_after(PATIENCE):
        shapes = await group.prepare(SEED, 64, 48)
        assert shapes == {0: Shape(16, 64, 48), 1: Shape(5, 64, 48)}
        async with group.work(**{**JOB, "k": 64, "n": 48}) as work:  # type: ignore[arg-type]
            works = work.works
            assert {i: each.job for i, each in works.items()} == {
                i: ComputeJob(shape, SEED, NONCE, PROVIDER, i) for i, shape in shapes.items()
            }
            passes = await work.run_passes(NONCE, window_s=0, limit_s=PATIENCE)
            jobs = {
                i: MemoryJob(each.job.shape, each.commitment, each.kept, NONCE)
                for i, each in works.items()
            }
            pairs = dict(
                enumerate(
                    draw_passes(bytes(32), [(passes[i].passes, jobs[i].rows) for i in (0, 1)], 9)
                )
            )
            drawn = draw_rows(
                bytes(32), [(works[i].commitment.rounds, shapes[i].m) for i in (0, 1)], 9
            )
            indices = {
                i: sorted({*part, *(jobs[i].locate(pair.row) for pair in pairs[i])})
                for i, part in enumerate(drawn)
            }
            opened = await work.open(indices)
            opened_passes = await work.open_passes(pairs)
        assert work.works == {}
    for i in (0, 1):
        job = ComputeJob(shapes[i], SEED, NONCE, PROVIDER, i)
        check = prepare_check(SEED, shapes[i], bytes(32))
        true = verify_openings(check, job, works[i].commitment, indices[i], opened[i])
        rows = dict(zip(indices[i], true.rows, strict=True))
        verify_passes(jobs[i], passes[i], pairs[i], opened_passes[i], rows)
    await group.close()


async def test_devices_work_at_once() -> None:
    backends = [HeldBackend(), HeldBackend(), HeldBackend()]
    group = make_group(*backends)
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_job, group)
            for backend in backends:
                await wait_for(backend.started)
            assert [backend.active for backend in backends] == [1, 1, 1]
            for backend in backends:
                backend.finish.set()
    assert [work.closed for backend in backends for work in backend.works] == [1, 1, 1]


async def run_job(
    group: DeviceGroup, then: Callable[[], Awaitable[None]] | None = None
) -> set[int]:
    async with group.work(**JOB) as work:  # type: ignore[arg-type]
        found = set(work.works)
        if then:
            await then()
    return found


@pytest.mark.parametrize(
    "error",
    [
        DeviceLostError("fell off the bus"),
        DeviceMemoryError("full"),
        JobTimeoutError("slow"),
        DeviceBusyError("hangs"),
    ],
)
@pytest.mark.parametrize("where", ["prepare", "run"])
async def test_a_device_that_fails_drops_out_and_the_others_go_on(
    error: LocalError, where: str
) -> None:
    backends = [HeldBackend(held=False) for _ in range(3)]
    backends[1].failures[where] = error
    group = make_group(*backends)
    with trio.fail_after(PATIENCE):
        async with group.work(**JOB) as work:  # type: ignore[arg-type]
            assert set(work.works) == {0, 2}
            assert work.dropped == {1: error}
            assert set(await work.run_passes(NONCE, window_s=0, limit_s=1)) == {0, 2}
        # The next job tries it again.
        backends[1].failures.clear()
        assert await run_job(group) == {0, 1, 2}
    assert all(work.closed == 1 for backend in backends for work in backend.works)


async def test_memory_that_the_host_lacks_is_one_devices_loss() -> None:
    backends = [HeldBackend(held=False), HeldBackend(held=False)]
    backends[1].failures["run"] = MemoryError("64 MiB")
    group = make_group(*backends)
    with trio.fail_after(PATIENCE):
        async with group.work(**JOB) as work:  # type: ignore[arg-type]
            assert set(work.works) == {0}
            assert isinstance(work.dropped[1], DeviceMemoryError)


async def test_a_full_disk_costs_the_reason_and_not_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_nothing(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    one, other = (Reservation(tmp_path / LOCK_FILE) for _ in range(2))
    monkeypatch.setattr(os, "pwrite", write_nothing)
    with closing(one), closing(other):
        async with one.reserve("kaisar bench", 1):
            assert other.find_holder() == "another process"
        assert other.find_holder() is None


async def test_a_device_lost_while_preparing_leaves_the_others_ready() -> None:
    backends = [HeldBackend(held=False), HeldBackend(held=False)]
    backends[0].failures["prepare"] = DeviceLostError("gone")
    with trio.fail_after(PATIENCE):
        assert await make_group(*backends).prepare(SEED, 256, 256) == {1: SHAPE}


async def test_no_device_left_is_one_error_that_names_all_reasons() -> None:
    backends = [HeldBackend(held=False), HeldBackend(held=False)]
    backends[0].failures["run"] = DeviceLostError("fell off the bus")
    backends[1].failures["prepare"] = DeviceMemoryError("7 bytes missing")
    group = make_group(*backends)
    with trio.fail_after(PATIENCE):
        with pytest.raises(NoDeviceLeftError, match=r"device 0: fell off.*device 1: 7 bytes") as no:
            await run_job(group)
        assert set(no.value.dropped) == {0, 1}
        backends[0].failures["prepare"] = DeviceLostError("still gone")
        with pytest.raises(NoDeviceLeftError, match="still gone"):
            await group.prepare(SEED, 256, 256)


async def test_a_device_lost_during_passes_drops_out_of_them() -> None:
    backends = [HeldBackend(held=False), HeldBackend(held=False), HeldBackend(held=False)]
    backends[0].failures["run_passes"] = DeviceLostError("gone")
    # Nothing is kept there, so there is nothing to pass over.
    backends[1].kept = 0
    with trio.fail_after(PATIENCE):
        async with make_group(*backends).work(**JOB) as work:  # type: ignore[arg-type]
            found = await work.run_passes(NONCE, window_s=0, limit_s=1)
            assert found == {2: PassCommitment(1, NONCE)}
            assert set(work.dropped) == {0}
            opened = await work.open_passes({2: [PassIndex(0, 0)], 1: []})
            assert opened == {1: b"", 2: bytes(2)}


class VanishingWork:
    """Work on a device that has fallen off the bus since."""

    def __init__(self, work: NumpyWork) -> None:
        self.job, self.commitment, self.kept = work.job, work.commitment, work.kept
        self.close = work.close

    def open(self, *_: object) -> bytes:
        raise DeviceLostError("fell off the bus")

    def open_passes(self, *_: object) -> bytes:
        raise DeviceLostError("fell off the bus")

    def run_passes(self, *_: object, **__: object) -> PassCommitment:
        raise DeviceLostError("fell off the bus")


class VanishingBackend(NumpyBackend):
    """A device that does its job and vanishes."""

    def run(self, job: ComputeJob, **settings: Any) -> Any:
        return VanishingWork(super().run(job, **settings))


async def test_a_device_that_vanishes_costs_its_own_part_and_leaks_nothing() -> None:
    group = DeviceGroup([NumpyBackend(rows=256), VanishingBackend(rows=256)])
    job = {**JOB, "k": 64, "n": 1024, "window_s": 0.02}
    check = prepare_check(SEED, Shape(256, 64, 1024), bytes(32))

    async def do_job() -> None:
        async with group.work(**job) as work:  # type: ignore[arg-type]
            passes = await work.run_passes(NONCE, window_s=0, limit_s=PATIENCE)
            assert (set(work.works), set(passes), set(work.dropped)) == ({0, 1}, {0}, {1})
            with pytest.raises(DeviceLostError):
                await work.open({0: [Index(0, 0)], 1: [Index(0, 0)]})
            data = (await work.open({0: [Index(0, 3)]}))[0]
            mine = work.works[0]
            verify_openings(check, mine.job, mine.commitment, [Index(0, 3)], data)

    with trio.fail_after(PATIENCE):
        await do_job()
        gc.collect()
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            await do_job()
            gc.collect()
            after, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        await group.close()
    assert after - before < 200_000 < 2 << 20 < peak - before


async def test_openings_with_a_gap_are_an_error() -> None:
    backends = [HeldBackend(held=False), HeldBackend(held=False)]
    backends[1].failures["open"] = DeviceLostError("gone")
    with trio.fail_after(PATIENCE):
        async with make_group(*backends).work(**JOB) as work:  # type: ignore[arg-type]
            with pytest.raises(DeviceLostError, match="gone"):
                await work.open({0: [Index(0, 0)], 1: [Index(0, 0)]})
            assert await work.open({0: [Index(0, 0)]}) == {0: bytes(1)}
    assert [each.closed for backend in backends for each in backend.works] == [1, 1]


async def test_what_is_our_bug_is_not_a_device_that_drops_out() -> None:
    backends = [HeldBackend(held=False), HeldBackend(held=False)]
    backends[1].failures["run"] = NotPreparedError("no B")
    with trio.fail_after(PATIENCE):
        with pytest.raises(BaseExceptionGroup) as group:
            await run_job(make_group(*backends))
        assert group.value.subgroup(NotPreparedError) is not None
    assert [work.closed for work in backends[0].works] in ([], [1])


async def test_cancellation_gives_all_devices_up_and_closes_what_was_done() -> None:
    done, held = HeldBackend(held=False), HeldBackend()
    group = make_group(done, held)
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_job, group)
            await wait_for(held.started)
            await wait_for(done.ended)
            nursery.cancel_scope.cancel()
        assert held.cancelled.is_set()
        assert [work.closed for work in done.works] == [1]
        held.finish.set()
        assert await run_job(group) == {0, 1}


async def test_a_body_that_fails_closes_everything() -> None:
    backend = HeldBackend(held=False)
    with trio.fail_after(PATIENCE), pytest.raises(ValueError, match="stream broke"):
        async with make_group(backend).work(**JOB):  # type: ignore[arg-type]
            raise ValueError("stream broke")
    assert [work.closed for work in backend.works] == [1]


async def test_a_device_that_hangs_does_not_keep_the_others_from_committing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compute_worker, "OVERRUN_SECONDS", 0.01)
    good, bad = HeldBackend(held=False), HeldBackend()
    bad.hangs = True
    with trio.fail_after(PATIENCE):
        async with make_group(good, bad).work(**{**JOB, "limit_s": 0.01}) as work:  # type: ignore[arg-type]
            assert set(work.works) == {0}
            assert isinstance(work.dropped[1], JobTimeoutError)
        bad.finish.set()
        await wait_for(bad.ended)


async def test_preparing_waits_until_the_work_is_closed() -> None:
    backend = HeldBackend(held=False)
    group = make_group(backend)
    other = bytes([9]) * 32

    async def prepare_meanwhile() -> None:
        nursery.start_soon(group.prepare, other, 256, 256)
        await trio.testing.wait_all_tasks_blocked()
        assert backend.prepared == [SEED]

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            await run_job(group, prepare_meanwhile)
    assert backend.prepared == [SEED, other]


async def test_a_second_job_is_refused_while_one_is_open() -> None:
    group = make_group(HeldBackend(held=False))
    refused: list[str] = []

    async def run_another() -> None:
        try:
            async with group.work(**JOB, wait_s=0.01):  # type: ignore[arg-type]
                pass
        except DeviceBusyError as error:
            refused.append(str(error))

    async def meanwhile() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_another)
        # Busy with a job of one's own is no reservation.
        assert group.find_reservation() is None

    with trio.fail_after(PATIENCE):
        await run_job(group, meanwhile)
    assert refused == ["the devices are in use by another job"]


async def test_a_reservation_keeps_jobs_away_and_waits_for_the_running_one() -> None:
    backend = HeldBackend()
    group = make_group(backend)
    reserved = trio.Event()

    async def reserve() -> None:
        async with group.reserve("rented", wait_s=PATIENCE):
            reserved.set()
            assert group.find_reservation() == "rented"
            with pytest.raises(DeviceBusyError, match="reserved: rented"):
                await group.reserve("again", wait_s=0).__aenter__()

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_job, group)
            await wait_for(backend.started)
            nursery.start_soon(reserve)
            await trio.testing.wait_all_tasks_blocked()
            assert not reserved.is_set()
            assert group.find_reservation() == "rented"
            with pytest.raises(DeviceBusyError, match="rented"):
                await run_job(group)
            backend.finish.set()
        assert reserved.is_set()
        assert group.find_reservation() is None
        await run_job(group)


async def test_another_process_reserves_through_the_file(tmp_path: Path) -> None:
    """Two open files of one lock are to the kernel what two processes are."""
    path = tmp_path / LOCK_FILE
    backend = HeldBackend(held=False)
    node = DeviceGroup([backend], Reservation(path))
    bench = Reservation(path)
    with trio.fail_after(PATIENCE):
        assert node.find_reservation() is None
        async with bench.reserve("kaisar bench", wait_s=PATIENCE):
            assert str(node.find_reservation()).startswith("kaisar bench, process ")
            with pytest.raises(DeviceBusyError, match="in use: kaisar bench"):
                async with node.work(**JOB, wait_s=0):  # type: ignore[arg-type]
                    pass
        assert node.find_reservation() is None
        async with node.work(**JOB):  # type: ignore[arg-type]
            # A job is held as well: the bench waits for it.
            with pytest.raises(DeviceBusyError, match="in use: job"):
                await bench.reserve("kaisar bench", wait_s=0).__aenter__()
        assert bench.find_holder() is None
    await node.close()
    bench.close()
    bench.close()


async def test_a_bench_gets_the_devices_when_another_process_is_done(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """It looks again and again, as a lock of the kernel's cannot be waited for from Trio."""
    node, bench = Reservation(tmp_path / LOCK_FILE), Reservation(tmp_path / LOCK_FILE)
    times: list[float] = []

    async def reserve() -> None:
        async with bench.reserve("kaisar bench", wait_s=60):
            times.append(trio.current_time())

    async with trio.open_nursery() as nursery, node.use(wait_s=0):
        started = trio.current_time()
        nursery.start_soon(reserve)
        await trio.sleep(10)
    assert 10 <= times[0] - started < 11
    node.close()
    bench.close()


async def test_a_lock_ends_with_its_holder(tmp_path: Path) -> None:
    first = Reservation(tmp_path / LOCK_FILE)
    second = Reservation(tmp_path / LOCK_FILE)
    with trio.fail_after(PATIENCE):
        async with first.reserve("killed", wait_s=1):
            first.close()
            async with second.use(wait_s=1):
                pass
    second.close()


async def test_the_group_closes_its_backends() -> None:
    backends = [HeldBackend(), HeldBackend()]
    await make_group(*backends).close()
    assert [backend.closed for backend in backends] == [1, 1]


async def test_closing_gives_a_running_job_up_before_its_memory_goes() -> None:
    """A node that stops in the middle of passes: the thread must not find its rounds gone."""
    group = DeviceGroup([NumpyBackend(rows=16)])
    passing = trio.Event()

    async def serve() -> None:
        async with group.work(**{**JOB, "k": 64, "n": 48}) as work:  # type: ignore[arg-type]
            passing.set()
            await work.run_passes(NONCE, window_s=PATIENCE, limit_s=PATIENCE)

    async def expect_end() -> None:
        with pytest.raises(DeviceBusyError, match="closed during a job"):
            await serve()

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_end)
            await passing.wait()
            await trio.testing.wait_all_tasks_blocked(0.05)
            await group.close()
        with pytest.raises(DeviceBusyError, match="the devices are closed"):
            async with group.work(**{**JOB, "k": 64, "n": 48}):  # type: ignore[arg-type]
                pytest.fail("closed")


async def test_devices_describe_themselves() -> None:
    group = make_group(HeldBackend(), HeldBackend())
    assert [info.name for info in group.describe()] == ["held", "held"]


@pytest.mark.parametrize("count", [0, MAX_DEVICES + 1])
async def test_too_few_and_too_many_devices_are_refused(count: int) -> None:
    with pytest.raises(LocalError, match=f"{count} devices"):
        make_group(*[HeldBackend() for _ in range(count)])


async def test_no_thread_is_left_behind() -> None:
    group = DeviceGroup([NumpyBackend(2, rows=8), NumpyBackend(rows=8)])
    with trio.fail_after(PATIENCE):
        async with group.work(**{**JOB, "k": 64, "n": 48}):  # type: ignore[arg-type]
            pass
        await group.close()
    names = {thread.name for thread in threading.enumerate()}
    assert not {name for name in names if name.startswith("kaisar-compute")}


async def test_memory_is_given_back_to_whoever_reserves_the_devices() -> None:
    """The next job makes B anew; a device that fails to give back does not keep others from it."""
    lost, whole = HeldBackend(held=False), HeldBackend(held=False)
    lost.failures["release"] = DeviceLostError("gone")
    group = make_group(lost, whole)
    async with group.reserve("lease 1", 1.0):
        await group.release()
    assert whole.released == 1
    real = DeviceGroup([NumpyBackend(rows=16)])
    with trio.fail_after(PATIENCE):
        await real.prepare(SEED, 64, 48)
        await real.release()
        async with real.work(**{**JOB, "k": 64, "n": 48}) as work:  # type: ignore[arg-type]
            assert work.works[0].commitment.rounds
            assert not work.dropped
            with pytest.raises(DeviceBusyError):
                await real._workers[0].release()
    await real.close()
