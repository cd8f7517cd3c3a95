"""When things do not go to plan: it says what happened, and nothing is left on the device."""

import contextlib

import pytest

from p2p_node.workloads.backend import (
    DeviceLostError,
    DeviceMemoryError,
    JobCancelledError,
    JobTimeoutError,
)
from p2p_node.workloads.gpu import device as gpu_device
from p2p_node.workloads.gpu.backend import GpuBackend
from p2p_node.workloads.gpu.work import GpuWork
from protocols.memory import PassIndex
from protocols.openings import Index
from tests.fakes.gpu_runtime import HostBuffer, HostRuntime
from tests.p2p_node.workloads.gpu.conftest import Cap
from tests.p2p_node.workloads.gpu.proofs import (
    NONCE,
    make_job,
    never,
    run_job,
    run_passes,
    verify_work,
)

JOB = make_job(5, 32, 48)


def use_everything(backend: GpuBackend) -> None:
    work = run_job(backend, JOB)
    try:
        run_passes(work)
        work.open([Index(0, 1), Index(3, 4)])
        work.open_passes([PassIndex(0, 3)])
    finally:
        work.close()


def count_operations(cap: Cap) -> int:
    cap(rounds=4, passes=2, kept_rows=3 * JOB.shape.m)
    runtime = HostRuntime(1 << 22)
    backend = GpuBackend(runtime, runtime.clock)
    use_everything(backend)
    operations = runtime.operations
    backend.close()
    runtime.close()
    return operations


def test_memory_is_where_it_was(host: HostRuntime, cap: Cap) -> None:
    cap(rounds=4, passes=2)
    assert host.used == 0
    backend = GpuBackend(host, host.clock)
    idle = host.used
    backend.prepare(JOB.b_seed, JOB.shape.k, JOB.shape.n)
    prepared = host.used
    assert idle < prepared < 10_000
    for _ in range(3):
        work = run_job(backend, JOB)
        assert host.used > prepared
        verify_work(work)
        work.close()
        assert host.used == prepared
    backend.close()
    assert host.used == 0


def test_closing_the_backend_closes_its_work(host: HostRuntime, cap: Cap) -> None:
    cap(rounds=4)
    backend = GpuBackend(host, host.clock)
    work = run_job(backend, JOB)
    backend.close()
    assert host.used == 0
    assert work.is_closed


@pytest.mark.parametrize("part", range(7))
def test_a_device_that_vanishes(part: int, cap: Cap) -> None:
    """At any operation whatever: everything says so from then on, and everything is let go."""
    operations = count_operations(cap)
    for lose_at in range(1 + part, operations, 7):
        runtime = HostRuntime(1 << 22, lose_at=lose_at)
        try:
            backend = GpuBackend(runtime, runtime.clock)
        except DeviceLostError:
            runtime.close()
            continue
        # A loss while memory is given back is nobody's concern until the next call.
        with contextlib.suppress(DeviceLostError):
            use_everything(backend)
        with pytest.raises(DeviceLostError):
            use_everything(backend)
        backend.close()
        assert runtime.used == 0
        assert runtime.closed


def test_a_work_of_a_lost_device(host: HostRuntime, cap: Cap) -> None:
    cap(rounds=4)
    backend = GpuBackend(host, host.clock)
    work = run_job(backend, JOB)
    host.lost = True
    with pytest.raises(DeviceLostError):
        work.open([Index(0, 0)])
    with pytest.raises(DeviceLostError):
        run_passes(work)
    work.close()
    backend.close()
    assert host.used == 0


def test_a_device_that_hangs(host: HostRuntime, cap: Cap, monkeypatch: pytest.MonkeyPatch) -> None:
    cap(rounds=4)
    backend = GpuBackend(host, host.clock)
    backend.prepare(JOB.b_seed, JOB.shape.k, JOB.shape.n)

    def hang(event: object, timeout_s: float) -> bool:
        host.now += timeout_s
        return False

    monkeypatch.setattr(host, "wait", hang)
    before = host.now
    with pytest.raises(DeviceLostError, match="has not answered"):
        run_job(backend, JOB)
    assert host.now - before < 1.1 * gpu_device.HANG_SECONDS
    backend.close()
    assert host.used == 0


def test_a_small_device(cap: Cap) -> None:
    """Jobs take what there is, down to a ring of two rounds; below that they say so."""
    cap(rounds=8, passes=2)
    job = make_job(64, 256, 256)
    for capacity in range(2 << 20, 4 << 20, 150_000):
        runtime = HostRuntime(capacity)
        backend = GpuBackend(runtime, runtime.clock)
        try:
            work = run_job(backend, job)
        except DeviceMemoryError:
            assert capacity < 3 << 20
        else:
            assert 2 <= work.kept <= 8
            verify_work(work)
        backend.close()
        assert runtime.used == 0
        runtime.close()


