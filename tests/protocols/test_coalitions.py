"""Coalitions of liars: whatever they report and whichever quorum they bundle, the honest decide.

With f ≤ (quorum − 1) // 2 liars in a committee no median leaves the range of the honest reports,
and no bit of a bitmap is set, or missing, against all of them. One liar more can do it.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.params import LANES, MAINNET, MAX_SCORE, MINIMAL, Preset
from protocols.reports import Agreement, Report, agree, compute_weight
from protocols.types import Digest, Epoch, Shard
from tests.protocols.strategies import score_vectors

Strategy = Callable[[Random, Sequence[Report]], Report]

SIZED = {
    f"{seats}_seats": replace(MINIMAL if seats < 8 else MAINNET, seats=seats)
    for seats in (4, 7, 8, 11)
}

of_every_size = pytest.mark.parametrize("preset", SIZED.values(), ids=SIZED.keys())

bitmaps = st.integers(0, (1 << LANES) - 1)


def make_report(scores: Sequence[int], online: int = 0, fraud: int = 0) -> Report:
    """A report of which only the judgement matters."""
    return Report(Epoch(1), Shard(0), tuple(scores), online, fraud, Digest(bytes(32)))


def measure(rng: Random, truth: Sequence[int], online: int) -> Report:
    """What an honest checker finds: every lane with noise of its own."""
    noisy = [min(MAX_SCORE, score * rng.randint(80, 120) // 100) for score in truth]
    missed = rng.getrandbits(LANES) & rng.getrandbits(LANES) & rng.getrandbits(LANES)
    return make_report(noisy, online & ~missed)


# What liars say, knowing every honest report


def raise_all(_rng: Random, honest: Sequence[Report]) -> Report:
    return make_report([MAX_SCORE] * LANES, (1 << LANES) - 1)


def lower_all(_rng: Random, honest: Sequence[Report]) -> Report:
    return make_report([0] * LANES, 0, (1 << LANES) - 1)


def push_up(_rng: Random, honest: Sequence[Report]) -> Report:
    """A point above the best of the honest, to look like one of them."""
    columns = zip(*(report.scores for report in honest), strict=True)
    return make_report([min(MAX_SCORE, max(column) + 1) for column in columns])


def push_down(_rng: Random, honest: Sequence[Report]) -> Report:
    columns = zip(*(report.scores for report in honest), strict=True)
    return make_report([max(0, min(column) - 1) for column in columns])


def favour_friends(rng: Random, honest: Sequence[Report]) -> Report:
    """Its own lanes up, all others down."""
    friends = rng.getrandbits(LANES)
    scores = [MAX_SCORE * (friends >> lane & 1) for lane in range(LANES)]
    return make_report(scores, friends, ~friends & (1 << LANES) - 1)


def copy_one(rng: Random, honest: Sequence[Report]) -> Report:
    return rng.choice(honest)


def shift_one(rng: Random, honest: Sequence[Report]) -> Report:
    """Somebody's scores, each in the lane beside."""
    scores = rng.choice(honest).scores
    return make_report([*scores[1:], scores[0]], rng.getrandbits(LANES), rng.getrandbits(LANES))


def say_anything(rng: Random, _honest: Sequence[Report]) -> Report:
    scores = [rng.randint(0, MAX_SCORE) for _ in range(LANES)]
    return make_report(scores, rng.getrandbits(LANES), rng.getrandbits(LANES))


STRATEGIES: dict[str, Strategy] = {
    each.__name__: each
    for each in (
        raise_all,
        lower_all,
        push_up,
        push_down,
        favour_friends,
        copy_one,
        shift_one,
        say_anything,
    )
}


