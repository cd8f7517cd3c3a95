"""The proof on one GPU: `backend.ComputeBackend` over a CUDA runtime."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from p2p_node.workloads.backend import (
    DeviceBusyError,
    DeviceInfo,
    DeviceKind,
    NotPreparedError,
)
from p2p_node.workloads.gpu.ahead import Timing
from p2p_node.workloads.gpu.device import Device
from p2p_node.workloads.gpu.profile import PartTimes, measure_parts
from p2p_node.workloads.gpu.rounds import Rounds
from p2p_node.workloads.gpu.runtime import Buffer, Runtime
from p2p_node.workloads.gpu.warmup import (
    Tuning,
    measure_copy_rate,
    measure_multiplication_ms,
    tune,
)
from p2p_node.workloads.gpu.work import GpuWork
from p2p_node.workloads.gpu.work_memory import WorkMemory
from protocols.compute import ComputeJob, Shape, find_shape_fault
from protocols.errors import LocalError
from protocols.expand import SEED_BYTES

COPY_BYTES = 1 << 30
"""Copied at a time to measure the device's bandwidth: far more than any cache holds."""


@dataclass(frozen=True, slots=True, eq=False)
class _Resident:
    b_seed: bytes
    k: int
    n: int
    b: Buffer


class GpuBackend:
    """One GPU. Takes B while it is prepared, and most of the free memory while a work is open.

    `clock` counts seconds. Any thread may call; calls wait for each other.
    """

    def __init__(self, runtime: Runtime, clock: Callable[[], float] = time.monotonic) -> None:
        self._device = Device(runtime, clock)
        total = runtime.get_memory()[1]
        self._info = DeviceInfo(DeviceKind.GPU, runtime.device_name, runtime.name, total)
        self._turn = threading.RLock()
        self._resident: _Resident | None = None
        self._tunings: dict[tuple[int, int], Tuning] = {}
        self._work: GpuWork | None = None
        self._closed = False

    def describe(self) -> DeviceInfo:
        """The GPU as its driver names it, with all of its memory."""
        return self._info

    def prepare(self, b_seed: bytes, k: int, n: int) -> Shape:
        """Expand B on the device and find the shape for it; see `backend.ComputeBackend`."""
        with self._turn:
            self._require_usable()
            if not self._is_resident(b_seed, k, n):
                if self._is_busy():
                    raise DeviceBusyError("work is open")
                fault = find_shape_fault(1, k, n)
                if fault:
                    raise LocalError(fault)
                self._make_resident(b_seed, k, n)
            return Shape(self._tunings[k, n].m, k, n)

    def run(
        self,
        job: ComputeJob,
        *,
        window_s: float,
        limit_s: float,
        is_cancelled: Callable[[], bool],
    ) -> GpuWork:
        """Do the job; see `backend.ComputeBackend`."""
        started = self._device.clock()
        with self._turn:
            self._require_usable()
            if self._is_busy():
                raise DeviceBusyError("work is open")
            shape, resident = job.shape, self._resident
            if resident is None or not self._is_resident(job.b_seed, shape.k, shape.n):
                raise NotPreparedError("B is not resident")
            memory = WorkMemory.allocate(self._device.runtime, shape)
            blocks = self._tunings[shape.k, shape.n].side_blocks
            rounds = Rounds(self._device, memory, resident.b.address, job, blocks)
            try:
                done = rounds.run(Timing(started, window_s, limit_s, is_cancelled))
            except BaseException:
                self._device.drain_quietly()
                memory.free()
                raise
            self._work = GpuWork(self._device, memory, resident.b.address, job, done, self._turn)
            return self._work

    def measure_multiplication_rate(self, repeats: int) -> float:
        """Operations per second of plain multiplications of the prepared shape, back to back."""
        with self._turn:
            resident = self._require_free()
            k, n = resident.k, resident.n
            m = self._tunings[k, n].m
            ms = measure_multiplication_ms(
                self._device, resident.b.address, resident.b_seed, m, k, n, repeats=repeats
            )
            return 2000 * m * k * n / ms

    def measure_copy_rate(self, repeats: int, size: int = COPY_BYTES) -> float:
        """Bytes per second, read and written ones both counted, of copies within the device."""
        with self._turn:
            self._require_free()
            return measure_copy_rate(self._device, size, repeats)

    def measure_parts(self, repeats: int) -> PartTimes:
        """Where the time of a round of the prepared shape goes."""
        with self._turn:
            resident = self._require_free()
            shape = Shape(self._tunings[resident.k, resident.n].m, resident.k, resident.n)
            b, seed = resident.b.address, resident.b_seed
            return measure_parts(self._device, b, seed, shape, repeats)

    def release(self) -> None:
        """Free B; what the runtime needs for itself stays. See `backend.ComputeBackend`."""
        with self._turn:
            self._require_usable()
            if self._is_busy():
                raise DeviceBusyError("work is open")
            self._drop_resident()

    def close(self) -> None:
        """Give back work, B, kernels and runtime; see `backend.ComputeBackend`."""
        with self._turn:
            if self._closed:
                return
            self._closed = True
            if self._work:
                self._work.close()
            self._device.drain_quietly()
            self._drop_resident()
            self._device.close()

    def _make_resident(self, b_seed: bytes, k: int, n: int) -> None:
        device, runtime = self._device, self._device.runtime
        # Gone before the new one comes, so that both are not held at once.
        self._drop_resident()
        b = runtime.allocate(k * n + SEED_BYTES)
        try:
            seed = b.address + k * n
            runtime.write(device.main, seed, b_seed)
            device.kernels.expand_transposed(device.main, seed, k, n, b.address)
            device.drain()
            if (k, n) not in self._tunings:
                self._tunings[k, n] = tune(device, b.address, b_seed, k, n)
        except BaseException:
            device.drain_quietly()
            b.free()
            raise
        self._resident = _Resident(b_seed, k, n, b)

    def _drop_resident(self) -> None:
        if self._resident:
            self._resident.b.free()
            self._resident = None

    def _is_resident(self, b_seed: bytes, k: int, n: int) -> bool:
        resident = self._resident
        return resident is not None and (resident.b_seed, resident.k, resident.n) == (b_seed, k, n)

    def _is_busy(self) -> bool:
        return self._work is not None and not self._work.is_closed

    def _require_free(self) -> _Resident:
        self._require_usable()
        if self._resident is None:
            raise NotPreparedError("B is not resident")
        if self._is_busy():
            raise DeviceBusyError("work is open")
        return self._resident

    def _require_usable(self) -> None:
        if self._closed:
            raise LocalError("backend is closed")
        # Notices a device that is gone, also where nothing else would have to be asked.
        self._device.runtime.get_memory()
