"""The real sizes on a real GPU, where there is one."""

from collections.abc import Iterator

import pytest

from p2p_node.workloads.backend import DeviceMemoryError
from p2p_node.workloads.gpu.backend import GpuBackend
from p2p_node.workloads.gpu.devices import list_gpus, open_gpu
from p2p_node.workloads.gpu.runtime import Buffer
from protocols.compute import ComputeJob, derive_b_seed
from protocols.freivalds import prepare_check
from protocols.memory import MemoryJob, draw_passes, verify_passes
from protocols.openings import draw_openings
from protocols.params import MAINNET
from protocols.verify import verify_openings
from tests import require
from tests.p2p_node.workloads.gpu.proofs import NONCE, SECRET, never

SLACK_BYTES = 64 << 20
"""What the driver may take for itself in between."""


@pytest.fixture
def backend() -> Iterator[GpuBackend]:
    require.gpu()
    backend = open_gpu(list_gpus().gpus[0].index)
    yield backend
    backend.close()


def get_free(backend: GpuBackend) -> int:
    return backend._device.runtime.get_memory()[0]


def make_job(backend: GpuBackend, nonce: bytes = NONCE) -> ComputeJob:
    b_seed = derive_b_seed(b"e" * 32, MAINNET.k, MAINNET.n)
    shape = backend.prepare(b_seed, MAINNET.k, MAINNET.n)
    return ComputeJob(shape, b_seed, nonce, b"p" * 32, 0)


def test_a_job_of_the_main_network(backend: GpuBackend) -> None:
    """Nine tenths of the memory are covered, a CPU verifies all of it, and all is given back."""
    job = make_job(backend)
    before, total = backend._device.runtime.get_memory()
    work = backend.run(job, window_s=3.0, limit_s=6.0, is_cancelled=never)
    memory_job = MemoryJob(job.shape, work.commitment, work.kept, NONCE)
    if before > 0.97 * total - MAINNET.k * MAINNET.n:
        assert memory_job.kept_bytes >= 0.9 * total
    passes = work.run_passes(NONCE, window_s=1.0, limit_s=3.0, is_cancelled=never)
    rows = draw_openings(SECRET, work.commitment.rounds, job.shape.m)
    pairs = draw_passes(SECRET, [(passes.passes, memory_job.rows)])[0]
    opened = sorted({*rows, *(memory_job.locate(pair.row) for pair in pairs)})
    check = prepare_check(job.b_seed, job.shape, SECRET)
    openings = verify_openings(check, job, work.commitment, opened, work.open(opened))
    found = dict(zip(opened, openings.rows, strict=True))
    verify_passes(memory_job, passes, pairs, work.open_passes(pairs), found)
    work.close()
    assert get_free(backend) >= before - SLACK_BYTES


def test_jobs_one_after_another_take_no_more(backend: GpuBackend) -> None:
    job = make_job(backend)
    backend.run(job, window_s=0.1, limit_s=6.0, is_cancelled=never).close()
    before = get_free(backend)
    for _ in range(3):
        backend.run(job, window_s=0.1, limit_s=6.0, is_cancelled=never).close()
    assert get_free(backend) >= before - SLACK_BYTES


def test_a_job_on_a_device_that_is_nearly_full(backend: GpuBackend) -> None:
    job = make_job(backend)
    runtime = backend._device.runtime
    taken: list[Buffer] = []
    size = 1 << 34
    while size > 1 << 20:
        try:
            taken.append(runtime.allocate(size))
        except DeviceMemoryError:
            size //= 2
    with pytest.raises(DeviceMemoryError):
        backend.run(job, window_s=0.1, limit_s=6.0, is_cancelled=never)
    for buffer in taken:
        buffer.free()
    backend.run(job, window_s=0.1, limit_s=6.0, is_cancelled=never).close()
