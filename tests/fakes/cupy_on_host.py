"""As much of CuPy as the runtime uses, on the host: signatures and meanings after CuPy 14 and the
CUDA documentation, errors included.

Everything happens at once and in order; `gpu_runtime` is the fake that is careful about that.
"""

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np

from tests.fakes.gpu_runtime import build_kernels

DEVICES = 2
NOT_READY = 600
ILLEGAL_ADDRESS = 700
OP_N, OP_T = 0, 1


class StatusError(RuntimeError):
    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


class CUDARuntimeError(StatusError):
    pass


class CUDADriverError(StatusError):
    pass


class CUBLASError(StatusError):
    pass


class CompileException(Exception):
    """What CuPy raises with NVRTC's messages."""


class CupyOnHost:
    """The machine behind the module: two devices of `capacity` bytes each.

    `fault` is the status that every call answers with from now on, as after a fault in a kernel.
    """

    def __init__(self, capacity: int = 64 << 20) -> None:
        self.capacity = capacity
        self.fault = 0
        self.cublas_fault = 0
        self.has_nvrtc = True
        self.compiles = True
        self.memory: dict[int, tuple[int, np.ndarray]] = {}
        self.handles: set[int] = set()
        self.streams: set[int] = set()
        self.events: dict[int, int] = {}
        self.priorities: list[int] = []
        self.multiplied_on: set[int] = set()
        self._thread = threading.local()
        self._next = 1000

    @property
    def device(self) -> int:
        return getattr(self._thread, "device", 0)

    @device.setter
    def device(self, index: int) -> None:
        self._thread.device = index

    @property
    def stream(self) -> int:
        return getattr(self._thread, "stream", 0)

    @stream.setter
    def stream(self, pointer: int) -> None:
        self._thread.stream = pointer

    def used(self, device: int) -> int:
        return sum(array.size for owner, array in self.memory.values() if owner == device)

    def check(self) -> None:
        if self.fault:
            raise CUDARuntimeError(self.fault)

    def number(self) -> int:
        self._next += 1
        return self._next

    def view(self, address: int, size: int) -> np.ndarray:
        for base, (owner, array) in self.memory.items():
            if base <= address and address + size <= base + array.size:
                assert owner == self.device, "another device's memory"
                return array[address - base : address - base + size]
        raise AssertionError("outside of all memory")


def build_modules(machine: CupyOnHost) -> dict[str, ModuleType]:
    """`cupy` and what is imported from within it, by name."""
    cupy, cuda = ModuleType("cupy"), ModuleType("cupy.cuda")
    cupy.__version__ = "14.2.0"  # type: ignore[attr-defined]
    parts = {
        "runtime": _build_runtime(machine),
        "compiler": ModuleType("cupy.cuda.compiler"),
        "driver": ModuleType("cupy.cuda.driver"),
        "cublas": _build_cublas(machine),
        "nvrtc": _build_nvrtc(machine),
    }
    parts["compiler"].CompileException = CompileException  # type: ignore[attr-defined]
    parts["driver"].CUDADriverError = CUDADriverError  # type: ignore[attr-defined]
    for name, module in parts.items():
        setattr(cuda, name, module)
    cuda.Device, cuda.Stream = _build_device(machine), _build_stream(machine)  # type: ignore
    cupy.cuda, cupy.RawModule = cuda, _build_raw_module(machine)  # type: ignore[attr-defined]
    return {"cupy": cupy, "cupy.cuda": cuda, **{f"cupy.cuda.{n}": m for n, m in parts.items()}}


@contextmanager
def install(machine: CupyOnHost) -> Iterator[ModuleType]:
    """Let `import cupy` find this one; gives the runtime module, imported on top of it."""
    name = "p2p_node.workloads.gpu.cupy_runtime"
    modules = build_modules(machine)
    before = {key: sys.modules.get(key) for key in (name, *modules)}
    sys.modules.pop(name, None)
    sys.modules.update(modules)
    try:
        yield __import__(name, fromlist=["CupyRuntime"])
    finally:
        for key, module in before.items():
            if module is None:
                sys.modules.pop(key, None)
            else:
                sys.modules[key] = module


