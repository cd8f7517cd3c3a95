"""Rental: how leases end, and who gets what. One rule, two cases."""

from __future__ import annotations

import boa
import pytest

from protocols.leases import LeaseState, Settlement
from tests.chain.contracts import world
from tests.chain.contracts.renting import (
    FUNDS,
    LEAST,
    PRICE,
    SECONDS,
    Market,
    build_market,
    escrow_of,
    expect,
    opening_market,
    settled,
)
from tests.chain.contracts.world import (
    EPOCH_SECONDS,
    GRACE_SECONDS,
    wallet,
)

BOND = SECONDS * PRICE * world.LEASE_PENALTY_BPS // 10_000
START = EPOCH_SECONDS + 10
"""When leases begin here, in seconds from the genesis: ten seconds into epoch 1."""


@pytest.fixture(scope="module")
def _market() -> Market:
    return opening_market()


@pytest.fixture
def market(_market: Market) -> Market:
    return _market.copy(START)


# -- a lease whose time is over


def test_a_lease_that_is_over_is_settled_by_anybody(market: Market) -> None:
    lease_id = market.start()
    for epoch in (1, 2, 3, 4):
        market.report(epoch)
    market.close(4)
    market.call("stranger", "settle", lease_id)
    assert settled(market) == expect(market.lease(lease_id))
    assert settled(market) == Settlement(SECONDS, 12_600, 630, 0, BOND, 0)
    assert market.lease(lease_id).state is LeaseState.SETTLED
    assert (market.owed("provider 0"), market.owed("renter")) == (12_600 + BOND, 0)
    assert market.rental.fees() == 630
    with boa.reverts("rental: not in this state"):
        market.call("stranger", "settle", lease_id)


def test_whoever_settles_is_paid_what_it_is_owed(market: Market) -> None:
    lease_id = market.start()
    market.close(4)
    market.call("provider 0", "settle", lease_id)
    assert market.balance("provider 0") == FUNDS + 12_600
    assert market.event("Withdrawn").amount == 12_600 + BOND
    assert market.owed("provider 0") == 0


def test_a_lease_is_settled_when_its_last_epoch_is_closed(market: Market) -> None:
    lease_id = market.start()
    market.wait(SECONDS - 1)
    with boa.reverts("rental: time is not over"):
        market.call("renter", "settle", lease_id)
    market.wait(1)
    with boa.reverts("rental: not judged to its end"):
        market.call("renter", "settle", lease_id)
    market.net.enter(5, GRACE_SECONDS - 1)
    with boa.reverts("rental: not judged to its end"):
        market.call("renter", "settle", lease_id)
    market.net.enter(5, GRACE_SECONDS)
    market.call("renter", "settle", lease_id)


def test_a_lease_that_ends_with_an_epoch_needs_no_later_one(market: Market) -> None:
    lease_id = market.start(seconds=EPOCH_SECONDS - 10)
    assert market.lease(lease_id).ends_at == market.net.registry.epoch_start(2)
    market.close(1)
    market.call("renter", "settle", lease_id)
    assert market.lease(lease_id).judged_until == 2


# -- ended by the renter


def test_a_renter_gets_the_unused_rest_at_once(market: Market) -> None:
    lease_id = market.start()
    market.wait(700)
    market.call("renter", "end", lease_id, False)
    event = market.event("Ended")
    assert (event.id, event.by, event.ended_at) == (lease_id, wallet("renter"), market.now)
    assert not event.confirmed
    assert event.returned == escrow_of(SECONDS) - escrow_of(700)
    assert market.balance("renter") == FUNDS - escrow_of(700)
    lease = market.lease(lease_id)
    assert (lease.state, lease.ended_at) == (LeaseState.ENDED, market.now)
    assert not lease.ended_by_provider
    assert market.kept_seconds(lease_id) == 700
    market.report(2, away=[0])
    market.close(2)
    market.call("renter", "settle", lease_id)
    lease = market.lease(lease_id)
    assert settled(market) == expect(lease, 110, gone=True)
    assert market.balance("renter") == FUNDS - escrow_of(590) + BOND


