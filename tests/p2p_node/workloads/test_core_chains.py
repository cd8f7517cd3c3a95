"""Chains on cores: the reference's bits, windows, limits, cancelling, and how many cores."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from p2p_node.workloads import core_chains
from p2p_node.workloads.backend import JobCancelledError, JobTimeoutError
from p2p_node.workloads.core_chains import ChainWork, CoreChains, count_cores
from protocols.chains import (
    MAX_CHAINS,
    MAX_ITERATIONS,
    Chain,
    ChainCommitment,
    ChainJob,
    SegmentIndex,
    compute_segment,
    compute_segment_openings_size,
    decode_commitments,
    draw_segments,
    encode_commitments,
    verify_segments,
)
from protocols.errors import LocalError
from tests.protocols import chain_vectors as ref

JOB = ChainJob(ref.JOB.digest, ref.JOB.nonce, ref.JOB.provider, ref.JOB.iterations)


class Clock:
    """Seconds that pass with the work done: one per segment."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def never() -> bool:
    return False


def run(
    cores: CoreChains,
    window_s: float,
    limit_s: float = 1000,
    is_cancelled: Callable[[], bool] = never,
) -> ChainWork:
    return cores.run(JOB, window_s=window_s, limit_s=limit_s, is_cancelled=is_cancelled)


@pytest.fixture
def one(monkeypatch: pytest.MonkeyPatch) -> Iterator[CoreChains]:
    """One core, on which a window of s seconds is s segments long."""
    clock = Clock()

    class TickingChain(Chain):
        def extend(self) -> None:
            super().extend()
            clock.now += 1

    monkeypatch.setattr(core_chains, "Chain", TickingChain)
    cores = CoreChains(1, clock)
    yield cores
    cores.close()


@pytest.mark.parametrize("segments", [1, 2, 7, 40])
def test_bits_are_those_of_the_reference(one: CoreChains, segments: int) -> None:
    work = run(one, segments)
    expected = ref.JOB.leaves(0, segments)
    assert encode_commitments(work.commitments) == ref.commit([expected])
    indices = [SegmentIndex(0, i) for i in range(0, segments, 3)]
    assert work.open(indices) == ref.open_pairs([expected], [tuple(index) for index in indices])


@pytest.mark.parametrize("number", [2, 5])
def test_every_core_has_a_chain_of_its_own(number: int) -> None:
    cores = CoreChains(number)
    assert cores.cores == number
    work = run(cores, window_s=0.02)
    cores.close()
    assert len(work.commitments) == number
    chains = decode_commitments(encode_commitments(work.commitments))
    assert chains == work.commitments
    for chain, commitment in enumerate(chains):
        first = ref.JOB.leaves(chain, min(3, commitment.segments))
        assert work.leaves[chain].startswith(b"".join(first))
    indices = draw_segments(bytes(32), chains)
    data = work.open(indices)
    assert len(data) == compute_segment_openings_size(chains, indices)
    verify_segments(JOB, chains, indices, data)


def test_openings_can_be_asked_for_again_until_the_work_is_closed(one: CoreChains) -> None:
    work = run(one, 9)
    indices = [SegmentIndex(0, 4), SegmentIndex(0, 8)]
    again = run(one, 3)
    assert work.open(indices) == work.open(indices)
    verify_segments(JOB, work.commitments, indices, work.open(indices))
    work.close()
    work.close()
    assert work.leaves == []
    with pytest.raises(LocalError, match="closed"):
        work.open(indices)
    assert len(again.open([SegmentIndex(0, 0)])) > 0


def test_a_segment_that_does_not_exist_is_not_opened(one: CoreChains) -> None:
    work = run(one, 3)
    for index in (SegmentIndex(0, 3), SegmentIndex(1, 0), SegmentIndex(-1, 0)):
        with pytest.raises(LocalError):
            work.open([index])


def test_a_chain_without_a_turn_may_do_a_segment_until_the_limit(one: CoreChains) -> None:
    assert run(one, window_s=0, limit_s=5).commitments[0].segments == 1


def test_no_segment_within_the_limit_is_a_timeout(one: CoreChains) -> None:
    with pytest.raises(JobTimeoutError, match="no segment"):
        run(one, window_s=0, limit_s=0)
    assert run(one, 2).commitments[0].segments == 2


