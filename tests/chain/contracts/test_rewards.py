"""Who is paid how much, when, and never twice."""

from __future__ import annotations

from typing import Any

import boa
import pytest

from tests.chain.contracts.reference import LANES
from tests.chain.contracts.world import (
    CARRY,
    CHECKER_POOL,
    ERA,
    GRACE_SECONDS,
    PROVIDER_POOL,
    RING,
    UNIT,
    World,
    build,
    deployer,
    lanes,
    wallet,
)

NOTHING = "rewards: nothing to claim"
SCORES = (100, 300, 0, 600)
TOTAL = sum(SCORES)


def settle(
    world: World, epoch: int, scores: tuple[int, ...] = SCORES, liar: int | None = None
) -> None:
    """One bundle of the whole committee; the liar's seat reports nonsense."""
    vectors = [lanes(*scores) for _ in range(4)]
    if liar is not None:
        vectors[liar] = lanes(*[20_000] * len(scores))
    world.submit(world.reports(vectors, epoch), epoch)


def seat_of(world: World, epoch: int, checker: int) -> int:
    return world.committee(epoch).index(checker)


def item(epoch: int, shard: int, seat: int) -> int:
    """A report as `claim_checker` takes it."""
    return epoch << 32 | shard << 4 | seat


def paid_event(world: World) -> Any:
    """The event of the last claim."""
    events = world.rewards.get_logs()
    (paid,) = [e for e in events if type(e).__name__ in ("ProviderPaid", "CheckerPaid")]
    return paid


def balance(world: World, person: str) -> int:
    return int(world.token.balanceOf(wallet(person)))


def close(world: World, epoch: int) -> None:
    world.enter(epoch + 1, GRACE_SECONDS)


def provider_pool(world: World, epoch: int) -> int:
    return int(world.rewards.pools(epoch)[0])


def checker_pool(world: World, epoch: int) -> int:
    return int(world.rewards.pools(epoch)[1])


@pytest.fixture
def settled(small: World) -> World:
    """Epoch 1 settled and closed; everybody contributed in it."""
    for checker in range(4):
        small.contribute(checker)
    settle(small, 1)
    close(small, 1)
    return small


# -- funding


def test_fund(small: World) -> None:
    before = small.rewards.funded()
    assert small.rewards.fund(5) == 5
    event = small.rewards.get_logs()[-1]
    assert (event.sender, event.amount) == (boa.env.eoa, 5)
    assert small.rewards.funded() == before + 5
    assert small.rewards.available() == small.token.balanceOf(small.rewards)


def test_tokens_sent_without_fund_are_not_counted(small: World) -> None:
    before = small.rewards.available()
    small.token.transfer(small.rewards, 9)
    assert small.rewards.available() == before


# -- providers


def test_providers_share_the_pool_by_score(settled: World) -> None:
    pool = provider_pool(settled, 1)
    assert PROVIDER_POOL * (1 - 1e-6) < pool <= PROVIDER_POOL, "whole pool units"
    for index, score in enumerate(SCORES):
        share = pool * score // TOTAL
        assert settled.rewards.provider_reward(index, 1) == share
        if score == 0:
            with boa.reverts(NOTHING):
                settled.rewards.claim_provider(index, [1])
            continue
        with boa.env.prank(wallet("passer-by")):
            assert settled.rewards.claim_provider(index, [1]) == share
        paid = paid_event(settled)
        owner = f"provider {index}"
        assert (paid.index, paid.wallet, paid.paid) == (index, wallet(owner), 1)
        assert paid.amount == balance(settled, owner) == share
        assert settled.rewards.provider_claimed(index, 1)
        assert settled.rewards.provider_reward(index, 1) == share, "for an auditor"
    assert balance(settled, "passer-by") == 0


def test_shares_are_rounded_down() -> None:
    world = build(provider_pool=1_000, checker_pool=1_000)
    world.populate(checkers=4, providers=3)
    world.token.approve(world.rewards, UNIT)
    world.rewards.fund(UNIT)
    world.enter(1)
    settle(world, 1, (1, 1, 1))
    close(world, 1)
    assert [world.rewards.provider_reward(i, 1) for i in range(3)] == [333] * 3


def test_epoch_is_paid_once(settled: World) -> None:
    share = settled.rewards.claim_provider(0, [1, 1])
    assert paid_event(settled).paid == 0b01
    assert share == balance(settled, "provider 0") == provider_pool(settled, 1) * 100 // TOTAL
    for epochs in ([1], [1, 1], []):
        with boa.reverts(NOTHING):
            settled.rewards.claim_provider(0, epochs)
    assert settled.rewards.paid() == share