def test_a_renter_that_confirms_settles_at_once(market: Market) -> None:
    lease_id = market.start()
    market.wait(700)
    market.call("renter", "end", lease_id, True)
    lease = market.lease(lease_id)
    assert lease.state is LeaseState.SETTLED
    assert market.event("Ended").confirmed
    assert settled(market) == expect(lease)
    assert market.balance("renter") == FUNDS - escrow_of(700)
    assert market.owed("provider 0") == 700 * PRICE + BOND


def test_what_was_judged_away_stays_refunded_when_the_renter_confirms(market: Market) -> None:
    lease_id = market.start()
    market.report(1, away=[0])
    market.close(1)
    market.call("stranger", "judge", lease_id, 64)
    assert market.lease(lease_id).gone
    market.call("renter", "end", lease_id, True)
    lease = market.lease(lease_id)
    used = EPOCH_SECONDS + GRACE_SECONDS - 10
    assert settled(market) == expect(lease, 590)
    assert settled(market).charged_seconds == used - 590
    assert settled(market).penalty == 0


def test_who_ends_early_pays_for_the_minimum(market: Market) -> None:
    lease_id = market.start()
    market.wait(LEAST - 1)
    market.call("renter", "end", lease_id, True)
    assert settled(market).charged_seconds == LEAST


def test_who_ends_in_the_same_second_pays_for_the_minimum_too(market: Market) -> None:
    lease_id = market.start()
    market.call("renter", "end", lease_id, False)
    assert market.balance("renter") == FUNDS - escrow_of(LEAST)
    market.call("provider 0", "settle", lease_id)  # no epoch has to be looked at
    assert settled(market) == expect(market.lease(lease_id))
    assert market.balance("provider 0") == FUNDS + LEAST * PRICE


def test_the_minimum_is_not_owed_to_who_was_away(market: Market) -> None:
    lease_id = market.start()
    market.wait(5)
    market.call("renter", "end", lease_id, False)
    market.report(1, away=[0])
    market.close(1)
    market.call("renter", "settle", lease_id)
    assert settled(market) == expect(market.lease(lease_id), 5, gone=True)
    assert market.balance("renter") == FUNDS + BOND


def test_a_confirmed_end_after_the_time_needs_no_closed_epoch(market: Market) -> None:
    lease_id = market.start()
    market.wait(SECONDS + 5)
    market.call("renter", "end", lease_id, True)
    lease = market.lease(lease_id)
    assert lease.ended_at == lease.started_at + SECONDS
    assert settled(market) == Settlement(SECONDS, 12_600, 630, 0, BOND, 0)
    assert market.event("Ended").returned == 0


# -- ended by the provider


def test_a_provider_that_ends_early_loses_its_bond_but_not_its_pay(market: Market) -> None:
    lease_id = market.start()
    market.wait(700)
    market.call("provider 0", "end", lease_id, False)
    assert market.owed("renter") == escrow_of(SECONDS) - escrow_of(700)
    assert market.lease(lease_id).ended_by_provider
    market.close(2)
    market.call("provider 0", "settle", lease_id)
    assert settled(market) == expect(market.lease(lease_id))
    assert settled(market).penalty == BOND
    assert market.balance("provider 0") == FUNDS + 700 * PRICE - BOND
    assert market.owed("renter") == escrow_of(SECONDS) - escrow_of(700) + BOND


def test_a_provider_that_ends_early_has_no_minimum(market: Market) -> None:
    lease_id = market.start()
    market.wait(5)
    market.call("provider 0", "end", lease_id, False)
    market.close(1)
    market.call("stranger", "settle", lease_id)
    assert settled(market).charged_seconds == 5


def test_a_provider_that_ends_after_the_time_has_left_nobody(market: Market) -> None:
    lease_id = market.start()
    market.wait(SECONDS)
    market.call("provider 0", "end", lease_id, False)
    assert not market.lease(lease_id).ended_by_provider
    market.close(4)
    market.call("stranger", "settle", lease_id)
    assert settled(market).penalty == 0


def test_a_provider_confirms_nothing_and_strangers_end_nothing(market: Market) -> None:
    lease_id = market.start()
    with boa.reverts("rental: not the renter"):
        market.call("provider 0", "end", lease_id, True)
    for confirmed in (False, True):
        with boa.reverts("rental: not the provider"):
            market.call("stranger", "end", lease_id, confirmed)


# -- collect


