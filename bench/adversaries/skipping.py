"""Attacks on how much is opened: garbage leaves, ground draws, cheap modes, claims without work."""

import hashlib
import math
import random
from dataclasses import replace
from unittest.mock import patch

import numpy as np

from bench.adversaries.outcome import Outcome
from bench.adversaries.world import (
    ROUNDS,
    SHAPE,
    Prover,
    Rows,
    count_caught,
    expand_b,
    judge_prover,
    make_check,
    make_job,
    name,
    trial,
)
from protocols.compute import ComputeJob, Shape
from protocols.expand import expand_rows
from protocols.merkle import DIGEST_BYTES, build_tree, compute_root_from_path
from protocols.openings import Index, draw_openings
from protocols.params import OPENINGS
from protocols.rejection import ProofRejected
from protocols.verify import verify_openings

TRIALS = 300
TOTAL = ROUNDS * SHAPE.m


class SkippingProver(Prover):
    """Computes all rows but a share, and puts noise in the place of their leaves."""

    def __init__(self, job: ComputeJob, skipped: int) -> None:
        places = [Index(t, i) for t in range(ROUNDS) for i in range(job.shape.m)]
        self.skipped = set(random.Random(1337).sample(places, skipped))
        super().__init__(job)

    def digest(self, t: int, rows: Rows) -> bytes:
        leaves = bytearray(super().digest(t, rows))
        for i in range(len(rows)):
            if Index(t, i) in self.skipped:
                noise = name(f"noise {t} {i}")
                leaves[i * DIGEST_BYTES : (i + 1) * DIGEST_BYTES] = noise
        return bytes(leaves)


def measure_detection(skipped: int, trials: int = TRIALS) -> tuple[float, float]:
    """Share of draws at which the real verifier refuses, and the share expected."""
    prover = SkippingProver(make_job(), skipped)
    caught = count_caught([judge_prover(prover, trial(number)) for number in range(trials)])
    survived = math.comb(TOTAL - skipped, OPENINGS) / math.comb(TOTAL, OPENINGS)
    return caught, 1 - survived


def leave_garbage_leaves() -> Outcome:
    """Skip a tenth of the rows, with 4 openings (Nodexo) and with 64."""
    skipped = TOTAL // 10
    prover = SkippingProver(make_job(), skipped)
    missed = 0
    for number in range(TRIALS):
        drawn = draw_openings(trial(number), ROUNDS, SHAPE.m, 4)
        missed += prover.skipped.isdisjoint(drawn)
    caught, expected = measure_detection(skipped)
    return Outcome(
        "garbage leaves: a tenth of the rows skipped",
        3,
        "64 openings instead of 4",
        missed / TRIALS / 0.9 > 0.5,
        (1 - caught) / 0.9 > 1,
        f"caught {caught:.1%} (expected {expected:.1%}) in {TRIALS} jobs; with 4: "
        f"{1 - missed / TRIALS:.1%}",
    )


