"""What a provider does about its leases, and whom it lets in."""

from dataclasses import replace
from typing import Any

import pytest

from protocols.epochs import Timeline
from protocols.lease_keeping import (
    ACCEPT_SECONDS,
    COLLECT_SECONDS,
    MAX_JUDGED,
    LeaseStage,
    MoneyStep,
    choose_money_step,
    choose_reservation,
    find_stage,
    is_seen,
    judge_access,
)
from protocols.lease_messages import LeaseAnswerCode
from protocols.leases import Base, Lease, LeaseState, Terms
from protocols.params import MAINNET, MINIMAL, Preset
from protocols.types import Epoch, NodeKey, Seat, TimeMs, Wallet

GENESIS = 1_700_000_000
START = GENESIS + 1000
WALLET, OTHER = Wallet(b"\x01" * 20), Wallet(b"\x02" * 20)
KEY, OTHER_KEY = NodeKey(b"\x03" * 32), NodeKey(b"\x04" * 32)

LEASE = Lease(
    id=1,
    state=LeaseState.ACTIVE,
    provider=5,
    provider_wallet=WALLET,
    renter=OTHER,
    key=KEY,
    terms=Terms(price=10, minimum_seconds=60, maximum_seconds=10**6, fee_bps=500, bond=100),
    seconds=600,
    accept_by=START + 60,
    started_at=START,
    ended_at=0,
    ended_by_provider=False,
    judged_until=Epoch(0),
    away_seconds=0,
    gone=False,
    collected=0,
    base=Base(Epoch(0), 0, 0),
)
RESERVED = replace(LEASE, state=LeaseState.RESERVED, started_at=0)
ENDED = replace(LEASE, state=LeaseState.ENDED, ended_at=START + 100)
RECLAIMED = replace(RESERVED, state=LeaseState.RECLAIMED)
NONE = replace(RESERVED, state=LeaseState.NONE)


