"""What the CPU backend keeps: filled, passed over, opened, and given back."""

import gc
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p_node.workloads import numpy_work
from p2p_node.workloads.backend import JobCancelledError, JobTimeoutError
from p2p_node.workloads.numpy_backend import NumpyBackend
from p2p_node.workloads.numpy_work import NumpyWork
from protocols.compute import ComputeJob, WorkCommitment
from protocols.errors import LocalError
from protocols.freivalds import prepare_check
from protocols.memory import MAX_PASSES, MemoryJob, PassCommitment, draw_passes, verify_passes
from protocols.openings import Index
from protocols.verify import verify_openings
from tests.p2p_node.workloads.numpy_world import (
    Clock,
    make_backend,
    make_job,
    never,
    run_rounds,
    to_job,
)
from tests.protocols import compute_reference as ref
from tests.protocols import memory_reference as memory

NONCE = ref.sha256(b"pass nonce")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def backend(clock: Clock) -> Iterator[NumpyBackend]:
    backend = make_backend(clock, 7)
    yield backend
    backend.close()


def make_passes(work: NumpyWork, clock: Clock, looks: int, limit: int = 1000) -> PassCommitment:
    """Passes for so many looks at the clock: one at each tile and two around each pass."""
    clock.step = 1
    try:
        return work.run_passes(NONCE, window_s=looks, limit_s=limit, is_cancelled=never)
    finally:
        clock.step = 0


def keep(work_backend: NumpyBackend, rounds: int) -> None:
    """Let the prepared backend keep so many rounds."""
    plan = work_backend._plan
    assert plan is not None
    object.__setattr__(plan, "kept_rounds", rounds)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("rounds", "capacity"), [(4, 3), (4, 4), (4, 9), (7, 2), (5, 1)])
