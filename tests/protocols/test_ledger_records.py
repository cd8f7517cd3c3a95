"""Bytes and roots of ZeroNode's books: vectors, refusals, and proofs that cannot be bent."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import ForgedError, LocalError, MalformedError
from protocols.ledger_json import parse_proof, show_entry, show_proof
from protocols.ledger_records import (
    MAX_AMOUNT,
    NO_ROOT,
    BalanceProof,
    EntryProof,
    Line,
    Transfer,
    Unit,
    compute_day_root,
    compute_ledger_id,
    compute_tree_root,
    draw_account,
    encode_entry,
    hash_balance,
    make_entry,
    may_be_negative,
    moved_account,
    order_balances,
    order_transfer,
    user_account,
    verify_balance_proof,
    verify_entry_proof,
)
from protocols.types import Digest, NetworkId, NodeKey, Wallet
from tests.vectors.generate import load

CHAIN = load("ledger/entries.json")
DAYS = load("ledger/days.json")
PROOFS = [proof for day in DAYS for proof in day["proofs"]]

ALICE = user_account(Wallet(b"a" * 20))
BOB = user_account(Wallet(b"b" * 20))
GOOD = Transfer("k", "uptime", (Line("issue:uptime", Unit.POINTS, -5), Line(ALICE, Unit.POINTS, 5)))


def read_transfer(document: dict[str, Any]) -> Transfer:
    lines = tuple(
        Line(line["account"], Unit(line["unit"]), line["amount"]) for line in document["lines"]
    )
    return Transfer(document["key"], document["kind"], lines, document["note"])


def test_the_vectors_chain() -> None:
    network, service = bytes.fromhex(CHAIN["network"]), bytes.fromhex(CHAIN["service"])
    previous = compute_ledger_id(NetworkId(network), NodeKey(service))
    assert previous.hex() == CHAIN["ledger"]
    for number, case in enumerate(CHAIN["entries"], start=1):
        transfer = read_transfer(case)
        turned = replace(transfer, lines=tuple(reversed(transfer.lines)))
        assert order_transfer(turned) == transfer
        entry = make_entry(number, case["at_ms"], previous, transfer)
        assert encode_entry(number, case["at_ms"], previous, transfer).hex() == case["encoded"]
        assert show_entry(entry) == {key: value for key, value in case.items() if key != "encoded"}
        previous = entry.hash


@pytest.mark.parametrize("case", DAYS, ids=lambda case: str(case["day"]))
def test_the_vectors_days(case: dict[str, Any]) -> None:
    proofs = [parse_proof(each) for each in case["proofs"]]
    root = Digest(bytes.fromhex(case["root"]))
    balances = [each for each in proofs if isinstance(each, BalanceProof)]
    for proof, document in zip(proofs, case["proofs"], strict=True):
        assert compute_day_root(proof.summary) == root
        assert show_proof(proof) == document
        check(proof, root)
    keys = [(proof.account, proof.unit) for proof in balances]
    assert order_balances(reversed(keys)) == keys
    leaves = [hash_balance(proof.account, proof.unit, proof.balance) for proof in balances]
    assert compute_tree_root(leaves) == balances[0].summary.balances_root
    assert compute_tree_root([]) == NO_ROOT


def check(proof: EntryProof | BalanceProof, root: Digest) -> None:
    if isinstance(proof, EntryProof):
        verify_entry_proof(proof, root)
    else:
        verify_balance_proof(proof, root)


def leaves_of(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(document, dict):
        return [each for key, value in document.items() for each in leaves_of(value, (*path, key))]
    if isinstance(document, list):
        return [each for n, value in enumerate(document) for each in leaves_of(value, (*path, n))]
    return [path]


def change(document: Any, path: tuple[Any, ...], how: Callable[[Any], Any]) -> Any:
    if not path:
        return how(document)
    copy = document.copy()
    copy[path[0]] = change(document[path[0]], path[1:], how)
    return copy


def spoil(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, int):
        return value + 1
    last = value[-1:]
    return value[:-1] + ("1" if last != "1" else "2")


@pytest.mark.parametrize("case", PROOFS[::3], ids=str)
def test_a_proof_with_anything_changed_is_refused(case: dict[str, Any]) -> None:
    root = Digest(bytes.fromhex(case["root"]))
    for path in leaves_of(case):
        if path in (("root",), ("entry", "hash")):
            # The one is taken from the chain, the other is computed.
            continue
        with pytest.raises((ForgedError, MalformedError)):
            check(parse_proof(change(case, path, spoil)), root)


@given(data=st.data())
def test_no_proof_serves_another_place(data: st.DataObject) -> None:
    day = data.draw(st.sampled_from(DAYS))
    root = Digest(bytes.fromhex(day["root"]))
    one, other = (
        parse_proof(each) for each in data.draw(st.tuples(*[st.sampled_from(day["proofs"])] * 2))
    )
    mixed = replace(one, path=other.path)
    if other.path == one.path:
        check(mixed, root)
    else:
        with pytest.raises((ForgedError, MalformedError)):
            check(mixed, root)


def test_a_proof_stays_inside_its_day() -> None:
    case = DAYS[-1]["proofs"][0]
    proof = parse_proof(case)
    assert isinstance(proof, EntryProof)
    root = Digest(bytes.fromhex(case["root"]))
    for number in (proof.summary.first - 1, proof.summary.first + proof.summary.entries):
        with pytest.raises(ForgedError, match="outside"):
            verify_entry_proof(replace(proof, entry=replace(proof.entry, number=number)), root)
    balance = parse_proof(DAYS[-1]["proofs"][-1])
    assert isinstance(balance, BalanceProof)
    with pytest.raises(ForgedError, match="outside"):
        verify_balance_proof(replace(balance, index=balance.summary.balances), root)
    with pytest.raises(ForgedError, match="day not under"):
        verify_balance_proof(balance, NO_ROOT)
    with pytest.raises(ForgedError, match="balance not under"):
        verify_balance_proof(replace(balance, balance=balance.balance + 1), root)


@pytest.mark.parametrize(
    "transfer",
    [
        replace(GOOD, key=""),
        replace(GOOD, key="a b"),
        replace(GOOD, key="x" * 201),
        replace(GOOD, key="é"),
        replace(GOOD, kind="Uptime"),
        replace(GOOD, kind=""),
        replace(GOOD, note="\n"),
        replace(GOOD, note="x" * 201),
        replace(GOOD, lines=()),
        replace(GOOD, lines=GOOD.lines[:1]),
        replace(GOOD, lines=GOOD.lines * 129),
        replace(GOOD, lines=(GOOD.lines[0], Line(ALICE, Unit.POINTS, 6))),
        replace(GOOD, lines=(GOOD.lines[0], Line(ALICE, Unit.TICKETS, 5))),
        replace(GOOD, lines=(*GOOD.lines, Line(BOB, Unit.POINTS, 0))),
        replace(GOOD, lines=(GOOD.lines[0], *[Line(ALICE, Unit.POINTS, n) for n in (2, 3)])),
        Transfer(
            "k",
            "uptime",
            (
                Line("issue:uptime", Unit.POINTS, -MAX_AMOUNT - 1),
                Line(ALICE, Unit.POINTS, MAX_AMOUNT + 1),
            ),
        ),
        *[
            replace(GOOD, lines=(GOOD.lines[0], Line(account, Unit.POINTS, 5)))
            for account in (
                "",
                "user:0xAA",
                "user:" + "a" * 40,
                "user:0x" + "A" * 40,
                "user:0x" + "a" * 40 + "\n",
                "issue:",
                "issue:else",
                "moved:00",
                "burn:tickets",
                "draw:",
                "draw:Weekly",
                "draw:" + "x" * 65,
                "other",
            )
        ],
    ],
    ids=str,
)
def test_a_transfer_that_cannot_be_meant(transfer: Transfer) -> None:
    with pytest.raises(LocalError):
        order_transfer(transfer)


def test_who_may_owe() -> None:
    assert may_be_negative("issue:uptime")
    assert may_be_negative(moved_account(NodeKey(b"m" * 32)))
    for account in (ALICE, "burn:points", draw_account("weekly-1")):
        assert not may_be_negative(account)
        order_transfer(replace(GOOD, lines=(GOOD.lines[0], Line(account, Unit.POINTS, 5))))


ENTRY, BALANCE = DAYS[0]["proofs"][0], DAYS[0]["proofs"][-1]
LINE = ENTRY["entry"]["lines"][0]


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {**ENTRY, "more": 1},
        {**ENTRY, "balance": BALANCE["balance"]},
        {**BALANCE, "more": 1},
        {key: value for key, value in ENTRY.items() if key != "entry"},
        {**ENTRY, "entry": 5},
        {**ENTRY, "path": "00"},
        {**ENTRY, "path": [5]},
        {**ENTRY, "path": ["00"]},
        {**ENTRY, "path": ["AA" * 32]},
        {**ENTRY, "path": ["00" * 32] * 65},
        change(ENTRY, ("summary",), lambda value: {**value, "more": 1}),
        change(ENTRY, ("summary", "day"), lambda value: True),
        change(ENTRY, ("summary", "day"), lambda value: -1),
        change(ENTRY, ("summary", "day"), lambda value: 1 << 53),
        change(ENTRY, ("entry",), lambda value: {**value, "more": 1}),
        change(ENTRY, ("entry", "key"), lambda value: "x" * 257),
        change(ENTRY, ("entry", "key"), lambda value: "ä"),
        change(ENTRY, ("entry", "key"), lambda value: 5),
        change(ENTRY, ("entry", "key"), lambda value: ""),
        change(ENTRY, ("entry", "lines"), lambda value: {}),
        change(ENTRY, ("entry", "lines"), lambda value: [LINE] * 257),
        change(ENTRY, ("entry", "lines"), lambda value: value[::-1]),
        change(ENTRY, ("entry", "lines", 0), lambda value: {**value, "more": 1}),
        change(ENTRY, ("entry", "lines", 0, "unit"), lambda value: 3),
        change(ENTRY, ("entry", "lines", 0, "unit"), lambda value: True),
        change(BALANCE, ("balance",), lambda value: {**value, "more": 1}),
        change(BALANCE, ("balance", "unit"), lambda value: "1"),
    ],
    ids=str,
)
def test_a_document_that_is_no_proof(document: object) -> None:
    with pytest.raises(MalformedError, match="bad ledger proof"):
        parse_proof(document)
