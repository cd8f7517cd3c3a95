"""A backend's way into Trio: jobs run in a thread, so that the node keeps answering.

A thread and not a process: everything heavy in a round (BLAS, philox, SHA-256 of 4 KiB) releases
the GIL. Measured with a task that sleeps for 1 ms on the event loop's side of a two-core machine:
it woke 0.3 ms late (99th percentile) without a job, 0.4 … 0.7 ms late during one.
"""

import threading
from collections.abc import Sequence
from functools import partial

import trio

from p2p_node.workloads.backend import ComputeBackend, Work
from protocols.compute import ComputeJob, Shape
from protocols.openings import Index

GIVE_UP_SECONDS = 10
"""How long cancellation waits for a device to come free. A backend looks up every few hundred
milliseconds; beyond this the device hangs, and the node must be able to go on without it."""


class ComputeWorker:
    """One device's queue: one `prepare` or `run` at a time; `open` does not wait for them.

    The worker does not own the backend: whoever made it closes it, once nobody uses the worker.
    """

    def __init__(self, backend: ComputeBackend) -> None:
        self._backend = backend
        self._turn = trio.Lock()
        # Limiters of their own, so that other users of Trio's default one cannot hold up a job.
        self._running = trio.CapacityLimiter(1)
        self._opening = trio.CapacityLimiter(1)

    async def prepare(self, b_seed: bytes, shape: Shape) -> None:
        """Make B resident, see `ComputeBackend.prepare`. Cancellation waits for it to finish."""
        async with self._turn:
            await self._prepare(b_seed, shape)

    async def run(self, job: ComputeJob, *, window_s: float, limit_s: float) -> Work:
        """Make the job's B resident, then do the job, see `ComputeBackend.run`.

        Both times count from the moment that the device is free and B is resident. The caller
        closes the work once it has been opened. Cancellation gives the job up and returns when
        the device is free again. Raises DeviceMemoryError, JobTimeoutError.
        """
        given_up = threading.Event()
        run = partial(
            self._backend.run,
            job,
            window_s=window_s,
            limit_s=limit_s,
            is_cancelled=given_up.is_set,
        )
        async with self._turn:
            await self._prepare(job.b_seed, job.shape)
            try:
                return await trio.to_thread.run_sync(
                    run, abandon_on_cancel=True, limiter=self._running
                )
            except trio.Cancelled:
                given_up.set()
                # The abandoned thread holds the limiter's only token until it is out.
                with trio.move_on_after(GIVE_UP_SECONDS, shield=True):
                    async with self._running:
                        pass
                raise

    async def open(self, work: Work, indices: Sequence[Index]) -> bytes:
        """Open rows of a finished job, see `Work.open`. Cancellation waits for it to finish."""
        return await trio.to_thread.run_sync(work.open, indices, limiter=self._opening)

    async def _prepare(self, b_seed: bytes, shape: Shape) -> None:
        await trio.to_thread.run_sync(self._backend.prepare, b_seed, shape, limiter=self._running)
