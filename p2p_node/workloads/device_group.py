"""All devices of a host as one: each does its own job, all at once, held until all are closed.

    async with group.work(b_seed=…, k=…, n=…, nonce=…, provider=…, window_s=…, limit_s=…) as work:
        work.works                     device → its finished `Work`: commitment, kept, job.shape
        await work.run_passes(nonce, window_s=…, limit_s=…)      device → PassCommitment
        await work.open({device: indices})                       device → openings
        await work.open_passes({device: indices})                device → openings of passes

A device that is lost, hangs, runs out of memory or is not done in time drops out of the job and the
others go on; `work.dropped` says why. The next job tries it again.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import trio

from p2p_node.workloads.backend import (
    ComputeBackend,
    DeviceBusyError,
    DeviceInfo,
    DeviceLostError,
    DeviceMemoryError,
    JobTimeoutError,
    Work,
)
from p2p_node.workloads.compute_worker import GIVE_UP_SECONDS, ComputeWorker
from p2p_node.workloads.reservation import Reservation
from protocols.compute import ComputeJob, Shape
from protocols.errors import LocalError
from protocols.host_proof import MAX_DEVICES, DeviceWork, OpeningRequest
from protocols.memory import PassCommitment, PassIndex
from protocols.openings import Index

logger = logging.getLogger(__name__)

TURN_SECONDS = 1.0
"""How long a job waits for the one before it to give its memory back."""

PREPARE_TURN_SECONDS = 60.0
"""How long preparing waits for a job to end: longer than any job takes."""

DEVICE_FAULTS = (DeviceLostError, DeviceMemoryError, DeviceBusyError, JobTimeoutError)
"""What makes one device drop out and leaves the others alone."""

T = TypeVar("T")


class NoDeviceLeftError(LocalError):
    """Every device has dropped out; `dropped` says why, by device."""

    def __init__(self, dropped: Mapping[int, LocalError]) -> None:
        reasons = "; ".join(f"device {i}: {error}" for i, error in sorted(dropped.items()))
        super().__init__(f"no device left: {reasons}")
        self.dropped = dict(dropped)


class DeviceGroup:
    """The devices of one host, numbered from 0 in the order of `backends`.

    The group owns the backends and the reservation (`close`). LocalError for none or more than
    MAX_DEVICES.
    """

    def __init__(
        self, backends: Sequence[ComputeBackend], reservation: Reservation | None = None
    ) -> None:
        if not 1 <= len(backends) <= MAX_DEVICES:
            raise LocalError(f"{len(backends)} devices, expected 1 … {MAX_DEVICES}")
        self._backends = tuple(backends)
        self._workers = tuple(ComputeWorker(backend) for backend in backends)
        self._reservation = reservation or Reservation()
        self._jobs: set[trio.CancelScope] = set()
        self._job_ended = trio.lowlevel.ParkingLot()
        self._closed = False

    def describe(self) -> tuple[DeviceInfo, ...]:
        """Say what each device is."""
        return tuple(backend.describe() for backend in self._backends)

    def find_reservation(self) -> str | None:
        """Say for what the devices are reserved, by this process or another; None for nothing.

        To be asked before a job is taken: the answer is then *busy*, which is no failure.
        """
        return self._reservation.find_holder()

    def reserve(self, reason: str, wait_s: float) -> AbstractAsyncContextManager[None]:
        """Keep jobs away; entered once the running job has ended. See `Reservation.reserve`."""
        return self._reservation.reserve(reason, wait_s)

    async def release(self) -> None:
        """Give back all memory of the devices, for whoever has reserved them.

        The next job makes up for it. A device that cannot is logged.
        """
        await _gather({device: worker.release for device, worker in enumerate(self._workers)})

    async def prepare(
        self, b_seed: bytes, k: int, n: int, *, wait_s: float = PREPARE_TURN_SECONDS
    ) -> Mapping[int, Shape]:
        """Make B resident on all devices at once; waits for a job in progress to be closed.

        Returns the shape of each device that is ready; others are logged. Raises
        NoDeviceLeftError, and DeviceBusyError when the devices are reserved or in use for
        `wait_s` seconds.
        """
        async with self._reservation.use(wait_s):
            shapes, dropped = await _gather(
                {
                    device: partial(worker.prepare, b_seed, k, n)
                    for device, worker in enumerate(self._workers)
                }
            )
        if not shapes:
            raise NoDeviceLeftError(dropped)
        return shapes

    @asynccontextmanager
    async def work(
        self,
        *,
        b_seed: bytes,
        k: int,
        n: int,
        nonce: bytes,
        provider: bytes,
        window_s: float,
        limit_s: float,
        wait_s: float = TURN_SECONDS,
    ) -> "AsyncIterator[GroupWork]":
        """Run one job on all devices at once, and hold them until the block ends.

        Makes B resident first where it is not. `window_s` and `limit_s` as in
        `ComputeBackend.run`. Cancellation gives the job up on all devices. Raises
        NoDeviceLeftError, and DeviceBusyError as `prepare` does, and when the group is closed
        meanwhile. At the end of the block every work is closed, whatever happened.
        """
        with self._while_open():
            async with self._reservation.use(wait_s):
                group = GroupWork(dict(enumerate(self._workers)))

                async def run(device: int, worker: ComputeWorker) -> None:
                    shape = await worker.prepare(b_seed, k, n)
                    job = ComputeJob(shape, b_seed, nonce, provider, device)
                    # Put down at once, so that it is closed also when another's task ends this.
                    group.works[device] = await worker.run(job, window_s=window_s, limit_s=limit_s)

                try:
                    _, group.dropped = await _gather(
                        {
                            device: partial(run, device, worker)
                            for device, worker in enumerate(self._workers)
                        }
                    )
                    if not group.works:
                        raise NoDeviceLeftError(group.dropped)
                    yield group
                finally:
                    await group.close()

    @contextmanager
    def _while_open(self) -> Iterator[None]:
        """Do the block, or what `close` leaves of it; DeviceBusyError if that is not all."""
        if self._closed:
            raise DeviceBusyError("the devices are closed")
        with trio.CancelScope() as scope:
            self._jobs.add(scope)
            try:
                yield
            finally:
                self._jobs.discard(scope)
                self._job_ended.unpark_all()
        if scope.cancelled_caught:
            raise DeviceBusyError("the devices were closed during a job")

    async def close(self) -> None:
        """Give running jobs up, then close all backends, also when cancelled.

        One that hangs is left behind.
        """
        self._closed = True
        for scope in self._jobs:
            scope.cancel()
        with trio.CancelScope(shield=True):
            # A backend that is closed under a call would pull the memory from under its thread.
            with trio.move_on_after(GIVE_UP_SECONDS):
                while self._jobs:
                    await self._job_ended.park()
            self._reservation.close()
            async with trio.open_nursery() as nursery:
                for backend in self._backends:
                    nursery.start_soon(_close_backend, backend)


@dataclass(slots=True)
class GroupWork:
    """One job of all devices, between its end and its closing. `DeviceGroup.work` makes it."""

    _workers: Mapping[int, ComputeWorker]
    works: dict[int, Work] = field(default_factory=dict)
    """Finished work by device; what is to be committed to."""
    dropped: dict[int, LocalError] = field(default_factory=dict)
    """Devices that are not among `works`, or made no passes, and why."""

    async def run_passes(
        self, nonce: bytes, *, window_s: float, limit_s: float
    ) -> Mapping[int, PassCommitment]:
        """Make passes on all devices that keep something, at once.

        A device that drops out is missing in the result, which may be empty, and is named in
        `dropped`. At most once per work.
        """
        done, dropped = await _gather(
            {
                device: partial(
                    self._workers[device].run_passes,
                    work,
                    nonce,
                    window_s=window_s,
                    limit_s=limit_s,
                )
                for device, work in self.works.items()
                if work.kept
            }
        )
        self.dropped.update(dropped)
        return done

    def list_works(self) -> tuple[DeviceWork, ...]:
        """What is to be committed to, in the order of the devices' numbers."""
        return tuple(
            DeviceWork(device, work.job.shape, work.kept, work.commitment)
            for device, work in sorted(self.works.items())
        )

    async def open_request(
        self, works: Sequence[DeviceWork], request: OpeningRequest
    ) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
        """Open what a request asks of these works: rows, and kept rows of passes, of each device.

        No bytes where nothing is asked for. Errors as in `open`.
        """
        devices = [work.device for work in works]
        rows = await self.open(
            {d: asked for d, asked in zip(devices, request.rows, strict=True) if asked}
        )
        passes = await self.open_passes(
            {d: asked for d, asked in zip(devices, request.passes, strict=True) if asked}
        )
        return (
            tuple(rows.get(device, b"") for device in devices),
            tuple(passes.get(device, b"") for device in devices),
        )

    async def open(self, indices: Mapping[int, Sequence[Index]]) -> Mapping[int, bytes]:
        """Open rows on all devices named, at once; all of them or none: raises the error of a
        device that cannot, for openings with a gap prove nothing."""
        return await self._open_all(
            {
                device: partial(self._workers[device].open, self.works[device], rows)
                for device, rows in indices.items()
            }
        )

    async def open_passes(self, indices: Mapping[int, Sequence[PassIndex]]) -> Mapping[int, bytes]:
        """Open kept rows of passes on all devices named, at once; errors as in `open`."""
        return await self._open_all(
            {
                device: partial(self._workers[device].open_passes, self.works[device], rows)
                for device, rows in indices.items()
            }
        )

    async def close(self) -> None:
        """Close every work, also when cancelled; may be called twice."""
        works, self.works = self.works, {}
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                for device, work in works.items():
                    nursery.start_soon(self._workers[device].close_work, work)

    async def _open_all(
        self, calls: Mapping[int, Callable[[], Awaitable[bytes]]]
    ) -> Mapping[int, bytes]:
        opened, dropped = await _gather(calls)
        for error in dropped.values():
            raise error
        return opened


async def _gather(
    calls: Mapping[int, Callable[[], Awaitable[T]]],
) -> tuple[dict[int, T], dict[int, LocalError]]:
    """Make all calls at once: results, and faults, by device."""
    results: dict[int, T] = {}
    dropped: dict[int, LocalError] = {}

    async def call(device: int, function: Callable[[], Awaitable[T]]) -> None:
        try:
            results[device] = await function()
        except MemoryError as error:
            # The host's, which one device lacks and another may not need.
            dropped[device] = DeviceMemoryError(f"no memory left on the host: {error}")
            logger.warning("device %d drops out: %s", device, dropped[device])
        except DEVICE_FAULTS as error:
            logger.warning("device %d drops out: %s: %s", device, type(error).__name__, error)
            dropped[device] = error

    async with trio.open_nursery() as nursery:
        for device, function in calls.items():
            nursery.start_soon(call, device, function)
    return dict(sorted(results.items())), dict(sorted(dropped.items()))


async def _close_backend(backend: ComputeBackend) -> None:
    with trio.move_on_after(GIVE_UP_SECONDS):
        await trio.to_thread.run_sync(backend.close, abandon_on_cancel=True)
