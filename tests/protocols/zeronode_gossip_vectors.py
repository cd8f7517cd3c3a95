"""The gossip half of tests/vectors/zeronode: receipt batches and departures."""

from typing import Any

from tests.protocols import wire_reference as wire
from tests.protocols import zeronode_reference as ref
from tests.protocols.compute_vectors import Case
from tests.vectors.builders.actors import NETWORK, OTHER_NETWORK, node, secret

DAY = 86_400_000
NOW = 20_000 * DAY + 12 * 3_600_000
OLDEST = NOW - 2 * DAY

LISTED = ("service", "other service")
LOW, HIGH = bytes(20), b"\xff" * 20
OTHER = bytes(node("other service").verify_key)

FIELDS: dict[str, Any] = {
    "number": 5,
    "sent_ms": NOW,
    "url": "https://zeronode.example",
    "receipts": ref.receipt_row(LOW, NOW - 60_000, 30_000)
    + ref.receipt_row(LOW, NOW - 30_000, 30_000)
    + ref.receipt_row(HIGH, NOW - 50_000, 1),
    "openings": ref.opening_row(LOW, NOW - 7) + ref.opening_row(HIGH, NOW),
    "moves": ref.move_row(HIGH, OTHER, NOW - 1),
}

EMPTY = {"number": 0, "sent_ms": NOW, "url": "", "receipts": b"", "openings": b"", "moves": b""}


def batch(by: str = "service", network: bytes = NETWORK, **change: Any) -> bytes:
    """A sealed batch with something changed."""
    encoded = ref.body("ReceiptBatch", {**FIELDS, **change})
    return ref.seal(node(by), network, "ReceiptBatch", encoded)


def receipts(*rows: tuple[bytes, int, int]) -> bytes:
    """Rows, their times from NOW."""
    return b"".join(ref.receipt_row(who, NOW + start, length) for who, start, length in rows)


def openings(*rows: tuple[bytes, int]) -> bytes:
    """Likewise of openings."""
    return b"".join(ref.opening_row(who, NOW + opened) for who, opened in rows)


def moves(*rows: tuple[bytes, int]) -> bytes:
    """Likewise of moves to the other service."""
    return b"".join(ref.move_row(who, OTHER, NOW + moved) for who, moved in rows)


def _wallet(number: int) -> bytes:
    return number.to_bytes(20, "big")


FULL: dict[str, Any] = {
    "number": NOW,
    "url": "h" * 128,
    "receipts": receipts(*((_wallet(n), -DAY, DAY) for n in range(1_000))),
    "openings": openings(*((_wallet(n), 0) for n in range(500))),
    "moves": moves(*((_wallet(n), 0) for n in range(200))),
}


def case(
    name: str,
    message: bytes,
    expected: str,
    reason: str | None = None,
    *,
    now: int = NOW,
    seen: tuple[tuple[bytes, int], ...] = (),
    highest: dict[str, int] | None = None,
) -> Case:
    """A batch, what was accepted before it, and the judgement."""
    return {
        "name": name,
        "rules": "mainnet",
        "network": NETWORK.hex(),
        "services": [bytes(node(each).verify_key).hex() for each in LISTED],
        "highest": {
            bytes(node(each).verify_key).hex(): number for each, number in (highest or {}).items()
        },
        "seen": [{"message": each.hex(), "now_ms": at} for each, at in seen],
        "message": message.hex(),
        "now_ms": now,
        "expected": expected,
        "reason": reason,
    }


def _reject(name: str, reason: str, **change: Any) -> Case:
    return case(name, batch(**change), "reject", reason)


def _flood(count: int) -> tuple[tuple[bytes, int], ...]:
    return tuple((batch(**{**EMPTY, "number": number}), NOW) for number in range(count))


def _sparse(count: int) -> tuple[bytes, ...]:
    return tuple(batch(**{**EMPTY, "number": 1_000 * number + 1_000}) for number in range(count))


