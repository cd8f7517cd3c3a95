"""Closing epochs: what the pools are, what is carried on, and that no more is promised than there
is. The books that nodes keep (protocols/settlement.py) are the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import boa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from protocols.params import MINIMAL, Preset
from protocols.settlement import Books, close_epoch, compute_schedule, skip_epochs
from protocols.types import Epoch
from tests.chain.contracts.snapshots import Snapshot
from tests.chain.contracts.world import (
    CARRY,
    CHECKER_POOL,
    GRACE_SECONDS,
    PROVIDER_POOL,
    RING,
    UNIT,
    World,
    build,
    lanes,
    wallet,
)

ERA_EPOCHS = 30
PRESET: Preset = replace(
    MINIMAL,
    provider_pool=PROVIDER_POOL,
    checker_pool=CHECKER_POOL,
    era_epochs=ERA_EPOCHS,
    carry_epochs=CARRY,
)


def settle(world: World, epoch: int, score: int = 100) -> None:
    """A bundle in which the first provider gets the score, from a committee that agrees."""
    world.submit(world.reports([lanes(score)] * 4, epoch), epoch)


def take_part(world: World, number: int) -> None:
    for checker in range(4):
        world.contribute(checker, number)


def items(world: World, checker: int, epochs: list[int]) -> list[int]:
    """The checker's seats in those epochs, as `claim_checker` takes them."""
    return [
        epoch << 32 | list(world.consensus.committee(epoch, 0)).index(checker) for epoch in epochs
    ]


def closings(world: World) -> list[Any]:
    return [e for e in world.rewards.get_logs() if type(e).__name__ == "EpochClosed"]


def in_books(world: World) -> int:
    """Everything in the books is in the account too."""
    available = int(world.rewards.available())
    assert available == world.token.balanceOf(world.rewards)
    assert available == world.rewards.funded() - world.rewards.paid()
    return available


@pytest.fixture(scope="module")
def _eras() -> Snapshot:
    world = build(era=ERA_EPOCHS)
    world.populate(checkers=4, providers=2)
    world.token.approve(world.rewards, 10**9 * UNIT)
    world.commit_all()
    world.enter(1)
    return Snapshot.of(world)


@pytest.fixture
def eras(_eras: Snapshot) -> World:
    """Like `small`, with eras of thirty epochs and no fund yet."""
    return _eras.resume()


# -- against the model

steps = st.lists(
    st.tuples(
        st.integers(1, 3) | st.integers(1, 3) | st.integers(4, 70),  # epochs until the next
        st.sampled_from([0, 0, 1]) | st.just(100),  # score; 0: no provider earns
        st.booleans() | st.just(True),  # whether there is a bundle at all
        st.sampled_from([0, 0, 700, 5_000]),  # what is paid into the fund
        st.booleans(),  # whether epochs are closed now
        st.booleans(),  # whether the provider claims
    ),
    min_size=1,
    max_size=6,
)


@given(steps=steps, emission=st.sampled_from([10_000, 10_000, 3_333, 0]))
# Two claims that both ask for epoch 3.
@example(
    steps=[
        (1, 0, True, 0, False, False),
        (1, 100, True, 700, False, True),
        (1, 100, True, 700, False, True),
    ],
    emission=10_000,
)
@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_books_are_those_of_the_model(
    eras: World, steps: list[tuple[int, int, bool, int, bool, bool]], emission: int
) -> None:
    rewards, epoch = eras.rewards, 1
    if emission != 10_000:
        with boa.env.prank(wallet("owner")):
            eras.steward.propose(4, emission)
        eras.enter(5)
        eras.steward.execute(4)
        epoch = 5
    books = Books(Epoch(1), 0)
    settled: dict[int, int] = {}
    pools: dict[int, int] = {}
    paid: dict[int, int] = {}
    returned = 0  # the first span of 64 epochs that has not given back what was left

    def close_in_model() -> None:
        nonlocal books, returned
        now = eras.epoch
        until = now if boa.env.timestamp >= eras.genesis + now * 600 + GRACE_SECONDS else now - 1
        if books.next_epoch >= until:
            return
        oldest = max(now + 1 - RING, 0)
        while returned < oldest // 64:
            span = range(64 * returned, 64 * returned + 64)
            back = sum(pools.get(e, 0) - paid.get(e, 0) for e in span)
            books = replace(books, unpromised=books.unpromised + back)
            returned += 1
        books = skip_epochs(books, Epoch(oldest), PRESET, emission)
        while books.next_epoch < until:
            e = int(books.next_epoch)
            has = e in settled
            books = close_epoch(
                books,
                PRESET,
                has_providers=has and settled[e] > 0,
                has_checkers=has,
                emission_bps=emission,
            )
            pools[e] = books.provider_pool + books.checker_pool
            assert rewards.pools(e) == (books.provider_pool, books.checker_pool), e

    for wait, score, has_bundle, amount, closes, claims in steps:
        epoch += wait
        eras.enter(epoch)
        if has_bundle:
            settle(eras, epoch, score)
            settled[epoch] = score
        if amount:
            rewards.fund(amount * UNIT)
            books = replace(books, unpromised=books.unpromised + amount * UNIT)
        if not closes and not claims:
            continue
        epoch += 1
        eras.enter(epoch, GRACE_SECONDS)
        # The view tells of what was paid too; a claim does not pay it again.
        expected = {
            e: 0 if paid.get(e) else rewards.provider_reward(0, e)
            for e in range(max(epoch - 3, 1), epoch)
        }
        if closes:
            rewards.close()
        due = sum(expected.values())
        if claims and due:
            assert rewards.claim_provider(0, list(expected)) == due, "as the view foretold"
        if closes or (claims and due):
            close_in_model()
        if claims and due:
            for e, share in expected.items():
                paid[e] = paid.get(e, 0) + share
        if closes or (claims and due):
            assert rewards.next_epoch() == books.next_epoch
            assert rewards.unpromised() == books.unpromised
            assert rewards.carries() == (books.provider_carry, books.checker_carry)
        if claims and due:
            with boa.reverts("rewards: nothing to claim"):
                rewards.claim_provider(0, list(expected))
        left = sum(pools[e] - paid.get(e, 0) for e in pools if e >= 64 * returned)
        assert in_books(eras) == rewards.unpromised() + left


