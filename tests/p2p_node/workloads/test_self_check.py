"""The self-check of a machine: every finding, on machines made up for it."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from p2p_node.workloads.backend import ComputeBackend, DeviceLostError
from p2p_node.workloads.exact_product import ExactProduct
from p2p_node.workloads.gpu.devices import GpuFacts as CudaGpu
from p2p_node.workloads.gpu.devices import GpuList
from p2p_node.workloads.numpy_backend import NumpyBackend
from p2p_node.workloads.nvml import DriverFacts, GpuReading
from p2p_node.workloads.self_check import (
    Finding,
    Machine,
    Mark,
    check_cupy,
    check_devices,
    check_driver,
    check_gpu,
    log_findings,
    prove_on,
)
from protocols.device_facts import GpuFacts, SoftwareFacts
from tests.fakes.nvml import GOOD_GPU, FakeGpus

SOFTWARE = SoftwareFacts(numpy="2.4.6", blas="openblas 0.3", cupy="14.0.1", cupy_cuda=13000)
NO_CUPY = replace(SOFTWARE, cupy=None, cupy_cuda=None)
CUDA_GPU = CudaGpu(0, "NVIDIA H100 80GB HBM3", 80 << 30)
ONE = GpuList((CUDA_GPU,), None)
NONE = GpuList((), "CuPy is not usable: No module named 'cupy'")
DRIVER = DriverFacts("580.65.06", 13000, 0)


def make_cpu() -> ComputeBackend:
    return NumpyBackend(rows=64)


def make_machine(
    gpus: FakeGpus | None = None,
    devices: GpuList = ONE,
    software: SoftwareFacts = SOFTWARE,
    open_device: Callable[[int], ComputeBackend] = lambda _index: make_cpu(),
) -> Machine:
    found = gpus or FakeGpus()
    return Machine(
        open_gpus=found.open,
        list_devices=lambda: devices,
        open_device=open_device,
        read_software=lambda: software,
    )


def marks(findings: Sequence[Finding]) -> dict[str, Mark]:
    return {finding.check: finding.mark for finding in findings}


def test_machine_in_good_order() -> None:
    findings = check_devices(make_machine())
    assert marks(findings) == dict.fromkeys(
        ["driver", "gpu 0", "cupy", "job on gpu 0", "numpy", "job on cpu"], Mark.OK
    )
    texts = {finding.check: finding.found for finding in findings}
    assert texts["driver"] == "580.65.06, CUDA 13.0, 1 GPU"
    assert texts["gpu 0"] == "NVIDIA H100 80GB HBM3, 84.8 of 85.9 GB free, 34 °C"
    assert texts["cupy"] == "14.0.1 for CUDA 13.x, 1 GPU"
    assert texts["numpy"] == "2.4.6, openblas 0.3"
    assert "64 of 64 rows opened, all true" in texts["job on cpu"]


def test_machine_without_a_gpu_says_so() -> None:
    findings = check_devices(make_machine(FakeGpus(is_absent=True), NONE, NO_CUPY))
    assert marks(findings) == {
        "driver": Mark.ABSENT,
        "cupy": Mark.ABSENT,
        "numpy": Mark.OK,
        "job on cpu": Mark.OK,
    }
    assert findings[0].found == "no NVIDIA driver is installed (no libnvidia-ml)"
    assert findings[0].fix


def test_this_machine_can_be_checked() -> None:
    """Whatever it has; the CPU's job is done for good."""
    findings = check_devices()
    assert marks(findings)["job on cpu"] is Mark.OK
    assert marks(findings)["numpy"] is Mark.OK


def test_whatever_is_wrong_has_a_reason_and_a_fix() -> None:
    bad = replace(
        GOOD_GPU, ecc_uncorrected_volatile=1, remap_failed=1, remap_pending=1,
        throttle_reasons=0xFF, power_limit=1, persistence=0, compute_mode=2, mig=1, processes=1,
    )  # fmt: skip
    findings = [*check_gpu(GpuReading(0, bad)), *check_gpu(GpuReading(1, bad, "lost"))]
    assert len(findings) == 11
    for finding in findings:
        assert finding.mark in (Mark.WARN, Mark.FAIL)
        assert finding.found
        assert finding.reason
        assert finding.fix


