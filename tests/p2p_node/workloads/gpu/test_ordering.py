"""Streams may get ahead of each other as far as events allow: the bits are the same, and the host's
runtime would show it if an event were missing."""

import pytest

from p2p_node.workloads.backend import DeviceLostError
from p2p_node.workloads.gpu.backend import GpuBackend
from protocols.compute import compute_commitment
from tests.fakes.gpu_runtime import HostRuntime
from tests.p2p_node.workloads.gpu.conftest import Cap
from tests.p2p_node.workloads.gpu.proofs import make_job, multiply_rounds, run_job, verify_work

ROUNDS = 12

JOB = make_job(3, 32, 16)


def compute_root(seed: int, dropped: int | None = None) -> bytes:
    """Root of a job with streams in the order of `seed`; every other wait, from the first or the
    second on, may be left out. Those of the main stream are the odd ones."""
    runtime = HostRuntime(seed=seed)
    backend = GpuBackend(runtime, runtime.clock)
    backend.prepare(JOB.b_seed, JOB.shape.k, JOB.shape.n)
    if dropped is not None:
        before = runtime.waits
        runtime.is_wait_dropped = lambda number: (number - before) % 2 == dropped
    root = run_job(backend, JOB).commitment.root
    backend.close()
    runtime.close()
    return root


@pytest.fixture(autouse=True)
def rounds(cap: Cap) -> None:
    cap(rounds=ROUNDS, kept_rows=2 * JOB.shape.m)


@pytest.fixture(scope="module")
def expected() -> bytes:
    return compute_commitment(JOB, multiply_rounds(JOB, ROUNDS)[0]).root


@pytest.mark.parametrize("seed", range(10))
def test_any_order_gives_the_same_bits(seed: int, expected: bytes) -> None:
    assert compute_root(seed) == expected


@pytest.mark.parametrize("stream", ["main", "side"])
def test_a_missing_wait_shows(stream: str, expected: bytes) -> None:
    """The multiplication's wait for A, the digest's wait for the product."""
    dropped = 1 if stream == "main" else 0
    wrong = [seed for seed in range(10) if compute_root(seed, dropped) != expected]
    assert len(wrong) >= 8, wrong


def test_a_ring_of_one_slot_would_show(
    expected: bytes, monkeypatch: pytest.MonkeyPatch, cap: Cap
) -> None:
    """One slot is overwritten while it is digested: what MIN_SLOTS is for."""
    monkeypatch.setattr("p2p_node.workloads.gpu.sizing.MIN_SLOTS", 1)
    cap(rounds=ROUNDS, kept_rows=JOB.shape.m)
    assert any(compute_root(seed) != expected for seed in range(10))


def test_another_result_the_second_time_is_a_fault(host: HostRuntime, cap: Cap) -> None:
    """A device whose memory changed is not asked for anything more."""
    backend = GpuBackend(host, host.clock)
    cap(rounds=4, kept_rows=4 * JOB.shape.m)
    work = run_job(backend, JOB)
    for buffer in work._memory.ring._segments:
        buffer.view[:] ^= 1
    with pytest.raises(DeviceLostError, match="another result"):
        verify_work(work)
    with pytest.raises(DeviceLostError):
        backend.prepare(JOB.b_seed, JOB.shape.k, JOB.shape.n)
    backend.close()
    assert not host.buffers
