"""Logs and the events they become."""

from dataclasses import replace
from typing import Any

import pytest

from chain.abi import CONTRACTS, get_interface
from chain.delegation_events import (
    Activated,
    Collected,
    CommissionAnnounced,
    DelegationSlashed,
    Deposited,
    Distributed,
    Returned,
    TakenBack,
    Undelegated,
)
from chain.errors import MalformedAnswerError
from chain.events import (
    BundleAccepted,
    BundlesPaused,
    Cancelled,
    CheckerPaid,
    Committed,
    Contributed,
    DelegatedStake,
    EpochClosed,
    Equivocated,
    Event,
    Executed,
    FraudPunished,
    Funded,
    GuardianChanged,
    Left,
    OwnershipOffered,
    OwnershipTransferred,
    Paused,
    Proposed,
    ProviderPaid,
    Registered,
    SeedFrozen,
    Slashed,
    StakeAdded,
    Suspended,
    Transferred,
    Unpaused,
    Withdrawn,
    WrongRecorded,
    decode_event,
)
from chain.records import SeatResult, SlotKind
from chain.rental_events import (
    FeesSwept,
    LeaseAccepted,
    LeaseCollected,
    LeaseEnded,
    LeaseExtended,
    LeaseOpened,
    LeaseReclaimed,
    LeaseSettled,
    OfferMade,
    OfferWithdrawn,
    OwedWithdrawn,
)
from chain.zeronode_events import (
    AnchorOffered,
    AnchorTransferred,
    DrawCommitted,
    RootAnchored,
    ServiceAdded,
    ServiceRetired,
)
from protocols.types import Digest, Epoch, NodeKey, Seat, Shard, Wallet
from tests.chain.samples import DEPLOYMENT, make_log

ALICE = Wallet(b"\xaa" * 20)
BOB = Wallet(b"\xbb" * 20)
SECRET = b"\x55" * 32
KEY = NodeKey(b"\x44" * 32)

TENANCY = {"index": 3, "since": 4}

NO_NEWS = {
    ("Token", "Approval"),
    ("Consensus", "EIP712DomainChanged"),
    ("Nft", "Transfer"),
    ("Nft", "Approval"),
    ("Nft", "ApprovalForAll"),
}
"""Events of ours that no node acts on."""