@pytest.mark.parametrize(
    ("change", "mark", "found"),
    [
        ({"ecc_uncorrected_volatile": 3}, Mark.FAIL, "3 uncorrectable memory errors"),
        ({"remap_failed": 1}, Mark.FAIL, "could not be replaced"),
        ({"remap_pending": 1}, Mark.WARN, "waiting to be replaced"),
        ({"retirement_pending": 1}, Mark.WARN, "waiting to be replaced"),
        ({"throttle_reasons": 0x20}, Mark.WARN, "slowed down by heat at 34 °C"),
        ({"throttle_reasons": 0x40, "temperature": None}, Mark.WARN, "heat at ? °C"),
        ({"temperature": 89}, Mark.WARN, "slowed down by heat at 89 °C"),
        ({"throttle_reasons": 0x08}, Mark.WARN, "slowed down by its hardware"),
        ({"throttle_reasons": 0x80}, Mark.WARN, "slowed down by its hardware"),
        ({"power_limit": 500_000}, Mark.WARN, "limited to 500 of 700 W"),
        ({"persistence": 0}, Mark.WARN, "persistence mode off"),
        ({"compute_mode": 2}, Mark.FAIL, "prohibited"),
        ({"compute_mode": 3}, Mark.WARN, "exclusive"),
        ({"mig": 1}, Mark.WARN, "MIG mode on"),
        ({"processes": 1, "process_memory": 3 * 10**9}, Mark.WARN, "1 other process with 3.0 GB"),
        ({"processes": 2, "process_memory": None}, Mark.WARN, "2 other processes"),
    ],
)
def test_gpu_with_one_fault(change: dict[str, int], mark: Mark, found: str) -> None:
    (finding,) = check_gpu(GpuReading(0, replace(GOOD_GPU, **change)))  # type: ignore[arg-type]
    assert finding.mark is mark
    assert found in finding.found


@pytest.mark.parametrize(
    "change",
    [
        {},
        # Idle, capped by its own power limit, or set by the operator: nothing wrong.
        {"throttle_reasons": 0x01 | 0x02 | 0x04 | 0x10 | 0x100},
        {"temperature": 88},
        {"temperature_slowdown": None, "temperature": 100},
        {"ecc": 0, "ecc_uncorrected_volatile": None},
        {"ecc_uncorrected_aggregate": 7},
        {"power_limit": None},
        {"power_limit": 700_001},
        {"name": None, "memory_free": None, "temperature": None},
    ],
)
def test_gpu_in_good_order(change: dict[str, int]) -> None:
    (finding,) = check_gpu(GpuReading(0, replace(GOOD_GPU, **change)))  # type: ignore[arg-type]
    assert finding.mark is Mark.OK


def test_gpu_that_says_nothing_is_not_blamed() -> None:
    (finding,) = check_gpu(GpuReading(2, GpuFacts()))
    assert finding == Finding("gpu 2", Mark.OK, "a GPU without a name")


def test_lost_gpu() -> None:
    gpus = FakeGpus(gpus=(GOOD_GPU, GpuFacts()), problems={1: "the GPU has fallen off the bus"})
    findings = check_devices(make_machine(gpus))
    assert marks(findings)["gpu 0"] is Mark.OK
    assert marks(findings)["gpu 1"] is Mark.FAIL
    assert marks(findings)["cupy"] is Mark.WARN


def test_driver() -> None:
    assert check_driver(DriverFacts(None, None, None), 2).found == (
        "unknown version, an unknown CUDA, 2 GPUs"
    )
    assert check_driver(DRIVER, 0).mark is Mark.WARN
    assert "confidential computing on" in check_driver(replace(DRIVER, confidential=1), 1).found


