"""Rental against the table of protocols/leases.py: every state with every action."""

from __future__ import annotations

from collections.abc import Callable

import boa
import pytest

from protocols.leases import TRANSITIONS, LeaseAction, LeaseState
from tests.chain.contracts.renting import SECONDS, Market, opening_market
from tests.chain.contracts.world import EPOCH_SECONDS

PAIRS = [(state, action) for state in LeaseState for action in LeaseAction]


@pytest.fixture(scope="module")
def _market() -> Market:
    return opening_market()


@pytest.fixture
def market(_market: Market) -> Market:
    return _market.copy(EPOCH_SECONDS + 10)


def reach(market: Market, state: LeaseState) -> int:
    """A lease in that state, whose time is not over; there is none in the state NONE."""
    if state is LeaseState.NONE:
        return 1
    lease_id = market.open()
    if state is LeaseState.RECLAIMED:
        market.call("renter", "reclaim", lease_id)
    elif state is not LeaseState.RESERVED:
        market.call("provider 0", "accept", lease_id)
        market.wait(100)
    if state in (LeaseState.ENDED, LeaseState.SETTLED):
        market.call("renter", "end", lease_id, state is LeaseState.SETTLED)
    return lease_id


WAYS: dict[LeaseAction, tuple[Callable[[Market, int], object], ...]] = {
    LeaseAction.OPEN: (lambda market, _: market.open(),),
    LeaseAction.ACCEPT: (lambda market, lease: market.call("provider 0", "accept", lease),),
    LeaseAction.RECLAIM: (lambda market, lease: market.call("renter", "reclaim", lease),),
    LeaseAction.EXTEND: (lambda market, lease: market.call("renter", "extend", lease, 9),),
    LeaseAction.JUDGE: (lambda market, lease: market.call("stranger", "judge", lease, 64),),
    LeaseAction.COLLECT: (lambda market, lease: collect(market, lease),),
    LeaseAction.END: (
        lambda market, lease: market.call("renter", "end", lease, False),
        lambda market, lease: market.call("renter", "end", lease, True),
        lambda market, lease: market.call("provider 0", "end", lease, False),
    ),
    LeaseAction.SETTLE: (lambda market, lease: settle(market, lease),),
}


def collect(market: Market, lease: int) -> None:
    """Collect when an epoch is closed."""
    market.close(1)
    market.call("stranger", "collect", lease)


def settle(market: Market, lease: int) -> None:
    """Settle when there is nothing more to wait for."""
    market.wait(SECONDS + 3 * EPOCH_SECONDS)
    market.call("stranger", "settle", lease)


@pytest.mark.parametrize(
    ("state", "action"), PAIRS, ids=[f"{state.name}-{action.value}" for state, action in PAIRS]
)
def test_what_leads_where(market: Market, state: LeaseState, action: LeaseAction) -> None:
    found = set()
    for way in WAYS[action]:
        with boa.env.anchor():
            lease_id = reach(market, state)
            before = tuple(market.rental.lease(lease_id))
            balances = (market.held, market.balance("renter"), market.balance("provider 0"))
            if action is LeaseAction.OPEN and state is not LeaseState.NONE:
                # Opening makes another lease and never touches one that there is.
                way(market, lease_id)
                assert tuple(market.rental.lease(lease_id)) == before
                continue
            if (state, action) not in TRANSITIONS:
                with boa.reverts("rental: not in this state"):
                    way(market, lease_id)
                assert tuple(market.rental.lease(lease_id)) == before
                assert balances == (
                    market.held,
                    market.balance("renter"),
                    market.balance("provider 0"),
                )
                continue
            way(market, lease_id)
            found.add(market.lease(lease_id).state)
    assert found == TRANSITIONS.get((state, action), frozenset())
