"""From commitments and times to terms."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.chains import ChainCommitment, derive_iterations
from protocols.compute import Shape, WorkCommitment
from protocols.errors import LocalError
from protocols.host_proof import DeviceWork
from protocols.measurement import Measurement, assess, bound_score, score_terms
from protocols.memory import PassCommitment
from protocols.params import MAINNET, PRESETS, TOKEN, Preset
from protocols.scoring import (
    bandwidth_term,
    compute_memory_credit,
    cpu_term,
    gpu_term,
    memory_term,
)

WINDOW_US = MAINNET.window_ms * 1000
SHAPE = Shape(16_384, MAINNET.k, MAINNET.n)
WORKS = tuple(
    DeviceWork(device, SHAPE, kept, WorkCommitment(rounds, bytes(32)))
    for device, rounds, kept in ((0, 900, 200), (1, 1000, 240), (2, 10, 0))
)
PASSES = (PassCommitment(25, bytes(32)), PassCommitment(20, bytes(32)), None)
FULL = Measurement(
    works=WORKS,
    work_us=WINDOW_US + 100_000,
    passes=PASSES,
    pass_us=1_020_000,
    chains=(ChainCommitment(1000, b"\x01" * 32), ChainCommitment(900, b"\x02" * 32)),
    chain_us=2_050_000,
    down_bits_per_s=900_000_000,
    up_bits_per_s=500_000_000,
)


def test_rates_are_those_of_all_devices_over_the_checkers_time() -> None:
    found = assess(FULL, MAINNET)
    operations = 2 * SHAPE.m * SHAPE.k * SHAPE.n * (900 + 1000 + 10)
    assert found.rate == operations * 1_000_000 // FULL.work_us
    assert found.terms["gpu"] == gpu_term(found.rate, MAINNET.reference_rate)


def test_an_answer_before_the_window_counts_as_at_its_end() -> None:
    found = assess(replace(FULL, work_us=1, pass_us=1, chain_us=1), MAINNET)
    at_end = replace(
        FULL,
        work_us=WINDOW_US,
        pass_us=MAINNET.pass_window_ms * 1000,
        chain_us=MAINNET.chain_window_ms * 1000,
    )
    assert found == assess(at_end, MAINNET)


def test_memory_is_credited_over_all_devices_with_the_least_passes() -> None:
    found = assess(FULL, MAINNET)
    assert found.memory_bytes == compute_memory_credit(
        words=440 * SHAPE.m * SHAPE.n,
        k=MAINNET.k,
        passes=20,
        rate=found.rate,
        elapsed_us=FULL.pass_us,
        window_us=1_000_000,
    )
    assert found.terms["memory"] == memory_term(found.memory_bytes) > 0


def test_a_device_without_passes_has_no_memory_to_its_credit() -> None:
    one = replace(FULL, passes=(PASSES[0], None, None))
    assert 0 < assess(one, MAINNET).memory_bytes < assess(FULL, MAINNET).memory_bytes
    for passes in ((), (None, None, None)):
        found = assess(replace(FULL, passes=passes), MAINNET)
        assert (found.memory_bytes, found.terms["memory"]) == (0, 0)


def test_chains_are_credited_at_the_networks_length() -> None:
    found = assess(FULL, MAINNET)
    iterations = derive_iterations(MAINNET.reference_chain_rate, MAINNET.chain_window_ms)
    assert found.chain_rate == 1900 * iterations * 1_000_000 // FULL.chain_us
    assert found.terms["cpu"] == cpu_term(found.chain_rate, MAINNET.reference_chain_rate)
    assert assess(replace(FULL, chains=(), chain_us=0), MAINNET).terms["cpu"] == 0


def test_the_line_is_what_receipts_say() -> None:
    found = assess(FULL, MAINNET)
    assert (found.down_bits_per_s, found.up_bits_per_s) == (900_000_000, 500_000_000)
    assert found.terms["bandwidth"] == bandwidth_term(900_000_000, 500_000_000)


def test_no_term_without_a_proof() -> None:
    assert set(assess(FULL, MAINNET).terms) == {"bandwidth", "cpu", "gpu", "memory"}


def test_passes_of_other_devices_are_our_bug() -> None:
    with pytest.raises(LocalError, match="passes of other devices"):
        assess(replace(FULL, passes=PASSES[:2]), MAINNET)


# What an audit allows

PASSED = st.builds(PassCommitment, st.integers(1, 60), st.just(bytes(32)))


@st.composite
def measurements(draw: st.DrawFn, preset: Preset) -> Measurement:
    """Whatever commitments a host may make, with times that a checker may measure."""
    works, passes = [], []
    for device in range(draw(st.integers(1, 3))):
        shape = Shape(draw(st.integers(1, 16_384)), preset.k, preset.n)
        rounds = draw(st.integers(1, 2000))
        kept = draw(st.integers(0, min(rounds, 250)))
        works.append(DeviceWork(device, shape, kept, WorkCommitment(rounds, bytes(32))))
        passes.append(draw(PASSED | st.none()) if kept else None)
    chains = draw(
        st.lists(
            st.builds(ChainCommitment, st.integers(1, 2000), st.just(b"\x01" * 32)), max_size=4
        )
    )

    def time(window_ms: int, slack_ms: int) -> int:
        return draw(st.integers(1, 1000 * (window_ms + slack_ms)))

    return Measurement(
        works=works,
        work_us=time(preset.window_ms, preset.commitment_slack_ms),
        passes=passes,
        pass_us=time(preset.pass_window_ms, preset.pass_slack_ms),
        chains=chains,
        chain_us=time(preset.chain_window_ms, preset.chain_slack_ms),
        down_bits_per_s=draw(st.integers(0, 2 * 10**9)),
        up_bits_per_s=draw(st.integers(0, 2 * 10**9)),
    )


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS.keys())
@given(data=st.data(), stake=st.integers(0, 20_000 * TOKEN))
def test_no_honest_score_exceeds_what_an_audit_allows(
    preset: Preset, data: st.DataObject, stake: int
) -> None:
    measured = data.draw(measurements(preset))

    honest = score_terms(assess(measured, preset).terms, stake, preset)

    assert honest <= bound_score(measured, stake, preset)


@given(data=st.data())
def test_an_audit_does_not_look_at_times(data: st.DataObject) -> None:
    measured = data.draw(measurements(MAINNET))
    shown = replace(measured, work_us=0, pass_us=0, chain_us=0)

    assert bound_score(shown, 0, MAINNET) == bound_score(measured, 0, MAINNET)


def test_what_an_audit_allows_is_what_the_fastest_checker_finds() -> None:
    """But for memory, of which a slower device is credited with more."""
    works = [replace(work, kept=0) for work in WORKS]
    measured = replace(FULL, works=works, passes=(None, None, None))
    fastest = replace(measured, work_us=1, chain_us=1)

    bound = bound_score(measured, 500 * TOKEN, MAINNET)

    assert bound == score_terms(assess(fastest, MAINNET).terms, 500 * TOKEN, MAINNET)


def test_a_slower_device_is_credited_with_more_memory() -> None:
    """So the bound must not take the memory term of the fastest one."""
    slow = assess(replace(FULL, work_us=WINDOW_US + 750_000), MAINNET)
    fast = assess(replace(FULL, work_us=WINDOW_US), MAINNET)

    assert slow.memory_bytes > fast.memory_bytes
    assert slow.terms["gpu"] < fast.terms["gpu"]


def test_an_honest_score_may_be_a_point_above_that_of_the_fastest_checker() -> None:
    """A millisecond later the gpu term is the same and the memory term one thousandth more, which
    rounding makes a point of (found by search). An audit must allow it."""
    work = DeviceWork(0, Shape(7337, MAINNET.k, MAINNET.n), 121, WorkCommitment(205, bytes(32)))
    fastest = Measurement([work], WINDOW_US, [PassCommitment(2, bytes(32))], 1_000_000)
    honest = replace(fastest, work_us=WINDOW_US + 1000)

    fast, slow = (assess(each, MAINNET).terms for each in (fastest, honest))

    assert (slow["gpu"], slow["memory"]) == (fast["gpu"], fast["memory"] + 1)
    assert score_terms(slow, 0, MAINNET) == score_terms(fast, 0, MAINNET) + 1
    assert score_terms(slow, 0, MAINNET) <= bound_score(fastest, 0, MAINNET)