def test_bits_are_those_of_the_reference(
    threads: int, rounds: int, capacity: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when kept rounds have been replaced, and rows are no multiple of a tile."""
    monkeypatch.setattr(numpy_work, "PASS_ROWS", 3)
    clock, job = Clock(), make_job()
    backend = make_backend(clock, job.m, threads)
    backend.prepare(job.b_seed, job.k, job.n)
    keep(backend, capacity)
    work = run_rounds(backend, to_job(job), rounds * threads)
    kept = min(rounds, capacity)
    assert (work.commitment.rounds, work.kept) == (rounds, kept)
    # Three tiles to a round, a look at the clock before each and one after the pass.
    found = make_passes(work, clock, 2 * (3 * kept + 1) + 1)
    proof = ref.prove(job, rounds)
    expected = memory.prove(proof, kept, NONCE, found.passes)
    assert found.passes >= 2
    assert found == PassCommitment(found.passes, expected.commitment)
    (indices,) = draw_passes(bytes(32), [(found.passes, kept * job.m)], 9)
    assert work.open_passes(indices) == expected.open([tuple(index) for index in indices])
    everything = [Index(t, i) for t in range(rounds) for i in range(job.m)]
    assert work.open(everything) == proof.open([tuple(index) for index in everything])
    backend.close()


@given(st.integers(1, 40), st.integers(1, 20), st.integers(1, 6), st.integers(1, 6))
def test_any_size_is_verified(m: int, n16: int, rounds: int, capacity: int) -> None:
    clock, job = Clock(), to_job(make_job(m, 16, 16 * n16))
    backend = make_backend(clock, m)
    backend.prepare(job.b_seed, 16, 16 * n16)
    keep(backend, capacity)
    work = run_rounds(backend, job, rounds)
    commitment = make_passes(work, clock, 1)
    memory_job = MemoryJob(job.shape, work.commitment, work.kept, NONCE)
    (pairs,) = draw_passes(bytes(32), [(commitment.passes, memory_job.rows)])
    indices = sorted({memory_job.locate(pair.row) for pair in pairs})
    check = prepare_check(job.b_seed, job.shape, bytes(32))
    opened = verify_openings(check, job, work.commitment, indices, work.open(indices))
    rows = dict(zip(indices, opened.rows, strict=True))
    verify_passes(memory_job, commitment, pairs, work.open_passes(pairs), rows)
    backend.close()


def test_a_round_dropped_at_the_limit_spoils_only_its_place(
    backend: NumpyBackend, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("p2p_node.workloads.numpy_plan.TILE_ROWS", 4)
    job = make_job()
    backend.prepare(job.b_seed, job.k, job.n)
    keep(backend, 3)
    # Two tiles a round: the sixth round stands half done in the place of the third.
    work = backend.run(to_job(job), window_s=100, limit_s=11, is_cancelled=never)
    assert (work.commitment.rounds, work.kept) == (5, 2)
    found = make_passes(work, clock, 1)
    expected = memory.prove(ref.prove(job, 5), 2, NONCE, found.passes)
    assert found.root == expected.commitment


def test_a_pass_that_would_pass_the_limit_is_dropped(backend: NumpyBackend, clock: Clock) -> None:
    job = make_job()
    work = run_rounds(backend, to_job(job), 3)
    # Four looks at the clock to a pass, and one before.
    found = make_passes(work, clock, 100, limit=11)
    expected = memory.prove(ref.prove(job, 3), 3, NONCE, 2)
    assert found == PassCommitment(2, expected.commitment)


def test_passes_have_a_bound(backend: NumpyBackend) -> None:
    """A clock that stands still does not make them go on for ever."""
    work = run_rounds(backend, to_job(make_job()), 1)
    assert work.run_passes(NONCE, window_s=1, limit_s=1, is_cancelled=never).passes == MAX_PASSES


def test_no_pass_in_time_is_an_error(backend: NumpyBackend, clock: Clock) -> None:
    work = run_rounds(backend, to_job(make_job()), 1)
    with pytest.raises(JobTimeoutError):
        make_passes(work, clock, 1, limit=0)
    with pytest.raises(LocalError, match="no passes"):
        work.open_passes([])


@pytest.mark.parametrize("threads", [1, 2])
def test_passes_cancelled_midway_leave_the_work_to_be_opened(threads: int) -> None:
    job, clock = make_job(), Clock()
    backend = make_backend(clock, 7, threads)
    work = run_rounds(backend, to_job(job), 3 * threads)
    looks = 0

    def is_cancelled() -> bool:
        nonlocal looks
        looks += 1
        return looks > 5

    with pytest.raises(JobCancelledError):
        work.run_passes(NONCE, window_s=1, limit_s=1, is_cancelled=is_cancelled)
    assert work.open([Index(2, 3)]) == ref.prove(job, 3).open([(2, 3)])
    backend.close()


def test_passes_are_made_once(backend: NumpyBackend, clock: Clock) -> None:
    work = run_rounds(backend, to_job(make_job()), 1)
    with pytest.raises(LocalError, match="no passes"):
        work.open_passes([])
    make_passes(work, clock, 1)
    assert work.open_passes([]) == b""
    with pytest.raises(LocalError, match="have been made"):
        make_passes(work, clock, 1)


def test_passes_opened_twice_give_the_same_bytes(backend: NumpyBackend, clock: Clock) -> None:
    work = run_rounds(backend, to_job(make_job()), 2)
    found = make_passes(work, clock, 9)
    (indices,) = draw_passes(bytes(32), [(found.passes, 14)], 5)
    assert work.open_passes(indices) == work.open_passes(indices)


def test_nothing_kept_is_nothing_to_pass_over(backend: NumpyBackend) -> None:
    job = make_job()
    backend.prepare(job.b_seed, job.k, job.n)
    keep(backend, 0)
    work = run_rounds(backend, to_job(job), 3)
    assert (work.kept, work.commitment.rounds) == (0, 3)
    assert work.open([Index(1, 3)]) == ref.prove(job, 3).open([(1, 3)])
    with pytest.raises(LocalError, match="nothing is kept"):
        work.run_passes(NONCE, window_s=1, limit_s=1, is_cancelled=never)


@pytest.mark.parametrize("granted", [0, 1, 2])
def test_memory_that_runs_out_leaves_fewer_rounds_kept(
    granted: int, backend: NumpyBackend, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No crash, no lost job: what was given, here round by round, is used for the last ones."""
    job, rounds = make_job(), 5
    empty, places = np.empty, 0

    def allocate(shape: object, dtype: object) -> np.ndarray:
        nonlocal places
        if shape == (1, job.m, job.n):
            places += 1
        if isinstance(shape, tuple) and len(shape) == 3 and (places > granted or shape[0] > 1):
            raise MemoryError
        return empty(shape, dtype)

    with monkeypatch.context() as patch:
        patch.setattr(numpy_work.np, "empty", allocate)
        work = run_rounds(backend, to_job(job), rounds)
    assert places == granted + 1
    assert (work.commitment.rounds, work.kept) == (rounds, granted)
    proof = ref.prove(job, rounds)
    assert work.commitment.root == proof.commitment
    if granted:
        found = make_passes(work, clock, 1)
        assert found.root == memory.prove(proof, granted, NONCE, found.passes).commitment


def run_whole_job(backend: NumpyBackend, job: ComputeJob) -> WorkCommitment:
    work = backend.run(job, window_s=0.05, limit_s=10, is_cancelled=never)
    work.run_passes(NONCE, window_s=0, limit_s=10, is_cancelled=never)
    work.open([Index(0, 0)])
    work.close()
    return work.commitment


def test_memory_is_back_where_it_was_after_every_job() -> None:
    backend = NumpyBackend(2, rows=256)
    job = to_job(make_job(256, 64, 1024))
    backend.prepare(job.b_seed, 64, 1024)
    run_whole_job(backend, job)
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(3):
            run_whole_job(backend, job)
            gc.collect()
            after, peak = tracemalloc.get_traced_memory()
            assert after - before < 100_000
        # It was there: at least one round of a mebibyte was kept.
        assert peak - before > 1 << 20
    finally:
        tracemalloc.stop()
        backend.close()


def test_a_cancelled_job_leaves_no_memory_behind() -> None:
    backend = NumpyBackend(rows=256)
    job = to_job(make_job(256, 64, 1024))
    backend.prepare(job.b_seed, 64, 1024)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        with pytest.raises(JobCancelledError):
            backend.run(
                job,
                window_s=100,
                limit_s=100,
                is_cancelled=lambda: tracemalloc.get_traced_memory()[0] > before + (6 << 20),
            )
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < 100_000
    finally:
        tracemalloc.stop()
        backend.close()
