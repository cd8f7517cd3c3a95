"""What a renter chooses by: bounds that follow from a score, the order, quotes, and warnings."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.lease_market import (
    OTHER_POINTS,
    Candidate,
    EpochRecord,
    RateBounds,
    Wish,
    compute_quote,
    compute_rate_bounds,
    compute_warnings,
    find_length_fault,
    find_misfit,
    find_next_warning,
    rank_candidates,
)
from protocols.leases import Offer, Terms, compute_escrow
from protocols.measurement import score_terms
from protocols.params import MAINNET, MAX_SCORE, MINIMAL, TOKEN
from protocols.scoring import MILLI, gpu_term
from protocols.types import Digest, Epoch, Wallet

TOP = 10**12


def offer(provider: int = 0, price: int = 1000, minimum: int = 60, maximum: int = 3600) -> Offer:
    return Offer(
        provider=provider,
        wallet=Wallet(bytes([provider]) * 20),
        since=Epoch(1),
        price=price,
        minimum_seconds=minimum,
        maximum_seconds=maximum,
        capability=Digest(bytes(32)),
    )


def candidate(*scores: int | None, provider: int = 0, price: int = 1000) -> Candidate:
    """Settled epochs, the newest first; None for one in which it was away."""
    epochs = [EpochRecord(online=s is not None, score=s or 0) for s in scores]
    return Candidate(offer(provider, price), 100 * TOKEN, epochs)


def test_what_other_terms_add_at_most() -> None:
    assert OTHER_POINTS == 2 * 800 + 800 + 800


@given(
    rate=st.integers(0, 40 * MAINNET.reference_rate),
    stake=st.integers(0, 2 * MAINNET.max_stake),
    bandwidth=st.integers(0, 800),
    cpu=st.integers(0, 800),
    memory=st.integers(0, 800),
)
def test_a_rate_lies_within_the_bounds_of_its_score(
    rate: int, stake: int, bandwidth: int, cpu: int, memory: int
) -> None:
    terms = {
        "gpu": gpu_term(rate, MAINNET.reference_rate),
        "bandwidth": bandwidth,
        "cpu": cpu,
        "memory": memory,
    }
    score = score_terms(terms, stake, MAINNET)

    bounds = compute_rate_bounds(score, stake, MAINNET)

    # The term itself is rounded down to thousandths of a point.
    slack = MAINNET.reference_rate // (10 * MILLI) + 1
    if score:
        assert bounds.least <= rate + slack
        assert bounds.most is None or rate <= bounds.most + slack


def test_bounds_at_the_ends() -> None:
    assert compute_rate_bounds(0, 0, MAINNET) == RateBounds(0, 0)
    highest = compute_rate_bounds(MAX_SCORE, 0, MAINNET)
    assert highest.most is None
    assert highest.least > 10 * MAINNET.reference_rate
    # What the other terms can have given is nobody's GPU.
    assert compute_rate_bounds(OTHER_POINTS // 10, 0, MAINNET).least == 0


def test_what_a_candidate_was_worth() -> None:
    provider = candidate(300, None, 100, 200)

    assert (provider.online_epochs, provider.reliability_bps) == (3, 7500)
    assert not provider.is_away
    assert provider.mean_score == 150
    assert provider.proven_score == 200
    assert provider.value * 1000 == 150


def test_leased_epochs_count_for_reliability_only() -> None:
    provider = candidate(100, 100)
    leased = EpochRecord(online=True, score=300, leased=True)

    mixed = replace(provider, epochs=[leased, *provider.epochs])

    assert (mixed.mean_score, mixed.proven_score) == (100, 100)
    assert (mixed.online_epochs, mixed.reliability_bps) == (3, 10_000)


@pytest.mark.parametrize("scores", [(), (None,), (None, 300)])
def test_who_was_not_seen_last_is_away(scores: tuple[int | None, ...]) -> None:
    assert candidate(*scores).is_away


def test_nothing_is_known_of_a_newcomer() -> None:
    newcomer = candidate()

    assert (newcomer.reliability_bps, newcomer.mean_score, newcomer.proven_score) == (0, 0, 0)


def test_the_best_value_comes_first() -> None:
    dear = candidate(300, 300, provider=1, price=2000)
    cheap = candidate(200, 200, provider=2, price=1000)
    shaky = candidate(400, None, provider=3, price=1000)
    twin = candidate(200, 200, provider=0, price=1000)

    ranked = rank_candidates([dear, shaky, cheap, twin])

    assert [each.offer.provider for each in ranked] == [0, 2, 3, 1]


def test_wishes() -> None:
    one = Candidate(offer(price=1000), 0, [EpochRecord(True, 3000), EpochRecord(False, 0)])
    rate = compute_rate_bounds(3000, 0, MINIMAL).least
    assert rate > 0

    def misfit(**wishes: int) -> str | None:
        return find_misfit(one, Wish(**wishes), MINIMAL)

    assert misfit() is None
    assert misfit(min_score=3000) is None
    assert misfit(min_score=3001) == "score"
    assert misfit(min_rate=rate) is None
    assert misfit(min_rate=rate + 1) == "rate"
    assert misfit(reliability_bps=5000) is None
    assert misfit(reliability_bps=5001) == "reliability"
    assert misfit(max_price=1000) is None
    assert misfit(max_price=999) == "price"
    assert misfit(seconds=60) is None
    assert misfit(seconds=59) == "duration"


def test_length_of_a_lease() -> None:
    assert find_length_fault(offer(), 60) is None
    assert find_length_fault(offer(), 3600) is None
    assert find_length_fault(offer(), 3601) == (
        "found 3,601 s, expected 60 … 3,600 s, which the offer allows"
    )


@given(price=st.integers(1, 10**30), seconds=st.integers(1, 10**7), minimum=st.integers(1, 10**7))
def test_a_quote_is_what_the_contract_takes(price: int, seconds: int, minimum: int) -> None:
    quote = compute_quote(offer(price=price, minimum=minimum), seconds, MINIMAL)

    terms = Terms(price, minimum, 10**7, MINIMAL.lease_fee_bps, quote.bond)
    assert quote.escrow == compute_escrow(seconds, terms) == quote.amount + quote.fee
    assert quote.amount == seconds * price
    assert quote.bond == quote.amount * MINIMAL.lease_penalty_bps // 10_000
    assert quote.least == min(seconds, minimum) * price


def test_warnings_before_the_end() -> None:
    assert compute_warnings(7200) == (600, 60)
    assert compute_warnings(1200) == (200, 60)
    assert compute_warnings(60) == (10, 3)
    assert compute_warnings(5) == ()
    assert compute_warnings(19) == (3,)

    assert find_next_warning(7200, 7000) == 600
    assert find_next_warning(7200, 600) == 600
    assert find_next_warning(7200, 599) == 60
    assert find_next_warning(7200, 59) is None
