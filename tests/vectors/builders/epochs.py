"""tests/vectors/epochs: calendars of some lengths, in Unix milliseconds."""

from typing import Any

GENESIS_MS = 1_700_000_000_000

EPOCHS = (0, 1, 7, 100_000)

LENGTHS = {
    "hour": (3600, 60_000, 300_000, 2_400_000, 60_000, 120_000, 600, 11),
    "ten_minutes": (600, 20_000, 60_000, 396_000, 15_000, 25_000, 60, 11),
    "twenty_five_seconds": (25, 2_000, 2_000, 14_000, 1_500, 2_000, 5, 4),
    "slots_that_leave_a_rest": (20, 1, 1_999, 10_001, 1, 1, 0, 16),
}
"""Seconds of an epoch; draw, transfer, check, commit and reveal phase in milliseconds; seconds of
grace; seats."""

SHARDS = ((0, 1), (0, 7), (6, 7), (255, 256))
"""Rank and number of active providers whose transfer windows are shown."""


def calendars() -> list[dict[str, Any]]:
    """Deadlines of some epochs, and the phases on both sides of each."""
    return [_calendar(name, epoch) for name in LENGTHS for epoch in EPOCHS]


def _calendar(name: str, epoch: int) -> dict[str, Any]:
    seconds, draw, transfer, check, commit, reveal, grace, seats = LENGTHS[name]
    start = GENESIS_MS + epoch * seconds * 1000
    transfer_start = start + draw
    check_start = transfer_start + transfer
    commit_start = check_start + check
    reveal_start = commit_start + commit
    bundle_start = reveal_start + reveal
    end = start + seconds * 1000
    phases = [
        (start, "draw"),
        (transfer_start - 1, "draw"),
        (transfer_start, "transfer"),
        (check_start - 1, "transfer"),
        (check_start, "check"),
        (commit_start - 1, "check"),
        (commit_start, "commit"),
        (reveal_start - 1, "commit"),
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
            "transfer_ms": transfer,
            "check_ms": check,
            "commit_ms": commit,
            "reveal_ms": reveal,
            "grace_seconds": grace,
            "seats": seats,
        },
        "genesis_ms": GENESIS_MS,
        "epoch": epoch,
        "start": start,
        "transfer_start": transfer_start,
        "transfers": [_window(transfer_start, transfer, rank, count) for rank, count in SHARDS],
        "check_start": check_start,
        "slots": [
            [check_start + seat * (check // seats), check_start + (seat + 1) * (check // seats)]
            for seat in range(seats)
        ],
        "commit_start": commit_start,
        "reveal_start": reveal_start,
        "bundle_start": bundle_start,
        "bundle_end": end + grace * 1000,
        "phases": [{"now_ms": now, "phase": phase} for now, phase in phases],
    }


def _window(phase: int, transfer_ms: int, rank: int, count: int) -> dict[str, int]:
    length = min(2000, transfer_ms // count)
    start = phase + rank * length
    stage = length // 2 - length // 16
    return {
        "rank": rank,
        "count": count,
        "down_start": start,
        "down_end": start + stage,
        "up_start": start + length // 2,
        "up_end": start + length // 2 + stage,
        "end": start + length,
    }


FILES = {"epochs/calendars.json": calendars}
