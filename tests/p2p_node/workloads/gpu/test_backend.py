"""The whole proof on a runtime: the bits of the protocol, accepted by its verifier."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from p2p_node.workloads.backend import (
    DeviceBusyError,
    DeviceKind,
    DeviceMemoryError,
    JobCancelledError,
    JobTimeoutError,
    NotPreparedError,
)
from p2p_node.workloads.gpu.backend import GpuBackend
from protocols.compute import compute_commitment, derive_b_seed
from protocols.errors import LocalError
from protocols.memory import MemoryJob, PassIndex, compute_pass_commitment
from protocols.openings import Index, decode_openings
from tests.p2p_node.workloads.gpu.conftest import Cap
from tests.p2p_node.workloads.gpu.proofs import (
    FOREVER,
    NONCE,
    digest_passes,
    make_job,
    multiply_rounds,
    never,
    run_job,
    run_passes,
    verify_work,
)

SIZES = [(7, 48, 32), (1, 16, 16), (33, 2064, 16), (70, 16, 1040), (40, 528, 272)]


@pytest.mark.parametrize("kept", [2, 3, 100])
@pytest.mark.parametrize("sizes", SIZES)
def test_bits_are_those_of_the_protocol(
    backend: GpuBackend, cap: Cap, sizes: tuple[int, int, int], kept: int
) -> None:
    """With rings that are overwritten again and again, and with one that holds every round."""
    job = make_job(*sizes)
    cap(rounds=9, passes=3, kept_rows=kept * job.shape.m)
    work = run_job(backend, job)
    roots, rows = multiply_rounds(job, 9)
    assert work.commitment == compute_commitment(job, roots)
    assert work.kept == min(9, kept)
    memory_job = MemoryJob(job.shape, work.commitment, work.kept, NONCE)
    pass_roots = digest_passes(memory_job, rows, 3)
    assert run_passes(work) == compute_pass_commitment(memory_job, pass_roots)
    indices = [Index(t, i) for t in range(9) for i in range(0, job.shape.m, 6)]
    opened = decode_openings(work.open(indices), job.shape, 9, indices)
    expected = rows.reshape(9, job.shape.m, job.shape.n)
    assert (opened.rows == expected[tuple(np.array(indices).T)]).all()
    work.close()


@pytest.mark.parametrize("kept", [2, 5])
@pytest.mark.parametrize("sizes", SIZES)
def test_openings_are_accepted(
    backend: GpuBackend, cap: Cap, sizes: tuple[int, int, int], kept: int
) -> None:
    cap(rounds=7, passes=4, kept_rows=kept * sizes[0])
    with_work = run_job(backend, make_job(*sizes))
    verify_work(with_work)
    with_work.close()


def test_passes_in_pieces_are_the_same(
    backend: GpuBackend, cap: Cap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When not all rows are mixed at once, the last piece being smaller."""
    job = make_job(5, 32, 48)
    cap(rounds=7, passes=2, kept_rows=7 * 5)
    monkeypatch.setattr("p2p_node.workloads.gpu.sizing.STATE_ROWS", 2 * 5)
    work = run_job(backend, job)
    memory_job = MemoryJob(job.shape, work.commitment, work.kept, NONCE)
    pass_roots = digest_passes(memory_job, multiply_rounds(job, 7)[1], 2)
    assert run_passes(work) == compute_pass_commitment(memory_job, pass_roots)
    work.close()


def test_openings_are_the_same_every_time(backend: GpuBackend, cap: Cap) -> None:
    """Also in turn with passes: neither disturbs what the other needs."""
    cap(rounds=6, passes=3, kept_rows=3 * 7)
    work = run_job(backend, make_job())
    rows, passes = [Index(0, 3), Index(5, 6)], [PassIndex(0, 1), PassIndex(2, 20)]
    before = work.open(rows)
    run_passes(work)
    opened = work.open_passes(passes)
    assert work.open(rows) == before
    assert work.open_passes(passes) == opened
    assert work.open_passes([]) == b""
    work.close()


def test_ten_checkers_at_once(backend: GpuBackend, cap: Cap) -> None:
    """Their threads wait for each other, and all get the same."""
    cap(rounds=6, passes=3, kept_rows=3 * 7)
    work = run_job(backend, make_job())
    run_passes(work)
    rows, passes = [Index(0, 3), Index(5, 6)], [PassIndex(0, 1), PassIndex(2, 20)]
    expected = (work.open(rows), work.open_passes(passes))
    with ThreadPoolExecutor(10) as pool:
        asked = [
            pool.submit(lambda: (work.open(rows), work.open_passes(passes))) for _ in range(10)
        ]
        assert {future.result(60) for future in asked} == {expected}
    work.close()


def test_work_binds_everything_in_the_job(backend: GpuBackend, cap: Cap) -> None:
    cap(rounds=3)
    changes = [{}, {"nonce": b"x" * 32}, {"provider": b"x" * 32}, {"device": 1}]
    roots = set()
    for change in changes:
        work = run_job(backend, make_job(**change))
        roots.add(work.commitment.root)
        work.close()
    assert len(roots) == len(changes)


