"""Prices: first offers and replacements."""

from hypothesis import given
from hypothesis import strategies as st

from chain.fees import BUMP_PERCENT, FeePolicy, Fees, compute_first_offer, compute_replacement

GWEI = 10**9
PRICES = st.integers(1, 10**14)


def test_the_first_offer_covers_twice_the_base_fee() -> None:
    policy = FeePolicy(min_tip=GWEI)
    assert compute_first_offer(policy, 7 * GWEI, 2 * GWEI) == Fees(2 * GWEI, 16 * GWEI)


def test_a_tip_is_never_below_the_policys() -> None:
    assert compute_first_offer(FeePolicy(min_tip=5), 100, 0) == Fees(5, 205)


def test_no_offer_is_above_the_policys_cap() -> None:
    policy = FeePolicy(min_tip=5, max_fee=100)
    assert compute_first_offer(policy, 1_000, 3) == Fees(5, 100)
    assert compute_first_offer(policy, 10, 1_000) == Fees(100, 100)


def test_a_replacement_pays_a_fifth_more() -> None:
    assert compute_replacement(FeePolicy(), Fees(100, 1_000), 10) == Fees(120, 1_200)


def test_a_replacement_rounds_up() -> None:
    assert compute_replacement(FeePolicy(), Fees(1, 3), 0) == Fees(2, 4)


def test_a_replacement_follows_the_base_fee() -> None:
    assert compute_replacement(FeePolicy(), Fees(100, 1_000), 5_000) == Fees(120, 10_120)


def test_a_replacement_gives_up_the_headroom_before_it_gives_up() -> None:
    policy = FeePolicy(max_fee=2_000)
    assert compute_replacement(policy, Fees(100, 1_000), 5_000) == Fees(120, 1_200)
    assert compute_replacement(policy, Fees(100, 1_700), 5_000) is None


@given(tip=PRICES, extra=st.integers(0, 10**14), base_fee=st.integers(0, 10**14))
def test_a_pool_takes_every_replacement(tip: int, extra: int, base_fee: int) -> None:
    before = Fees(tip, tip + extra)
    policy = FeePolicy()
    after = compute_replacement(policy, before, base_fee)
    if after is None:
        assert before.max_fee * (100 + BUMP_PERCENT) > policy.max_fee * 100
    else:
        assert after.tip * 100 >= before.tip * (100 + BUMP_PERCENT)
        assert after.max_fee * 100 >= before.max_fee * (100 + BUMP_PERCENT)
        assert after.tip <= after.max_fee <= policy.max_fee
