"""tests/vectors/leases: offers, money, what a leased provider scores, frames of a stream."""

import json
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from tests.protocols import wire_reference as ref
from tests.vectors.builders.actors import secret, wallet

TOKEN = 10**18
PRICE = TOKEN // 3600
"""One token an hour, rounded down."""

HOUR = 3600
STARTED = 1_700_010_000

Fields = dict[str, Any]

# Money


def settle(lease: Fields) -> Fields:
    """Docs/spec/leases.md once more, in exact numbers."""
    price, fee_bps, seconds = lease["price"], lease["fee_bps"], lease["seconds"]
    used = min(lease["ended_at"] - STARTED, seconds)
    early = lease["ended_by_provider"] and used < seconds
    charged = used - lease["away"]
    if not early and lease["away"] == 0 and charged < lease["minimum_seconds"]:
        charged = min(lease["minimum_seconds"], seconds)
    paid = charged * price
    escrow = seconds * price + _share(seconds * price, fee_bps)
    penalty = lease["bond"] if early or lease["gone"] else 0
    return {
        "escrow": escrow,
        "charged_seconds": charged,
        "paid": paid,
        "fee": _share(paid, fee_bps),
        "refund": escrow - paid - _share(paid, fee_bps) + penalty,
        "bond_back": lease["bond"] - penalty,
        "penalty": penalty,
    }


def _share(amount: int, bps: int) -> int:
    return (Fraction(bps, 10_000) * amount).__floor__()


def settlements() -> list[Fields]:
    """How leases end."""
    usual: Fields = {
        "seconds": 10 * HOUR,
        "price": PRICE,
        "minimum_seconds": HOUR,
        "fee_bps": 500,
        "bond": PRICE * HOUR,
        "ended_at": STARTED + 10 * HOUR,
        "ended_by_provider": False,
        "away": 0,
        "gone": False,
    }
    cases: list[tuple[str, Fields]] = [
        ("to_its_end", {}),
        ("settled_long_after", {"ended_at": STARTED + 1000 * HOUR}),
        ("half_way_by_renter", {"ended_at": STARTED + 5 * HOUR}),
        ("before_the_minimum_by_renter", {"ended_at": STARTED + 60}),
        ("at_once_by_renter", {"ended_at": STARTED}),
        ("at_once_and_away", {"ended_at": STARTED + 60, "away": 60, "gone": True}),
        ("minimum_is_longer", {"seconds": 100, "ended_at": STARTED + 10}),
        ("half_way_by_provider", {"ended_at": STARTED + 5 * HOUR, "ended_by_provider": True}),
        ("at_once_by_provider", {"ended_at": STARTED, "ended_by_provider": True}),
        ("by_provider_at_its_end", {"ended_by_provider": True}),
        ("away_in_between", {"away": HOUR}),
        ("away_at_the_end", {"away": HOUR, "gone": True}),
        ("away_all_the_time", {"away": 10 * HOUR, "gone": True}),
        ("away_and_ended_by_renter", {"ended_at": STARTED + 2 * HOUR, "away": HOUR, "gone": True}),
        (
            "away_and_ended_by_provider",
            {"ended_at": STARTED + 2 * HOUR, "away": HOUR, "ended_by_provider": True},
        ),
        ("for_nothing", {"price": 0, "bond": 0}),
        ("no_fee", {"fee_bps": 0}),
        ("fee_rounds_down", {"price": 1, "seconds": 39, "ended_at": STARTED + 39, "bond": 3}),
        ("extended", {"seconds": 20 * HOUR, "ended_at": STARTED + 20 * HOUR}),
    ]
    shown = []
    for name, change in cases:
        lease = {**usual, **change}
        shown.append(
            {
                "name": name,
                **{key: _shown(value) for key, value in lease.items()},
                "started_at": STARTED,
                "settled": {key: _shown(value) for key, value in settle(lease).items()},
            }
        )
    return shown


def _shown(value: int | bool) -> int | bool | str:
    return value if isinstance(value, bool) or value < 2**32 else str(value)


# Scores

GENESIS = 1_700_000_000
NUMBERS = {
    "epoch_seconds": 3600,
    "draw_ms": 60_000,
    "transfer_ms": 300_000,
    "check_ms": 2_400_000,
    "seats": 4,
    "rank_delay_ms": 28_000,
    "provider_pool": 3600 * TOKEN,
    "era_epochs": 33,
}
EPOCH = 100
SEAT = 1
PROVIDER = 7