USUAL = batch()
SPOILT = USUAL[:-1] + bytes([USUAL[-1] ^ 1])
NEXT = NOW // 60_000 * 60_000 + 60_000

GOSSIP: list[Case] = [
    case("usual", USUAL, "accept"),
    case("empty", batch(**EMPTY), "accept"),
    case("full", batch(**FULL), "accept"),
    case("as old as may be", batch(receipts=receipts((LOW, -2 * DAY, DAY))), "accept"),
    case("at the end of its life", USUAL, "accept", now=NOW + 120_000),
    case("from a clock that is ahead", USUAL, "accept", now=NOW - 500),
    case(
        "of another service with the number",
        batch("other service", moves=b""),
        "accept",
        seen=((USUAL, NOW),),
    ),
    case("overtaken", batch(number=5), "accept", seen=((batch(number=NOW), NOW),)),
    case(
        "overtaken by 63",
        batch(number=6),
        "accept",
        seen=tuple((each, NOW) for each in _sparse(63)),
    ),
    case("after a restart", batch(number=6), "accept", highest={"service": 5}),
    case(
        "in the next minute",
        batch(**{**EMPTY, "number": 120, "sent_ms": NEXT}),
        "accept",
        now=NEXT,
        seen=_flood(120),
    ),
    case("of no listed service", batch("somebody"), "ignore", "unknown service"),
    case("from the future", USUAL, "ignore", "from the future", now=NOW - 501),
    case("stale", USUAL, "ignore", "stale", now=NOW + 120_001),
    case("twice", USUAL, "ignore", "seen before", seen=((USUAL, NOW),)),
    case(
        "another one with the number", batch(url=""), "ignore", "equivocation", seen=((USUAL, NOW),)
    ),
    case(
        "overtaken by 64",
        batch(number=6),
        "ignore",
        "old number",
        seen=tuple((each, NOW) for each in (batch(number=7), *_sparse(64))),
    ),
    case("replayed after a restart", USUAL, "ignore", "old number", highest={"service": 5}),
    case(
        "one too many",
        batch(**{**EMPTY, "number": 120}),
        "ignore",
        "too frequent",
        seen=_flood(120),
    ),
    case("with a signature that is none", SPOILT, "reject", "bad node signature"),
    case("of another network", batch(network=OTHER_NETWORK), "reject", "wrong network"),
    case(
        "of another kind",
        ref.seal(node("service"), NETWORK, "Departure", ref.body("ReceiptBatch", FIELDS)),
        "reject",
        "wrong kind",
    ),
    case("too long", batch(**FULL) + bytes(700), "reject", "oversized"),
    _reject("a number above its time", "number ahead of time", number=NOW + 1),
    _reject("the largest number", "number ahead of time", number=(1 << 64) - 1),
    _reject("a receipt that is cut", "incomplete row", receipts=FIELDS["receipts"][:-1]),
    _reject("an opening that is cut", "incomplete row", openings=FIELDS["openings"][:-1]),
    _reject("a move that is cut", "incomplete row", moves=FIELDS["moves"][:-1]),
    _reject("an empty receipt", "bad receipt", receipts=receipts((LOW, -5, 0))),
    _reject(
        "a receipt beyond all time", "bad receipt", receipts=ref.receipt_row(LOW, (1 << 62) - 1, 1)
    ),
    _reject("an opening beyond all time", "bad opening", openings=ref.opening_row(LOW, 1 << 62)),
    _reject("a move beyond all time", "bad move", moves=ref.move_row(LOW, OTHER, 1 << 62)),
    _reject("a receipt that goes on", "receipt from the future", receipts=receipts((LOW, -5, 6))),
    _reject("a receipt of tomorrow", "receipt from the future", receipts=receipts((LOW, DAY, 6))),
    _reject("a receipt too old", "receipt too old", receipts=receipts((LOW, -2 * DAY - 1, 9))),
    _reject(
        "a receipt too long",
        "receipt longer than a day",
        receipts=receipts((LOW, -DAY - 1, DAY + 1)),
    ),
    _reject(
        "overlapping receipts",
        "receipts out of order",
        receipts=receipts((LOW, -9, 5), (LOW, -5, 1)),
    ),
    _reject("a receipt twice", "receipts out of order", receipts=receipts((LOW, -9, 5)) * 2),
    _reject(
        "receipts the later first",
        "receipts out of order",
        receipts=receipts((LOW, -4, 1), (LOW, -9, 1)),
    ),
    _reject(
        "receipts by wallet downwards",
        "receipts out of order",
        receipts=receipts((HIGH, -9, 5), (LOW, -9, 5)),
    ),
    _reject("an opening to come", "row from the future", openings=openings((LOW, 1))),
    _reject("a move to come", "row from the future", moves=moves((LOW, 1))),
    _reject("openings out of order", "rows out of order", openings=openings((HIGH, 0), (LOW, 0))),
    _reject("an opening twice", "rows out of order", openings=openings((LOW, -1), (LOW, 0))),
    _reject("moves out of order", "rows out of order", moves=moves((HIGH, 0), (LOW, 0))),
    _reject(
        "a move to itself",
        "moved to itself",
        moves=ref.move_row(LOW, bytes(node("service").verify_key), NOW),
    ),
    _reject("an address for people", "bad field", url="https://zeronode.example/\n"),
]

