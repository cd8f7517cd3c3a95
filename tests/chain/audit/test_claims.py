"""Rewards and payments judged again: sums, wallets, transfers, nothing twice."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from chain.abi import get_interface
from chain.audit.bundles import SettledSeat, SettledShard
from chain.audit.claims import Claim, find_doubles, judge_claim, judge_transfers, read_claims
from chain.audit.commissions import Commissions
from chain.audit.findings import Checks, DifferenceError
from chain.audit.rewards import Item, SettledEpoch, StoredReward, judge_rewards, settle
from chain.delegation_events import Activated, CommissionAnnounced, Undelegated
from chain.events import (
    CheckerPaid,
    Event,
    Left,
    ProviderPaid,
    Transferred,
)
from chain.records import SlotKind
from protocols.types import Epoch, Seat, Shard, Wallet
from tests.chain.audit.scene import (
    EPOCH,
    SHARD,
    everybody,
    log_at,
    registered,
    replay,
    vector,
    wallet_of,
)

CHECKER, PROVIDER = SlotKind.CHECKER, SlotKind.PROVIDER
REWARDS, DELEGATION = Wallet(b"\xe1" * 20), Wallet(b"\xe2" * 20)
END = (10**6, 0)
PEOPLE = replay(*everybody())


def seat(number: int, checker: int, weight: int, units: int) -> SettledSeat:
    return SettledSeat(Seat(number), checker, wallet_of(CHECKER, checker), 0, weight, units)


def settled(epoch: int = EPOCH) -> SettledEpoch:
    shard = SettledShard(
        epoch=Epoch(epoch),
        shard=SHARD,
        lanes=3,
        scores=vector(100, 0, 300),
        online=0b111,
        fraud=0b10,
        seats=(seat(0, 4, 3, 100), seat(2, 1, 2, 50), seat(3, 2, 0, 70), seat(1, 5, 3, 7)),
    )
    return settle(Epoch(epoch), [shard], 1_000, 421, frozenset({4, 1, 2}))


def provider(index: int, epoch: int = EPOCH) -> Item:
    return Item(PROVIDER, index, Epoch(epoch), SHARD)


def checker(index: int, number: int, epoch: int = EPOCH) -> Item:
    return Item(CHECKER, index, Epoch(epoch), SHARD, Seat(number))


@pytest.mark.parametrize(
    ("item", "reward"),
    [
        (provider(0), 250),
        (provider(1), 0),
        (provider(2), 750),
        # 300 + 100 + 21 weigh 421 in all; the last one did not contribute to the Beacon.
        (checker(4, 0), 300),
        (checker(1, 2), 100),
        (checker(2, 3), 0),
        (checker(5, 1), 0),
        # Somebody else's seat, no such seat, no such shard.
        (checker(1, 0), 0),
        (checker(1, 9), 0),
        (replace(provider(0), shard=Shard(7)), 0),
    ],
)
def test_what_an_item_earned(item: Item, reward: int) -> None:
    assert settled().reward(item, PEOPLE, END) == reward


def test_only_the_tenant_of_the_epoch_earns() -> None:
    left = Left(PROVIDER, 0, wallet_of(PROVIDER, 0), Epoch(EPOCH))
    assert settled().reward(provider(0), replay(*everybody(), left), END) == 0
    newcomers = [
        registered(kind, index, joined=EPOCH + 1) for kind, index in ((PROVIDER, 0), (CHECKER, 4))
    ]
    later = replay(*everybody(), *newcomers)
    assert settled().reward(provider(0), later, END) == 0
    assert settled().reward(checker(4, 0), later, END) == 0
    # Before they came it was still the old ones'.
    assert settled().reward(provider(0), later, (18, 0)) == 250


STORED = [
    StoredReward(provider(0), 250, True),
    StoredReward(provider(1), 0, False),
    StoredReward(checker(4, 0), 300, False),
]


def test_what_rewards_answers() -> None:
    checks = Checks()
    judge_rewards(STORED, settled(), {provider(0)}, PEOPLE, END, checks)
    assert sum(checks.counts.values()) == 6


@pytest.mark.parametrize(
    ("number", "changes", "field", "place"),
    [
        (0, {"reward": 251}, "provider_reward", "epoch 5, shard 0, lane 0, index 0"),
        (1, {"reward": 1}, "provider_reward", "epoch 5, shard 0, lane 1, index 1"),
        (2, {"reward": 299}, "checker_reward", "epoch 5, shard 0, seat 0, index 4"),
        (0, {"is_claimed": False}, "provider_claimed", "epoch 5, shard 0, lane 0, index 0"),
        (2, {"is_claimed": True}, "checker_claimed", "epoch 5, shard 0, seat 0, index 4"),
    ],
)
def test_an_altered_answer_is_named(
    number: int, changes: dict[str, int], field: str, place: str
) -> None:
    stored = list(STORED)
    stored[number] = replace(stored[number], **changes)  # type: ignore[arg-type]
    with pytest.raises(DifferenceError) as caught:
        judge_rewards(stored, settled(), {provider(0)}, PEOPLE, END, Checks())
    difference = caught.value.difference
    assert (difference.contract, difference.field) == ("Rewards", field)
    assert str(difference.place) == place


# -- payments


def claim_data(name: str, index: int, items: list[int]) -> bytes:
    return get_interface("Rewards").functions[name].encode([index, items])


def packed(epoch: int, shard: int, number: int) -> int:
    return epoch << 32 | shard << 4 | number


PROVIDER_DATA = claim_data("claim_provider", 2, [4, EPOCH, 6])
CHECKER_DATA = claim_data("claim_checker", 4, [packed(EPOCH, 0, 0), packed(EPOCH, 1, 3)])
TO_PROVIDER = ProviderPaid(2, wallet_of(PROVIDER, 2), 1_500, 0b011)
TO_CHECKER = CheckerPaid(4, wallet_of(CHECKER, 4), 300, 75, 0b01)


def test_items_are_read_from_the_calldata() -> None:
    log = log_at(2_000)
    (claim,) = read_claims([(TO_PROVIDER, log)], PROVIDER_DATA)
    assert claim == Claim(
        PROVIDER, 2, TO_PROVIDER.wallet, 1_500, 0, (provider(2, 4), provider(2)), log
    )
    (claim,) = read_claims([(TO_CHECKER, log)], CHECKER_DATA)
    assert claim.items == (checker(4, 0),)
    assert claim.delegators == 75
    other = claim_data("claim_checker", 4, [packed(7, 5, 15)])
    (claim,) = read_claims([(replace(TO_CHECKER, paid=1), log)], other)
    assert claim.items == (Item(CHECKER, 4, Epoch(7), Shard(5), Seat(15)),)


def test_several_claims_in_one_transaction() -> None:
    """Through somebody's contract: each payment belongs to the next call for its slot."""
    again = claim_data("claim_provider", 2, [9])
    data = b"\x12\x34" + PROVIDER_DATA + CHECKER_DATA + b"\x00" * 5 + again
    payments = [
        (TO_CHECKER, log_at(5, 1)),
        (TO_PROVIDER, log_at(5, 2)),
        (replace(TO_PROVIDER, paid=1), log_at(5, 3)),
    ]
    items = [claim.items for claim in read_claims(payments, data)]
    assert items == [(checker(4, 0),), (provider(2, 4), provider(2)), (provider(2, 9),)]


