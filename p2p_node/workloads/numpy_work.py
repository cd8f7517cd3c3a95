"""A finished job of the NumPy backend: what it keeps, how it is opened and passed over."""

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from p2p_node.workloads.backend import JobCancelledError, JobTimeoutError
from p2p_node.workloads.exact_product import Product, Scratch
from p2p_node.workloads.tiles import OutOfTimeError, Tiles
from protocols.compute import ComputeJob, WorkCommitment, compute_commitment
from protocols.errors import LocalError
from protocols.expand import expand_each
from protocols.memory import (
    MAX_PASSES,
    MemoryJob,
    PassCommitment,
    PassIndex,
    PassOpenings,
    compute_pass_commitment,
    compute_pass_openings_size,
    digest_pass_rows,
    encode_pass_openings,
)
from protocols.merkle import MerkleTree, build_tree
from protocols.openings import Index, Openings, compute_openings_size, encode_openings

PASS_ROWS = 512
"""Rows mixed at once: NumPy works on 32 words of each at a time (measured: 4.1 GB/s from memory;
3.2 with 128 rows)."""


SLAB_BYTES = 64 << 20
"""Taken from the system at a time. Large enough that it gives huge pages where it has them: a page
of 4 KiB costs up to 2 µs when it is first written to, 4 % of what computing it takes."""


