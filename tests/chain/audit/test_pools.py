"""Pools computed again: schedule, carry, the fund's limit, and each altered number named."""

from dataclasses import replace

import pytest

from chain.audit.findings import Checks, DifferenceError
from chain.audit.fund import Fund
from chain.audit.pools import ClosingFacts, compute_closing, judge_closing
from chain.errors import MalformedAnswerError
from chain.events import EpochClosed, Funded, ProviderPaid
from protocols.params import MINIMAL, TOKEN
from protocols.settlement import compute_pool_unit
from protocols.types import Epoch, Wallet
from tests.chain.audit.scene import log_at

PRESET = replace(
    MINIMAL, provider_pool=900 * TOKEN, checker_pool=300 * TOKEN, era_epochs=10, carry_epochs=4
)
PLENTY = 10**9 * TOKEN
WALLET = Wallet(b"\x01" * 20)


def closed(epoch: int, *numbers: int) -> EpochClosed:
    return EpochClosed(Epoch(epoch), *numbers)


FOURTH = closed(4, 0, 0, 0, 0)


def facts(
    epoch: int = 5,
    previous: EpochClosed | None = FOURTH,
    unpromised: int = PLENTY,
    bps: int = 10_000,
    has: tuple[bool, bool] = (True, True),
    skipped_to: int = 0,
) -> ClosingFacts:
    """A closing as the contract must have done it."""
    made = ClosingFacts(
        event=closed(epoch, 0, 0, 0, 0),
        previous=previous,
        first=Epoch(1),
        skipped_to=Epoch(skipped_to),
        emission_bps=bps,
        least=unpromised,
        most=unpromised,
        has_providers=has[0],
        has_checkers=has[1],
    )
    pools = compute_closing(made, PRESET, unpromised)
    event = closed(
        epoch, pools.provider_pool, pools.checker_pool, pools.provider_carry, pools.checker_carry
    )
    return replace(made, event=event)


def numbers(made: ClosingFacts) -> tuple[int, int, int, int]:
    event = made.event
    return event.provider_pool, event.checker_pool, event.provider_carry, event.checker_carry


def near(amount: int, tokens: int) -> bool:
    """But for what rounding to whole pool units takes off."""
    return tokens * TOKEN - compute_pool_unit(PRESET) < amount <= tokens * TOKEN


def test_an_epoch_pays_the_schedule_and_a_part_of_the_carry() -> None:
    provider, checker, provider_carry, checker_carry = numbers(facts())
    assert near(provider, 900)
    assert near(checker, 300)
    # What rounding takes off is carried on.
    assert (provider + provider_carry, checker + checker_carry) == (900 * TOKEN, 300 * TOKEN)
    carried = facts(previous=closed(4, 0, 0, 100 * TOKEN, 40 * TOKEN))
    assert near(numbers(carried)[0], 925)
    assert near(numbers(carried)[1], 310)
    judge_closing(carried, PRESET, Checks())


def test_what_nobody_earned_is_carried_on() -> None:
    assert numbers(facts(has=(False, True)))[::2] == (0, 900 * TOKEN)
    assert numbers(facts(has=(False, False))) == (0, 0, 900 * TOKEN, 300 * TOKEN)
    skipped = facts(epoch=8, skipped_to=8, previous=closed(4, 0, 0, 0, 0), has=(False, False))
    assert numbers(skipped)[2] == (3 + 1) * 900 * TOKEN
    judge_closing(skipped, PRESET, Checks())


def test_the_fund_is_the_limit() -> None:
    short = facts(unpromised=120 * TOKEN)
    provider, checker, provider_carry, checker_carry = numbers(short)
    assert near(provider, 90)
    assert near(checker, 30)
    assert provider_carry == checker_carry == 0
    judge_closing(short, PRESET, Checks())
    assert numbers(facts(unpromised=0)) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    "field", ["provider_pool", "checker_pool", "provider_carry", "checker_carry"]
)
@pytest.mark.parametrize("unpromised", [PLENTY, 120 * TOKEN])
def test_an_altered_number_is_named(field: str, unpromised: int) -> None:
    right = facts(unpromised=unpromised)
    value = getattr(right.event, field)
    altered = replace(
        right, event=replace(right.event, **{field: value + compute_pool_unit(PRESET)})
    )
    with pytest.raises(DifferenceError) as caught:
        judge_closing(altered, PRESET, Checks())
    assert caught.value.difference.field == f"EpochClosed.{field}"
    assert caught.value.difference.place.epoch == 5


