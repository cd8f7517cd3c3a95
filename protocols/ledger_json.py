"""Entries, days and proofs of a ZeroNode ledger as JSON documents, and reading proofs back.

Byte strings are lower-case hexadecimal. A proof carries the root that it leads to for convenience
only: whoever checks it takes the root from the chain.
"""

from collections.abc import Mapping
from typing import Any, Final

from protocols.errors import LocalError, MalformedError
from protocols.ledger_records import (
    MAX_AMOUNT,
    MAX_LINES,
    BalanceProof,
    DaySummary,
    Entry,
    EntryProof,
    Line,
    Transfer,
    Unit,
    compute_day_root,
    order_transfer,
)
from protocols.merkle import DIGEST_BYTES
from protocols.types import Digest

MAX_PATH: Final = 64
"""Siblings in a path: no tree has more than 2^63 leaves."""


def show_entry(entry: Entry) -> dict[str, Any]:
    """Document of an entry."""
    return {
        "number": entry.number,
        "at_ms": entry.at_ms,
        "previous": entry.previous.hex(),
        "key": entry.transfer.key,
        "kind": entry.transfer.kind,
        "note": entry.transfer.note,
        "lines": [
            {"account": line.account, "unit": int(line.unit), "amount": line.amount}
            for line in entry.transfer.lines
        ],
        "hash": entry.hash.hex(),
    }


def show_summary(summary: DaySummary) -> dict[str, Any]:
    """Document of what a day's root is computed from."""
    return {
        "ledger": summary.ledger.hex(),
        "day": summary.day,
        "first": summary.first,
        "entries": summary.entries,
        "entries_root": summary.entries_root.hex(),
        "balances": summary.balances,
        "balances_root": summary.balances_root.hex(),
        "head": summary.head.hex(),
    }


def show_proof(proof: EntryProof | BalanceProof) -> dict[str, Any]:
    """Document of a proof; `parse_proof` reads it."""
    path = [
        proof.path[start : start + DIGEST_BYTES].hex()
        for start in range(0, len(proof.path), DIGEST_BYTES)
    ]
    shown: dict[str, Any] = {
        "root": compute_day_root(proof.summary).hex(),
        "summary": show_summary(proof.summary),
        "path": path,
    }
    if isinstance(proof, EntryProof):
        return shown | {"entry": show_entry(proof.entry)}
    return shown | {
        "balance": {
            "account": proof.account,
            "unit": int(proof.unit),
            "balance": proof.balance,
            "index": proof.index,
        }
    }


def parse_proof(document: object) -> EntryProof | BalanceProof:
    """Read a proof. MalformedError when it is none; `root` is not looked at.

    Whether it holds is for `verify_entry_proof` and `verify_balance_proof`.
    """
    fields = _Fields("proof", document)
    summary = _parse_summary(_Fields("summary", fields.take("summary")))
    siblings = fields.take("path")
    if not isinstance(siblings, list) or len(siblings) > MAX_PATH:
        raise MalformedError("bad ledger proof", f"path: expected at most {MAX_PATH} digests")
    path = b"".join(_read_digest("path", each) for each in siblings)
    fields.take("root")
    if "entry" in fields.left:
        entry = _parse_entry(_Fields("entry", fields.take("entry")))
        fields.end()
        return EntryProof(summary, entry, path)
    balance = _Fields("balance", fields.take("balance"))
    fields.end()
    proof = BalanceProof(
        summary,
        balance.text("account"),
        _read_unit(balance.take("unit")),
        balance.integer("balance", -MAX_AMOUNT),
        balance.integer("index"),
        path,
    )
    balance.end()
    return proof


class _Fields:
    """The members of an object, each taken exactly once."""

    def __init__(self, name: str, document: object) -> None:
        if not isinstance(document, Mapping):
            raise MalformedError("bad ledger proof", f"{name}: expected an object")
        self._name = name
        self.left = dict(document)

    def take(self, field: str) -> object:
        if field not in self.left:
            raise MalformedError("bad ledger proof", f"{self._name}: no {field}")
        return self.left.pop(field)

    def integer(self, field: str, minimum: int = 0) -> int:
        value = self.take(field)
        if type(value) is not int or not minimum <= value <= MAX_AMOUNT:
            raise MalformedError("bad ledger proof", f"{field}: expected {minimum} … {MAX_AMOUNT}")
        return value

    def text(self, field: str) -> str:
        value = self.take(field)
        if not isinstance(value, str) or not value.isascii() or len(value) > MAX_LINES:
            raise MalformedError("bad ledger proof", f"{field}: expected short ASCII text")
        return value

    def digest(self, field: str) -> Digest:
        return _read_digest(field, self.take(field))

    def end(self) -> None:
        if self.left:
            raise MalformedError("bad ledger proof", f"{self._name}: unknown {min(self.left)!r}")


def _parse_summary(fields: _Fields) -> DaySummary:
    summary = DaySummary(
        ledger=fields.digest("ledger"),
        day=fields.integer("day"),
        first=fields.integer("first"),
        entries=fields.integer("entries"),
        entries_root=fields.digest("entries_root"),
        balances=fields.integer("balances"),
        balances_root=fields.digest("balances_root"),
        head=fields.digest("head"),
    )
    fields.end()
    return summary


def _parse_entry(fields: _Fields) -> Entry:
    lines = fields.take("lines")
    if not isinstance(lines, list) or len(lines) > MAX_LINES:
        raise MalformedError("bad ledger proof", f"lines: expected at most {MAX_LINES}")
    transfer = Transfer(
        fields.text("key"),
        fields.text("kind"),
        tuple(_parse_line(_Fields("line", each)) for each in lines),
        fields.text("note"),
    )
    entry = Entry(
        fields.integer("number"),
        fields.integer("at_ms"),
        fields.digest("previous"),
        transfer,
        fields.digest("hash"),
    )
    fields.end()
    try:
        ordered = order_transfer(transfer)
    except LocalError as error:
        raise MalformedError("bad ledger proof", str(error)) from error
    if ordered != transfer:
        raise MalformedError("bad ledger proof", "lines: not in order")
    return entry


def _parse_line(fields: _Fields) -> Line:
    line = Line(
        fields.text("account"),
        _read_unit(fields.take("unit")),
        fields.integer("amount", -MAX_AMOUNT),
    )
    fields.end()
    return line


def _read_unit(value: object) -> Unit:
    if type(value) is not int or value not in Unit.__members__.values():
        raise MalformedError("bad ledger proof", "unit: expected 1 or 2")
    return Unit(value)


def _read_digest(field: str, value: object) -> Digest:
    if (
        not isinstance(value, str)
        or len(value) != 2 * DIGEST_BYTES
        or set(value) - set("0123456789abcdef")
    ):
        raise MalformedError("bad ledger proof", f"{field}: expected 64 hexadecimal digits")
    return Digest(bytes.fromhex(value))
