"""One NVIDIA GPU through CuPy: the only module that imports it.

Nothing of CuPy's own pools is used: what is taken is taken by cudaMalloc and given back by
cudaFree at once. The cuBLAS handle is this runtime's own, because CuPy keeps one per thread for
good, with a workspace on the device each.
"""

import contextlib
import time
from collections.abc import Iterator
from typing import Any, NoReturn

import cupy
import numpy as np
from cupy.cuda import compiler, cublas, driver, nvrtc
from cupy.cuda import runtime as cuda

from p2p_node.workloads.backend import DeviceLostError, DeviceMemoryError
from p2p_node.workloads.gpu.runtime import THREADS_PER_BLOCK
from p2p_node.workloads.gpu.sources import load_source

NAMES = (
    "derive_seed",
    "expand_rows",
    "expand_transposed",
    "gather_paths",
    "hash_leaves",
    "hash_level",
    "mix_rows",
    "multiply_few",
)

CUDA_OUT_OF_MEMORY = 2
"""cudaErrorMemoryAllocation, and CUDA_ERROR_OUT_OF_MEMORY of the driver."""

CUDA_NOT_READY = 600

CUBLAS_ALLOC_FAILED = 3

CUDA_R_8I, CUDA_R_32I = 3, 10
"""cudaDataType; CuPy names only the first of them."""

MIN_CUBLAS_ROWS = 32
"""PyTorch refuses int8 products of 16 rows of A or fewer, because cuBLAS does not have them all.
Fewer than these go to a kernel of our own; jobs on real devices have hundreds."""

URGENT_PRIORITY = -100
"""Lower is more urgent; CUDA clamps it to the most urgent that there is."""

MAX_BLOCKS = (1 << 31) - 1

_POLL_SECONDS = 0.000_1

try:
    nvrtc.getVersion()
except RuntimeError as fault:
    # cuBLAS is missed when it is imported, NVRTC only when it is used: to be found here as well.
    raise ImportError(str(fault)) from fault

_abandoned: list[object] = []
"""Streams of lost devices: destroying them would only raise where nobody can catch it."""


class CupyBuffer:
    """Memory from cudaMalloc, aligned to 256 bytes."""

    def __init__(self, runtime: "CupyRuntime", address: int, size: int) -> None:
        self._runtime = runtime
        self.address = address
        self.size = size

    def free(self) -> None:
        """See `runtime.Buffer`. What a lost device held goes with its context."""
        address, self.address = self.address, 0
        if address:
            self._runtime.release(address)


class CupyEvent:
    """A CUDA event, destroyed with the object."""

    def __init__(self) -> None:
        self.pointer = cuda.eventCreateWithFlags(0)

    def __del__(self) -> None:
        with contextlib.suppress(cuda.CUDARuntimeError):
            cuda.eventDestroy(self.pointer)


