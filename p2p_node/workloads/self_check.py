"""Is this machine fit to be a provider? Its GPUs and their driver, CuPy, NumPy, and one real job.

`check_devices` is run when a provider starts and by `kaisar doctor`. It raises nothing: whatever is
wrong is a finding, with the reason why it matters and what to do about it.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Final

from p2p_node.workloads.backend import ComputeBackend, DeviceMemoryError
from p2p_node.workloads.gpu.devices import GpuList, list_gpus, open_gpu
from p2p_node.workloads.host_facts import read_software_facts
from p2p_node.workloads.numpy_backend import NumpyBackend
from p2p_node.workloads.nvml import (
    DriverFacts,
    GpuReading,
    GpuSource,
    NvmlUnavailableError,
    open_nvml,
)
from protocols.compute import ComputeJob, derive_b_seed
from protocols.device_facts import GpuFacts, SoftwareFacts
from protocols.errors import LocalError
from protocols.freivalds import prepare_check
from protocols.openings import draw_openings
from protocols.rejection import ProofRejected
from protocols.verify import verify_openings

logger = logging.getLogger(__name__)

GB: Final = 10**9

SELF_TEST_K: Final = 512
SELF_TEST_N: Final = 256
"""Shape of the self-test: some milliseconds on a core, and every step of a real job."""

SELF_TEST_SECONDS: Final = 20.0

THERMAL: Final = 0x20 | 0x40
"""NVML's clock event reasons: slowed down by software or hardware because of heat."""

HARDWARE: Final = 0x08 | 0x80
"""Slowed down by hardware for another reason, or by the power brake."""

EXCLUSIVE, PROHIBITED = 3, 2
"""NVML's compute modes: one process at a time; none at all."""


