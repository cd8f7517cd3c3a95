"""How large a CPU's rounds are and what fits its memory.

Of the memory that a backend may use, B takes 4·k·n bytes, each thread a tile, and the rest goes to
the rounds that are kept (15/16, the fill of the memory proof) and to the trees of all rounds (64
bytes a row): that is room for the trees of n/240 times as many rounds as are kept.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from p2p_node.workloads.backend import DeviceMemoryError
from p2p_node.workloads.exact_product import BLOCK, Product, Scratch
from protocols.compute import MAX_M, MAX_ROUNDS, Shape
from protocols.expand import expand_rows
from protocols.memory import MAX_KEPT_ROWS
from protocols.merkle import DIGEST_BYTES

ROUND_SECONDS = 1 / 16
"""How long a round should take: the shorter, the less is lost at the end of a window."""

FULL_TILE_ROWS = 256
"""Rows per thread that a round should have all the same. BLAS packs B anew for every call, which
is felt below (measured at k = 16,384, n = 8192: 0.43 of its best rate with 16 rows, 0.86 with 128,
0.95 with 256)."""

LONGEST_ROUND_SECONDS = 1.0
"""Beyond this a round has fewer rows than FULL_TILE_ROWS: a window is a few seconds."""

TILE_ROWS = 512
"""Most rows multiplied at once."""

_TILE_BYTES = 64 << 20
"""Most memory that a tile takes; with long rows it has fewer of them."""

_TREE_ROW_BYTES = 2 * DIGEST_BYTES

_FILL = (15, 16)
"""Share of the free memory for kept rounds."""

_LEAST_KEPT = 32
"""Rounds that the memory for kept rounds holds at least, so that little of it is left over."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes of the jobs on one (k, n)."""

    shape: Shape
    tile_rows: int
    kept_rounds: int
    """Most rounds that are kept; may be 0."""
    max_rounds: int


def make_plan(shape: Shape, threads: int, memory_bytes: int) -> Plan:
    """Share the memory out. DeviceMemoryError when not even the tree of one round fits."""
    tile_rows = _choose_tile_rows(shape.m, shape.k, shape.n, threads)
    free = _compute_free(tile_rows, shape.k, shape.n, threads, memory_bytes)
    trees = _TREE_ROW_BYTES * shape.m
    if free < trees:
        raise DeviceMemoryError(
            f"{shape} needs {memory_bytes - free + trees} bytes, {memory_bytes} may be used"
        )
    slot = shape.m * shape.row_bytes
    kept = min(
        free * _FILL[0] // _FILL[1] // slot,
        # With very short rows: no more than have a tree.
        free // (slot + trees),
        MAX_ROUNDS,
        MAX_KEPT_ROWS // shape.m,
    )
    return Plan(shape, tile_rows, kept, min(MAX_ROUNDS, (free - kept * slot) // trees))


def choose_rows(k: int, n: int, row_seconds: float, threads: int, memory_bytes: int) -> int:
    """m, a power of two, for a CPU that takes `row_seconds` on each thread for a row.

    DeviceMemoryError when not even one row fits.
    """
    rows = ROUND_SECONDS / row_seconds
    if rows < FULL_TILE_ROWS:
        rows = min(FULL_TILE_ROWS, max(rows, LONGEST_ROUND_SECONDS / row_seconds))
    wanted = max(1, min(MAX_M, int(rows) * threads))
    m = 1 << int(math.log2(wanted))
    while m > 1:
        free = _compute_free(_choose_tile_rows(m, k, n, threads), k, n, threads, memory_bytes)
        if free * _FILL[0] // _FILL[1] >= _LEAST_KEPT * m * 4 * n:
            break
        m //= 2
    return m


def measure_row_seconds(
    product: Product, k: int, n: int, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Seconds that one thread takes for a row of C: the best of four tries over one block."""
    rows = min(FULL_TILE_ROWS, _choose_tile_rows(FULL_TILE_ROWS, k, n, 1))
    width = min(k, BLOCK)
    scratch = Scratch.allocate(rows, n)
    a, out = expand_rows(bytes(32), width, 0, rows), np.empty((rows, n), np.int32)
    best = math.inf
    for _ in range(4):
        started = clock()
        product.multiply(a, out, scratch, lambda: None)
        best = min(best, clock() - started)
    return max(best, 1e-9) * k / width / rows


def _choose_tile_rows(m: int, k: int, n: int, threads: int) -> int:
    per_row = Scratch.compute_size(1, n) + k + 4 * n
    return max(1, min(TILE_ROWS, -(-m // threads), _TILE_BYTES // per_row))


def _compute_free(tile_rows: int, k: int, n: int, threads: int, memory_bytes: int) -> int:
    per_row = Scratch.compute_size(1, n) + k + 4 * n
    return memory_bytes - 4 * k * n - threads * tile_rows * per_row
