"""A device that works until it is told to stop, and notes what goes on at the same time."""

import threading
from collections.abc import Callable, Sequence

import trio

from p2p_node.workloads.backend import DeviceInfo, DeviceKind, JobCancelledError, JobTimeoutError
from protocols.compute import ComputeJob, Shape, WorkCommitment
from protocols.memory import PassCommitment, PassIndex
from protocols.openings import Index

PATIENCE = 30
"""Seconds after which a test gives up; none of them needs a noticeable part of one."""

SHAPE = Shape(64, 256, 256)
JOB = ComputeJob(SHAPE, bytes(32), bytes(32), bytes(32), 0)


class HeldWork:
    """What a held job returns: everything about it waits for the backend as well."""

    def __init__(self, backend: "HeldBackend", job: ComputeJob) -> None:
        self.job = job
        self.commitment = WorkCommitment(1, bytes(32))
        self.kept = backend.kept
        self._backend = backend
        self.closed = 0

    def open(self, indices: Sequence[Index]) -> bytes:
        self._backend.fail("open")
        return bytes(len(indices))

    def run_passes(
        self,
        nonce: bytes,
        *,
        window_s: float,
        limit_s: float,
        is_cancelled: Callable[[], bool],
    ) -> PassCommitment:
        self._backend.hold("run_passes", is_cancelled)
        return PassCommitment(1, nonce)

    def open_passes(self, indices: Sequence[PassIndex]) -> bytes:
        self._backend.fail("open_passes")
        return bytes(2 * len(indices))

    def close(self) -> None:
        assert self._backend.active == 0
        self.closed += 1


class HeldBackend:
    """`finish` lets calls end; `failures` has an error for some of them; with `hangs` set they do
    not look whether they have been given up."""

    def __init__(self, held: bool = True) -> None:
        self.prepared: list[bytes] = []
        self.works: list[HeldWork] = []
        self.failures: dict[str, Exception] = {}
        self.started = threading.Event()
        self.finish = threading.Event()
        self.cancelled = threading.Event()
        self.ended = threading.Event()
        self.hangs = False
        self.kept = 1
        self.active = 0
        self.closed = 0
        self.released = 0
        if not held:
            self.finish.set()

    def describe(self) -> DeviceInfo:
        return DeviceInfo(DeviceKind.CPU, "held", "test", 0)

    def prepare(self, b_seed: bytes, k: int, n: int) -> Shape:
        assert self.active == 0
        self.fail("prepare")
        self.prepared.append(b_seed)
        return SHAPE

    def run(
        self,
        job: ComputeJob,
        *,
        window_s: float,
        limit_s: float,
        is_cancelled: Callable[[], bool],
    ) -> HeldWork:
        assert self.prepared[-1] == job.b_seed
        self.hold("run", is_cancelled)
        if limit_s == 0:
            raise JobTimeoutError("too slow")
        self.works.append(HeldWork(self, job))
        return self.works[-1]

    def release(self) -> None:
        assert self.active == 0
        self.fail("release")
        self.released += 1

    def close(self) -> None:
        self.closed += 1

    def fail(self, name: str) -> None:
        if name in self.failures:
            raise self.failures[name]

    def hold(self, name: str, is_cancelled: Callable[[], bool]) -> None:
        assert self.active == 0
        self.active += 1
        try:
            self.fail(name)
            self.started.set()
            while not self.finish.wait(0.001):
                if is_cancelled() and not self.hangs:
                    self.cancelled.set()
                    raise JobCancelledError("cancelled")
        finally:
            self.active -= 1
            self.ended.set()


async def wait_for(event: threading.Event) -> None:
    with trio.fail_after(PATIENCE):
        assert await trio.to_thread.run_sync(event.wait, PATIENCE)
