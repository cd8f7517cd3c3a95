"""What is made of NVML's answers, and of those that it does not give."""

import ast
import ctypes
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import pynvml
import pytest

import p2p_node.workloads.nvml as nvml
from p2p_node.workloads.attestation.errors import AttestationUnavailableError
from p2p_node.workloads.nvml import DriverFacts, GpuReading, NvmlUnavailableError, open_nvml
from protocols.device_facts import MAX_GPUS, DeviceFacts, GpuFacts, decode_facts, encode_facts
from protocols.errors import LocalError
from tests.fakes.nvml import GIB, Fails, FakeLibrary, make_h100, process, struct

NONCE = bytes(range(32))


def read(library: FakeLibrary) -> tuple[GpuReading, ...]:
    with open_nvml(library) as reader:
        return reader.read_gpus()


def read_one(**changes: Any) -> GpuFacts:
    (reading,) = read(make_h100(**changes))
    assert reading.problem is None
    return reading.facts


def test_gpu_is_described() -> None:
    facts = read_one()
    assert facts == GpuFacts(
        name="NVIDIA H100 80GB HBM3",
        uuid="GPU-11111111-2222-3333-4444-555555555555",
        pci="00000000:1B:00.0",
        vbios="96.00.9F.00.01",
        cuda_capability=90,
        memory_total=80 * GIB,
        memory_free=79 * GIB,
        sm_clock=1980,
        sm_clock_max=1981,
        memory_clock=2619,
        memory_clock_max=2620,
        power_draw=70_123,
        power_limit=700_000,
        power_limit_default=700_000,
        temperature=34,
        temperature_slowdown=89,
        throttle_reasons=1,
        ecc=1,
        ecc_corrected_volatile=0,
        ecc_uncorrected_volatile=10,
        ecc_uncorrected_aggregate=11,
        retirement_pending=None,
        remap_pending=0,
        remap_failed=0,
        persistence=1,
        compute_mode=0,
        mig=0,
        processes=0,
        process_memory=0,
    )
    assert decode_facts(encode_facts(DeviceFacts(gpus=(facts,)))).gpus == (facts,)


def test_driver_is_described() -> None:
    with open_nvml(make_h100()) as reader:
        assert reader.read_driver() == DriverFacts("580.65.06", 13000, 0)
    on = struct(
        pynvml.c_nvmlConfComputeSystemState_t, ccFeature=pynvml.NVML_CC_SYSTEM_FEATURE_ENABLED
    )
    with open_nvml(make_h100(nvmlSystemGetConfComputeState=on)) as reader:
        assert reader.read_driver().confidential == 1
    with open_nvml(FakeLibrary({"nvmlInit": None})) as reader:
        assert reader.read_driver() == DriverFacts(None, None, None)
        assert reader.read_gpus() == ()


OPTIONAL = sorted(
    name
    for name in make_h100().answers
    if name.startswith("nvmlDevice") and name not in ("nvmlDeviceGetCount",)
)


@pytest.mark.parametrize("name", [name for name in OPTIONAL if "Handle" not in name])
@pytest.mark.parametrize(
    "code",
    [
        pynvml.NVML_ERROR_NOT_SUPPORTED,
        pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
        pynvml.NVML_ERROR_NO_PERMISSION,
        pynvml.NVML_ERROR_UNKNOWN,
        999,
    ],
)
def test_every_call_may_be_unknown(name: str, code: int) -> None:
    facts, whole = read_one(**{name: Fails(code)}), read_one()
    missing = {
        each.name
        for each in fields(GpuFacts)
        if getattr(facts, each.name) != getattr(whole, each.name)
    }
    assert all(getattr(facts, field) is None for field in missing)
    # Either of the two lists of processes is enough.
    assert bool(missing) is not name.endswith("RunningProcesses")


@pytest.mark.parametrize("name", OPTIONAL)
def test_lost_gpu_is_said_to_be_lost(name: str) -> None:
    for code, words in (
        (pynvml.NVML_ERROR_GPU_IS_LOST, "the GPU has fallen off the bus"),
        (pynvml.NVML_ERROR_RESET_REQUIRED, "the GPU has to be reset"),
    ):
        assert read(make_h100(**{name: Fails(code)})) == (GpuReading(0, GpuFacts(), words),)


def test_one_lost_gpu_does_not_hide_the_others() -> None:
    handles = iter([object(), pynvml.NVML_ERROR_GPU_IS_LOST, object()])

    def handle() -> object:
        found = next(handles)
        if found == pynvml.NVML_ERROR_GPU_IS_LOST:
            raise pynvml.NVMLError(found)
        return found

    library = make_h100(nvmlDeviceGetCount=3, nvmlDeviceGetHandleByIndex=handle)
    readings = read(library)
    assert [reading.index for reading in readings] == [0, 1, 2]
    assert [reading.problem is None for reading in readings] == [True, False, True]


def test_at_most_so_many_gpus_are_asked() -> None:
    assert len(read(make_h100(nvmlDeviceGetCount=MAX_GPUS + 1))) == MAX_GPUS


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, "no NVIDIA driver is installed"),
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "not loaded"),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "different versions"),
        (pynvml.NVML_ERROR_UNKNOWN, "Unknown"),
    ],
)
def test_library_that_does_not_start_says_why(code: int, words: str) -> None:
    library = make_h100(nvmlInit=Fails(code))
    with pytest.raises(NvmlUnavailableError, match=words), open_nvml(library):
        pytest.fail("opened")
    assert library.calls == ["nvmlInit"]


