"""The memory of one job on the device: all of it taken at once, all of it given back at once."""

from p2p_node.workloads.backend import DeviceMemoryError
from p2p_node.workloads.gpu.kernels import Ring
from p2p_node.workloads.gpu.runtime import Buffer, Runtime
from p2p_node.workloads.gpu.sizing import SMALL_PARTS, Plan, compute_budget, plan_memory
from protocols.compute import MAX_ROUNDS, Shape
from protocols.merkle import DIGEST_BYTES

ATTEMPTS = 4
"""How often less is tried when memory that was free a moment ago is not."""


class WorkMemory:
    """Addresses of everything that a job needs beside B; see `sizing` for the parts."""

    def __init__(self, plan: Plan, buffers: tuple[Buffer, ...]) -> None:
        ring, a, states, levels, small = buffers
        shape = plan.shape
        self.plan = plan
        self.ring = Ring(ring.address, plan.slots, shape.m, shape.row_bytes)
        self.spare = Ring(self.ring.locate(plan.slots), 1, shape.m, shape.row_bytes)
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
        """Take what is free, up to a ring of `most_slots`. DeviceMemoryError when it is too
        little."""
        budget = compute_budget(*runtime.get_memory())
        for _ in range(ATTEMPTS - 1):
            try:
                return cls._allocate(runtime, plan_memory(shape, budget, most_slots))
            except DeviceMemoryError:
                # Somebody else was quicker; see whether less will do.
                budget = min(budget - budget // 8, compute_budget(*runtime.get_memory()))
        return cls._allocate(runtime, plan_memory(shape, budget, most_slots))

    @classmethod
    def _allocate(cls, runtime: Runtime, plan: Plan) -> "WorkMemory":
        buffers: list[Buffer] = []
        try:
            for size in (plan.ring, 2 * plan.a, plan.states, plan.levels, plan.small):
                buffers.append(runtime.allocate(size))
        except BaseException:
            for buffer in buffers:
                buffer.free()
            raise
        return cls(plan, tuple(buffers))

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
        for buffer in self._buffers:
            buffer.free()
