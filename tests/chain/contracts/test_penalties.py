"""Equivocation, fraud and wrong reports: what is punished, how, and what is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import boa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocols import bans
from protocols.params import MINIMAL
from protocols.types import Epoch
from tests.chain.contracts import reference
from tests.chain.contracts.reference import CURVE_ORDER
from tests.chain.contracts.world import (
    BAN_HALF_YEAR,
    BAN_MONTH,
    BAN_WEEK,
    BOUNTY_BPS,
    FRAUD_SLASH_BPS,
    NO_EXIT,
    REUSE_DELAY,
    RING,
    UNIT,
    UNSTAKE_DELAY,
    Report,
    World,
    deployer,
    events,
    lanes,
    wallet,
)

STAKE = 10 * UNIT
BOUNTY = STAKE * BOUNTY_BPS // 10_000
Statement = tuple[object, ...]


def statement(
    world: World,
    signer: str,
    score: int,
    epoch: int,
    shard: int = 0,
    domain: bytes | None = None,
) -> Statement:
    """A report of `score` in lane 0, signed."""
    report = Report(0, signer, lanes(score))
    r, s, v = world.signature(report, epoch, shard, domain)
    return (
        report.online,
        report.fraud,
        reference.keccak(b"".join(map(reference.word, reference.pack(report.scores)))),
        report.evidence,
        reference.word(r),
        s | (v - 27) << 255,
    )


def prove(world: World, index: int, epoch: int, a: Statement, b: Statement, shard: int = 0) -> int:
    with boa.env.prank(wallet("reporter")):
        return int(world.penalties.prove_equivocation(index, epoch, shard, a, b))


def convict(world: World, index: int, epoch: int) -> int:
    """Prove that the checker signed twice."""
    person = world.checkers[index]
    return prove(
        world,
        index,
        epoch,
        statement(world, person, 1, epoch),
        statement(world, person, 2, epoch),
    )


def leave(world: World, kind: str, person: str) -> None:
    with boa.env.prank(wallet(person)):
        getattr(world.registry, f"leave_{kind}")()


def settle(world: World, epoch: int, vectors: Sequence[Sequence[int]], fraud: int = 0) -> None:
    """Settle shard 0 in an epoch of which committees are those of now."""
    reports = [replace(report, fraud=fraud) for report in world.reports(vectors, epoch)]
    world.submit(reports, epoch)


# -- belonging together


def test_belongs_to_its_registry(empty: World, small: World) -> None:
    def deploy(world: World, bans_: Sequence[int] = (7, 30, 182), **others: Any) -> None:
        names = ("token", "registry", "consensus", "rewards", "delegation", "steward")
        parts = [others.get(name, getattr(world, name)) for name in names]
        deployer("Penalties").deploy(*parts, *bans_, override_address=world.penalties.address)

    deploy(empty)
    for name in ("token", "consensus", "rewards", "delegation", "steward"):
        with boa.reverts("penalties: contracts do not belong together"):
            deploy(empty, **{name: getattr(small, name)})
    with boa.reverts("penalties: registry of other penalties"):
        deploy(empty, registry=small.registry)
    for numbers in ((0, 30, 182), (31, 30, 182), (7, 183, 182)):
        with boa.reverts("penalties: bans out of order"):
            deploy(empty, numbers)
    deploy(empty, (1, 1, 1))


# -- equivocation


def test_an_equivocating_checker_loses_everything_in_the_same_epoch(small: World) -> None:
    before = small.rewards.available()
    assert convict(small, 2, 1) == BOUNTY
    (event,) = events(small.penalties)
    assert (event.index, event.epoch, event.shard) == (2, 1, 0)
    assert (event.reporter, event.slashed, event.bounty) == (wallet("reporter"), STAKE, BOUNTY)
    assert small.epoch == 1
    found = small.registry.checker(2)
    assert (found.stake, found.stake_units, found.exit_epoch) == (0, 0, 2)
    assert small.token.balanceOf(wallet("reporter")) == BOUNTY
    assert small.rewards.available() == before + STAKE - BOUNTY
    assert small.token.balanceOf(small.penalties) == 0
    assert small.token.balanceOf(small.registry) == 7 * STAKE
    assert [small.registry.checker(i).stake for i in (0, 1, 3)] == [STAKE] * 3
    with boa.reverts("penalties: nothing to slash"):
        convict(small, 2, 1)


def test_it_needs_no_seat(network: World) -> None:
    """No honest checker signs two reports, whether it may submit them or not."""
    outsider = next(i for i in range(16) if i not in network.committee(1))
    assert convict(network, outsider, 1) == BOUNTY


def test_statements_are_those_that_consensus_takes(small: World) -> None:
    """A checker that submits one report and signed another one is punished for them."""
    vectors = [lanes(500, 400, 300, 200)] * 4
    reports = small.reports(vectors, 1)
    small.submit(reports, 1)
    guilty = reports[0]
    index = small.checkers.index(guilty.signer)

    def stated(report: Report) -> Statement:
        _, _, online, fraud, evidence, r, vs = small.encode(report, 1)
        scores = b"".join(map(reference.word, reference.pack(report.scores)))
        return online, fraud, reference.keccak(scores), evidence, r, vs

    other = replace(guilty, evidence=b"\x12" * 32)
    assert prove(small, index, 1, stated(guilty), stated(other)) == BOUNTY


@pytest.mark.parametrize(
    "change", [{"online": 1}, {"fraud": 1}, {"evidence": b"\x99" * 32}, {"scores": lanes(7)}]
)
def test_any_difference_counts(small: World, change: dict[str, Any]) -> None:
    signed = []
    for report in (Report(0, "checker 1", lanes(1)), Report(0, "checker 1", lanes(1))):
        changed = replace(report, **change) if signed else report
        r, s, v = small.signature(changed, 1)
        scores = b"".join(map(reference.word, reference.pack(changed.scores)))
        signed.append(
            (
                changed.online,
                changed.fraud,
                reference.keccak(scores),
                changed.evidence,
                reference.word(r),
                s | (v - 27) << 255,
            )
        )
    assert prove(small, 1, 1, *signed) == BOUNTY


def test_one_statement_is_no_equivocation(small: World) -> None:
    one = statement(small, "checker 1", 1, 1)
    with boa.reverts("penalties: reports are the same"):
        prove(small, 1, 1, one, one)
    # Its signer can make any number of signatures of it.
    with boa.reverts("penalties: reports are the same"):
        prove(small, 1, 1, one, (*one[:4], reference.word(5), 7))


def test_refused_proofs(small: World) -> None:
    one, two = (statement(small, "checker 1", score, 1) for score in (1, 2))
    foreign = statement(small, "checker 2", 2, 1)
    for pair in ((one, foreign), (foreign, one)):
        with boa.reverts("penalties: not signed by the checker"):
            prove(small, 1, 1, *pair)
    high = (*two[:5], CURVE_ORDER // 2 + 1)
    for pair in ((one, high), (high, one)):
        with boa.reverts("penalties: high s"):
            prove(small, 1, 1, *pair)
    elsewhere = reference.domain_separator(boa.env.evm.patch.chain_id, small.registry.address)
    with boa.reverts("penalties: not signed by the checker"):
        prove(small, 1, 1, one, statement(small, "checker 1", 2, 1, domain=elsewhere))
    with boa.reverts("penalties: not signed by the checker"):
        prove(small, 1, 1, one, two, shard=1)
    with boa.reverts("penalties: not signed by the checker"):
        prove(small, 1, 1, one, statement(small, "checker 1", 2, 2))
    assert small.registry.checker(1).stake == STAKE


def test_a_signature_that_recovers_to_nobody_is_not_that_of_an_empty_slot(small: World) -> None:
    nobody = [(1, 0, bytes(32), bytes([i]) * 32, bytes(32), 0) for i in (1, 2)]
    with boa.reverts("penalties: not the tenant then"):
        prove(small, 9, 1, *nobody)
    with boa.reverts("penalties: not signed by the checker"):
        prove(small, 1, 1, *nobody)


def test_the_window_of_evidence(small: World) -> None:
    with boa.reverts("penalties: too old, or too early"):
        convict(small, 0, 2)
    with boa.reverts("penalties: too old, or too early"):
        convict(small, 0, 2**32 - 1)
    with boa.reverts("penalties: not the tenant then"):
        convict(small, 0, 0)
    small.enter(RING, 599)
    assert convict(small, 0, 1) == BOUNTY
    small.enter(1 + RING)
    with boa.reverts("penalties: too old, or too early"):
        convict(small, 1, 1)
    with boa.reverts("penalties: too old, or too early"):
        convict(small, 1, 2**256 - 1)


def test_stake_is_there_for_as_long_as_evidence_is_taken(small: World) -> None:
    leave(small, "checker", "checker 0")
    small.enter(RING, 599)
    with boa.reverts("registry: unstake delay is not over"):
        small.registry.withdraw_checker(0)
    assert convict(small, 0, 1) == BOUNTY
    small.enter(2, UNSTAKE_DELAY)
    assert small.registry.withdraw_checker(0) == 0, "and its slot is free"


def test_neither_withdrawn_nor_the_next_tenant_pays(small: World) -> None:
    leave(small, "checker", "checker 0")
    small.enter(2, UNSTAKE_DELAY)
    small.registry.withdraw_checker(0)
    epoch = small.epoch
    with boa.reverts("penalties: nothing to slash"):
        convict(small, 0, epoch)
    small.enter(2 + REUSE_DELAY)
    old = [statement(small, "checker 0", score, small.epoch) for score in (1, 2)]
    assert small.register("checker", "newcomer") == 0
    with boa.reverts("penalties: not the tenant then"):
        prove(small, 0, small.epoch, *old)
    small.enter(small.epoch + 1)
    old = [statement(small, "checker 0", score, small.epoch) for score in (1, 2)]
    with boa.reverts("penalties: not signed by the checker"):
        prove(small, 0, small.epoch, *old)


def test_who_comes_back_does_not_answer_for_its_former_tenancy(small: World) -> None:
    leave(small, "checker", "checker 0")
    small.enter(2, UNSTAKE_DELAY)
    small.registry.withdraw_checker(0)
    epoch = small.epoch
    assert small.register("checker", "checker 0") == 4
    old = [statement(small, "checker 0", score, epoch) for score in (1, 2)]
    with boa.reverts("penalties: not the tenant then"):
        prove(small, 4, epoch, *old)


def test_a_suspended_checker_answers_as_well(small: World) -> None:
    with boa.env.prank(small.penalties.address):
        small.registry.suspend_checker(0, 50)
    small.enter(3)
    assert convict(small, 0, 3) == BOUNTY
    assert small.registry.checker(0).exit_epoch == 2


def test_what_was_entrusted_to_it_is_slashed_as_well(small: World) -> None:
    small.give("friend", 6 * UNIT)
    with boa.env.prank(wallet("friend")):
        small.token.approve(small.delegation, 6 * UNIT)
        small.delegation.deposit(2, 1, 6 * UNIT)
        small.enter(1 + RING + 1)
        small.delegation.activate(wallet("friend"), 2, 1)
        small.delegation.undelegate(2, 1, 2 * UNIT)
    assert small.registry.checker(2).stake_units == 14
    before = small.rewards.available()
    slashed = 16 * UNIT
    bounty = slashed * BOUNTY_BPS // 10_000
    assert convict(small, 2, small.epoch) == bounty
    assert events(small.penalties)[-1].slashed == slashed
    assert small.rewards.available() == before + slashed - bounty
    assert small.token.balanceOf(small.delegation) == 0
    assert small.token.balanceOf(small.penalties) == 0
    assert small.registry.checker(2).stake_units == 0


def test_the_steward_sets_the_bounty(small: World) -> None:
    for bps, bounty in ((0, 0), (2_000, STAKE // 5)):
        with boa.env.prank(wallet("owner")):
            small.steward.propose(3, bps)
        boa.env.timestamp += small.steward.delay_seconds()
        small.steward.execute(3)
        before = small.rewards.available()
        assert convict(small, 1 if bps else 0, small.epoch) == bounty
        assert small.rewards.available() == before + STAKE - bounty


# -- fraud


def test_fraud_costs_a_part_of_the_stake(small: World) -> None:
    settle(small, 1, [lanes(500, 400, 300, 200)] * 4, fraud=1 << 1)
    before = small.rewards.available()
    slashed = STAKE * FRAUD_SLASH_BPS // 10_000
    with boa.env.prank(wallet("reporter")):
        bounty = small.penalties.slash_fraud(1, 0, 1)
    (event,) = events(small.penalties)
    assert (event.index, event.epoch, event.reporter) == (1, 1, wallet("reporter"))
    assert (event.slashed, event.bounty) == (slashed, bounty)
    assert bounty == slashed * BOUNTY_BPS // 10_000 == small.token.balanceOf(wallet("reporter"))
    assert small.rewards.available() == before + slashed - bounty
    found = small.registry.provider(1)
    assert (found.stake, found.stake_units, found.exit_epoch) == (STAKE - slashed, 7, NO_EXIT)
    assert small.penalties.fraud_punished(1, 1)
    with boa.reverts("penalties: punished before"):
        small.penalties.slash_fraud(1, 0, 1)
    for lane in (0, 2, 255):
        with boa.reverts("penalties: not marked"):
            small.penalties.slash_fraud(1, 0, lane)
    with boa.reverts("penalties: no such lane"):
        small.penalties.slash_fraud(1, 0, 256)
    with boa.reverts("consensus: no bundle"):
        small.penalties.slash_fraud(1, 1, 1)


def test_each_epoch_of_fraud_costs_and_in_the_end_the_slot(small: World) -> None:
    stake = STAKE
    for epoch in range(1, 8):
        small.enter(epoch)
        settle(small, epoch, [lanes(500, 400, 300, 200)] * 4, fraud=1)
        small.penalties.slash_fraud(epoch, 0, 0)
        stake -= stake * FRAUD_SLASH_BPS // 10_000
        found = small.registry.provider(0)
        assert (found.stake, found.exit_epoch) == (stake, NO_EXIT if stake >= UNIT else epoch + 1)
    assert stake < UNIT


def test_nobody_pays_for_an_empty_lane(small: World) -> None:
    """A dishonest majority may mark a lane whose provider has left, or not come yet."""
    leave(small, "provider", "provider 0")
    small.enter(2)
    settle(small, 2, [lanes(500, 400, 300, 200)] * 4, fraud=1 | 1 << 9)
    for lane in (0, 9):
        with boa.reverts("penalties: not the tenant then"):
            small.penalties.slash_fraud(2, 0, lane)
    assert small.registry.provider(0).stake == STAKE


def test_a_provider_that_left_pays_for_what_it_did(small: World) -> None:
    settle(small, 1, [lanes(500, 400, 300, 200)] * 4, fraud=1)
    leave(small, "provider", "provider 0")
    small.enter(RING)
    small.penalties.slash_fraud(1, 0, 0)
    assert small.registry.provider(0).stake == STAKE - STAKE * FRAUD_SLASH_BPS // 10_000


def test_fraud_is_forgotten_with_the_ring(small: World) -> None:
    settle(small, 1, [lanes(500, 400, 300, 200)] * 4, fraud=1)
    small.enter(1 + RING)
    with boa.reverts("penalties: too old, or too early"):
        small.penalties.slash_fraud(1, 0, 0)


# -- wrong reports


def lie(world: World, epoch: int, liar: int) -> int:
    """Settle shard 0 with a wrong report of checker `liar`; return its seat."""
    members = world.committee(epoch)
    seat = members.index(liar)
    honest, false = lanes(500, 400, 300, 200), lanes(9_000, 9_000, 9_000, 200)
    reports = [
        Report(i, world.checkers[member], false if member == liar else honest)
        for i, member in enumerate(members)
    ]
    world.submit(reports, epoch)
    return seat


def test_a_wrong_report_is_counted(small: World) -> None:
    seat = lie(small, 1, liar=3)
    others = [other for other in range(4) if other != seat]
    assert small.penalties.standing(3) == (0, [0] * 5)
    with boa.env.prank(wallet("reporter")):
        assert small.penalties.record_wrong(1, 0, seat) == 0
    (event,) = events(small.penalties)
    assert (event.index, event.epoch, event.shard, event.seat) == (3, 1, 0, seat)
    assert (event.total, event.banned_until) == (1, 0)
    assert small.penalties.standing(3) == (1, [1, 0, 0, 0, 0])
    assert small.registry.checker(3).stake == STAKE
    with boa.reverts("penalties: recorded before, or a later one"):
        small.penalties.record_wrong(1, 0, seat)
    for other in others:
        with boa.reverts("penalties: report is not wrong"):
            small.penalties.record_wrong(1, 0, other)
    for nobody in (4, 16, 2**256 - 1):
        with boa.reverts("consensus: no report"):
            small.penalties.record_wrong(1, 0, nobody)


def test_two_within_a_week_ban_for_a_month(small: World) -> None:
    for epoch in (1, 2):
        small.enter(epoch)
        seat = lie(small, epoch, liar=3)
        banned_until = small.penalties.record_wrong(epoch, 0, seat)
    assert banned_until == 3 + BAN_MONTH
    (event,) = events(small.penalties)
    assert (event.total, event.banned_until) == (2, 3 + BAN_MONTH)
    assert small.registry.checker(3).joined_epoch == 3 + BAN_MONTH
    small.enter(3)
    with boa.reverts("consensus: seat is void"):
        lie(small, 3, liar=3)
    honest = [lanes(500, 400, 300, 200)] * 4
    small.submit([r for r in small.reports(honest, 3) if r.signer != "checker 3"], 3)


def test_half_of_the_lanes_is_not_wrong(small: World) -> None:
    members = small.committee(1)
    honest, half = lanes(500, 400, 300, 200), lanes(9_000, 9_000, 300, 200)
    vectors = [half if member == 3 else honest for member in members]
    settle(small, 1, vectors)
    with boa.reverts("penalties: report is not wrong"):
        small.penalties.record_wrong(1, 0, members.index(3))


@pytest.fixture
def told(small: World) -> tuple[World, Any]:
    """The small network, and what stands in Consensus' place there and says what is told it."""
    mock = deployer("BundlesMock").deploy()
    place = small.consensus.address
    boa.env.set_code(place, boa.env.get_code(mock.address))
    return small, deployer("BundlesMock").at(place)


