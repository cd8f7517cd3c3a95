"""The memory of one job on the device, all of it given back at once."""

from collections.abc import Sequence

from p2p_node.workloads.gpu.ring import Ring
from p2p_node.workloads.gpu.runtime import Buffer, Runtime
from p2p_node.workloads.gpu.sizing import SMALL_PARTS, Plan, compute_budget, plan_memory
from protocols.compute import MAX_ROUNDS, Shape
from protocols.merkle import DIGEST_BYTES


class WorkMemory:
    """Addresses of everything that a job needs beside B; see `sizing` for the parts."""

    def __init__(self, plan: Plan, ring: Ring, buffers: Sequence[Buffer]) -> None:
        spare, a, states, levels, small = buffers
        self.plan = plan
        self.ring = ring
        self.spare = spare.address
        self.a = (a.address, a.address + plan.a)
        self.states = states.address
        self.levels = levels.address
        address = small.address
        self._small: dict[str, int] = {}
        for name, size in SMALL_PARTS.items():
            self._small[name] = address
            address += size
        self._buffers = buffers

    @classmethod
    def allocate(cls, runtime: Runtime, shape: Shape, most_slots: int = MAX_ROUNDS) -> "WorkMemory":
        """Take what a job needs from the start, for a ring of what is free, up to `most_slots`.

        Raises DeviceMemoryError when it is too little.
        """
        plan = plan_memory(shape, compute_budget(*runtime.get_memory()), most_slots)
        ring = Ring(runtime, plan)
        buffers: list[Buffer] = []
        try:
            for size in (plan.slot, 2 * plan.a, plan.states, plan.levels, plan.small):
                buffers.append(runtime.allocate(size))
            ring.reserve(0)
        except BaseException:
            for buffer in buffers:
                buffer.free()
            raise
        return cls(plan, ring, buffers)

    @property
    def prefix(self) -> int:
        """What comes before number and root in the hash that gives a seed."""
        return self._small["prefix"]

    @property
    def seed(self) -> int:
        """The seed that was derived last."""
        return self._small["seed"]

    @property
    def zero_root(self) -> int:
        """32 zeros."""
        return self._small["zero_root"]

    @property
    def start(self) -> int:
        """Start states of a pass."""
        return self._small["start"]

    @property
    def indices(self) -> int:
        """Leaves whose paths are asked for."""
        return self._small["indices"]

    @property
    def paths(self) -> int:
        """Their paths."""
        return self._small["paths"]

    def locate_round_root(self, round_number: int) -> int:
        """Where a round's root is; zeros for the rounds before the first."""
        if round_number < 0:
            return self.zero_root
        return self._small["round_roots"] + round_number * DIGEST_BYTES

    def locate_pass_root(self, number: int) -> int:
        """Where a pass's root is; zeros for the one before the first."""
        if number < 0:
            return self.zero_root
        return self._small["pass_roots"] + number * DIGEST_BYTES

    def free(self) -> None:
        """Give everything back. Nothing may be queued still. May be called twice."""
        self.ring.free()
        for buffer in self._buffers:
            buffer.free()
