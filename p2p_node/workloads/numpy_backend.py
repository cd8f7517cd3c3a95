"""The compute proof on a CPU: philox, float32 BLAS and SHA-256, tile by tile.

A round is cut into tiles of rows, and each tile is expanded, multiplied and hashed while it is in
cache. With `threads` > 1 tiles run side by side; everything heavy in them releases the GIL.
"""

import os
import platform
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from p2p_node.workloads.backend import (
    DeviceInfo,
    DeviceKind,
    DeviceMemoryError,
    JobCancelledError,
    JobTimeoutError,
    NotPreparedError,
)
from p2p_node.workloads.blas import limit_blas_threads
from p2p_node.workloads.exact_product import ExactProduct, Product, Scratch
from protocols.compute import (
    FIRST_ROOT,
    MAX_ROUNDS,
    ComputeJob,
    Shape,
    WorkCommitment,
    compute_commitment,
    digest_rows,
)
from protocols.errors import LocalError
from protocols.expand import expand_each, expand_rows
from protocols.merkle import DIGEST_BYTES, MerkleTree, build_tree
from protocols.openings import Index, Openings, compute_openings_size, encode_openings

DEFAULT_MEMORY_BYTES = 2 << 30

TILE_ROWS = 512
"""Rows multiplied at once. BLAS packs B anew for every call, which 512 rows pay for and 64 do not
(measured: 0.93 of its own speed against 0.72)."""

_TILE_BYTES = 64 << 20
"""Most memory that a tile takes; with long rows it has fewer of them."""


class _OutOfTimeError(Exception):
    """The limit passed within a round."""


@dataclass(frozen=True, slots=True, eq=False)
class _Resident:
    """A prepared B, and how jobs on it are cut up."""

    b_seed: bytes
    shape: Shape
    product: Product
    tile_rows: int
    max_rounds: int


@dataclass(slots=True, eq=False)
class NumpyWork:
    """A finished job: trees of all rounds, and B to compute opened rows again."""

    job: ComputeJob
    trees: list[MerkleTree]
    product: Product | None
    tile_rows: int
    commitment: WorkCommitment = field(init=False)

    def __post_init__(self) -> None:
        self.commitment = compute_commitment(self.job, [tree.root for tree in self.trees])

    def open(self, indices: Sequence[Index]) -> bytes:
        """Compute the rows again; see `backend.Work`."""
        if self.product is None:
            raise LocalError("work is closed")
        job, shape = self.job, self.job.shape
        # Refuses indices that do not exist before anything is computed for them.
        compute_openings_size(shape, len(self.trees), indices)
        roots = tuple(tree.root for tree in self.trees)
        previous_roots = (FIRST_ROOT, *roots)
        seeds = {i.round: job.derive_a_seed(i.round, previous_roots[i.round]) for i in indices}
        rows = np.empty((len(indices), shape.n), np.int32)
        scratch = Scratch.allocate(min(self.tile_rows, len(indices)), shape.n)
        for first in range(0, len(indices), self.tile_rows):
            tile = indices[first : first + self.tile_rows]
            a = expand_each([(seeds[index.round], index.row) for index in tile], shape.k)
            self.product.multiply(a, rows[first : first + len(tile)], scratch, lambda: None)
        paths = tuple(self.trees[index.round].path(index.row) for index in indices)
        return encode_openings(Openings(rows, roots, paths))

    def close(self) -> None:
        """Let go of the trees, and of B unless it is resident still."""
        self.trees = []
        self.product = None


