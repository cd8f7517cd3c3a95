"""Attacks on time: whose clock, which difference, and one device for several identities."""

from collections.abc import Sequence
from math import log

from bench.adversaries.memory import DEADLINE_US, GB, H100, WINDOW_US, WORD_BITS, credit, score
from bench.adversaries.outcome import Claim, Outcome
from protocols.params import MAINNET, Preset
from protocols.scoring import SECOND_US, compute_score, compute_throughput

RATE = 10**15
"""Operations per second that the device of these scenes does."""

COMPUTE_US = MAINNET.window_ms * 1000
LATEST_US = COMPUTE_US + MAINNET.commitment_slack_ms * 1000


def work_until(start_us: int, end_us: int) -> int:
    """Operations that the device does in between."""
    return RATE * (end_us - start_us) // SECOND_US


def divide_by_elapsed(work: int, elapsed_us: int) -> int:
    """A rate over the time that an identity took, however short that was."""
    return work * SECOND_US // elapsed_us


def report_a_time() -> Outcome:
    """State that the job took a tenth of the time (SN27's miners print their own)."""
    work = work_until(0, COMPUTE_US)
    stated = divide_by_elapsed(work, COMPUTE_US // 10)
    found = compute_throughput(work, COMPUTE_US, COMPUTE_US)
    return Outcome(
        "self-reported time",
        2,
        "the checker's own clock, from request to commitment",
        stated > RATE,
        found > RATE,
        f"stated {stated / RATE:.0f} times its rate, found {found / RATE:.2f}",
    )


def hold_the_first_back() -> Outcome:
    """Where arrival(1) − arrival(0) is scored (Nodexo), deliver the first late. With us a delay
    only adds to the one time there is."""
    first_us, second_us = COMPUTE_US // 2, COMPUTE_US
    work = work_until(first_us, second_us)
    best_without, best_with = 0, 0
    for held_us in range(0, second_us - first_us, 50_000):
        best_without = max(best_without, divide_by_elapsed(work, second_us - (first_us + held_us)))
        late = compute_throughput(work_until(0, second_us), second_us + held_us, COMPUTE_US)
        best_with = max(best_with, late)
    return Outcome(
        "delta timing",
        14,
        "absolute time, nothing subtracted",
        best_without > RATE,
        best_with > RATE,
        f"{best_without / RATE:.0f} times its rate without, {best_with / RATE:.2f} with",
    )


def serve_two_at_different_times() -> Outcome:
    """One GPU behind two identities. Checked at different times, each shows all of it; in lockstep
    they share it."""
    apart = 2 * compute_throughput(work_until(0, COMPUTE_US), COMPUTE_US, COMPUTE_US)
    half = work_until(0, COMPUTE_US) // 2
    together = 2 * compute_throughput(half, COMPUTE_US, COMPUTE_US)
    return Outcome(
        "one GPU behind two identities",
        9,
        "lockstep: all providers are checked at the same moment",
        apart > RATE,
        together > RATE,
        f"{apart / RATE:.2f} of its rate at different times, {together / RATE:.2f} in lockstep",
    )


def answer_early() -> Outcome:
    """Serve one identity after another within the slot, each for a moment, and answer at once."""
    moments = [COMPUTE_US >> i for i in reversed(range(9))]
    without = _sum_rates(moments, 1)
    within = _sum_rates(moments, COMPUTE_US)
    return Outcome(
        "identities served one after another",
        9,
        "an early answer counts as the whole window",
        without > RATE,
        within > RATE,
        f"{len(moments)} identities: {without / RATE:.2f} of its rate without, "
        f"{within / RATE:.2f} with",
    )


def answer_late() -> Outcome:
    """Likewise, with some answers after the window, in the time left for slow connections."""
    moments = [COMPUTE_US + (LATEST_US - COMPUTE_US) * i // 50 for i in range(51)]
    total = _sum_rates(moments, COMPUTE_US)
    bound = _bound_of(MAINNET)
    return Outcome(
        "identities served in the time beyond the window",
        9,
        "every answer divided by its own time, with little time beyond the window",
        _sum_rates(moments, 1) > RATE,
        RATE < total <= RATE * bound,
        f"{total / RATE:.2f} of its rate (bound {bound:.2f})",
        Claim.BOUNDED,
    )


def _bound_of(preset: Preset) -> float:
    return 1 + log((preset.window_ms + preset.commitment_slack_ms) / preset.window_ms)


def _sum_rates(moments: Sequence[int], window_us: int) -> int:
    starts = [0, *moments[:-1]]
    return sum(
        compute_throughput(work_until(start, end), end, window_us)
        for start, end in zip(starts, moments, strict=True)
    )


# Stages that would begin with each answer, and do begin at fixed moments

LATEST_CHAINS_US = LATEST_US + DEADLINE_US
"""When the stage of chains would begin for an identity that answers as late as it may."""


def fill_one_memory_twice() -> Outcome:
    """Show one memory for two identities within a stage that both begin together: pass over the
    first's rows, make the second's again in their place, pass over those."""
    words = H100.memory * 8 // WORD_BITS
    refill_us = words * 2 * MAINNET.k * SECOND_US // H100.rate
    pass_us = H100.memory * SECOND_US // H100.read
    rate = H100.rate // 2
    best = credit(words, WINDOW_US // pass_us, rate)
    for first_us in range(pass_us, DEADLINE_US - refill_us - pass_us, 20_000):
        second_us = DEADLINE_US - first_us - refill_us
        both = credit(words, first_us // pass_us, rate, max(first_us, WINDOW_US))
        both += credit(words, second_us // pass_us, rate, DEADLINE_US)
        best = max(best, both)
    apart = 2 * credit(words, WINDOW_US // pass_us, rate)
    turns = 1 + (LATEST_US - refill_us) // (refill_us + WINDOW_US)
    return Outcome(
        "one memory behind several identities",
        9,
        "stages at fixed moments, which leave time to fill it once more",
        apart > H100.memory,
        best > H100.memory,
        f"two show {best / H100.memory:.2f} of it; {turns} would show all of it one after another "
        f"if a stage began with the answer before. Worth {score(0, 512 * GB)} points each at most, "
        f"an H100's rate {score(MAINNET.reference_rate, 0)}",
        Claim.BOUNDED,
    )


def serve_cores_in_turn() -> Outcome:
    """Let one host's cores work for one identity after another: if stages began with the answer
    before, that of chains would come early for who answers at once, and late for who does not."""
    window_us = MAINNET.chain_window_ms * 1000
    latest_us = window_us + MAINNET.chain_slack_ms * 1000
    together = 1 + log(latest_us / window_us)
    turns = 1 + LATEST_CHAINS_US // window_us
    return Outcome(
        "one host's cores behind several identities",
        9,
        "stages at fixed moments, and little time beyond the window",
        turns > 1,
        together > 1,
        f"{together:.2f} of them shown; {turns} times if a stage began with the answer before; "
        f"{compute_points(cpu=800)} points each at most",
        Claim.BOUNDED,
    )


def share_a_line() -> Outcome:
    """Show one line for each of a GPU's identities: lines are measured one by one. Nothing stops
    this but the price of an identity, which has to have a share of the GPU and a stake."""
    identities = 12
    whole = compute_points(gpu=10_000, bandwidth=800, memory=483)
    part = compute_points(gpu=10_000 // identities, bandwidth=800, memory=75)
    staked = MAINNET.max_stake
    whole_staked = compute_points(staked, gpu=10_000, bandwidth=800, memory=483)
    part_staked = compute_points(
        staked // identities, gpu=10_000 // identities, bandwidth=800, memory=75
    )
    return Outcome(
        "one line behind several identities",
        9,
        "none but stakes: what doubles a score has to be staked for each identity",
        identities * part > whole,
        identities * part > whole and identities * part_staked < whole_staked,
        f"an H100 as {identities} identities: {identities * part / whole:.2f} of its score without "
        f"stake, {identities * part_staked / whole_staked:.2f} with the largest stake spread",
        Claim.PRICED,
    )


def compute_points(stake: int = 0, **terms: int) -> int:
    """Score of these terms on mainnet."""
    return compute_score(uptime=1000, validity=1000, stake=stake, terms=terms, preset=MAINNET)


ATTACKS = (
    report_a_time,
    hold_the_first_back,
    serve_two_at_different_times,
    answer_early,
    answer_late,
    fill_one_memory_twice,
    serve_cores_in_turn,
    share_a_line,
)