# -- single cases


def test_closing_says_what_it_fixed(eras: World) -> None:
    eras.rewards.fund(10**5 * UNIT)
    settle(eras, 1)
    eras.enter(2, GRACE_SECONDS - 1)
    assert eras.rewards.close() == 1, "the grace is not over"
    eras.enter(2, GRACE_SECONDS)
    eras.enter(3, GRACE_SECONDS)
    assert eras.rewards.close() == 3
    first, second = closings(eras)
    assert (first.epoch, second.epoch) == (1, 2)
    unit = eras.rewards.pool_unit()
    assert first.provider_pool == PROVIDER_POOL // unit * unit
    assert first.provider_carry == PROVIDER_POOL % unit
    assert (second.provider_pool, second.checker_pool) == (0, 0)
    assert second.provider_carry == first.provider_carry + PROVIDER_POOL
    assert second.checker_carry == first.checker_carry + CHECKER_POOL
    assert eras.rewards.close() == 3
    assert closings(eras) == []


def test_a_carry_arrives_in_full(eras: World) -> None:
    """Ten silent epochs, then settled ones: in the end all that the schedule had is promised."""
    eras.rewards.fund(10**6 * UNIT)
    eras.enter(11)
    last = 11 + 60
    for epoch in range(11, last):
        eras.enter(epoch)
        settle(eras, epoch)
    eras.enter(last, GRACE_SECONDS)
    while eras.rewards.next_epoch() < last:
        eras.rewards.close()
    scheduled = compute_schedule(PROVIDER_POOL, Epoch(1), PRESET, until=Epoch(last))
    # Epochs that expired before they were closed are carried like those that were silent.
    carry, _ = eras.rewards.carries()
    promised = eras.rewards.funded() - eras.rewards.unpromised()
    checkers = compute_schedule(CHECKER_POOL, Epoch(1), PRESET, until=Epoch(last))
    assert promised == scheduled + checkers - sum(eras.rewards.carries())
    assert 0 < carry < scheduled


