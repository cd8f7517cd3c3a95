"""How surely a prover that skipped a share of its rows is found out, beside (1 − ε)^64.

The verifier is the real one; draws are seeded, so that the curve is the same every time. The prover
has 16,384 rows, of which 64 without repetition are as good as 64 with.
"""

import random
from dataclasses import dataclass

from bench.adversaries.world import Prover, Rows, count_caught, judge_prover, make_job, name, trial
from protocols.compute import ComputeJob, Shape
from protocols.merkle import DIGEST_BYTES
from protocols.params import OPENINGS

SHAPE = Shape(m=1024, k=64, n=64)
ROUNDS = 16
SHARES = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
DRAWS = 1000


@dataclass(frozen=True, slots=True)
class Detection:
    """One point of the curve: share skipped, share of draws that found it, and 1 − (1 − ε)^64."""

    skipped: float
    caught: float
    expected: float


class SkippingProver(Prover):
    """Puts noise in the place of some rows' leaves, and commits to it."""

    def __init__(self, job: ComputeJob, rounds: int, share: float) -> None:
        rows = rounds * job.shape.m
        self._skipped = set(random.Random(1337).sample(range(rows), round(share * rows)))
        super().__init__(job, rounds)

    def digest(self, t: int, rows: Rows) -> bytes:
        """True leaves but for the skipped ones."""
        leaves = bytearray(super().digest(t, rows))
        for i in range(len(rows)):
            if t * len(rows) + i in self._skipped:
                leaves[i * DIGEST_BYTES : (i + 1) * DIGEST_BYTES] = name(f"noise {t} {i}")
        return bytes(leaves)


def measure_detection(
    shares: tuple[float, ...] = SHARES, draws: int = DRAWS
) -> tuple[Detection, ...]:
    """The whole curve; about two milliseconds a draw."""
    points = []
    for share in shares:
        prover = SkippingProver(make_job(shape=SHAPE), ROUNDS, share)
        caught = count_caught([judge_prover(prover, trial(number)) for number in range(draws)])
        points.append(Detection(share, caught, 1 - (1 - share) ** OPENINGS))
    return tuple(points)
