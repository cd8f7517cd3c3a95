"""Whatever a coalition below the threshold reports, and whichever honest reports its sender leaves
out, the contract keeps medians within what honest checkers measured."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.chain.contracts import reference
from tests.chain.contracts.reference import LANES, MAX_SCORE
from tests.chain.contracts.world import Report, World

SEATS = 7
QUORUM = 5
THRESHOLD = (QUORUM - 1) // 2


@given(
    seed=st.integers(0, 2**64),
    liars=st.integers(1, THRESHOLD),
    left_out=st.integers(0, SEATS - QUORUM),
    lie=st.sampled_from(["any", "least", "most", "near", "split"]),
)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_coalition_below_the_threshold_moves_a_median_out_of_the_honest_range(
    network: World,
    with_seats: Callable[[int], World],
    seed: int,
    liars: int,
    left_out: int,
    lie: str,
) -> None:
    rng, world = Random(seed), with_seats(SEATS)
    assert world.consensus.quorum() == QUORUM
    members = world.committee(1)
    seats = rng.sample(range(SEATS), SEATS)
    coalition, honest = seats[:liars], seats[liars:]
    true = [rng.randrange(MAX_SCORE + 1) for _ in range(LANES)]
    measured = {
        seat: [min(round(score * rng.uniform(0.97, 1.03)), MAX_SCORE) for score in true]
        for seat in honest
    }
    lowest = [min(lane) for lane in zip(*measured.values(), strict=True)]
    highest = [max(lane) for lane in zip(*measured.values(), strict=True)]

    def lies(number: int) -> list[int]:
        return [
            {
                "any": rng.randrange(MAX_SCORE + 1),
                "least": 0,
                "most": MAX_SCORE,
                "near": min(highest[lane] + 1, MAX_SCORE),
                "split": MAX_SCORE * (number % 2),
            }[lie]
            for lane in range(LANES)
        ]

    told = {seat: lies(number) for number, seat in enumerate(coalition)}
    chosen = rng.sample(honest, len(honest) - left_out)
    vectors = told | {seat: measured[seat] for seat in chosen}
    reports = [
        Report(seat, world.checkers[members[seat]], vector) for seat, vector in vectors.items()
    ]
    world.submit(reports, 1)

    settled = reference.unpack(world.consensus.scores(1, 0))
    assert all(
        low <= score <= high for low, score, high in zip(lowest, settled, highest, strict=True)
    )