class CupyRuntime:
    """See `runtime.Runtime`. `index` counts the devices that CUDA shows to this process.

    Raises DeviceMemoryError and DeviceLostError like everything here.
    """

    def __init__(self, index: int) -> None:
        self._device = cupy.cuda.Device(index)
        self._lost: str | None = None
        self._handle = 0
        self._streams: list[cupy.cuda.Stream] = []
        with self._calls():
            facts = cuda.getDeviceProperties(index)
            version = cuda.runtimeGetVersion()
            self._functions = _compile_kernels()
            self._handle = cublas.create()
        self._name = f"cupy {cupy.__version__}, CUDA {version // 1000}.{version % 1000 // 10}"
        self._device_name: str = facts["name"].decode("utf-8", "replace")
        self._multiprocessors = int(facts["multiProcessorCount"])
        # cuBLAS reads them on the host when a multiplication is queued.
        self._one, self._zero = np.array([1], np.int32), np.array([0], np.int32)

    @property
    def name(self) -> str:
        """CuPy and CUDA with their versions."""
        return self._name

    @property
    def device_name(self) -> str:
        """The device as its driver names it."""
        return self._device_name

    @property
    def multiprocessors(self) -> int:
        """How many there are."""
        return self._multiprocessors

    def get_memory(self) -> tuple[int, int]:
        """Free and total bytes."""
        with self._calls():
            free, total = cuda.memGetInfo()
            return int(free), int(total)

    def allocate(self, size: int) -> CupyBuffer:
        """cudaMalloc."""
        with self._calls():
            return CupyBuffer(self, int(cuda.malloc(size)), size)

    def release(self, address: int) -> None:
        """cudaFree; nothing to do on a lost device."""
        with contextlib.suppress(DeviceLostError), self._calls():
            cuda.free(address)

    def create_stream(self, *, urgent: bool) -> cupy.cuda.Stream:
        """A stream that the default stream does not hold up."""
        with self._calls():
            priority = URGENT_PRIORITY if urgent else 0
            stream = cupy.cuda.Stream(non_blocking=True, priority=priority)
            self._streams.append(stream)
            return stream

    def launch(
        self, stream: cupy.cuda.Stream, kernel: str, count: int, *arguments: int, blocks: int = 0
    ) -> None:
        """See `runtime.Runtime`."""
        grid = min(-(-count // THREADS_PER_BLOCK), blocks or MAX_BLOCKS)
        values = tuple(np.uint64(value) for value in (count, *arguments))
        with self._calls():
            self._functions[kernel]((grid,), (THREADS_PER_BLOCK,), values, stream=stream)

    def multiply(
        self, stream: cupy.cuda.Stream, a: int, b_transposed: int, c: int, m: int, k: int, n: int
    ) -> None:
        """See `runtime.Runtime`.

        cuBLAS counts columns first: C is n × m for it, Bᵀ is B as k × n, to be transposed, and A
        is k × m as it is. That is the one layout (TN) for which it has int8 tensor core kernels.
        """
        if m < MIN_CUBLAS_ROWS:
            self.launch(stream, "multiply_few", m * n, a, b_transposed, k, n, c)
            return
        with self._calls(), stream:
            cublas.gemmEx(
                self._handle,
                cublas.CUBLAS_OP_T,
                cublas.CUBLAS_OP_N,
                n,
                m,
                k,
                self._one.ctypes.data,
                b_transposed,
                CUDA_R_8I,
                k,
                a,
                CUDA_R_8I,
                k,
                self._zero.ctypes.data,
                c,
                CUDA_R_32I,
                n,
                cublas.CUBLAS_COMPUTE_32I,
                cublas.CUBLAS_GEMM_DEFAULT,
            )

    def copy(self, stream: cupy.cuda.Stream, source: int, target: int, size: int) -> None:
        """See `runtime.Runtime`."""
        with self._calls():
            cuda.memcpyAsync(target, source, size, cuda.memcpyDeviceToDevice, stream.ptr)

    def write(self, stream: cupy.cuda.Stream, target: int, data: bytes) -> None:
        """See `runtime.Runtime`; from pageable memory, which CUDA has copied when it returns."""
        with self._calls():
            host = np.frombuffer(data, np.uint8)
            cuda.memcpyAsync(
                target, host.ctypes.data, len(data), cuda.memcpyHostToDevice, stream.ptr
            )

    def read(self, stream: cupy.cuda.Stream, source: int, size: int) -> bytes:
        """See `runtime.Runtime`."""
        with self._calls():
            host = np.empty(size, np.uint8)
            cuda.memcpyAsync(host.ctypes.data, source, size, cuda.memcpyDeviceToHost, stream.ptr)
            stream.synchronize()
            return host.tobytes()

    def record(self, stream: cupy.cuda.Stream) -> CupyEvent:
        """See `runtime.Runtime`."""
        with self._calls():
            event = CupyEvent()
            cuda.eventRecord(event.pointer, stream.ptr)
            return event

    def wait_event(self, stream: cupy.cuda.Stream, event: CupyEvent) -> None:
        """See `runtime.Runtime`."""
        with self._calls():
            cuda.streamWaitEvent(stream.ptr, event.pointer)

    def wait(self, event: CupyEvent, timeout_s: float) -> bool:
        """See `runtime.Runtime`. Polls, as CUDA has no wait with a deadline."""
        deadline = time.monotonic() + timeout_s
        with self._calls():
            while True:
                status = cuda.eventQuery(event.pointer)
                if status == 0:
                    return True
                if status != CUDA_NOT_READY:
                    raise cuda.CUDARuntimeError(status)
                if time.monotonic() >= deadline:
                    return False
                time.sleep(_POLL_SECONDS)

    def measure_ms(self, first: CupyEvent, last: CupyEvent) -> float:
        """See `runtime.Runtime`."""
        with self._calls():
            return float(cuda.eventElapsedTime(first.pointer, last.pointer))

    def give_up(self, reason: str) -> NoReturn:
        """See `runtime.Runtime`."""
        self._lost = self._lost or reason
        raise DeviceLostError(self._lost)

    def close(self) -> None:
        """See `runtime.Runtime`."""
        handle, self._handle = self._handle, 0
        with contextlib.suppress(DeviceLostError), self._calls():
            if handle:
                cublas.destroy(handle)
        if self._lost is not None:
            _abandoned.extend(self._streams)
        self._streams = []

    @contextlib.contextmanager
    def _calls(self) -> Iterator[None]:
        """Calls on this device, by whatever thread, with their errors as the backend's.

        All but a lack of memory counts as a loss: after a fault in a kernel CUDA answers every
        call with that fault, and results of before cannot be told from garbage.
        """
        if self._lost is not None:
            raise DeviceLostError(self._lost)
        try:
            with self._device:
                yield
        except (cuda.CUDARuntimeError, driver.CUDADriverError) as error:
            if error.status == CUDA_OUT_OF_MEMORY:
                raise DeviceMemoryError(str(error)) from error
            self._lost = str(error)
            raise DeviceLostError(self._lost) from error
        except cublas.CUBLASError as error:
            if error.status == CUBLAS_ALLOC_FAILED:
                raise DeviceMemoryError(str(error)) from error
            self._lost = str(error)
            raise DeviceLostError(self._lost) from error


def _compile_kernels() -> dict[str, Any]:
    """Compile for the current device, unless CuPy's cache on disk has that already."""
    try:
        module = cupy.RawModule(code=load_source())
        return {name: module.get_function(name).kernel for name in NAMES}
    except compiler.CompileException as error:
        raise DeviceLostError(f"the kernels do not compile: {error}") from error


def count_devices() -> int:
    """Devices that CUDA shows to this process. DeviceLostError when CUDA itself does not work."""
    try:
        return int(cuda.getDeviceCount())
    except cuda.CUDARuntimeError as error:
        raise DeviceLostError(str(error)) from error


def describe_device(index: int) -> tuple[str, int]:
    """Name of a device, and the bytes of its memory; takes nothing there."""
    try:
        facts = cuda.getDeviceProperties(index)
    except cuda.CUDARuntimeError as error:
        raise DeviceLostError(str(error)) from error
    return facts["name"].decode("utf-8", "replace"), int(facts["totalGlobalMem"])
