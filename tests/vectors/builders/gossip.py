"""tests/vectors/gossip: for each rule, what is accepted, ignored and rejected, one file each."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from tests.vectors.builders import scene
from tests.vectors.builders.actors import secret, wallet
from tests.vectors.builders.gossip_case import Case, ignored, judge_epochs, judge_seats
from tests.vectors.builders.gossip_commitments import commitments
from tests.vectors.builders.gossip_reports import reports
from tests.vectors.builders.scene import (
    DISPARITY_MS,
    EPOCH,
    SLOT_MS,
    Sealed,
    announcement,
    bundle_end,
    challenge,
    commit_start,
    commitment,
    report,
    reveal_start,
    slot_start,
    start_of,
)
from tests.vectors.builders.spoilt import spoil

LIFETIME_MS = 600_000
INTERVAL_MS = 2_000


def announcements() -> Iterator[Case]:
    """Rule `announcement`."""
    now = start_of(EPOCH)
    first = ("announcement", announcement(), now)
    yield Case("provider", "A provider says where it is.", announcement(), now)
    yield Case("checker", "So does a checker.", announcement("checker 0", 2), now)
    yield Case(
        "joins_next_epoch",
        "Registered in this epoch, active from the next: known already.",
        announcement("provider 260"),
        now,
    )
    yield Case(
        "future_within_disparity",
        "Our clock may be half a second behind.",
        announcement(time=now + DISPARITY_MS),
        now,
    )
    yield Case(
        "at_the_end_of_its_life",
        "Ten minutes old to the millisecond.",
        announcement(),
        now + LIFETIME_MS,
    )
    yield Case(
        "newer_by_the_interval",
        "Two seconds after the last one.",
        announcement(time=now + INTERVAL_MS),
        now + INTERVAL_MS,
        seen=(first,),
    )
    yield Case(
        "other_role_of_the_same_node",
        "A node that is provider and checker has a word for each.",
        announcement("checker 1", 2),
        now,
        seen=(("announcement", announcement("checker 1", 1), now),),
    )
    yield ignored(
        "future",
        "A millisecond more than clocks may differ.",
        announcement(time=now + DISPARITY_MS + 1),
        now,
        "from the future",
    )
    yield ignored(
        "stale",
        "A millisecond older than ten minutes.",
        announcement(),
        now + LIFETIME_MS + 1,
        "stale",
    )
    yield ignored(
        "unknown_signer",
        "Nobody with this node key is registered.",
        announcement("outsider"),
        now,
        "unknown signer",
    )
    yield ignored(
        "signer_has_left",
        "Registered once, but not in the newest epoch known.",
        announcement("checker 2", 2),
        now,
        "unknown signer",
    )
    yield ignored(
        "nothing_read_yet",
        "A node that has not read the chain knows nobody.",
        announcement(),
        now,
        "unknown signer",
        view="nothing_read_yet",
    )
    yield ignored(
        "other_role",
        "A provider that calls itself a checker; it may have registered a moment ago.",
        announcement(role=2, wallet=wallet(scene.wallet_name("provider 0", "p"))),
        now,
        "not as registered",
    )
    yield ignored(
        "other_wallet",
        "A wallet that this node key is not registered with.",
        announcement(wallet=wallet("outsider")),
        now,
        "not as registered",
    )
    yield ignored(
        "unknown_role",
        "There is no role 3.",
        announcement(role=3, wallet=wallet(scene.wallet_name("provider 0", "p"))),
        now,
        "not as registered",
    )
    yield ignored(
        "replayed", "The same message again.", announcement(), now, "seen before", seen=(first,)
    )
    yield ignored(
        "older",
        "An announcement from before the last one.",
        announcement(time=now - INTERVAL_MS),
        now,
        "seen before",
        seen=(first,),
    )
    yield ignored(
        "too_frequent",
        "A millisecond short of two seconds after the last one.",
        announcement(time=now + INTERVAL_MS - 1),
        now + INTERVAL_MS,
        "too frequent",
        seen=(first,),
    )


def challenges() -> Iterator[Case]:
    """Rule `challenge`."""
    opens = slot_start(EPOCH, 2)
    now = opens + 100
    first = ("challenge", challenge(), now)
    other = ("challenge", challenge(seat=1), slot_start(EPOCH, 1))
    yield Case("in_its_slot", "The holder of the seat, within its slot.", challenge(), now)
    yield Case(
        "slot_opens_within_disparity",
        "Half a second before the slot by our clock.",
        challenge(),
        opens - DISPARITY_MS,
    )
    yield Case(
        "slot_closed_within_disparity",
        "Half a second after the slot by our clock.",
        challenge(),
        opens + SLOT_MS + DISPARITY_MS,
    )
    yield Case(
        "other_seat_seen",
        "The first challenge of this seat, though not of the shard.",
        challenge(),
        now,
        seen=(other,),
    )
    yield ignored(
        "too_early",
        "A millisecond before that.",
        challenge(),
        opens - DISPARITY_MS - 1,
        "too early",
    )
    yield ignored(
        "too_late",
        "A millisecond after that.",
        challenge(),
        opens + SLOT_MS + DISPARITY_MS + 1,
        "too late",
    )
    yield ignored(
        "slot_of_last_epoch",
        "Epoch 6 is still in its grace, but its slots are over.",
        challenge(epoch=6),
        bundle_end(6),
        "too late",
    )
    yield from judge_epochs(challenge)
    yield ignored(
        "replayed", "The same message again.", challenge(), now, "seen before", seen=(first,)
    )
    yield ignored(
        "equivocation",
        "A second secret for the same seat.",
        challenge(commitment=secret("another commitment")),
        now,
        "equivocation",
        seen=(first,),
    )
    yield from judge_seats(challenge, slot_start)


def _spoilt(message: Sealed, now: int) -> Iterator[Case]:
    for name, reason, data in spoil(message.name, message.fields, message.key):
        yield Case(f"envelope_{name}", "An envelope with one thing wrong.", data, now, reason)


RULES: dict[str, tuple[Callable[[], Iterator[Case]], Sealed, int]] = {
    "announcement": (announcements, announcement(), start_of(EPOCH)),
    "challenge": (challenges, challenge(), slot_start(EPOCH, 2)),
    "commitment": (commitments, commitment(), commit_start(EPOCH)),
    "report": (reports, report(), reveal_start(EPOCH)),
}
"""Rule → its cases, and the valid message whose envelope is spoiled at a time."""


def _files() -> dict[str, Callable[[], Any]]:
    files: dict[str, Callable[[], Any]] = {
        f"gossip/views/{name}.json": partial(dict, view) for name, view in scene.views().items()
    }
    for rule, (cases, message, now) in RULES.items():
        for case in (*cases(), *_spoilt(message, now)):
            name = f"gossip/{rule}/{case.name}.json"
            if name in files:
                raise AssertionError(f"two vectors are called {name}")
            files[name] = partial(case.shown, rule)
    return files


FILES = _files()
