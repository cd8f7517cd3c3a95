"""tests/vectors/reports: EIP-712 digests of reports, and what committees agree on."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

from tests.protocols import wire_reference as ref
from tests.vectors.builders.actors import (
    CHAIN_ID,
    CONSENSUS,
    REGISTRY,
    wallet,
    wallet_key,
)
from tests.vectors.builders.messages import REPORT

MAX_SCORE = 0x7FFF
LANES = 256


def digests() -> list[dict[str, Any]]:
    """Reports that differ in one field each, in two domains."""
    changes: dict[str, dict[str, Any]] = {
        "typical": {},
        "epoch": {"epoch": (1 << 32) - 1},
        "shard": {"shard": (1 << 32) - 1},
        "online": {"online": (1 << 256) - 1},
        "fraud": {"fraud": 1 << 255},
        "scores": {"scores": [lane * 128 for lane in range(LANES)]},
        "all_scores_at_their_limit": {"scores": [MAX_SCORE] * LANES},
        "no_evidence": {"evidence": bytes(32)},
    }
    return [
        _digest(name, CHAIN_ID, CONSENSUS, {**REPORT, **change}) for name, change in changes.items()
    ] + [
        _digest("other_chain", 9990, CONSENSUS, REPORT),
        _digest("other_contract", CHAIN_ID, REGISTRY, REPORT),
    ]


def _digest(name: str, chain_id: int, consensus: bytes, report: dict[str, Any]) -> dict[str, Any]:
    message = ref.typed_report(chain_id, consensus, report)
    return {
        "name": name,
        "chain_id": chain_id,
        "consensus": consensus.hex(),
        "epoch": report["epoch"],
        "shard": report["shard"],
        "scores": ref.score_bytes(report["scores"]).hex(),
        "online": word(report["online"]),
        "fraud": word(report["fraud"]),
        "evidence": report["evidence"].hex(),
        "domain_separator": bytes(message.header).hex(),
        "struct_hash": bytes(message.body).hex(),
        "digest": ref.typed_digest(message).hex(),
        "private_key": wallet_key("checker").hex(),
        "wallet": wallet("checker").hex(),
        "signature": ref.sign_report(wallet_key("checker"), message).hex(),
    }


def word(bitmap: int) -> str:
    """A bitmap as 32 big-endian bytes in hex."""
    return bitmap.to_bytes(32, "big").hex()


Votes = tuple[str, int, list[list[int]], list[int], list[int]]
"""Name, tolerance shift, scores, online and fraud bitmaps of each report."""


def agreements() -> list[dict[str, Any]]:
    """Reports and the consensus they form."""
    return [
        {
            "name": name,
            "tolerance_shift": shift,
            "reports": [
                {"scores": ref.score_bytes(row).hex(), "online": word(o), "fraud": word(f)}
                for row, o, f in zip(scores, online, fraud, strict=True)
            ],
            "agreement": _shown(ref.agree(scores, online, fraud, shift)),
        }
        for name, shift, scores, online, fraud in _votes()
    ]


def _shown(agreement: dict[str, Any]) -> dict[str, Any]:
    return {
        "medians": ref.score_bytes(agreement["medians"]).hex(),
        "scores": ref.score_bytes(agreement["scores"]).hex(),
        "online": word(agreement["online"]),
        "fraud": word(agreement["fraud"]),
        "deviations": agreement["deviations"],
    }


def _votes() -> Iterator[Votes]:
    rng = random.Random(1337)
    for count in (1, 2, 3, 4, 7, 8, 11, 16):
        scores = [_noisy(rng) for _ in range(count)]
        yield f"noise_{count}", 2, scores, *_bitmaps(rng, count)
    ones = [[0] * LANES, [0] * LANES, [MAX_SCORE] * LANES, [MAX_SCORE] * LANES]
    yield "even_split_takes_the_lower", 2, ones, [0] * 4, [0] * 4
    yield "half_of_the_bits_is_no_majority", 2, ones, [1, 1, 0, 0], [2, 2, 0, 0]
    yield "one_more_than_half_is", 2, ones, [1, 1, 1, 0], [2, 2, 2, 0]
    guilty = [[500] * LANES, [501] * LANES, [0] * LANES]
    yield "fraud_zeroes_the_score_only", 2, guilty, [0] * 3, [1 << 255] * 3
    for shift in (1, 2, 14):
        yield f"tolerance_{shift}", shift, _around_tolerance(shift), [0] * 3, [0] * 3


def _noisy(rng: random.Random) -> list[int]:
    """Lanes of one truth each, measured with noise; some lanes are lied about."""
    truth = random.Random(7)
    row = []
    for _ in range(LANES):
        score = truth.choice([0, 3, 40, 300, 3000, MAX_SCORE])
        measured = score * rng.randint(85, 115) // 100
        row.append(min(MAX_SCORE, rng.choice([measured] * 7 + [rng.randint(0, MAX_SCORE)])))
    return row


def _bitmaps(rng: random.Random, count: int) -> tuple[list[int], list[int]]:
    return [rng.getrandbits(256) for _ in range(count)], [
        rng.getrandbits(256) for _ in range(count)
    ]


def _around_tolerance(shift: int) -> list[list[int]]:
    """Two equal reports fix the medians; the third sits on both sides of every limit."""
    medians = [0, 1, 2, 3, 4, 5, 7, 8, 100, 101, 1000, 20_000, 20_001, MAX_SCORE]
    row: list[tuple[int, int]] = []
    for median in medians:
        slack = median >> (1 + shift)
        for half in (median // 2 + slack, median // 2 - slack):
            for score in (2 * half - 1, 2 * half, 2 * half + 1, 2 * half + 2):
                row.append((median, min(MAX_SCORE, max(0, score))))
    row += [(0, 0)] * (LANES - len(row))
    return _columns(row)


def _columns(row: Sequence[tuple[int, int]]) -> list[list[int]]:
    medians = [median for median, _ in row]
    return [medians, medians, [score for _, score in row]]


FILES = {"reports/digests.json": digests, "reports/agreements.json": agreements}
