"""ZeroNode's rules a second time, from docs/spec/zeronode.md, sharing no code with them.

Uptime is counted between neighbouring ends of stretches, one piece after another: slow, and so
plain that it can be trusted.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from nacl.signing import SigningKey

from tests.protocols import wire_reference as wire

Pair = tuple[int, int]

RULES: dict[str, dict[str, int]] = {
    "mainnet": {"day_ms": 86_400_000, "join_gap_ms": 90_000, "gate_ms": 21_600_000},
    "minimal": {"day_ms": 60_000, "join_gap_ms": 8_000, "gate_ms": 20_000},
}

TAGS = {
    "hello": b"kaisar/zeronode-hello/1",
    "challenge": b"kaisar/zeronode-challenge/1",
    "beat": b"kaisar/zeronode-beat/1",
    "token": b"kaisar/zeronode-token/1",
    "consent": b"kaisar/zeronode-consent/1",
}

FIELDS = {
    "hello": ("service", "nonce", "boot", "key"),
    "challenge": ("sid", "seq", "nonce", "key"),
    "beat": ("service", "sid", "seq", "nonce", "boot"),
    "token": ("service", "nonce", "key"),
    "consent": ("service", "nonce", "key"),
}
"""What each statement is about, in the order in which it is signed."""

FORMS: dict[str, tuple[int, int, dict[str, str]]] = {
    "ReceiptBatch": (
        40,
        58_256,
        {
            "number": "uint64",
            "sent_ms": "uint64",
            "url": "text[128]",
            "receipts": "bytes[0…32000]",
            "openings": "bytes[0…14000]",
            "moves": "bytes[0…12000]",
        },
    ),
    "Departure": (
        41,
        16_640,
        {
            "wallet": "bytes[20]",
            "destination": "bytes[32]",
            "departed_ms": "uint62",
            "first_day": "uint32",
            "opened_ms": "uint62",
            "points": "uint48",
            "tickets": "uint32",
            "facts": "bytes[0…16384]",
        },
    ),
}
"""Number, cap of the body and fields of each message."""


def signed_bytes(statement: str, network: bytes, fields: Mapping[str, Any]) -> bytes:
    """The exact bytes under a signature."""
    parts = [TAGS[statement], network]
    for name in FIELDS[statement]:
        value = fields[name]
        parts.append(value.to_bytes(4, "big") if name == "seq" else value)
    return b"".join(parts)


def sign(key: SigningKey, statement: str, network: bytes, fields: Mapping[str, Any]) -> bytes:
    """The signature over them."""
    return bytes(key.sign(signed_bytes(statement, network, fields)).signature)


def frame(kind: str, **fields: Any) -> str:
    """A frame's text."""
    shown = {name: v.hex() if isinstance(v, bytes) else v for name, v in fields.items()}
    return json.dumps({"t": kind, **shown}, separators=(",", ":"))


def pieces(stretches: Sequence[Pair], *cuts: int) -> list[Pair]:
    """What is covered, cut at every end of a stretch and at `cuts`."""
    ends = sorted({end for pair in stretches for end in pair} | set(cuts))
    return [
        (a, b)
        for a, b in pairwise(ends)
        if any(start <= a and b <= end for start, end in stretches)
    ]


def count(stretches: Sequence[Pair], since: int, until: int) -> int:
    """Whole seconds of uptime from `since` to `until`."""
    within = [(a, b) for a, b in pieces(stretches, since, until) if since <= a and b <= until]
    return sum(b - a for a, b in within) // 1000


def gate(stretches: Sequence[Pair], rules: str) -> int | None:
    """When a run first had `gate_ms` of uptime."""
    numbers = RULES[rules]
    paid = 0
    before: int | None = None
    for a, b in pieces(stretches):
        if before is None or a - before > numbers["join_gap_ms"]:
            paid = 0
        if paid + b - a >= numbers["gate_ms"]:
            return a + numbers["gate_ms"] - paid
        paid += b - a
        before = b
    return None


def day(
    stretches: Sequence[Pair], number: int, rules: str, linked: int | None, gate_ms: int | None
) -> dict[str, int]:
    """A day's seconds and units."""
    start = number * RULES[rules]["day_ms"]
    end = start + RULES[rules]["day_ms"]

    def since(*moments: int | None) -> int:
        known = [each for each in moments if each is not None]
        if len(known) < len(moments):
            return 0
        return count(stretches, min(max([start, *known]), end), end)

    return {
        "seconds": since(),
        "doubled_seconds": since(linked),
        "referred_seconds": since(gate_ms),
        "referred_doubled_seconds": since(gate_ms, linked),
        "units": 10 * since(),
        "doubled_units": 10 * since(linked),
        "referred_units": since(gate_ms) + since(gate_ms, linked),
    }


def receipt_row(wallet: bytes, start: int, length: int) -> bytes:
    """wallet ‖ start ‖ length."""
    return wallet + start.to_bytes(8, "big") + length.to_bytes(4, "big")


def opening_row(wallet: bytes, opened: int) -> bytes:
    """wallet ‖ opened."""
    return wallet + opened.to_bytes(8, "big")


def move_row(wallet: bytes, destination: bytes, moved: int) -> bytes:
    """wallet ‖ destination ‖ moved."""
    return wallet + destination + moved.to_bytes(8, "big")


def body(message: str, fields: Mapping[str, Any]) -> bytes:
    """A message's body."""
    return wire.pack([fields[name] for name in FORMS[message][2]])


def seal(key: SigningKey, network: bytes, message: str, encoded: bytes) -> bytes:
    """A message's envelope."""
    kind = FORMS[message][0]
    signature = wire.sign(key, kind, network, encoded)
    return wire.pack([1, kind, network, bytes(key.verify_key), encoded, signature])