DEPARTURE: dict[str, Any] = {
    "wallet": secret("wallet")[:20],
    "destination": OTHER,
    "departed_ms": NOW,
    "first_day": 20_001,
    "opened_ms": NOW - 9 * DAY,
    "points": 123_456_789,
    "tickets": 4,
    "facts": b'{"streak":{"days":3,"last_day":20000}}',
}


def departure(by: str = "service", network: bytes = NETWORK, **change: Any) -> bytes:
    """A sealed departure with something changed."""
    encoded = ref.body("Departure", {**DEPARTURE, **change})
    return ref.seal(node(by), network, "Departure", encoded)


def leave(name: str, message: bytes, reason: str | None, now: int = NOW) -> Case:
    """A departure as the other service finds it."""
    return {
        "name": name,
        "rules": "mainnet",
        "network": NETWORK.hex(),
        "services": [bytes(node(each).verify_key).hex() for each in LISTED],
        "own": OTHER.hex(),
        "message": message.hex(),
        "now_ms": now,
        "reason": reason,
    }


DEPARTURES: list[Case] = [
    leave("usual", departure(), None),
    leave("of the same day", departure(first_day=20_000), None),
    leave("from a clock that is ahead", departure(), None, now=NOW - 500),
    leave("opened as it left", departure(opened_ms=NOW), None),
    leave("years later", departure(), None, now=NOW + 999 * DAY),
    leave("of no listed service", departure("somebody"), "not another listed service"),
    leave("by the destination", departure("other service"), "not another listed service"),
    leave("for another", departure(destination=secret("elsewhere")), "for another service"),
    leave("from the future", departure(), "departure from the future", now=NOW - 501),
    leave("opened after it left", departure(opened_ms=NOW + 1), "bad departure"),
    leave("days that were booked", departure(first_day=19_999), "bad departure"),
    leave("days that nobody books", departure(first_day=20_002), "bad departure"),
    leave("of another network", departure(network=OTHER_NETWORK), "wrong network"),
    leave("a batch", USUAL, "wrong kind"),
    leave("too many points", departure(points=1 << 48), "bad field"),
]

MESSAGES: list[Case] = [
    {
        "message": message,
        "kind": ref.FORMS[message][0],
        "max_bytes": ref.FORMS[message][1],
        "fields": {
            name: v.hex() if isinstance(v, bytes) else (v if isinstance(v, str) else str(v))
            for name, v in fields.items()
        },
        "body": ref.body(message, fields).hex(),
        "digest": wire.message_digest(ref.body(message, fields)).hex(),
    }
    for message, fields in (
        ("ReceiptBatch", FIELDS),
        ("ReceiptBatch", EMPTY),
        ("Departure", DEPARTURE),
    )
]
