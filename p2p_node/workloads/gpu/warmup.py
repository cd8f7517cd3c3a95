"""What a device does well, found by trying: rows per round, and how much runs beside them."""

import math
from dataclasses import dataclass
from typing import Final

from p2p_node.workloads.gpu.ahead import Timing
from p2p_node.workloads.gpu.device import Device
from p2p_node.workloads.gpu.rounds import Rounds
from p2p_node.workloads.gpu.sizing import compute_budget, compute_largest_m
from p2p_node.workloads.gpu.work_memory import WorkMemory
from protocols.compute import ComputeJob, Shape

ROUND_MS: Final = 4.0
"""A round takes at least this long where memory allows: long beside some twenty kernel launches
and the last levels of a tree, which are latency alone, and short beside a window."""

FIRST_M: Final = 256
"""Where the search for m starts: two tiles of a multiplication."""

TRIAL_SLOTS: Final = 3

TRIAL_SECONDS: Final = 0.06
"""Length of one trial of whole rounds; ten and more of them at ROUND_MS."""

SIDE_BLOCKS_PER_PROCESSOR: Final = (0, 8, 2, 1)
"""Limits tried for the kernels beside a multiplication, in blocks per multiprocessor; 0 is none.
Which is best depends on how much of a multiprocessor cuBLAS takes."""

REPEATS: Final = 3


@dataclass(frozen=True, slots=True)
class Tuning:
    """The choice for one (k, n) on one device."""

    m: int
    side_blocks: int


def tune(device: Device, b: int, b_seed: bytes, k: int, n: int) -> Tuning:
    """Choose for the resident B at address `b`. Raises DeviceMemoryError, DeviceLostError.

    Takes around a second; gives back all memory that it takes.
    """
    largest = compute_largest_m(k, n, compute_budget(*device.runtime.get_memory()))
    m = min(FIRST_M, largest)
    while 2 * m <= largest and measure_multiplication_ms(device, b, b_seed, m, k, n) < ROUND_MS:
        m *= 2
    return Tuning(
        m,
        _choose_side_blocks(device, b, ComputeJob(Shape(m, k, n), b_seed, bytes(32), bytes(32), 0)),
    )


def measure_multiplication_ms(
    device: Device, b: int, seed: bytes, m: int, k: int, n: int, *, repeats: int = REPEATS
) -> float:
    """Milliseconds of one plain multiplication of an expanded A (m × k) by B, on average over
    `repeats` after one that does not count."""
    runtime = device.runtime
    a = runtime.allocate(m * k + len(seed))
    try:
        c = runtime.allocate(4 * m * n)
        try:
            at = a.address + m * k
            runtime.write(device.main, at, seed)
            device.kernels.expand_rows(device.main, at, m, k, a.address)
            runtime.multiply(device.main, a.address, b, c.address, m, k, n)
            first = runtime.record(device.main)
            for _ in range(repeats):
                runtime.multiply(device.main, a.address, b, c.address, m, k, n)
            last = runtime.record(device.main)
            device.wait(last)
            return runtime.measure_ms(first, last) / repeats
        finally:
            device.drain_quietly()
            c.free()
    finally:
        device.drain_quietly()
        a.free()


def measure_copy_rate(device: Device, size: int, repeats: int) -> float:
    """Bytes per second of copies within the device, read and written bytes both counted."""
    runtime = device.runtime
    both = runtime.allocate(2 * size)
    try:
        source, target = both.address, both.address + size
        runtime.copy(device.main, source, target, size)
        first = runtime.record(device.main)
        for _ in range(repeats):
            runtime.copy(device.main, source, target, size)
        last = runtime.record(device.main)
        device.wait(last)
        return 2000 * size * repeats / runtime.measure_ms(first, last)
    finally:
        device.drain_quietly()
        both.free()


def _choose_side_blocks(device: Device, b: int, job: ComputeJob) -> int:
    processors = device.runtime.multiprocessors
    candidates = [count * processors for count in SIDE_BLOCKS_PER_PROCESSOR]
    memory = WorkMemory.allocate(device.runtime, job.shape, most_slots=TRIAL_SLOTS)
    try:
        best: dict[int, float] = {}
        # Once around for the clocks to settle, then twice for real.
        for trial in range(3):
            for blocks in candidates:
                seconds = _time_round(device, memory, b, job, blocks)
                if trial:
                    best[blocks] = min(seconds, best.get(blocks, seconds))
        return min(candidates, key=lambda blocks: best[blocks])
    finally:
        device.drain_quietly()
        memory.free()


def _time_round(device: Device, memory: WorkMemory, b: int, job: ComputeJob, blocks: int) -> float:
    rounds = Rounds(device, memory, b, job, blocks)
    started = device.clock()
    done = rounds.run(Timing(started, TRIAL_SECONDS, math.inf, lambda: False))
    return (device.clock() - started) / len(done.roots)