def test_open_epoch_is_not_paid(small: World) -> None:
    settle(small, 1)
    for seconds in (0, GRACE_SECONDS - 1):
        if seconds:
            small.enter(2, seconds)
        assert not small.rewards.claimable(1)
        assert small.rewards.provider_reward(1, 1) == 0
        with boa.reverts(NOTHING):
            small.rewards.claim_provider(1, [1])
    close(small, 1)
    assert small.rewards.claimable(1)
    small.rewards.claim_provider(1, [1])


def test_several_epochs_in_one_claim(settled: World) -> None:
    settle(settled, 2, (1, 0, 0, 0))
    settled.enter(3)
    settle(settled, 3, (0, 1, 0, 0))
    close(settled, 3)
    share = provider_pool(settled, 1) * 100 // TOTAL
    # What pays nothing is left out: not earned, not closed, nonsense, twice.
    epochs = [1, 2, 3, 4, 2**32, 2**256 - 1, 2, 2**224 + 2]
    claimed = settled.rewards.claim_provider(0, epochs)
    assert paid_event(settled).paid == 0b11
    assert claimed == share + provider_pool(settled, 2)
    assert balance(settled, "provider 0") == claimed
    claimed = settled.rewards.claim_provider(1, [3, 2])
    assert paid_event(settled).paid == 0b01
    assert claimed == provider_pool(settled, 3)


def test_claims_expire_with_the_ring(settled: World) -> None:
    settled.enter(1 + RING - 1, 599)
    with boa.env.anchor():
        settled.rewards.claim_provider(0, [1])
    settled.enter(1 + RING)
    assert not settled.rewards.claimable(1)
    assert settled.rewards.provider_reward(0, 1) == 0
    assert settled.rewards.pools(1) == (0, 0)
    with boa.reverts(NOTHING):
        settled.rewards.claim_provider(0, [1])
    with boa.reverts(NOTHING):
        settled.rewards.claim_checker(0, [item(1, 0, seat_of_any(settled))])


def seat_of_any(world: World) -> int:
    """Whichever seat checker 0 had in epoch 1."""
    holders = world.consensus.bundle(1, 0).checkers
    return next(seat for seat in range(4) if holders >> 16 * seat & 0xFFFF == 0)


def test_epoch_without_a_bundle(small: World) -> None:
    close(small, 1)
    assert small.rewards.claimable(1)
    assert small.rewards.provider_reward(0, 1) == 0
    assert small.rewards.checker_reward(0, 1, 0, 0) == 0
    with boa.reverts(NOTHING):
        small.rewards.claim_provider(0, [1])


def test_all_scores_zero(small: World) -> None:
    small.contribute(0)
    settle(small, 1, (0, 0, 0, 0))
    seat = seat_of(small, 1, 0)
    close(small, 1)
    for index in range(4):
        assert small.rewards.provider_reward(index, 1) == 0
    assert small.rewards.claim_checker(0, [item(1, 0, seat)]) == checker_pool(small, 1) // 4


def test_unknown_provider(settled: World) -> None:
    for index in (4, 255, 256, 10**6):
        with boa.reverts(NOTHING):
            settled.rewards.claim_provider(index, [1])


def test_score_of_a_provider_that_was_not_active_is_not_paid(empty: World) -> None:
    """A dishonest majority may score a provider that has left; nobody is paid for it."""
    empty.populate(checkers=4, providers=2)
    empty.token.approve(empty.rewards, UNIT * 10**4)
    empty.rewards.fund(UNIT * 10**4)
    with boa.env.prank(wallet("provider 0")):
        empty.registry.leave_provider()
    empty.enter(1)
    settle(empty, 1, (500, 500))
    close(empty, 1)
    assert empty.rewards.provider_reward(0, 1) == 0
    assert empty.rewards.claim_provider(1, [1]) == provider_pool(empty, 1) // 2


def test_newcomer_is_not_paid_for_the_tenant_before() -> None:
    world = build(ring=4, reuse_delay=6)
    world.populate(checkers=4, providers=2)
    world.token.approve(world.rewards, UNIT * 10**5)
    world.rewards.fund(UNIT * 10**5)
    world.enter(1)
    with boa.env.prank(wallet("provider 0")):
        assert world.registry.leave_provider() == 2
    settle(world, 1, (500, 500))
    world.enter(8)
    world.registry.withdraw_provider(0)
    assert world.register("provider", "newcomer") == 0
    # A dishonest majority scores the lane although nobody is active in it.
    settle(world, 8, (500, 500))
    close(world, 8)
    assert world.rewards.provider_reward(0, 8) == 0, "the newcomer is active from epoch 9 on"
    settle(world, 9, (300, 100))
    close(world, 9)
    share = provider_pool(world, 9) * 3 // 4
    assert world.rewards.claim_provider(0, [1, 8, 9]) == share
    assert balance(world, "newcomer") == share
    assert balance(world, "provider 0") == 10 * UNIT, "its stake"