def slot(seat: int = SEAT, epoch: int = EPOCH) -> tuple[int, int]:
    """Start and end of a slot, Unix milliseconds."""
    first = GENESIS * 1000 + epoch * 3_600_000 + 360_000
    return first + seat * 600_000, first + (seat + 1) * 600_000


def score(lease: Fields, epoch: int) -> int:
    """What the lease is worth in an excused epoch."""
    era = lease["base_epoch"] // NUMBERS["era_epochs"]
    pool = NUMBERS["provider_pool"] * [15, 13, 11, 0][min(era, 3)] // 15
    begin = GENESIS + (epoch - 1) * 3600
    end = lease["ended_at"] or lease["started_at"] + lease["seconds"]
    overlap = max(0, min(end, begin + 3600) - max(lease["started_at"], begin)) if epoch else 0
    fee = _share(overlap * lease["price"], lease["fee_bps"])
    points = (Fraction(fee * lease["base_total"], pool)).__floor__() if pool else 0
    fresh = lease["base_score"] if epoch - lease["base_epoch"] <= 2 else 0
    return min(32_767, max(fresh, min(4 * lease["base_score"], points)))


def scores() -> Fields:
    """Leases that excuse a provider and what they are worth, and leases that do not."""
    start, end = slot()
    usual: Fields = {
        "state": 2,
        "provider": PROVIDER,
        "provider_wallet": wallet("provider"),
        "started_at": GENESIS + 90 * 3600,
        "ended_at": 0,
        "seconds": 30 * 3600,
        "price": 20 * TOKEN // 3600,
        "fee_bps": 500,
        "base_epoch": EPOCH - 2,
        "base_score": 3000,
        "base_total": 1_000_000,
    }
    old = {"base_epoch": EPOCH - 3}
    at_once = {"started_at": start // 1000 - 60, "seconds": 3600}
    excused: list[tuple[str, Fields]] = [
        ("fresh", {"base_epoch": EPOCH - 1}),
        ("last_fresh_epoch", {}),
        ("no_longer_fresh", old),
        ("no_longer_fresh_for_next_to_nothing", {**old, "price": 1}),
        ("no_longer_fresh_for_much", {**old, "price": 2000 * TOKEN // 3600}),
        ("fee_is_worth_more_than_fresh", {"price": 200 * TOKEN // 3600}),
        ("four_times_at_most", {"price": 10_000 * TOKEN // 3600}),
        ("clamped", {"base_score": 30_000, "price": 10**6 * TOKEN}),
        ("no_base", {"base_epoch": 0, "base_score": 0, "base_total": 0}),
        ("no_emission_any_more", {"base_epoch": 99, "price": 10_000 * TOKEN // 3600}),
        ("second_era", {"base_epoch": 59}),
        ("in_its_first_epoch", at_once),
        ("in_its_first_epoch_without_fresh", {**at_once, **old}),
        ("half_of_the_epoch_before", {**old, "started_at": GENESIS + 99 * 3600 + 1800}),
        ("no_fee", {**old, "fee_bps": 0}),
        ("ended_after_the_slot", {"state": 3, "ended_at": end // 1000 + 1}),
        ("ended_within_the_slot", {"state": 3, "ended_at": start // 1000 + 1}),
        ("settled_since", {"state": 4, "ended_at": end // 1000 + 1}),
        ("begins_as_late_as_may_be", {"started_at": end // 1000 + 28, "seconds": 3600}),
        ("over_as_early_as_may_be", {"ended_at": start // 1000 - 27}),
        ("over_by_its_time", {"seconds": start // 1000 - 27 - usual["started_at"]}),
    ]
    refused: list[tuple[str, Fields, str]] = [
        ("of_another_provider", {"provider": 8}, "lease of another provider"),
        (
            "of_another_wallet",
            {"provider_wallet": wallet("provider before")},
            "lease of another wallet",
        ),
        ("reserved", {"state": 1, "started_at": 0}, "lease not accepted"),
        ("reclaimed", {"state": 5, "started_at": 0}, "lease not accepted"),
        ("not_begun", {"started_at": end // 1000 + 29}, "lease not begun"),
        ("over", {"seconds": start // 1000 - 28 - usual["started_at"]}, "lease over"),
        ("ended_before", {"state": 3, "ended_at": start // 1000 - 28}, "lease over"),
    ]
    cases = [
        {"name": name, **_lease(usual, change), "score": score({**usual, **change}, EPOCH)}
        for name, change in excused
    ]
    cases += [
        {"name": name, **_lease(usual, change), "reason": reason}
        for name, change, reason in refused
    ]
    cases.append({"name": "unknown", "lease": None, "reason": "no such lease"})
    return {
        "genesis": GENESIS,
        "preset": {name: _shown(value) for name, value in NUMBERS.items()},
        "epoch": EPOCH,
        "seat": SEAT,
        "provider": PROVIDER,
        "wallet": wallet("provider").hex(),
        "cases": cases,
    }


def _lease(usual: Fields, change: Fields) -> Fields:
    fields = {**usual, **change}
    fields["provider_wallet"] = fields["provider_wallet"].hex()
    return {
        "lease": {
            name: value if isinstance(value, str) else _shown(value)
            for name, value in fields.items()
        }
    }


# Frames


def _frame(kind: int, *parts: bytes) -> bytes:
    return bytes([kind]) + b"".join(parts)


def _be(value: int, size: int) -> bytes:
    return value.to_bytes(size, "big", signed=value < 0)


def frames() -> Fields:
    """Frames and what they say; frames that are refused."""
    path, digest = "out/größe.bin".encode(), secret("file")
    valid: list[tuple[str, bytes, Fields]] = [
        ("data", _frame(0, b"abc"), {"payload": b"abc"}),
        ("no_data", _frame(0), {"payload": b""}),
        ("errors", _frame(1, b"\xff\x00"), {"payload": b"\xff\x00"}),
        ("end", _frame(2), {}),
        ("text", _frame(3, "50 % geladen – weiter".encode()), {"text": "50 % geladen – weiter"}),
        ("resize", _frame(4, _be(24, 2), _be(80, 2)), {"rows": 24, "columns": 80}),
        ("signal", _frame(5, _be(15, 1)), {"signal": 15}),
        ("exit", _frame(6, _be(3, 4)), {"status": 3}),
        ("killed", _frame(6, _be(-9, 4)), {"status": -9}),
        (
            "file",
            _frame(7, _be(0o644, 2), _be(209_715_200, 8), path),
            {"mode": 0o644, "size": "209715200", "path": path},
        ),
        (
            "longest_path",
            _frame(7, _be(0o777, 2), _be(0, 8), b"x" * 4096),
            {"mode": 0o777, "size": "0", "path": b"x" * 4096},
        ),
        ("check", _frame(8, digest), {"digest": digest}),
        ("resume", _frame(9, _be(1 << 63, 8)), {"offset": str(1 << 63)}),
        ("done", _frame(10), {}),
        (
            "tree",
            _frame(12, _be(1200, 4), _be(209_715_200, 8), _be(3, 4)),
            {"files": 1200, "size": "209715200", "left_out": 3},
        ),
        ("have", _frame(13, _be(4096, 8), digest), {"offset": "4096", "digest": digest}),
        ("leave", _frame(14), {}),
        (
            "folder",
            _frame(7, _be(0o755, 2), _be(0, 8), b"empty/"),
            {"mode": 0o755, "size": "0", "path": b"empty/"},
        ),
        ("failure", _frame(11, b"no such command"), {"text": "no such command"}),
    ]
    return {
        "valid": [
            {
                "name": name,
                "frame": frame.hex(),
                **{
                    key: value.hex() if isinstance(value, bytes) else value
                    for key, value in fields.items()
                },
            }
            for name, frame, fields in valid
        ],
        "invalid": [
            {"name": name, "frame": frame.hex(), "reason": reason}
            for name, frame, reason in _refused_frames()
        ],
    }


def _refused_frames() -> Iterator[tuple[str, bytes, str]]:
    bad = "bad frame"
    yield "empty", b"", "empty frame"
    yield "unknown", _frame(15), "unknown frame"
    yield "end_with_payload", _frame(2, b"x"), bad
    yield "done_with_payload", _frame(10, b"x"), bad
    yield "leave_with_payload", _frame(14, b"x"), bad
    yield "text_no_utf8", _frame(3, b"\xff"), bad
    yield "failure_no_utf8", _frame(11, b"\xc3"), bad
    for name, kind, size in (
        ("resize", 4, 4),
        ("signal", 5, 1),
        ("exit", 6, 4),
        ("check", 8, 32),
        ("resume", 9, 8),
        ("tree", 12, 16),
        ("have", 13, 40),
    ):
        yield f"{name}_short", _frame(kind, bytes(size - 1)), bad
        yield f"{name}_long", _frame(kind, bytes(size + 1)), bad
    head = _be(0o644, 2) + bytes(8)
    yield "file_short", _frame(7, head[:-1]), bad
    yield "file_without_path", _frame(7, head), bad
    yield "file_with_long_path", _frame(7, head, b"x" * 4097), bad
    yield "file_with_nul", _frame(7, head, b"a\0b"), bad
    yield "file_set_user_id", _frame(7, _be(0o4755, 2), bytes(8), b"a"), bad


# Offers


def capabilities() -> Fields:
    """Documents behind an offer, and what is none."""
    usual: Fields = {
        "version": 1,
        "runner": "bubblewrap",
        "cpu": "AMD EPYC 9654",
        "cores": 16,
        "memory": 64 * 10**9,
        "disk": 200 * 10**9,
        "processes": 1024,
        "network": False,
        "gpus": [{"name": "NVIDIA H100 80GB HBM3", "memory": 85_520_809_984}],
        "templates": [
            {"name": "jupyter", "image": "jupyter", "ports": [8888], "summary": "Notebooks"}
        ],
    }
    gpu, template = usual["gpus"][0], usual["templates"][0]
    valid: list[tuple[str, Fields]] = [
        ("usual", {}),
        ("no_gpu", {"gpus": []}),
        ("not_ascii", {"cpu": "größter"}),
        ("most", {"gpus": [gpu] * 16, "templates": [{**template, "ports": [65_535] * 16}] * 32}),
        ("largest_number", {"disk": 2**63 - 1}),
        ("longest_text", {"cpu": "x" * 256}),
        ("unknown_field", {"since": 2026}),
    ]
    bad, other = "bad capability", "capability of another offer"
    document = _document(usual)
    invalid: list[tuple[str, bytes, bytes, str]] = [
        ("another_digest", document, ref.message_digest(document + b" "), other),
        *(
            (name, data, ref.message_digest(data), "capability is no JSON")
            for name, data in (("empty", b""), ("cut", document[:-1]), ("no_text", b"\xff"))
        ),
        *(
            (name, data, ref.message_digest(data), reason)
            for name, data, reason in (
                ("list", b"[1]", bad),
                ("nothing", b"{}", bad),
                *(
                    (name, _document({**usual, **change}), reason)
                    for name, change, reason in (
                        ("version_2", {"version": 2}, "capability of another version"),
                        ("version_is_text", {"version": "1"}, bad),
                        ("cores_below_zero", {"cores": -1}, bad),
                        ("cores_are_true", {"cores": True}, bad),
                        ("disk_too_large", {"disk": 2**63}, bad),
                        ("memory_is_a_fraction", {"memory": 1.5}, bad),
                        ("text_too_long", {"cpu": "x" * 257}, bad),
                        ("text_with_an_escape", {"cpu": "a\x1b[2J"}, bad),
                        ("network_is_a_number", {"network": 0}, bad),
                        ("too_many_gpus", {"gpus": [gpu] * 17}, bad),
                        ("too_many_templates", {"templates": [template] * 33}, bad),
                        ("gpu_is_text", {"gpus": ["H100"]}, bad),
                        ("port_zero", {"templates": [{**template, "ports": [0]}]}, bad),
                        ("port_too_large", {"templates": [{**template, "ports": [65_536]}]}, bad),
                        ("too_many_ports", {"templates": [{**template, "ports": [1] * 17}]}, bad),
                    )
                ),
            )
        ),
    ]
    return {
        "valid": [
            {
                "name": name,
                "fields": {**usual, **change},
                "document": _document({**usual, **change}).decode(),
                "digest": ref.message_digest(_document({**usual, **change})).hex(),
            }
            for name, change in valid
        ],
        "invalid": [
            {"name": name, "document": data.hex(), "digest": digest.hex(), "reason": reason}
            for name, data, digest, reason in invalid
        ],
    }


def _document(fields: Fields) -> bytes:
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


FILES = {
    "leases/capabilities.json": capabilities,
    "leases/settlements.json": settlements,
    "leases/scores.json": scores,
    "leases/frames.json": frames,
}
