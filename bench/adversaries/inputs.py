"""Attacks on what is multiplied: structured matrices, foreseeable and unbound seeds."""

import hashlib
from collections.abc import Callable, Sequence
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from bench.adversaries.outcome import Outcome
from bench.adversaries.world import ROUNDS, SHAPE, Prover, Rows, judge_prover, make_job, name, trial
from protocols.compute import ComputeJob, digest_rows
from protocols.expand import expand_rows
from protocols.freivalds import prepare_check
from protocols.openings import draw_openings
from protocols.rejection import ProofRejected
from protocols.verify import verify_openings

# Structured inputs

expand_matrix = expand_rows
"""The generator that the verifier uses."""


def read_hankel(seed: bytes, width: int, rows: int) -> NDArray[np.int8]:
    """The numbers whose sums of indices make a Hankel matrix: entry (i, j) is number i + j."""
    return expand_rows(seed, width + rows, 0, 1)[0]


def expand_hankel_rows(seed: bytes, width: int, first: int, count: int) -> NDArray[np.int8]:
    """Rows of a Hankel matrix: what SN27's generator amounts to, in place of `expand_rows`."""
    numbers = read_hankel(seed, width, first + count)
    return np.lib.stride_tricks.sliding_window_view(numbers, width)[first : first + count]


def expand_hankel_each(rows: Sequence[tuple[bytes, int]], width: int) -> NDArray[np.int8]:
    """In place of `expand_each`."""
    return np.stack([expand_hankel_rows(seed, width, row, 1)[0] for seed, row in rows])


class DiagonalProver(Prover):
    """Multiplies first row and column only, and gets the rest along the diagonals:
    C[i+1, j+1] = C[i, j] − a_i·b_j + a_{i+k}·b_{j+k}."""

    def __init__(self, job: ComputeJob, expand: Callable[..., NDArray[np.int8]]) -> None:
        self.expand = expand
        self.multiplications = 0
        super().__init__(job)

    def compute(self, t: int) -> Rows:
        m, k, n = self.job.shape.m, self.job.shape.k, self.job.shape.n
        a = self.expand(self.job.derive_a_seed(t, self.roots), k, 0, m + 1).astype(np.int64)
        b = self.expand(self.job.b_seed, n, 0, k + 1).astype(np.int64)
        c = np.empty((m, n), np.int64)
        c[0] = a[0] @ b[:k]
        c[:, 0] = a[:m] @ b[:k, 0]
        for i in range(m - 1):
            c[i + 1, 1:] = c[i, :-1] - a[i, 0] * b[0, :-1] + a[i + 1, -1] * b[k, :-1]
        self.multiplications += (m + n) * k + 2 * m * n
        return c.astype(np.int32)


