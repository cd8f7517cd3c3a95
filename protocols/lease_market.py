"""What a renter chooses by: what the chain proves of a provider, what it asks, and what that costs.

Everything here follows from settled epochs, which checkers agreed on, and from the offer on the
chain. A settled score is

    score = 1/10,000 · stake factor · (3·gpu + 2·bandwidth + cpu + memory)        (thousandths)

(`scoring.compute_score`), and all terms but the GPU's have a ceiling. So a score alone bounds the
GPU term from both sides: the others together have at most `OTHER_POINTS` of the weighted sum. That
bound needs nobody's word. Leased epochs say what a provider was worth before its lease, not what
was measured in them, so they count for its reliability only.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from protocols.leases import BPS, Offer, Terms, compute_bond, compute_escrow, compute_fee
from protocols.params import MAX_SCORE, WEIGHTS, Preset
from protocols.scoring import (
    CORE_ANCHORS,
    DOWN_ANCHORS,
    MEMORY_ANCHORS,
    MILLI,
    UP_ANCHORS,
    stake_factor,
)

OTHER_POINTS: Final = (
    WEIGHTS["bandwidth"] * min(DOWN_ANCHORS[-1][1], UP_ANCHORS[-1][1])
    + WEIGHTS["cpu"] * CORE_ANCHORS[-1][1]
    + WEIGHTS["memory"] * MEMORY_ANCHORS[-1][1]
)
"""What all terms but the GPU's add to a weighted sum at most, in thousandths."""

_SCORE_UNIT: Final = 10_000
"""Weighted thousandths times thousandths of the stake factor that are one point of a score."""

_GPU_POINTS: Final = 10
"""Points of the GPU term at the reference rate."""


@dataclass(frozen=True, slots=True)
class RateBounds:
    """Between what a provider's devices can do, in operations per second; `most` None where the
    score is the highest there is."""

    least: int
    most: int | None


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """One settled epoch of a provider: whether the checkers' majority saw it, and its score.

    `leased` when any second of the epoch belonged to a lease of the provider's machine.
    """

    online: bool
    score: int
    leased: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """A provider with an offer, as the chain has it; `epochs` are settled ones, the newest first.

    `stake` is what counts in its scores now.
    """

    offer: Offer
    stake: int
    epochs: Sequence[EpochRecord]

    @property
    def online_epochs(self) -> int:
        """In how many of the epochs it was there."""
        return sum(each.online for each in self.epochs)

    @property
    def reliability_bps(self) -> int:
        """Part of the epochs in which it was there, in ten-thousandths; 0 when there are none."""
        return BPS * self.online_epochs // len(self.epochs) if self.epochs else 0

    @property
    def is_away(self) -> bool:
        """Whether it was away in the newest epoch; so is who was never seen."""
        return not self.epochs or not self.epochs[0].online

    @property
    def measured(self) -> list[int]:
        """Scores of the epochs in which it was measured, 0 where it was away."""
        return [each.score for each in self.epochs if not each.leased]

    @property
    def mean_score(self) -> Fraction:
        """What an epoch of it was worth on average, absences counted as nothing."""
        return Fraction(sum(self.measured), len(self.measured) or 1)

    @property
    def proven_score(self) -> int:
        """The low median of its scores where it was there and measured: what the machine is."""
        ranked = sorted(score for score in self.measured if score)
        return ranked[(len(ranked) - 1) // 2] if ranked else 0

    @property
    def value(self) -> Fraction:
        """Mean score per unit of the token's smallest and second: what the list is sorted by."""
        return self.mean_score / max(1, self.offer.price)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a renter asks for; None asks for nothing.

    `min_rate` in operations per second, `max_price` per second in the smallest unit, `seconds` a
    duration that the offer must allow.
    """

    min_score: int | None = None
    min_rate: int | None = None
    reliability_bps: int | None = None
    max_price: int | None = None
    seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Quote:
    """What a lease costs: `escrow` = `amount` + `fee` is paid at the opening; `bond` is what the
    provider leaves, and forfeits by leaving early or staying away; `least` is paid to it even if
    the renter ends sooner, with the fee on that."""

    seconds: int
    price: int
    amount: int
    fee: int
    escrow: int
    bond: int
    least: int


def compute_rate_bounds(score: int, stake: int, preset: Preset) -> RateBounds:
    """Bound the operations per second behind a settled score of a provider with this stake."""
    factor = stake_factor(stake, preset.max_stake)
    # Scores are rounded, so each stands for half a point more or less.
    low = max(0, (2 * score - 1) * _SCORE_UNIT // (2 * factor))
    high = -(-(2 * score + 1) * _SCORE_UNIT // (2 * factor))
    unit = WEIGHTS["gpu"] * _GPU_POINTS * MILLI
    least = max(0, low - OTHER_POINTS) * preset.reference_rate // unit
    if score == 0:
        return RateBounds(0, 0)
    if score >= MAX_SCORE:
        return RateBounds(least, None)
    return RateBounds(least, high * preset.reference_rate // unit)


def find_misfit(candidate: Candidate, wish: Wish, preset: Preset) -> str | None:
    """Say by which of a renter's wishes a candidate falls short, or None when by none."""
    offer = candidate.offer
    rate = compute_rate_bounds(candidate.proven_score, candidate.stake, preset).least
    if wish.min_score is not None and candidate.proven_score < wish.min_score:
        return "score"
    if wish.min_rate is not None and rate < wish.min_rate:
        return "rate"
    if wish.reliability_bps is not None and candidate.reliability_bps < wish.reliability_bps:
        return "reliability"
    if wish.max_price is not None and offer.price > wish.max_price:
        return "price"
    if wish.seconds is not None and find_length_fault(offer, wish.seconds) is not None:
        return "duration"
    return None


def rank_candidates(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Sort the best value first: mean score per price, then reliability, then the lower slot."""
    return sorted(
        candidates, key=lambda each: (-each.value, -each.reliability_bps, each.offer.provider)
    )


def find_length_fault(offer: Offer, seconds: int) -> str | None:
    """Say why an offer does not allow a lease of so many seconds, or None when it does."""
    if offer.minimum_seconds <= seconds <= offer.maximum_seconds:
        return None
    return (
        f"found {seconds:,} s, expected {offer.minimum_seconds:,} … {offer.maximum_seconds:,} s, "
        "which the offer allows"
    )


def compute_quote(offer: Offer, seconds: int, preset: Preset) -> Quote:
    """Work out what a lease of this offer costs when it is opened now."""
    terms = Terms(
        price=offer.price,
        minimum_seconds=offer.minimum_seconds,
        maximum_seconds=offer.maximum_seconds,
        fee_bps=preset.lease_fee_bps,
        bond=compute_bond(seconds, offer.price, preset.lease_penalty_bps),
    )
    amount = seconds * offer.price
    return Quote(
        seconds=seconds,
        price=offer.price,
        amount=amount,
        fee=compute_fee(amount, terms.fee_bps),
        escrow=compute_escrow(seconds, terms),
        bond=terms.bond,
        least=min(seconds, offer.minimum_seconds) * offer.price,
    )


def compute_warnings(seconds: int) -> tuple[int, ...]:
    """Return how many seconds before its end a lease of this length is warned about, most first.

    Ten minutes and one minute; a sixth and a twentieth of its time where that is less.
    """
    times = {min(600, seconds // 6), min(60, seconds // 20)}
    return tuple(sorted((each for each in times if each), reverse=True))


def find_next_warning(seconds: int, left: int) -> int | None:
    """Return at how many seconds left the next warning is due when `left` are left, or None."""
    return next((each for each in compute_warnings(seconds) if each <= left), None)
