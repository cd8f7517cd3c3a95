"""tests/vectors/draws: tickets, commitments, seeds and outcomes; real rounds of drand.

Written from docs/spec/zeronode.md. The rounds are those that drand's quicknet published.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from tests.protocols.wire_reference import pack
from tests.vectors.builders.actors import NETWORK, node, secret, wallet

TABLE: Sequence[tuple[str, int, int, int]] = (
    ("jackpot", 20, 2880 * 500_000, 0),
    ("ten tickets", 2_000, 0, 10),
    ("double", 50_000, 2880 * 600, 0),
    ("half", 400_000, 2880 * 150, 0),
)
"""Name, parts per million, units, tickets."""

ENTRIES: dict[str, Sequence[tuple[str, int]]] = {
    "one-ticket": [("alice", 1)],
    "three-wallets": [("alice", 2), ("bob", 1), ("alice", 3), ("carol", 1)],
    "many": [("bob", 61), ("carol", 2), ("dave", 64)],
}

ROUNDS = {
    1000: "b44679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125"
    "e342b73a8dd2bacbe47e4b6b63ed5e39",
    657_413: "b713718a38ae728dfd477991af2822e08d2f305e47718cef9f7848ce4050e7be"
    "41076862b98fad56e91a6b85b89cd97b",
    32_281_667: "b0f5ae301358ff87a9d3dd539ed4a07c0148b1ab4f7b61a8ca43c7e9ca7ca955"
    "3e4faae9188deb30b2cd1a7f447e3e5b",
    32_285_085: "81dbce51d584d90d618547f4b50391d53ace6f6b9aeb8fb67e1879427af9d031"
    "0ac0ec6f519271d9a313ee84b378d416",
}
"""Round → signature."""

SOURCES = {"drand-quicknet": 1, "beacon": 2}

CLOSED_MS = 1_700_000_000_000


def _sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def _root(leaves: list[bytes]) -> bytes:
    """RFC 6962's shape, from the top."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while 2 * split < len(leaves):
        split *= 2
    return _sha256(b"kaisar/merkle-node/1", _root(leaves[:split]), _root(leaves[split:]))


def _number(seed: bytes, ticket: int) -> int:
    attempt = 0
    while True:
        digest = _sha256(
            b"kaisar/draw/roll/1", seed, ticket.to_bytes(8, "big"), attempt.to_bytes(4, "big")
        )
        number = int(digest.hex()[:5], 16)
        if number < 1_000_000:
            return number
        attempt += 1


def _prize(number: int) -> int:
    for place, (_, ppm, _, _) in enumerate(TABLE):
        if number < ppm:
            return place
        number -= ppm
    return len(TABLE)


def rounds() -> list[dict[str, Any]]:
    """Rounds with their time and randomness; then signatures that are refused."""
    (first, signature), (second, other) = list(ROUNDS.items())[:2]
    valid = [
        {
            "name": f"round_{number}",
            "round": number,
            "time_ms": str((1_692_803_367 + 3 * (number - 1)) * 1000),
            "signature": text,
            "randomness": _sha256(bytes.fromhex(text)).hex(),
            "reason": None,
        }
        for number, text in ROUNDS.items()
    ]
    holds = "drand signature does not hold"
    point = "drand signature is no point"
    flipped = f"{int(signature[0], 16) ^ 2:x}{signature[1:]}"
    invalid = [
        ("of_another_round", second, signature, holds),
        ("of_the_round_before", first + 1, signature, holds),
        ("negated", first, flipped, holds),
        ("infinity", first, "c0" + "00" * 47, holds),
        ("not_compressed", first, "3" + signature[1:], point),
        ("beyond_the_field", first, "9f" + "ff" * 47, point),
        ("off_the_curve", first, "80" + "00" * 46 + "01", point),
        ("outside_of_the_group", first, "80" + "00" * 46 + "04", point),
        ("too_short", first, signature[:-2], "drand signature length"),
        ("too_long", first, other + "00", "drand signature length"),
    ]
    return valid + [
        {"name": name, "round": number, "signature": text, "reason": reason}
        for name, number, text, reason in invalid
    ]


def draws() -> list[dict[str, Any]]:
    """Whole draws, one with each source."""
    cases = []
    for position, (name, entries) in enumerate(ENTRIES.items()):
        service = bytes(node("zeronode").verify_key)
        key = _sha256(b"kaisar/draw/key/1", NETWORK, service, name.encode())
        owners = [owner for owner, count in entries for _ in range(count)]
        leaves = [
            _sha256(b"kaisar/draw/ticket/1", key, index.to_bytes(8, "big"), wallet(owner))
            for index, owner in enumerate(owners)
        ]
        root = _root(leaves)
        server_seed = secret(f"server seed of {name}")
        source = list(SOURCES)[position % 2]
        number = list(ROUNDS)[position] if source != "beacon" else 77
        if source == "beacon":
            randomness = secret("seed of epoch 77")
        else:
            randomness = _sha256(bytes.fromhex(ROUNDS[number]))
        terms = [
            NETWORK,
            service,
            name,
            [list(prize) for prize in TABLE],
            root,
            len(owners),
            _sha256(server_seed),
            [SOURCES[source], number],
            CLOSED_MS,
            CLOSED_MS + 3_600_000,
            1,
        ]
        seed = _sha256(b"kaisar/draw/seed/1", key, root, server_seed, randomness)
        numbers = [_number(seed, index) for index in range(len(owners))]
        cases.append(
            {
                "name": name,
                "network": NETWORK.hex(),
                "service": service.hex(),
                "key": key.hex(),
                "prizes": [list(prize) for prize in TABLE],
                "entries": [[wallet(owner).hex(), count] for owner, count in entries],
                "first_leaf": leaves[0].hex(),
                "root": root.hex(),
                "source": source,
                "number": number,
                "closed_ms": str(CLOSED_MS),
                "reveal_by_ms": str(CLOSED_MS + 3_600_000),
                "missed_bonus": 1,
                "terms": pack(terms).hex(),
                "commitment": _sha256(b"kaisar/draw/terms/1", pack(terms)).hex(),
                "server_seed": server_seed.hex(),
                "randomness": randomness.hex(),
                "seed": seed.hex(),
                "numbers": numbers,
                "places": [_prize(each) for each in numbers],
            }
        )
    return cases


