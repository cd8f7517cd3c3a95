"""How much of the device a job takes: pure arithmetic over sizes, nothing measured here.

ring        slots · m rows of C, what the memory proof reads; taken segment by segment
spare       one more slot, into which opened rounds are computed again
a           two matrices A: one is multiplied while the next is made
states      end states of the mix, for some slots at a time
levels      a Merkle tree over all rows of the ring
small       what does not grow with the shape
"""

from dataclasses import dataclass
from typing import Final

from p2p_node.workloads.backend import DeviceMemoryError
from p2p_node.workloads.gpu.kernels import PATH_BYTES, compute_tree_bytes
from protocols.compute import MAX_M, MAX_ROUNDS, Shape
from protocols.memory import MAX_KEPT_ROWS, MAX_PASSES
from protocols.merkle import DIGEST_BYTES
from protocols.mix import STATE_BYTES
from protocols.openings import MAX_OPENINGS

MIN_SLOTS = 2
"""A round is multiplied into one slot while the round before is digested from another."""

STATE_ROWS = 1 << 17
"""Rows mixed at a time in a pass: 4 Mi threads, several times what a device runs at once."""

SEGMENTS = 32
"""Parts of the ring. One of 80 GB takes the driver some milliseconds, less than the rounds that
are queued meanwhile."""

OVERHEAD_SHIFT = 5
"""Of the memory for jobs, 1/32 at most goes into what is not ring."""

RESERVE_SHIFT = 6
"""1/64 of the device is left to whoever else needs a little, the driver above all."""

SMALL_PARTS: Final = {
    "prefix": 256,
    "seed": 256,
    "zero_root": 256,
    "start": STATE_BYTES,
    "round_roots": MAX_ROUNDS * DIGEST_BYTES,
    "pass_roots": MAX_PASSES * DIGEST_BYTES,
    "indices": MAX_OPENINGS * 8,
    "paths": MAX_OPENINGS * PATH_BYTES,
}
"""Bytes of what does not depend on the shape: what seeds are derived from (`prefix`) and the seed,
a root of zeros for where there is none yet, start states, roots, and paths that are opened."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes of one job's memory, in bytes unless said otherwise."""

    shape: Shape
    slots: int
    """Rounds that the ring holds."""

    @property
    def slot(self) -> int:
        """One round of C."""
        return self.shape.m * self.shape.row_bytes

    @property
    def ring(self) -> int:
        """All slots."""
        return self.slots * self.slot

    @property
    def segment_slots(self) -> int:
        """Slots (a number of them) whose memory is taken at a time."""
        return max(MIN_SLOTS, -(-self.slots // SEGMENTS))

    @property
    def a(self) -> int:
        """One A."""
        return self.shape.m * self.shape.k

    @property
    def state_slots(self) -> int:
        """Slots (a number of them) whose rows are mixed at a time."""
        return max(1, min(self.slots, STATE_ROWS // self.shape.m))

    @property
    def states(self) -> int:
        """End states of their rows."""
        return self.state_slots * self.shape.m * STATE_BYTES

    @property
    def levels(self) -> int:
        """The largest tree."""
        return compute_tree_bytes(self.slots * self.shape.m)

    @property
    def small(self) -> int:
        """Everything in SMALL_PARTS."""
        return sum(SMALL_PARTS.values())

    @property
    def total(self) -> int:
        """All of it."""
        return self.ring + self.slot + 2 * self.a + self.states + self.levels + self.small


def compute_budget(free: int, total: int) -> int:
    """Bytes that jobs may take of a device with `free` out of `total` bytes free."""
    return free - (total >> RESERVE_SHIFT)


def plan_memory(shape: Shape, budget: int, most_slots: int = MAX_ROUNDS) -> Plan:
    """The plan with the most slots within `budget` bytes. Raises DeviceMemoryError."""
    low, high = MIN_SLOTS, max(MIN_SLOTS, min(most_slots, MAX_KEPT_ROWS // shape.m))
    if Plan(shape, low).total > budget:
        raise DeviceMemoryError(
            f"m = {shape.m}, k = {shape.k}, n = {shape.n} takes {Plan(shape, low).total} bytes, "
            f"{max(0, budget)} are free"
        )
    while low < high:
        middle = (low + high + 1) // 2
        if Plan(shape, middle).total <= budget:
            low = middle
        else:
            high = middle - 1
    return Plan(shape, low)


def compute_largest_m(k: int, n: int, budget: int) -> int:
    """The largest power of two for m with which overhead stays small.

    Raises DeviceMemoryError when a job does not fit even with m = 1.
    """
    m = 1
    plan_memory(Shape(m, k, n), budget)
    while 2 * m <= MAX_M and _is_lean(Shape(2 * m, k, n), budget):
        m *= 2
    return m


def _is_lean(shape: Shape, budget: int) -> bool:
    plan = Plan(shape, MIN_SLOTS)
    return plan.slot + 2 * plan.a + plan.states <= budget >> OVERHEAD_SHIFT
