"""Which GPUs there are, and a backend for one of them. Works, and says so, where there is none."""

import importlib
from dataclasses import dataclass
from types import ModuleType

from p2p_node.workloads.backend import DeviceLostError
from p2p_node.workloads.gpu.backend import GpuBackend

_CUPY_RUNTIME = "p2p_node.workloads.gpu.cupy_runtime"


@dataclass(frozen=True, slots=True)
class GpuFacts:
    """A GPU as CUDA describes it: a hint for people."""

    index: int
    name: str
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class GpuList:
    """The GPUs that can be used, or why there is none."""

    gpus: tuple[GpuFacts, ...]
    fault: str | None
    """None when there are GPUs; else a phrase for people."""


def list_gpus() -> GpuList:
    """Look for CuPy and, through it, for GPUs. Takes no memory there."""
    try:
        runtime = _import_runtime()
    except ImportError as error:
        return GpuList((), f"CuPy is not usable: {_get_first_line(error)}")
    try:
        gpus = tuple(
            GpuFacts(index, *runtime.describe_device(index))
            for index in range(runtime.count_devices())
        )
    except DeviceLostError as error:
        return GpuList((), f"CUDA is not usable: {_get_first_line(error)}")
    return GpuList(gpus, None if gpus else "CUDA shows no device")


def open_gpu(index: int) -> GpuBackend:
    """A backend for GPU `index` of `list_gpus`; the caller closes it.

    Compiles the kernels when this machine has not yet done so. Raises ImportError without CuPy,
    DeviceMemoryError, DeviceLostError.
    """
    runtime = _import_runtime().CupyRuntime(index)
    try:
        return GpuBackend(runtime)
    except BaseException:
        runtime.close()
        raise


def _import_runtime() -> ModuleType:
    return importlib.import_module(_CUPY_RUNTIME)


def _get_first_line(error: Exception) -> str:
    """CuPy goes on to list where it has looked."""
    return str(error).partition("\n")[0]