def require_honest_range(agreement: Agreement, honest: Sequence[Report]) -> None:
    """Every median and every bit is one that some honest checker reported."""
    for lane, median in enumerate(agreement.medians):
        scores = [report.scores[lane] for report in honest]
        assert min(scores) <= median <= max(scores), lane
    for found, said in (
        (agreement.online, [report.online for report in honest]),
        (agreement.fraud, [report.fraud for report in honest]),
    ):
        anybody = everybody = said[0]
        for bitmap in said[1:]:
            anybody |= bitmap
            everybody &= bitmap
        assert found & ~anybody == 0
        assert everybody & ~found == 0


@of_every_size
@given(
    seed=st.integers(0, 1 << 32),
    strategies=st.lists(st.sampled_from(sorted(STRATEGIES)), min_size=1, max_size=3),
    fewer=st.integers(0, 3),
    left_out=st.integers(0, 16),
)
def test_no_coalition_below_the_threshold_decides(
    preset: Preset, seed: int, strategies: list[str], fewer: int, left_out: int
) -> None:
    """The coalition knows all honest reports, mixes its strategies, and chooses who is bundled."""
    rng = Random(seed)
    liars = max(0, (preset.quorum - 1) // 2 - fewer)
    truth = [rng.choice([0, 1, 40, 900, 5_000, MAX_SCORE]) for _ in range(LANES)]
    online = rng.getrandbits(LANES)
    honest = [measure(rng, truth, online) for _ in range(preset.seats - liars)]
    lies = [STRATEGIES[rng.choice(strategies)](rng, honest) for _ in range(liars)]
    count = max(preset.quorum, preset.seats - left_out)
    kept = [*lies, *rng.sample(honest, count - liars)]
    rng.shuffle(kept)

    agreement = agree(kept, preset.tolerance_shift)

    require_honest_range(agreement, honest)


@of_every_size
@given(data=st.data(), seed=st.integers(0, 1 << 32))
def test_not_even_with_reports_that_nobody_thought_of(
    preset: Preset, data: st.DataObject, seed: int
) -> None:
    """Honest and dishonest reports are whatever Hypothesis finds."""
    rng = Random(seed)
    liars = (preset.quorum - 1) // 2
    drawn = st.builds(make_report, score_vectors(), bitmaps, bitmaps)
    pool = data.draw(st.lists(drawn, min_size=1, max_size=4))
    honest = [rng.choice(pool) for _ in range(preset.seats - liars)]
    lies = [data.draw(drawn) if number == 0 else rng.choice(pool) for number in range(liars)]
    kept = [*lies, *rng.sample(honest, preset.quorum - liars)]

    require_honest_range(agree(kept, preset.tolerance_shift), honest)


@of_every_size
def test_one_liar_more_decides(preset: Preset) -> None:
    """The threshold is exact: a coalition that bundles only what suits it needs no more."""
    liars = (preset.quorum - 1) // 2 + 1
    honest = [make_report([1000] * LANES, 1)] * (preset.quorum - liars)
    lies = [make_report([0] * LANES, 0)] * liars

    agreement = agree([*lies, *honest], preset.tolerance_shift)

    assert agreement.medians[0] == 0


@of_every_size
@pytest.mark.parametrize("strategy", ["raise_all", "lower_all", "favour_friends", "say_anything"])
def test_a_coalition_earns_less_than_the_honest(preset: Preset, strategy: str) -> None:
    """What it says does not move the medians, so it deviates itself and weighs nothing."""
    rng = Random(strategy)
    liars = (preset.quorum - 1) // 2
    truth = [rng.randint(200, 5000) for _ in range(LANES)]
    honest = [
        replace(measure(rng, truth, (1 << LANES) - 1), scores=tuple(truth))
        for _ in range(preset.seats - liars)
    ]
    lies = [STRATEGIES[strategy](rng, honest) for _ in range(liars)]

    agreement = agree([*honest, *lies], preset.tolerance_shift)

    weights = [compute_weight(each, LANES) for each in agreement.deviations]
    assert max(weights[len(honest) :], default=0) < min(weights[: len(honest)])
    assert weights[: len(honest)] == [LANES] * len(honest)