@pytest.mark.parametrize(
    ("software", "driver", "devices", "gpus", "mark", "text"),
    [
        (NO_CUPY, DRIVER, NONE, 1, Mark.FAIL, "pip install 'kaisar-node[gpu]'"),
        (
            NO_CUPY,
            DriverFacts("550", 12040, 0),
            NONE,
            1,
            Mark.FAIL,
            "pip install 'kaisar-node[gpu-cuda12]'",
        ),
        (SOFTWARE, DriverFacts("550", 12040, 0), ONE, 1, Mark.FAIL, "no more than CUDA 12.4"),
        (replace(SOFTWARE, cupy_cuda=12000), DRIVER, ONE, 1, Mark.OK, "for CUDA 12.x"),
        (replace(SOFTWARE, cupy_cuda=None), DRIVER, ONE, 1, Mark.OK, "14.0.1, 1 GPU"),
        (SOFTWARE, DriverFacts(None, None, None), ONE, 1, Mark.OK, "1 GPU"),
        (SOFTWARE, DRIVER, GpuList((), "CUDA is not usable"), 1, Mark.FAIL, "CUDA is not usable"),
        (SOFTWARE, DRIVER, GpuList((), "CUDA shows no device"), 0, Mark.ABSENT, "no device"),
        (SOFTWARE, DRIVER, ONE, 2, Mark.WARN, "shows 1 of 2 GPUs"),
    ],
)
def test_cupy(
    software: SoftwareFacts,
    driver: DriverFacts,
    devices: GpuList,
    gpus: int,
    mark: Mark,
    text: str,
) -> None:
    finding = check_cupy(software, driver, devices, gpus)
    assert finding.mark is mark
    assert text in f"{finding.found} {finding.reason} {finding.fix}"


def test_findings_are_logged_as_loud_as_they_are_bad(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "p2p_node.workloads.self_check")
    good = [Finding("a", Mark.OK, "fine"), Finding("b", Mark.ABSENT, "none", "not needed")]
    assert log_findings(good)
    assert log_findings([*good, Finding("c", Mark.WARN, "hot", "slower", "cool it")])
    assert not log_findings([Finding("d", Mark.FAIL, "broken"), *good])
    assert {(record.levelname, record.getMessage()) for record in caplog.records} == {
        ("INFO", "a: fine"),
        ("INFO", "b: none; not needed"),
        ("WARNING", "c: hot; slower; cool it"),
        ("ERROR", "d: broken"),
    }


class BrokenProduct(ExactProduct):
    """Multiplies, and gets every result wrong."""

    def multiply(self, a: NDArray[np.int8], out: NDArray[np.int32], *rest: object) -> None:
        super().multiply(a, out, *rest)  # type: ignore[arg-type]
        out += 1


def test_device_that_computes_wrongly_is_found_out() -> None:
    finding = prove_on("job on gpu 0", lambda: NumpyBackend(rows=64, make_product=BrokenProduct))
    assert finding.mark is Mark.FAIL
    assert "came out wrong: openings row" in finding.found


@pytest.mark.parametrize(
    "error", [DeviceLostError("the device is gone"), ImportError("no cupy"), MemoryError()]
)
def test_device_that_cannot_be_used_is_named(error: Exception) -> None:
    def fail(_index: int) -> ComputeBackend:
        raise error

    findings = check_devices(make_machine(open_device=fail))
    assert marks(findings)["job on gpu 0"] is Mark.FAIL
    assert marks(findings)["job on cpu"] is Mark.OK


def test_device_is_closed_in_any_case() -> None:
    backend = NumpyBackend(rows=64, memory_bytes=1)
    closed = []
    close = backend.close
    backend.close = lambda: (closed.append(True), close())[-1]  # type: ignore[method-assign, func-returns-value]
    # A node that runs already may have all the memory, and nothing is wrong with that.
    assert prove_on("job", lambda: backend).mark is Mark.WARN
    assert closed
