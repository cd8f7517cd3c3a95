"""Attacks on what a row is: forged products, digests without rows, rows made to fit a digest."""

from collections.abc import Sequence
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from bench.adversaries.outcome import Outcome
from bench.adversaries.world import (
    ROUNDS,
    SHAPE,
    Prover,
    Rows,
    judge_prover,
    make_check,
    make_job,
    trial,
)
from protocols.compute import ComputeJob, digest_rows
from protocols.expand import expand_rows
from protocols.freivalds import RowCheck, find_wrong_rows
from protocols.merkle import DIGEST_BYTES
from protocols.mix import MIX_LANES, MULTIPLIER
from protocols.openings import Index
from protocols.params import OPENINGS

TOTAL = ROUNDS * SHAPE.m
_MASK = (1 << 64) - 1


class LateProver(Prover):
    """Commits to noise, and computes rows when they are asked for."""

    def compute(self, t: int) -> Rows:
        return np.zeros((self.job.shape.m, self.job.shape.n), np.int32)

    def digest(self, t: int, rows: Rows) -> bytes:
        return np.random.default_rng(t).bytes(DIGEST_BYTES * len(rows))

    def open(self, indices: Sequence[Index]) -> bytes:
        for t in {index.round for index in indices}:
            self.rows[t] = super().compute(t)
        return super().open(indices)


def compute_on_demand() -> Outcome:
    """Compute only what is opened, after it was drawn."""
    prover = LateProver(make_job())
    with patch("protocols.verify._verify_paths"):
        without = judge_prover(prover, trial(0)) is None
    refusal = judge_prover(prover, trial(0))
    return Outcome(
        "rows computed after the draw",
        None,
        "paths to the committed roots",
        without,
        refusal is None,
        f"{OPENINGS} of {TOTAL} rows, refused: {refusal}",
    )


class ProductProver(Prover):
    """Has no rows, only vectors that have the right product with the vectors it knows."""

    def compute(self, t: int) -> Rows:
        shape = self.job.shape
        guessed = make_check(self.job.b_seed, shape.k, shape.n)
        answers = forge_products(self.job, t, self.roots, guessed.r)
        rows = np.zeros((shape.m, shape.n), np.int32)
        rows[:, : 2 * len(answers)] = np.ascontiguousarray(answers.T).view(np.int32)
        return rows


def forge_products(
    job: ComputeJob, t: int, roots: Sequence[bytes], r: NDArray[np.int64]
) -> NDArray[np.int64]:
    """C·r as A·(B·r): k·(m + n) multiplications for every vector instead of m·k·n."""
    shape = job.shape
    b = expand_rows(job.b_seed, shape.n, 0, shape.k).astype(np.int64)
    a = expand_rows(job.derive_a_seed(t, roots), shape.k, 0, shape.m).astype(np.int64)
    return np.einsum("lk,mk->lm", np.einsum("ln,kn->lk", r, b), a)


def forge_a_product() -> Outcome:
    """Answer C·r, where r is sent and nothing was committed to; ours grants knowledge of r."""
    prover = ProductProver(make_job())
    check = make_check(prover.job.b_seed, SHAPE.k, SHAPE.n)
    a = expand_rows(prover.job.derive_a_seed(0, prover.roots), SHAPE.k, 0, SHAPE.m)
    expected = np.einsum("lk,mk->lm", check.u, a.astype(np.int64))
    forged = forge_products(prover.job, 0, prover.roots, check.r)
    refusal = judge_prover(prover, trial(0))
    saved = (SHAPE.k * (SHAPE.m + SHAPE.n)) / (SHAPE.m * SHAPE.k * SHAPE.n)
    return Outcome(
        "forged C·r without a commitment",
        4,
        "whole rows under a commitment, and r never sent",
        bool(np.array_equal(forged, expected)),
        refusal is None,
        f"{saved:.1%} of the multiplications, refused: {refusal}",
    )


# Leaves that bind little


def sketch(rows: Rows, start: object = None) -> NDArray[np.uint64]:
    """A linear digest in place of the mix: rows times fixed weights mod 2^64."""
    return np.einsum("ij,jl->il", rows.astype(np.int64), _WEIGHTS[: rows.shape[1]]).view(np.uint64)


