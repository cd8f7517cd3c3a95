"""Rental: from the opening of a lease to its acceptance, and longer. One rule, two cases."""

from __future__ import annotations

import boa
import pytest

from protocols.leases import Base, LeaseState, Terms
from tests.chain.contracts import world
from tests.chain.contracts.renting import (
    FUNDS,
    KEY,
    LEAST,
    MOST,
    PRICE,
    SECONDS,
    Market,
    escrow_of,
    opening_market,
)
from tests.chain.contracts.world import (
    ACCEPT_SECONDS,
    EPOCH_SECONDS,
    REUSE_DELAY,
    UNSTAKE_DELAY,
    wallet,
)

BOND = SECONDS * PRICE * world.LEASE_PENALTY_BPS // 10_000


@pytest.fixture(scope="module")
def _market() -> Market:
    return opening_market()


@pytest.fixture
def market(_market: Market) -> Market:
    return _market.copy(EPOCH_SECONDS + 10)


def raw(person: str) -> bytes:
    return bytes.fromhex(wallet(person)[2:])


# -- open


def test_opening_takes_the_price_and_the_fee(market: Market) -> None:
    lease_id = market.open()
    event = market.event("Opened")
    lease = market.lease(lease_id)
    escrow = SECONDS * PRICE * 105 // 100
    assert market.balance("renter") == FUNDS - escrow
    assert market.held == escrow == escrow_of(SECONDS)
    assert (event.id, event.renter, event.provider) == (1, wallet("renter"), 0)
    assert (event.seconds, event.price, event.escrow) == (SECONDS, PRICE, escrow)
    assert event.key == KEY
    assert market.rental.lease_count() == lease_id == lease.id == 1
    assert lease.state is LeaseState.RESERVED
    assert (lease.provider, lease.provider_wallet) == (0, raw("provider 0"))
    assert (lease.renter, lease.key) == (raw("renter"), KEY)
    assert lease.terms == Terms(PRICE, LEAST, MOST, world.LEASE_FEE_BPS, BOND)
    assert (lease.seconds, lease.accept_by) == (SECONDS, market.now + ACCEPT_SECONDS)
    assert (lease.started_at, lease.ended_at, lease.ends_at) == (0, 0, 0)
    assert market.rental.current_lease(0) == 0


@pytest.mark.parametrize("seconds", [LEAST, MOST])
def test_the_shortest_and_the_longest_lease_are_opened(market: Market, seconds: int) -> None:
    assert market.lease(market.open(seconds=seconds)).seconds == seconds


@pytest.mark.parametrize("seconds", [0, LEAST - 1, MOST + 1, 2**255])
def test_no_lease_is_opened_for_another_time(market: Market, seconds: int) -> None:
    with boa.reverts("rental: seconds out of range"):
        market.open(seconds=seconds)


def test_no_lease_is_opened_at_another_price(market: Market) -> None:
    market.offer("provider 0", PRICE + 1)
    with boa.reverts("rental: other terms"):
        market.open()
    assert market.lease(market.open(price=PRICE + 1)).terms.price == PRICE + 1


def test_no_lease_is_opened_with_a_longer_minimum(market: Market) -> None:
    """Whoever offers could otherwise make a renter pay for all, a moment before it opens."""
    market.offer("provider 0", PRICE, LEAST + 1)
    with boa.reverts("rental: other terms"):
        market.call("renter", "open", 0, SECONDS, PRICE, LEAST, KEY)
    for minimum in (LEAST + 1, 2**256 - 1):
        market.call("renter", "open", 0, SECONDS, PRICE, minimum, KEY)
    assert market.lease(2).terms.minimum_seconds == LEAST + 1


@pytest.mark.parametrize("provider", [2, 3, 2**255])
def test_no_lease_is_opened_with_who_does_not_offer(market: Market, provider: int) -> None:
    with boa.reverts("rental: no offer"):
        market.open(provider=provider)


def test_no_lease_is_opened_without_a_key(market: Market) -> None:
    with boa.reverts("rental: key is zero"):
        market.call("renter", "open", 0, SECONDS, PRICE, LEAST, bytes(32))


def test_no_lease_is_opened_without_money(market: Market) -> None:
    market.net.give("pauper", escrow_of(SECONDS) - 1)
    with market.act("pauper"):
        market.net.token.approve(market.rental, 2**255)
    with boa.reverts():
        market.open("pauper")
    assert market.rental.lease_count() == 0
    market.net.give("pauper", 1)
    market.open("pauper")
    assert market.balance("pauper") == 0


def test_many_leases_are_reserved_with_one_provider(market: Market) -> None:
    ids = [market.open(person) for person in ("renter", "other renter", "renter")]
    assert ids == [1, 2, 3]
    assert market.held == 3 * escrow_of(SECONDS)


