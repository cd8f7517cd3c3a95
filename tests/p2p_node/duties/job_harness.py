"""A provider whose devices are counted and fail on request, and a checker that misbehaves."""

import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import trio
import trio.testing

from p2p_node.duties.challenging import Challenge
from p2p_node.duties.job_answering import Host
from p2p_node.duties.job_serving import JobServer
from p2p_node.net.api import RequestStream
from p2p_node.node import Node
from p2p_node.workloads.backend import DeviceInfo, DeviceLostError, JobCancelledError
from p2p_node.workloads.core_chains import ChainWork, CoreChains
from p2p_node.workloads.core_worker import CoreWorker
from p2p_node.workloads.device_group import DeviceGroup
from p2p_node.workloads.numpy_backend import NumpyBackend
from p2p_node.workloads.numpy_work import NumpyWork
from p2p_node.workloads.reservation import Reservation
from protocols.chains import ChainCommitment, ChainJob, decode_commitments
from protocols.compute import ComputeJob, Shape
from protocols.envelopes import ENVELOPE_OVERHEAD, open_envelope, seal
from protocols.errors import RemoteError
from protocols.gossip import JOB_PROTOCOL
from protocols.host_proof import DeviceWork, decode_passes, decode_works
from protocols.memory import PassCommitment, PassIndex
from protocols.messages import (
    ChainRequest,
    Chains,
    Commitment,
    Openings,
    OpenRequest,
    Passes,
    PassRequest,
    compute_message_digest,
)
from protocols.openings import Index
from protocols.types import Digest
from protocols.wire import Message
from tests.p2p_node.duties.test_jobs import make_challenge, make_job
from tests.p2p_node.duties.world import NETWORK, PRESET, World

Kind = TypeVar("Kind", bound=Message)

PATIENCE = 30
"""Seconds after which a test gives up; none of them needs a noticeable part of one."""


