"""tests/vectors/committee: who sits where, and in which order the seats send the bundle."""

from typing import Any

from tests.protocols import wire_reference as ref
from tests.vectors.builders.actors import secret

SIZES = [
    (1, 1),
    (1, 11),
    (3, 4),
    (4, 4),
    (5, 4),
    (11, 11),
    (12, 11),
    (16, 16),
    (17, 16),
    (100, 11),
    (65_535, 11),
]
"""(checker slots, seats)."""


def draws() -> list[dict[str, Any]]:
    """Networks of one to 65,535 checkers, first and far shards."""
    return [
        {
            "seed": seed.hex(),
            "shard": shard,
            "checker_slots": slots,
            "seats": seats,
            "committee": ref.committee(seed, shard, slots, seats),
            "transmission_order": ref.transmission_order(seed, shard, seats),
        }
        for seed in (secret("first seed"), bytes(32))
        for shard in (0, 1, 390, (1 << 32) - 1)
        for slots, seats in SIZES
    ]


FILES = {"committee/draws.json": draws}
