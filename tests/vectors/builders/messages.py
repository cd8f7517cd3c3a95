"""tests/vectors/messages: bodies of every kind, and bodies that are not of it."""

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

from tests.protocols import wire_reference as ref
from tests.vectors.builders.actors import CHAIN_ID, CONSENSUS, node, secret, wallet, wallet_key

LONGEST_SHOWN = 4096
"""Bodies longer than this are left out: they would only be pages of the same digit."""

REPORT: dict[str, Any] = {
    "epoch": 7,
    "shard": 1,
    "online": 0b1011,
    "fraud": 0b1000,
    "scores": [301, 299, 0, 4054] + [0] * 252,
    "evidence": secret("evidence"),
}
"""The report of the typical report message."""

_NONCE = ref.job_nonce(secret("challenge"), bytes(node("provider").verify_key))

_RUN: dict[str, Any] = {
    "argv": b"python\0-c\0print(1)\0",
    "environment": b"EPOCHS=3\0",
    "directory": b"work",
    "rows": 0,
    "columns": 0,
    "detached": 0,
}

TYPICAL: dict[str, dict[str, Any]] = {
    "Announcement": {
        "role": 1,
        "wallet": wallet("provider"),
        "time": 1_700_000_000_123,
        "addresses": ["/ip4/198.51.100.7/tcp/4001", "/dns/node.example/tcp/4001"],
        "software": "kaisar-node/0.1.0",
    },
    "ChallengeAnnouncement": {
        "epoch": 7,
        "shard": 1,
        "seat": 3,
        "checker": 258,
        "commitment": ref.challenge_commitment(secret("challenge")),
    },
    "ReportMessage": {
        "epoch": 7,
        "shard": 1,
        "seat": 3,
        "checker": 258,
        "scores": ref.score_bytes(REPORT["scores"]),
        "online": REPORT["online"].to_bytes(32, "big"),
        "fraud": REPORT["fraud"].to_bytes(32, "big"),
        "evidence": REPORT["evidence"],
        "secret": secret("challenge"),
        "salt": secret("salt"),
        "wallet_signature": ref.sign_report(
            wallet_key("checker"), ref.typed_report(CHAIN_ID, CONSENSUS, REPORT)
        ),
    },
    "Job": {
        "epoch": 7,
        "shard": 1,
        "seat": 3,
        "checker": 258,
        "provider": 257,
        "nonce": _NONCE,
        "k": 16_384,
        "n": 8192,
        "window_ms": 3000,
    },
    "Commitment": {
        "job": secret("job"),
        "devices": [
            bytes.fromhex("00000000004000005903000004000000") + secret("first root"),
            bytes.fromhex("01000000000100000100000000000000") + secret("second root"),
        ],
        "receipts": [secret("receipt")],
    },
    "OpenRequest": {
        "job": secret("job"),
        "rows": [bytes.fromhex("000000000500000028000000ff070000"), b""],
        "passes": [bytes.fromhex("0300000011000000"), b""],
        "chains": bytes.fromhex("0100000007000000"),
    },
    "Openings": {
        "job": secret("job"),
        "request": secret("request"),
        "rows": [secret("rows"), b""],
        "passes": [secret("passes"), b""],
        "chains": secret("chains"),
    },
    "JobRefusal": {"job": secret("job"), "code": 1, "detail": "busy", "lease": 4711},
    "PassRequest": {"job": secret("job"), "nonce": secret("pass nonce"), "window_ms": 1000},
    "Passes": {
        "job": secret("job"),
        "request": secret("request"),
        "devices": [bytes.fromhex("1e000000") + secret("pass root"), bytes(36)],
    },
    "ChainRequest": {"job": secret("job"), "nonce": secret("chain nonce"), "window_ms": 2000},
    "Chains": {
        "job": secret("job"),
        "request": secret("request"),
        "chains": bytes.fromhex("c8000000") + secret("chain root"),
    },
    "ReportCommitment": {
        "epoch": 7,
        "shard": 1,
        "seat": 3,
        "checker": 258,
        "commitment": ref.report_commitment(
            wallet("checker"),
            ref.typed_digest(ref.typed_report(CHAIN_ID, CONSENSUS, REPORT)),
            secret("salt"),
        ),
    },
    "AuditRequest": {"epoch": 7, "shard": 1, "lane": 3},
    "AuditResponse": {
        "path": secret("sibling"),
        "messages": [secret("job"), secret("commitment")],
    },
    "ReportsRequest": {"epoch": 7, "shard": 1},
    "ReportsResponse": {"reports": [secret("first report"), secret("second report")]},
    "LeaseAccess": {
        "lease": 4711,
        "peer": bytes(node("renter").verify_key),
        "time": 1_700_000_000_123,
        "nonce": secret("access nonce")[:16],
        "purpose": 3,
        "request": ref.message_digest(ref.body("RunRequest", _RUN)),
    },
    "LeaseAnswer": {"access": secret("access"), "code": 5, "detail": "since 12:00 UTC"},
    "DeployRequest": {"template": "pytorch"},
    "StatusRequest": {},
    "RunRequest": _RUN,
    "UploadRequest": {"path": b"data/images", "files": 1200, "size": 209_715_200},
    "FetchRequest": {"path": b"out"},
    "ForwardRequest": {"port": 8888},
    "LogsRequest": {"tail": 65_536, "follow": 1},
}


