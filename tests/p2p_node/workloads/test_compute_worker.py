"""The worker in Trio: the loop goes on, cancellation frees the device, errors keep their type."""

import threading
from collections.abc import Callable, Sequence

import pytest
import trio
import trio.testing

from p2p_node.workloads import compute_worker
from p2p_node.workloads.backend import (
    DeviceInfo,
    DeviceKind,
    JobCancelledError,
    JobTimeoutError,
)
from p2p_node.workloads.compute_worker import ComputeWorker
from p2p_node.workloads.numpy_backend import NumpyBackend
from protocols.compute import ComputeJob, Shape, WorkCommitment
from protocols.freivalds import prepare_check
from protocols.openings import Index, draw_openings
from protocols.verify import verify_openings

PATIENCE = 30
"""Seconds after which a test gives up; none of them needs a noticeable part of one."""

SHAPE = Shape(64, 256, 256)
JOB = ComputeJob(SHAPE, bytes(32), bytes(32), bytes(32), 0)


class HeldWork:
    """What a held job returns."""

    commitment = WorkCommitment(1, bytes(32))

    def open(self, indices: Sequence[Index]) -> bytes:
        return bytes(len(indices))

    def close(self) -> None:
        pass


class HeldBackend:
    """A device that works until it is told to stop, and notes what goes on at the same time."""

    def __init__(self) -> None:
        self.prepared: list[bytes] = []
        self.started = threading.Event()
        self.finish = threading.Event()
        self.cancelled = threading.Event()
        self.hangs = False
        self.active = 0

    def describe(self) -> DeviceInfo:
        return DeviceInfo(DeviceKind.CPU, "held", "test", 0)

    def prepare(self, b_seed: bytes, shape: Shape) -> None:
        assert self.active == 0
        self.prepared.append(b_seed)

    def run(
        self,
        job: ComputeJob,
        *,
        window_s: float,
        limit_s: float,
        is_cancelled: Callable[[], bool],
    ) -> HeldWork:
        assert self.active == 0
        assert self.prepared[-1] == job.b_seed
        self.active += 1
        try:
            self.started.set()
            while not self.finish.wait(0.001):
                if is_cancelled() and not self.hangs:
                    self.cancelled.set()
                    raise JobCancelledError("cancelled")
            if limit_s == 0:
                raise JobTimeoutError("too slow")
            return HeldWork()
        finally:
            self.active -= 1

    def close(self) -> None:
        pass


async def wait_for(event: threading.Event) -> None:
    with trio.fail_after(PATIENCE):
        assert await trio.to_thread.run_sync(event.wait, PATIENCE)


async def test_a_job_is_run_opened_and_verified() -> None:
    backend = NumpyBackend()
    worker = ComputeWorker(backend)
    with trio.fail_after(PATIENCE):
        work = await worker.run(JOB, window_s=0, limit_s=PATIENCE)
        indices = draw_openings(bytes(32), work.commitment.rounds, SHAPE.m)
        data = await worker.open(work, indices)
    check = prepare_check(JOB.b_seed, SHAPE, bytes(32))
    verify_openings(check, JOB, work.commitment, indices, data)
    work.close()
    backend.close()


async def test_the_loop_goes_on_and_rows_are_opened_during_a_job() -> None:
    backend = HeldBackend()
    worker = ComputeWorker(backend)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: worker.run(JOB, window_s=1, limit_s=1))
        await wait_for(backend.started)
        with trio.fail_after(PATIENCE):
            assert await worker.open(HeldWork(), [Index(0, 0)]) == bytes(1)
        assert backend.active == 1
        backend.finish.set()


async def test_cancellation_returns_when_the_device_is_free() -> None:
    backend = HeldBackend()
    worker = ComputeWorker(backend)
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: worker.run(JOB, window_s=1, limit_s=1))
            await wait_for(backend.started)
            nursery.cancel_scope.cancel()
        assert backend.cancelled.is_set()
        assert backend.active == 0
        backend.finish.set()
        await worker.run(JOB, window_s=1, limit_s=1)


async def test_a_device_that_hangs_does_not_hold_up_the_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compute_worker, "GIVE_UP_SECONDS", 0.01)
    backend = HeldBackend()
    backend.hangs = True
    worker = ComputeWorker(backend)
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: worker.run(JOB, window_s=1, limit_s=1))
            await wait_for(backend.started)
            nursery.cancel_scope.cancel()
    assert backend.active == 1
    backend.finish.set()


async def test_jobs_and_preparations_take_turns() -> None:
    backend = HeldBackend()
    worker = ComputeWorker(backend)
    other = ComputeJob(SHAPE, bytes([1] * 32), bytes(32), bytes(32), 0)
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: worker.run(JOB, window_s=1, limit_s=1))
            await wait_for(backend.started)
            nursery.start_soon(lambda: worker.run(other, window_s=1, limit_s=1))
            nursery.start_soon(worker.prepare, bytes([2] * 32), SHAPE)
            await trio.testing.wait_all_tasks_blocked()
            assert backend.prepared == [JOB.b_seed]
            backend.finish.set()
    assert sorted(backend.prepared) == [JOB.b_seed, other.b_seed, bytes([2] * 32)]


async def test_errors_of_the_backend_keep_their_type() -> None:
    backend = HeldBackend()
    backend.finish.set()
    with trio.fail_after(PATIENCE), pytest.raises(JobTimeoutError):
        await ComputeWorker(backend).run(JOB, window_s=0, limit_s=0)