RULE = replace(
    MINIMAL,
    ban_week_epochs=BAN_WEEK,
    ban_month_epochs=BAN_MONTH,
    ban_half_year_epochs=BAN_HALF_YEAR,
)
GAPS = st.one_of(st.integers(1, 12), st.sampled_from([BAN_WEEK - 1, BAN_WEEK, BAN_MONTH]))


def check_bans(told: tuple[World, Any], gaps: Sequence[int]) -> list[int]:
    """Record a wrong report after each gap, against the rule in protocols; return the bans."""
    world, mock = told
    standing, epoch, until, found = bans.Standing(), 0, 0, []
    for gap in gaps:
        epoch += gap
        world.enter(epoch)
        mock.set_seat(epoch, 7, 5, 1, 3, 5)
        standing = bans.record_wrong(standing, Epoch(epoch))
        ban = bans.compute_ban(standing, RULE)
        if ban:
            until = max(until, bans.find_return(Epoch(epoch), ban))
        returned = world.penalties.record_wrong(epoch, 7, 5)
        assert returned == (until if ban else 0)
        assert world.registry.barred_until(wallet("checker 1")) == until
        latest = [*standing.latest, *[0] * 5][:5]
        assert world.penalties.standing(1) == (standing.total, latest)
        found.append(ban)
    return found