def test_pages_of_leases(market: Market) -> None:
    for _ in range(35):
        market.open(seconds=LEAST)
    words = [tuple(market.rental.lease(lease_id)) for lease_id in range(1, 36)]
    assert [tuple(w) for w in market.rental.leases(1, 1_000)] == words[:32]
    assert [tuple(w) for w in market.rental.leases(33, 32)] == words[32:]
    assert [tuple(w) for w in market.rental.leases(4, 1)] == words[3:4]
    for first, count in ((0, 32), (36, 32), (2**256 - 1, 32), (1, 0)):
        assert market.rental.leases(first, count) == []
    assert tuple(market.rental.lease(36)) == (0, 0, bytes(32), 0, 0)


# -- accept


def test_accepting_takes_the_bond_and_starts_the_time(market: Market) -> None:
    lease_id = market.open()
    market.wait(ACCEPT_SECONDS)  # the last moment
    market.call("provider 0", "accept", lease_id)
    event = market.event("Accepted")
    lease = market.lease(lease_id)
    assert (event.id, event.provider, event.bond) == (lease_id, 0, BOND)
    assert market.balance("provider 0") == FUNDS - BOND
    assert lease.state is LeaseState.ACTIVE
    assert lease.started_at == market.now
    assert lease.ends_at == market.now + SECONDS
    assert lease.judged_until == 1
    assert lease.base == Base(0, 0, 0)  # type: ignore[arg-type]
    assert market.rental.current_lease(0) == lease_id


def test_a_second_later_it_is_too_late(market: Market) -> None:
    lease_id = market.open()
    market.wait(ACCEPT_SECONDS + 1)
    with boa.reverts("rental: too late to accept"):
        market.call("provider 0", "accept", lease_id)


def test_only_its_provider_accepts(market: Market) -> None:
    lease_id = market.open()
    for person in ("provider 1", "renter", "stranger"):
        with boa.reverts("rental: not the provider"):
            market.call(person, "accept", lease_id)


