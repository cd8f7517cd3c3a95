"""What NVIDIA's management library says about the GPUs of this host, and what they sign.

The only module that imports pynvml. Every call may be unknown to a card, a driver or a container:
then the fact is None. Only a library that is not there at all is an error, and says why.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import pynvml

from p2p_node.workloads.attestation.errors import AttestationUnavailableError
from protocols.device_facts import MAX_GPUS, MAX_TEXT, GpuFacts
from protocols.errors import LocalError

T = TypeVar("T")

NONCE_BYTES: Final = 32


class NvmlUnavailableError(LocalError):
    """There is no NVIDIA driver to ask; the text says what was found."""


@dataclass(frozen=True, slots=True)
class DriverFacts:
    """The driver's version, the CUDA version it supports (13000 for 13.0), and whether
    confidential computing is on; None where it does not say."""

    driver: str | None
    cuda: int | None
    confidential: int | None


@dataclass(frozen=True, slots=True)
class GpuReading:
    """One GPU of this host by NVML's number. `problem` says why it could not be asked, if so."""

    index: int
    facts: GpuFacts
    problem: str | None = None


class GpuSource(Protocol):
    """What the rest of the node asks about GPUs; `GpuReader` is the one that asks NVML."""

    def read_driver(self) -> DriverFacts:
        """Ask about the driver."""

    def read_gpus(self) -> tuple[GpuReading, ...]:
        """Ask about every GPU, at most MAX_GPUS, in the order of NVML."""

    def attest(self, index: int, nonce: bytes) -> tuple[bytes, bytes]:
        """Have a GPU sign `nonce` (32 bytes); return its report and its chain as PEM.

        Raises AttestationUnavailableError where it does not.
        """


class GpuReader:
    """Asks an initialised pynvml (or a fake of it, which has the same functions).

    Blocks: milliseconds a GPU, longer for an attestation. May be used from any thread.
    """

    def __init__(self, library: Any) -> None:
        self._library = library

    def read_driver(self) -> DriverFacts:
        """See `GpuSource`."""
        library = self._library
        state = _ask(library.nvmlSystemGetConfComputeState)
        return DriverFacts(
            driver=_as_text(_ask(library.nvmlSystemGetDriverVersion)),
            cuda=_as_number(_ask(library.nvmlSystemGetCudaDriverVersion_v2)),
            confidential=None if state is None else int(bool(state.ccFeature)),
        )

    def read_gpus(self) -> tuple[GpuReading, ...]:
        """See `GpuSource`."""
        count = _ask(self._library.nvmlDeviceGetCount) or 0
        return tuple(self._read_gpu(index) for index in range(min(count, MAX_GPUS)))

    def attest(self, index: int, nonce: bytes) -> tuple[bytes, bytes]:
        """See `GpuSource`."""
        if len(nonce) != NONCE_BYTES:
            raise LocalError(f"nonce of {len(nonce)} bytes, expected {NONCE_BYTES}")
        library = self._library
        try:
            handle = library.nvmlDeviceGetHandleByIndex(index)
            report = library.nvmlDeviceGetConfComputeGpuAttestationReport(handle, nonce)
            certificate = library.nvmlDeviceGetConfComputeGpuCertificate(handle)
        except pynvml.NVMLError as error:
            raise AttestationUnavailableError(f"GPU {index}: {_say(error)}") from error
        return (
            bytes(report.attestationReport[: report.attestationReportSize]),
            bytes(certificate.attestationCertChain[: certificate.attestationCertChainSize]),
        )

    def _read_gpu(self, index: int) -> GpuReading:
        try:
            return GpuReading(index, self._read_facts(index))
        except pynvml.NVMLError as error:
            return GpuReading(index, GpuFacts(), _say(error))

    def _read_facts(self, index: int) -> GpuFacts:
        library = self._library
        handle = library.nvmlDeviceGetHandleByIndex(index)
        pci = _ask(library.nvmlDeviceGetPciInfo, handle)
        capability = _ask(library.nvmlDeviceGetCudaComputeCapability, handle)
        memory = _ask(library.nvmlDeviceGetMemoryInfo, handle)
        remapped = _ask(library.nvmlDeviceGetRemappedRows, handle)
        users = self._read_users(handle)

        def clock(read: Callable[[Any, int], int], kind: int) -> int | None:
            return _as_number(_ask(read, handle, kind))

        def errors(kind: int, counter: int) -> int | None:
            return _as_number(_ask(library.nvmlDeviceGetTotalEccErrors, handle, kind, counter))

        def number(read: Callable[[Any], int]) -> int | None:
            return _as_number(_ask(read, handle))

        return GpuFacts(
            name=_as_text(_ask(library.nvmlDeviceGetName, handle)),
            uuid=_as_text(_ask(library.nvmlDeviceGetUUID, handle)),
            pci=None if pci is None else _as_text(pci.busId),
            vbios=_as_text(_ask(library.nvmlDeviceGetVbiosVersion, handle)),
            cuda_capability=None if capability is None else 10 * capability[0] + capability[1],
            memory_total=None if memory is None else int(memory.total),
            memory_free=None if memory is None else int(memory.free),
            sm_clock=clock(library.nvmlDeviceGetClockInfo, pynvml.NVML_CLOCK_SM),
            sm_clock_max=clock(library.nvmlDeviceGetMaxClockInfo, pynvml.NVML_CLOCK_SM),
            memory_clock=clock(library.nvmlDeviceGetClockInfo, pynvml.NVML_CLOCK_MEM),
            memory_clock_max=clock(library.nvmlDeviceGetMaxClockInfo, pynvml.NVML_CLOCK_MEM),
            power_draw=number(library.nvmlDeviceGetPowerUsage),
            power_limit=number(library.nvmlDeviceGetEnforcedPowerLimit),
            power_limit_default=number(library.nvmlDeviceGetPowerManagementDefaultLimit),
            temperature=clock(library.nvmlDeviceGetTemperature, pynvml.NVML_TEMPERATURE_GPU),
            temperature_slowdown=clock(
                library.nvmlDeviceGetTemperatureThreshold,
                pynvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN,
            ),
            throttle_reasons=number(library.nvmlDeviceGetCurrentClocksEventReasons),
            ecc=_first(_ask(library.nvmlDeviceGetEccMode, handle)),
            ecc_corrected_volatile=errors(
                pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED, pynvml.NVML_VOLATILE_ECC
            ),
            ecc_uncorrected_volatile=errors(
                pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC
            ),
            ecc_uncorrected_aggregate=errors(
                pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_AGGREGATE_ECC
            ),
            retirement_pending=number(library.nvmlDeviceGetRetiredPagesPendingStatus),
            remap_pending=None if remapped is None else int(remapped[2]),
            remap_failed=None if remapped is None else int(remapped[3]),
            persistence=number(library.nvmlDeviceGetPersistenceMode),
            compute_mode=number(library.nvmlDeviceGetComputeMode),
            mig=_first(_ask(library.nvmlDeviceGetMigMode, handle)),
            processes=None if users is None else len(users),
            process_memory=None if users is None else sum(users.values()),
        )

    def _read_users(self, handle: Any) -> dict[int, int] | None:
        """Memory of each other process with a context on this GPU; None when none may be seen.

        Within a container NVML counts processes by the host's numbers, so this very process may
        be among them.
        """
        library = self._library
        lists = [
            _ask(library.nvmlDeviceGetComputeRunningProcesses, handle),
            _ask(library.nvmlDeviceGetGraphicsRunningProcesses, handle),
        ]
        if lists == [None, None]:
            return None
        return {
            int(process.pid): int(process.usedGpuMemory or 0)
            for found in lists
            for process in found or ()
            if process.pid != os.getpid()
        }