def test_library_is_shut_down_in_any_case() -> None:
    library = make_h100()
    with pytest.raises(KeyError), open_nvml(library):
        raise KeyError
    assert library.open == 0
    with open_nvml(make_h100(nvmlShutdown=Fails(pynvml.NVML_ERROR_GPU_IS_LOST))):
        pass


def test_real_library_is_there_or_says_why_not() -> None:
    try:
        with open_nvml() as reader:
            driver, readings = reader.read_driver(), reader.read_gpus()
    except NvmlUnavailableError as error:
        assert len(str(error)) > 10  # noqa: PT017 (either way is right)
        return
    assert driver.driver
    assert all(reading.problem or reading.facts.name for reading in readings)


def test_other_processes_are_counted() -> None:
    mine, other, unknown = process(os.getpid(), GIB), process(1, 2 * GIB), process(2, None)
    facts = read_one(
        nvmlDeviceGetComputeRunningProcesses=[mine, other],
        nvmlDeviceGetGraphicsRunningProcesses=[other, unknown],
    )
    assert (facts.processes, facts.process_memory) == (2, 2 * GIB)


def test_texts_are_fit_for_a_message() -> None:
    assert read_one(nvmlDeviceGetName=b"Tesla\0").name == "Tesla"
    assert read_one(nvmlDeviceGetName="\x1b[31mGPU™").name == "[31mGPU"
    assert read_one(nvmlDeviceGetName="x" * 99).name == "x" * 64
    assert read_one(nvmlDeviceGetName="\n").name is None


def test_numbers_are_fit_for_a_message() -> None:
    assert read_one(nvmlDeviceGetPowerUsage=-1).power_draw is None
    assert read_one(nvmlDeviceGetPowerUsage=1 << 64).power_draw is None


# Attestation


def attestation(report: bytes, chain: bytes) -> dict[str, Any]:
    return {
        "nvmlDeviceGetConfComputeGpuAttestationReport": lambda nonce: struct(
            pynvml.c_nvmlConfComputeGpuAttestationReport_t,
            attestationReportSize=len(report) + len(nonce),
            attestationReport=nonce + report,
        ),
        "nvmlDeviceGetConfComputeGpuCertificate": struct(
            pynvml.c_nvmlConfComputeGpuCertificate_t,
            attestationCertChainSize=len(chain),
            attestationCertChain=chain,
        ),
    }


def test_gpu_signs_the_callers_nonce() -> None:
    with open_nvml(make_h100(**attestation(b"report", b"chain"))) as reader:
        assert reader.attest(0, NONCE) == (NONCE + b"report", b"chain")


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        (
            "nvmlDeviceGetConfComputeGpuAttestationReport",
            pynvml.NVML_ERROR_NOT_SUPPORTED,
            "GPU 0: not supported by this GPU, or switched off",
        ),
        (
            "nvmlDeviceGetConfComputeGpuCertificate",
            pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
            "GPU 0: not known to this driver",
        ),
        ("nvmlDeviceGetHandleByIndex", pynvml.NVML_ERROR_GPU_IS_LOST, "GPU 0: the GPU has fallen"),
    ],
)
def test_gpu_that_does_not_sign_says_why(name: str, code: int, words: str) -> None:
    library = make_h100(**attestation(b"report", b"chain") | {name: Fails(code)})
    with open_nvml(library) as reader, pytest.raises(AttestationUnavailableError, match=words):
        reader.attest(0, NONCE)


def test_nonce_has_the_length_that_nvml_takes() -> None:
    assert ctypes.sizeof(pynvml.c_nvmlConfComputeGpuAttestationReport_t().nonce) == len(NONCE)
    with open_nvml(make_h100()) as reader, pytest.raises(LocalError, match="31 bytes"):
        reader.attest(0, NONCE[:31])


def test_real_binding_hands_the_nonce_to_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another language's binding once had no place for it."""
    seen = []

    def fill(_device: object, reference: Any) -> int:
        found = reference._obj
        if isinstance(found, pynvml.c_nvmlConfComputeGpuAttestationReport_t):
            seen.append(bytes(found.nonce))
            found.attestationReport[:3] = [1, 2, 3]
            found.attestationReportSize = 3
        else:
            found.attestationCertChain[:2] = [4, 5]
            found.attestationCertChainSize = 2
        return int(pynvml.NVML_SUCCESS)

    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer", lambda _name: fill)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda _index: object())
    assert nvml.GpuReader(pynvml).attest(0, NONCE) == (b"\1\2\3", b"\4\5")
    assert seen == [NONCE]


# The fake against the real thing


def test_every_name_that_is_used_is_pynvmls() -> None:
    tree = ast.parse(Path(nvml.__file__).read_text())
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in ("library", "pynvml")
    }
    assert len(used) > 40
    assert [name for name in sorted(used) if not hasattr(pynvml, name)] == []
    asked = {name for name in used if name.startswith(("nvmlDevice", "nvmlSystem"))}
    answered = set(make_h100(**attestation(b"", b"")).answers)
    assert asked - answered == {"nvmlDeviceGetRetiredPagesPendingStatus"}


def test_fake_refuses_what_pynvml_does_not_have() -> None:
    library = make_h100(nvmlDeviceGetNames="x")
    with pytest.raises(AttributeError):
        library.nvmlDeviceGetNames(object())
    with pytest.raises(TypeError):
        library.nvmlDeviceGetName()
    with pytest.raises(AttributeError):
        struct(pynvml.c_nvmlMemory_t, unused=1)
