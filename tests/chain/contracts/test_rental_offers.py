"""Rental: who may offer what, and what others see of it."""

from __future__ import annotations

from typing import Any

import boa
import pytest

from tests.chain.contracts import world
from tests.chain.contracts.renting import (
    CAPABILITY,
    KEY,
    LEAST,
    MOST,
    PRICE,
    SECONDS,
    Market,
    build_market,
    opening_market,
)
from tests.chain.contracts.world import (
    MAX_LEASE_SECONDS,
    REUSE_DELAY,
    UNSTAKE_DELAY,
    deployer,
    wallet,
)


@pytest.fixture(scope="module")
def _market() -> Market:
    return opening_market()


@pytest.fixture
def market(_market: Market) -> Market:
    return _market.copy(world.EPOCH_SECONDS)


def test_an_offer_is_seen(market: Market) -> None:
    market.call("provider 2", "offer", 9, 1, MAX_LEASE_SECONDS, CAPABILITY)
    event = market.event("OfferMade")
    seen = (2, wallet("provider 2"), 1, 9, 1, MAX_LEASE_SECONDS, CAPABILITY)
    assert tuple(market.rental.offer_of(2)) == seen
    assert (event.provider, event.wallet, event.since) == seen[:3]
    assert (event.price, event.minimum_seconds, event.maximum_seconds) == seen[3:6]
    assert event.capability == CAPABILITY


def test_a_second_offer_takes_the_place_of_the_first(market: Market) -> None:
    market.call("provider 0", "offer", PRICE + 1, 5, 6, KEY)
    seen = (0, wallet("provider 0"), 1, PRICE + 1, 5, 6, KEY)
    assert tuple(market.rental.offer_of(0)) == seen


@pytest.mark.parametrize(
    ("terms", "reason"),
    [
        ((0, LEAST, MOST), "price"),
        ((2**96, LEAST, MOST), "price"),
        ((PRICE, 0, MOST), "seconds"),
        ((PRICE, 0, 0), "seconds"),
        ((PRICE, 61, 60), "seconds"),
        ((PRICE, LEAST, MAX_LEASE_SECONDS + 1), "seconds"),
        ((PRICE, 2**255, 2**256 - 1), "seconds"),
    ],
)
def test_an_offer_out_of_range_is_refused(
    market: Market, terms: tuple[int, int, int], reason: str
) -> None:
    with boa.reverts(f"rental: {reason} out of range"):
        market.call("provider 0", "offer", *terms, CAPABILITY)


def test_the_dearest_offer_fits(market: Market) -> None:
    dearest = 2**96 - 1
    market.offer("provider 0", dearest, MAX_LEASE_SECONDS, MAX_LEASE_SECONDS)
    assert market.rental.offer_of(0).price == dearest


def test_only_an_active_provider_offers(market: Market) -> None:
    market.net.register("provider", "newcomer")
    for person in ("renter", "newcomer"):
        with boa.reverts("rental: provider is not active"):
            market.offer(person)
        with boa.reverts("rental: provider is not active"):
            market.call(person, "withdraw_offer")
    market.net.enter(2)
    market.offer("newcomer")
    with market.act("newcomer"):
        market.net.registry.leave_provider()
    market.offer("newcomer", PRICE + 1)  # up to the end of its last epoch
    market.net.enter(3)
    with boa.reverts("rental: provider is not active"):
        market.offer("newcomer")


def test_a_withdrawn_offer_is_none(market: Market) -> None:
    market.call("provider 0", "withdraw_offer")
    event = market.event("OfferWithdrawn")
    assert (event.provider, event.wallet) == (0, wallet("provider 0"))
    assert market.rental.offer_of(0).wallet == world.wallet_of_nobody()
    with boa.reverts("rental: no offer"):
        market.open()
    market.call("provider 0", "withdraw_offer")  # again changes nothing


