"""From what a checker measured to the score it reports. Integers only.

    score = round(100 · uptime · validity · stake_factor · Σ weight · term)

with Kaisar's weights (`params.WEIGHTS`). A term counts once a proof measures it: *gpu* and *memory*
from compute and memory proof, *cpu* from chains, *bandwidth* from transfers. No proof measures
disks, so nothing here gives points for one.

Kaisar's tiers are taken as points that a machine reaches at the lower edge of the tier, with
straight lines between them and from nothing. Every term is concave, and every division rounds
down: a machine that is claimed in parts, or in more devices, never comes to more.
"""

from collections.abc import Mapping, Sequence
from enum import IntEnum

from protocols.errors import LocalError
from protocols.params import MAX_SCORE, WEIGHTS, Preset

MILLI = 1000
"""Factors and terms are integers in thousandths."""

SECOND_US = 1_000_000

REGENERATION_MARGIN = (3, 2)
"""How much faster than its measured rate a device may make words of C again: the measurement has
round trip, last round and hashing in it, which take up to a third."""

PASS_LIMIT_US = 250_000
"""A pass over everything kept counts in full up to this time. Every GPU reads itself whole within
half of it (24 GB at 200 GB/s: 120 ms); whatever brings words from elsewhere (PCIe, a disk, another
machine) at S bytes/s adds S/4 at most."""

_GPU_POINTS = 10
"""Kaisar's table gives 10 points to the reference card."""

_Anchors = Sequence[tuple[int, int]]

_MBIT = 1_000_000
_GB = 1_000_000_000

DOWN_ANCHORS = ((75 * _MBIT, 200), (400 * _MBIT, 400), (800 * _MBIT, 600), (1600 * _MBIT, 800))
"""Bits per second towards the provider, thousandths (Kaisar's tiers, facts: kaisar.md)."""

UP_ANCHORS = ((75 * _MBIT, 200), (300 * _MBIT, 400), (600 * _MBIT, 600), (1200 * _MBIT, 800))
"""Bits per second from the provider, thousandths."""

CORE_ANCHORS = ((32, 400), (64, 600), (128, 800))
"""Cores, thousandths."""

MEMORY_ANCHORS = ((32 * _GB, 400), (128 * _GB, 600), (512 * _GB, 800))
"""Bytes, thousandths."""


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


def compute_throughput(amount: int, elapsed_us: int, window_us: int) -> int:
    """Operations, iterations or bits per second that are proved: `amount` over the checker's time.

    `elapsed_us` is the checker's own clock from request to commitment, nothing subtracted. It
    counts as `window_us`, the time that was to be used, where an answer came earlier: otherwise
    one device could serve several identities one after another within a lockstep slot, each for
    a short time at its full rate. Σ over identities of one device that answer until D is still
    at most 1 + ln(D / window) times its rate; so what a preset allows beyond its window is short.
    LocalError unless both times are positive.
    """
    if elapsed_us <= 0 or window_us <= 0:
        raise LocalError(f"elapsed time {elapsed_us} µs, window {window_us} µs: not positive")
    return amount * SECOND_US // max(elapsed_us, window_us)


def compute_word_bits(k: int) -> int:
    """Bits that a word of C is worth as memory, at most 32: what it takes at least to keep it.

    A word is a sum of k products of two uniform int8, so it is normal with a deviation of
    5461 · √k and has an entropy of ½·log2(2πe · 5461² · k) = 14.46 + ½·log2(k) bits: 21.46 at
    k = 16,384. The other bits only repeat its sign, and whoever leaves them out keeps a third more
    words in the same memory. So they are not credited. Rounded down to half of an integer sum.
    """
    return (28 + k.bit_length() - 1) // 2


def compute_memory_credit(
    *, words: int, k: int, passes: int, rate: int, elapsed_us: int, window_us: int
) -> int:
    """Bytes of memory that a host has shown to hold: a lower bound, whatever it did.

    `words` is the number of words of C in all rows that its devices keep, `passes` the least
    number of passes of any device that keeps some, `rate` its operations per second in the
    compute proof of the same job (all devices), the times those of the passes as in
    `compute_throughput`. 0 where nothing was kept or passed; LocalError for times that are not
    positive.

    **Soundness.** A pass cannot begin before the one before it is complete, as its start states
    come from the last root. So whoever holds h words of the w it claims has made the other w − h
    again in each of P passes, within T: P · (w − h) · 2k ≤ G · T for what it can multiply, G. With
    G ≤ 3/2 · rate (REGENERATION_MARGIN)

        h ≥ w − (3/2 · rate · T) / (2k · P)

    and h words take `compute_word_bits` each. The right side is what is credited, rounded down:
    at most what is held. Devices may help one another: all rates are summed and P is the least.

    **Sandbagging.** A host may show a smaller rate than it has, to seem a weaker maker of words.
    Each operation per second less gives it at most 3/2 · T / (2k · P) words more, with T / P
    counted up to PASS_LIMIT_US, and takes 3 · 10,000 / reference_rate weighted points. On every
    preset the loss is more than twenty times the gain (tests/protocols/test_overclaiming.py).

    **Slow sources.** Words that come over PCIe or from a disk at S words/s pass for S · T / P held
    ones. Beyond PASS_LIMIT_US a pass the credit shrinks in proportion, so this is never more than
    S · PASS_LIMIT_US.
    """
    if elapsed_us <= 0 or window_us <= 0:
        raise LocalError(f"elapsed time {elapsed_us} µs, window {window_us} µs: not positive")
    if not words or not passes:
        return 0
    time_us = max(elapsed_us, window_us)
    over, under = REGENERATION_MARGIN
    made_again = -(-over * rate * time_us // (under * 2 * k * passes * SECOND_US))
    held = max(0, words - made_again)
    if time_us > PASS_LIMIT_US * passes:
        held = held * PASS_LIMIT_US * passes // time_us
    return held * compute_word_bits(k) // 8


def bandwidth_term(down_bits_per_s: int, up_bits_per_s: int) -> int:
    """Points of a line in thousandths: those of its weaker direction."""
    down = _interpolate(down_bits_per_s, DOWN_ANCHORS)
    return min(down, _interpolate(up_bits_per_s, UP_ANCHORS))


def cpu_term(iterations_per_s: int, reference_chain_rate: int) -> int:
    """Points of a host's cores in thousandths, a core being `reference_chain_rate`."""
    anchors = [(cores * reference_chain_rate, points) for cores, points in CORE_ANCHORS]
    return _interpolate(iterations_per_s, anchors)


def gpu_term(rate: int, reference_rate: int) -> int:
    """Points for a rate, in thousandths: 10 at the reference, linear, never capped by a model."""
    return _GPU_POINTS * MILLI * rate // reference_rate


def memory_term(credited_bytes: int) -> int:
    """Points for bytes credited by `compute_memory_credit`, in thousandths."""
    return _interpolate(credited_bytes, MEMORY_ANCHORS)


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


def _interpolate(value: int, anchors: _Anchors) -> int:
    """Points on the line through (0, 0) and the anchors, rounded down; flat after the last."""
    if value < 0:
        raise LocalError(f"a measurement of {value}")
    low, base = 0, 0
    for high, points in anchors:
        if value < high:
            return base + (points - base) * (value - low) // (high - low)
        low, base = high, points
    return base
