"""tests/vectors/epochs: calendars of some lengths, in Unix milliseconds."""

from typing import Any

GENESIS_MS = 1_700_000_000_000

EPOCHS = (0, 1, 7, 100_000)

LENGTHS = {
    "hour": (3600, 60_000, 2_700_000, 120_000, 600, 11),
    "five_minutes": (300, 20_000, 165_000, 25_000, 60, 11),
    "twenty_seconds": (20, 2_000, 10_000, 2_500, 5, 4),
    "slots_that_leave_a_rest": (20, 1, 10_001, 1, 0, 16),
}
"""Seconds of an epoch, draw, check and reveal phase in milliseconds, seconds of grace, seats."""


def calendars() -> list[dict[str, Any]]:
    """Deadlines of some epochs, and the phases on both sides of each."""
    return [_calendar(name, epoch) for name in LENGTHS for epoch in EPOCHS]


def _calendar(name: str, epoch: int) -> dict[str, Any]:
    seconds, draw, check, reveal, grace, seats = LENGTHS[name]
    start = GENESIS_MS + epoch * seconds * 1000
    check_start = start + draw
    reveal_start = check_start + check
    bundle_start = reveal_start + reveal
    end = start + seconds * 1000
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
        "name": name,
        "calendar": {
            "epoch_seconds": seconds,
            "draw_ms": draw,
            "check_ms": check,
            "reveal_ms": reveal,
            "grace_seconds": grace,
            "seats": seats,
        },
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
        "bundle_end": end + grace * 1000,
        "phases": [{"now_ms": now, "phase": phase} for now, phase in phases],
    }


FILES = {"epochs/calendars.json": calendars}