def test_leases_that_were_opened_are_not_touched_by_a_withdrawal(market: Market) -> None:
    lease_id = market.open()
    market.call("provider 0", "withdraw_offer")
    market.call("provider 0", "accept", lease_id)
    assert market.rental.current_lease(0) == lease_id


def seen(offers: list[Any]) -> list[int]:
    """Indices of the offers on a page, −1 for holes."""
    return [offer.provider if offer.wallet != world.wallet_of_nobody() else -1 for offer in offers]


def test_pages_of_offers_have_holes(market: Market) -> None:
    assert seen(market.rental.offers(0, 64)) == [0, 1, -1]
    assert seen(market.rental.offers(1, 1)) == [1]
    assert seen(market.rental.offers(1, 2**256 - 1)) == [1, -1]
    assert seen(market.rental.offers(0, 0)) == []
    assert seen(market.rental.offers(3, 5)) == []
    assert seen(market.rental.offers(2**256 - 1, 5)) == []


def test_a_page_has_no_more_than_its_bound() -> None:
    market = build_market(providers=66)
    market.offer("provider 65")
    assert seen(market.rental.offers(0, 1_000)) == [-1] * 64
    assert seen(market.rental.offers(64, 64)) == [-1, 65]


def test_who_left_offers_nothing_and_the_next_tenant_not_its_terms(market: Market) -> None:
    net = market.net
    with market.act("provider 0"):
        net.registry.leave_provider()
    assert seen(market.rental.offers(0, 1)) == [0]  # active to the end of the epoch
    net.enter(2)
    assert seen(market.rental.offers(0, 2)) == [-1, 1]
    with boa.reverts("rental: no offer"):
        market.open()
    net.enter(2 + REUSE_DELAY, UNSTAKE_DELAY)
    net.registry.withdraw_provider(0)
    assert net.register("provider", "heir") == 0
    net.enter(net.epoch + 1)
    assert net.registry.provider(0).wallet == wallet("heir")
    assert seen(market.rental.offers(0, 2)) == [-1, 1]
    market.offer("heir", 2)
    assert market.rental.offer_of(0).price == 2


def test_before_the_genesis_there_are_no_offers() -> None:
    net = world.build(seconds_to_genesis=1_000)
    assert net.rental.offers(0, 64) == []
    assert net.rental.current_lease(0) == 0
    assert net.rental.offer_of(0).wallet == world.wallet_of_nobody()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"fee_bps": 10_001}, "part exceeds the whole"),
        ({"penalty_bps": 10_001}, "part exceeds the whole"),
        ({"accept_seconds": 0}, "deadline out of range"),
        ({"accept_seconds": 86_401}, "deadline out of range"),
        ({"max_seconds": 0}, "maximum out of range"),
        ({"max_seconds": 2**24}, "maximum out of range"),
        ({"token": "other"}, "contracts do not belong together"),
        ({"consensus": "other"}, "contracts do not belong together"),
        ({"rewards": "other"}, "contracts do not belong together"),
    ],
)
def test_what_it_is_not_deployed_with(market: Market, changes: dict[str, Any], reason: str) -> None:
    other = world.build()
    arguments = {
        "token": market.net.token,
        "registry": market.net.registry,
        "consensus": market.net.consensus,
        "rewards": market.net.rewards,
        "fee_bps": 10_000,
        "penalty_bps": 10_000,
        "accept_seconds": 86_400,
        "max_seconds": 2**24 - 1,
    }
    deployer("Rental").deploy(*arguments.values())
    for name, value in changes.items():
        arguments[name] = getattr(other, name) if value == "other" else value
    with boa.reverts(f"rental: {reason}"):
        deployer("Rental").deploy(*arguments.values())


def test_an_offer_does_not_change_an_open_lease(market: Market) -> None:
    lease_id = market.open()
    market.offer("provider 0", 1_000, 1, 1)
    lease = market.lease(lease_id)
    assert (lease.terms.price, lease.terms.minimum_seconds) == (PRICE, LEAST)
    assert (lease.terms.maximum_seconds, lease.seconds) == (MOST, SECONDS)