class Stage:
    """What happens to calls of one name: they may fail, or be held until they are given up."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.held = False
        self.entered = threading.Event()

    def enter(self, is_cancelled: Callable[[], bool] | None = None) -> None:
        self.entered.set()
        if self.failure is not None:
            raise self.failure
        while self.held:
            if is_cancelled is not None and is_cancelled():
                raise JobCancelledError("given up")
            threading.Event().wait(0.001)


class CountedWork:
    """A work that tells its backend when it is closed."""

    def __init__(self, backend: "CountedBackend", work: NumpyWork) -> None:
        self._backend, self._work = backend, work
        self.job, self.commitment, self.kept = work.job, work.commitment, work.kept
        self.is_open = True

    def open(self, indices: Sequence[Index]) -> bytes:
        with self._backend.call("open"):
            return self._work.open(indices)

    def run_passes(
        self, nonce: bytes, *, window_s: float, limit_s: float, is_cancelled: Callable[[], bool]
    ) -> PassCommitment:
        with self._backend.call("run_passes", is_cancelled):
            return self._work.run_passes(
                nonce, window_s=window_s, limit_s=limit_s, is_cancelled=is_cancelled
            )

    def open_passes(self, indices: Sequence[PassIndex]) -> bytes:
        with self._backend.call("open_passes"):
            return self._work.open_passes(indices)

    def close(self) -> None:
        self.is_open = False
        self._work.close()


class CountedBackend:
    """A CPU that counts calls, calls in progress and works not closed yet.

    `stages` says what becomes of calls; after a DeviceLostError every further call raises it.
    """

    NAMES = ("prepare", "run", "run_passes", "open", "open_passes")

    def __init__(self, memory_bytes: int = 1 << 20) -> None:
        self._device = NumpyBackend(memory_bytes=memory_bytes, rows=32)
        self._lock = threading.Lock()
        self.stages = {name: Stage() for name in self.NAMES}
        self.calls = dict.fromkeys(self.NAMES, 0)
        self.active = 0
        self.most_active = 0
        self.works: list[CountedWork] = []
        self.closed = 0

    def call(self, name: str, is_cancelled: Callable[[], bool] | None = None) -> "_Active":
        return _Active(self, name, is_cancelled)

    def change(self, by: int) -> None:
        with self._lock:
            self.active += by
            self.most_active = max(self.active, self.most_active)

    def lose(self, error: Exception) -> None:
        for stage in self.stages.values():
            stage.failure = error

    @property
    def open_works(self) -> int:
        return sum(work.is_open for work in self.works)

    def describe(self) -> DeviceInfo:
        return self._device.describe()

    def prepare(self, b_seed: bytes, k: int, n: int) -> Shape:
        with self.call("prepare"):
            return self._device.prepare(b_seed, k, n)

    def run(
        self,
        job: ComputeJob,
        *,
        window_s: float,
        limit_s: float,
        is_cancelled: Callable[[], bool],
    ) -> CountedWork:
        with self.call("run", is_cancelled):
            work = self._device.run(
                job, window_s=window_s, limit_s=limit_s, is_cancelled=is_cancelled
            )
            self.works.append(CountedWork(self, work))
            return self.works[-1]

    def release(self) -> None:
        self._device.release()

    def close(self) -> None:
        self.closed += 1
        self._device.close()


class _Active:
    def __init__(
        self, backend: CountedBackend, name: str, is_cancelled: Callable[[], bool] | None
    ) -> None:
        self._backend, self._name, self._is_cancelled = backend, name, is_cancelled

    def __enter__(self) -> None:
        self._backend.calls[self._name] += 1
        self._backend.change(1)
        try:
            self._backend.stages[self._name].enter(self._is_cancelled)
        except DeviceLostError as error:
            self._backend.lose(error)
            self._backend.change(-1)
            raise
        except Exception:
            self._backend.change(-1)
            raise

    def __exit__(self, *_: object) -> None:
        self._backend.change(-1)


class CountedCores(CoreChains):
    """Cores that fail, or are held, as `stage` says; `hangs` does not look at what is given up."""

    def __init__(self) -> None:
        super().__init__(1)
        self.stage = Stage()
        self.hangs = False
        self.active = 0
        self.works: list[ChainWork] = []

    def run(
        self,
        job: ChainJob,
        *,
        window_s: float,
        limit_s: float,
        is_cancelled: Callable[[], bool],
    ) -> ChainWork:
        self.active += 1
        try:
            self.stage.enter(None if self.hangs else is_cancelled)
            work = super().run(job, window_s=window_s, limit_s=limit_s, is_cancelled=is_cancelled)
            self.works.append(work)
            return work
        finally:
            self.active -= 1


@dataclass
class Offer:
    """A provider that serves, and all that may be left over of its jobs."""

    world: World
    server: JobServer
    devices: DeviceGroup
    backends: Sequence[CountedBackend]
    cores: CountedCores
    answering: list[trio.CancelScope] = field(default_factory=list)
    """Around each answer to a job, to end it as the end of the node would."""

    async def answer(self, stream: RequestStream) -> None:
        with trio.CancelScope() as scope:
            self.answering.append(scope)
            await self.server._answer(stream)
        if scope.cancelled_caught:
            raise RemoteError("the node ends")

    @property
    def node(self) -> Node:
        return self.world.providers[0]

    def leftovers(self) -> list[str]:
        """What is still there of jobs that should be over."""
        found = []
        if self.devices.find_reservation() is not None or self.devices._reservation._turn.locked():
            found.append("the devices are held")
        for each in self.backends:
            found += ["a call in progress"] * each.active + ["an open work"] * each.open_works
        found += ["chains in progress"] * self.cores.active
        found += ["open chains" for work in self.cores.works if work.leaves]
        found += ["an open stream"] * len(self.node.network._streams)  # type: ignore[attr-defined]
        return found

    async def settle(self) -> None:
        """Wait until nothing is left, and see that nothing was a bug of ours."""
        deadline = trio.current_time() + PATIENCE
        while (left := self.leftovers()) and trio.current_time() < deadline:
            await trio.sleep(0.005)
        assert left == []
        assert self.node.network.counters.bugs == {}

    def refused(self, reason: str) -> int:
        return self.node.network.counters.refused[JOB_PROTOCOL, reason]

    def forget(self) -> None:
        """Let the same seat ask again, as a provider that was started again would."""
        self.server._answered.clear()


@asynccontextmanager
async def offering(
    world: World, *backends: CountedBackend, reservation: Reservation | None = None
) -> AsyncIterator[Offer]:
    """Serve jobs with provider 0; at the end nothing may be left of any."""
    backends = backends or (CountedBackend(),)
    cores = CountedCores()
    devices = DeviceGroup(backends, reservation)
    server = JobServer(world.providers[0], Host(devices, CoreWorker(cores)), 0)
    offer = Offer(world, server, devices, backends, cores)
    try:
        async with trio.open_nursery() as nursery:
            tasks = trio.lowlevel.current_statistics().tasks_living
            nursery.start_soon(server.run)
            await trio.testing.wait_all_tasks_blocked()
            offer.node.network._handlers[JOB_PROTOCOL] = (offer.answer, False)  # type: ignore[attr-defined]
            yield offer
            await offer.settle()
            nursery.cancel_scope.cancel()
        assert trio.lowlevel.current_statistics().tasks_living <= tasks
    finally:
        for each in backends:
            for stage in each.stages.values():
                stage.held = False
        cores.stage.held = False
        await devices.close()
        cores.close()
    assert [each.closed for each in backends] == [1] * len(backends)


class Hand:
    """A checker's side of a job, step by step; each step can be left out, changed or repeated."""

    def __init__(self, checker: Node, challenge: Challenge, world: World) -> None:
        self._checker, self._world = checker, world
        self.job = make_job(world, challenge)
        self.id = compute_message_digest(self.job.encode())
        self.stream: RequestStream
        self.works: tuple[DeviceWork, ...] = ()
        self.passes: tuple[PassCommitment | None, ...] = ()
        self.chains: tuple[ChainCommitment, ...] = ()

    async def send(self, message: Message) -> None:
        await self.stream.send(seal(self._checker.identity.node_key, NETWORK, message))

    async def hear(self, kind: type[Kind]) -> Kind:
        cap = min(1 << 20, kind.MAX_BYTES + ENVELOPE_OVERHEAD)
        data = await self.stream.receive(cap)
        return open_envelope(data, kind, NETWORK, signer=self.stream.peer).message

    def pass_request(self, job: Digest | None = None, window_ms: int | None = None) -> PassRequest:
        return PassRequest(job or self.id, Digest(bytes(32)), window_ms or PRESET.pass_window_ms)

    def chain_request(
        self, job: Digest | None = None, window_ms: int | None = None
    ) -> ChainRequest:
        return ChainRequest(job or self.id, Digest(bytes(32)), window_ms or PRESET.chain_window_ms)

    def open_request(
        self, rows: bytes = b"", passes: bytes = b"", chains: bytes = b"", job: Digest | None = None
    ) -> OpenRequest:
        return OpenRequest(job=job or self.id, rows=(rows,), passes=(passes,), chains=chains)

    async def work(self) -> None:
        await self.send(self.job)
        answer = await self.hear(Commitment)
        self.works = decode_works(answer.devices, PRESET.k, PRESET.n)

    async def make_passes(self) -> None:
        await self.send(self.pass_request())
        self.passes = decode_passes((await self.hear(Passes)).devices, self.works)

    async def make_chains(self) -> None:
        await self.send(self.chain_request())
        self.chains = decode_commitments((await self.hear(Chains)).chains)

    async def open(self, request: OpenRequest) -> Openings:
        await self.send(request)
        return await self.hear(Openings)


@asynccontextmanager
async def hand_of(world: World, number: int = 0) -> AsyncIterator[Hand]:
    """The stream of the checker of a seat to provider 0."""
    checker, challenge = await make_challenge(world, number)
    hand = Hand(checker, challenge, world)
    key = world.providers[0].network.node_key
    with trio.fail_after(PATIENCE):
        async with checker.network.open_stream(key, JOB_PROTOCOL, PATIENCE) as stream:
            hand.stream = stream
            yield hand
