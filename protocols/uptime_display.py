"""Uptime as it is drawn: few enough stretches for a popup."""

from collections.abc import Iterable

from protocols.errors import LocalError
from protocols.uptime import Stretch, merge


def join_nearest(stretches: Iterable[Stretch], most: int) -> tuple[Stretch, ...]:
    """Return the union in at most `most` (≥ 1) stretches, by joining over the shortest gaps.

    Of gaps of one length the earliest are joined. It is for the eye: what it adds is not uptime.
    """
    if most < 1:
        raise LocalError(f"{most} stretches, expected 1 or more")
    union = merge(stretches)
    surplus = len(union) - most
    if surplus <= 0:
        return union
    places = range(1, len(union))
    joined = set(
        sorted(places, key=lambda place: union[place].start_ms - union[place - 1].end_ms)[:surplus]
    )
    drawn: list[Stretch] = []
    for place, stretch in enumerate(union):
        if place in joined:
            drawn[-1] = Stretch(drawn[-1].start_ms, stretch.end_ms)
        else:
            drawn.append(stretch)
    return tuple(drawn)
