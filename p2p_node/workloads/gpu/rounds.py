"""The rounds of a job, two at a time: while one is multiplied, the one before is digested.

    main    … multiply t ……………………… │ multiply t + 1 …………………… │
    side      digest t − 1, make A_{t+1} │ digest t, make A_{t+2} │

That A_{t+1} depends on root_{t−1} and not on root_t (`protocols.compute.CHAIN_LAG`) is what makes
room for it. Roots and seeds stay on the device; the host only looks that it does not get more than
some rounds ahead, so that it can stop.

What waits for what:

- multiply t waits for A_t. That was made after digest t − 2, and with it after whatever last read
  slot t mod slots, as there are two slots at least.
- digest t waits for multiply t. A_{t+2} is made behind it in the same stream, in the place of A_t,
  which multiply t was the last to read.
"""

from collections import deque
from dataclasses import dataclass

from p2p_node.workloads.gpu.ahead import Timing, run_ahead
from p2p_node.workloads.gpu.device import Device
from p2p_node.workloads.gpu.runtime import Event
from p2p_node.workloads.gpu.work_memory import WorkMemory
from protocols.compute import A_TAG, CHAIN_LAG, MAX_ROUNDS, ROW_TAG, ComputeJob
from protocols.merkle import DIGEST_BYTES

ROUNDS_AHEAD = 4
"""Rounds queued and not yet finished: enough that the device never waits for the host, and little
enough that a job ends some milliseconds after its window."""


@dataclass(frozen=True, slots=True)
class RoundsDone:
    """Roots of all finished rounds, and how many of the last ones are in the ring still."""

    roots: tuple[bytes, ...]
    kept: int


class Rounds:
    """Queues the parts of rounds; `side_blocks` limits kernels beside a multiplication."""

    def __init__(
        self, device: Device, memory: WorkMemory, b: int, job: ComputeJob, side_blocks: int
    ) -> None:
        self._device = device
        self._memory = memory
        self._b = b
        self._shape = job.shape
        self._prefix = A_TAG + job.seed
        self._side_blocks = side_blocks
        self._a_ready: deque[Event] = deque()

    def run(self, timing: Timing) -> RoundsDone:
        """Do rounds until the window is over; see `backend.ComputeBackend.run`.

        Whatever is queued when this raises has to be waited for.
        """
        device, memory = self._device, self._memory
        device.runtime.write(device.side, memory.zero_root, bytes(DIGEST_BYTES))
        device.runtime.write(device.side, memory.prefix, self._prefix)
        for round_number in range(CHAIN_LAG):
            self._make_a(round_number)
        progress = run_ahead(device, self._queue_round, timing, ahead=ROUNDS_AHEAD, most=MAX_ROUNDS)
        roots = device.read_digests(memory.locate_round_root(0), progress.done)
        # Rounds that were queued in vain have overwritten as many slots.
        intact = memory.ring.slots - (progress.queued - progress.done)
        return RoundsDone(roots, max(0, min(progress.done, intact)))

    def _queue_round(self, round_number: int) -> Event:
        device, memory, shape = self._device, self._memory, self._shape
        runtime = device.runtime
        memory.ring.reserve(round_number)
        rows = memory.ring.locate(round_number)
        runtime.wait_event(device.main, self._a_ready.popleft())
        runtime.multiply(
            device.main,
            memory.a[round_number % 2],
            self._b,
            rows,
            shape.m,
            shape.k,
            shape.n,
        )
        runtime.wait_event(device.side, runtime.record(device.main))
        digest_round(device, memory, rows, round_number, self._side_blocks)
        digested = runtime.record(device.side)
        if round_number + CHAIN_LAG < MAX_ROUNDS:
            self._make_a(round_number + CHAIN_LAG)
        return digested

    def _make_a(self, round_number: int) -> None:
        device, memory, shape = self._device, self._memory, self._shape
        device.kernels.derive_seed(
            device.side,
            memory.prefix,
            len(self._prefix),
            round_number,
            memory.locate_round_root(round_number - CHAIN_LAG),
            memory.seed,
        )
        device.kernels.expand_rows(
            device.side,
            memory.seed,
            shape.m,
            shape.k,
            memory.a[round_number % 2],
            blocks=self._side_blocks,
        )
        self._a_ready.append(device.runtime.record(device.side))


def digest_round(
    device: Device, memory: WorkMemory, rows: int, round_number: int, blocks: int
) -> None:
    """Queue leaves, tree and root of the round whose rows are at `rows` into the side stream."""
    kernels, shape = device.kernels, memory.plan.shape
    kernels.mix_rows(
        device.side,
        rows,
        shape.m,
        shape.row_bytes,
        kernels.zero_start,
        memory.states,
        blocks=blocks,
    )
    kernels.hash_leaves(
        device.side,
        ROW_TAG,
        memory.states,
        round_number,
        0,
        shape.m,
        shape.row_bytes,
        memory.levels,
    )
    root = memory.locate_round_root(round_number)
    kernels.build_tree(device.side, memory.levels, shape.m, root)