def test_another_emission_is_named() -> None:
    judge_closing(facts(bps=5_000), PRESET, Checks())
    with pytest.raises(DifferenceError, match="provider_pool"):
        judge_closing(replace(facts(), emission_bps=5_000), PRESET, Checks())


def test_epochs_are_closed_in_order() -> None:
    for previous, skipped_to, is_right in (
        (closed(4, 0, 0, 0, 0), 0, True),
        (closed(3, 0, 0, 0, 0), 0, False),
        (closed(3, 0, 0, 0, 0), 5, True),
        (closed(3, 0, 0, 0, 0), 4, False),
        # The first one of all: what was created in epoch 0 may have been finished in epoch 4.
        (None, 0, True),
        (None, 5, True),
    ):
        made = facts(previous=previous, skipped_to=skipped_to)
        if is_right:
            judge_closing(made, PRESET, Checks())
        else:
            with pytest.raises(DifferenceError, match=r"EpochClosed\.epoch"):
                judge_closing(made, PRESET, Checks())


@pytest.mark.parametrize("unpromised", [120 * TOKEN, 1_199 * TOKEN, 1_200 * TOKEN, PLENTY])
def test_within_bounds_a_want_of_money_explains_a_pool(unpromised: int) -> None:
    right = facts(unpromised=unpromised)
    for least, most in ((0, PLENTY), (unpromised, PLENTY), (unpromised - 1, unpromised + 1)):
        judge_closing(replace(right, least=least, most=most), PRESET, Checks())
    if unpromised < 1_200 * TOKEN:
        for least, most in ((unpromised + TOKEN, PLENTY), (0, unpromised - TOKEN)):
            with pytest.raises(DifferenceError):
                judge_closing(replace(right, least=least, most=most), PRESET, Checks())


# -- the fund


def fund_of(*events: object) -> Fund:
    fund = Fund()
    for block, event in enumerate(events, start=1):
        fund.apply(event, log_at(block))  # type: ignore[arg-type]
    return fund


def paid(amount: int) -> ProviderPaid:
    return ProviderPaid(0, WALLET, amount, 1)


def test_what_is_in_no_pool() -> None:
    fund = fund_of(Funded(WALLET, 1_000), closed(1, 30, 20, 0, 0), paid(10), closed(2, 5, 5, 0, 0))
    for block, amount in ((1, 0), (2, 1_000), (3, 950), (4, 950), (9, 940)):
        found = fund.unpromised((block, 0), Epoch(0))
        assert (found.least, found.most) == (amount, amount)


def test_what_came_back_is_known_within_bounds() -> None:
    fund = fund_of(
        Funded(WALLET, 1_000), closed(63, 100, 0, 0, 0), closed(64, 50, 0, 0, 0), paid(70)
    )
    # The first span of 64 epochs has expired: of 100, between 20 and 70 were paid.
    found = fund.unpromised((9, 0), Epoch(64))
    assert (found.least, found.most) == (1_000 - 50 - 70, 1_000 - 50 - 20)
    assert fund.unpromised((9, 0), Epoch(63)).most == 850


def test_payments_that_can_have_been_for_an_epoch() -> None:
    amounts = [1, 2, 3, 4]
    fund = fund_of(
        paid(1),
        closed(5, 0, 0, 0, 0),
        paid(2),
        closed(8, 0, 0, 0, 0),
        paid(3),
        closed(9, 0, 0, 0, 0),
        paid(4),
    )
    found = [event.amount for event, _ in fund.payments_for(Epoch(5), 4)]
    assert found == amounts[1:3]
    assert fund.payments_for(Epoch(6), 4) == []
    assert [event.amount for event, _ in fund.payments_for(Epoch(8), 4)] == [3, 4]


def test_closings_are_in_order() -> None:
    fund = fund_of(closed(5, 0, 0, 0, 0), closed(9, 1, 0, 0, 0))
    found = fund.closing(Epoch(9))
    assert found is not None
    assert found[0].provider_pool == 1
    assert fund.closing(Epoch(8)) is None
    before = fund.closing_before(Epoch(8))
    assert before is not None
    assert before.epoch == 5
    assert fund.closing_before(Epoch(5)) is None
    with pytest.raises(MalformedAnswerError, match="out of order"):
        fund.apply(closed(9, 0, 0, 0, 0), log_at(20))