def edge(form: str, *, largest: bool) -> Any:
    """The smallest or largest value of a form of the reference."""
    if form.startswith("uint"):
        return (1 << int(form[4:])) - 1 if largest else 0
    if form.startswith("text"):
        return "~" * _limit(form) if largest else ""
    if form.startswith("list"):
        count, item = _split_list(form)
        return [edge(item, largest=True)] * count if largest else []
    minimum, maximum = _byte_limits(form)
    return b"\xff" * min(maximum, LONGEST_SHOWN) if largest else bytes(minimum)


def misfits(form: str) -> Iterator[tuple[str, Any]]:
    """Values just outside a form, named by what is wrong with them."""
    if form.startswith("uint"):
        if form != "uint64":
            yield "too_large", 1 << int(form[4:])
        yield "bytes", b"\x01"
        yield "list", [1]
    elif form.startswith("text"):
        yield "too_long", "x" * (_limit(form) + 1)
        yield "control_character", "a\nb"
        yield "not_ascii", "knoten-\u00e4"
        yield "bytes", b"abc"
    elif form.startswith("list"):
        count, item = _split_list(form)
        yield "too_many", [edge(item, largest=False)] * (count + 1)
        yield "no_list", edge(item, largest=False)
        for name, value in misfits(item):
            yield f"item_{name}", [edge(item, largest=False), value]
    else:
        minimum, maximum = _byte_limits(form)
        if minimum:
            yield "too_short", bytes(minimum - 1)
        if maximum < LONGEST_SHOWN:
            yield "too_long", bytes(maximum + 1)
        yield "text", "x" * minimum
        yield "integer", 0


def _limit(form: str) -> int:
    return int(form.removeprefix("text[").removesuffix("]"))


def _byte_limits(form: str) -> tuple[int, int]:
    limits = [int(number) for number in re.findall(r"\d+", form)]
    return limits[0], limits[-1]


def _split_list(form: str) -> tuple[int, str]:
    head, item = form.split(" of ")
    return int(head.removeprefix("list[").removesuffix("]")), item


def shown(value: Any) -> Any:
    """A field for JSON: bytes in hex, integers in decimal digits."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, int):
        return str(value)
    return value if isinstance(value, str) else [shown(item) for item in value]


def cases(name: str) -> dict[str, Any]:
    """All of one kind."""
    kind, max_bytes, forms = ref.FORMS[name]
    valid = {
        "typical": TYPICAL[name],
        "smallest": {field: edge(form, largest=False) for field, form in forms.items()},
        "largest": {field: edge(form, largest=True) for field, form in forms.items()},
    }
    return {
        "kind": kind,
        "max_bytes": max_bytes,
        "fields": forms,
        "valid": [
            {
                "name": case,
                "fields": {field: shown(value) for field, value in fields.items()},
                "body": ref.body(name, fields).hex(),
                "digest": ref.message_digest(ref.body(name, fields)).hex(),
            }
            for case, fields in valid.items()
            if len(ref.body(name, fields)) <= LONGEST_SHOWN
        ],
        "invalid": [
            {"name": case, "body": data.hex(), "reason": reason}
            for case, reason, data in _refused(name)
        ],
    }


def _refused(name: str) -> Iterator[tuple[str, str, bytes]]:
    _, max_bytes, forms = ref.FORMS[name]
    values = [TYPICAL[name][field] for field in forms]
    yield "empty", "not msgpack", b""
    if values:
        yield "last_field_missing", "wrong field count", ref.pack(values[:-1])
    yield "unknown_field", "wrong field count", ref.pack([*values, 0])
    yield "trailing_byte", "not msgpack", ref.pack(values) + b"\x00"
    yield "no_array", "not an array", ref.pack(ref.pack(values))
    if max_bytes <= LONGEST_SHOWN:
        yield "oversized", "oversized", ref.pack([*values[:-1], bytes(max_bytes)])
    for position, (field, form) in enumerate(forms.items()):
        for fault, value in misfits(form):
            data = ref.pack([*values[:position], value, *values[position + 1 :]])
            yield f"{field}_{fault}", "oversized" if len(data) > max_bytes else "bad field", data


FILES = {f"messages/{name}.json": partial(cases, name) for name in ref.FORMS}