@pytest.mark.parametrize("data", [b"", CHECKER_DATA, claim_data("claim_provider", 2, [4])])
def test_a_claim_that_is_not_in_the_calldata_has_no_items(data: bytes) -> None:
    (claim,) = read_claims([(TO_PROVIDER, log_at(5))], data)
    assert claim.items == ()


def claim_of(event: ProviderPaid | CheckerPaid, data: bytes) -> Claim:
    return read_claims([(event, log_at(2_000))], data)[0]


EPOCHS = {Epoch(epoch): settled(epoch) for epoch in (4, EPOCH)}


def test_a_payment_is_the_sum_of_its_items() -> None:
    checks = Checks()
    judge_claim(claim_of(TO_PROVIDER, PROVIDER_DATA), EPOCHS, PEOPLE, 0, checks)
    judge_claim(claim_of(TO_CHECKER, CHECKER_DATA), EPOCHS, PEOPLE, 2_500, checks)
    assert checks.counts["Rewards.ProviderPaid.amount"] == 1
    assert checks.counts["Rewards.CheckerPaid.delegators"] == 1


PAYMENTS_ALTERED: dict[str, tuple[Callable[[], Claim], int, str]] = {
    "amount": (
        lambda: claim_of(replace(TO_PROVIDER, amount=1_499), PROVIDER_DATA),
        0,
        "ProviderPaid.amount",
    ),
    "wallet": (
        lambda: claim_of(replace(TO_PROVIDER, wallet=REWARDS), PROVIDER_DATA),
        0,
        "ProviderPaid.wallet",
    ),
    "an item that earned nothing": (
        lambda: claim_of(
            ProviderPaid(1, wallet_of(PROVIDER, 1), 5, 1),
            claim_data("claim_provider", 1, [EPOCH]),
        ),
        0,
        "ProviderPaid.paid",
    ),
    "the delegators' part": (
        lambda: claim_of(replace(TO_CHECKER, delegators=74), CHECKER_DATA),
        2_500,
        "CheckerPaid.delegators",
    ),
    "another commission": (
        lambda: claim_of(TO_CHECKER, CHECKER_DATA),
        0,
        "CheckerPaid.delegators",
    ),
}