CASES: list[tuple[str, str, dict[str, Any], Event]] = [
    (
        "Token",
        "Transfer",
        {"sender": ALICE, "receiver": BOB, "value": 5},
        Transferred(ALICE, BOB, 5),
    ),
    (
        "Registry",
        "Registered",
        {
            "kind": 1,
            "index": 3,
            "wallet": ALICE,
            "node_key": SECRET,
            "stake": 10**21,
            "joined_epoch": 4,
        },
        Registered(SlotKind.CHECKER, 3, ALICE, NodeKey(SECRET), 10**21, Epoch(4)),
    ),
    (
        "Registry",
        "Left",
        {"kind": 0, "index": 3, "wallet": ALICE, "exit_epoch": 9},
        Left(SlotKind.PROVIDER, 3, ALICE, Epoch(9)),
    ),
    (
        "Registry",
        "Withdrawn",
        {"kind": 0, "index": 3, "wallet": ALICE, "amount": 7},
        Withdrawn(SlotKind.PROVIDER, 3, ALICE, 7),
    ),
    (
        "Beacon",
        "Committed",
        {"epoch": 2, "checker_index": 1, "commitment": SECRET},
        Committed(Epoch(2), 1, Digest(SECRET)),
    ),
    (
        "Beacon",
        "Contributed",
        {"epoch": 2, "checker_index": 1, "secret": SECRET, "next_commitment": b"\x66" * 32},
        Contributed(Epoch(2), 1, SECRET, Digest(b"\x66" * 32)),
    ),
    (
        "Registry",
        "StakeAdded",
        {"kind": 1, "index": 3, "payer": BOB, "amount": 5, "stake": 12},
        StakeAdded(SlotKind.CHECKER, 3, BOB, 5, 12),
    ),
    (
        "Registry",
        "Slashed",
        {"kind": 0, "index": 3, "wallet": ALICE, "amount": 5, "left": 7},
        Slashed(SlotKind.PROVIDER, 3, ALICE, 5, 7),
    ),
    (
        "Registry",
        "Suspended",
        {"index": 3, "wallet": ALICE, "from_epoch": 5, "until_epoch": 65},
        Suspended(3, ALICE, Epoch(5), Epoch(65)),
    ),
    ("Registry", "DelegatedStake", {"index": 3, "amount": 5}, DelegatedStake(3, 5)),
    ("Registry", "BundlesPaused", {"until": 9_000}, BundlesPaused(9_000)),
    ("Steward", "Proposed", {"id": 3, "value": 5, "ready_at": 9}, Proposed(3, 5, 9)),
    ("Steward", "Executed", {"id": 3, "value": 5}, Executed(3, 5)),
    ("Steward", "Cancelled", {"id": 3}, Cancelled(3)),
    (
        "Steward",
        "OwnershipOffered",
        {"owner": ALICE, "heir": BOB},
        OwnershipOffered(ALICE, BOB),
    ),
    (
        "Steward",
        "OwnershipTransferred",
        {"before": ALICE, "owner": BOB},
        OwnershipTransferred(ALICE, BOB),
    ),
    (
        "Steward",
        "GuardianChanged",
        {"before": ALICE, "guardian": BOB},
        GuardianChanged(ALICE, BOB),
    ),
    ("Steward", "Paused", {"sender": ALICE, "until": 9}, Paused(ALICE, 9)),
    ("Steward", "Unpaused", {"sender": ALICE}, Unpaused(ALICE)),
    (
        "Delegation",
        "Deposited",
        {**TENANCY, "owner": ALICE, "amount": 5, "ready_epoch": 9},
        Deposited(ALICE, 3, Epoch(4), 5, Epoch(9)),
    ),
    (
        "Delegation",
        "TakenBack",
        {**TENANCY, "owner": ALICE, "amount": 5},
        TakenBack(ALICE, 3, Epoch(4), 5),
    ),
    (
        "Delegation",
        "Activated",
        {**TENANCY, "owner": ALICE, "amount": 5, "shares": 6},
        Activated(ALICE, 3, Epoch(4), 5, 6),
    ),
    (
        "Delegation",
        "Undelegated",
        {**TENANCY, "owner": ALICE, "amount": 5, "shares": 6, "unlocks_at": 99},
        Undelegated(ALICE, 3, Epoch(4), 5, 6, 99),
    ),
    (
        "Delegation",
        "Returned",
        {**TENANCY, "owner": ALICE, "amount": 5},
        Returned(ALICE, 3, Epoch(4), 5),
    ),
    ("Delegation", "Distributed", {**TENANCY, "amount": 5}, Distributed(3, Epoch(4), 5)),
    (
        "Delegation",
        "Collected",
        {**TENANCY, "owner": ALICE, "amount": 5},
        Collected(ALICE, 3, Epoch(4), 5),
    ),
    (
        "Delegation",
        "DelegationSlashed",
        {**TENANCY, "active": 5, "leaving": 6},
        DelegationSlashed(3, Epoch(4), 5, 6),
    ),
    (
        "Delegation",
        "CommissionAnnounced",
        {**TENANCY, "bps": 5_000, "from_epoch": 9},
        CommissionAnnounced(3, Epoch(4), 5_000, Epoch(9)),
    ),
    (
        "Beacon",
        "SeedFrozen",
        {"epoch": 2, "seed": SECRET, "accumulator": b"\x66" * 32},
        SeedFrozen(Epoch(2), Digest(SECRET), Digest(b"\x66" * 32)),
    ),
    (
        "Consensus",
        "BundleAccepted",
        {
            "epoch": 5,
            "shard": 1,
            "sender": BOB,
            "reported": 0b1011,
            "deviations": 256 | 3 << 9 | 1 << 27,
            "checkers": 7 | 9 << 16 | 65_535 << 48,
            "online": 2**256 - 1,
            "fraud": 4,
            "total": 12_345,
            "units": 1000 | 32_767 << 16 | 3 << 48,
        },
        BundleAccepted(
            epoch=Epoch(5),
            shard=Shard(1),
            sender=BOB,
            reports=(
                SeatResult(0, 7, 256, 1000),
                SeatResult(1, 9, 3, 32_767),
                SeatResult(3, 65_535, 1, 3),
            ),
            online=2**256 - 1,
            fraud=4,
            total=12_345,
        ),
    ),
    ("Rewards", "Funded", {"sender": ALICE, "amount": 8}, Funded(ALICE, 8)),
    (
        "Rewards",
        "ProviderPaid",
        {"index": 2, "wallet": ALICE, "amount": 9, "paid": 0b101},
        ProviderPaid(2, ALICE, 9, 0b101),
    ),
    (
        "Rewards",
        "CheckerPaid",
        {"index": 2, "wallet": BOB, "amount": 9, "delegators": 4, "paid": 0b11},
        CheckerPaid(2, BOB, 9, 4, 0b11),
    ),
    (
        "Rewards",
        "EpochClosed",
        {
            "epoch": 5,
            "provider_pool": 9,
            "checker_pool": 8,
            "provider_carry": 7,
            "checker_carry": 6,
        },
        EpochClosed(Epoch(5), 9, 8, 7, 6),
    ),
    (
        "Penalties",
        "Equivocated",
        {"index": 2, "epoch": 5, "shard": 1, "reporter": BOB, "slashed": 9, "bounty": 1},
        Equivocated(2, Epoch(5), Shard(1), BOB, 9, 1),
    ),
    (
        "Penalties",
        "FraudPunished",
        {"index": 2, "epoch": 5, "reporter": BOB, "slashed": 9, "bounty": 1},
        FraudPunished(2, Epoch(5), BOB, 9, 1),
    ),
    (
        "Penalties",
        "WrongRecorded",
        {"index": 2, "epoch": 5, "shard": 1, "seat": 3, "total": 2, "banned_until": 66},
        WrongRecorded(2, Epoch(5), Shard(1), Seat(3), 2, Epoch(66)),
    ),
    (
        "Rental",
        "OfferMade",
        {
            "provider": 3,
            "wallet": ALICE,
            "since": 4,
            "price": 5,
            "minimum_seconds": 6,
            "maximum_seconds": 7,
            "capability": SECRET,
        },
        OfferMade(3, ALICE, Epoch(4), 5, 6, 7, Digest(SECRET)),
    ),
    (
        "Rental",
        "OfferWithdrawn",
        {"provider": 3, "wallet": ALICE},
        OfferWithdrawn(3, ALICE),
    ),
    (
        "Rental",
        "Opened",
        {
            "id": 1,
            "renter": BOB,
            "provider": 3,
            "seconds": 60,
            "price": 5,
            "escrow": 315,
            "key": SECRET,
        },
        LeaseOpened(1, BOB, 3, 60, 5, 315, NodeKey(SECRET)),
    ),
    ("Rental", "Accepted", {"id": 1, "provider": 3, "bond": 30}, LeaseAccepted(1, 3, 30)),
    ("Rental", "Reclaimed", {"id": 1, "refund": 315}, LeaseReclaimed(1, 315)),
    ("Rental", "Extended", {"id": 1, "seconds": 90, "paid": 157}, LeaseExtended(1, 90, 157)),
    (
        "Rental",
        "Ended",
        {"id": 1, "by": BOB, "ended_at": 99, "confirmed": True, "returned": 7},
        LeaseEnded(1, BOB, 99, True, 7),
    ),
    (
        "Rental",
        "Settled",
        {"id": 1, "paid": 300, "fee": 15, "refund": 7, "bond_back": 30, "penalty": 0},
        LeaseSettled(1, 300, 15, 7, 30, 0),
    ),
    ("Rental", "Collected", {"id": 1, "amount": 5}, LeaseCollected(1, 5)),
    ("Rental", "Withdrawn", {"wallet": ALICE, "amount": 5}, OwedWithdrawn(ALICE, 5)),
    ("Rental", "FeesSwept", {"amount": 15}, FeesSwept(15)),
    (
        "ZeroNodeAnchor",
        "ServiceAdded",
        {"service": 2, "wallet": ALICE, "node_key": KEY},
        ServiceAdded(2, ALICE, KEY),
    ),
    ("ZeroNodeAnchor", "ServiceRetired", {"service": 2}, ServiceRetired(2)),
    (
        "ZeroNodeAnchor",
        "RootAnchored",
        {"service": 2, "day": 20_783, "root": b"\x05" * 32},
        RootAnchored(2, 20_783, Digest(b"\x05" * 32)),
    ),
    (
        "ZeroNodeAnchor",
        "DrawCommitted",
        {"service": 2, "draw": b"\x06" * 32, "commitment": b"\x07" * 32},
        DrawCommitted(2, Digest(b"\x06" * 32), Digest(b"\x07" * 32)),
    ),
    (
        "ZeroNodeAnchor",
        "OwnershipOffered",
        {"owner": ALICE, "heir": BOB},
        AnchorOffered(ALICE, BOB),
    ),
    (
        "ZeroNodeAnchor",
        "OwnershipTransferred",
        {"before": ALICE, "owner": BOB},
        AnchorTransferred(ALICE, BOB),
    ),
]