@pytest.mark.parametrize("gap", [RING, 29, 30, 31, 95, 10_000])
def test_a_gap_of_any_length_is_closed_at_once(eras: World, gap: int) -> None:
    eras.rewards.fund(10**6 * UNIT)
    eras.enter(1 + gap)
    settle(eras, 1 + gap)
    eras.enter(2 + gap, GRACE_SECONDS)
    assert eras.rewards.close() == 2 + gap
    before = compute_schedule(PROVIDER_POOL, Epoch(1), PRESET, until=Epoch(1 + gap))
    own = compute_schedule(PROVIDER_POOL, Epoch(1 + gap), PRESET)
    unit = eras.rewards.pool_unit()
    due = (own + -(-before // CARRY)) // unit * unit
    assert eras.rewards.pools(1 + gap)[0] == due
    assert eras.rewards.carries()[0] == before + own - due
    assert eras.rewards.claim_provider(0, [1 + gap]) == due


def test_what_nobody_claimed_comes_back(eras: World) -> None:
    eras.rewards.fund(2_000 * UNIT)
    settle(eras, 1)
    eras.enter(2, GRACE_SECONDS)
    eras.rewards.close()
    promised = sum(eras.rewards.pools(1))
    paid = eras.rewards.claim_provider(0, [1])
    assert eras.rewards.unpromised() == 2_000 * UNIT - promised
    eras.enter(64 + RING - 2, GRACE_SECONDS)
    eras.rewards.close()
    assert eras.rewards.unpromised() == 2_000 * UNIT - promised, "epoch 63 could still be claimed"
    eras.enter(64 + RING - 1, GRACE_SECONDS)
    eras.rewards.close()
    assert eras.rewards.unpromised() == in_books(eras) == 2_000 * UNIT - paid


def test_emission_can_only_be_lowered(eras: World) -> None:
    eras.rewards.fund(10**5 * UNIT)
    with boa.env.prank(wallet("owner")):
        eras.steward.propose(4, 2_500)
    eras.enter(4)
    eras.steward.execute(4)
    settle(eras, 4)
    eras.enter(5, GRACE_SECONDS)
    eras.rewards.close()
    books = skip_epochs(Books(Epoch(1), 10**5 * UNIT), Epoch(2), PRESET, 2_500)
    for epoch in range(2, 5):
        books = close_epoch(
            books, PRESET, has_providers=epoch == 4, has_checkers=epoch == 4, emission_bps=2_500
        )
    assert eras.rewards.pools(4) == (books.provider_pool, books.checker_pool)


# -- paid bits


def test_windows_of_paid_epochs_take_turns(eras: World) -> None:
    """Bits of 224 epochs to a word, two words in turn: no bit of an old window passes for paid."""
    eras.rewards.fund(10**6 * UNIT)
    number = 0
    for first in (223, 223 + 224, 223 + 448):
        epochs = [first, first + 1, first + 2]
        for epoch in epochs:
            eras.enter(epoch)
            take_part(eras, number)
            number += 1
            settle(eras, epoch)
        eras.enter(first + 3, GRACE_SECONDS)
        assert not any(eras.rewards.provider_claimed(0, epoch) for epoch in epochs)
        due = sum(eras.rewards.provider_reward(0, epoch) for epoch in epochs)
        # Back and forth over the border of two windows.
        assert eras.rewards.claim_provider(0, [first + 1, first, first + 1, first + 2]) == due
        own = items(eras, 0, epochs)
        earned = eras.rewards.claim_checker(0, [*own, *own])
        assert 0 <= sum(eras.rewards.pools(epoch)[1] for epoch in epochs) // 4 - earned <= 3
        for epoch in epochs:
            assert eras.rewards.provider_claimed(0, epoch)
            assert eras.rewards.checker_claimed(0, epoch, 0)
            assert not eras.rewards.checker_claimed(1, epoch, 0)
        with boa.reverts("rewards: nothing to claim"):
            eras.rewards.claim_provider(0, epochs)
        with boa.reverts("rewards: nothing to claim"):
            eras.rewards.claim_checker(0, own)


# -- checkers, whatever becomes of them


def top_up(world: World) -> None:
    world.give("checker 0", 90 * UNIT)
    with boa.env.prank(wallet("checker 0")):
        world.token.approve(world.registry, 90 * UNIT)
        world.registry.top_up_checker(0, 90 * UNIT)


def slash(world: World) -> None:
    with boa.env.prank(world.penalties.address):
        world.registry.slash(1, 0, 10 * UNIT, True)


def suspend(world: World) -> None:
    with boa.env.prank(world.penalties.address):
        world.registry.suspend_checker(0, 2**32 - 1)


def entrust(world: World) -> None:
    with boa.env.prank(world.delegation.address):
        world.registry.set_delegated(0, 500 * UNIT)


def leave(world: World) -> None:
    with boa.env.prank(wallet("checker 0")):
        world.registry.leave_checker()


@pytest.mark.parametrize("change", [top_up, slash, suspend, entrust, leave])
def test_a_report_earns_what_it_weighed_when_it_was_accepted(
    small: World, change: Callable[[World], None]
) -> None:
    take_part(small, 0)
    settle(small, 1)
    change(small)
    small.enter(2, GRACE_SECONDS)
    share = small.rewards.pools(1)[1] // 4
    paid = [
        small.rewards.claim_checker(checker, items(small, checker, [1])) for checker in range(4)
    ]
    assert paid == [share] * 4
    assert small.token.balanceOf(wallet("checker 0")) == share


def test_delegators_get_their_commission(small: World) -> None:
    """A quarter of what the checker earns goes to Delegation, and nothing of it is lost."""
    with boa.env.prank(wallet("checker 0")):
        small.delegation.set_commission(0, 2_500)
    small.give("ann", UNIT)
    with boa.env.prank(wallet("ann")):
        small.token.approve(small.delegation, UNIT)
        small.delegation.deposit(0, 1, UNIT)
    start = 1 + RING + 2
    small.enter(start)
    small.delegation.activate(wallet("ann"), 0, 1)
    take_part(small, 0)
    settle(small, start)
    small.enter(start + 1, GRACE_SECONDS)
    own = items(small, 0, [start])
    pool = small.rewards.pools(start)[1]
    held = small.token.balanceOf(small.delegation)
    earned = small.rewards.claim_checker(0, own)
    (event,) = [e for e in small.rewards.get_logs() if type(e).__name__ == "CheckerPaid"]
    assert earned == event.amount == pool * 11 // 41, "ten units of its own and one of Ann's"
    assert event.delegators == earned // 4
    assert small.token.balanceOf(wallet("checker 0")) == earned - earned // 4
    assert small.token.balanceOf(small.delegation) == held + earned // 4
    in_books(small)