def _build_runtime(machine: CupyOnHost) -> ModuleType:
    module: Any = ModuleType("cupy.cuda.runtime")
    module.CUDARuntimeError = CUDARuntimeError
    module.memcpyHostToDevice, module.memcpyDeviceToHost = 1, 2
    module.memcpyDeviceToDevice = 3

    def get_device_count() -> int:
        machine.check()
        return DEVICES

    def get_device_properties(device: int) -> dict[str, Any]:
        machine.check()
        return {
            "name": b"Host %d" % device,
            "multiProcessorCount": 4,
            "totalGlobalMem": machine.capacity,
        }

    def runtime_get_version() -> int:
        return 13_000

    def mem_get_info() -> tuple[int, int]:
        machine.check()
        return machine.capacity - machine.used(machine.device), machine.capacity

    def malloc(size: int) -> int:
        machine.check()
        if size > mem_get_info()[0]:
            raise CUDARuntimeError(2)
        array = np.full(size + 256, 0xA5, np.uint8)
        address = -(-array.ctypes.data // 256) * 256
        start = address - array.ctypes.data
        machine.memory[address] = (machine.device, array[start : start + size])
        return address

    def free(pointer: int) -> None:
        machine.check()
        owner, _ = machine.memory.pop(pointer)
        assert owner == machine.device

    def memcpy_async(dst: int, src: int, size: int, kind: int, stream: int) -> None:
        machine.check()
        assert stream in machine.streams
        if kind != module.memcpyDeviceToHost:
            machine.view(dst, size)
        if kind != module.memcpyHostToDevice:
            machine.view(src, size)
        ctypes.memmove(dst, src, size)

    def event_create_with_flags(flags: int) -> int:
        machine.check()
        assert flags == 0
        event = machine.number()
        machine.events[event] = -1
        return event

    def event_destroy(event: int) -> None:
        machine.check()
        del machine.events[event]

    def event_record(event: int, stream: int) -> None:
        machine.check()
        assert stream in machine.streams
        # Not ready for the first two who ask.
        machine.events[event] = 2

    def event_query(event: int) -> int:
        if machine.fault:
            return machine.fault
        if machine.events[event] > 0:
            machine.events[event] -= 1
            return NOT_READY
        return 0

    def event_elapsed_time(start: int, end: int) -> float:
        machine.check()
        assert {start, end} <= machine.events.keys()
        return 500.0

    def stream_wait_event(stream: int, event: int, flags: int = 0) -> None:
        machine.check()
        assert stream in machine.streams
        assert event in machine.events

    module.getDeviceCount, module.getDeviceProperties = get_device_count, get_device_properties
    module.runtimeGetVersion, module.memGetInfo = runtime_get_version, mem_get_info
    module.malloc, module.free, module.memcpyAsync = malloc, free, memcpy_async
    module.eventCreateWithFlags, module.eventDestroy = event_create_with_flags, event_destroy
    module.eventRecord, module.eventQuery = event_record, event_query
    module.eventElapsedTime, module.streamWaitEvent = event_elapsed_time, stream_wait_event
    return module


def _build_cublas(machine: CupyOnHost) -> ModuleType:
    module: Any = ModuleType("cupy.cuda.cublas")
    module.CUBLASError = CUBLASError
    module.CUBLAS_OP_N, module.CUBLAS_OP_T = OP_N, OP_T
    module.CUBLAS_COMPUTE_32I, module.CUBLAS_GEMM_DEFAULT = 72, -1

    def create() -> int:
        machine.check()
        handle = machine.number()
        machine.handles.add(handle)
        return handle

    def destroy(handle: int) -> None:
        if machine.fault:
            raise CUBLASError(14)
        machine.handles.remove(handle)

    def gemm_ex(
        handle: int,
        transa: int,
        transb: int,
        m: int,
        n: int,
        k: int,
        alpha: int,
        a: int,
        atype: int,
        lda: int,
        b: int,
        btype: int,
        ldb: int,
        beta: int,
        c: int,
        ctype: int,
        ldc: int,
        compute_type: int,
        algo: int,
    ) -> None:
        """C (m × n) = alpha · op(A) (m × k) · op(B) (k × n) + beta · C, all column by column."""
        if machine.fault or machine.cublas_fault:
            raise CUBLASError(machine.cublas_fault or 13)
        assert handle in machine.handles
        assert (atype, btype, ctype, compute_type, algo) == (3, 3, 10, 72, -1)
        assert ctypes.c_int32.from_address(alpha).value == 1
        assert ctypes.c_int32.from_address(beta).value == 0
        assert not any(value % 16 for value in (a, b, c, lda, ldb, ldc))

        def read(address: int, rows: int, columns: int, lead: int, op: int) -> np.ndarray:
            stored = (rows, columns) if op == OP_N else (columns, rows)
            assert lead == stored[0]
            data = machine.view(address, rows * columns).view(np.int8)
            matrix = data.reshape(stored, order="F")
            return matrix.astype(np.float64) if op == OP_N else matrix.T.astype(np.float64)

        product = read(a, m, k, lda, transa) @ read(b, k, n, ldb, transb)
        assert ldc == m
        out = machine.view(c, 4 * m * n).view(np.int32)
        out[:] = product.astype(np.int32).reshape(-1, order="F")
        machine.multiplied_on.add(machine.stream)

    module.create, module.destroy, module.gemmEx = create, destroy, gemm_ex
    return module


def _build_nvrtc(machine: CupyOnHost) -> ModuleType:
    module: Any = ModuleType("cupy.cuda.nvrtc")

    def get_version() -> tuple[int, int]:
        if not machine.has_nvrtc:
            raise RuntimeError("no libnvrtc.so\nlooked everywhere")
        return 13, 0

    module.getVersion = get_version
    return module


def _build_device(machine: CupyOnHost) -> type:
    class Device:
        def __init__(self, device: int) -> None:
            self.id = device
            self._before: list[int] = []

        def __enter__(self) -> "Device":
            self._before.append(machine.device)
            machine.device = self.id
            return self

        def __exit__(self, *error: object) -> None:
            machine.device = self._before.pop()

    return Device


def _build_stream(machine: CupyOnHost) -> type:
    class Stream:
        def __init__(
            self,
            null: bool = False,
            non_blocking: bool = False,
            ptds: bool = False,
            priority: int | None = None,
        ) -> None:
            machine.check()
            assert non_blocking
            assert not null
            assert not ptds
            self.ptr, self.device_id = machine.number(), machine.device
            machine.streams.add(self.ptr)
            machine.priorities.append(priority or 0)

        def __enter__(self) -> "Stream":
            assert machine.device == self.device_id
            self._before, machine.stream = machine.stream, self.ptr
            return self

        def __exit__(self, *error: object) -> None:
            machine.stream = self._before

        def __del__(self) -> None:
            machine.check()
            machine.streams.discard(self.ptr)

        def synchronize(self) -> None:
            machine.check()

    return Stream


def _build_raw_module(machine: CupyOnHost) -> type:
    class Function:
        def __init__(self, name: str) -> None:
            self._function = getattr(build_kernels(), name)

        def __call__(
            self,
            grid: tuple[int, ...],
            block: tuple[int, ...],
            args: tuple[np.uint64, ...],
            shared_mem: int = 0,
            stream: Any = None,
        ) -> None:
            machine.check()
            assert 1 <= grid[0] < 1 << 31
            assert block == (256,)
            assert shared_mem == 0
            assert stream.ptr in machine.streams
            assert all(type(value) is np.uint64 for value in args)
            self._function(*[ctypes.c_uint64(int(value)) for value in args])

    class RawKernel:
        def __init__(self, name: str) -> None:
            self.kernel = Function(name)

    class RawModule:
        def __init__(self, *, code: str) -> None:
            assert "KERNEL mix_rows(" in code

        def get_function(self, name: str) -> RawKernel:
            if not machine.compiles:
                raise CompileException('proof.cu(1): error: identifier "u64" is undefined')
            return RawKernel(name)

    return RawModule