@pytest.mark.parametrize("name", PAYMENTS_ALTERED)
def test_an_altered_payment_is_named(name: str) -> None:
    make, commission, field = PAYMENTS_ALTERED[name]
    with pytest.raises(DifferenceError) as caught:
        judge_claim(make(), EPOCHS, PEOPLE, commission, Checks())
    assert caught.value.difference.field == field


def test_what_the_token_moved() -> None:
    claims = [claim_of(TO_PROVIDER, PROVIDER_DATA), claim_of(TO_CHECKER, CHECKER_DATA)]
    right = [
        Transferred(REWARDS, TO_PROVIDER.wallet, 1_500),
        Transferred(REWARDS, TO_CHECKER.wallet, 225),
        Transferred(REWARDS, DELEGATION, 75),
        Transferred(DELEGATION, REWARDS, 9),
    ]
    judge_transfers(claims, right, REWARDS, DELEGATION, Checks())
    for wrong in (
        right[1:],
        [*right, Transferred(REWARDS, DELEGATION, 1)],
        [*right, Transferred(REWARDS, Wallet(b"\x66" * 20), 1)],
        [replace(right[0], amount=1_499), *right[1:]],
        [replace(right[0], sender=DELEGATION), *right[1:]],
    ):
        with pytest.raises(DifferenceError, match="transfers of rewards"):
            judge_transfers(claims, wrong, REWARDS, DELEGATION, Checks())


def test_nothing_is_paid_twice() -> None:
    claim = claim_of(TO_PROVIDER, PROVIDER_DATA)
    assert find_doubles(EPOCH, [claim], Checks()) == {provider(2)}
    with pytest.raises(DifferenceError, match="paid twice"):
        find_doubles(EPOCH, [claim, claim], Checks())
    assert find_doubles(Epoch(9), [claim, claim], Checks()) == frozenset()


# -- commissions

OWNER, SINCE, WARMUP = Wallet(b"\x0d" * 20), Epoch(1), 5


def terms(*events: Event) -> Commissions:
    commissions = Commissions(WARMUP)
    for block, event in enumerate(events, start=1):
        commissions.apply(event, log_at(block))
    return commissions


def announced(epoch: int, bps: int) -> CommissionAnnounced:
    return CommissionAnnounced(4, SINCE, bps, Epoch(epoch + WARMUP))


def test_a_commission_counts_after_the_warm_up() -> None:
    active = Activated(OWNER, 4, SINCE, 10, 10)
    found = terms(active, announced(10, 500), announced(12, 900), announced(17, 100))
    at = [found.commission(4, SINCE, Epoch(e), (2, 9)) for e in (14, 15, 16)]
    assert at == [0, 500, 500]
    # Announced anew in 12, before the first one counted: that one never does.
    assert [found.commission(4, SINCE, Epoch(e), (3, 9)) for e in (15, 16, 17)] == [0, 0, 900]
    assert [found.commission(4, SINCE, Epoch(e), END) for e in (17, 21, 22)] == [900, 900, 100]
    assert found.commission(4, Epoch(2), Epoch(30), END) == 0
    assert found.commission(4, SINCE, Epoch(30), (1, 0)) == 0


def test_without_delegators_nothing_is_owed() -> None:
    some = Activated(OWNER, 4, SINCE, 10, 8)
    none = Undelegated(OWNER, 4, SINCE, 10, 8, 0)
    found = terms(announced(0, 500), some, none)
    assert [found.commission(4, SINCE, Epoch(9), (block, 9)) for block in (1, 2, 3)] == [0, 500, 0]