def test_a_chain_without_a_turn_leaves_the_others_standing() -> None:
    """One of two threads comes to look at the time only after the limit."""
    seconds = count()
    both = threading.Barrier(2)
    met = threading.local()

    def clock() -> float:
        name = threading.current_thread().name
        return 1000 if name == "kaisar-chain_1" else next(seconds)

    def is_cancelled() -> bool:
        if not hasattr(met, "other"):
            met.other = both.wait(timeout=30)
        return False

    cores = CoreChains(2, clock)
    work = run(cores, window_s=5, limit_s=10, is_cancelled=is_cancelled)
    cores.close()
    late, other = sorted(work.commitments, key=lambda commitment: commitment.segments)
    assert (late, other.segments) == (ChainCommitment(0, bytes(32)), 4)
    assert decode_commitments(encode_commitments(work.commitments)) == work.commitments
    verify_segments(JOB, work.commitments, (), work.open(()))
    drawn = draw_segments(bytes(32), work.commitments)
    assert len(drawn) == 4
    verify_segments(JOB, work.commitments, drawn, work.open(drawn))


def test_cancelling_ends_all_chains_and_frees_the_cores() -> None:
    cores = CoreChains(3)
    seen = threading.Barrier(3)
    given_up = threading.Event()

    def is_cancelled() -> bool:
        if not given_up.is_set():
            seen.wait(timeout=30)
            given_up.set()
            return False
        return True

    with pytest.raises(JobCancelledError):
        run(cores, window_s=600, is_cancelled=is_cancelled)
    assert any(commitment.segments for commitment in run(cores, window_s=0.01).commitments)
    cores.close()


def test_a_closed_host_runs_nothing() -> None:
    cores = CoreChains(2)
    cores.close()
    cores.close()
    with pytest.raises(LocalError, match="closed"):
        run(cores, window_s=1)


def test_closing_ends_the_threads() -> None:
    before = threading.active_count()
    cores = CoreChains(4)
    run(cores, window_s=0.01)
    assert threading.active_count() > before
    cores.close()
    assert threading.active_count() == before


def test_a_chain_ends_at_the_most_segments(
    one: CoreChains, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core_chains, "MAX_SEGMENTS", 5)
    assert run(one, 1000).commitments == (
        ChainCommitment(5, ref.merkle_root(ref.JOB.leaves(0, 5))),
    )


def test_other_threads_go_on_during_a_segment() -> None:
    """The interpreter lock is given back, not just at the end of a time slice."""
    asked, answered = threading.Event(), threading.Event()

    def answer() -> None:
        asked.wait(timeout=60)
        answered.set()

    thread = threading.Thread(target=answer)
    thread.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        asked.set()
        segments = 0
        while not answered.is_set() and segments < 500:
            compute_segment(bytes(32), segments, b"", MAX_ITERATIONS)
            segments += 1
    finally:
        sys.setswitchinterval(interval)
    assert answered.is_set()
    thread.join()


# How many cores


@pytest.mark.parametrize("number", [0, -1, MAX_CHAINS + 1])
def test_a_number_of_cores_that_cannot_be(number: int) -> None:
    with pytest.raises(LocalError, match="cores: found"):
        CoreChains(number)


def test_by_default_all_cores_take_part() -> None:
    cores = CoreChains()
    assert cores.cores == count_cores()
    cores.close()


def set_affinity(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(number)), raising=False)


@pytest.mark.parametrize(("available", "counted"), [(1, 1), (96, 96), (600, MAX_CHAINS)])
def test_an_affinity_mask_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, available: int, counted: int
) -> None:
    set_affinity(monkeypatch, available)
    assert count_cores(tmp_path) == counted


@pytest.mark.parametrize(("number", "counted"), [(6, 6), (None, 1)])
def test_systems_without_affinity_say_how_many_there_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int | None, counted: int
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: number)
    assert count_cores(tmp_path) == counted


@pytest.mark.parametrize(
    ("text", "counted"),
    [
        ("400000 100000\n", 4),
        ("250000 100000\n", 2),
        ("50000 100000\n", 1),
        ("9900000 100000\n", 16),
        ("max 100000\n", 16),
        ("400000 0\n", 16),
        ("something else\n", 16),
    ],
)
def test_a_containers_quota_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, counted: int
) -> None:
    set_affinity(monkeypatch, 16)
    (tmp_path / "cpu.max").write_text(text)
    assert count_cores(tmp_path) == counted


@pytest.mark.parametrize(("quota", "counted"), [("300000\n", 3), ("-1\n", 16)])
def test_the_quota_of_older_kernels_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quota: str, counted: int
) -> None:
    set_affinity(monkeypatch, 16)
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert count_cores(tmp_path) == counted
