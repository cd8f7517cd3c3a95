"""tests/vectors/gossip/commitment: what the rule of commitments accepts, ignores and rejects."""

from collections.abc import Iterator

from tests.vectors.builders.actors import secret
from tests.vectors.builders.gossip_case import Case, ignored, judge_epochs, judge_seats
from tests.vectors.builders.scene import (
    DISPARITY_MS,
    EPOCH,
    bundle_end,
    commit_start,
    commitment,
    reveal_start,
)


def commitments() -> Iterator[Case]:
    """Rule `commitment`."""
    opens, closes = commit_start(EPOCH), reveal_start(EPOCH) - DISPARITY_MS
    now = opens + 100
    first = ("commitment", commitment(), now)
    yield Case("in_its_phase", "The holder of the seat, before any report.", commitment(), now)
    yield Case(
        "phase_begins_within_disparity",
        "Half a second before the commit phase by our clock.",
        commitment(),
        opens - DISPARITY_MS,
    )
    yield Case(
        "in_its_last_moment",
        "The earliest report may be read by a clock half a second ahead of ours now.",
        commitment(),
        closes,
    )
    yield Case(
        "other_seat_seen",
        "The first commitment of this seat, though not of the shard.",
        commitment(),
        now,
        seen=(("commitment", commitment(seat=1), now),),
    )
    yield ignored(
        "too_early",
        "A millisecond before that.",
        commitment(),
        opens - DISPARITY_MS - 1,
        "too early",
    )
    yield ignored(
        "too_late",
        "Somewhere a report may have been read before it was made.",
        commitment(),
        closes + 1,
        "too late",
    )
    yield ignored(
        "phase_of_last_epoch",
        "Epoch 6 is still in its grace, but its commit phase is over.",
        commitment(epoch=6),
        bundle_end(6),
        "too late",
    )
    yield from judge_epochs(commitment)
    yield ignored(
        "replayed", "The same message again.", commitment(), now, "seen before", seen=(first,)
    )
    yield ignored(
        "equivocation",
        "A commitment to another report for the same seat.",
        commitment(commitment=secret("another report")),
        now,
        "equivocation",
        seen=(first,),
    )
    yield from judge_seats(commitment, lambda epoch, _seat: commit_start(epoch) + 100)