def skip_little() -> Outcome:
    """Skip so little that most draws miss it: one row in a hundred, or less."""
    figures = []
    best = 0.0
    for skipped in (TOTAL // 100, TOTAL // 20):
        caught, expected = measure_detection(skipped)
        best = max(best, (1 - caught) / (1 - skipped / TOTAL))
        figures.append(f"{skipped / TOTAL:.1%}: {caught:.1%} ({expected:.1%})")
    return Outcome(
        "skipping little, hoping to be missed",
        None,
        "a refuted job earns nothing, instead of being asked again",
        1 / (1 - skipped / TOTAL) > 1,
        best > 1,
        f"caught (expected) {', '.join(figures)}; pays at most {best:.2f} of honesty",
    )


# Fiat and Shamir


def grind_the_draw() -> Outcome:
    """Where the openings follow from the root (Nodexo), change one garbage leaf until they miss
    what was skipped. Here four fifths are skipped, and four openings."""
    job = make_job()
    prover = SkippingProver(job, TOTAL * 4 // 5)
    last = ROUNDS - 1
    spare = next(i for i in range(SHAPE.m) if Index(last, i) in prover.skipped)
    path = prover.trees[last].path(spare)
    tries = 0
    while True:
        leaf = name(f"try {tries}")
        prover.roots[last] = compute_root_from_path(leaf, spare, SHAPE.m, path)
        indices = _draw_from_root(prover)
        tries += 1
        if prover.skipped.isdisjoint(indices):
            break
    leaves = bytearray(prover.trees[last].levels[0])
    leaves[spare * DIGEST_BYTES : (spare + 1) * DIGEST_BYTES] = leaf
    prover.trees[last] = build_tree(bytes(leaves))
    check = make_check(job.b_seed, SHAPE.k, SHAPE.n)
    try:
        verify_openings(check, job, prover.commitment, indices, prover.open(indices))
        ground = True
    except ProofRejected:
        ground = False
    caught = count_caught([judge_prover(prover, trial(number)) for number in range(TRIALS)])
    return Outcome(
        "Fiat-Shamir grinding",
        3,
        "draws from randomness that comes after the commitment",
        ground,
        caught < 1,
        f"{tries} tries without; caught {caught:.1%} of {TRIALS}",
    )


def _draw_from_root(prover: Prover) -> tuple[Index, ...]:
    seed = hashlib.sha256(prover.commitment.root).digest()
    return draw_openings(seed, ROUNDS, SHAPE.m, 4)


def earn_a_cheap_mode() -> Outcome:
    """Skip a twentieth once trusted, where trust buys 4 openings (Nodexo's light tier)."""
    prover = SkippingProver(make_job(), TOTAL // 20)
    missed = sum(
        prover.skipped.isdisjoint(draw_openings(trial(number), ROUNDS, SHAPE.m, 4))
        for number in range(TRIALS)
    )
    caught, _ = measure_detection(TOTAL // 20)
    return Outcome(
        "cheap mode for the trusted",
        11,
        "the same number of openings in every job",
        missed / TRIALS > 0.5,
        caught < 0.9,
        f"5% skipped: caught {caught:.1%}, in the light mode {1 - missed / TRIALS:.1%}",
    )


# What a provider chooses


class StretchingProver(SkippingProver):
    """Claims twice the rounds that it did: the rest is noise, under roots of its own."""

    def __init__(self, job: ComputeJob) -> None:
        super().__init__(job, 0)
        self.skipped = {Index(t, i) for t in range(ROUNDS // 2, ROUNDS) for i in range(SHAPE.m)}
        for t in range(ROUNDS // 2, ROUNDS):
            self.trees[t] = build_tree(self.digest(t, self.rows[t]))
            self.roots[t] = self.trees[t].root


def _trust(*_: object) -> None:
    """In place of what looks at opened rows."""


def claim_rounds() -> Outcome:
    """State twice the rounds, as SN27's miners state sizes and counts."""
    prover = StretchingProver(make_job())
    with (
        patch("protocols.verify._verify_paths", _trust),
        patch("protocols.verify._verify_products", _trust),
    ):
        believed = judge_prover(prover, trial(0)) is None
    caught = count_caught([judge_prover(prover, trial(number)) for number in range(TRIALS)])
    return Outcome(
        "self-reported rounds",
        2,
        "openings drawn over all that is claimed",
        believed,
        caught < 1,
        f"claims twice its work, caught {caught:.1%} of {TRIALS}",
    )


class WideningProver(Prover):
    """Did a job with half the m, and shows each of its rows twice."""

    def compute(self, t: int) -> Rows:
        shape = self.job.shape
        narrow = replace(self.job, shape=Shape(shape.m // 2, shape.k, shape.n))
        a = expand_rows(narrow.derive_a_seed(t, self.roots), shape.k, 0, narrow.shape.m)
        rows = (a.astype(np.float64) @ expand_b(self.job.b_seed, shape.k, shape.n)).astype(np.int32)
        return np.concatenate([rows, rows])


def claim_width() -> Outcome:
    """State twice the rows of every round: m is the provider's choice."""
    prover = WideningProver(make_job())
    with (
        patch("protocols.verify._verify_paths", _trust),
        patch("protocols.verify._verify_products", _trust),
    ):
        believed = judge_prover(prover, trial(0)) is None
    judgements = [judge_prover(prover, trial(number)) for number in range(TRIALS)]
    caught = count_caught(judgements)
    return Outcome(
        "self-reported m",
        2,
        "m in the job's seed, and openings over all rows",
        believed,
        caught < 1,
        f"claims twice its work, caught {caught:.1%} of {TRIALS}: {judgements[0]}",
    )


ATTACKS = (
    leave_garbage_leaves,
    skip_little,
    grind_the_draw,
    earn_a_cheap_mode,
    claim_rounds,
    claim_width,
)