def test_tenant_that_left_is_still_paid(settled: World) -> None:
    with boa.env.prank(wallet("provider 1")):
        settled.registry.leave_provider()
    settled.rewards.claim_provider(1, [1])
    assert balance(settled, "provider 1") == provider_pool(settled, 1) * 300 // TOTAL


# -- checkers


def test_checkers_share_the_pool_by_weight_and_stake(small: World) -> None:
    for checker in range(4):
        small.contribute(checker)
    small.enter(2)
    for checker in range(4):
        small.contribute(checker, 1)
    members = small.committee(2)
    settle(small, 2, liar=1)
    close(small, 2)
    for seat, checker in enumerate(members):
        share = 0 if seat == 1 else checker_pool(small, 2) // 3
        assert small.rewards.checker_reward(checker, 2, 0, seat) == share
        if share:
            assert small.rewards.claim_checker(checker, [item(2, 0, seat)]) == share
            paid = paid_event(small)
            owner = f"checker {checker}"
            assert (paid.index, paid.wallet, paid.amount) == (checker, wallet(owner), share)
            assert (paid.delegators, paid.paid) == (0, 1)
            assert balance(small, owner) == share
            assert small.rewards.checker_claimed(checker, 2, 0)
        else:
            with boa.reverts(NOTHING):
                small.rewards.claim_checker(checker, [item(2, 0, seat)])
            assert not small.rewards.checker_claimed(checker, 2, 0)


def test_more_stake_earns_more(empty: World) -> None:
    for i, units in enumerate((2, 4, 6, 8)):
        empty.register("checker", f"checker {i}", units * UNIT + 5)
    empty.populate(checkers=0, providers=2)
    empty.token.approve(empty.rewards, UNIT * 10**4)
    empty.rewards.fund(UNIT * 10**4)
    empty.commit_all()
    empty.enter(1)
    members = empty.committee(1)
    for checker in range(4):
        empty.contribute(checker)
    settle(empty, 1, (10, 20))
    close(empty, 1)
    for seat, checker in enumerate(members):
        share = checker_pool(empty, 1) * (2 * checker + 2) // 20
        assert empty.rewards.checker_reward(checker, 1, 0, seat) == share


def test_without_contribution_no_reward(small: World) -> None:
    members = small.committee(1)
    small.contribute(members[0])
    settle(small, 1)
    close(small, 1)
    # Contributing later does not help.
    for checker in members[1:]:
        small.contribute(checker)
    small.contribute(members[0], 1)
    share = checker_pool(small, 1) // 4
    assert small.rewards.claim_checker(members[0], [item(1, 0, 0)]) == share
    for seat in (1, 2, 3):
        assert small.rewards.checker_reward(members[seat], 1, 0, seat) == 0
        with boa.reverts(NOTHING):
            small.rewards.claim_checker(members[seat], [item(1, 0, seat)])


