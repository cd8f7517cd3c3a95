"""A CUDA runtime on the host, as strict as the real one is treacherous.

Kernels are built from the real sources by a C compiler; multiplications are NumPy's. Nothing runs
when it is queued: operations are carried out only when the host waits for something, and streams
get ahead of each other at random, as far as events allow, so that a wait that is missing somewhere
shows up as wrong bits. Memory is counted against a capacity, poisoned before first use and after
being freed, and fenced. Time is simulated: it passes with the operations carried out.
"""

import ctypes
import functools
import random
import shutil
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np

from p2p_node.workloads.backend import DeviceLostError, DeviceMemoryError
from p2p_node.workloads.gpu.sources import KERNELS

FENCE_BYTES = 512
FENCE = 0xFE
UNWRITTEN = 0xA5
FREED = 0x5F
ALIGNMENT = 256

QUARANTINE_BYTES = 64 << 20
"""Freed memory is not reused for this long, so that late accesses find poison."""

C_FLAGS = ("-x", "c", "-std=c11", "-O2", "-fPIC", "-shared", "-Wall", "-Wextra", "-Wpedantic")


def find_compiler() -> str | None:
    """Path of a C compiler; None where there is none."""
    return shutil.which("gcc") or shutil.which("cc")


@functools.cache
def build_kernels(*flags: str) -> ctypes.CDLL:
    """Compile the kernels for the host, once per process."""
    compiler = find_compiler()
    assert compiler, "no C compiler"
    folder = Path(tempfile.mkdtemp(prefix="kaisar-kernels-"))
    try:
        target = folder / "kernels.so"
        command = [compiler, *C_FLAGS, "-Werror", *flags, "-o", str(target)]
        subprocess.run([*command, str(KERNELS / "proof.cu")], check=True, timeout=120)
        return ctypes.CDLL(str(target))
    finally:
        shutil.rmtree(folder)


@dataclass(eq=False)
class HostStream:
    urgent: bool
    queue: "deque[Operation]" = field(default_factory=deque)


@dataclass(eq=False)
class HostEvent:
    reached_at: float | None = None


@dataclass(eq=False)
class Operation:
    """`act` is carried out once `awaits`, if any, has been reached; it takes `seconds`."""

    act: Callable[[], None]
    seconds: float = 0.0
    awaits: HostEvent | None = None