class NumpyBackend:
    """`ComputeBackend` on the host's CPU.

    `threads` is how many cores a job takes; `memory_bytes` bounds B (4 bytes per element), tiles
    and the trees of one job (64·m bytes a round). `make_product` makes what multiplies;
    `clock` counts seconds. Sets BLAS to one thread per call for the whole process.
    """

    def __init__(
        self,
        threads: int = 1,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
        make_product: Callable[[bytes, Shape], Product] = ExactProduct,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if threads < 1:
            raise LocalError(f"threads: found {threads}, expected at least 1")
        limit_blas_threads(1)
        self._threads = threads
        self._memory_bytes = memory_bytes
        self._make_product = make_product
        self._clock = clock
        self._resident: _Resident | None = None
        self._pool = ThreadPoolExecutor(threads, "kaisar-compute") if threads > 1 else None

    def describe(self) -> DeviceInfo:
        """Name the CPU."""
        return DeviceInfo(DeviceKind.CPU, _read_cpu_name(), "numpy", self._memory_bytes)

    def prepare(self, b_seed: bytes, shape: Shape) -> None:
        """Expand B; see `backend.ComputeBackend`."""
        resident = self._resident
        if resident and (resident.b_seed, resident.shape) == (b_seed, shape):
            return
        per_row = Scratch.compute_size(1, shape.n) + shape.k + shape.row_bytes
        tile_rows = max(1, min(TILE_ROWS, -(-shape.m // self._threads), _TILE_BYTES // per_row))
        fixed = 4 * shape.k * shape.n + self._threads * tile_rows * per_row
        max_rounds = (self._memory_bytes - fixed) // (2 * DIGEST_BYTES * shape.m)
        if max_rounds < 1:
            raise DeviceMemoryError(f"{shape} needs {fixed} bytes and 64·m per round")
        # Gone before the new one comes, so that both are not held at once.
        self._resident = None
        product = self._make_product(b_seed, shape)
        self._resident = _Resident(b_seed, shape, product, tile_rows, min(MAX_ROUNDS, max_rounds))

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
        resident = self._resident
        if resident is None or (resident.b_seed, resident.shape) != (job.b_seed, job.shape):
            raise NotPreparedError("B is not resident")

        def checkpoint() -> None:
            if is_cancelled():
                raise JobCancelledError("job cancelled")
            if self._clock() - started >= limit_s:
                raise _OutOfTimeError

        tiles = _Tiles(job, resident, self._pool, self._threads, checkpoint)
        trees: list[MerkleTree] = []
        previous_root = FIRST_ROOT
        while len(trees) < resident.max_rounds:
            try:
                leaves = tiles.compute_leaves(len(trees), previous_root)
            except _OutOfTimeError:
                break
            trees.append(build_tree(leaves))
            previous_root = trees[-1].root
            if self._clock() - started >= window_s:
                break
        if not trees:
            raise JobTimeoutError(f"no round within {limit_s} s")
        return NumpyWork(job, trees, resident.product, resident.tile_rows)

    def close(self) -> None:
        """End the threads and let go of B."""
        self._resident = None
        if self._pool:
            self._pool.shutdown()


class _Tiles:
    """The rounds of one job, cut into tiles, with room for one tile per thread."""

    def __init__(
        self,
        job: ComputeJob,
        resident: _Resident,
        pool: ThreadPoolExecutor | None,
        threads: int,
        checkpoint: Callable[[], None],
    ) -> None:
        self._job = job
        self._product = resident.product
        self._rows = resident.tile_rows
        self._pool = pool
        self._checkpoint = checkpoint
        n = job.shape.n
        self._free: SimpleQueue[tuple[Scratch, NDArray[np.int32]]] = SimpleQueue()
        for _ in range(threads):
            self._free.put((Scratch.allocate(self._rows, n), np.empty((self._rows, n), np.int32)))

    def compute_leaves(self, round_number: int, previous_root: bytes) -> bytes:
        """Leaves of all rows of one round, end to end."""
        seed = self._job.derive_a_seed(round_number, previous_root)
        starts = range(0, self._job.shape.m, self._rows)
        if self._pool is None:
            return b"".join([self._compute_tile(seed, round_number, start) for start in starts])
        futures = [
            self._pool.submit(self._compute_tile, seed, round_number, start) for start in starts
        ]
        # All of them, also when one raises: the others raise at their next checkpoint, and no
        # tile of this job may run on beside the next one.
        wait(futures)
        return b"".join([future.result() for future in futures])

    def _compute_tile(self, seed: bytes, round_number: int, start: int) -> bytes:
        self._checkpoint()
        count = min(self._rows, self._job.shape.m - start)
        scratch, rows = self._free.get_nowait()
        try:
            a = expand_rows(seed, self._job.shape.k, start, count)
            self._product.multiply(a, rows[:count], scratch, self._checkpoint)
            return digest_rows(rows[:count], round_number, start)
        finally:
            self._free.put((scratch, rows))


def _read_cpu_name() -> str:
    """Model name of the CPU where the system tells it, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine() or os.name
