"""A finished job on a GPU: rows in the ring, roots on the host, and the way back to all else.

No tree is kept. Rounds are opened from the ring as long as they are there and computed again where
not; opened passes are run again.
"""

import threading
from collections.abc import Callable, Sequence
from itertools import groupby

import numpy as np

from p2p_node.workloads.gpu.ahead import Timing
from p2p_node.workloads.gpu.device import Device
from p2p_node.workloads.gpu.kernels import PATH_BYTES
from p2p_node.workloads.gpu.passes import Passes
from p2p_node.workloads.gpu.rounds import RoundsDone, digest_round
from p2p_node.workloads.gpu.work_memory import WorkMemory
from protocols.compute import ComputeJob, WorkCommitment, compute_commitment
from protocols.errors import LocalError
from protocols.memory import (
    MemoryJob,
    PassCommitment,
    PassIndex,
    PassOpenings,
    compute_pass_commitment,
    compute_pass_openings_size,
    encode_pass_openings,
)
from protocols.merkle import DIGEST_BYTES, compute_path_length
from protocols.openings import (
    MAX_OPENINGS,
    Index,
    Openings,
    compute_openings_size,
    encode_openings,
)


class GpuWork:
    """See `backend.Work`. `turn` is held while the device is used."""

    def __init__(
        self,
        device: Device,
        memory: WorkMemory,
        b: int,
        job: ComputeJob,
        done: RoundsDone,
        turn: threading.RLock,
    ) -> None:
        self._device = device
        self._memory: WorkMemory | None = memory
        self._b = b
        self._job = job
        self._roots = done.roots
        self._kept = done.kept
        self._commitment = compute_commitment(job, done.roots)
        self._turn = turn
        self._passes: Passes | None = None
        self._pass_job: MemoryJob | None = None
        self._pass_roots: tuple[bytes, ...] = ()

    @property
    def job(self) -> ComputeJob:
        """The job that was done."""
        return self._job

    @property
    def commitment(self) -> WorkCommitment:
        """Round count and root to be signed."""
        return self._commitment

    @property
    def kept(self) -> int:
        """Rounds of which all rows are in the ring."""
        return self._kept

    @property
    def is_closed(self) -> bool:
        """Whether the memory has been given back."""
        return self._memory is None

    def open(self, indices: Sequence[Index]) -> bytes:
        """Rows, roots and paths; see `backend.Work`."""
        with self._turn:
            memory = self._require_open()
            shape, roots = self._job.shape, self._roots
            # Refuses indices that do not exist before anything is computed for them.
            compute_openings_size(shape, len(roots), indices)
            rows: list[bytes] = []
            paths: list[bytes] = []
            for round_number, group in groupby(indices, key=lambda index: index.round):
                opened = [index.row for index in group]
                place = self._bring_back(memory, round_number)
                paths += self._gather_paths(memory, shape.m, opened)
                self._compare(memory.locate_round_root(round_number), roots[round_number])
                rows += [
                    self._device.read_side(place + row * shape.row_bytes, shape.row_bytes)
                    for row in opened
                ]
            matrix = np.frombuffer(b"".join(rows), "<i4").reshape(len(rows), shape.n)
            return encode_openings(Openings(matrix, roots, tuple(paths)))

    def run_passes(
        self,
        nonce: bytes,
        *,
        window_s: float,
        limit_s: float,
        is_cancelled: Callable[[], bool],
    ) -> PassCommitment:
        """Make passes over the ring; see `backend.Work`."""
        started = self._device.clock()
        with self._turn:
            memory = self._require_open()
            if self._passes is not None:
                raise LocalError("passes have been made")
            job = MemoryJob(self._job.shape, self._commitment, self._kept, nonce)
            passes = Passes(self._device, memory, job)
            try:
                roots = passes.run(Timing(started, window_s, limit_s, is_cancelled))
            finally:
                self._device.drain_quietly()
            self._passes, self._pass_job, self._pass_roots = passes, job, roots
            return compute_pass_commitment(job, roots)

    def open_passes(self, indices: Sequence[PassIndex]) -> bytes:
        """Pass roots and paths; see `backend.Work`."""
        with self._turn:
            memory = self._require_open()
            if self._passes is None or self._pass_job is None:
                raise LocalError("no passes have been made")
            roots, rows = self._pass_roots, self._pass_job.rows
            compute_pass_openings_size(len(roots), rows, indices)
            if not indices:
                return b""
            paths: list[bytes] = []
            for number, group in groupby(indices, key=lambda index: index.number):
                self._passes.queue(number)
                paths += self._gather_paths(memory, rows, [index.row for index in group])
                self._compare(memory.locate_pass_root(number), roots[number])
            return encode_pass_openings(PassOpenings(roots, tuple(paths)))

    def close(self) -> None:
        """Give back the job's memory; see `backend.Work`."""
        with self._turn:
            memory, self._memory = self._memory, None
            if memory is not None:
                self._device.drain_quietly()
                memory.free()

    def _bring_back(self, memory: WorkMemory, round_number: int) -> int:
        """Queue the round's tree into the side stream; where its rows are, or will be."""
        device, shape = self._device, self._job.shape
        if round_number >= len(self._roots) - self._kept:
            rows = memory.ring.locate(round_number)
        else:
            rows = memory.spare
            seed = self._job.derive_a_seed(round_number, self._roots)
            device.runtime.write(device.side, memory.seed, seed)
            device.kernels.expand_rows(device.side, memory.seed, shape.m, shape.k, memory.a[0])
            device.runtime.multiply(
                device.side, memory.a[0], self._b, rows, shape.m, shape.k, shape.n
            )
        digest_round(device, memory, rows, round_number, 0)
        return rows

    def _gather_paths(self, memory: WorkMemory, leaves: int, rows: Sequence[int]) -> list[bytes]:
        device = self._device
        if len(rows) > MAX_OPENINGS:
            raise LocalError(f"{len(rows)} openings at once, expected at most {MAX_OPENINGS}")
        device.runtime.write(device.side, memory.indices, np.array(rows, "<u8").tobytes())
        device.kernels.gather_paths(
            device.side, memory.levels, leaves, memory.indices, len(rows), memory.paths
        )
        data = device.read_side(memory.paths, len(rows) * PATH_BYTES)
        lengths = [compute_path_length(row, leaves) * DIGEST_BYTES for row in rows]
        return [data[i * PATH_BYTES : i * PATH_BYTES + length] for i, length in enumerate(lengths)]

    def _compare(self, address: int, root: bytes) -> None:
        """A device that gets another result the second time is not to be trusted with anything."""
        if self._device.read_side(address, DIGEST_BYTES) != root:
            self._device.runtime.give_up("device computed a round or pass to another result")

    def _require_open(self) -> WorkMemory:
        if self._memory is None:
            raise LocalError("work is closed")
        return self._memory
