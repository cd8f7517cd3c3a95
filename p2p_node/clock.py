"""Wall time that moves with Trio's clock, so that whole epochs can be jumped over in tests."""

import time
from dataclasses import dataclass, field

import trio

from protocols.types import TimeMs

MAX_DRIFT_MS = 30_000
"""Further from the newest block's timestamp than this, either the clock or the chain endpoint is
wrong; real blocks come every seven seconds at most."""


def _read_wall_clock() -> TimeMs:
    return TimeMs(time.time_ns() // 1_000_000)


@dataclass(frozen=True, slots=True)
class Clock:
    """The node's only source of time. Make one inside `trio.run`.

    `started_at` is the wall time at creation; afterwards time advances with Trio's clock, so a
    step of the system clock cannot tear an epoch apart.
    """

    started_at: TimeMs = field(default_factory=_read_wall_clock)
    trio_start: float = field(default_factory=trio.current_time)

    def now(self) -> TimeMs:
        """Return Unix milliseconds."""
        return TimeMs(self.started_at + int((trio.current_time() - self.trio_start) * 1000))

    async def sleep_until(self, moment: TimeMs) -> None:
        """Sleep until `moment`; a moment in the past is still a checkpoint."""
        await trio.sleep_until(self.deadline(moment))

    def deadline(self, moment: TimeMs) -> float:
        """Express `moment` on Trio's clock, for cancel scopes."""
        return self.trio_start + (moment - self.started_at) / 1000
