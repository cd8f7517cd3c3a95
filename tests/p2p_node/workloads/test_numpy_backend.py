"""The CPU backend: the reference's bits, and what it does when things do not go to plan."""

import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p_node.workloads import numpy_backend
from p2p_node.workloads.backend import (
    DeviceKind,
    DeviceMemoryError,
    JobCancelledError,
    JobTimeoutError,
    NotPreparedError,
)
from p2p_node.workloads.blas import get_blas_threads, limit_blas_threads
from p2p_node.workloads.exact_product import ExactProduct, Scratch
from p2p_node.workloads.numpy_backend import NumpyBackend, NumpyWork
from protocols.compute import ComputeJob, Shape, WorkCommitment, derive_b_seed
from protocols.errors import LocalError
from protocols.freivalds import prepare_check
from protocols.openings import Index, draw_openings
from protocols.verify import verify_openings
from tests.protocols import compute_reference as ref


class Clock:
    """Seconds that pass with the work done: one per tile, so that jobs have an exact length."""

    def __init__(self) -> None:
        self.now = 0
        self._lock = threading.Lock()

    def __call__(self) -> float:
        return self.now

    def make_product(self, b_seed: bytes, shape: Shape) -> "TickingProduct":
        return TickingProduct(b_seed, shape, self)

    def tick(self) -> None:
        with self._lock:
            self.now += 1


class TickingProduct(ExactProduct):
    """An exact product that moves a clock on."""

    def __init__(self, b_seed: bytes, shape: Shape, clock: Clock) -> None:
        super().__init__(b_seed, shape)
        self._clock = clock

    def multiply(
        self,
        a: np.ndarray,
        out: np.ndarray,
        scratch: Scratch,
        checkpoint: Callable[[], None],
    ) -> None:
        super().multiply(a, out, scratch, checkpoint)
        self._clock.tick()


def make_job(m: int = 7, k: int = 48, n: int = 32, **changes: object) -> ref.Job:
    parts: dict[str, object] = {
        "b_seed": ref.b_seed(ref.sha256(b"epoch"), k, n),
        "nonce": ref.sha256(b"nonce"),
        "provider": ref.sha256(b"provider"),
        "device": 0,
    }
    return ref.Job(m=m, k=k, n=n, **{**parts, **changes})  # type: ignore[arg-type]


def to_job(job: ref.Job) -> ComputeJob:
    shape = Shape(job.m, job.k, job.n)
    return ComputeJob(shape, job.b_seed, job.nonce, job.provider, job.device)


def never() -> bool:
    return False


