"""What an epoch was worth: its closing, judged by the arithmetic of `protocols.settlement`.

The carry from before is taken from the event of the epoch closed before; that one is judged by its
own audit. What was in no pool then follows from what was funded and promised. Money that comes back
from expired epochs does so in spans, unclaimed parts only; from the first one on it is known within
bounds, and only a pool that was cut for want of money depends on it.
"""

from dataclasses import dataclass
from typing import Final

from chain.audit.findings import Checks, Place
from chain.events import EpochClosed
from protocols.params import Preset
from protocols.settlement import Books, close_epoch, skip_epochs
from protocols.types import Epoch

CONTRACT: Final = "Rewards"

EMISSION_BPS: Final = 4
"""Number of the Steward's parameter."""


@dataclass(frozen=True, slots=True)
class ClosingFacts:
    """What decided the pools of one epoch.

    `previous` is the closing before, None for the first. `first` is the first epoch that was ever
    to be closed. `skipped_to` is the oldest epoch that had not expired at the time. `least` and
    `most` bound what was in no pool. `has_providers` and `has_checkers` tell whether anybody has a
    score, any report a weight.
    """

    event: EpochClosed
    previous: EpochClosed | None
    first: Epoch
    skipped_to: Epoch
    emission_bps: int
    least: int
    most: int
    has_providers: bool
    has_checkers: bool


def compute_closing(facts: ClosingFacts, preset: Preset, unpromised: int) -> Books:
    """Return the books after the closing, given what was in no pool before."""
    before = _books_before(facts, preset, unpromised)
    return close_epoch(
        before,
        preset,
        has_providers=facts.has_providers,
        has_checkers=facts.has_checkers,
        emission_bps=facts.emission_bps,
    )


def judge_closing(facts: ClosingFacts, preset: Preset, checks: Checks) -> None:
    """Raise DifferenceError unless the epoch was closed with the pools that it had to have."""
    place, event = Place(facts.event.epoch), facts.event
    expected = compute_closing(facts, preset, _implied_unpromised(facts, preset))
    checks.equal(CONTRACT, "EpochClosed.epoch", place, event.epoch, expected.next_epoch - 1)
    for field in ("provider_pool", "checker_pool", "provider_carry", "checker_carry"):
        checks.equal(
            CONTRACT, f"EpochClosed.{field}", place, getattr(event, field), getattr(expected, field)
        )


def _books_before(facts: ClosingFacts, preset: Preset, unpromised: int) -> Books:
    previous = facts.previous
    if previous is not None:
        books = Books(
            Epoch(previous.epoch + 1),
            unpromised,
            previous.provider_carry,
            previous.checker_carry,
        )
    elif facts.skipped_to <= facts.first:
        # The first of all. `first` is known but for the time that a deployment takes.
        books = Books(Epoch(max(facts.first, facts.event.epoch)), unpromised)
    else:
        books = Books(facts.first, unpromised)
    return skip_epochs(books, facts.skipped_to, preset, facts.emission_bps)


def _implied_unpromised(facts: ClosingFacts, preset: Preset) -> int:
    """Return what must have been in no pool for what the event tells.

    That is within `least` and `most`; something that explains it not if nothing within them does.
    """
    event = facts.event
    told = (event.provider_pool, event.checker_pool, event.provider_carry, event.checker_carry)

    def close(amount: int) -> tuple[int, int, int, int]:
        books = compute_closing(facts, preset, amount)
        carries = (books.provider_carry, books.checker_carry)
        return books.provider_pool, books.checker_pool, *carries

    # The usual cases: the amount is known, or there is enough of it.
    for amount in (facts.least, facts.most):
        if close(amount) == told:
            return amount
    # More money never makes a pool smaller, so the least that makes these pools can be searched.
    low, high = facts.least, facts.most
    while low < high:
        middle = (low + high) // 2
        provider_pool, checker_pool, *_ = close(middle)
        if provider_pool < told[0] or checker_pool < told[1]:
            low = middle + 1
        else:
            high = middle
    return low
