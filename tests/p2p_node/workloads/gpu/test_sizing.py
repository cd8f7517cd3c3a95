"""Sizes follow from memory and measurements."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p_node.workloads.backend import DeviceMemoryError
from p2p_node.workloads.gpu.backend import GpuBackend
from p2p_node.workloads.gpu.ring import Ring
from p2p_node.workloads.gpu.sizing import (
    MIN_SLOTS,
    Plan,
    compute_budget,
    compute_largest_m,
    plan_memory,
)
from p2p_node.workloads.gpu.warmup import ROUND_MS
from p2p_node.workloads.gpu.work_memory import WorkMemory
from protocols.compute import MAX_M, Shape
from protocols.memory import MAX_KEPT_ROWS
from protocols.params import MAINNET
from tests.fakes.gpu_runtime import HostRuntime

GIB = 1 << 30

SHAPES = st.builds(
    lambda m, k, n: Shape(m, 16 * k, 16 * n),
    st.integers(1, 1 << 16),
    st.integers(1, 1024),
    st.integers(1, 1024),
)


@settings(deadline=None)
@given(shape=SHAPES, budget=st.integers(0, 200 * GIB))
def test_plans_fill_the_budget(shape: Shape, budget: int) -> None:
    try:
        plan = plan_memory(shape, budget)
    except DeviceMemoryError:
        assert Plan(shape, MIN_SLOTS).total > budget
        return
    assert plan.total <= budget
    assert plan.slots * shape.m <= MAX_KEPT_ROWS or plan.slots == MIN_SLOTS
    more = Plan(shape, plan.slots + 1)
    assert more.total > budget or more.slots * shape.m > MAX_KEPT_ROWS or plan.slots == (1 << 14)


@pytest.mark.parametrize("gib", [8, 12, 16, 24, 40, 48, 80, 94, 141, 192])
@pytest.mark.parametrize("m", [512, None])
def test_the_ring_covers_nine_tenths(gib: int, m: int | None) -> None:
    """Of a device from which nothing is taken but B, a context and cuBLAS's workspace."""
    k, n = MAINNET.k, MAINNET.n
    total = gib * GIB
    free = total - (500 << 20) * gib // (gib + 8) - k * n - (64 << 20)
    budget = compute_budget(free, total)
    largest = compute_largest_m(k, n, budget)
    plan = plan_memory(Shape(min(m or largest, largest), k, n), budget)
    assert plan.slots * plan.slot >= 0.9 * total


def test_m_is_bounded_by_memory_and_protocol() -> None:
    assert compute_largest_m(MAINNET.k, MAINNET.n, 80 * GIB) == 32_768
    assert compute_largest_m(MAINNET.k, MAINNET.n, 24 * GIB) == 8192
    assert compute_largest_m(16, 16, 100 * GIB) == MAX_M
    with pytest.raises(DeviceMemoryError):
        compute_largest_m(MAINNET.k, MAINNET.n, 1 << 20)


@pytest.mark.parametrize("rate", [1e7, 3e8, 2e9])
def test_a_faster_device_gets_longer_rounds(rate: float) -> None:
    """So that each takes some milliseconds."""
    runtime = HostRuntime(256 << 20, rate=rate)
    backend = GpuBackend(runtime, runtime.clock)
    shape = backend.prepare(bytes(32), 32, 48)
    round_ms = 1000 * shape.operations / rate
    assert shape.m & (shape.m - 1) == 0
    assert round_ms >= ROUND_MS
    assert shape.m == 256 or round_ms < 2 * ROUND_MS
    assert backend.prepare(bytes(range(32)), 32, 48) == shape
    backend.close()
    runtime.close()


def test_a_small_device_gets_shorter_rounds() -> None:
    runtime = HostRuntime(8 << 20)
    backend = GpuBackend(runtime, runtime.clock)
    shape = backend.prepare(bytes(32), 32, 48)
    plan = plan_memory(shape, compute_budget(*runtime.get_memory()))
    assert plan.slot + 2 * plan.a <= 8 << 15
    backend.close()
    runtime.close()


def test_trials_take_a_small_ring(host: HostRuntime) -> None:
    memory = WorkMemory.allocate(host, Shape(4, 32, 48), most_slots=3)
    assert memory.plan.slots == 3
    memory.free()
    memory.free()
    assert host.used == 0


def test_rates_are_measured(host: HostRuntime) -> None:
    backend = GpuBackend(host, host.clock)
    backend.prepare(bytes(32), 32, 48)
    assert backend.measure_multiplication_rate(5) == pytest.approx(1e8)
    assert backend.measure_copy_rate(5, 1 << 20) == pytest.approx(1e10)
    backend.close()
    assert host.used == 0


def test_parts_of_a_round_are_measured(host: HostRuntime) -> None:
    backend = GpuBackend(host, host.clock)
    shape = backend.prepare(bytes(32), 32, 48)
    used = host.used
    parts = backend.measure_parts(5)
    assert parts.multiply == pytest.approx(1000 * shape.operations / 1e8)
    assert parts.mix == pytest.approx(1000 * 32 * 32 * shape.m / 1e10)
    assert min(parts.expand, parts.leaves, parts.tree) > 0
    assert host.used == used
    backend.close()


@settings(deadline=None)
@given(
    most=st.integers(2, 200),
    rounds=st.integers(1, 500),
    pieces=st.integers(1, 40),
    data=st.data(),
)
def test_a_ring_is_read_in_the_order_of_rounds(
    most: int, rounds: int, pieces: int, data: st.DataObject
) -> None:
    """Around its end, over its segments, and when there was memory for a part of it only."""
    shape = Shape(1, 16, 16)
    plan = Plan(shape, most)
    short = data.draw(st.integers(2, 300)) * plan.slot
    runtime = HostRuntime(max(short, plan.segment_slots * plan.slot))
    ring = Ring(runtime, plan)
    for number in range(rounds):
        ring.reserve(number)
        ring.locate(number)
    kept = min(rounds, ring.slots)
    places: list[int] = []
    for run in ring.split(rounds - kept, kept, pieces):
        assert run.first == len(places)
        assert 1 <= run.slots <= pieces
        places += range(run.address, run.address + run.slots * plan.slot, plan.slot)
    assert places == [ring.locate(rounds - kept + i) for i in range(kept)]
    assert len(set(places)) == kept
    ring.free()
    ring.free()
    assert runtime.used == 0


def test_a_ring_needs_two_slots() -> None:
    plan = Plan(Shape(1, 16, 16), 100)
    runtime = HostRuntime(plan.slot)
    with pytest.raises(DeviceMemoryError):
        Ring(runtime, plan).reserve(0)
