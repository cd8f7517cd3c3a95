"""From what a checker measured to the score it reports. Integers only.

    score = round(100 · uptime · validity · stake_factor · Σ weight · term)

with Kaisar's weights (`params.WEIGHTS`). A term counts once a proof measures it: the compute
proof gives *gpu*, the rate of exact int8 arithmetic.
"""

from collections.abc import Mapping
from enum import IntEnum

from protocols.compute import Shape
from protocols.errors import LocalError
from protocols.params import MAX_SCORE, WEIGHTS, Preset

MILLI = 1000
"""Factors and terms are integers in thousandths."""

_GPU_POINTS = 10
"""Kaisar's table gives 10 points to the reference card."""


class Verdict(IntEnum):
    """How one job ended. Only `WRONG` accuses; it rests on evidence that anyone can check again."""

    OK = 0
    SLOW = 1
    """Alive, but a deadline passed."""
    WRONG = 2
    """A signed commitment that its own openings refute."""
    ABSENT = 3
    """No connection, or nothing at all came back."""
    BUSY = 4
    """Answered that it cannot take the job now."""


def compute_rate(shape: Shape, rounds: int, elapsed_us: int) -> int:
    """Operations per second proved: 2·m·k·n per round over the checker's own clock (µs)."""
    if elapsed_us <= 0:
        raise LocalError(f"elapsed time {elapsed_us} µs is not positive")
    return 2 * shape.m * shape.k * shape.n * rounds * 1_000_000 // elapsed_us


def gpu_term(rate: int, reference_rate: int) -> int:
    """Points for a rate, in thousandths: 10 at the reference, linear, never capped by a model."""
    return _GPU_POINTS * MILLI * rate // reference_rate


def stake_factor(stake: int, max_stake: int) -> int:
    """1 + stake / max_stake in thousandths, at most 2 (Kaisar's rule)."""
    return MILLI + MILLI * min(stake, max_stake) // max_stake


def compute_score(
    *, uptime: int, validity: int, stake: int, terms: Mapping[str, int], preset: Preset
) -> int:
    """Combine the factors (thousandths, 0 … 1000) and terms (thousandths) into 0 … 32767.

    `terms` maps names of `params.WEIGHTS` to what was measured; a name left out earns nothing.
    LocalError for a factor or a term that cannot be.
    """
    for name, factor in (("uptime", uptime), ("validity", validity)):
        if not 0 <= factor <= MILLI:
            raise LocalError(f"{name}: found {factor}, expected 0 … {MILLI}")
    for name, points in terms.items():
        if name not in WEIGHTS or points < 0:
            raise LocalError(f"{name}: found {points}, expected 0 or more for {', '.join(WEIGHTS)}")
    weighted = sum(WEIGHTS[name] * points for name, points in terms.items())
    product = 100 * uptime * validity * stake_factor(stake, preset.max_stake) * weighted
    unit = MILLI**4
    return min(MAX_SCORE, (product + unit // 2) // unit)
