"""A gossip vector, and the cases that challenges and reports have in common."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.vectors.builders import scene
from tests.vectors.builders.scene import DISPARITY_MS, EPOCH, Sealed, bundle_end, start_of

Seen = tuple[str, Sealed, int]
"""Rule, message and time of something judged before."""


@dataclass(frozen=True, slots=True)
class Case:
    """One vector. `reason` None means that the message is accepted.

    `seen` was judged before and accepted, then `refused` was judged and ignored.
    """

    name: str
    about: str
    message: Sealed | bytes
    now: int
    reason: str | None = None
    expected: str = "reject"
    seen: tuple[Seen, ...] = ()
    refused: tuple[Seen, ...] = ()
    view: str = "usual"

    def shown(self, rule: str) -> dict[str, Any]:
        """The file's content."""
        data = self.message if isinstance(self.message, bytes) else self.message.seal()
        return {
            "about": self.about,
            "rule": rule,
            "view": self.view,
            "seen": [
                {
                    "rule": seen_rule,
                    "message": message.seal().hex(),
                    "now_ms": now,
                    "expected": judgement,
                }
                for judgement, judged in (("accept", self.seen), ("ignore", self.refused))
                for seen_rule, message, now in judged
            ],
            "message": data.hex(),
            "now_ms": self.now,
            "expected": self.expected if self.reason else "accept",
            "reason": self.reason,
        }


def ignored(name: str, about: str, message: Sealed, now: int, reason: str, **more: Any) -> Case:
    """A vector that is ignored."""
    return Case(name, about, message, now, reason, "ignore", **more)


def judge_epochs(make: Callable[..., Sealed]) -> Iterator[Case]:
    """What a message of any other epoch meets."""
    yield ignored(
        "future_epoch",
        "Epoch 8 begins in more than half a second.",
        make(epoch=8),
        start_of(8) - DISPARITY_MS - 1,
        "future epoch",
    )
    yield ignored(
        "epoch_not_read",
        "Epoch 8 may have begun, but we have not read it from the chain.",
        make(epoch=8),
        start_of(8) - DISPARITY_MS,
        "epoch not read yet",
    )
    yield ignored(
        "past_epoch",
        "A millisecond after the contract stopped taking bundles of epoch 6.",
        make(epoch=6),
        bundle_end(6) + 1,
        "past epoch",
    )


def judge_seats(make: Callable[..., Sealed], when: Callable[[int, int], int]) -> Iterator[Case]:
    """Everybody who does not hold the seat that the message names."""
    reason = "not in committee"
    now = when(EPOCH, 2)
    holder = scene.holder(0, 2)
    neighbour = next(each for each in scene.ACTIVE if each != holder)
    yield Case(
        "seat_of_another",
        "A member of the committee, in a seat that is not its own.",
        make(by=scene.checker_name(neighbour), checker=neighbour),
        now,
        reason,
    )
    yield Case(
        "index_of_another",
        "The holder's node key under another checker index.",
        make(checker=neighbour),
        now,
        reason,
    )
    yield Case(
        "node_of_another",
        "The holder's checker index under another node key.",
        make(by=scene.checker_name(neighbour)),
        now,
        reason,
    )
    yield Case("outsider", "Somebody who is not registered.", make(by="outsider"), now, reason)
    for checker, why in (
        (scene.LEFT, "left before this epoch"),
        (scene.UNBOUND, "never bound its node key"),
    ):
        seat = scene.seat_of(checker, 1)
        yield Case(
            f"void_seat_of_checker_{checker}",
            f"The seat is void: its checker {why}.",
            make(shard=1, seat=seat),
            when(EPOCH, seat),
            reason,
        )
    yield Case(
        "seat_beyond_the_committee",
        "There are seats 0 … 3.",
        make(seat=4),
        when(EPOCH, 4),
        reason,
    )
    yield Case("no_such_shard", "There are shards 0 and 1.", make(shard=2), now, "no such shard")
