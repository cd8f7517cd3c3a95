"""Which devices a host offers, from the setting `devices`, and a backend for each of them."""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass

from p2p_node.workloads.backend import (
    ComputeBackend,
    DeviceKind,
    DeviceLostError,
    DeviceMemoryError,
)
from p2p_node.workloads.gpu.devices import GpuList, list_gpus, open_gpu
from p2p_node.workloads.numpy_backend import DEFAULT_MEMORY_BYTES, NumpyBackend
from protocols.errors import LocalError
from protocols.host_proof import MAX_DEVICES

logger = logging.getLogger(__name__)

EXPECTED = "auto, cpu, gpu, or gpu: and numbers of GPUs such as gpu:0,1"

_NUMBERS = re.compile(r"gpu:(\d{1,4}(?:,\d{1,4})*)", re.ASCII)


class NoSuchDeviceError(LocalError):
    """A device was asked for that is not there, or cannot be used."""


@dataclass(frozen=True, slots=True)
class DeviceChoice:
    """What `devices` asks for. `kind` None is for GPUs where there are any, else the CPU; `gpus`
    empty for all of them."""

    kind: DeviceKind | None = None
    gpus: tuple[int, ...] = ()


def parse_devices(text: str) -> DeviceChoice:
    """Read the setting. ValueError for anything but EXPECTED, for a GPU named twice and for more
    than MAX_DEVICES."""
    if text == "auto":
        return DeviceChoice()
    if text in (DeviceKind.CPU, DeviceKind.GPU):
        return DeviceChoice(DeviceKind(text))
    match = _NUMBERS.fullmatch(text)
    gpus = tuple(int(number) for number in match[1].split(",")) if match else ()
    if not gpus or len(set(gpus)) < len(gpus) or len(gpus) > MAX_DEVICES:
        raise ValueError(f"found {text!r}, expected {EXPECTED}")
    return DeviceChoice(DeviceKind.GPU, gpus)


def open_devices(
    choice: DeviceChoice,
    *,
    cpu_threads: int = 1,
    cpu_memory_bytes: int = DEFAULT_MEMORY_BYTES,
    find_gpus: Callable[[], GpuList] = list_gpus,
    open_one: Callable[[int], ComputeBackend] = open_gpu,
) -> list[ComputeBackend]:
    """A backend for each device, in the order asked for; the caller closes them.

    Takes seconds where there are GPUs. Where they were not asked for by name, GPUs beyond
    MAX_DEVICES and those that fail are logged and left out. Raises NoSuchDeviceError.
    """
    if choice.kind is not DeviceKind.CPU:
        backends = _open_gpus(choice, find_gpus(), open_one)
        if backends:
            return backends
    return [NumpyBackend(cpu_threads, cpu_memory_bytes)]


def _open_gpus(
    choice: DeviceChoice, found: GpuList, open_one: Callable[[int], ComputeBackend]
) -> list[ComputeBackend]:
    there = [gpu.index for gpu in found.gpus]
    missing = sorted(set(choice.gpus) - set(there))
    if choice.kind is DeviceKind.GPU and (missing or not there):
        names = ", ".join(str(number) for number in missing)
        raise NoSuchDeviceError(
            f"no GPU {names} among {there}" if there else f"no GPU: {found.fault}"
        )
    backends: list[ComputeBackend] = []
    for index in choice.gpus or there[:MAX_DEVICES]:
        try:
            backends.append(open_one(index))
        except (DeviceLostError, DeviceMemoryError) as error:
            if choice.gpus:
                for backend in backends:
                    backend.close()
                raise NoSuchDeviceError(f"GPU {index} cannot be used: {error}") from error
            logger.warning("GPU %d is left out: %s", index, error)
    if choice.kind is DeviceKind.GPU and not backends:
        raise NoSuchDeviceError("no GPU can be used; the log says why")
    return backends
