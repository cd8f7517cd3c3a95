"""What uptime is, and what a day of it earns.

Uptime is a set of moments: the union of all stretches in which some service had an account's
answers. So a stretch that is told twice, by two services, in pieces or in another order counts
once. Only the union is ever counted, never a sum of stretches.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from protocols.errors import LocalError
from protocols.types import TimeMs
from protocols.zeronode_rules import (
    REFERRED_UNITS_PER_SECOND,
    UNITS_PER_SECOND,
    ZeroNodeRules,
)


@dataclass(frozen=True, slots=True, order=True)
class Stretch:
    """Uptime from `start_ms` to just before `end_ms`, Unix milliseconds by the service's clock."""

    start_ms: TimeMs
    end_ms: TimeMs

    def __post_init__(self) -> None:
        if not 0 <= self.start_ms < self.end_ms:
            raise LocalError(f"stretch from {self.start_ms} to {self.end_ms}, expected 0 ≤ a < b")

    @property
    def length_ms(self) -> int:
        """How long it is, at least 1."""
        return self.end_ms - self.start_ms


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive uptime: merged stretches with no interruption above `join_gap_ms` between."""

    stretches: tuple[Stretch, ...]

    @property
    def start_ms(self) -> TimeMs:
        """When it began."""
        return self.stretches[0].start_ms

    @property
    def end_ms(self) -> TimeMs:
        """Where it has got to."""
        return self.stretches[-1].end_ms

    @property
    def paid_ms(self) -> int:
        """Uptime in it, without the interruptions."""
        return sum(each.length_ms for each in self.stretches)

    def find_moment(self, paid_ms: int) -> TimeMs | None:
        """When its uptime reached `paid_ms` (above 0); None if it has not."""
        missing = paid_ms
        for each in self.stretches:
            if each.length_ms >= missing:
                return TimeMs(each.start_ms + missing)
            missing -= each.length_ms
        return None


@dataclass(frozen=True, slots=True)
class DayUptime:
    """What an account's day comes to, in whole seconds, rounded down once for each of them."""

    seconds: int
    """Uptime."""
    doubled_seconds: int
    """The part of it after an NFT was linked; paid once more if it is still held at the end."""
    referred_seconds: int
    """The part of it after the gate was passed."""
    referred_doubled_seconds: int
    """The part of it that is both."""

    @property
    def units(self) -> int:
        """For uptime, without the NFT."""
        return self.seconds * UNITS_PER_SECOND

    @property
    def doubled_units(self) -> int:
        """For the NFT, on top."""
        return self.doubled_seconds * UNITS_PER_SECOND

    @property
    def referred_units(self) -> int:
        """For the referrer, on top: a tenth of what was earned after the gate."""
        return (self.referred_seconds + self.referred_doubled_seconds) * REFERRED_UNITS_PER_SECOND


def merge(stretches: Iterable[Stretch]) -> tuple[Stretch, ...]:
    """The union: in order, disjoint, and not even touching."""
    merged: list[Stretch] = []
    for each in sorted(stretches):
        if merged and each.start_ms <= merged[-1].end_ms:
            if each.end_ms > merged[-1].end_ms:
                merged[-1] = Stretch(merged[-1].start_ms, each.end_ms)
        else:
            merged.append(each)
    return tuple(merged)


def clip(stretches: Iterable[Stretch], start_ms: int, end_ms: int) -> tuple[Stretch, ...]:
    """What of the union lies from `start_ms` to just before `end_ms`."""
    clipped = []
    for each in merge(stretches):
        start, end = max(each.start_ms, start_ms), min(each.end_ms, end_ms)
        if start < end:
            clipped.append(Stretch(TimeMs(start), TimeMs(end)))
    return tuple(clipped)


def total_ms(stretches: Iterable[Stretch]) -> int:
    """Length of the union."""
    return sum(each.length_ms for each in merge(stretches))


def seconds(stretches: Iterable[Stretch]) -> int:
    """Whole seconds of the union, rounded down once."""
    return total_ms(stretches) // 1000


def find_runs(stretches: Iterable[Stretch], rules: ZeroNodeRules) -> tuple[Run, ...]:
    """All runs of consecutive uptime, in order."""
    groups: list[list[Stretch]] = []
    for each in merge(stretches):
        if groups and each.start_ms - groups[-1][-1].end_ms <= rules.join_gap_ms:
            groups[-1].append(each)
        else:
            groups.append([each])
    return tuple(Run(tuple(group)) for group in groups)


def find_current_run(stretches: Iterable[Stretch], rules: ZeroNodeRules, now: TimeMs) -> Run | None:
    """The run that can still go on at `now`; None when the last one is over, or there is none."""
    runs = find_runs(stretches, rules)
    if runs and now - runs[-1].end_ms <= rules.join_gap_ms:
        return runs[-1]
    return None


def find_longest_run(stretches: Iterable[Stretch], rules: ZeroNodeRules) -> Run | None:
    """The run with the most uptime, the earliest of equals; None without any."""
    return max(find_runs(stretches, rules), key=lambda run: run.paid_ms, default=None)


def find_gate(stretches: Iterable[Stretch], rules: ZeroNodeRules) -> TimeMs | None:
    """The first moment at which a run had `gate_ms` of uptime; None if none has.

    It needs the stretches of the whole run, from its beginning, of several days if need be.
    """
    for run in find_runs(stretches, rules):
        moment = run.find_moment(rules.gate_ms)
        if moment is not None:
            return moment
    return None


def compute_day(
    stretches: Sequence[Stretch],
    day: int,
    rules: ZeroNodeRules,
    linked_ms: TimeMs | None,
    gate_ms: TimeMs | None,
) -> DayUptime:
    """Count an account's day.

    `stretches` may hold more than the day; `linked_ms` is when the NFT that is still held was
    linked, `gate_ms` when the account's referral began to count, each None for never.
    """
    start, end = rules.day_start(day), rules.day_end(day)
    of_day = clip(stretches, start, end)

    def count_from(*moments: TimeMs | None) -> int:
        since = start
        for moment in moments:
            if moment is None:
                return 0
            since = max(since, moment)
        return seconds(clip(of_day, since, end))

    return DayUptime(
        seconds=count_from(),
        doubled_seconds=count_from(linked_ms),
        referred_seconds=count_from(gate_ms),
        referred_doubled_seconds=count_from(gate_ms, linked_ms),
    )
