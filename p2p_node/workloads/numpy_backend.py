"""The compute and memory proofs on a CPU: philox, float32 BLAS and the mix, tile by tile.

A round is cut into tiles of rows, and each tile is expanded, multiplied and digested while it is
in cache. With `threads` > 1 tiles run side by side; everything heavy in them releases the GIL.
"""

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from p2p_node.workloads.backend import (
    DeviceBusyError,
    DeviceInfo,
    DeviceKind,
    DeviceMemoryError,
    JobCancelledError,
    JobTimeoutError,
    NotPreparedError,
)
from p2p_node.workloads.blas import limit_blas_threads
from p2p_node.workloads.exact_product import ExactProduct, Product, Scratch
from p2p_node.workloads.numpy_plan import Plan, choose_rows, make_plan, measure_row_seconds
from p2p_node.workloads.numpy_work import KeptRounds, NumpyWork
from p2p_node.workloads.tiles import OutOfTimeError, Tiles
from protocols.compute import ComputeJob, Shape, digest_rows
from protocols.errors import LocalError
from protocols.expand import expand_rows
from protocols.merkle import MerkleTree, build_tree

DEFAULT_MEMORY_BYTES = 2 << 30


@dataclass(frozen=True, slots=True, eq=False)
class _Resident:
    """A prepared B, and how jobs on it are cut up."""

    b_seed: bytes
    product: Product
    plan: Plan


class NumpyBackend:
    """`ComputeBackend` on the host's CPU.

    `threads` is how many cores a job takes; `memory_bytes` bounds B (4 bytes per element), tiles,
    trees and the kept rounds of one job. `rows` fixes m, which is chosen by a warm-up otherwise.
    `make_product` makes what multiplies by the B of (seed, k, n); `clock` counts seconds. Sets
    BLAS to one thread per call for the whole process.
    """

    def __init__(
        self,
        threads: int = 1,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
        rows: int | None = None,
        make_product: Callable[[bytes, int, int], Product] = ExactProduct,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tiles = Tiles(threads)
        limit_blas_threads(1)
        self._memory_bytes = memory_bytes
        self._rows = rows
        self._make_product = make_product
        self._clock = clock
        self._resident: _Resident | None = None
        self._plan: Plan | None = None
        self._work: NumpyWork | None = None
        self._closed = False

    def describe(self) -> DeviceInfo:
        """Name the CPU."""
        return DeviceInfo(DeviceKind.CPU, read_cpu_name(), "numpy", self._memory_bytes)

    def prepare(self, b_seed: bytes, k: int, n: int) -> Shape:
        """Expand B; see `backend.ComputeBackend`."""
        self._require_open()
        plan = self._plan
        if plan is not None and (plan.shape.k, plan.shape.n) != (k, n):
            plan = None
        resident = self._resident
        if resident and plan and resident.b_seed == b_seed:
            return plan.shape
        if self._work is not None:
            raise DeviceBusyError("an earlier job's work is open")
        threads = self._tiles.threads
        # Refuses a B that does not fit before it is made.
        make_plan(Shape(self._rows or 1, k, n), threads, self._memory_bytes)
        # Gone before the new one comes, so that both are not held at once.
        resident = self._resident = None
        try:
            product = self._make_product(b_seed, k, n)
            if plan is None:
                rows = self._rows or choose_rows(
                    k, n, measure_row_seconds(product, k, n), threads, self._memory_bytes
                )
                plan = make_plan(Shape(rows, k, n), threads, self._memory_bytes)
        except MemoryError as error:
            raise DeviceMemoryError(f"B of {k} × {n}: {error}") from error
        self._plan = plan
        self._resident = _Resident(b_seed, product, plan)
        return plan.shape

    def run(
        self,
        job: ComputeJob,
        *,
        window_s: float,
        limit_s: float,
        is_cancelled: Callable[[], bool],
    ) -> NumpyWork:
        """Do the job; see `backend.ComputeBackend`."""
        started = self._clock()
        self._require_open()
        if self._work is not None:
            raise DeviceBusyError("an earlier job's work is open")
        resident = self._resident
        if resident is None or (resident.b_seed, resident.plan.shape) != (job.b_seed, job.shape):
            raise NotPreparedError("B is not resident")
        plan = resident.plan

        def checkpoint() -> None:
            if is_cancelled():
                raise JobCancelledError("job cancelled")
            if self._clock() - started >= limit_s:
                raise OutOfTimeError

        kept = KeptRounds(job.shape.m, job.shape.n, plan.kept_rounds)
        trees: list[MerkleTree] = []
        roots: list[bytes] = []
        try:
            rounds = _Rounds(job, resident, self._tiles, checkpoint)
            while len(trees) < plan.max_rounds:
                try:
                    leaves = rounds.compute_leaves(roots, kept.begin(len(trees)))
                except OutOfTimeError:
                    break
                trees.append(build_tree(leaves))
                roots.append(trees[-1].root)
                if self._clock() - started >= window_s:
                    break
        except MemoryError as error:
            raise DeviceMemoryError(f"{job.shape}: {error}") from error
        if not trees:
            raise JobTimeoutError(f"no round within {limit_s:g} s")
        self._work = NumpyWork(
            job,
            trees,
            kept,
            resident.product,
            plan.tile_rows,
            self._tiles,
            self._clock,
            self._release,
        )
        return self._work

    def release(self) -> None:
        """Let go of B; see `backend.ComputeBackend`."""
        self._require_open()
        if self._work is not None:
            raise DeviceBusyError("an earlier job's work is open")
        self._resident = None

    def close(self) -> None:
        """End the threads, let go of B and of an open work."""
        self._closed = True
        if self._work is not None:
            self._work.close()
        self._resident = None
        self._tiles.close()

    def _release(self) -> None:
        self._work = None

    def _require_open(self) -> None:
        if self._closed:
            raise LocalError("backend is closed")


class _Rounds:
    """The rounds of one job, with room for one tile per thread."""

    def __init__(
        self,
        job: ComputeJob,
        resident: _Resident,
        tiles: Tiles,
        checkpoint: Callable[[], None],
    ) -> None:
        self._job = job
        self._product = resident.product
        self._rows = resident.plan.tile_rows
        self._tiles = tiles
        self._checkpoint = checkpoint
        n = job.shape.n
        self._free: SimpleQueue[tuple[Scratch, NDArray[np.int32]]] = SimpleQueue()
        for _ in range(tiles.threads):
            self._free.put((Scratch.allocate(self._rows, n), np.empty((self._rows, n), np.int32)))

    def compute_leaves(self, roots: Sequence[bytes], kept: NDArray[np.int32] | None) -> bytes:
        """Leaves of all rows of the round after those of `roots`; the rows go to `kept`."""
        job, number = self._job, len(roots)
        seed = job.derive_a_seed(number, roots)

        def compute(start: int) -> bytes:
            self._checkpoint()
            count = min(self._rows, job.shape.m - start)
            scratch, own = self._free.get_nowait()
            try:
                rows = own[:count] if kept is None else kept[start : start + count]
                a = expand_rows(seed, job.shape.k, start, count)
                self._product.multiply(a, rows, scratch, self._checkpoint)
                return digest_rows(rows, number, start)
            finally:
                self._free.put((scratch, own))

        return self._tiles.join(compute, range(0, job.shape.m, self._rows))


def read_cpu_name() -> str:
    """Model name of the CPU where the system tells it, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine() or os.name
