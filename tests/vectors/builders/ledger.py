"""tests/vectors/ledger: a small ledger, byte for byte, and proofs of what is in it."""

from hashlib import sha256
from typing import Any

NETWORK = sha256(b"network of the ledger vectors").digest()
SERVICE = sha256(b"service of the ledger vectors").digest()
LEDGER = sha256(b"kaisar/zeronode-ledger/1" + NETWORK + SERVICE).digest()

ALICE = "user:0x" + sha256(b"alice").hexdigest()[:40]
BOB = "user:0x" + sha256(b"bob").hexdigest()[:40]
POINTS, TICKETS = 1, 2

Move = tuple[str, int, int]

TRANSFERS: list[tuple[str, str, str, list[Move]]] = [
    (
        "uptime:a:20000",
        "uptime",
        "",
        [(ALICE, POINTS, 864_000), ("issue:uptime", POINTS, -864_000)],
    ),
    ("ref:a:20000", "referral", "", [("issue:referral", POINTS, -86_400), (BOB, POINTS, 86_400)]),
    (
        "burn:a:1",
        "burn",
        "one ticket",
        [
            (ALICE, POINTS, -864_000),
            ("burn:points", POINTS, 864_000),
            (ALICE, TICKETS, 1),
            ("issue:burn", TICKETS, -1),
        ],
    ),
    ("draw:weekly-1:a", "draw", "", [("draw:weekly-1", TICKETS, 1), (ALICE, TICKETS, -1)]),
    (
        "refticket:a",
        "referral",
        "",
        [("issue:referral", TICKETS, -2), (ALICE, TICKETS, 1), (BOB, TICKETS, 1)],
    ),
    (
        "departure:b",
        "moved",
        "~",
        [(BOB, POINTS, -86_400), (f"moved:{SERVICE.hex()}", POINTS, 86_400)],
    ),
]

ENDS = {20_000: 2, 20_001: 2, 20_005: 6}
"""Closed day → number of the last entry before it was closed."""


def entries() -> dict[str, Any]:
    """The chain: each entry's fields, bytes and hash."""
    return {
        "network": NETWORK.hex(),
        "service": SERVICE.hex(),
        "ledger": LEDGER.hex(),
        "entries": _chain(),
    }


def days() -> list[dict[str, Any]]:
    """Each closed day with all that its root binds, and the proof of everything under it."""
    chain = _chain()
    first = 1
    made = []
    for day, last in ENDS.items():
        leaves = [bytes.fromhex(entry["hash"]) for entry in chain[first - 1 : last]]
        totals: dict[tuple[str, int], int] = {}
        for entry in chain[:last]:
            for line in entry["lines"]:
                key = line["account"], line["unit"]
                totals[key] = totals.get(key, 0) + line["amount"]
        ordered = sorted(totals, key=lambda key: (key[0].encode(), key[1]))
        balance_leaves = [
            sha256(
                b"kaisar/zeronode-balance/1"
                + _text(account)
                + bytes([unit])
                + totals[account, unit].to_bytes(8, "big", signed=True)
            ).digest()
            for account, unit in ordered
        ]
        summary = {
            "ledger": LEDGER.hex(),
            "day": day,
            "first": first,
            "entries": len(leaves),
            "entries_root": _root(leaves).hex(),
            "balances": len(ordered),
            "balances_root": _root(balance_leaves).hex(),
            "head": chain[last - 1]["hash"],
        }
        root = sha256(
            b"kaisar/zeronode-day/1"
            + LEDGER
            + day.to_bytes(8, "big")
            + first.to_bytes(8, "big")
            + len(leaves).to_bytes(8, "big")
            + _root(leaves)
            + len(ordered).to_bytes(8, "big")
            + _root(balance_leaves)
            + bytes.fromhex(chain[last - 1]["hash"])
        ).hexdigest()
        common = {"root": root, "summary": summary}
        proofs: list[dict[str, Any]] = []
        for index in range(len(leaves)):
            path = [each.hex() for each in _path(leaves, index)]
            entry = {k: v for k, v in chain[first - 1 + index].items() if k != "encoded"}
            proofs.append(common | {"path": path, "entry": entry})
        for index, (account, unit) in enumerate(ordered):
            path = [each.hex() for each in _path(balance_leaves, index)]
            balance = {
                "account": account,
                "unit": unit,
                "balance": totals[account, unit],
                "index": index,
            }
            proofs.append(common | {"path": path, "balance": balance})
        made.append({"day": day, "root": root, "summary": summary, "proofs": proofs})
        first = last + 1
    return made


def _chain() -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    previous = LEDGER
    for number, (key, kind, note, moves) in enumerate(TRANSFERS, start=1):
        at_ms = 1_728_000_000_000 + number
        ordered = sorted(moves, key=lambda move: (move[0].encode(), move[1]))
        encoded = number.to_bytes(8, "big") + at_ms.to_bytes(8, "big") + previous
        encoded += _text(key) + _text(kind) + _text(note) + len(ordered).to_bytes(2, "big")
        for account, unit, amount in ordered:
            encoded += _text(account) + bytes([unit]) + amount.to_bytes(8, "big", signed=True)
        digest = sha256(b"kaisar/zeronode-entry/1" + encoded).digest()
        made.append(
            {
                "number": number,
                "at_ms": at_ms,
                "previous": previous.hex(),
                "key": key,
                "kind": kind,
                "note": note,
                "lines": [
                    {"account": account, "unit": unit, "amount": amount}
                    for account, unit, amount in ordered
                ],
                "hash": digest.hex(),
                "encoded": encoded.hex(),
            }
        )
        previous = digest
    return made


def _text(text: str) -> bytes:
    return len(text).to_bytes(2, "big") + text.encode("ascii")


def _half(count: int) -> int:
    """Largest power of two below `count`."""
    return 1 << (count - 1).bit_length() - 1


def _root(leaves: list[bytes]) -> bytes:
    if not leaves:
        return bytes(32)
    if len(leaves) == 1:
        return leaves[0]
    half = _half(len(leaves))
    return sha256(b"kaisar/merkle-node/1" + _root(leaves[:half]) + _root(leaves[half:])).digest()


def _path(leaves: list[bytes], index: int) -> list[bytes]:
    if len(leaves) == 1:
        return []
    half = _half(len(leaves))
    if index < half:
        return [*_path(leaves[:half], index), _root(leaves[half:])]
    return [*_path(leaves[half:], index - half), _root(leaves[:half])]


FILES = {"ledger/entries.json": entries, "ledger/days.json": days}
