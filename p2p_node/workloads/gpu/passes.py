"""Passes over the rows that a job has left in the ring: the memory proof on the device."""

import struct

from p2p_node.workloads.gpu.ahead import Timing, run_ahead
from p2p_node.workloads.gpu.device import Device
from p2p_node.workloads.gpu.runtime import Event
from p2p_node.workloads.gpu.work_memory import WorkMemory
from protocols.memory import LEAF_TAG, MAX_PASSES, PASS_TAG, MemoryJob
from protocols.merkle import DIGEST_BYTES
from protocols.mix import STATE_BYTES

PASSES_AHEAD = 2
"""Passes queued and not yet finished."""


class Passes:
    """The passes of one memory job, of which the ring holds the rows."""

    def __init__(self, device: Device, memory: WorkMemory, job: MemoryJob) -> None:
        self._device = device
        self._memory = memory
        self._job = job
        self._prefix = PASS_TAG + job.work.root + job.nonce + struct.pack("<I", job.kept)

    def run(self, timing: Timing) -> tuple[bytes, ...]:
        """Make passes until the window is over, see `backend.Work.run_passes`; their roots.

        Whatever is queued when this raises has to be waited for.
        """
        self._device.runtime.write(self._device.side, self._memory.prefix, self._prefix)
        progress = run_ahead(self._device, self.queue, timing, ahead=PASSES_AHEAD, most=MAX_PASSES)
        return self._device.read_digests(self._memory.locate_pass_root(0), progress.done)

    def queue(self, number: int) -> Event:
        """Queue a pass, the one before being done or queued; its tree is left in `levels`.

        Again, too, once `run` is over: nothing else changes what seeds of passes derive from.
        """
        device, memory, job = self._device, self._memory, self._job
        kernels, side = device.kernels, device.side
        kernels.derive_seed(
            side,
            memory.prefix,
            len(self._prefix),
            number,
            memory.locate_pass_root(number - 1),
            memory.seed,
        )
        kernels.expand_rows(side, memory.seed, 1, STATE_BYTES, memory.start)
        m, row_bytes = job.shape.m, job.shape.row_bytes
        first_round = job.work.rounds - job.kept
        for run in memory.ring.split(first_round, job.kept, memory.plan.state_slots):
            first, count = run.first * m, run.slots * m
            kernels.mix_rows(side, run.address, count, row_bytes, memory.start, memory.states)
            leaves = memory.levels + first * DIGEST_BYTES
            kernels.hash_leaves(
                side, LEAF_TAG, memory.states, number, first, count, row_bytes, leaves
            )
        kernels.build_tree(side, memory.levels, job.rows, memory.locate_pass_root(number))
        return device.runtime.record(side)