@pytest.mark.parametrize("preset", [MAINNET, MINIMAL])
def test_a_node_that_missed_most_slots_of_an_epoch_is_not_seen_in_it(preset: Preset) -> None:
    timeline = Timeline(TimeMs(GENESIS * 1000), preset)
    epoch = Epoch(7)
    start, end = timeline.start_of(epoch), TimeMs(timeline.start_of(Epoch(8)) - 1)
    # The last slot in time leaves more than half of the seats.
    last = timeline.slot_start(epoch, Seat((preset.seats - 1) // 2))
    for began, seen in (
        (TimeMs(start - 10**6), True),
        (start, True),
        (last, True),
        (TimeMs(last + 1), False),
        (end, False),
    ):
        assert is_seen(timeline, began, end) is seen
        assert is_seen(timeline, began, TimeMs(end + 1))


@pytest.mark.parametrize(
    ("final", "newest", "now", "stage"),
    [
        (None, None, START, LeaseStage.WAITING),
        (NONE, RESERVED, START, LeaseStage.WAITING),
        (RESERVED, LEASE, START, LeaseStage.WAITING),
        (RECLAIMED, RECLAIMED, START, LeaseStage.OVER),
        (LEASE, LEASE, START + 100, LeaseStage.LIVE),
        (LEASE, LEASE, START + 599, LeaseStage.LIVE),
        (LEASE, LEASE, START + 600, LeaseStage.STOPPED),
        (LEASE, ENDED, START + 100, LeaseStage.STOPPED),
        (LEASE, None, START + 100, LeaseStage.STOPPED),
        (ENDED, ENDED, START + 100, LeaseStage.OVER),
        (replace(ENDED, state=LeaseState.SETTLED), None, START, LeaseStage.OVER),
        # Extended in the newest block, not yet in the final one.
        (LEASE, replace(LEASE, seconds=900), START + 610, LeaseStage.LIVE),
    ],
)
def test_stage(final: Lease | None, newest: Lease | None, now: int, stage: LeaseStage) -> None:
    assert find_stage(final, newest, final_time=now - 20, now=now) is stage


def test_it_is_over_for_good_when_the_final_block_says_so() -> None:
    for final_time, stage in ((START + 599, LeaseStage.STOPPED), (START + 600, LeaseStage.OVER)):
        found = find_stage(LEASE, LEASE, final_time=final_time, now=START + 700)
        assert found is stage


def test_the_oldest_reservation_is_chosen() -> None:
    waiting = [replace(RESERVED, id=number) for number in (3, 2, 7)]
    found = choose_reservation([LEASE, *waiting], provider=5, wallet=WALLET, now=START)
    assert found == waiting[1]


@pytest.mark.parametrize(
    "lease",
    [
        LEASE,
        RECLAIMED,
        replace(RESERVED, provider=6),
        replace(RESERVED, provider_wallet=OTHER),
        replace(RESERVED, accept_by=START + ACCEPT_SECONDS),
    ],
)
def test_what_cannot_be_accepted_is_not_chosen(lease: Lease) -> None:
    assert choose_reservation([lease], provider=5, wallet=WALLET, now=START) is None


@pytest.mark.parametrize(
    ("final", "newest", "changes", "code"),
    [
        (LEASE, LEASE, {}, LeaseAnswerCode.GRANTED),
        (None, None, {}, LeaseAnswerCode.UNKNOWN_LEASE),
        (NONE, NONE, {}, LeaseAnswerCode.UNKNOWN_LEASE),
        (LEASE, LEASE, {"provider": 6}, LeaseAnswerCode.NOT_MINE),
        (LEASE, LEASE, {"wallet": OTHER}, LeaseAnswerCode.NOT_MINE),
        (LEASE, LEASE, {"key": OTHER_KEY}, LeaseAnswerCode.NOT_HOLDER),
        (RESERVED, LEASE, {}, LeaseAnswerCode.NOT_ACTIVE),
        (RECLAIMED, RECLAIMED, {}, LeaseAnswerCode.NOT_ACTIVE),
        (ENDED, ENDED, {}, LeaseAnswerCode.EXPIRED),
        (LEASE, ENDED, {}, LeaseAnswerCode.EXPIRED),
        (LEASE, None, {}, LeaseAnswerCode.EXPIRED),
        (LEASE, LEASE, {"now": START + 600}, LeaseAnswerCode.EXPIRED),
        (LEASE, replace(LEASE, seconds=900), {"now": START + 700}, LeaseAnswerCode.GRANTED),
    ],
)
def test_access(
    final: Lease | None, newest: Lease | None, changes: dict[str, Any], code: LeaseAnswerCode
) -> None:
    who: dict[str, Any] = {"provider": 5, "wallet": WALLET, "key": KEY, "now": START + 1, **changes}
    assert judge_access(final, newest, **who) is code


TIMELINE = Timeline(TimeMs(GENESIS * 1000), MAINNET)
EPOCH_SECONDS = MAINNET.epoch_seconds
GRACE = MAINNET.grace_seconds


def lease_from(epoch: int, epochs: int, **changes: Any) -> Lease:
    """A lease of whole epochs, from the beginning of one."""
    started = GENESIS + epoch * EPOCH_SECONDS
    return replace(
        LEASE,
        started_at=started,
        seconds=epochs * EPOCH_SECONDS,
        judged_until=Epoch(epoch),
        **changes,
    )


def step_at(lease: Lease, epoch: int, seconds: int = 0) -> MoneyStep:
    return choose_money_step(lease, TIMELINE, GENESIS + epoch * EPOCH_SECONDS + seconds)


def test_an_old_lease_is_settled_when_its_last_epoch_is_closed() -> None:
    lease = lease_from(0, 2)
    assert step_at(lease, 2) is MoneyStep.NONE
    assert step_at(lease, 2, GRACE - 1) is MoneyStep.NONE
    assert step_at(lease, 2, GRACE) is MoneyStep.SETTLE
    ended = replace(lease, state=LeaseState.ENDED, ended_at=lease.started_at + 5)
    assert step_at(ended, 1, GRACE) is MoneyStep.SETTLE
    assert step_at(ended, 0, 10) is MoneyStep.NONE


def test_a_long_one_is_judged_before() -> None:
    assert step_at(lease_from(0, MAX_JUDGED), MAX_JUDGED + 1) is MoneyStep.SETTLE
    assert step_at(lease_from(0, MAX_JUDGED + 1), MAX_JUDGED + 2) is MoneyStep.JUDGE


def test_earnings_are_collected_once_a_day() -> None:
    lease, day = lease_from(3, 500), COLLECT_SECONDS // EPOCH_SECONDS
    assert step_at(lease, 3 + day, GRACE - 1) is MoneyStep.NONE
    assert step_at(lease, 3 + day, GRACE) is MoneyStep.COLLECT
    judged = replace(lease, judged_until=Epoch(3 + day))
    assert step_at(judged, 3 + day, GRACE) is MoneyStep.NONE
    assert step_at(lease, 3 + MAX_JUDGED, GRACE) is MoneyStep.COLLECT
    assert step_at(lease, 3 + MAX_JUDGED + 1, GRACE) is MoneyStep.JUDGE


def test_short_epochs_are_collected_before_they_are_too_many() -> None:
    timeline = Timeline(TimeMs(GENESIS * 1000), MINIMAL)
    lease = replace(LEASE, started_at=GENESIS, seconds=10**6)
    moment = GENESIS + MAX_JUDGED * MINIMAL.epoch_seconds + MINIMAL.grace_seconds
    assert choose_money_step(lease, timeline, moment - 1) is MoneyStep.NONE
    assert choose_money_step(lease, timeline, moment) is MoneyStep.COLLECT


@pytest.mark.parametrize(
    "state",
    [LeaseState.NONE, LeaseState.RESERVED, LeaseState.SETTLED, LeaseState.RECLAIMED],
)
def test_nothing_is_to_be_called_for_what_is_not_active(state: LeaseState) -> None:
    assert step_at(replace(LEASE, state=state), 100) is MoneyStep.NONE