def test_a_new_epoch_brings_a_new_b(backend: GpuBackend, cap: Cap) -> None:
    cap(rounds=2)
    for epoch in (b"1" * 32, b"2" * 32):
        job = make_job(b_seed=derive_b_seed(epoch, 48, 32))
        work = run_job(backend, job)
        assert work.commitment == compute_commitment(job, multiply_rounds(job, 2)[0])
        work.close()
    with pytest.raises(NotPreparedError):
        backend.run(make_job(), window_s=0, limit_s=FOREVER, is_cancelled=never)


def test_one_work_at_a_time(backend: GpuBackend, cap: Cap) -> None:
    cap(rounds=2)
    job = make_job()
    work = run_job(backend, job)
    assert backend.prepare(job.b_seed, 48, 32) == backend.prepare(job.b_seed, 48, 32)
    with pytest.raises(DeviceBusyError):
        backend.prepare(bytes(32), 48, 32)
    with pytest.raises(DeviceBusyError):
        run_job(backend, job)
    with pytest.raises(DeviceBusyError):
        backend.measure_copy_rate(1, 1024)
    work.close()
    run_job(backend, job).close()


def test_closed_is_closed(backend: GpuBackend, cap: Cap) -> None:
    cap(rounds=2)
    work = run_job(backend, make_job())
    run_passes(work)
    work.close()
    work.close()
    for use in (
        lambda: work.open([Index(0, 0)]),
        lambda: run_passes(work),
        lambda: work.open_passes([PassIndex(0, 0)]),
    ):
        with pytest.raises(LocalError, match="work is closed"):
            use()
    backend.close()
    backend.close()
    with pytest.raises(LocalError, match="backend is closed"):
        run_job(backend, make_job())


def test_what_does_not_exist_is_not_opened(backend: GpuBackend, cap: Cap) -> None:
    cap(rounds=2, passes=1)
    work = run_job(backend, make_job())
    with pytest.raises(LocalError, match="no passes"):
        work.open_passes([PassIndex(0, 0)])
    run_passes(work)
    with pytest.raises(LocalError, match="passes have been made"):
        run_passes(work)
    for indices in ([Index(2, 0)], [Index(0, 7)], [Index(1, 0), Index(0, 0)]):
        with pytest.raises(LocalError):
            work.open(indices)
    for pass_indices in ([PassIndex(1, 0)], [PassIndex(0, 14)]):
        with pytest.raises(LocalError):
            work.open_passes(pass_indices)
    with pytest.raises(LocalError, match="1025 openings"):
        work._gather_paths(work._require_open(), 7, [0] * 1025)
    work.close()


def test_sizes_that_do_not_exist_are_refused(backend: GpuBackend) -> None:
    with pytest.raises(LocalError, match="no multiple of 16"):
        backend.prepare(bytes(32), 17, 16)


@pytest.mark.parametrize("stage", ["rounds", "passes"])
def test_a_job_that_is_given_up_frees_the_device(backend: GpuBackend, cap: Cap, stage: str) -> None:
    """After a while, and from the start."""
    cap(rounds=1000, passes=4)
    for patience in (0, 3):
        asked = iter(range(10**6))
        given_up = lambda: next(asked) >= patience  # noqa: B023, E731
        if stage == "rounds":
            with pytest.raises(JobCancelledError):
                run_job(backend, make_job(), is_cancelled=given_up)
        else:
            cap(rounds=3, passes=1000)
            work = run_job(backend, make_job())
            with pytest.raises(JobCancelledError):
                work.run_passes(NONCE, window_s=9, limit_s=9, is_cancelled=given_up)
            work.close()
    cap(rounds=2, passes=2)
    work = run_job(backend, make_job())
    verify_work(work)
    work.close()


def test_no_time_at_all(backend: GpuBackend, cap: Cap) -> None:
    cap(rounds=2, passes=2)
    with pytest.raises(JobTimeoutError):
        run_job(backend, make_job(), limit_s=0)
    work = run_job(backend, make_job())
    with pytest.raises(JobTimeoutError):
        run_passes(work, limit_s=0)
    verify_work(work)
    work.close()


def test_a_job_that_never_fits(backend: GpuBackend) -> None:
    """128 GiB for a single round of C, and three are the least."""
    job = make_job(1 << 20, 16, 32_768)
    backend.prepare(job.b_seed, 16, 32_768)
    before = backend._device.runtime.get_memory()
    with pytest.raises(DeviceMemoryError):
        backend.run(job, window_s=0, limit_s=9, is_cancelled=never)
    assert backend._device.runtime.get_memory() == before


def test_the_device_describes_itself(backend: GpuBackend) -> None:
    info = backend.describe()
    assert info.kind is DeviceKind.GPU
    assert info.name
    assert info.memory_bytes == backend._device.runtime.get_memory()[1]


def test_memory_of_b_is_given_back_and_b_made_again(backend: GpuBackend, cap: Cap) -> None:
    job = make_job(7, 48, 32)
    cap(rounds=2, passes=1, kept_rows=14)
    backend.prepare(job.b_seed, 48, 32)
    backend.release()
    backend.release()
    with pytest.raises(NotPreparedError):
        backend.run(job, window_s=0, limit_s=FOREVER, is_cancelled=never)
    work = run_job(backend, job)
    with pytest.raises(DeviceBusyError):
        backend.release()
    work.close()
