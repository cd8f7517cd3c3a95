"""A pynvml with GPUs, for machines without; and GPUs without any pynvml.

`FakeLibrary` is held to the real module at every call: the function exists, takes these arguments,
and what it returns is a structure of the real module, filled in, or a plain value.
"""

import ctypes
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pynvml

from p2p_node.workloads.attestation.errors import AttestationUnavailableError
from p2p_node.workloads.nvml import DriverFacts, GpuReading, NvmlUnavailableError
from protocols.device_facts import GpuFacts

GIB = 1 << 30


def struct(kind: type[Any], **values: Any) -> Any:
    """A structure of pynvml; AttributeError for a field that it does not have."""
    made = kind()
    forms = dict(kind._fields_)
    for name, value in values.items():
        if name not in forms:
            raise AttributeError(f"{kind.__name__} has no field {name}")
        if issubclass(forms[name], ctypes.Array) and forms[name]._type_ is ctypes.c_uint8:
            getattr(made, name)[: len(value)] = list(value)
        else:
            setattr(made, name, value)
    return made


def process(pid: int, memory: int | None) -> Any:
    """A process as pynvml returns it: a friendly copy of its structure."""
    entry = struct(pynvml.c_nvmlProcessInfo_v3_t, pid=pid)
    entry.usedGpuMemory = memory or 0
    friendly = pynvml.nvmlStructToFriendlyObject(entry)
    friendly.usedGpuMemory = memory
    return friendly


@dataclass
class FakeLibrary:
    """Answers from `answers`: a value, an NVML error code to raise, or a function of the arguments
    after the handle. What is not there is not supported."""

    answers: dict[str, Any] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    open: int = 0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        signature = inspect.signature(getattr(pynvml, name))

        def call(*arguments: Any) -> Any:
            signature.bind(*arguments)
            self.calls.append(name)
            return self._answer(name, arguments)

        return call

    def _answer(self, name: str, arguments: tuple[Any, ...]) -> Any:
        answer = self.answers.get(name, Fails(pynvml.NVML_ERROR_NOT_SUPPORTED))
        if isinstance(answer, Fails):
            raise pynvml.NVMLError(answer.code)
        if name == "nvmlInit":
            self.open += 1
        elif name == "nvmlShutdown":
            self.open -= 1
        return answer(*arguments[1:]) if callable(answer) else answer


@dataclass(frozen=True)
class Fails:
    """Stands for a call that raises NVML's error `code`."""

    code: int


def make_h100(**changes: Any) -> FakeLibrary:
    """A library with one H100 in good order."""
    answers: dict[str, Any] = {
        "nvmlInit": None,
        "nvmlShutdown": None,
        "nvmlSystemGetDriverVersion": "580.65.06",
        "nvmlSystemGetCudaDriverVersion_v2": 13000,
        "nvmlSystemGetConfComputeState": struct(
            pynvml.c_nvmlConfComputeSystemState_t, ccFeature=pynvml.NVML_CC_SYSTEM_FEATURE_DISABLED
        ),
        "nvmlDeviceGetCount": 1,
        "nvmlDeviceGetHandleByIndex": object(),
        "nvmlDeviceGetName": "NVIDIA H100 80GB HBM3",
        "nvmlDeviceGetUUID": "GPU-11111111-2222-3333-4444-555555555555",
        "nvmlDeviceGetPciInfo": struct(pynvml.nvmlPciInfo_t, busId=b"00000000:1B:00.0"),
        "nvmlDeviceGetVbiosVersion": "96.00.9F.00.01",
        "nvmlDeviceGetCudaComputeCapability": (9, 0),
        "nvmlDeviceGetMemoryInfo": struct(
            pynvml.c_nvmlMemory_t, total=80 * GIB, free=79 * GIB, used=GIB
        ),
        "nvmlDeviceGetClockInfo": lambda kind: 1980 if kind == pynvml.NVML_CLOCK_SM else 2619,
        "nvmlDeviceGetMaxClockInfo": lambda kind: 1981 if kind == pynvml.NVML_CLOCK_SM else 2620,
        "nvmlDeviceGetPowerUsage": 70_123,
        "nvmlDeviceGetEnforcedPowerLimit": 700_000,
        "nvmlDeviceGetPowerManagementDefaultLimit": 700_000,
        "nvmlDeviceGetTemperature": 34,
        "nvmlDeviceGetTemperatureThreshold": 89,
        "nvmlDeviceGetCurrentClocksEventReasons": pynvml.nvmlClocksEventReasonGpuIdle,
        "nvmlDeviceGetEccMode": [1, 1],
        "nvmlDeviceGetTotalEccErrors": lambda kind, counter: 10 * kind + counter,
        "nvmlDeviceGetRemappedRows": (3, 0, 0, 0),
        "nvmlDeviceGetPersistenceMode": 1,
        "nvmlDeviceGetComputeMode": 0,
        "nvmlDeviceGetMigMode": [0, 0],
        "nvmlDeviceGetComputeRunningProcesses": [],
        "nvmlDeviceGetGraphicsRunningProcesses": [],
    }
    return FakeLibrary(answers | changes)


GOOD_GPU = GpuFacts(
    name="NVIDIA H100 80GB HBM3",
    uuid="GPU-11111111-2222-3333-4444-555555555555",
    cuda_capability=90,
    memory_total=80 * GIB,
    memory_free=79 * GIB,
    power_limit=700_000,
    power_limit_default=700_000,
    temperature=34,
    temperature_slowdown=89,
    throttle_reasons=1,
    ecc=1,
    ecc_uncorrected_volatile=0,
    remap_pending=0,
    remap_failed=0,
    persistence=1,
    compute_mode=0,
    mig=0,
    processes=0,
    process_memory=0,
)


@dataclass
class FakeGpus:
    """GPUs as the node sees them (`GpuSource`). `attestations` signs a nonce per GPU."""

    gpus: tuple[GpuFacts, ...] = (GOOD_GPU,)
    driver: DriverFacts = field(default_factory=lambda: DriverFacts("580.65.06", 13000, 0))
    problems: dict[int, str] = field(default_factory=dict)
    attestations: Callable[[int, bytes], tuple[bytes, bytes]] | None = None
    is_absent: bool = False

    def read_driver(self) -> DriverFacts:
        """See `GpuSource`."""
        return self.driver

    def read_gpus(self) -> tuple[GpuReading, ...]:
        """See `GpuSource`."""
        return tuple(
            GpuReading(index, facts, self.problems.get(index))
            for index, facts in enumerate(self.gpus)
        )

    def attest(self, index: int, nonce: bytes) -> tuple[bytes, bytes]:
        """See `GpuSource`."""
        if self.attestations is None:
            raise AttestationUnavailableError(f"GPU {index}: switched off")
        return self.attestations(index, nonce)

    @contextmanager
    def open(self) -> Iterator["FakeGpus"]:
        """Like `open_nvml`."""
        if self.is_absent:
            raise NvmlUnavailableError("no NVIDIA driver is installed (no libnvidia-ml)")
        yield self
