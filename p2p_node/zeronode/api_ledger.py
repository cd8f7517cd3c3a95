"""An account's entries and balances, with proofs against the roots that stand on the chain."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection

from p2p_node.zeronode.anchoring import find_anchored
from p2p_node.zeronode.day_roots import last_day, read_day
from p2p_node.zeronode.http_types import HttpRefusal
from p2p_node.zeronode.ledger import Unit, entries_of, newest_entries_of, user_account
from p2p_node.zeronode.parts import Service
from p2p_node.zeronode.routes import Call, Route
from p2p_node.zeronode.schemas import (
    DAY,
    MAX_INTEGER,
    TIME,
    fields,
    hexadecimal,
    listing,
    nullable,
    number,
    words,
)
from protocols.ledger_json import MAX_PATH, show_entry, show_proof, show_summary
from protocols.ledger_records import MAX_LINES

MOST_ENTRIES: Final = 100
USUAL_ENTRIES: Final = 50


async def list_entries(service: Service, call: Call) -> Mapping[str, Any]:
    """Return the account's next or newest entries, each with its proof if a closed day has it."""
    async with service.turns.take(call.wallet):
        return await service.archive.read(_list_entries, service, call)


def _list_entries(connection: Connection, service: Service, call: Call) -> Mapping[str, Any]:
    account, asked = user_account(call.wallet), call.parameters
    if "newest" in asked:
        found = newest_entries_of(connection, account, asked["newest"])[::-1]
    else:
        limit = asked.get("limit", USUAL_ENTRIES)
        found = entries_of(connection, account, asked.get("after", 0), limit)
    proofs = [service.prover.prove_entry(connection, entry.number) for entry in found]
    return {
        "entries": [show_entry(entry) for entry in found],
        "proofs": [None if proof is None else show_proof(proof) for proof in proofs],
    }


async def prove_balances(service: Service, call: Call) -> Mapping[str, Any]:
    """Prove what the account had when a day was closed: that day, or the last one."""
    async with service.turns.take(call.wallet):
        return await service.archive.read(_prove_balances, service, call)


def _prove_balances(connection: Connection, service: Service, call: Call) -> Mapping[str, Any]:
    day = call.parameters.get("day")
    closed = last_day(connection) if day is None else read_day(connection, day)
    if closed is None:
        raise HttpRefusal(404, "day is not closed")
    account = user_account(call.wallet)
    proofs = {
        unit: service.prover.prove_balance(connection, account, unit, closed.summary.day)
        for unit in Unit
    }
    return {
        "day": closed.summary.day,
        **{
            unit.name.lower(): None if proof is None else show_proof(proof)
            for unit, proof in proofs.items()
        },
    }


async def show_day(service: Service, call: Call) -> Mapping[str, Any]:
    """Show a closed day's root, what it is made of, and what the chain says of it."""
    return await service.database.read(_show_day, call.parameters["day"])


def _show_day(connection: Connection, day: int) -> Mapping[str, Any]:
    closed = read_day(connection, day)
    if closed is None:
        raise HttpRefusal(404, "day is not closed")
    anchored = find_anchored(connection, day)
    return {
        "root": closed.root.hex(),
        "closed_ms": closed.closed_ms,
        "summary": show_summary(closed.summary),
        "anchored": anchored
        and {
            "service": anchored.service,
            "root": anchored.root.hex(),
            "seen_ms": anchored.seen_ms,
        },
    }


DIGEST: Final = hexadecimal(32)
UNIT: Final = number(1, 2, "1: points, in units of 1/2880; 2: tickets.")
AMOUNT: Final = number(-MAX_INTEGER, MAX_INTEGER)

ENTRY: Final = fields(
    number=number(1),
    at_ms=TIME,
    previous=DIGEST,
    key=words(200),
    kind=words(32),
    note=words(200),
    lines=listing(fields(account=words(100), unit=UNIT, amount=AMOUNT), MAX_LINES),
    hash=DIGEST,
)
SUMMARY: Final = fields(
    ledger=DIGEST,
    day=DAY,
    first=number(),
    entries=number(),
    entries_root=DIGEST,
    balances=number(),
    balances_root=DIGEST,
    head=DIGEST,
)
PATH: Final = listing(DIGEST, MAX_PATH)
ENTRY_PROOF: Final = fields(root=DIGEST, summary=SUMMARY, path=PATH, entry=ENTRY)
BALANCE_PROOF: Final = fields(
    root=DIGEST,
    summary=SUMMARY,
    path=PATH,
    balance=fields(account=words(100), unit=UNIT, balance=AMOUNT, index=number()),
)

ROUTES: Final[Sequence[Route[Service]]] = (
    Route(
        "GET",
        "/v1/account/ledger",
        "The account's entries in order, with their proofs.",
        list_entries,
        fields(
            entries=listing(ENTRY, MOST_ENTRIES),
            proofs=listing(
                nullable(ENTRY_PROOF), MOST_ENTRIES, "Of each entry; null until its day is closed."
            ),
        ),
        query={
            "after": number(about="Entries with higher numbers only."),
            "limit": number(1, MOST_ENTRIES, f"{USUAL_ENTRIES} without it."),
            "newest": number(1, MOST_ENTRIES, "So many of the last ones instead, newest first."),
        },
        is_private=True,
    ),
    Route(
        "GET",
        "/v1/account/proof",
        "Proofs of what the account had when a day was closed.",
        prove_balances,
        fields(day=DAY, points=nullable(BALANCE_PROOF), tickets=nullable(BALANCE_PROOF)),
        query={"day": DAY},
        is_private=True,
        refusals={404: "The day is not closed."},
    ),
    Route(
        "GET",
        "/v1/days/{day}",
        "A closed day: its root, what it is made of, what the chain says of it.",
        show_day,
        fields(
            root=DIGEST,
            closed_ms=TIME,
            summary=SUMMARY,
            anchored=nullable(fields(service=number(), root=DIGEST, seen_ms=TIME)),
        ),
        parameters={"day": DAY},
        refusals={404: "The day is not closed."},
    ),
)
