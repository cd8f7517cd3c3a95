"""From commitments and times to terms."""

from dataclasses import replace

import pytest

from protocols.chains import ChainCommitment, derive_iterations
from protocols.compute import Shape, WorkCommitment
from protocols.errors import LocalError
from protocols.host_proof import DeviceWork
from protocols.measurement import Measurement, assess
from protocols.memory import PassCommitment
from protocols.params import MAINNET
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
