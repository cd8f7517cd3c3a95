"""Rental: in which epochs a provider was away, and what it had before. One rule, two cases."""

from __future__ import annotations

import boa
import pytest

from protocols.leases import Settlement
from tests.chain.contracts import world
from tests.chain.contracts.renting import (
    FUNDS,
    LEAST,
    MOST,
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
    ACCEPT_SECONDS,
    EPOCH_SECONDS,
    GRACE_SECONDS,
    REUSE_DELAY,
    RING,
    UNSTAKE_DELAY,
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


# -- away


def test_seconds_of_epochs_in_which_the_provider_was_away_are_refunded(market: Market) -> None:
    lease_id = market.start()  # 590 s of epoch 1, all of 2 and 3, 10 s of 4
    market.report(2, away=[0])
    market.report(4, away=[1])  # another one
    market.close(3)
    assert market.call("stranger", "judge", lease_id, 64) == 4
    lease = market.lease(lease_id)
    assert (lease.away_seconds, lease.gone) == (EPOCH_SECONDS, False)
    market.close(4)
    market.call("renter", "settle", lease_id)
    assert settled(market) == expect(lease, EPOCH_SECONDS)
    assert settled(market).refund == escrow_of(SECONDS) - escrow_of(SECONDS - EPOCH_SECONDS)
    assert market.balance("renter") == FUNDS - escrow_of(SECONDS - EPOCH_SECONDS)


@pytest.mark.parametrize(("epoch", "seconds"), [(1, 590), (2, 600), (3, 600), (4, 10)])
def test_only_seconds_of_the_lease_are_refunded(market: Market, epoch: int, seconds: int) -> None:
    lease_id = market.start()
    market.report(epoch, away=[0])
    market.close(3)
    market.call("stranger", "judge", lease_id, 64)
    market.close(4)
    market.call("stranger", "settle", lease_id)
    lease = market.lease(lease_id)
    assert (lease.away_seconds, lease.gone) == (seconds, epoch == 4)
    assert settled(market) == expect(lease, seconds, gone=epoch == 4)


def test_who_was_away_in_the_last_epoch_loses_its_bond(market: Market) -> None:
    lease_id = market.start()
    market.close(3)
    market.call("stranger", "judge", lease_id, 64)
    market.report(4, away=[0])
    market.close(4)
    market.call("renter", "settle", lease_id)
    assert settled(market).penalty == BOND
    assert settled(market).bond_back == 0
    assert market.balance("renter") == FUNDS - escrow_of(SECONDS - 10) + BOND


def test_who_was_away_all_the_time_gets_nothing(market: Market) -> None:
    lease_id = market.start(seconds=EPOCH_SECONDS)
    for epoch in (1, 2):
        market.report(epoch, away=[0])
    market.close(2)
    market.call("stranger", "settle", lease_id)
    assert settled(market) == Settlement(0, 0, 0, escrow_of(EPOCH_SECONDS) + 420, 0, 420)
    assert market.owed("renter") == market.held == escrow_of(EPOCH_SECONDS) + 420


def test_where_there_is_no_bundle_the_provider_was_there(market: Market) -> None:
    lease_id = market.start()
    market.report(2 * RING + 2, away=[0])  # of the ring's same place, but of another epoch
    market.close(4)
    market.call("stranger", "settle", lease_id)
    assert settled(market).charged_seconds == SECONDS


def test_judging_goes_as_far_as_asked_and_as_epochs_are_closed(market: Market) -> None:
    lease_id = market.start()
    for epoch in (1, 2, 3, 4):
        market.report(epoch, away=[0])
    assert market.call("stranger", "judge", lease_id, 64) == 1
    market.close(1)
    assert market.call("stranger", "judge", lease_id, 64) == 2
    assert market.lease(lease_id).away_seconds == 590
    market.close(3)
    assert market.call("stranger", "judge", lease_id, 0) == 2
    assert market.call("stranger", "judge", lease_id, 1) == 3
    assert market.call("stranger", "judge", lease_id, 2**256 - 1) == 4
    assert market.lease(lease_id).away_seconds == 1_790
    market.net.enter(20)
    assert market.call("stranger", "judge", lease_id, 64) == 5  # nothing after its end
    assert market.call("stranger", "judge", lease_id, 64) == 5


def test_what_the_ring_may_have_lost_counts_as_there(market: Market) -> None:
    lease_id = market.start(seconds=MOST)
    for epoch in (1, 2, 3, 4):
        market.report(epoch, away=[0])
    market.net.enter(2 + RING, GRACE_SECONDS)  # 1 and 2 may be overwritten from now on
    market.call("stranger", "judge", lease_id, 1)
    lease = market.lease(lease_id)
    assert (lease.judged_until, lease.away_seconds, lease.gone) == (4, EPOCH_SECONDS, True)
    market.net.enter(5 + RING, GRACE_SECONDS)
    market.call("stranger", "judge", lease_id, 0)
    lease = market.lease(lease_id)
    assert (lease.judged_until, lease.away_seconds, lease.gone) == (6, EPOCH_SECONDS, False)


def test_more_epochs_than_one_call_looks_at() -> None:
    market = build_market(providers=1, ring=80)
    market.offer("provider 0", most=world.MAX_LEASE_SECONDS)
    lease_id = market.start(seconds=70 * EPOCH_SECONDS)
    for epoch in range(1, 71):
        market.report(epoch, away=[0] if epoch % 2 else [])
    market.close(71)
    with boa.reverts("rental: not judged to its end"):
        market.call("renter", "settle", lease_id)
    assert market.call("renter", "judge", lease_id, 6) == 7
    market.call("renter", "settle", lease_id)
    assert settled(market).charged_seconds == 35 * EPOCH_SECONDS


def test_what_did_not_begin_or_is_settled_is_not_judged(market: Market) -> None:
    lease_id = market.open()
    for name, arguments in (("judge", (lease_id, 1)), ("settle", (lease_id,)), ("collect", (9,))):
        with boa.reverts("rental: not in this state"):
            market.call("renter", name, *arguments)


# -- a provider that leaves the network


def test_from_its_exit_on_a_provider_is_away(market: Market) -> None:
    lease_id = market.start()
    market.net.enter(2, 5)
    with market.act("provider 0"):
        market.net.registry.leave_provider()
    for epoch in (1, 2, 3, 4):
        market.report(epoch)  # whatever a bundle says
    market.close(4)
    market.call("renter", "settle", lease_id)
    lease = market.lease(lease_id)
    assert lease.away_seconds == 610  # epochs 3 and 4
    assert settled(market) == expect(lease, 610, gone=True)


def leave_for_an_heir(market: Market, heir: str = "heir") -> None:
    """Provider 0 leaves in epoch 2, and somebody else has its slot as soon as possible."""
    net = market.net
    net.enter(2)
    with market.act("provider 0"):
        net.registry.leave_provider()
    boa.env.timestamp = net.genesis + max(
        3 * EPOCH_SECONDS + UNSTAKE_DELAY, (3 + REUSE_DELAY) * EPOCH_SECONDS
    )
    net.registry.withdraw_provider(0)
    assert net.register("provider", heir) == 0
    net.enter(net.epoch + 1)


@pytest.mark.parametrize("heir", ["heir", "provider 0"])
def test_an_heir_is_not_judged_for_an_older_lease(market: Market, heir: str) -> None:
    """Nor is the same wallet, when it has come back."""
    lease_id = market.start(seconds=MOST)
    leave_for_an_heir(market, heir)
    assert market.lease(lease_id).is_usable(market.now)
    assert market.rental.current_lease(0) == 0
    for _ in range(3):
        market.report(market.epoch)
        market.close(market.epoch)
    market.call("stranger", "judge", lease_id, 64)
    lease = market.lease(lease_id)
    assert lease.gone
    assert lease.judged_until == market.epoch
    assert lease.away_seconds >= 3 * EPOCH_SECONDS


def test_an_exit_is_remembered_when_the_slot_has_another_tenant(market: Market) -> None:
    """From the newcomer's first epoch the delay is counted back."""
    lease_id = market.start(seconds=MOST)
    leave_for_an_heir(market)
    first = market.epoch
    market.report(first, away=[])
    market.call("stranger", "judge", lease_id, 64)
    lease = market.lease(lease_id)
    latest_exit = first - 1 - REUSE_DELAY
    closed = market.epoch - 1  # at the start of an epoch the one before is open
    assert latest_exit >= 3
    assert lease.judged_until == closed
    assert lease.away_seconds == (closed - latest_exit) * EPOCH_SECONDS
    assert lease.gone
    market.call("renter", "end", lease_id, False)
    market.close(market.epoch)
    market.call("renter", "settle", lease_id)
    assert settled(market).penalty == market.lease(lease_id).terms.bond


def test_a_lease_judged_before_its_exit_is_judged_exactly(market: Market) -> None:
    lease_id = market.start(seconds=MOST)
    market.net.enter(2)
    with market.act("provider 0"):
        market.net.registry.leave_provider()
    market.close(7)
    market.call("stranger", "judge", lease_id, 64)
    assert market.lease(lease_id).away_seconds == 5 * EPOCH_SECONDS  # 3 to 7
    boa.env.timestamp = market.net.genesis + (4 + REUSE_DELAY) * EPOCH_SECONDS
    market.net.registry.withdraw_provider(0)
    assert market.net.register("provider", "heir") == 0
    market.net.enter(market.epoch + 1, GRACE_SECONDS)
    market.call("stranger", "judge", lease_id, 64)
    lease = market.lease(lease_id)
    assert lease.away_seconds == (lease.judged_until - 3) * EPOCH_SECONDS
    assert lease.judged_until == market.epoch


# -- the score that a leased machine had


def base(market: Market, lease_id: int) -> tuple[int, int, int]:
    found = market.lease(lease_id).base
    return found.epoch, found.score, found.total


def test_the_base_is_the_newest_score_of_the_last_closed_epochs(market: Market) -> None:
    market.net.enter(7)
    for epoch, scores in ((3, [9, 9]), (4, [5, 6]), (5, [7, 8]), (6, [1, 1])):
        market.report(epoch, scores=scores)
    lease_id = market.start()  # epoch 6 is not closed: its total may still grow
    assert base(market, lease_id) == (5, 7, 15)
    assert market.lease(lease_id).accept_by == market.now + ACCEPT_SECONDS
    market.net.enter(7, GRACE_SECONDS)
    other = market.start(provider=1)
    assert base(market, other) == (6, 1, 2)


def test_scores_of_nothing_are_passed_over(market: Market) -> None:
    market.net.enter(7, GRACE_SECONDS)
    for epoch, scores in ((3, [9, 3]), (5, [0, 8]), (6, [0, 1])):
        market.report(epoch, scores=scores)
    assert base(market, market.start()) == (3, 9, 12)
    assert base(market, market.start(provider=1)) == (6, 1, 1)


def test_older_scores_are_no_base(market: Market) -> None:
    market.report(2, scores=[9])
    market.net.enter(7, GRACE_SECONDS)
    assert base(market, market.start()) == (0, 0, 0)


def test_a_lease_right_after_another_has_its_base(market: Market) -> None:
    market.net.enter(3, GRACE_SECONDS)
    market.report(2, scores=[9, 4])
    first = market.start(seconds=LEAST)
    assert base(market, first) == (2, 9, 13)
    ended = market.epoch
    for epoch in range(3, 9):
        market.report(epoch, scores=[100])
    market.net.enter(ended + 4, GRACE_SECONDS)
    second = market.start(seconds=LEAST)
    assert base(market, second) == (2, 9, 13)
    market.net.enter(ended + 8, GRACE_SECONDS)
    market.report(ended + 4, scores=[50])
    third = market.start(seconds=LEAST)
    assert base(market, third) == (2, 9, 13)
    market.net.enter(ended + 13, GRACE_SECONDS)
    market.report(ended + 12, scores=[77, 0, 3])
    fourth = market.start(seconds=LEAST)
    assert base(market, fourth) == (ended + 12, 77, 80)


def test_a_provider_that_is_no_first_lane() -> None:
    market = build_market(providers=33)
    market.net.enter(3, GRACE_SECONDS)
    market.report(2, scores=range(100, 133))
    market.offer("provider 32")
    lease_id = market.start(provider=32)
    assert base(market, lease_id) == (2, 132, sum(range(100, 133)))
    market.report(4, away=[31])
    market.report(3, away=[32])
    market.close(4)
    market.call("stranger", "judge", lease_id, 64)
    assert market.lease(lease_id).away_seconds == EPOCH_SECONDS - GRACE_SECONDS