@pytest.mark.parametrize(
    ("contract", "name", "values", "event"), CASES, ids=[name for _, name, _, _ in CASES]
)
def test_a_log_becomes_its_event(
    contract: str, name: str, values: dict[str, Any], event: Event
) -> None:
    assert decode_event(DEPLOYMENT, make_log(contract, name, values)) == event


@pytest.mark.parametrize(
    ("contract", "name", "values", "event"), CASES, ids=[name for _, name, _, _ in CASES]
)
def test_a_log_that_lacks_values_is_malformed(
    contract: str, name: str, values: dict[str, Any], event: Event
) -> None:
    log = make_log(contract, name, values)
    broken_logs = [replace(log, topics=(*log.topics, bytes(32)))]
    if len(log.topics) > 1:
        broken_logs.append(replace(log, topics=log.topics[:-1]))
    if log.data:
        broken_logs.append(replace(log, data=log.data[:-1]))
    for broken in broken_logs:
        with pytest.raises(MalformedAnswerError, match=name):
            decode_event(DEPLOYMENT, broken)


def test_an_address_with_dirt_in_it_is_malformed() -> None:
    log = make_log("Rewards", "Funded", {"sender": ALICE, "amount": 8})
    dirty = replace(log, topics=(log.topics[0], b"\x01" * 32))
    with pytest.raises(MalformedAnswerError, match="Funded"):
        decode_event(DEPLOYMENT, dirty)


def test_a_slot_kind_that_does_not_exist_is_malformed() -> None:
    values = {"kind": 2, "index": 3, "wallet": ALICE, "exit_epoch": 9}
    with pytest.raises(MalformedAnswerError, match="slot kind 2"):
        decode_event(DEPLOYMENT, make_log("Registry", "Left", values))


def test_what_is_not_ours_is_nothing() -> None:
    log = make_log("Rewards", "Funded", {"sender": ALICE, "amount": 8})
    assert decode_event(DEPLOYMENT, replace(log, address=ALICE)) is None
    assert decode_event(DEPLOYMENT, replace(log, topics=())) is None
    approval = make_log("Token", "Approval", {"owner": ALICE, "spender": BOB, "value": 1})
    assert decode_event(DEPLOYMENT, approval) is None
    # The same topic from another of our contracts is not that event.
    elsewhere = replace(log, address=DEPLOYMENT.address("Token"))
    assert decode_event(DEPLOYMENT, elsewhere) is None


def test_every_event_of_ours_has_a_case() -> None:
    emitted = {(name, event) for name in CONTRACTS for event in get_interface(name).events}
    assert {(contract, name) for contract, name, _, _ in CASES} == emitted - NO_NEWS