_WEIGHTS = np.random.default_rng(1337).integers(
    -(1 << 62), 1 << 62, (SHAPE.n, MIX_LANES), dtype=np.int64
)


class SketchingProver(LateProver):
    """Digests C without having it: C·weights = A·(B·weights)."""

    def digest(self, t: int, rows: Rows) -> bytes:
        digests = forge_products(self.job, t, self.roots, np.ascontiguousarray(_WEIGHTS.T)).T
        with patch("protocols.compute.mix_rows", lambda _: digests.view(np.uint64)):
            return digest_rows(rows, t, 0)


def sketch_the_rows() -> Outcome:
    """Where the digest of a row is linear, have it without the row."""
    with patch("protocols.compute.mix_rows", sketch):
        without = judge_prover(SketchingProver(make_job()), trial(0)) is None
    refusal = judge_prover(SketchingProver(make_job()), trial(0))
    return Outcome(
        "digests of rows that were never had",
        None,
        "a digest that does not commute with products",
        without,
        refusal is None,
        f"{MIX_LANES}/{SHAPE.n} of the multiplications, refused: {refusal}",
    )


class CollidingProver(Prover):
    """Opens other rows than it committed to, with the same mix."""

    def open(self, indices: Sequence[Index]) -> bytes:
        for t, i in indices:
            self.rows[t][i] = find_second_row(self.rows[t][i])
        return super().open(indices)


def find_second_row(row: NDArray[np.int32]) -> NDArray[np.int32]:
    """Another row with the same end states: change a word, and mend the next of its lane."""
    words = np.array(row).view(np.uint64)
    first, second = int(words[0]), int(words[MIX_LANES])
    before = _absorb(0, first)
    words[0] = first ^ 1
    words[MIX_LANES] = second ^ before ^ _absorb(0, first ^ 1)
    return words.view(np.int32)


def _absorb(state: int, word: int) -> int:
    state = ((state ^ word) * MULTIPLIER) & _MASK
    return state ^ state >> 32


def _find_nothing(_check: RowCheck, _a: object, _c: object) -> list[int]:
    return []


def collide_with_a_leaf() -> Outcome:
    """The mix binds no row against a second one. It does not have to: only the product passes."""
    prover = CollidingProver(make_job())
    with patch("protocols.verify.find_wrong_rows", _find_nothing):
        without = judge_prover(prover, trial(0)) is None
    refusal = judge_prover(CollidingProver(make_job()), trial(0))
    return Outcome(
        "second rows with the same mix",
        None,
        "the test of every opened row against the product",
        without,
        refusal is None,
        f"one step for each, refused: {refusal}",
    )


def guess_products() -> Outcome:
    """Near misses: rows that are wrong in one entry by one, or by a power of two."""
    job = make_job()
    honest = Prover(job)
    check = make_check(job.b_seed, SHAPE.k, SHAPE.n)
    a = expand_rows(job.derive_a_seed(0, []), SHAPE.k, 0, SHAPE.m)
    tries = passed = single = 0
    for column in range(0, SHAPE.n, 4):
        for bit in (0, 8, 16, 31):
            rows = honest.rows[0].copy()
            rows[:, column] ^= np.int32(-(1 << 31) if bit == 31 else 1 << bit)
            passed += SHAPE.m - len(find_wrong_rows(check, a, rows))
            tries += SHAPE.m
            # A sum over the row, as a checksum would be: two wrongs cancel.
            rows[:, (column + 1) % SHAPE.n] += honest.rows[0][:, column] - rows[:, column]
            single += int(np.all(rows.sum(1) == honest.rows[0].sum(1)))
    return Outcome(
        "rows that are nearly right",
        None,
        "secret random vectors instead of a checksum",
        single > 0,
        passed > 0,
        f"{passed} of {tries} pass",
    )


ATTACKS = (
    compute_on_demand,
    forge_a_product,
    sketch_the_rows,
    collide_with_a_leaf,
    guess_products,
)
