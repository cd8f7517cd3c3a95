"""Where a round's time goes, part by part: for whoever wants to make it faster."""

from collections.abc import Callable
from dataclasses import dataclass

from p2p_node.workloads.gpu.device import Device
from p2p_node.workloads.gpu.work_memory import WorkMemory
from protocols.compute import ROW_TAG, Shape

PROFILE_SLOTS = 3


@dataclass(frozen=True, slots=True)
class PartTimes:
    """Milliseconds of the parts of one round, each alone on the device.

    All but `multiply` are meant to go on beside the next round's `multiply`.
    """

    multiply: float
    expand: float
    mix: float
    leaves: float
    tree: float
    reserve: float
    """Taking all memory for a job and giving it back, by the clock. Most of it is taken while
    rounds go on, and given back when the work is closed."""


def measure_parts(device: Device, b: int, seed: bytes, shape: Shape, repeats: int) -> PartTimes:
    """Measure on a device that does nothing else, with the B at address `b`.

    Raises DeviceMemoryError, DeviceLostError.
    """
    started = device.clock()
    everything = WorkMemory.allocate(device.runtime, shape)
    everything.ring.reserve(everything.ring.slots)
    everything.free()
    reserve = 1000 * (device.clock() - started)
    memory = WorkMemory.allocate(device.runtime, shape, PROFILE_SLOTS)
    runtime, kernels, main = device.runtime, device.kernels, device.main
    m, k, n, rows = shape.m, shape.k, shape.n, memory.ring.locate(0)

    def measure(queue: Callable[[], None]) -> float:
        queue()
        first = runtime.record(main)
        for _ in range(repeats):
            queue()
        last = runtime.record(main)
        device.wait(last)
        return runtime.measure_ms(first, last) / repeats

    try:
        runtime.write(main, memory.seed, seed)
        return PartTimes(
            expand=measure(lambda: kernels.expand_rows(main, memory.seed, m, k, memory.a[0])),
            multiply=measure(lambda: runtime.multiply(main, memory.a[0], b, rows, m, k, n)),
            mix=measure(
                lambda: kernels.mix_rows(main, rows, m, 4 * n, kernels.zero_start, memory.states)
            ),
            leaves=measure(
                lambda: kernels.hash_leaves(
                    main, ROW_TAG, memory.states, 0, 0, m, shape.row_bytes, memory.levels
                )
            ),
            tree=measure(lambda: kernels.build_tree(main, memory.levels, m, memory.zero_root)),
            reserve=reserve,
        )
    finally:
        device.drain_quietly()
        memory.free()
