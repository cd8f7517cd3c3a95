"""What the books of a ZeroNode service consist of, byte for byte, and how a day of them is bound.

An entry moves whole units between accounts; what its lines take and give adds up to nothing in each
unit. Entries are numbered from 1, and each one's hash covers the hash before it. The root of a day
binds the entries since the root before, the balance of every account and the head of the chain, so
that whoever has the root can be shown any entry and any balance. See docs/spec/zeronode.md.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from protocols.errors import ForgedError, LocalError
from protocols.merkle import build_tree, compute_root_from_path
from protocols.types import Digest, NetworkId, NodeKey, Wallet

MAX_AMOUNT: Final = (1 << 53) - 1
"""Largest amount and balance, either way: what every JSON reader keeps exact."""

MAX_LINES: Final = 256
MAX_KEY: Final = 200
"""Characters of an idempotency key."""
MAX_NOTE: Final = 200
"""Characters of a note."""

NO_ROOT: Final = Digest(bytes(32))
"""Root of a tree without leaves."""

_LEDGER_TAG: Final = b"kaisar/zeronode-ledger/1"
_ENTRY_TAG: Final = b"kaisar/zeronode-entry/1"
_BALANCE_TAG: Final = b"kaisar/zeronode-balance/1"
_DAY_TAG: Final = b"kaisar/zeronode-day/1"

_ACCOUNT: Final = re.compile(
    r"user:0x[0-9a-f]{40}"
    r"|issue:(?:uptime|nft|referral|check-in|mission|campaign|draw|burn)"
    r"|moved:[0-9a-f]{64}"
    r"|burn:points"
    r"|draw:[a-z0-9][a-z0-9.-]{0,63}"
)
_KIND: Final = re.compile(r"[a-z][a-z-]{0,31}")
_KEY: Final = re.compile(rf"[!-~]{{1,{MAX_KEY}}}")
_NOTE: Final = re.compile(rf"[ -~]{{0,{MAX_NOTE}}}")


class Unit(IntEnum):
    """What is counted."""

    POINTS = 1
    """1/2880 of a point."""
    TICKETS = 2


@dataclass(frozen=True, slots=True)
class Line:
    """`amount` of `unit` into `account`, or out of it where it is negative. Never 0."""

    account: str
    unit: Unit
    amount: int


@dataclass(frozen=True, slots=True)
class Transfer:
    """What somebody wants booked, once per `key` and for good."""

    key: str
    kind: str
    lines: tuple[Line, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A transfer in its place in the books. Its lines are in order."""

    number: int
    at_ms: int
    previous: Digest
    """Hash of the entry before; of the first one, the ledger's id."""
    transfer: Transfer
    hash: Digest


@dataclass(frozen=True, slots=True)
class DaySummary:
    """What the root of a day is computed from."""

    ledger: Digest
    day: int
    first: int
    """Number of the first entry under this root; one more than the last under the root before."""
    entries: int
    entries_root: Digest
    balances: int
    """Number of (account, unit) that any entry up to here has touched."""
    balances_root: Digest
    head: Digest
    """Hash of the last entry up to here; without any, the ledger's id."""


@dataclass(frozen=True, slots=True)
class EntryProof:
    """Shows that an entry is among those of a day."""

    summary: DaySummary
    entry: Entry
    path: bytes


@dataclass(frozen=True, slots=True)
class BalanceProof:
    """Shows what an account had when a day was closed."""

    summary: DaySummary
    account: str
    unit: Unit
    balance: int
    index: int
    path: bytes


def user_account(wallet: Wallet) -> str:
    """Name of a wallet's account."""
    return f"user:0x{wallet.hex()}"


def moved_account(service: NodeKey) -> str:
    """Name of the account through which balances leave for `service` and come from it."""
    return f"moved:{service.hex()}"


def draw_account(draw: str) -> str:
    """Name of the account that holds the tickets in a draw."""
    return f"draw:{draw}"


def may_be_negative(account: str) -> bool:
    """Tell whether an account may owe: only those from which units come into these books."""
    return account.startswith(("issue:", "moved:"))


def compute_ledger_id(network: NetworkId, service: NodeKey) -> Digest:
    """What stands before the first entry: the books of one service on one network."""
    return Digest(hashlib.sha256(_LEDGER_TAG + network + service).digest())