def use_structured_inputs() -> Outcome:
    """Forge all of C in O(n²) where entries depend on i + j (SN27's validator accepts it)."""
    job = make_job()
    forger = DiagonalProver(job, expand_hankel_rows)
    with (
        patch("protocols.freivalds.expand_rows", expand_hankel_rows),
        patch("protocols.verify.expand_each", expand_hankel_each),
    ):
        check = prepare_check(job.b_seed, SHAPE, name("checker's secret"))
        indices = draw_openings(trial(0), ROUNDS, SHAPE.m)
        try:
            verify_openings(check, job, forger.commitment, indices, forger.open(indices))
            forged = True
        except ProofRejected:
            forged = False
    share = forger.multiplications / (ROUNDS * SHAPE.operations // 2)
    accepted = judge_prover(DiagonalProver(job, expand_matrix), trial(0)) is None
    return Outcome(
        "structured (Hankel) inputs",
        1,
        "matrices from a generator over all of (seed, row, column)",
        forged,
        accepted,
        f"{share:.1%} of the multiplications",
    )


# Seeds


def foresee_seeds() -> Outcome:
    """Have the answer before the question, where the nonce is a clock's second (Lium)."""
    moments = [1_700_000_000 + second for second in range(3)]
    table = {second: Prover(make_job(nonce=f"second {second}")) for second in moments}
    asked = make_job(nonce=f"second {moments[1]}")
    without = judge_prover(table[moments[1]], trial(0), asked) is None
    fresh = make_job(nonce="the checker's secret")
    tried = [judge_prover(prover, trial(0), fresh) for prover in table.values()]
    return Outcome(
        "predictable seeds, answers computed beforehand",
        13,
        "nonces from a checker's secret",
        without,
        None in tried,
        f"{len(tried)} prepared answers, refused: {tried[0]}",
    )


Derivation = Callable[[ComputeJob, int, Sequence[bytes]], bytes]


class ReboundProver(Prover):
    """Has an older prover's rows, and makes leaves and a commitment of its own for them."""

    def __init__(self, job: ComputeJob, source: Prover, order: Sequence[int]) -> None:
        self.source, self.order = source, order
        super().__init__(job, len(order))

    def compute(self, t: int) -> Rows:
        return self.source.rows[self.order[t]]


def _answer_with(
    source: Prover, job: ComputeJob, order: Sequence[int], derivation: Derivation
) -> tuple[bool, str | None]:
    """Whether rows of `source` pass for `job` when A's seeds are derived otherwise; and what the
    real verifier says to them."""
    with patch.object(ComputeJob, "derive_a_seed", derivation):
        weak_source = Prover(source.job)
        without = judge_prover(ReboundProver(job, weak_source, order), trial(0)) is None
    return without, judge_prover(ReboundProver(job, source, order), trial(0))


def _derive_without(**blank: bytes | int) -> Derivation:
    """A's seeds as they are, but for the named part of the job, which is left out, and for the
    chain of roots, which would bind them as well."""

    def derive(job: ComputeJob, t: int, roots: Sequence[bytes]) -> bytes:
        parts = {"nonce": job.nonce, "provider": job.provider, "device": job.device, **blank}
        text = f"{job.b_seed.hex()} {parts} {blank.get('round', t)}"
        return hashlib.sha256(text.encode()).digest()

    return derive


def replay_an_answer() -> Outcome:
    """Show the rows of an older job of one's own."""
    old, new = make_job(nonce="yesterday's"), make_job(nonce="today's")
    without, refusal = _answer_with(Prover(old), new, range(ROUNDS), _derive_without(nonce=b""))
    return Outcome(
        "replayed answer",
        None,
        "the nonce in every A",
        without,
        refusal is None or judge_prover(Prover(old), trial(0), new) is None,
        f"refused: {refusal}",
    )


def show_anothers_answer() -> Outcome:
    """Show the rows that an honest provider computed for the same checker."""
    source = Prover(make_job(provider="alice"))
    without, refusal = _answer_with(
        source, make_job(), range(ROUNDS), _derive_without(provider=b"")
    )
    return Outcome(
        "another identity's answer",
        None,
        "the provider's key in every A",
        without,
        refusal is None,
        f"refused: {refusal}",
    )


def show_one_device_twice() -> Outcome:
    """Show the rows of device 0 as those of device 1 as well."""
    source = Prover(make_job(device=0))
    without, refusal = _answer_with(
        source, make_job(device=1), range(ROUNDS), _derive_without(device=0)
    )
    return Outcome(
        "one device's answer for two",
        6,
        "the device's number in every A",
        without,
        refusal is None,
        f"refused: {refusal}",
    )


def repeat_a_round() -> Outcome:
    """Compute one round, and show it as eight."""
    source = Prover(make_job())
    without, refusal = _answer_with(source, make_job(), [0] * ROUNDS, _derive_without(round=0))
    return Outcome(
        "one round shown as many",
        None,
        "the round's number in every A",
        without,
        refusal is None,
        f"1/{ROUNDS} of the work, refused: {refusal}",
    )


def swap_rounds() -> Outcome:
    """Exchange rounds after the fact: rows, leaves, roots and all."""
    order = [0, 1, 3, 2, *range(4, ROUNDS)]
    source = Prover(make_job())
    without, refusal = _answer_with(source, make_job(), order, _derive_without(round=0))
    return Outcome(
        "swapped rounds",
        None,
        "number and earlier root of the round in every A",
        without,
        refusal is None,
        f"refused: {refusal}",
    )


class ParallelProver(Prover):
    """Computes all rounds at once, from roots that it made up."""

    def compute(self, t: int) -> Rows:
        shape = self.job.shape
        invented = [name(f"root {number}") for number in range(t)]
        a = expand_rows(self.job.derive_a_seed(t, invented), shape.k, 0, shape.m)
        b = expand_rows(self.job.b_seed, shape.n, 0, shape.k)
        return (a.astype(np.float64) @ b.astype(np.float64)).astype(np.int32)


def unchain_rounds() -> Outcome:
    """Spread the rounds over many machines that do not talk to one another."""
    job = make_job()
    with patch.object(ComputeJob, "derive_a_seed", _derive_without()):
        without = judge_prover(ParallelProver(job), trial(0)) is None
    refusal = judge_prover(ParallelProver(job), trial(0))
    return Outcome(
        "rounds out of their chain",
        None,
        "the root before the last in every A",
        without,
        refusal is None,
        f"refused: {refusal}",
    )


class RelabelledProver(Prover):
    """Leaves under another round's number: what exchanging finished trees would need."""

    def digest(self, t: int, rows: Rows) -> bytes:
        return digest_rows(rows, t ^ 1, 0)


def exchange_trees() -> Outcome:
    """Put a round's finished tree in another's place."""
    job = make_job()
    with patch(
        "protocols.verify.digest_each",
        lambda rows, names: [
            digest_rows(rows[i : i + 1], t ^ 1, row) for i, (t, row) in enumerate(names)
        ],
    ):
        without = judge_prover(RelabelledProver(job), trial(0)) is None
    refusal = judge_prover(RelabelledProver(job), trial(0))
    return Outcome(
        "a tree in another round's place",
        None,
        "round and row in every leaf",
        without,
        refusal is None,
        f"refused: {refusal}",
    )


ATTACKS = (
    use_structured_inputs,
    foresee_seeds,
    replay_an_answer,
    show_anothers_answer,
    show_one_device_twice,
    repeat_a_round,
    swap_rounds,
    unchain_rounds,
    exchange_trees,
)