def test_a_provider_that_left_does_not_accept(market: Market) -> None:
    market.wait(EPOCH_SECONDS - 10 - ACCEPT_SECONDS // 2)
    first, second = market.open(), market.open("other renter")
    with market.act("provider 0"):
        market.net.registry.leave_provider()
    market.call("provider 0", "accept", first)  # its last epoch is not over
    market.call("renter", "end", first, True)
    market.net.enter(2)
    with boa.reverts("rental: provider is not active"):
        market.call("provider 0", "accept", second)


def test_a_machine_is_leased_once_at_a_time(market: Market) -> None:
    market.start(seconds=LEAST)
    second = market.open("other renter")
    market.wait(LEAST - 1)
    with boa.reverts("rental: machine is leased"):
        market.call("provider 0", "accept", second)
    market.wait(1)
    assert market.rental.current_lease(0) == 0
    market.call("provider 0", "accept", second)  # though nobody has settled the first
    assert market.rental.current_lease(0) == second


def test_a_machine_whose_lease_was_ended_is_free(market: Market) -> None:
    first = market.start()
    second = market.open("other renter")
    market.call("renter", "end", first, False)
    assert market.rental.current_lease(0) == 0
    market.call("provider 0", "accept", second)
    assert market.rental.current_lease(0) == second
    assert market.rental.current_lease(1) == 0


def test_without_the_bond_nothing_is_accepted(market: Market) -> None:
    lease_id = market.open()
    with market.act("provider 0"):
        market.net.token.approve(market.rental, BOND - 1)
    with boa.reverts():
        market.call("provider 0", "accept", lease_id)
    with market.act("provider 0"):
        market.net.token.approve(market.rental, BOND)
    market.call("provider 0", "accept", lease_id)


def test_a_bond_of_nothing_is_not_asked_for(market: Market) -> None:
    market.offer("provider 0", 1, 1)
    lease_id = market.open(seconds=9, price=1)
    with market.act("provider 0"):
        market.net.token.approve(market.rental, 0)
    market.call("provider 0", "accept", lease_id)
    assert market.lease(lease_id).terms.bond == 0


def test_the_next_tenant_of_a_slot_has_nothing_to_do_with_an_older_lease(market: Market) -> None:
    net = market.net
    lease_id = market.open(seconds=MOST)
    market.call("provider 0", "accept", lease_id)
    with market.act("provider 0"):
        net.registry.leave_provider()
    boa.env.timestamp = (
        net.genesis + 2 * EPOCH_SECONDS + max(UNSTAKE_DELAY, REUSE_DELAY * EPOCH_SECONDS)
    )
    net.registry.withdraw_provider(0)
    assert net.register("provider", "heir") == 0
    net.enter(net.epoch + 1)
    market.fund("heir")
    assert market.lease(lease_id).is_usable(market.now)
    assert market.rental.current_lease(0) == 0
    market.offer("heir")
    second = market.open("other renter")
    with boa.reverts("rental: not the provider"):
        market.call("provider 0", "accept", second)
    market.call("heir", "accept", second)  # though the older lease is not over
    assert market.rental.current_lease(0) == second
    assert market.lease(second).base == Base(0, 0, 0)  # type: ignore[arg-type]
    # The older one still runs, is judged away from its tenant's exit on, and ends.
    market.call("renter", "end", lease_id, False)
    assert market.rental.current_lease(0) == second


def test_a_wallet_that_comes_back_is_another_tenant(market: Market) -> None:
    net = market.net
    lease_id = market.open()
    with market.act("provider 0"):
        net.registry.leave_provider()
    net.enter(2 + REUSE_DELAY, UNSTAKE_DELAY)
    net.registry.withdraw_provider(0)
    assert net.register("provider", "provider 0") == 0
    net.enter(net.epoch + 1)
    assert market.rental.offer_of(0).wallet == world.wallet_of_nobody()
    market.call("stranger", "reclaim", lease_id)


# -- reclaim


def test_the_renter_reclaims_at_any_time_before_the_acceptance(market: Market) -> None:
    lease_id = market.open()
    market.call("renter", "reclaim", lease_id)
    assert market.event("Reclaimed").refund == escrow_of(SECONDS)
    assert market.balance("renter") == FUNDS
    assert market.lease(lease_id).state is LeaseState.RECLAIMED
    with boa.reverts("rental: not in this state"):
        market.call("provider 0", "accept", lease_id)
    with boa.reverts("rental: not in this state"):
        market.call("renter", "reclaim", lease_id)


def test_others_reclaim_for_the_renter_when_it_is_too_late_to_accept(market: Market) -> None:
    lease_id = market.open()
    market.wait(ACCEPT_SECONDS)
    with boa.reverts("rental: too early to reclaim"):
        market.call("stranger", "reclaim", lease_id)
    market.wait(1)
    market.call("stranger", "reclaim", lease_id)
    assert market.balance("stranger") == 0
    assert market.owed("renter") == escrow_of(SECONDS)
    market.call("stranger", "withdraw", wallet("renter"))
    assert market.balance("renter") == FUNDS
    assert market.event("Withdrawn").amount == escrow_of(SECONDS)


# -- extend


def test_extending_costs_what_a_longer_lease_had_cost(market: Market) -> None:
    lease_id = market.start()
    market.wait(SECONDS - 1)
    market.call("renter", "extend", lease_id, MOST - SECONDS)
    event = market.event("Extended")
    lease = market.lease(lease_id)
    assert (event.id, event.seconds) == (lease_id, MOST)
    assert event.paid == escrow_of(MOST) - escrow_of(SECONDS)
    assert market.balance("renter") == FUNDS - escrow_of(MOST)
    assert (lease.seconds, market.kept_seconds(lease_id)) == (MOST, MOST)
    assert lease.terms.bond == BOND
    with boa.reverts("rental: seconds out of range"):
        market.call("renter", "extend", lease_id, 1)


@pytest.mark.parametrize("seconds", [0, MOST - SECONDS + 1, 2**256 - 1])
def test_no_lease_is_extended_by_nothing_or_beyond_its_maximum(
    market: Market, seconds: int
) -> None:
    lease_id = market.start()
    market.offer("provider 0", PRICE, LEAST, 2 * MOST)
    with boa.reverts("rental: seconds out of range"):
        market.call("renter", "extend", lease_id, seconds)


def test_no_lease_is_extended_whose_time_is_over(market: Market) -> None:
    lease_id = market.start()
    market.wait(SECONDS)
    with boa.reverts("rental: time is over"):
        market.call("renter", "extend", lease_id, 1)


def test_only_its_renter_extends(market: Market) -> None:
    lease_id = market.start()
    for person in ("provider 0", "other renter"):
        with boa.reverts("rental: not the renter"):
            market.call(person, "extend", lease_id, 1)


def test_a_lease_is_extended_at_its_own_price(market: Market) -> None:
    lease_id = market.start()
    market.offer("provider 0", 100 * PRICE, LEAST, MOST)
    market.call("renter", "extend", lease_id, 100)
    assert market.event("Extended").paid == escrow_of(SECONDS + 100) - escrow_of(SECONDS)


def test_parts_of_units_are_rounded_over_the_whole_lease(market: Market) -> None:
    market.offer("provider 0", 1, 1)
    lease_id = market.open(seconds=19, price=1)  # a fee of 0.95
    market.call("provider 0", "accept", lease_id)
    assert market.balance("renter") == FUNDS - 19
    market.call("renter", "extend", lease_id, 1)
    assert market.balance("renter") == FUNDS - 21