@contextmanager
def open_nvml(library: Any = pynvml) -> Iterator[GpuReader]:
    """Initialise the library for the block. Raises NvmlUnavailableError."""
    try:
        library.nvmlInit()
    except pynvml.NVMLError as error:
        raise NvmlUnavailableError(_say(error)) from error
    try:
        yield GpuReader(library)
    finally:
        # A driver that is gone by now cannot be left in better order.
        _ask(library.nvmlShutdown)


def _ask(function: Callable[..., T], *arguments: Any) -> T | None:
    """Call NVML; None when this card or driver does not answer. A lost GPU is raised."""
    try:
        return function(*arguments)
    except (pynvml.NVMLError_GpuIsLost, pynvml.NVMLError_ResetRequired):
        if arguments:
            raise
        return None
    except pynvml.NVMLError:
        return None


_WORDS: Final = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: "no NVIDIA driver is installed (no libnvidia-ml)",
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "the NVIDIA driver is not loaded",
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: (
        "the driver in the kernel and its library are of different versions"
    ),
    pynvml.NVML_ERROR_NO_PERMISSION: "no permission to use the NVIDIA driver",
    pynvml.NVML_ERROR_GPU_IS_LOST: "the GPU has fallen off the bus",
    pynvml.NVML_ERROR_RESET_REQUIRED: "the GPU has to be reset",
    pynvml.NVML_ERROR_NOT_SUPPORTED: "not supported by this GPU, or switched off",
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND: "not known to this driver",
}


def _say(error: Any) -> str:
    """The error in words; those of the library where there are none of ours."""
    return _WORDS.get(error.value) or str(error)[:100]


def _as_number(value: Any) -> int | None:
    """A count as a message can carry it."""
    return None if value is None or not 0 <= int(value) < 1 << 64 else int(value)


def _first(pair: Any) -> int | None:
    """The mode that holds now, of a pair of the current and the next one."""
    return None if pair is None else _as_number(pair[0])


def _as_text(value: Any) -> str | None:
    """A text as a message can carry it: printable ASCII of at most MAX_TEXT characters."""
    if value is None:
        return None
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
    kept = "".join(mark for mark in text if mark.isascii() and mark.isprintable())
    return kept[:MAX_TEXT].strip() or None