def order_transfer(transfer: Transfer) -> Transfer:
    """Return `transfer` with its lines in order.

    Raises LocalError unless every name and amount is as the specification says, no account has two
    lines of one unit, and the lines of each unit add up to nothing.
    """
    _require(_KEY, "key", transfer.key)
    _require(_KIND, "kind", transfer.kind)
    _require(_NOTE, "note", transfer.note)
    if not 2 <= len(transfer.lines) <= MAX_LINES:
        raise LocalError(
            f"{transfer.key}: found {len(transfer.lines)} lines, expected 2 … {MAX_LINES}"
        )
    sums = dict.fromkeys(Unit, 0)
    for line in transfer.lines:
        _require(_ACCOUNT, "account", line.account)
        if not 0 < abs(line.amount) <= MAX_AMOUNT:
            raise LocalError(f"{transfer.key}: found an amount of {line.amount}")
        sums[line.unit] += line.amount
    if any(sums.values()):
        raise LocalError(f"{transfer.key}: its lines do not add up to nothing")
    ordered = tuple(sorted(transfer.lines, key=lambda line: (line.account, line.unit)))
    if len({(line.account, line.unit) for line in ordered}) != len(ordered):
        raise LocalError(f"{transfer.key}: two lines of one account and unit")
    return Transfer(transfer.key, transfer.kind, ordered, transfer.note)


def make_entry(number: int, at_ms: int, previous: Digest, transfer: Transfer) -> Entry:
    """Put a transfer that `order_transfer` returned into its place."""
    digest = hashlib.sha256(_ENTRY_TAG + encode_entry(number, at_ms, previous, transfer)).digest()
    return Entry(number, at_ms, previous, transfer, Digest(digest))


def encode_entry(number: int, at_ms: int, previous: Digest, transfer: Transfer) -> bytes:
    """Canonical bytes of an entry."""
    parts = [
        number.to_bytes(8, "big"),
        at_ms.to_bytes(8, "big"),
        previous,
        _encode_text(transfer.key),
        _encode_text(transfer.kind),
        _encode_text(transfer.note),
        len(transfer.lines).to_bytes(2, "big"),
    ]
    for line in transfer.lines:
        parts.append(_encode_text(line.account))
        parts.append(line.unit.to_bytes(1, "big"))
        parts.append(line.amount.to_bytes(8, "big", signed=True))
    return b"".join(parts)


def hash_balance(account: str, unit: Unit, balance: int) -> Digest:
    """Leaf of a balance in the tree of a day."""
    body = _encode_text(account) + unit.to_bytes(1, "big") + balance.to_bytes(8, "big", signed=True)
    return Digest(hashlib.sha256(_BALANCE_TAG + body).digest())


def order_balances(keys: Iterable[tuple[str, Unit]]) -> list[tuple[str, Unit]]:
    """Order in which balances stand in the tree: by account as bytes, then by unit."""
    return sorted(keys)


def compute_tree_root(leaves: Sequence[Digest]) -> Digest:
    """Root over `leaves`; NO_ROOT where there is none."""
    return Digest(build_tree(b"".join(leaves)).root) if leaves else NO_ROOT


def compute_day_root(summary: DaySummary) -> Digest:
    """Bind all of a day in 32 bytes: what is anchored on the chain."""
    return Digest(
        hashlib.sha256(
            _DAY_TAG
            + summary.ledger
            + summary.day.to_bytes(8, "big")
            + summary.first.to_bytes(8, "big")
            + summary.entries.to_bytes(8, "big")
            + summary.entries_root
            + summary.balances.to_bytes(8, "big")
            + summary.balances_root
            + summary.head
        ).digest()
    )


def verify_entry_proof(proof: EntryProof, root: Digest) -> None:
    """Raise ForgedError unless the entry is under the day's `root`, as it stands in the proof."""
    _verify_summary(proof.summary, root)
    entry = proof.entry
    index = entry.number - proof.summary.first
    if not 0 <= index < proof.summary.entries:
        raise ForgedError("entry outside the day", f"entry {entry.number}")
    made = make_entry(entry.number, entry.at_ms, entry.previous, entry.transfer)
    found = compute_root_from_path(made.hash, index, proof.summary.entries, proof.path)
    if found != proof.summary.entries_root:
        raise ForgedError("entry not under the root", f"entry {entry.number}")


def verify_balance_proof(proof: BalanceProof, root: Digest) -> None:
    """Raise ForgedError unless the balance is under the day's `root`."""
    _verify_summary(proof.summary, root)
    if not 0 <= proof.index < proof.summary.balances:
        raise ForgedError("balance outside the day", f"balance {proof.index}")
    leaf = hash_balance(proof.account, proof.unit, proof.balance)
    found = compute_root_from_path(leaf, proof.index, proof.summary.balances, proof.path)
    if found != proof.summary.balances_root:
        raise ForgedError("balance not under the root", proof.account)


def _verify_summary(summary: DaySummary, root: Digest) -> None:
    if compute_day_root(summary) != root:
        raise ForgedError("day not under the root", f"day {summary.day}")


def _require(pattern: re.Pattern[str], name: str, found: str) -> None:
    if not pattern.fullmatch(found):
        raise LocalError(f"{name} of a transfer: found {found[:MAX_KEY]!r}")


def _encode_text(text: str) -> bytes:
    body = text.encode("ascii")
    return len(body).to_bytes(2, "big") + body
