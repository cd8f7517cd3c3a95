"""Books of one account with true hashes, roots and paths, for pictures and tests of the popup."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from protocols.ledger_json import show_entry, show_proof
from protocols.ledger_records import (
    BalanceProof,
    DaySummary,
    Entry,
    EntryProof,
    Line,
    Transfer,
    Unit,
    compute_ledger_id,
    compute_tree_root,
    hash_balance,
    make_entry,
    order_balances,
    order_transfer,
)
from protocols.merkle import build_tree
from protocols.types import Digest, NetworkId, NodeKey, Wallet
from protocols.zeronode_rules import TICKET_UNITS

SERVICE_KEY = NodeKey(bytes(range(32)))
NETWORK = NetworkId(bytes(range(64, 96)))
WALLET = Wallet(bytes.fromhex("7c4a2f19d03be85e61aa90cd4417b7e2385fd0b6"))
ACCOUNT = f"user:0x{WALLET.hex()}"

HOUR_MS = 3_600_000
DAY = 20_783
DAY_STARTS_MS = DAY * 24 * HOUR_MS


@dataclass(frozen=True)
class Books:
    """A few days of one account's entries, as the service's answers show them."""

    entries: tuple[Mapping[str, Any], ...]
    proofs: tuple[Mapping[str, Any] | None, ...]
    balances: Mapping[str, Any]
    points: int
    tickets: int

    @property
    def root(self) -> str:
        """That of the closed day."""
        root: str = self.balances["points"]["root"]
        return root


def make_books() -> Books:
    """Book two days, close the first."""
    ledger = compute_ledger_id(NETWORK, SERVICE_KEY)
    burnt = (
        Line(ACCOUNT, Unit.POINTS, -TICKET_UNITS),
        Line("burn:points", Unit.POINTS, TICKET_UNITS),
        Line(ACCOUNT, Unit.TICKETS, 1),
        Line("issue:burn", Unit.TICKETS, -1),
    )
    wanted = [
        move("checkin:1", "check-in", 5, "issue:check-in"),
        move("uptime:1", "uptime", 300, "issue:uptime"),
        move("nft:1", "nft", 300, "issue:nft"),
        move("ref:1", "referral", 30, "issue:referral"),
        Transfer("burn:1", "burn", burnt),
        move("checkin:2", "check-in", 10, "issue:check-in"),
        move("mission:1", "mission", 75, "issue:mission"),
    ]
    entries: list[Entry] = []
    previous = ledger
    for number, transfer in enumerate(wanted, 1):
        moment = DAY_STARTS_MS - 20 * HOUR_MS + number * 3 * HOUR_MS
        entries.append(make_entry(number, moment, previous, order_transfer(transfer)))
        previous = entries[-1].hash
    closed = entries[:5]
    summary, balances = close_day(ledger, closed)
    tree = build_tree(b"".join(entry.hash for entry in closed))
    proofs = [
        show_proof(EntryProof(summary, entry, tree.path(index)))
        for index, entry in enumerate(closed)
    ]
    totals = count_balances(entries)
    return Books(
        tuple(show_entry(entry) for entry in entries),
        (*proofs, None, None),
        balances,
        totals[ACCOUNT, Unit.POINTS],
        totals[ACCOUNT, Unit.TICKETS],
    )


def move(key: str, kind: str, points: int, source: str) -> Transfer:
    """Points into the account."""
    units = points * 2880
    lines = (Line(ACCOUNT, Unit.POINTS, units), Line(source, Unit.POINTS, -units))
    return Transfer(key, kind, lines)


def count_balances(entries: list[Entry]) -> dict[tuple[str, Unit], int]:
    """Add up all lines."""
    totals: dict[tuple[str, Unit], int] = {}
    for entry in entries:
        for line in entry.transfer.lines:
            place = (line.account, line.unit)
            totals[place] = totals.get(place, 0) + line.amount
    return totals


def close_day(ledger: Digest, entries: list[Entry]) -> tuple[DaySummary, Mapping[str, Any]]:
    """Make the root of a day, and show our balances under it."""
    totals = count_balances(entries)
    order = order_balances(totals)
    leaves = [hash_balance(account, unit, totals[account, unit]) for account, unit in order]
    summary = DaySummary(
        ledger,
        DAY - 1,
        1,
        len(entries),
        compute_tree_root([entry.hash for entry in entries]),
        len(leaves),
        compute_tree_root(leaves),
        entries[-1].hash,
    )
    tree = build_tree(b"".join(leaves))
    found: dict[str, Any] = {"day": summary.day}
    for unit in Unit:
        index = order.index((ACCOUNT, unit))
        proof = BalanceProof(summary, ACCOUNT, unit, totals[ACCOUNT, unit], index, tree.path(index))
        found[unit.name.lower()] = show_proof(proof)
    return summary, found
