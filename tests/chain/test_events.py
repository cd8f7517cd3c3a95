"""Logs and the events they become."""

from dataclasses import replace
from typing import Any

import pytest

from chain.errors import MalformedAnswerError
from chain.events import (
    BundleAccepted,
    CheckerPaid,
    Committed,
    Contributed,
    Event,
    Funded,
    Left,
    ProviderPaid,
    Registered,
    SeedFrozen,
    Transferred,
    Withdrawn,
    decode_event,
)
from chain.records import SeatResult, SlotKind
from protocols.types import Digest, Epoch, NodeKey, Seat, Shard, Wallet
from tests.chain.samples import DEPLOYMENT, make_log

ALICE = Wallet(b"\xaa" * 20)
BOB = Wallet(b"\xbb" * 20)
SECRET = b"\x55" * 32

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
    ("Beacon", "SeedFrozen", {"epoch": 2, "seed": SECRET}, SeedFrozen(Epoch(2), Digest(SECRET))),
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
        },
        BundleAccepted(
            epoch=Epoch(5),
            shard=Shard(1),
            sender=BOB,
            reports=(SeatResult(0, 7, 256), SeatResult(1, 9, 3), SeatResult(3, 65_535, 1)),
            online=2**256 - 1,
            fraud=4,
            total=12_345,
        ),
    ),
    ("Rewards", "Funded", {"sender": ALICE, "amount": 8}, Funded(ALICE, 8)),
    (
        "Rewards",
        "ProviderPaid",
        {"index": 2, "wallet": ALICE, "epoch": 5, "amount": 9},
        ProviderPaid(2, ALICE, Epoch(5), 9),
    ),
    (
        "Rewards",
        "CheckerPaid",
        {"index": 2, "wallet": BOB, "epoch": 5, "shard": 1, "seat": 3, "amount": 9},
        CheckerPaid(2, BOB, Epoch(5), Shard(1), Seat(3), 9),
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
    for broken in (
        replace(log, topics=log.topics[:-1]),
        replace(log, topics=(*log.topics, bytes(32))),
        replace(log, data=log.data[:-1]),
    ):
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