class HostBuffer:
    def __init__(self, runtime: "HostRuntime", size: int) -> None:
        self._runtime = runtime
        self.memory = np.full(size + 2 * FENCE_BYTES + ALIGNMENT, FENCE, np.uint8)
        base = self.memory.ctypes.data + FENCE_BYTES
        self.address = -(-base // ALIGNMENT) * ALIGNMENT
        self.size = size
        self.view[:] = UNWRITTEN

    @property
    def view(self) -> np.ndarray:
        start = self.address - self.memory.ctypes.data
        return self.memory[start : start + self.size]

    def check_fence(self) -> None:
        start = self.address - self.memory.ctypes.data
        outside = (self.memory[:start], self.memory[start + self.size :])
        assert all((part == FENCE).all() for part in outside), "written beyond a buffer"

    def free(self) -> None:
        self._runtime.release(self)


class HostRuntime:
    """See `p2p_node.workloads.gpu.runtime.Runtime`.

    `lose_at` is the number of the operation, from the construction on, at which the device is
    lost; `rate` is its multiplications and additions per second, `bandwidth` its bytes per second.
    Event waits, numbered from 1, that `is_wait_dropped` picks are left out, to show that it shows.
    """

    name = "host"
    device_name = "host"
    multiprocessors = 4

    def __init__(
        self,
        capacity: int = 64 << 20,
        *,
        seed: int = 0,
        rate: float = 1e8,
        bandwidth: float = 1e10,
        lose_at: int | None = None,
        flags: tuple[str, ...] = (),
    ) -> None:
        self.capacity = capacity
        self.used_elsewhere = 0
        self.operations = 0
        self.waits = 0
        self.now = 0.0
        self.lose_at = lose_at
        self.lost = False
        self.closed = False
        self.is_wait_dropped: Callable[[int], bool] = lambda number: False
        self.buffers: list[HostBuffer] = []
        self._quarantine: deque[HostBuffer] = deque()
        self._streams: list[HostStream] = []
        self._random = random.Random(seed)
        self._favourite: HostStream | None = None
        self._rate = rate
        self._bandwidth = bandwidth
        self._library = build_kernels(*flags)

    @property
    def used(self) -> int:
        """Bytes allocated now."""
        return sum(buffer.size for buffer in self.buffers)

    def clock(self) -> float:
        """Simulated seconds."""
        return self.now

    def get_memory(self) -> tuple[int, int]:
        self._count()
        return self.capacity - self.used_elsewhere - self.used, self.capacity

    def allocate(self, size: int) -> HostBuffer:
        self._count()
        assert size > 0
        if size > self.capacity - self.used_elsewhere - self.used:
            raise DeviceMemoryError(f"{size} bytes on a device with {self.used} used")
        buffer = HostBuffer(self, size)
        self.buffers.append(buffer)
        return buffer

    def release(self, buffer: HostBuffer) -> None:
        if buffer not in self.buffers:
            return
        if not self.lost:
            assert not any(stream.queue for stream in self._streams), "freed while in use"
        self.buffers.remove(buffer)
        buffer.check_fence()
        buffer.view[:] = FREED
        self._quarantine.append(buffer)
        while sum(freed.size for freed in self._quarantine) > QUARANTINE_BYTES:
            self._quarantine.popleft().check_fence()

    def create_stream(self, *, urgent: bool) -> HostStream:
        self._count()
        self._streams.append(HostStream(urgent))
        return self._streams[-1]

    def launch(
        self, stream: HostStream, kernel: str, count: int, *arguments: int, blocks: int = 0
    ) -> None:
        self._count()
        assert count > 0
        assert blocks >= 0
        function = getattr(self._library, kernel)
        values = [ctypes.c_uint64(value) for value in (count, *arguments)]
        self._queue(stream, lambda: function(*values), 32 * count / self._bandwidth)

    def multiply(
        self, stream: HostStream, a: int, b_transposed: int, c: int, m: int, k: int, n: int
    ) -> None:
        self._count()
        assert not any(value % 16 for value in (a, b_transposed, c, k, n))

        def act() -> None:
            # Exact: every partial sum is an integer below 2^53.
            left = self._view(a, m * k).view(np.int8).reshape(m, k).astype(np.float64)
            right = self._view(b_transposed, n * k).view(np.int8).reshape(n, k)
            out = self._view(c, 4 * m * n).view(np.int32).reshape(m, n)
            out[:] = (left @ right.astype(np.float64).T).astype(np.int32)

        self._queue(stream, act, 2 * m * k * n / self._rate)

    def copy(self, stream: HostStream, source: int, target: int, size: int) -> None:
        self._count()

        def act() -> None:
            self._view(target, size)[:] = self._view(source, size)

        self._queue(stream, act, 2 * size / self._bandwidth)

    def write(self, stream: HostStream, target: int, data: bytes) -> None:
        self._count()

        def act() -> None:
            self._view(target, len(data))[:] = np.frombuffer(data, np.uint8)

        self._queue(stream, act)

    def read(self, stream: HostStream, source: int, size: int) -> bytes:
        self._count()
        found: list[bytes] = []
        self._queue(stream, lambda: found.append(self._view(source, size).tobytes()))
        while not found:
            self._step()
        return found[0]

    def record(self, stream: HostStream) -> HostEvent:
        self._count()
        event = HostEvent()

        def act() -> None:
            event.reached_at = self.now

        self._queue(stream, act)
        return event

    def wait_event(self, stream: HostStream, event: HostEvent) -> None:
        self._count()
        self.waits += 1
        if not self.is_wait_dropped(self.waits):
            stream.queue.append(Operation(lambda: None, awaits=event))

    def wait(self, event: HostEvent, timeout_s: float) -> bool:
        self._count()
        deadline = self.now + timeout_s
        while event.reached_at is None and self.now < deadline:
            self._step()
        return event.reached_at is not None

    def measure_ms(self, first: HostEvent, last: HostEvent) -> float:
        self._count()
        assert first.reached_at is not None
        assert last.reached_at is not None
        return 1000 * (last.reached_at - first.reached_at)

    def give_up(self, reason: str) -> NoReturn:
        self.lost = True
        raise DeviceLostError(reason)

    def close(self) -> None:
        self.closed = True
        for buffer in (*self.buffers, *self._quarantine):
            buffer.check_fence()

    def _queue(self, stream: HostStream, act: Callable[[], None], seconds: float = 0.0) -> None:
        assert not self.closed
        stream.queue.append(Operation(act, seconds))

    def _step(self) -> None:
        """Carry out one operation: mostly of a favourite stream, which changes now and then."""
        ready = [stream for stream in self._streams if stream.queue and _is_ready(stream.queue[0])]
        assert ready, "everything waits for what never happens"
        if self._favourite not in ready or self._random.random() < 0.1:
            self._favourite = self._random.choice(ready)
        operation = self._favourite.queue.popleft()
        operation.act()
        self.now += operation.seconds

    def _view(self, address: int, size: int) -> np.ndarray:
        for buffer in self.buffers:
            if buffer.address <= address and address + size <= buffer.address + buffer.size:
                start = address - buffer.address
                return buffer.view[start : start + size]
        raise AssertionError(f"{size} bytes outside of every buffer")

    def _count(self) -> None:
        self.operations += 1
        if self.lost or self.operations == self.lose_at:
            self.lost = True
            raise DeviceLostError("device lost")


def _is_ready(operation: Operation) -> bool:
    return operation.awaits is None or operation.awaits.reached_at is not None