def run_rounds(backend: NumpyBackend, job: ComputeJob, seconds: int) -> NumpyWork:
    backend.prepare(job.b_seed, job.shape)
    return backend.run(job, window_s=seconds, limit_s=1000, is_cancelled=never)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def backend(clock: Clock) -> Iterator[NumpyBackend]:
    backend = NumpyBackend(make_product=clock.make_product, clock=clock)
    yield backend
    backend.close()


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("sizes", [(7, 48, 32), (1, 16, 16), (33, 2064, 16), (6, 16, 1040)])
def test_bits_are_those_of_the_reference(
    threads: int, sizes: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the rows are no multiple of a tile, nor the columns of a block or a segment."""
    monkeypatch.setattr(numpy_backend, "TILE_ROWS", 4)
    job = make_job(*sizes)
    tiles = -(-job.m // min(4, -(-job.m // threads)))
    clock = Clock()
    backend = NumpyBackend(threads, make_product=clock.make_product, clock=clock)
    work = run_rounds(backend, to_job(job), 3 * tiles)
    backend.close()
    expected = ref.prove(job, 3)
    assert work.commitment == WorkCommitment(3, expected.commitment)
    indices = [Index(t, i) for t in range(3) for i in range(0, job.m, 2)]
    assert work.open(indices) == expected.open([tuple(index) for index in indices])


@given(st.integers(1, 40), st.integers(1, 70), st.integers(1, 20), st.integers(1, 2))
def test_any_size_is_verified(m: int, k16: int, n16: int, rounds: int) -> None:
    shape = Shape(m, 16 * k16, 16 * n16)
    b_seed = derive_b_seed(bytes(32), shape.k, shape.n)
    job = ComputeJob(shape, b_seed, bytes(32), bytes(32), 0)
    clock = Clock()
    backend = NumpyBackend(make_product=clock.make_product, clock=clock)
    work = run_rounds(backend, job, rounds)
    backend.close()
    assert work.commitment.rounds == rounds
    indices = draw_openings(bytes(32), rounds, m)
    check = prepare_check(b_seed, shape, bytes(32))
    verify_openings(check, job, work.commitment, indices, work.open(indices))


def test_rounds_go_on_until_the_window_is_over(backend: NumpyBackend) -> None:
    job = to_job(make_job())
    assert run_rounds(backend, job, 5).commitment.rounds == 5
    # One round is always done, however short the window.
    assert run_rounds(backend, job, 0).commitment.rounds == 1


def test_a_round_that_would_pass_the_limit_is_dropped(
    backend: NumpyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numpy_backend, "TILE_ROWS", 4)
    job = make_job(m=7)
    backend.prepare(job.b_seed, Shape(7, 48, 32))
    work = backend.run(to_job(job), window_s=100, limit_s=5, is_cancelled=never)
    # Two tiles a round: the third round stands half done at five seconds.
    assert work.commitment == WorkCommitment(2, ref.prove(job, 2).commitment)


def test_no_round_in_time_is_an_error_and_the_device_is_free_again(backend: NumpyBackend) -> None:
    job = to_job(make_job())
    backend.prepare(job.b_seed, job.shape)
    with pytest.raises(JobTimeoutError):
        backend.run(job, window_s=0, limit_s=0, is_cancelled=never)
    assert run_rounds(backend, job, 1).commitment.rounds == 1


@pytest.mark.parametrize("threads", [1, 2])
def test_a_cancelled_job_ends_at_the_next_checkpoint(threads: int) -> None:
    clock = Clock()
    backend = NumpyBackend(threads, make_product=clock.make_product, clock=clock)
    job = to_job(make_job())
    backend.prepare(job.b_seed, job.shape)
    with pytest.raises(JobCancelledError):
        backend.run(job, window_s=1000, limit_s=1000, is_cancelled=lambda: clock.now >= 10)
    assert 10 <= clock.now < 10 + 2 * threads
    assert run_rounds(backend, job, 1).commitment.rounds == 1
    backend.close()


def test_a_job_needs_its_own_b(backend: NumpyBackend) -> None:
    job, other = to_job(make_job()), to_job(make_job(b_seed=bytes(32)))
    with pytest.raises(NotPreparedError):
        backend.run(job, window_s=1, limit_s=1, is_cancelled=never)
    backend.prepare(job.b_seed, job.shape)
    with pytest.raises(NotPreparedError):
        backend.run(other, window_s=1, limit_s=1, is_cancelled=never)


def test_b_is_made_once_per_epoch_and_shape(clock: Clock) -> None:
    made: list[bytes] = []

    def make_product(b_seed: bytes, shape: Shape) -> ExactProduct:
        made.append(b_seed)
        return ExactProduct(b_seed, shape)

    backend = NumpyBackend(make_product=make_product, clock=clock)
    one, two = bytes(32), bytes([1] * 32)
    for b_seed, shape in [
        (one, Shape(1, 16, 16)),
        (one, Shape(1, 16, 16)),
        (two, Shape(1, 16, 16)),
        (two, Shape(2, 16, 16)),
    ]:
        backend.prepare(b_seed, shape)
    assert made == [one, two, two]


def test_work_is_opened_after_the_epoch_has_changed(backend: NumpyBackend) -> None:
    job = make_job()
    work = run_rounds(backend, to_job(job), 2)
    backend.prepare(bytes(32), Shape(7, 48, 32))
    assert work.open([Index(1, 3)]) == ref.prove(job, 2).open([(1, 3)])


def test_closed_work_holds_nothing(backend: NumpyBackend) -> None:
    work = run_rounds(backend, to_job(make_job()), 1)
    work.close()
    work.close()
    assert work.trees == []
    with pytest.raises(LocalError, match="closed"):
        work.open([Index(0, 0)])


def test_rows_that_do_not_exist_are_not_computed(backend: NumpyBackend, clock: Clock) -> None:
    work = run_rounds(backend, to_job(make_job()), 1)
    for index in (Index(1, 0), Index(0, 7)):
        with pytest.raises(LocalError, match="of 1 rounds of 7 rows"):
            work.open([index])
    assert clock.now == 1


def test_memory_bounds_the_rounds(clock: Clock) -> None:
    shape = Shape(7, 48, 32)
    job = to_job(make_job())
    tile = shape.m * (Scratch.compute_size(1, shape.n) + shape.k + shape.row_bytes)
    fixed = 4 * shape.k * shape.n + tile
    backend = NumpyBackend(
        memory_bytes=fixed + 3 * 64 * shape.m, make_product=clock.make_product, clock=clock
    )
    assert run_rounds(backend, job, 100).commitment.rounds == 3
    with pytest.raises(DeviceMemoryError):
        NumpyBackend(memory_bytes=fixed + 64 * shape.m - 1).prepare(job.b_seed, shape)


def test_tiles_of_long_rows_are_smaller(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setattr(numpy_backend, "_TILE_BYTES", 1)
    backend = NumpyBackend(make_product=clock.make_product, clock=clock)
    job = make_job()
    work = run_rounds(backend, to_job(job), job.m)
    assert work.commitment == WorkCommitment(1, ref.prove(job, 1).commitment)


def test_threads_end_with_the_backend() -> None:
    backend = NumpyBackend(3)
    run_rounds(backend, to_job(make_job()), 0)
    backend.close()
    backend.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("kaisar-compute")]


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