def test_memory_that_somebody_else_uses(host: HostRuntime, cap: Cap) -> None:
    """A job while the device is nearly full fits into what is left, or is refused."""
    cap(rounds=20, passes=2)
    job = make_job(64, 256, 256)
    backend = GpuBackend(host, host.clock)
    work = run_job(backend, job)
    assert work.kept == 20
    work.close()
    host.used_elsewhere = host.capacity - (4 << 20)
    work = run_job(backend, job)
    assert 2 <= work.kept < 20
    verify_work(work)
    work.close()
    host.used_elsewhere = host.capacity - (1 << 20)
    with pytest.raises(DeviceMemoryError, match="are free"):
        run_job(backend, job)
    host.used_elsewhere = 0
    run_job(backend, job).close()
    backend.close()
    assert host.used == 0


def test_memory_that_is_taken_in_between(
    host: HostRuntime, cap: Cap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was free when it was planned is not when rounds come to use it: the ring ends there."""
    cap(rounds=60, passes=2)
    job = make_job(64, 32, 1024)
    backend = GpuBackend(host, host.clock)
    work = run_job(backend, job)
    assert work.kept == 60
    work.close()
    prepared = host.used
    allocate = host.allocate

    def allocate_less(size: int) -> HostBuffer:
        if host.used + size > limit:
            raise DeviceMemoryError("taken")
        return allocate(size)

    monkeypatch.setattr(host, "allocate", allocate_less)
    for limit in range(10 << 20, 24 << 20, 3 << 20):
        try:
            work = run_job(backend, job)
        except DeviceMemoryError:
            assert limit < 14 << 20
        else:
            assert 2 <= work.kept < 60
            verify_work(work)
            work.close()
        assert host.used == prepared
    limit = 0
    with pytest.raises(DeviceMemoryError):
        run_job(backend, job)
    assert host.used == prepared
    backend.close()


def test_time(cap: Cap) -> None:
    """Rounds go on until the window is over and end soon after; the limit drops the rest."""
    seconds = JOB.shape.operations / 1e6
    runtime = HostRuntime(rate=1e6)
    backend = GpuBackend(runtime, runtime.clock)
    backend.prepare(JOB.b_seed, JOB.shape.k, JOB.shape.n)
    before = runtime.now
    work = run_job(backend, JOB, window_s=20 * seconds)
    assert 20 <= work.commitment.rounds <= 26
    assert runtime.now - before < 27 * seconds
    verify_work_quickly(work)
    work.close()
    work = run_job(backend, JOB, window_s=20 * seconds, limit_s=10.5 * seconds)
    assert 9 <= work.commitment.rounds <= 11
    verify_work_quickly(work)
    work.close()
    with pytest.raises(JobTimeoutError):
        run_job(backend, JOB, window_s=20 * seconds, limit_s=seconds / 2)
    backend.close()
    assert runtime.used == 0
    runtime.close()


def verify_work_quickly(work: GpuWork) -> None:
    """With a bound on passes, which are fast beside the slow multiplications of this device."""
    work.run_passes(NONCE, window_s=0.0, limit_s=1e9, is_cancelled=never)
    last = work.commitment.rounds - 1
    work.open([Index(0, 0), Index(last, 1)])


def test_dropped_rounds_are_not_kept(cap: Cap) -> None:
    """What was queued when the limit passed has overwritten older rounds."""
    cap(rounds=100, kept_rows=6 * JOB.shape.m)
    seconds = JOB.shape.operations / 1e6
    runtime = HostRuntime(rate=1e6)
    backend = GpuBackend(runtime, runtime.clock)
    work = run_job(backend, JOB, limit_s=10.5 * seconds)
    assert 1 <= work.kept < 6
    verify_work(work)
    backend.close()
    runtime.close()


def test_cancelled_within_a_moment(cap: Cap) -> None:
    seconds = JOB.shape.operations / 1e6
    runtime = HostRuntime(rate=1e6)
    backend = GpuBackend(runtime, runtime.clock)
    backend.prepare(JOB.b_seed, JOB.shape.k, JOB.shape.n)
    end = runtime.now + 10 * seconds
    with pytest.raises(JobCancelledError):
        run_job(backend, JOB, is_cancelled=lambda: runtime.now >= end)
    assert runtime.now < end + 6 * seconds
    backend.close()
    assert runtime.used == 0
    runtime.close()
