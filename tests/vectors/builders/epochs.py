"""tests/vectors/epochs: the calendar of each preset, in Unix milliseconds."""

from typing import Any

GENESIS_MS = 1_700_000_000_000

EPOCHS = (0, 1, 7, 100_000)

LENGTHS = {
    "mainnet": (3_600_000, 60_000, 2_700_000, 120_000, 600_000, 11),
    "testnet": (300_000, 20_000, 165_000, 25_000, 60_000, 11),
    "minimal": (20_000, 2_000, 10_000, 2_500, 5_000, 4),
}
"""Epoch, draw, check and reveal phase and grace in milliseconds, seats."""


def calendars() -> list[dict[str, Any]]:
    """Deadlines of some epochs, and the phases on both sides of each."""
    return [_calendar(preset, epoch) for preset in LENGTHS for epoch in EPOCHS]


def _calendar(preset: str, epoch: int) -> dict[str, Any]:
    length, draw, check, reveal, grace, seats = LENGTHS[preset]
    start = GENESIS_MS + epoch * length
    check_start = start + draw
    reveal_start = check_start + check
    bundle_start = reveal_start + reveal
    end = start + length
    phases = [
        (start, "draw"),
        (check_start - 1, "draw"),
        (check_start, "check"),
        (reveal_start - 1, "check"),
        (reveal_start, "reveal"),
        (bundle_start - 1, "reveal"),
        (bundle_start, "bundle"),
        (end - 1, "bundle"),
    ]
    return {
        "preset": preset,
        "genesis_ms": GENESIS_MS,
        "epoch": epoch,
        "start": start,
        "check_start": check_start,
        "slots": [
            [check_start + seat * (check // seats), check_start + (seat + 1) * (check // seats)]
            for seat in range(seats)
        ],
        "reveal_start": reveal_start,
        "bundle_start": bundle_start,
        "bundle_end": end + grace,
        "phases": [{"now_ms": now, "phase": phase} for now, phase in phases],
    }


FILES = {"epochs/calendars.json": calendars}
