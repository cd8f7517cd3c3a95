"""The CPU backend: the reference's bits, and what it does when things do not go to plan."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p_node.workloads import numpy_backend, numpy_plan
from p2p_node.workloads.backend import (
    DeviceBusyError,
    DeviceKind,
    DeviceMemoryError,
    JobCancelledError,
    JobTimeoutError,
    NotPreparedError,
)
from p2p_node.workloads.blas import get_blas_threads, limit_blas_threads
from p2p_node.workloads.exact_product import ExactProduct, Scratch
from p2p_node.workloads.numpy_backend import NumpyBackend
from protocols.compute import ComputeJob, Shape, WorkCommitment, derive_b_seed
from protocols.errors import LocalError
from protocols.freivalds import prepare_check
from protocols.openings import Index, draw_openings
from protocols.verify import verify_openings
from tests.p2p_node.workloads.numpy_world import (
    Clock,
    make_backend,
    make_job,
    never,
    prepare,
    run_rounds,
    to_job,
)
from tests.protocols import compute_reference as ref


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def backend(clock: Clock) -> Iterator[NumpyBackend]:
    backend = make_backend(clock, 7)
    yield backend
    backend.close()


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("sizes", [(7, 48, 32), (1, 16, 16), (33, 2064, 16), (6, 16, 1040)])
def test_bits_are_those_of_the_reference(
    threads: int, sizes: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the rows are no multiple of a tile, nor the columns of a block or a lane."""
    monkeypatch.setattr(numpy_plan, "TILE_ROWS", 4)
    job = make_job(*sizes)
    tiles = -(-job.m // min(4, -(-job.m // threads)))
    backend = make_backend(Clock(), job.m, threads)
    work = run_rounds(backend, to_job(job), 4 * tiles)
    expected = ref.prove(job, 4)
    assert work.commitment == WorkCommitment(4, expected.commitment)
    indices = [Index(t, i) for t in range(4) for i in range(0, job.m, 2)]
    assert work.open(indices) == expected.open([tuple(index) for index in indices])
    backend.close()


@given(st.integers(1, 40), st.integers(1, 70), st.integers(1, 20), st.integers(1, 3))
def test_any_size_is_verified(m: int, k16: int, n16: int, rounds: int) -> None:
    shape = Shape(m, 16 * k16, 16 * n16)
    b_seed = derive_b_seed(bytes(32), shape.k, shape.n)
    job = ComputeJob(shape, b_seed, bytes(32), bytes(32), 0)
    backend = make_backend(Clock(), m)
    work = run_rounds(backend, job, rounds)
    assert work.commitment.rounds == rounds
    indices = draw_openings(bytes(32), rounds, m)
    check = prepare_check(b_seed, shape, bytes(32))
    verify_openings(check, job, work.commitment, indices, work.open(indices))
    backend.close()


def test_rounds_go_on_until_the_window_is_over(backend: NumpyBackend) -> None:
    job = to_job(make_job())
    work = run_rounds(backend, job, 5)
    assert work.commitment.rounds == 5
    work.close()
    # One round is always done, however short the window.
    assert run_rounds(backend, job, 0).commitment.rounds == 1


def test_a_round_that_would_pass_the_limit_is_dropped(
    backend: NumpyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numpy_plan, "TILE_ROWS", 4)
    job = make_job(m=7)
    prepare(backend, to_job(job))
    work = backend.run(to_job(job), window_s=100, limit_s=5, is_cancelled=never)
    # Two tiles a round: the third round stands half done at five seconds.
    assert work.commitment == WorkCommitment(2, ref.prove(job, 2).commitment)
    assert work.kept == 2


def test_no_round_in_time_is_an_error_and_the_device_is_free_again(backend: NumpyBackend) -> None:
    job = to_job(make_job())
    prepare(backend, job)
    with pytest.raises(JobTimeoutError):
        backend.run(job, window_s=0, limit_s=0, is_cancelled=never)
    assert run_rounds(backend, job, 1).commitment.rounds == 1


@pytest.mark.parametrize("threads", [1, 2])
def test_a_job_cancelled_within_a_round_ends_at_the_next_checkpoint(threads: int) -> None:
    clock = Clock()
    backend = make_backend(clock, 7, threads)
    job = to_job(make_job())
    prepare(backend, job)
    with pytest.raises(JobCancelledError):
        backend.run(job, window_s=1000, limit_s=1000, is_cancelled=lambda: clock.now >= 11)
    assert 11 <= clock.now < 11 + 2 * threads
    assert run_rounds(backend, job, 1).commitment.rounds == 1
    backend.close()


def test_a_job_needs_its_own_b(backend: NumpyBackend) -> None:
    job, other = to_job(make_job()), to_job(make_job(b_seed=bytes(32)))
    for wrong in (job, other, to_job(make_job(m=6))):
        with pytest.raises(NotPreparedError):
            backend.run(wrong, window_s=1, limit_s=1, is_cancelled=never)
        prepare(backend, job)


def test_b_is_made_once_per_epoch_and_size() -> None:
    made: list[tuple[bytes, int, int]] = []

    def make_product(b_seed: bytes, k: int, n: int) -> ExactProduct:
        made.append((b_seed, k, n))
        return ExactProduct(b_seed, k, n)

    backend = NumpyBackend(rows=2, make_product=make_product)
    one, two = bytes(32), bytes([1] * 32)
    wanted = [(one, 16, 16), (one, 16, 16), (two, 16, 16), (two, 32, 16)]
    shapes = [backend.prepare(*each) for each in wanted]
    backend.close()
    assert made == [wanted[0], *wanted[2:]]
    assert shapes == [Shape(2, k, n) for _, k, n in wanted]


def test_m_is_measured_once_per_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once per epoch: all jobs of a size are alike, and an epoch's begin is short."""
    seconds = iter([1 / 16 / 300, 1 / 16 / 5])
    monkeypatch.setattr(numpy_backend, "measure_row_seconds", lambda *_: next(seconds))
    backend = NumpyBackend()
    assert backend.prepare(bytes(32), 16, 32) == Shape(256, 16, 32)
    assert backend.prepare(bytes([1] * 32), 16, 32) == Shape(256, 16, 32)
    assert backend.prepare(bytes(32), 32, 32) == Shape(64, 32, 32)
    backend.close()


def test_one_work_is_open_at_a_time(backend: NumpyBackend) -> None:
    job = to_job(make_job())
    work = run_rounds(backend, job, 1)
    with pytest.raises(DeviceBusyError):
        backend.run(job, window_s=1, limit_s=1, is_cancelled=never)
    with pytest.raises(DeviceBusyError):
        backend.prepare(bytes(32), 48, 32)
    # What is resident already needs nothing.
    prepare(backend, job)
    work.close()
    backend.prepare(bytes(32), 48, 32)


def test_opened_twice_gives_the_same_bytes(backend: NumpyBackend) -> None:
    work = run_rounds(backend, to_job(make_job()), 3)
    indices = draw_openings(bytes(32), 3, 7, 9)
    first = work.open(indices)
    assert work.open(indices) == first
    assert work.open(indices[:1]) != first


def test_closed_work_holds_nothing_and_opens_nothing(backend: NumpyBackend) -> None:
    work = run_rounds(backend, to_job(make_job()), 1)
    work.close()
    work.close()
    calls = (
        lambda: work.open([Index(0, 0)]),
        lambda: work.open_passes([]),
        lambda: work.run_passes(bytes(32), window_s=1, limit_s=1, is_cancelled=never),
    )
    for call in calls:
        with pytest.raises(LocalError, match="closed"):
            call()


def test_rows_that_do_not_exist_are_not_computed(backend: NumpyBackend, clock: Clock) -> None:
    work = run_rounds(backend, to_job(make_job()), 1)
    for index in (Index(1, 0), Index(0, 7)):
        with pytest.raises(LocalError, match="of 1 rounds of 7 rows"):
            work.open([index])
    assert clock.now == 1


def test_memory_bounds_the_rounds(clock: Clock) -> None:
    job = to_job(make_job())
    plan = numpy_plan.make_plan(job.shape, 1, numpy_backend.DEFAULT_MEMORY_BYTES)
    assert plan.max_rounds == 16_384
    fixed = find_least_memory(job.shape)
    # A round takes 896 bytes, its tree 448.
    for more, rounds, kept in [(0, 1, 0), (9 * 448, 4, 3), (100 * 448, 35, 33)]:
        backend = make_backend(clock, 7, memory_bytes=fixed + more)
        work = run_rounds(backend, job, 100)
        assert (work.commitment.rounds, work.kept) == (rounds, kept)
        backend.close()
    with pytest.raises(DeviceMemoryError, match="may be used"):
        NumpyBackend(rows=7, memory_bytes=fixed - 1).prepare(job.b_seed, 48, 32)


def find_least_memory(shape: Shape) -> int:
    """The least with which there is a plan."""
    low, high = 0, 1 << 30
    while low + 1 < high:
        middle = (low + high) // 2
        try:
            numpy_plan.make_plan(shape, 1, middle)
            high = middle
        except DeviceMemoryError:
            low = middle
    return high


def test_memory_that_the_system_refuses_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> ExactProduct:
        raise MemoryError("no memory")

    backend = NumpyBackend(rows=7, make_product=refuse)
    with pytest.raises(DeviceMemoryError, match="no memory"):
        backend.prepare(bytes(32), 48, 32)
    backend.close()


def test_a_job_without_room_for_a_tile_leaves_the_device_usable(
    backend: NumpyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = to_job(make_job())
    prepare(backend, job)

    def refuse(*_: object) -> Scratch:
        raise MemoryError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(Scratch, "allocate", refuse)
        with pytest.raises(DeviceMemoryError, match="no memory"):
            backend.run(job, window_s=1, limit_s=1, is_cancelled=never)
    assert run_rounds(backend, job, 1).commitment.rounds == 1


def test_tiles_of_long_rows_are_smaller(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setattr(numpy_plan, "_TILE_BYTES", 1)
    backend = make_backend(clock, 7)
    job = make_job()
    work = run_rounds(backend, to_job(job), job.m)
    assert work.commitment == WorkCommitment(1, ref.prove(job, 1).commitment)
    backend.close()


def test_threads_end_with_the_backend() -> None:
    backend = make_backend(Clock(), 7, threads=3)
    run_rounds(backend, to_job(make_job()), 0)
    backend.close()
    backend.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("kaisar-compute")]
    with pytest.raises(LocalError, match="closed"):
        backend.prepare(bytes(32), 16, 16)


def test_impossible_settings_are_our_bug() -> None:
    with pytest.raises(LocalError, match="threads: found 0"):
        NumpyBackend(0)


def test_device_describes_itself(backend: NumpyBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    device = backend.describe()
    assert (device.kind, device.backend) == (DeviceKind.CPU, "numpy")
    assert device.name

    def refuse(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr("p2p_node.workloads.numpy_backend.Path.read_text", refuse)
    assert backend.describe().name


def test_blas_is_kept_at_one_thread_per_call() -> None:
    if not limit_blas_threads(2):
        assert get_blas_threads() is None
        pytest.skip("NumPy is linked with a BLAS other than OpenBLAS")
    assert get_blas_threads() == 2
    NumpyBackend().close()
    assert get_blas_threads() == 1


@settings(max_examples=30)
@given(
    st.integers(1, 9),
    st.integers(1, 6),
    st.floats(1e-7, 1.0),
    st.integers(1, 64),
    st.integers(20, 34),
)
def test_any_measured_plan_holds_its_promises(
    k512: int, n512: int, row_seconds: float, threads: int, memory_bits: int
) -> None:
    k, n, memory_bytes = 512 * k512, 512 * n512, 1 << memory_bits
    m = numpy_plan.choose_rows(k, n, row_seconds, threads, memory_bytes)
    assert m & (m - 1) == 0
    try:
        plan = numpy_plan.make_plan(Shape(m, k, n), threads, memory_bytes)
    except DeviceMemoryError:
        assert m == 1
        return
    per_row = 4 * (1024 + 2 * n) + k + 4 * n
    fixed = 4 * k * n + threads * plan.tile_rows * per_row
    kept = plan.kept_rounds * m * 4 * n
    trees = plan.max_rounds * 64 * m
    assert fixed + kept + trees <= memory_bytes
    if m > 1:
        # At least nine tenths stay filled, also while one round is being replaced.
        left = min(memory_bytes - fixed, 16_384 * m * 4 * n)
        assert (plan.kept_rounds - 1) * m * 4 * n >= 0.88 * left


@pytest.mark.parametrize(
    ("row_seconds", "threads", "m"),
    [
        # Minimal on the machine this was written on, mainnet on one and four of its cores.
        (44e-6, 1, 1024),
        (2.8e-3, 1, 256),
        (2.8e-3, 4, 1024),
        # Slower ones: a round stays within a second.
        (20e-3, 1, 32),
        (1.5, 1, 1),
        (1e-9, 64, 1 << 20),
    ],
)
def test_rounds_are_short_and_tiles_full(row_seconds: float, threads: int, m: int) -> None:
    assert numpy_plan.choose_rows(2048, 1024, row_seconds, threads, 1 << 46) == m


def test_warm_up_measures_a_row() -> None:
    clock = Clock()
    product = clock.make_product(bytes(32), 2048, 32)
    # One second for 256 rows of half of B.
    assert numpy_plan.measure_row_seconds(product, 2048, 32, clock) == 2 / 256
    assert np.isfinite(numpy_plan.measure_row_seconds(product, 2048, 32))