class KeptRounds:
    """Room for the C of the last rounds, made as rounds come and used again after `capacity`.

    When the system refuses memory, it makes do with what it has until then.
    """

    def __init__(self, m: int, n: int, capacity: int) -> None:
        self._shape = (m, n)
        self._capacity = capacity
        self._slots: list[NDArray[np.int32]] = []
        self._begun = 0

    def begin(self, round_number: int) -> NDArray[np.int32] | None:
        """Room for all rows of the next round, perhaps in place of the oldest; None for none."""
        self._begun = round_number + 1
        if len(self._slots) == round_number < self._capacity:
            self._grow()
        return self._slots[round_number % self._capacity] if self._capacity else None

    def count(self, rounds: int) -> int:
        """How many of the last of `rounds` finished rounds are whole."""
        spoilt = self._begun > rounds
        return max(0, min(rounds, self._capacity - spoilt))

    def read(self, round_number: int) -> NDArray[np.int32]:
        """C of a round that is whole."""
        return self._slots[round_number % self._capacity]

    def clear(self) -> None:
        """Give the memory back."""
        self._slots = []
        self._capacity = 0

    def _grow(self) -> None:
        m, n = self._shape
        slab = min(self._capacity - len(self._slots), max(1, SLAB_BYTES // (4 * m * n)))
        for count in (slab, 1):
            try:
                self._slots.extend(np.empty((count, m, n), np.int32))
            except MemoryError:
                continue
            return
        self._capacity = len(self._slots)


class NumpyWork:
    """See `backend.Work`. Trees of all rounds are at hand; rows that are not kept are computed
    again from B. `on_close` is called once."""

    def __init__(
        self,
        job: ComputeJob,
        trees: Sequence[MerkleTree],
        kept_rounds: KeptRounds,
        product: Product,
        tile_rows: int,
        tiles: Tiles,
        clock: Callable[[], float] = time.monotonic,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        self.job = job
        self.commitment: WorkCommitment = compute_commitment(job, [tree.root for tree in trees])
        self.kept = kept_rounds.count(len(trees))
        self._trees = list(trees)
        self._kept_rounds = kept_rounds
        self._product: Product | None = product
        self._tile_rows = tile_rows
        self._tiles = tiles
        self._clock = clock
        self._on_close = on_close
        self._memory_job: MemoryJob | None = None
        self._pass_roots: tuple[bytes, ...] = ()

    def open(self, indices: Sequence[Index]) -> bytes:
        """Return rows, roots and paths; see `backend.Work`."""
        product = self._require_open()
        shape = self.job.shape
        # Refuses indices that do not exist before anything is computed for them.
        compute_openings_size(shape, len(self._trees), indices)
        rows = np.empty((len(indices), shape.n), np.int32)
        first_kept = len(self._trees) - self.kept
        missing = []
        for position, index in enumerate(indices):
            if index.round >= first_kept:
                rows[position] = self._kept_rounds.read(index.round)[index.row]
            else:
                missing.append(position)
        for first in range(0, len(missing), self._tile_rows):
            positions = missing[first : first + self._tile_rows]
            rows[positions] = self._compute_again(product, [indices[i] for i in positions])
        roots = tuple(tree.root for tree in self._trees)
        paths = tuple(self._trees[index.round].path(index.row) for index in indices)
        return encode_openings(Openings(rows, roots, paths))

    def run_passes(
        self,
        nonce: bytes,
        *,
        window_s: float,
        limit_s: float,
        is_cancelled: Callable[[], bool],
    ) -> PassCommitment:
        """Read everything kept, again and again; see `backend.Work`."""
        started = self._clock()
        self._require_open()
        if self._memory_job is not None:
            raise LocalError("passes over this work have been made")
        job = MemoryJob(self.job.shape, self.commitment, self.kept, nonce)
        self._memory_job = job

        def checkpoint() -> None:
            if is_cancelled():
                raise JobCancelledError("passes cancelled")
            if self._clock() - started >= limit_s:
                raise OutOfTimeError

        roots: list[bytes] = []
        while len(roots) < MAX_PASSES:
            try:
                leaves = self._read_all(job, len(roots), roots, checkpoint)
            except OutOfTimeError:
                break
            roots.append(build_tree(leaves).root)
            if self._clock() - started >= window_s:
                break
        if not roots:
            raise JobTimeoutError(f"no pass within {limit_s:g} s")
        self._pass_roots = tuple(roots)
        return compute_pass_commitment(job, roots)

    def open_passes(self, indices: Sequence[PassIndex]) -> bytes:
        """Return pass roots and paths; see `backend.Work`."""
        self._require_open()
        job, roots = self._memory_job, self._pass_roots
        if job is None or not roots:
            raise LocalError("no passes have been made")
        compute_pass_openings_size(len(roots), job.rows, indices)
        if not indices:
            return b""
        trees = {
            number: build_tree(self._read_all(job, number, roots, lambda: None))
            for number in sorted({index.number for index in indices})
        }
        paths = tuple(trees[index.number].path(index.row) for index in indices)
        return encode_pass_openings(PassOpenings(roots, paths))

    def close(self) -> None:
        """Let go of trees and kept rounds, and of B unless it is resident still."""
        if self._product is None:
            return
        self._product = None
        self._trees = []
        self._kept_rounds.clear()
        self._on_close()

    def _require_open(self) -> Product:
        if self._product is None:
            raise LocalError("work is closed")
        return self._product

    def _compute_again(self, product: Product, indices: Sequence[Index]) -> NDArray[np.int32]:
        roots = [tree.root for tree in self._trees]
        seeds = {t: self.job.derive_a_seed(t, roots) for t in {index.round for index in indices}}
        a = expand_each([(seeds[index.round], index.row) for index in indices], self.job.shape.k)
        rows = np.empty((len(indices), self.job.shape.n), np.int32)
        scratch = Scratch.allocate(len(indices), self.job.shape.n)
        product.multiply(a, rows, scratch, lambda: None)
        return rows

    def _read_all(
        self,
        job: MemoryJob,
        number: int,
        roots: Sequence[bytes],
        checkpoint: Callable[[], None],
    ) -> bytes:
        """Leaves of all kept rows in one pass, end to end."""
        start = job.derive_start(number, roots)
        m = job.shape.m
        per_round = -(-m // PASS_ROWS)

        def read(tile: int) -> bytes:
            checkpoint()
            kept, piece = divmod(tile, per_round)
            first = piece * PASS_ROWS
            rows = self._kept_rounds.read(job.work.rounds - job.kept + kept)
            return digest_pass_rows(
                rows[first : first + PASS_ROWS], start, number, kept * m + first
            )

        return self._tiles.join(read, range(job.kept * per_round))
