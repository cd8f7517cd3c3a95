"""The CUDA runtime by its calls: what CuPy is asked for, and what becomes of its errors."""

import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from p2p_node.workloads.backend import DeviceLostError, DeviceMemoryError
from p2p_node.workloads.gpu import devices, warmup
from p2p_node.workloads.gpu.backend import GpuBackend
from tests.fakes.cupy_on_host import ILLEGAL_ADDRESS, CupyOnHost, build_modules, install
from tests.p2p_node.workloads.gpu.conftest import Cap, require_compiler
from tests.p2p_node.workloads.gpu.proofs import make_job, run_job, verify_work


@pytest.fixture
def machine() -> CupyOnHost:
    require_compiler()
    return CupyOnHost()


@pytest.fixture
def module(machine: CupyOnHost, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.setattr(warmup, "TRIAL_SECONDS", 0.001)
    with install(machine) as module:
        yield module


def test_all_devices_at_once_give_back_everything(
    machine: CupyOnHost, module: ModuleType, cap: Cap
) -> None:
    cap(rounds=4, passes=2)
    found = devices.list_gpus()
    assert [gpu.name for gpu in found.gpus] == ["Host 0", "Host 1"]
    assert found.fault is None
    backends = [devices.open_gpu(gpu.index) for gpu in found.gpus]
    jobs = [make_job(device=index) for index in range(2)]
    works = [run_job(backend, job) for backend, job in zip(backends, jobs, strict=True)]
    assert works[0].commitment.root != works[1].commitment.root
    assert all(machine.used(index) > 0 for index in range(2))
    for work, backend in zip(works, backends, strict=True):
        verify_work(work)
        backend.close()
    del works, backends, work, backend
    assert not machine.memory
    assert not machine.handles
    assert not machine.events
    assert machine.device == 0
    assert machine.stream == 0


def test_multiplications_have_a_stream_of_their_own(
    machine: CupyOnHost, module: ModuleType, cap: Cap
) -> None:
    """And the other one is the more urgent."""
    cap(rounds=4)
    backend = devices.open_gpu(0)
    run_job(backend, make_job()).close()
    assert machine.priorities == [0, -100]
    assert machine.multiplied_on == {backend._device.main.ptr}
    backend.close()


def test_few_rows_do_without_cublas(machine: CupyOnHost, module: ModuleType, cap: Cap) -> None:
    cap(rounds=3, passes=1)
    backend = devices.open_gpu(0)
    few, enough = make_job(m=31), make_job(m=32)
    backend.prepare(few.b_seed, few.shape.k, few.shape.n)
    machine.multiplied_on.clear()
    for job, used in ((few, False), (enough, True)):
        work = run_job(backend, job)
        verify_work(work)
        work.close()
        assert bool(machine.multiplied_on) is used
    backend.close()


def test_want_of_memory_is_no_loss(module: ModuleType) -> None:
    runtime = module.CupyRuntime(0)
    with pytest.raises(DeviceMemoryError):
        runtime.allocate(1 << 40)
    buffer = runtime.allocate(1000)
    buffer.free()
    buffer.free()
    runtime.close()


@pytest.mark.parametrize(("status", "error"), [(3, DeviceMemoryError), (13, DeviceLostError)])
def test_faults_of_cublas(
    machine: CupyOnHost, module: ModuleType, status: int, error: type[Exception]
) -> None:
    runtime = module.CupyRuntime(0)
    stream = runtime.create_stream(urgent=False)
    buffer = runtime.allocate(8192)
    machine.cublas_fault = status
    place = buffer.address
    with pytest.raises(error):
        runtime.multiply(stream, place, place + 1024, place + 2048, 32, 16, 16)
    if error is DeviceLostError:
        with pytest.raises(DeviceLostError, match="status 13"):
            runtime.get_memory()
    buffer.free()
    runtime.close()


@pytest.mark.parametrize("stage", ["prepare", "run", "passes", "open"])
def test_a_device_that_faults(
    machine: CupyOnHost, module: ModuleType, cap: Cap, stage: str
) -> None:
    """Every call fails from then on, also those that give things back: nothing raises in vain."""
    cap(rounds=4, passes=2)
    backend = devices.open_gpu(0)
    job = make_job()

    def go_on() -> None:
        work = run_job(backend, job)
        verify_work(work)

    if stage in {"passes", "open"}:
        work = run_job(backend, job)
        machine.fault = ILLEGAL_ADDRESS
        with pytest.raises(DeviceLostError, match="700"):
            verify_work(work)
        work.close()
    elif stage == "run":
        backend.prepare(job.b_seed, job.shape.k, job.shape.n)
        machine.fault = ILLEGAL_ADDRESS
    else:
        machine.fault = ILLEGAL_ADDRESS
    with pytest.raises(DeviceLostError, match="700"):
        go_on()
    machine.fault = 0
    with pytest.raises(DeviceLostError, match="700"):
        go_on()
    backend.close()
    backend.close()


def test_a_fault_while_waiting(machine: CupyOnHost, module: ModuleType) -> None:
    runtime = module.CupyRuntime(0)
    stream = runtime.create_stream(urgent=True)
    event = runtime.record(stream)
    assert not runtime.wait(event, 0)
    assert runtime.wait(event, 1)
    machine.fault = ILLEGAL_ADDRESS
    with pytest.raises(DeviceLostError):
        runtime.wait(event, 1)
    with pytest.raises(DeviceLostError):
        runtime.give_up("another reason")
    runtime.close()
    machine.fault = 0


def test_without_a_driver(machine: CupyOnHost, module: ModuleType) -> None:
    machine.fault = 35
    found = devices.list_gpus()
    assert found.gpus == ()
    assert found.fault == "CUDA is not usable: status 35"
    with pytest.raises(DeviceLostError, match="35"):
        module.describe_device(0)
    with pytest.raises(DeviceLostError, match="35"):
        devices.open_gpu(0)


def test_without_a_device(
    machine: CupyOnHost, module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.fakes.cupy_on_host.DEVICES", 0)
    assert devices.list_gpus() == devices.GpuList((), "CUDA shows no device")


def test_without_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.delitem(sys.modules, devices._CUPY_RUNTIME, raising=False)
    found = devices.list_gpus()
    assert found.gpus == ()
    assert found.fault
    assert found.fault.startswith("CuPy is not usable: ")


def test_without_a_compiler(machine: CupyOnHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said when GPUs are looked for, not when the first job has come."""
    machine.has_nvrtc = False
    for name, module in build_modules(machine).items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, devices._CUPY_RUNTIME, raising=False)
    assert devices.list_gpus() == devices.GpuList((), "CuPy is not usable: no libnvrtc.so")


def test_kernels_that_do_not_compile(machine: CupyOnHost, module: ModuleType) -> None:
    machine.compiles = False
    with pytest.raises(DeviceLostError, match="the kernels do not compile"):
        devices.open_gpu(0)
    assert not machine.handles


def test_a_backend_that_cannot_start_leaves_nothing(
    machine: CupyOnHost, module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(backend: GpuBackend, *arguments: object) -> None:
        raise DeviceMemoryError("no room")

    monkeypatch.setattr(GpuBackend, "__init__", fail)
    with pytest.raises(DeviceMemoryError, match="no room"):
        devices.open_gpu(0)
    assert not machine.handles