@given(gaps=st.lists(GAPS, min_size=1, max_size=14))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bans_follow_the_rule(told: tuple[World, Any], gaps: list[int]) -> None:
    check_bans(told, gaps)


def test_bans_by_example(told: tuple[World, Any]) -> None:
    week, month = BAN_WEEK, BAN_MONTH
    assert check_bans(told, [1, week, week - 1]) == [0, 0, month]


def test_five_within_a_month_ban_for_half_a_year(told: tuple[World, Any]) -> None:
    assert check_bans(told, [1] + [BAN_WEEK] * 4) == [0, 0, 0, 0, BAN_HALF_YEAR]


def test_more_than_ten_ban_for_good(told: tuple[World, Any]) -> None:
    assert check_bans(told, [1] + [BAN_WEEK + 1] * 10) == [0] * 10 + [bans.FOREVER]
    world, _ = told
    found = world.registry.checker(1)
    assert found.exit_epoch == world.epoch + 1, "its tenancy ends, so that its slot can be reused"
    assert found.stake == STAKE


def test_wrong_reports_are_counted_in_order_and_within_the_window(
    told: tuple[World, Any],
) -> None:
    world, mock = told
    for epoch in (1, 2, 3):
        mock.set_seat(epoch, 0, 0, 1, 3, 5)
    world.enter(3)
    world.penalties.record_wrong(2, 0, 0)
    with boa.reverts("penalties: recorded before, or a later one"):
        world.penalties.record_wrong(1, 0, 0)
    world.enter(3 + RING)
    with boa.reverts("penalties: too old, or too early"):
        world.penalties.record_wrong(3, 0, 0)


def test_leaving_and_coming_back_forgets_nothing(told: tuple[World, Any]) -> None:
    world, mock = told
    check_bans(told, [1])
    leave(world, "checker", "checker 1")
    world.enter(2, UNSTAKE_DELAY)
    world.registry.withdraw_checker(1)
    index = world.register("checker", "checker 1")
    assert index != 1
    world.enter(world.epoch + 1)
    mock.set_seat(world.epoch, 0, 0, index, 3, 5)
    world.penalties.record_wrong(world.epoch, 0, 0)
    assert world.penalties.standing(index)[0] == 2


def test_a_newcomer_does_not_answer_for_the_tenant_before(told: tuple[World, Any]) -> None:
    world, mock = told
    leave(world, "checker", "checker 1")
    world.enter(2 + REUSE_DELAY)
    world.registry.withdraw_checker(1)
    world.register("checker", "newcomer")
    mock.set_seat(world.epoch, 0, 0, 1, 3, 5)
    with boa.reverts("penalties: not the tenant then"):
        world.penalties.record_wrong(world.epoch, 0, 0)
