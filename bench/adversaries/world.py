"""The scene of all attacks: one epoch, one checker, and a prover whose every step can be bent.

Sizes are small (a round is 17 million operations), so that an attack takes milliseconds. The
verifier is the real one: `protocols.verify`, `protocols.memory`, `protocols.host_proof`.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from protocols.compute import (
    ComputeJob,
    Shape,
    WorkCommitment,
    compute_commitment,
    derive_b_seed,
    digest_rows,
)
from protocols.expand import expand_rows
from protocols.freivalds import RowCheck, prepare_check
from protocols.memory import (
    MemoryJob,
    PassCommitment,
    PassIndex,
    PassOpenings,
    compute_pass_commitment,
    digest_pass_rows,
    draw_passes,
    encode_pass_openings,
    verify_passes,
)
from protocols.merkle import MerkleTree, build_tree
from protocols.openings import Index, Openings, draw_openings, encode_openings
from protocols.rejection import ProofRejected
from protocols.verify import verify_openings

SHAPE = Shape(m=128, k=256, n=256)
ROUNDS = 8

Rows = NDArray[np.int32]


def name(text: str) -> bytes:
    """32 bytes that stand for the key, seed or randomness called `text`."""
    return hashlib.sha256(b"kaisar attacks: " + text.encode()).digest()


def trial(number: int) -> bytes:
    """Fresh randomness of the checker's in trial `number`."""
    return name(f"trial {number}")


def make_job(
    *, provider: str = "mallory", nonce: str = "nonce", device: int = 0, shape: Shape = SHAPE
) -> ComputeJob:
    """A job in the one epoch of the scene."""
    b_seed = derive_b_seed(name("epoch"), shape.k, shape.n)
    return ComputeJob(shape, b_seed, name(nonce), name(provider), device)


@cache
def make_check(b_seed: bytes, k: int, n: int) -> RowCheck:
    """The checker's secret vectors for a B."""
    return prepare_check(b_seed, Shape(1, k, n), name("checker's secret"))


@cache
def expand_b(b_seed: bytes, k: int, n: int) -> NDArray[np.float64]:
    """B, as floats: products of int8 stay exact in them."""
    return expand_rows(b_seed, n, 0, k).astype(np.float64)


class Prover:
    """Does a job in plain NumPy. Adversaries override a step, or change what it left behind."""

    def __init__(self, job: ComputeJob, rounds: int = ROUNDS) -> None:
        self.job = job
        self.rows: list[Rows] = []
        self.trees: list[MerkleTree] = []
        self.roots: list[bytes] = []
        for t in range(rounds):
            rows = self.compute(t)
            self.rows.append(rows)
            self.trees.append(build_tree(self.digest(t, rows)))
            self.roots.append(self.trees[t].root)

    def compute(self, t: int) -> Rows:
        """C of round t."""
        shape = self.job.shape
        a = expand_rows(self.job.derive_a_seed(t, self.roots), shape.k, 0, shape.m)
        product = a.astype(np.float64) @ expand_b(self.job.b_seed, shape.k, shape.n)
        return product.astype(np.int32)

    def digest(self, t: int, rows: Rows) -> bytes:
        """Leaves of round t."""
        return digest_rows(rows, t, 0)

    @property
    def commitment(self) -> WorkCommitment:
        """What the prover signs."""
        return compute_commitment(self.job, self.roots)

    def open(self, indices: Sequence[Index]) -> bytes:
        """Answer to a request."""
        rows = np.stack([self.rows[t][i] for t, i in indices])
        paths = tuple(self.trees[t].path(i) for t, i in indices)
        return encode_openings(Openings(rows, tuple(self.roots), paths))


class Holder:
    """Makes passes over the last `kept` rounds of a prover. Adversaries override `read`."""

    def __init__(self, prover: Prover, kept: int, nonce: str = "pass nonce", passes: int = 4):
        job = prover.job
        self.prover = prover
        self.job = MemoryJob(job.shape, prover.commitment, kept, name(nonce))
        self.trees: list[MerkleTree] = []
        self.roots: list[bytes] = []
        for number in range(passes):
            self.trees.append(build_tree(self.read(number)))
            self.roots.append(self.trees[number].root)

    def read(self, number: int) -> bytes:
        """Leaves of one pass over all kept rows."""
        rows = np.concatenate(self.prover.rows[-self.job.kept :])
        return digest_pass_rows(rows, self.job.derive_start(number, self.roots), number, 0)

    @property
    def commitment(self) -> PassCommitment:
        """What the provider signs."""
        return compute_pass_commitment(self.job, self.roots)

    def open(self, indices: Sequence[PassIndex]) -> bytes:
        """Answer to a request."""
        paths = tuple(self.trees[number].path(row) for number, row in indices)
        return encode_pass_openings(PassOpenings(tuple(self.roots), paths))


Answer = Callable[[Sequence[Index]], bytes]


def judge(
    job: ComputeJob, commitment: WorkCommitment, answer: Answer, randomness: bytes
) -> str | None:
    """The real verifier's reason to refuse, None when it accepts."""
    shape = job.shape
    check = make_check(job.b_seed, shape.k, shape.n)
    indices = draw_openings(randomness, commitment.rounds, shape.m)
    try:
        verify_openings(check, job, commitment, indices, answer(indices))
    except ProofRejected as rejection:
        return rejection.reason
    return None


def judge_prover(prover: Prover, randomness: bytes, job: ComputeJob | None = None) -> str | None:
    """Likewise for a prover's own answer, to its own job unless another is given."""
    return judge(job or prover.job, prover.commitment, prover.open, randomness)


def judge_holder(holder: Holder, randomness: bytes) -> str | None:
    """The real verifier's reason to refuse passes, rows included; None when it accepts."""
    job, prover = holder.prover.job, holder.prover
    shape = job.shape
    drawn = draw_passes(randomness, [(holder.commitment.passes, holder.job.rows)])[0]
    indices = tuple(sorted({holder.job.locate(index.row) for index in drawn}))
    check = make_check(job.b_seed, shape.k, shape.n)
    try:
        opened = verify_openings(check, job, prover.commitment, indices, prover.open(indices))
        rows = dict(zip(indices, opened.rows, strict=True))
        verify_passes(holder.job, holder.commitment, drawn, holder.open(drawn), rows)
    except ProofRejected as rejection:
        return rejection.reason
    return None


def count_caught(judgements: Sequence[str | None]) -> float:
    """Share of judgements that refuse."""
    return sum(reason is not None for reason in judgements) / len(judgements)
