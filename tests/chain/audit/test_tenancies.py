"""The Registry's history, replayed: who held which slot when, active or not, and with what."""

import pytest

from chain.audit.tenancies import Tenancies
from chain.errors import MalformedAnswerError
from chain.events import (
    BundleAccepted,
    DelegatedStake,
    Event,
    Left,
    Slashed,
    StakeAdded,
    Suspended,
    Withdrawn,
)
from chain.records import NO_EXIT, SlotKind
from protocols.params import TOKEN
from protocols.types import Epoch, Shard, Wallet
from tests.chain.audit.scene import log_at, registered, replay, wallet_of

CHECKER, PROVIDER = SlotKind.CHECKER, SlotKind.PROVIDER
LATER = (10**6, 0)


def active_epochs(events: list[Event], index: int = 0) -> list[int]:
    tenancy = replay(*events).at(CHECKER, index, LATER)
    assert tenancy is not None
    return [epoch for epoch in range(20) if tenancy.is_active(Epoch(epoch))]


def left(exit_epoch: int) -> Left:
    return Left(CHECKER, 0, wallet_of(CHECKER, 0), Epoch(exit_epoch))


def suspended(first: int, until: int) -> Suspended:
    return Suspended(0, wallet_of(CHECKER, 0), Epoch(first), Epoch(until))


NEWCOMER = registered(CHECKER, 0, joined=3)


@pytest.mark.parametrize(
    ("events", "active"),
    [
        ([], range(3, 20)),
        ([left(8)], range(3, 8)),
        ([suspended(5, 9)], [*range(5), *range(9, 20)]),
        # Leaving while suspended is leaving at the suspension's begin …
        ([suspended(5, 9), left(5)], range(3, 5)),
        # … and after it, an end like any other.
        ([suspended(5, 9), left(12)], [*range(9, 12)]),
        # For good: the Registry says that it left, too.
        ([suspended(5, NO_EXIT), left(5)], range(3, 5)),
        # Who left can only be barred.
        ([left(8), suspended(8, 15)], range(3, 8)),
    ],
)
def test_when_a_tenant_takes_part(events: list[Event], active: list[int]) -> None:
    assert active_epochs([NEWCOMER, *events]) == list(active)


def test_a_slot_is_remembered_as_it_was() -> None:
    wallet = wallet_of(CHECKER, 0)
    tenancies = replay(
        registered(CHECKER, 0, joined=1, stake=10 * TOKEN),
        StakeAdded(CHECKER, 0, wallet, 5 * TOKEN, 15 * TOKEN),
        DelegatedStake(0, 7 * TOKEN + 1),
        Slashed(CHECKER, 0, wallet, 14 * TOKEN, TOKEN),
        DelegatedStake(0, 0),
        Slashed(CHECKER, 0, wallet, TOKEN, 0),
        DelegatedStake(0, 9 * TOKEN),
        left(4),
        Withdrawn(CHECKER, 0, wallet, 0),
        registered(CHECKER, 0, joined=9, stake=2 * TOKEN),
    )
    units = []
    for block in range(11, 21):
        tenancy = tenancies.at(CHECKER, 0, (block, 0))
        assert tenancy is not None
        units.append(tenancy.units(CHECKER, TOKEN))
    # Nothing of its own left weighs nothing, and a newcomer inherits no delegations.
    assert units == [10, 15, 22, 8, 1, 0, 0, 0, 0, 2]
    assert tenancies.at(CHECKER, 0, (10, 0)) is None
    assert tenancies.at(CHECKER, 1, LATER) is None


def test_units_have_a_limit_for_checkers_only() -> None:
    rich = 40_000 * TOKEN
    tenancies = replay(registered(CHECKER, 0, stake=rich), registered(PROVIDER, 0, stake=rich))
    units = []
    for kind in (CHECKER, PROVIDER):
        tenancy = tenancies.at(kind, 0, LATER)
        assert tenancy is not None
        units.append(tenancy.units(kind, TOKEN))
    assert units == [32_767, 40_000]


def test_slots_before_an_epoch() -> None:
    tenancies = replay(
        registered(CHECKER, 0, joined=1),
        registered(CHECKER, 1, joined=1),
        registered(CHECKER, 2, joined=4),
        registered(CHECKER, 1, joined=6),
    )
    # Allocated in the epoch before it becomes active; a reused slot is not a new one.
    assert [tenancies.slots_before(CHECKER, Epoch(e)) for e in range(6)] == [0, 2, 2, 2, 3, 3]
    assert tenancies.count(CHECKER) == 3
    assert tenancies.slots_before(PROVIDER, Epoch(5)) == 0


def test_whose_an_epochs_earnings_are() -> None:
    tenancies = replay(
        registered(CHECKER, 0, joined=2, stake=TOKEN),
        left(4),
        registered(CHECKER, 0, joined=9, stake=2 * TOKEN),
    )
    found = [tenancies.holder(CHECKER, 0, Epoch(epoch)) for epoch in (1, 2, 8, 9)]
    assert [tenancy and tenancy.stake // TOKEN for tenancy in found] == [None, 1, 1, 2]
    assert found[1] is not None
    assert found[1].has_left


def test_events_that_no_registry_emits_are_refused() -> None:
    tenancies = Tenancies()
    with pytest.raises(MalformedAnswerError, match="never registered"):
        tenancies.apply(left(4), log_at(1))
    with pytest.raises(MalformedAnswerError, match="slot 1 before 0"):
        tenancies.apply(registered(CHECKER, 1), log_at(1))
    tenancies.apply(registered(CHECKER, 0), log_at(5, 2))
    with pytest.raises(MalformedAnswerError, match="out of order"):
        tenancies.apply(left(4), log_at(5, 1))


def test_events_of_others_change_nothing() -> None:
    tenancies = replay(registered(CHECKER, 0))
    before = tenancies.at(CHECKER, 0, LATER)
    bundle = BundleAccepted(Epoch(1), Shard(0), Wallet(bytes(20)), (), 0, 0, 0)
    tenancies.apply(bundle, log_at(99))
    assert tenancies.at(CHECKER, 0, LATER) == before
