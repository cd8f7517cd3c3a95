"""Jobs for the GPU backend, what NumPy makes of them, and a checker's look at the answer."""

from collections.abc import Callable

import numpy as np

from p2p_node.workloads.gpu.backend import GpuBackend
from p2p_node.workloads.gpu.runtime import Runtime
from p2p_node.workloads.gpu.work import GpuWork
from protocols.compute import ComputeJob, Shape, derive_b_seed, digest_rows
from protocols.expand import expand_rows
from protocols.freivalds import prepare_check
from protocols.memory import MemoryJob, digest_pass_rows, draw_passes, verify_passes
from protocols.merkle import build_tree
from protocols.openings import draw_openings
from protocols.verify import verify_openings
from tests.fakes.gpu_runtime import HostRuntime

NONCE = bytes(range(32))
SECRET = bytes(range(32, 64))
FOREVER = 1e9


def never() -> bool:
    return False


def make_backend(runtime: Runtime) -> GpuBackend:
    """On the host's runtime with its simulated clock."""
    if isinstance(runtime, HostRuntime):
        return GpuBackend(runtime, runtime.clock)
    return GpuBackend(runtime)


def make_job(m: int = 7, k: int = 48, n: int = 32, **changes: object) -> ComputeJob:
    parts: dict[str, object] = {
        "b_seed": derive_b_seed(b"e" * 32, k, n),
        "nonce": NONCE,
        "provider": b"p" * 32,
        "device": 0,
    }
    return ComputeJob(Shape(m, k, n), **{**parts, **changes})  # type: ignore[arg-type]


def run_job(
    backend: GpuBackend,
    job: ComputeJob,
    window_s: float = FOREVER,
    limit_s: float = FOREVER,
    is_cancelled: Callable[[], bool] = never,
) -> GpuWork:
    backend.prepare(job.b_seed, job.shape.k, job.shape.n)
    return backend.run(job, window_s=window_s, limit_s=limit_s, is_cancelled=is_cancelled)


def run_passes(work: GpuWork, window_s: float = FOREVER, limit_s: float = FOREVER) -> object:
    return work.run_passes(NONCE, window_s=window_s, limit_s=limit_s, is_cancelled=never)


def multiply_rounds(job: ComputeJob, rounds: int) -> tuple[list[bytes], np.ndarray]:
    """Roots, and all rows of C of shape (rounds · m, n), straight from the definition."""
    shape = job.shape
    b = expand_rows(job.b_seed, shape.n, 0, shape.k).astype(np.int64)
    roots: list[bytes] = []
    products = []
    for number in range(rounds):
        a = expand_rows(job.derive_a_seed(number, roots), shape.k, 0, shape.m)
        products.append((a.astype(np.int64) @ b).astype(np.int32))
        roots.append(build_tree(digest_rows(products[-1], number, 0)).root)
    return roots, np.concatenate(products)


def digest_passes(job: MemoryJob, rows: np.ndarray, passes: int) -> list[bytes]:
    """Pass roots over the kept rows, the last ones of `rows`, straight from the definition."""
    kept = rows[len(rows) - job.rows :]
    roots: list[bytes] = []
    for number in range(passes):
        leaves = digest_pass_rows(kept, job.derive_start(number, roots), number, 0)
        roots.append(build_tree(leaves).root)
    return roots


def verify_work(work: GpuWork) -> None:
    """Ask for passes and openings as a checker does, and verify all of it."""
    job, commitment = work.job, work.commitment
    passes = run_passes(work)
    memory_job = MemoryJob(job.shape, commitment, work.kept, NONCE)
    drawn_rows = draw_openings(SECRET, commitment.rounds, job.shape.m, 24)
    drawn_passes = draw_passes(SECRET, [(passes.passes, memory_job.rows)], 12)[0]
    opened = sorted({*drawn_rows, *(memory_job.locate(index.row) for index in drawn_passes)})
    check = prepare_check(job.b_seed, job.shape, SECRET)
    openings = verify_openings(check, job, commitment, opened, work.open(opened))
    rows = dict(zip(opened, openings.rows, strict=True))
    pass_data = work.open_passes(drawn_passes)
    verify_passes(memory_job, passes, drawn_passes, pass_data, rows)
