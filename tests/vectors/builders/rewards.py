"""tests/vectors/rewards: schedules, epochs closed one after another, shares and commissions."""

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

TOKEN = 10**18

PLAIN = {"provider_pool": 25 * TOKEN, "checker_pool": 25 * TOKEN // 4}
TINY = {"provider_pool": 1_000, "checker_pool": 333}

Deployment = dict[str, int]


def _deployment(pools: Deployment, era_epochs: int = 1_000, carry_epochs: int = 4) -> Deployment:
    return {**pools, "era_epochs": era_epochs, "carry_epochs": carry_epochs}


def _scheduled(base: int, epoch: int, era_epochs: int, bps: int) -> int:
    step = (15, 13, 11, 0)[min(3, epoch // era_epochs)]
    return math.floor(Fraction(math.floor(Fraction(base * step, 15)) * bps, 10_000))


def schedules() -> list[dict[str, Any]]:
    """Pools of single epochs, and sums over gaps."""
    cases = [
        ("first_epoch", 25 * TOKEN, 0, 1, 10, 10_000),
        ("last_of_the_first_era", 25 * TOKEN, 9, 10, 10, 10_000),
        ("first_of_the_second_era", 25 * TOKEN, 10, 11, 10, 10_000),
        ("third_era", 25 * TOKEN, 29, 30, 10, 10_000),
        ("nothing_any_more", 25 * TOKEN, 30, 31, 10, 10_000),
        ("far_future", 25 * TOKEN, 2**32 - 2, 2**32 - 1, 10, 10_000),
        ("lowered", 25 * TOKEN, 0, 1, 10, 4_321),
        ("switched_off", 25 * TOKEN, 0, 1, 10, 0),
        ("rounded_twice", 1_007, 12, 13, 10, 9_999),
        ("gap_within_an_era", 1_007, 2, 9, 10, 9_999),
        ("gap_over_all_eras", 1_007, 3, 1_000, 10, 9_999),
        ("no_gap", 1_007, 5, 5, 10, 10_000),
    ]
    return [
        {
            "name": name,
            "base": str(base),
            "epoch": first,
            "until": until,
            "era_epochs": era_epochs,
            "emission_bps": bps,
            "amount": str(
                sum(_scheduled(base, e, era_epochs, bps) for e in range(first, min(until, 5_000)))
            ),
        }
        for name, base, first, until, era_epochs, bps in cases
    ]


Step = tuple[str, int, bool, bool]
"""`close` or `skip`; what is added to the money before, or the epoch skipped to; and whether
anybody earned the pool of providers, of checkers."""


def _histories() -> Iterator[tuple[str, Deployment, int, Sequence[Step]]]:
    paid: Step = ("close", 0, True, True)
    silent: Step = ("close", 0, False, False)
    rich = 10_000 * TOKEN
    yield "always_earned", _deployment(PLAIN), rich, [paid] * 3
    yield "silence_is_carried_on", _deployment(PLAIN), rich, [silent] * 3 + [paid] * 6
    yield (
        "providers_only",
        _deployment(PLAIN),
        rich,
        [("close", 0, True, False)] * 2 + [paid],
    )
    yield "the_last_of_a_carry_arrives", _deployment(TINY), 10**9, [silent] + [paid] * 20
    yield "era_ends", _deployment(PLAIN, era_epochs=2), rich, [paid, paid, silent, *[paid] * 6]
    yield "nothing_funded", _deployment(PLAIN), 0, [paid] * 3
    yield (
        "too_little_is_cut_in_proportion",
        _deployment(PLAIN),
        40 * TOKEN,
        [paid, paid, silent, paid, ("close", rich, True, True), paid],
    )
    yield (
        "cut_with_a_carry",
        _deployment(PLAIN),
        60 * TOKEN,
        [silent, silent, ("close", 0, True, False), ("close", 0, True, True), paid],
    )
    yield (
        "a_gap_is_skipped",
        _deployment(PLAIN, era_epochs=50),
        rich,
        [paid, ("skip", 120, False, False), paid, ("skip", 100, False, False), paid],
    )


def closings() -> list[dict[str, Any]]:
    """Histories of epochs, with the books after each step."""
    return [
        {
            "name": name,
            "deployment": {key: str(value) for key, value in deployment.items()},
            "unpromised": str(money),
            "emission_bps": 10_000,
            "steps": list(_replay(deployment, money, steps)),
        }
        for name, deployment, money, steps in _histories()
    ]


def _replay(deployment: Deployment, money: int, steps: Sequence[Step]) -> Iterator[dict[str, Any]]:
    epoch = 0
    carries = {"provider": 0, "checker": 0}
    pools = {"provider": 0, "checker": 0}
    unit = max(deployment["provider_pool"], deployment["checker_pool"]) // 2**20 + 1
    for kind, number, has_providers, has_checkers in steps:

        def own(side: str, epoch: int) -> int:
            return _scheduled(deployment[f"{side}_pool"], epoch, deployment["era_epochs"], 10_000)

        if kind == "skip":
            while epoch < number:
                carries = {side: carry + own(side, epoch) for side, carry in carries.items()}
                epoch += 1
        else:
            money += number
            has = {"provider": has_providers, "checker": has_checkers}
            due = {
                side: own(side, epoch) + math.ceil(Fraction(carry, deployment["carry_epochs"]))
                if has[side]
                else 0
                for side, carry in carries.items()
            }
            asked = sum(due.values())
            short = asked > money
            for side in due:
                exact = Fraction(money * due[side], asked) if short else Fraction(due[side])
                pools[side] = math.floor(exact) // unit * unit
                lost = max(0, own(side, epoch) - pools[side]) if short and has[side] else 0
                carries[side] += own(side, epoch) - pools[side] - lost
            money -= sum(pools.values())
            epoch += 1
        yield {
            "step": kind,
            "funded": str(number if kind == "close" else 0),
            "until": number if kind == "skip" else 0,
            "has_providers": has_providers,
            "has_checkers": has_checkers,
            "books": {
                "next_epoch": epoch,
                "unpromised": str(money),
                "provider_carry": str(carries["provider"]),
                "checker_carry": str(carries["checker"]),
                "provider_pool": str(pools["provider"]),
                "checker_pool": str(pools["checker"]),
            },
        }


def shares() -> list[dict[str, Any]]:
    """Parts of a pool, and how a checker's is split with its delegators."""
    cases = [
        ("all_of_it", 25 * TOKEN, 7, 7, 0),
        ("a_third_rounded_down", 100, 1, 3, 0),
        ("nobody_earned_anything", 100, 0, 0, 5_000),
        ("no_score", 100, 0, 9, 5_000),
        ("half_to_delegators", 101, 1, 1, 5_000),
        ("all_to_delegators", 101, 1, 1, 10_000),
        ("least_part", 25 * TOKEN, 1, 2**48 - 1, 1),
    ]
    shown = []
    for name, pool, part, whole, bps in cases:
        amount = math.floor(Fraction(pool * part, whole)) if whole else 0
        delegators = math.floor(Fraction(amount * bps, 10_000))
        shown.append(
            {
                "name": name,
                "pool": str(pool),
                "part": str(part),
                "whole": str(whole),
                "amount": str(amount),
                "commission_bps": bps,
                "own": str(amount - delegators),
                "delegators": str(delegators),
            }
        )
    return shown


FILES = {
    "rewards/schedules.json": schedules,
    "rewards/closings.json": closings,
    "rewards/shares.json": shares,
}