class Mark(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    ABSENT = "not here"


_LEVELS: Final = {
    Mark.OK: logging.INFO,
    Mark.ABSENT: logging.INFO,
    Mark.WARN: logging.WARNING,
    Mark.FAIL: logging.ERROR,
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was looked at, what was found, why that matters, what to do."""

    check: str
    mark: Mark
    found: str
    reason: str = ""
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where the checks look; tests put other things in its place."""

    open_gpus: Callable[[], AbstractContextManager[GpuSource]] = open_nvml
    list_devices: Callable[[], GpuList] = list_gpus
    open_device: Callable[[int], ComputeBackend] = open_gpu
    open_cpu: Callable[[], ComputeBackend] = lambda: NumpyBackend(rows=64)
    read_software: Callable[[], SoftwareFacts] = read_software_facts


def check_devices(machine: Machine | None = None) -> tuple[Finding, ...]:
    """Check driver, GPUs, CuPy and NumPy, and do one small job on every device. Blocks for about
    a second, and longer on a GPU whose kernels were never compiled."""
    return tuple(_check_devices(machine or Machine()))


def _check_devices(machine: Machine) -> Iterator[Finding]:
    software, driver = machine.read_software(), DriverFacts(None, None, None)
    readings: tuple[GpuReading, ...] = ()
    try:
        with machine.open_gpus() as source:
            driver, readings = source.read_driver(), source.read_gpus()
        yield check_driver(driver, len(readings))
    except NvmlUnavailableError as error:
        yield Finding(
            "driver",
            Mark.ABSENT,
            str(error),
            "without it only the CPU can be offered",
            "install NVIDIA's driver; in a container, start it with --gpus all",
        )
    for reading in readings:
        yield from check_gpu(reading)
    devices = machine.list_devices()
    yield check_cupy(software, driver, devices, len(readings))
    for gpu in devices.gpus:
        yield prove_on(f"job on gpu {gpu.index}", partial(machine.open_device, gpu.index))
    yield Finding(
        "numpy", Mark.OK, f"{software.numpy}, {software.blas or 'a BLAS that it does not name'}"
    )
    yield prove_on("job on cpu", machine.open_cpu)


def log_findings(findings: Iterable[Finding]) -> bool:
    """Log each finding as loud as it is bad; tell whether none of them is a failure."""
    is_fit = True
    for finding in findings:
        is_fit = is_fit and finding.mark is not Mark.FAIL
        parts = (finding.found, finding.reason, finding.fix)
        logger.log(
            _LEVELS[finding.mark],
            "%s: %s",
            finding.check,
            "; ".join(part for part in parts if part),
        )
    return is_fit


def check_driver(driver: DriverFacts, gpus: int) -> Finding:
    """Is there a driver, with GPUs?"""
    cuda = "an unknown CUDA" if driver.cuda is None else f"CUDA {_version(driver.cuda)}"
    found = f"{driver.driver or 'unknown version'}, {cuda}, {_count(gpus)}"
    if driver.confidential:
        found += ", confidential computing on"
    if gpus:
        return Finding("driver", Mark.OK, found)
    return Finding(
        "driver",
        Mark.WARN,
        found,
        "there is a driver, but it shows no GPU",
        "see nvidia-smi; in a container, start it with --gpus all",
    )


def check_gpu(reading: GpuReading) -> tuple[Finding, ...]:
    """Everything that NVML can tell against one GPU; one line in praise when there is nothing."""
    name, facts = f"gpu {reading.index}", reading.facts
    if reading.problem is not None:
        return (
            Finding(
                name,
                Mark.FAIL,
                reading.problem,
                "this GPU cannot be used",
                "see dmesg for Xid errors; restart the host; check power, heat and seating",
            ),
        )
    found = [Finding(name, *parts) for parts in _find_faults(facts)]
    if found:
        return tuple(found)
    return (Finding(name, Mark.OK, _describe(facts)),)


def _find_faults(facts: GpuFacts) -> Iterator[tuple[Mark, str, str, str]]:
    yield from _find_memory_faults(facts)
    yield from _find_slowness(facts)
    yield from _find_modes(facts)


def _find_memory_faults(facts: GpuFacts) -> Iterator[tuple[Mark, str, str, str]]:
    if facts.ecc_uncorrected_volatile:
        yield (
            Mark.FAIL,
            f"{facts.ecc_uncorrected_volatile} uncorrectable memory errors since the driver began",
            "results can be wrong, and a wrong row fails the whole job",
            "nvidia-smi --gpu-reset, or restart the host; replace the card if they come back",
        )
    if facts.remap_failed:
        yield (
            Mark.FAIL,
            "a faulty memory row could not be replaced",
            "there are no spare rows left",
            "replace the card",
        )
    if facts.remap_pending or facts.retirement_pending:
        yield (
            Mark.WARN,
            "a faulty memory row is waiting to be replaced",
            "until then it may fail again",
            "nvidia-smi --gpu-reset, or restart the host",
        )


def _find_slowness(facts: GpuFacts) -> Iterator[tuple[Mark, str, str, str]]:
    reasons = facts.throttle_reasons or 0
    hottest, now = facts.temperature_slowdown, facts.temperature
    if reasons & THERMAL or (hottest and now is not None and now >= hottest):
        yield (
            Mark.WARN,
            f"slowed down by heat at {'?' if now is None else now} °C",
            "the measured rate, and with it the score, is that of a slower card",
            "see to air flow and fans",
        )
    if reasons & HARDWARE:
        yield (
            Mark.WARN,
            "slowed down by its hardware",
            "power supply or power brake hold the clocks down",
            "check power cables and supply; nvidia-smi -q -d PERFORMANCE tells more",
        )
    limit, default = facts.power_limit, facts.power_limit_default
    if limit is not None and default is not None and limit < default:
        yield (
            Mark.WARN,
            f"limited to {limit // 1000} of {default // 1000} W",
            "the measured rate follows the power",
            f"nvidia-smi -pl {default // 1000}, unless the limit is wanted",
        )
    if facts.persistence == 0:
        yield (
            Mark.WARN,
            "persistence mode off",
            "the driver is loaded anew whenever nothing uses the GPU, which takes seconds",
            "nvidia-smi -pm 1, or start nvidia-persistenced",
        )


def _find_modes(facts: GpuFacts) -> Iterator[tuple[Mark, str, str, str]]:
    if facts.compute_mode == PROHIBITED:
        yield (
            Mark.FAIL,
            "compute mode prohibited",
            "no program may compute on this GPU",
            "nvidia-smi -c 0",
        )
    if facts.compute_mode == EXCLUSIVE:
        yield (
            Mark.WARN,
            "compute mode exclusive",
            "rented containers cannot use the GPU while the node does",
            "nvidia-smi -c 0",
        )
    if facts.mig:
        yield (
            Mark.WARN,
            "MIG mode on",
            "CUDA shows one slice of the GPU, and the rest of it earns nothing",
            "nvidia-smi -mig 0, unless the slices are wanted",
        )
    if facts.processes:
        memory = f" with {(facts.process_memory or 0) / GB:.1f} GB" if facts.process_memory else ""
        yield (
            Mark.WARN,
            f"{facts.processes} other process{'es' * (facts.processes > 1)}{memory}",
            "rate and memory are shared with them; a node that runs already is one of them",
            "nvidia-smi names them; end what is not wanted",
        )


def check_cupy(
    software: SoftwareFacts, driver: DriverFacts, devices: GpuList, gpus: int
) -> Finding:
    """Does CuPy work, and does it fit the driver? `gpus` is how many NVML counts."""
    if software.cupy is None and not gpus:
        return Finding("cupy", Mark.ABSENT, "not installed", "no GPU needs it")
    install = _name_install(driver.cuda)
    if software.cupy is None:
        return Finding(
            "cupy",
            Mark.FAIL,
            "not installed",
            "the GPUs of this host cannot be used without it",
            install,
        )
    built_for = "" if software.cupy_cuda is None else f" for CUDA {software.cupy_cuda // 1000}.x"
    found = f"{software.cupy}{built_for}"
    if None not in (software.cupy_cuda, driver.cuda) and (
        (software.cupy_cuda or 0) // 1000 > (driver.cuda or 0) // 1000
    ):
        return Finding(
            "cupy",
            Mark.FAIL,
            found,
            f"the driver supports no more than CUDA {_version(driver.cuda or 0)}",
            f"a newer driver, or {install}",
        )
    if devices.fault is not None:
        return Finding(
            "cupy",
            Mark.FAIL if gpus else Mark.ABSENT,
            f"{found}: {devices.fault}"[:300],
            "no GPU can be used through it",
            install if gpus else "",
        )
    if len(devices.gpus) < gpus:
        return Finding(
            "cupy",
            Mark.WARN,
            f"{found} shows {len(devices.gpus)} of {_count(gpus)}",
            "the others are hidden from it, and earn nothing",
            "see CUDA_VISIBLE_DEVICES, and the other lines on GPUs",
        )
    return Finding("cupy", Mark.OK, f"{found}, {_count(len(devices.gpus))}")


def prove_on(name: str, open_backend: Callable[[], ComputeBackend]) -> Finding:
    """Do a small job on a device as for a checker, and judge it as one does."""
    try:
        backend = open_backend()
        try:
            rows, opened = _prove_and_verify(backend)
            found = f"{backend.describe().name}: {opened} of {rows} rows opened, all true"
        finally:
            backend.close()
    except ProofRejected as error:
        return Finding(
            name,
            Mark.FAIL,
            f"a small job came out wrong: {error}",
            "checkers will find the same",
            "report it with the output of kaisar doctor --json; on a GPU, look for memory errors",
        )
    except DeviceMemoryError as error:
        return Finding(
            name,
            Mark.WARN,
            f"no room for a small job: {error}"[:300],
            "somebody has the memory; a node that runs already may be that somebody",
            "if none runs, end what has the memory (nvidia-smi, free)",
        )
    except (LocalError, ImportError, MemoryError) as error:
        return Finding(
            name,
            Mark.FAIL,
            f"a small job could not be done: {str(error) or type(error).__name__}"[:300],
            "no job of a checker can be done either",
            "free memory of the device; see the lines above",
        )
    return Finding(name, Mark.OK, found)


def _prove_and_verify(backend: ComputeBackend) -> tuple[int, int]:
    """Return how many rows were computed, and how many of them were opened."""
    b_seed = derive_b_seed(bytes(32), SELF_TEST_K, SELF_TEST_N)
    shape = backend.prepare(b_seed, SELF_TEST_K, SELF_TEST_N)
    job = ComputeJob(shape, b_seed, bytes(32), bytes(32), 0)
    work = backend.run(job, window_s=0.0, limit_s=SELF_TEST_SECONDS, is_cancelled=lambda: False)
    try:
        commitment = work.commitment
        indices = draw_openings(bytes(32), commitment.rounds, shape.m)
        check = prepare_check(b_seed, shape, bytes(32))
        verify_openings(check, job, commitment, indices, work.open(indices))
        return commitment.rounds * shape.m, len(indices)
    finally:
        work.close()


def _describe(facts: GpuFacts) -> str:
    parts = [facts.name or "a GPU without a name"]
    if facts.memory_total is not None and facts.memory_free is not None:
        parts.append(f"{facts.memory_free / GB:.1f} of {facts.memory_total / GB:.1f} GB free")
    if facts.temperature is not None:
        parts.append(f"{facts.temperature} °C")
    return ", ".join(parts)


def _count(gpus: int) -> str:
    return f"{gpus} GPU{'s' * (gpus != 1)}"


def _version(cuda: int) -> str:
    return f"{cuda // 1000}.{cuda % 1000 // 10}"


def _name_install(cuda: int | None) -> str:
    extra = "gpu-cuda12" if cuda is not None and cuda < 13000 else "gpu"
    return f"pip install 'kaisar-node[{extra}]'"