def test_a_provider_collects_what_closed_epochs_earned(market: Market) -> None:
    lease_id = market.start()
    with boa.reverts("rental: nothing to collect"):
        market.call("provider 0", "collect", lease_id)
    market.close(1)
    market.call("provider 0", "collect", lease_id)
    assert market.event("Collected").amount == 590 * PRICE
    assert market.balance("provider 0") == FUNDS - BOND + 590 * PRICE
    assert market.lease(lease_id).collected == 590 * PRICE
    with boa.reverts("rental: nothing to collect"):
        market.call("provider 0", "collect", lease_id)
    market.report(2, away=[0])
    market.close(2)
    with boa.reverts("rental: nothing to collect"):
        market.call("stranger", "collect", lease_id)
    market.close(3)
    market.call("stranger", "collect", lease_id)
    assert market.owed("provider 0") == 600 * PRICE
    market.close(4)
    market.call("provider 0", "settle", lease_id)
    assert settled(market) == expect(market.lease(lease_id), 600)
    assert market.balance("provider 0") == FUNDS + 1_200 * PRICE


def test_an_ended_lease_is_collected_too(market: Market) -> None:
    lease_id = market.start()
    market.wait(EPOCH_SECONDS + 50)
    market.call("renter", "end", lease_id, False)
    market.close(1)
    market.call("stranger", "collect", lease_id)
    market.close(2)
    market.call("stranger", "collect", lease_id)
    assert market.owed("provider 0") == 650 * PRICE
    market.call("stranger", "settle", lease_id)
    assert market.owed("provider 0") == 650 * PRICE + BOND


# -- money that is owed, and fees


def test_nobody_withdraws_what_is_not_owed(market: Market) -> None:
    with boa.reverts("rental: nothing is owed"):
        market.call("renter", "withdraw", wallet("renter"))


def test_fees_go_to_the_fund_of_rewards(market: Market) -> None:
    with boa.reverts("rental: no fees"):
        market.call("stranger", "sweep_fees")
    lease_id = market.start()
    market.call("renter", "end", lease_id, True)
    fee = LEAST * PRICE * 5 // 100
    assert market.rental.fees() == fee
    funded = market.net.rewards.funded()
    market.call("stranger", "sweep_fees")
    assert market.event("FeesSwept").amount == fee
    assert market.net.rewards.funded() == funded + fee
    assert market.rental.fees() == 0
    assert market.net.token.balanceOf(market.net.rewards) == fee


def test_a_whole_life_leaves_nothing_behind(market: Market) -> None:
    lease_id = market.start()
    market.call("renter", "extend", lease_id, 333)
    market.report(2, away=[0])
    market.close(3)
    market.call("stranger", "judge", lease_id, 64)
    market.close(4)
    market.call("provider 0", "settle", lease_id)
    market.call("renter", "withdraw", wallet("renter"))
    market.call("renter", "sweep_fees")
    assert market.held == 0


def test_a_machine_that_renter_and_provider_are_the_same_wallet(market: Market) -> None:
    lease_id = market.start(renter="provider 0")
    market.wait(5)
    market.call("provider 0", "end", lease_id, False)  # as the renter
    assert not market.lease(lease_id).ended_by_provider
    market.close(1)
    market.call("provider 0", "settle", lease_id)
    assert market.balance("provider 0") == FUNDS - LEAST * PRICE * 5 // 100
    assert market.held == market.rental.fees()


def test_amounts_at_their_bounds() -> None:
    """The dearest lease there can be, of a token of which there are enough."""
    token = world.deployer("Token").deploy("Dear", "DEAR", 2**200)
    market = build_market(providers=1, token=token)
    price, seconds = 2**96 - 1, world.MAX_LEASE_SECONDS
    for person in ("renter", "provider 0"):
        market.net.token.transfer(wallet(person), 2**140)
    before = market.balance("provider 0")
    market.offer("provider 0", price, seconds, seconds)
    lease_id = market.open(seconds=seconds, price=price)
    market.call("provider 0", "accept", lease_id)
    market.wait(seconds)
    market.call("renter", "end", lease_id, True)
    event = market.event("Settled")
    assert (event.paid, event.fee) == (price * seconds, price * seconds * 500 // 10_000)
    market.call("stranger", "withdraw", wallet("provider 0"))
    assert market.balance("provider 0") == before + price * seconds
    assert market.held == market.rental.fees()