def _awards(entries: Sequence[tuple[str, int]], places: Sequence[int]) -> list[str]:
    won: dict[str, list[int]] = {}
    ticket = 0
    for owner, count in entries:
        sums = won.setdefault(owner, [0, 0])
        for place in places[ticket : ticket + count]:
            if place < len(TABLE):
                sums[0] += TABLE[place][2]
                sums[1] += TABLE[place][3]
        ticket += count
    return [
        f"0x{wallet(owner).hex()} {units} {tickets}"
        for owner, (units, tickets) in won.items()
        if units or tickets
    ]


def _document(case: dict[str, Any], is_drawn: bool) -> dict[str, Any]:
    """A transcript before it is signed."""
    entries = ENTRIES[case["name"]]
    evidence = case["randomness"]
    committed_s = CLOSED_MS // 1000 + 60
    if case["source"] == "drand-quicknet":
        evidence = ROUNDS[case["number"]]
        committed_s = 1_692_803_367 + 3 * (case["number"] - 1) - 15
    returned: dict[str, int] = {}
    for owner, count in entries:
        returned[owner] = returned.get(owner, 1) + count
    names = ("name", "ppm", "units", "tickets")
    return {
        "format": "kaisar/draw-transcript/1",
        "terms": {
            "network": case["network"],
            "service": case["service"],
            "draw": case["name"],
            "prizes": [dict(zip(names, prize, strict=True)) for prize in TABLE],
            "root": case["root"],
            "tickets": len(case["places"]),
            "seed_hash": _sha256(bytes.fromhex(case["server_seed"])).hex(),
            "source": case["source"],
            "number": case["number"],
            "closed_ms": CLOSED_MS,
            "reveal_by_ms": CLOSED_MS + 3_600_000,
            "missed_bonus": 1,
        },
        "committed_s": committed_s,
        "reveal": {"server_seed": case["server_seed"], "evidence": evidence} if is_drawn else None,
        "entries": [f"0x{wallet(owner).hex()} {count}" for owner, count in entries],
        "awards": _awards(entries, case["places"])
        if is_drawn
        else [f"0x{wallet(owner).hex()} 0 {count}" for owner, count in returned.items()],
    }


def _write(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1) + "\n"


def _sign(document: dict[str, Any]) -> dict[str, Any]:
    signed = b"kaisar/draw/transcript/1" + NETWORK + _write(document).encode()
    return {**document, "signature": node("zeronode").sign(signed).signature.hex()}


def transcripts() -> list[dict[str, Any]]:
    """Files that hold, and files that do not."""
    cases = draws()
    documents = {
        "drawn_by_drand": _document(cases[0], True),
        "drawn_by_beacon": _document(cases[1], True),
        "missed": _document(cases[2], False),
    }
    valid = [
        {"name": name, "content": _write(_sign(document)), "reason": None}
        for name, document in documents.items()
    ]
    good = documents["drawn_by_beacon"]
    late = documents["drawn_by_drand"]
    signed = _sign(good)
    changed_terms = {**good["terms"], "missed_bonus": 2}
    invalid = {
        "another_form": (json.dumps(signed) + "\n", "transcript is not canonical"),
        "no_line_feed": (_write(signed)[:-1], "transcript is not canonical"),
        "another_order": (
            _write({"signature": signed["signature"], **signed}),
            "transcript is not canonical",
        ),
        "upper_case": (
            _write({**signed, "signature": signed["signature"].upper()}),
            "transcript is not canonical",
        ),
        "changed_and_not_signed": (
            _write({**signed, "terms": changed_terms}),
            "bad node signature",
        ),
        "other_tickets": (
            _write(_sign({**good, "entries": good["entries"][::-1]})),
            "ticket root differs",
        ),
        "fewer_tickets": (
            _write(_sign({**good, "entries": good["entries"][:-1]})),
            "ticket count differs",
        ),
        "other_seed": (
            _write(
                _sign({**good, "reveal": {**good["reveal"], "server_seed": secret("other").hex()}})
            ),
            "server seed differs",
        ),
        "other_randomness": (
            _write(_sign({**late, "reveal": {**late["reveal"], "evidence": ROUNDS[657_413]}})),
            "drand signature does not hold",
        ),
        "committed_too_late": (
            _write(_sign({**late, "committed_s": late["committed_s"] + 1})),
            "committed too late",
        ),
        "other_awards": (
            _write(_sign({**good, "awards": [f"0x{wallet('eve').hex()} 2880 0"]})),
            "awards differ",
        ),
    }
    return valid + [
        {"name": name, "content": content, "reason": reason}
        for name, (content, reason) in invalid.items()
    ]


FILES = {
    "draws/rounds.json": rounds,
    "draws/draws.json": draws,
    "draws/transcripts.json": transcripts,
}
