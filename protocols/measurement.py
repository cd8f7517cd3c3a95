"""What one job showed of a host, and the terms of its score that follow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from protocols.chains import ChainCommitment, compute_chain_credit, derive_iterations
from protocols.errors import LocalError
from protocols.host_proof import DeviceWork
from protocols.memory import PassCommitment
from protocols.params import Preset
from protocols.scoring import (
    MILLI,
    bandwidth_term,
    compute_memory_credit,
    compute_score,
    compute_throughput,
    cpu_term,
    gpu_term,
    memory_term,
)

_MS = 1000


@dataclass(frozen=True, slots=True)
class Measurement:
    """The commitments of one host, each with its time on the checker's clock in microseconds.

    Everything here was signed by the host and holds when its openings do; nothing is its word
    alone. `passes` has an entry for each work. A stage that was not run has no entries, and a
    time of 0. The rates of the line, in bits per second, come from its committee's receipts.
    """

    works: Sequence[DeviceWork]
    work_us: int
    passes: Sequence[PassCommitment | None] = ()
    pass_us: int = 0
    chains: Sequence[ChainCommitment] = ()
    chain_us: int = 0
    down_bits_per_s: int = 0
    up_bits_per_s: int = 0


@dataclass(frozen=True, slots=True)
class Assessment:
    """What a measurement is worth: rates and credits in natural units, terms in thousandths."""

    rate: int
    """Operations per second of all devices."""
    memory_bytes: int
    """Bytes shown to be held."""
    chain_rate: int
    """Iterations per second of all cores."""
    down_bits_per_s: int
    up_bits_per_s: int
    terms: dict[str, int]
    """Points by the names of `params.WEIGHTS`; a name without a proof is missing."""


def assess(measurement: Measurement, preset: Preset) -> Assessment:
    """Work out rates, credits and terms. LocalError for times that cannot be."""
    rate = compute_throughput(
        sum(work.operations for work in measurement.works),
        measurement.work_us,
        preset.window_ms * _MS,
    )
    memory_bytes = _credit_memory(measurement, preset, rate)
    chain_rate = 0
    if measurement.chains:
        chain_rate = compute_chain_credit(
            measurement.chains,
            derive_iterations(preset.reference_chain_rate, preset.chain_window_ms),
            max(measurement.chain_us, preset.chain_window_ms * _MS),
            preset.reference_chain_rate,
        )
    down, up = measurement.down_bits_per_s, measurement.up_bits_per_s
    terms = {
        "bandwidth": bandwidth_term(down, up),
        "cpu": cpu_term(chain_rate, preset.reference_chain_rate),
        "gpu": gpu_term(rate, preset.reference_rate),
        "memory": memory_term(memory_bytes),
    }
    return Assessment(rate, memory_bytes, chain_rate, down, up, terms)


def score_terms(terms: Mapping[str, int], stake: int, preset: Preset) -> int:
    """Score of a provider with this stake whose proof holds; one job decides, all or nothing."""
    return compute_score(uptime=MILLI, validity=MILLI, stake=stake, terms=terms, preset=preset)


def bound_score(measurement: Measurement, stake: int, preset: Preset) -> int:
    """Most that any honest checker can have found for these commitments, whatever its clock said.

    The times of `measurement` are not looked at, as nobody but its checker saw them. Every answer
    counts as if it came at the end of its window, and no answer can count for more: a score
    never exceeds this one. Except that a slower device is credited with more memory, because it
    could have made less of it again; so for the memory term alone the devices count as being as
    slow as the slack allows.
    """
    window_us = preset.window_ms * _MS
    windows = replace(
        measurement,
        work_us=window_us,
        pass_us=preset.pass_window_ms * _MS,
        chain_us=preset.chain_window_ms * _MS,
    )
    slow = replace(windows, work_us=window_us + preset.commitment_slack_ms * _MS)
    terms = assess(windows, preset).terms
    return score_terms({**terms, "memory": assess(slow, preset).terms["memory"]}, stake, preset)


def _credit_memory(measurement: Measurement, preset: Preset, rate: int) -> int:
    if not measurement.passes:
        return 0
    if len(measurement.passes) != len(measurement.works):
        raise LocalError("passes of other devices")
    passed = [
        (work.kept * work.shape.m * work.shape.n, passes.passes)
        for work, passes in zip(measurement.works, measurement.passes, strict=True)
        if passes
    ]
    if not passed:
        return 0
    return compute_memory_credit(
        words=sum(words for words, _ in passed),
        k=preset.k,
        passes=min(count for _, count in passed),
        rate=rate,
        elapsed_us=measurement.pass_us,
        window_us=preset.pass_window_ms * _MS,
    )
