"""A backend's way into Trio: calls run in a thread, so that the node keeps answering.

A thread and not a process: everything heavy in a round (BLAS, philox, the mix) releases the GIL.
Measured with a task that sleeps for 1 ms on the event loop's side of a busy two-core machine: it
woke 0.2 ms late (99th percentile) without a job, 1 … 2 ms late during rounds, and 5 … 7 ms late
during passes, which hash a leaf for every few kilobytes and keep the GIL for its switch interval.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import trio

from p2p_node.workloads.backend import (
    ComputeBackend,
    DeviceBusyError,
    DeviceInfo,
    JobCancelledError,
    JobTimeoutError,
    Work,
)
from protocols.compute import ComputeJob, Shape
from protocols.memory import PassCommitment, PassIndex
from protocols.openings import Index

GIVE_UP_SECONDS = 10
"""How long cancellation waits for a device to come free. A backend looks up every few hundred
milliseconds; beyond this the device hangs, and the node must be able to go on without it."""

OVERRUN_SECONDS = 1
"""How long after a limit a backend may still be in its call. Then it is taken to hang, and the
other devices of the host go on without it."""

PREPARE_SECONDS = 120
"""Far more than making B and measuring take; beyond it the device hangs."""

OPEN_SECONDS = 60
"""Far more than opening takes."""

T = TypeVar("T")


class ComputeWorker:
    """One device's queue: one call at a time, each given up when its time is over.

    A call that was given up and does not come back keeps its thread. Until it does come back, every
    further call is refused with DeviceBusyError at once.

    The worker does not own the backend: whoever made it closes it, once nobody uses the worker.
    """

    def __init__(self, backend: ComputeBackend) -> None:
        self._backend = backend
        self._turn = trio.Lock()
        # A limiter of its own, so that other users of Trio's default one cannot hold up a job.
        # An abandoned thread holds its token until it is out.
        self._thread = trio.CapacityLimiter(1)
        self._orphans: list[Work] = []

    def describe(self) -> DeviceInfo:
        """Say what the device is, see `ComputeBackend.describe`."""
        return self._backend.describe()

    async def prepare(self, b_seed: bytes, k: int, n: int) -> Shape:
        """Make B resident, see `ComputeBackend.prepare`."""
        return await self._call(
            lambda _: self._backend.prepare(b_seed, k, n), PREPARE_SECONDS, lambda _: None
        )

    async def run(self, job: ComputeJob, *, window_s: float, limit_s: float) -> Work:
        """Do the job, see `ComputeBackend.run`; B is resident (`prepare`).

        Both times count from the moment that the device is free. The caller closes the work
        (`close_work`). Cancellation gives the job up and returns when the device is free again.
        """

        def run(is_cancelled: Callable[[], bool]) -> Work:
            return self._backend.run(
                job, window_s=window_s, limit_s=limit_s, is_cancelled=is_cancelled
            )

        return await self._call(run, limit_s + OVERRUN_SECONDS, lambda work: work.close())

    async def run_passes(
        self, work: Work, nonce: bytes, *, window_s: float, limit_s: float
    ) -> PassCommitment:
        """Make passes over what `work` keeps, see `Work.run_passes`. Cancellation as in `run`."""

        def run(is_cancelled: Callable[[], bool]) -> PassCommitment:
            return work.run_passes(
                nonce, window_s=window_s, limit_s=limit_s, is_cancelled=is_cancelled
            )

        return await self._call(run, limit_s + OVERRUN_SECONDS, lambda _: None)

    async def open(self, work: Work, indices: Sequence[Index]) -> bytes:
        """Open rows of a finished job, see `Work.open`."""
        return await self._call(lambda _: work.open(indices), OPEN_SECONDS, lambda _: None)

    async def open_passes(self, work: Work, indices: Sequence[PassIndex]) -> bytes:
        """Open kept rows of passes, see `Work.open_passes`."""
        return await self._call(lambda _: work.open_passes(indices), OPEN_SECONDS, lambda _: None)

    async def release(self) -> None:
        """Give back all memory of the device, see `ComputeBackend.release`."""
        await self._call(lambda _: self._backend.release(), OPEN_SECONDS, lambda _: None)

    async def close_work(self, work: Work) -> None:
        """Give back what the work holds, also when the caller is cancelled.

        On a device that hangs this happens when it comes back, before its next call.
        """
        self._orphans.append(work)
        with trio.CancelScope(shield=True):
            try:
                await self._call(lambda _: None, GIVE_UP_SECONDS, lambda _: None)
            except (DeviceBusyError, JobTimeoutError):
                return

    async def _call(
        self,
        function: Callable[[Callable[[], bool]], T],
        limit_s: float,
        discard: Callable[[T], None],
    ) -> T:
        """Call `function` in a thread, with a way to ask whether it has been given up."""
        call = _Call(function, discard)

        def run() -> None:
            while self._orphans:
                self._orphans.pop().close()
            call.run()

        async with self._turn:
            if not self._thread.available_tokens:
                raise DeviceBusyError("the device does not come back from an earlier call")
            try:
                with trio.move_on_after(limit_s):
                    await trio.to_thread.run_sync(run, abandon_on_cancel=True, limiter=self._thread)
                    return call.take()
            except trio.Cancelled:
                call.give_up()
                with trio.move_on_after(GIVE_UP_SECONDS, shield=True):
                    async with self._thread:
                        pass
                raise
            call.give_up()
        raise JobTimeoutError(f"the device did not come back within {limit_s:g} s")


class _Call(Generic[T]):
    """One call in a thread. Its result has one owner: whoever called, or else `discard`."""

    def __init__(
        self, function: Callable[[Callable[[], bool]], T], discard: Callable[[T], None]
    ) -> None:
        self._function = function
        self._discard = discard
        self._lock = threading.Lock()
        self._given_up = False
        self._results: list[T] = []

    def run(self) -> None:
        """Do it, in the thread."""
        result = self._function(lambda: self._given_up)
        with self._lock:
            if not self._given_up:
                self._results.append(result)
                return
        self._discard(result)
        raise JobCancelledError("given up")

    def take(self) -> T:
        """Return the result, once `run` has returned."""
        return self._results.pop()

    def give_up(self) -> None:
        """Tell the thread, and let go of a result that nobody will take."""
        with self._lock:
            self._given_up = True
        while self._results:
            self._discard(self._results.pop())