def test_seat_is_paid_to_its_holder_only(settled: World) -> None:
    holders = settled.consensus.bundle(1, 0).checkers
    for checker in range(4):
        for seat in range(4):
            held = holders >> 16 * seat & 0xFFFF == checker
            reward = settled.rewards.checker_reward(checker, 1, 0, seat)
            assert reward == (checker_pool(settled, 1) // 4 if held else 0)
    items = [item(1, 0, seat) for seat in range(16)] * 2
    assert settled.rewards.claim_checker(2, items) == checker_pool(settled, 1) // 4
    assert balance(settled, "checker 2") == checker_pool(settled, 1) // 4
    with boa.reverts(NOTHING):
        settled.rewards.claim_checker(2, items)


def test_nonsense_items(settled: World) -> None:
    for place in ((1, 0, 4), (1, 0, 15), (1, 1, 0), (0, 0, 0), (2**31, 0, 0), (2**200, 0, 0)):
        assert settled.rewards.checker_reward(0, *place) == 0
        with boa.reverts(NOTHING):
            settled.rewards.claim_checker(0, [item(*place)])
    for place in ((1, 0, 16), (1, 0, 2**255), (1, 2**28, 0), (1, 2**252, 0)):
        assert settled.rewards.checker_reward(0, *place) == 0
    for index, epoch, shard in ((2**32, 1, 0), (0, 2**32 + 1, 0), (0, 1, 2**32)):
        assert not settled.rewards.checker_claimed(index, epoch, shard)


def test_both_halves_of_a_large_committee_are_paid() -> None:
    """By weight and stake units, seat by seat, and nobody for a seat of the other half."""
    world = build(seats=11)
    for checker in range(11):
        world.register("checker", f"checker {checker}", (checker + 2) * UNIT)
    world.populate(checkers=0, providers=1)
    world.token.approve(world.rewards, 10_000 * UNIT)
    world.rewards.fund(10_000 * UNIT)
    world.commit_all()
    world.enter(1)
    for checker in range(11):
        world.contribute(checker)
    world.submit(world.reports([lanes(7)] * 11, 1), 1)
    close(world, 1)
    pool = checker_pool(world, 1)
    seats = world.committee(1)
    for checker in range(11):
        share = pool * (checker + 2) // sum(range(2, 13))
        seat = seats.index(checker)
        others = [item(1, 0, other) for other in range(16) if other != seat]
        with boa.reverts(NOTHING):
            world.rewards.claim_checker(checker, others)
        assert world.rewards.checker_reward(checker, 1, 0, seat) == share
        assert world.rewards.claim_checker(checker, [*others, item(1, 0, seat)]) == share
        assert paid_event(world).paid == 1 << 15


def test_paid_seats_are_told_apart_by_epoch_and_shard(network: World) -> None:
    network.token.approve(network.rewards, UNIT * 10**5)
    network.rewards.fund(UNIT * 10**5)
    index = network.register("checker", "newcomer")
    assert index == 16
    network.commit_all()

    def earn(epoch: int, number: int) -> list[tuple[int, int, int, int]]:
        network.enter(epoch)
        for checker in range(17):
            network.contribute(checker, number)
        items = []
        for shard, used in ((0, LANES), (1, 44)):
            vector = lanes(*[100] * used)
            network.submit(network.reports([vector] * 4, epoch, shard), epoch, shard)
            members = network.committee(epoch, shard)
            items += [(checker, epoch, shard, seat) for seat, checker in enumerate(members)]
        close(network, epoch)
        return items

    promised = 0
    for number, epoch in enumerate((2, 2 + RING)):
        for checker, _, shard, seat in earn(epoch, number):
            assert not network.rewards.checker_claimed(checker, epoch, shard)
            assert network.rewards.claim_checker(checker, [item(epoch, shard, seat)]) > 0
            assert network.rewards.checker_claimed(checker, epoch, shard)
            with boa.reverts(NOTHING):
                network.rewards.claim_checker(checker, [item(epoch, shard, seat)])
        promised += checker_pool(network, epoch)
    assert 0 <= promised - network.rewards.paid() < 16, "all of both pools but the dust"


# -- money


def test_never_pays_more_than_was_funded() -> None:
    world = build()
    world.populate(checkers=4, providers=2)
    world.token.approve(world.rewards, UNIT * 10**4)
    world.rewards.fund(UNIT)
    world.enter(1)
    settle(world, 1, (5, 0))
    close(world, 1)
    world.token.transfer(world.rewards, PROVIDER_POOL)  # not through fund(), so not to be spent
    # Two thirds are the providers'; nobody contributed, so the rest is only promised.
    share = world.rewards.claim_provider(0, [1])
    assert UNIT * 2 // 3 - world.rewards.pool_unit() < share <= UNIT * 2 // 3
    assert world.rewards.available() == UNIT - share
    world.rewards.fund(PROVIDER_POOL)
    assert world.rewards.provider_reward(0, 1) == share, "what is closed does not change"


def test_contracts_must_belong_together(small: World) -> None:
    other = build()
    arguments = [
        small.token,
        small.registry,
        small.consensus,
        small.beacon,
        small.steward,
        small.delegation,
        PROVIDER_POOL,
        CHECKER_POOL,
        ERA,
        CARRY,
    ]
    deployer("Rewards").deploy(*arguments)

    def refuse(position: int, value: object, reason: str) -> None:
        wrong = [*arguments]
        wrong[position] = value
        with boa.reverts(reason):
            deployer("Rewards").deploy(*wrong)

    others = (other.token, other.registry, other.consensus, other.beacon, other.steward)
    for position, value in enumerate((*others, other.delegation)):
        refuse(position, value, "rewards: contracts do not belong together")
    for position in (6, 7):
        refuse(position, 2**96 // (3 * ERA), "rewards: pool is too large")
    for value in (0, 2**32):
        refuse(8, value, "rewards: era out of range")
        refuse(9, value, "rewards: carry out of range")
