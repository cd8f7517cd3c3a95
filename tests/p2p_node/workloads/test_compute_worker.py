"""The worker in Trio: the loop goes on, cancellation frees the device, errors keep their type."""

import pytest
import trio
import trio.testing

from p2p_node.workloads import compute_worker
from p2p_node.workloads.backend import (
    DeviceBusyError,
    DeviceLostError,
    JobCancelledError,
    JobTimeoutError,
    Work,
)
from p2p_node.workloads.compute_worker import ComputeWorker
from p2p_node.workloads.numpy_backend import NumpyBackend
from protocols.compute import ComputeJob
from protocols.freivalds import prepare_check
from protocols.memory import PassCommitment, PassIndex
from protocols.openings import Index, draw_openings
from protocols.verify import verify_openings
from tests.p2p_node.workloads.held_backend import (
    JOB,
    PATIENCE,
    SHAPE,
    HeldBackend,
    HeldWork,
    wait_for,
)

SEED = JOB.b_seed


async def test_a_job_is_run_opened_and_verified() -> None:
    backend = NumpyBackend(rows=SHAPE.m)
    worker = ComputeWorker(backend)
    with trio.fail_after(PATIENCE):
        assert await worker.prepare(SEED, SHAPE.k, SHAPE.n) == SHAPE
        work = await worker.run(JOB, window_s=0, limit_s=PATIENCE)
        indices = draw_openings(bytes(32), work.commitment.rounds, SHAPE.m)
        data = await worker.open(work, indices)
        passes = await worker.run_passes(work, bytes(32), window_s=0, limit_s=PATIENCE)
        assert passes.passes == 1
        assert len(await worker.open_passes(work, [PassIndex(0, 0)])) == 32 * (1 + 6)
        await worker.close_work(work)
        # The device is free for the next job.
        await worker.prepare(bytes([1]) * 32, SHAPE.k, SHAPE.n)
    check = prepare_check(JOB.b_seed, SHAPE, bytes(32))
    verify_openings(check, JOB, work.commitment, indices, data)
    backend.close()


async def run(worker: ComputeWorker, limit_s: float = PATIENCE) -> Work:
    await worker.prepare(SEED, SHAPE.k, SHAPE.n)
    return await worker.run(JOB, window_s=1, limit_s=limit_s)


async def test_the_loop_goes_on_during_a_job() -> None:
    backend = HeldBackend()
    worker = ComputeWorker(backend)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, worker)
        await wait_for(backend.started)
        assert backend.active == 1
        assert worker.describe() == backend.describe()
        backend.finish.set()


async def test_cancellation_returns_when_the_device_is_free() -> None:
    backend = HeldBackend()
    worker = ComputeWorker(backend)
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, worker)
            await wait_for(backend.started)
            nursery.cancel_scope.cancel()
        assert backend.cancelled.is_set()
        assert backend.active == 0
        backend.finish.set()
        await run(worker)


async def test_cancelled_passes_leave_the_device_free_and_the_work_open() -> None:
    backend = HeldBackend(held=False)
    worker = ComputeWorker(backend)
    with trio.fail_after(PATIENCE):
        work = await run(worker)
        backend.finish.clear()
        backend.started.clear()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                lambda: worker.run_passes(work, bytes(32), window_s=1, limit_s=PATIENCE)
            )
            await wait_for(backend.started)
            nursery.cancel_scope.cancel()
        assert backend.cancelled.is_set()
        assert await worker.open(work, [Index(0, 0)]) == bytes(1)
        await worker.close_work(work)
    assert [each.closed for each in backend.works] == [1]


async def test_a_device_that_hangs_does_not_hold_up_the_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is refused until it comes back; what it did meanwhile is closed."""
    monkeypatch.setattr(compute_worker, "GIVE_UP_SECONDS", 0.01)
    backend = HeldBackend()
    backend.hangs = True
    worker = ComputeWorker(backend)
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, worker)
            await wait_for(backend.started)
            nursery.cancel_scope.cancel()
        assert backend.active == 1
        with pytest.raises(DeviceBusyError, match="does not come back"):
            await worker.prepare(SEED, SHAPE.k, SHAPE.n)
        backend.finish.set()
        await come_back(worker)
    assert [work.closed for work in backend.works] == [1, 0]


async def come_back(worker: ComputeWorker) -> Work:
    """Run as soon as the device is no longer refused."""
    while True:
        try:
            return await run(worker)
        except DeviceBusyError:
            await trio.sleep(0.001)


async def test_a_device_beyond_its_limit_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute_worker, "OVERRUN_SECONDS", 0.01)
    backend = HeldBackend()
    backend.hangs = True
    worker = ComputeWorker(backend)
    with trio.fail_after(PATIENCE):
        with pytest.raises(JobTimeoutError, match="did not come back"):
            await run(worker, limit_s=0.01)
        assert backend.active == 1
        backend.finish.set()
        await come_back(worker)
    assert [work.closed for work in backend.works] == [1, 0]


async def test_work_on_a_device_that_hangs_is_closed_when_it_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compute_worker, "OVERRUN_SECONDS", 0.01)
    backend = HeldBackend(held=False)
    worker = ComputeWorker(backend)
    with trio.fail_after(PATIENCE):
        work = await run(worker)
        backend.finish.clear()
        backend.hangs = True
        with pytest.raises(JobTimeoutError):
            await worker.run_passes(work, bytes(32), window_s=0, limit_s=0.01)
        await worker.close_work(work)
        assert backend.works[0].closed == 0
        backend.finish.set()
        await come_back(worker)
    assert [each.closed for each in backend.works] == [1, 0]


def test_a_result_that_nobody_takes_is_discarded() -> None:
    """Also one that came in the moment before the call was given up."""
    discarded: list[int] = []
    late = compute_worker._Call(lambda _: 1, discarded.append)
    late.give_up()
    with pytest.raises(JobCancelledError):
        late.run()
    early = compute_worker._Call(lambda _: 2, discarded.append)
    early.run()
    early.give_up()
    assert discarded == [1, 2]


async def test_calls_take_turns() -> None:
    backend = HeldBackend()
    worker = ComputeWorker(backend)
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, worker)
            await wait_for(backend.started)
            nursery.start_soon(worker.prepare, bytes([2] * 32), SHAPE.k, SHAPE.n)
            await trio.testing.wait_all_tasks_blocked()
            assert backend.prepared == [JOB.b_seed]
            backend.finish.set()
    assert backend.prepared == [JOB.b_seed, bytes([2] * 32)]


async def test_errors_of_the_backend_keep_their_type() -> None:
    backend = HeldBackend(held=False)
    worker = ComputeWorker(backend)
    with trio.fail_after(PATIENCE):
        with pytest.raises(JobTimeoutError, match="too slow"):
            await run(worker, limit_s=0)
        for name in ("prepare", "run"):
            backend.failures = {name: DeviceLostError("fell off the bus")}
            with pytest.raises(DeviceLostError, match="fell off"):
                await run(worker)
        backend.failures = {}
        work = HeldWork(backend, ComputeJob(SHAPE, SEED, bytes(32), bytes(32), 0))
        found = await worker.run_passes(work, bytes(32), window_s=0, limit_s=PATIENCE)
        assert found == PassCommitment(1, bytes(32))
        for name in ("open", "open_passes"):
            backend.failures[name] = DeviceLostError("fell off the bus")
            with pytest.raises(DeviceLostError):
                await getattr(worker, name)(work, [])
