"""One job between a checker and a provider: what each side makes of the other's behaviour."""

import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
import trio
import trio.testing

from p2p_node.duties.challenging import Challenge, challenge_provider
from p2p_node.duties.checking import prepare_row_check
from p2p_node.duties.job_answering import Host
from p2p_node.duties.job_serving import JobServer
from p2p_node.duties.observations import MAX_MESSAGES, NO_EVIDENCE
from p2p_node.net.api import RequestStream
from p2p_node.net.errors import StreamEndedError
from p2p_node.node import Node
from p2p_node.roles.cheating_provider import PartialProduct
from p2p_node.workloads.backend import ComputeBackend
from p2p_node.workloads.core_chains import CoreChains
from p2p_node.workloads.core_worker import CoreWorker
from p2p_node.workloads.device_group import DeviceGroup
from p2p_node.workloads.exact_product import ExactProduct, Product
from p2p_node.workloads.numpy_backend import NumpyBackend
from protocols.compute import MAX_ROUNDS
from protocols.envelopes import ENVELOPE_OVERHEAD, open_envelope, peek_kind, seal
from protocols.gossip import JOB_PROTOCOL
from protocols.messages import (
    ChainRequest,
    Chains,
    Commitment,
    Job,
    JobRefusal,
    Openings,
    OpenRequest,
    Passes,
    PassRequest,
    Refusal,
    compute_job_nonce,
    compute_message_digest,
)
from protocols.params import LANES
from protocols.scoring import Verdict
from protocols.types import Digest, Seat
from protocols.wire import Message
from tests.p2p_node.duties.world import EPOCH, NETWORK, PRESET, SHARD, World, open_world

SECRET = b"\x07" * 32
IN_SLOT_0 = PRESET.draw_ms + PRESET.transfer_ms + 50


MakeProduct = Callable[[bytes, int, int], Product]


def small_backend(make_product: MakeProduct = ExactProduct) -> NumpyBackend:
    return NumpyBackend(memory_bytes=1 << 20, rows=32, make_product=make_product)


@asynccontextmanager
async def serving(
    world: World, number: int, *backends: ComputeBackend, cores: int = 1
) -> AsyncIterator[JobServer]:
    provider = world.providers[number]
    devices = DeviceGroup(backends or (small_backend(),))
    chains = CoreChains(cores) if cores else None
    host = Host(devices, CoreWorker(chains) if chains else None)
    server = JobServer(provider, host, number)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.run)
            await trio.testing.wait_all_tasks_blocked()
            yield server
            nursery.cancel_scope.cancel()
    finally:
        await devices.close()
        if chains:
            chains.close()


async def make_challenge(world: World, number: int = 0) -> tuple[Node, Challenge]:
    checker, seat = world.seat(number)
    check = await prepare_row_check(checker, world.view)
    index = world.view.committee(SHARD)[number]
    return checker, Challenge(world.view, SHARD, seat, index, SECRET, check)


def make_job(world: World, challenge: Challenge, provider: int = 0) -> Job:
    return Job(
        epoch=EPOCH,
        shard=SHARD,
        seat=challenge.seat,
        checker=challenge.checker,
        provider=provider,
        nonce=compute_job_nonce(SECRET, world.providers[provider].network.node_key),
        k=PRESET.k,
        n=PRESET.n,
        window_ms=PRESET.window_ms,
    )


async def test_honest_provider_is_ok_and_scored_by_its_rate(tmp_path: Path) -> None:
    async with open_world(tmp_path, IN_SLOT_0) as world, serving(world, 0):
        checker, challenge = await make_challenge(world)
        observation = await challenge_provider(checker, challenge, world.view.providers[0])
    assert observation.verdict is Verdict.OK
    assert observation.rate > 0
    assert observation.transcript == observation.parts.digest() != NO_EVIDENCE
    assert len(observation.parts.messages) == MAX_MESSAGES


async def test_cheating_provider_is_refuted_by_its_own_openings(tmp_path: Path) -> None:
    backend = small_backend(PartialProduct)
    async with open_world(tmp_path, IN_SLOT_0) as world, serving(world, 0, backend):
        checker, challenge = await make_challenge(world)
        observation = await challenge_provider(checker, challenge, world.view.providers[0])
        refused = checker.network.counters.refused
    assert observation.verdict is Verdict.WRONG
    assert observation.score == 0
    assert observation.transcript != NO_EVIDENCE
    assert refused[JOB_PROTOCOL, "openings row"] == 1


async def test_provider_that_is_gone_is_absent(tmp_path: Path) -> None:
    async with open_world(tmp_path, IN_SLOT_0) as world:
        checker, challenge = await make_challenge(world)
        world.hub.cut(checker.network.node_key, world.providers[0].network.node_key)
        observation = await challenge_provider(checker, challenge, world.view.providers[0])
    assert (observation.verdict, observation.score) == (Verdict.ABSENT, 0)
    assert observation.transcript == NO_EVIDENCE


Reply = Callable[[World, RequestStream, bytes], Awaitable[None]]


async def say_nothing(_world: World, _stream: RequestStream, _job: bytes) -> None:
    await trio.sleep_forever()


async def say_garbage(_world: World, stream: RequestStream, _job: bytes) -> None:
    await stream.send(b"\x93garbage")


def commitment(job: Digest, *devices: bytes) -> Commitment:
    return Commitment(job=job, devices=devices or (work(),), receipts=())


def work(device: int = 0, m: int = 32, rounds: int = 1, kept: int = 0) -> bytes:
    return struct.pack("<IIII", device, m, rounds, kept) + bytes(32)


async def say_another_job(world: World, stream: RequestStream, _job: bytes) -> None:
    await reply(world, stream, commitment(Digest(bytes(32))))


async def say_too_many_rounds(world: World, stream: RequestStream, job: bytes) -> None:
    await reply(world, stream, commitment(job_id(job), work(rounds=MAX_ROUNDS + 1)))


async def say_no_device(world: World, stream: RequestStream, job: bytes) -> None:
    await reply(world, stream, Commitment(job=job_id(job), devices=(), receipts=()))


async def say_one_device_twice(world: World, stream: RequestStream, job: bytes) -> None:
    await reply(world, stream, commitment(job_id(job), work(), work()))


async def say_in_anothers_name(world: World, stream: RequestStream, job: bytes) -> None:
    await stream.send(seal(world.outsider.identity.node_key, NETWORK, commitment(job_id(job))))


Asked = TypeVar("Asked", bound=Message)


async def hear(stream: RequestStream, kind: type[Asked]) -> Digest:
    """Wait for a request; its digest."""
    data = await stream.receive(kind.MAX_BYTES + ENVELOPE_OVERHEAD)
    return compute_message_digest(open_envelope(data, kind, NETWORK).body)


async def commit(world: World, stream: RequestStream, job: bytes, *devices: bytes) -> Digest:
    """Commit to a round, no passes and no chains; the digest of the OpenRequest that follows."""
    await reply(world, stream, commitment(job_id(job), *devices))
    asked = await hear(stream, PassRequest)
    nothing = tuple(bytes(36) for _ in devices or (0,))
    await reply(world, stream, Passes(job=job_id(job), request=asked, devices=nothing))
    asked = await hear(stream, ChainRequest)
    await reply(world, stream, Chains(job=job_id(job), request=asked, chains=b""))
    return await hear(stream, OpenRequest)


def openings(job: Digest, request: Digest, *rows: bytes) -> Openings:
    return Openings(job=job, request=request, rows=rows, passes=(b"",) * len(rows), chains=b"")


async def commit_and_refuse(world: World, stream: RequestStream, job: bytes) -> None:
    await reply(world, stream, commitment(job_id(job)))
    await hear(stream, PassRequest)
    await reply(world, stream, JobRefusal(job=job_id(job), code=Refusal.BUSY, detail="", lease=0))


async def commit_and_never_pass(world: World, stream: RequestStream, job: bytes) -> None:
    await reply(world, stream, commitment(job_id(job)))
    await trio.sleep_forever()


async def commit_and_pass_nothing_kept(world: World, stream: RequestStream, job: bytes) -> None:
    await reply(world, stream, commitment(job_id(job)))
    asked = await hear(stream, PassRequest)
    passes = struct.pack("<I", 1) + bytes(32)
    await reply(world, stream, Passes(job=job_id(job), request=asked, devices=(passes,)))


async def commit_and_chain_garbage(world: World, stream: RequestStream, job: bytes) -> None:
    await reply(world, stream, commitment(job_id(job)))
    asked = await hear(stream, PassRequest)
    await reply(world, stream, Passes(job=job_id(job), request=asked, devices=(bytes(36),)))
    asked = await hear(stream, ChainRequest)
    await reply(world, stream, Chains(job=job_id(job), request=asked, chains=b"garbage"))


async def commit_and_never_open(world: World, stream: RequestStream, job: bytes) -> None:
    await commit(world, stream, job)
    await trio.sleep_forever()


async def commit_and_open_short(world: World, stream: RequestStream, job: bytes) -> None:
    asked = await commit(world, stream, job)
    await reply(world, stream, openings(job_id(job), asked, b"short"))


async def commit_and_open_unasked(world: World, stream: RequestStream, job: bytes) -> None:
    await commit(world, stream, job)
    await reply(world, stream, openings(job_id(job), Digest(bytes(32)), b""))


async def commit_and_open_another_device(world: World, stream: RequestStream, job: bytes) -> None:
    asked = await commit(world, stream, job)
    await reply(world, stream, openings(job_id(job), asked, b"", b""))


async def commit_and_open_oversized(world: World, stream: RequestStream, job: bytes) -> None:
    await commit(world, stream, job)
    await stream.send(bytes(1 << 20))


def job_id(sealed: bytes) -> Digest:
    return compute_message_digest(open_envelope(sealed, Job, NETWORK).body)


async def reply(world: World, stream: RequestStream, message: Message) -> None:
    await stream.send(seal(world.providers[0].identity.node_key, NETWORK, message))


@pytest.mark.parametrize(
    ("behaviour", "verdict", "reason"),
    [
        (say_nothing, Verdict.ABSENT, None),
        (say_garbage, Verdict.ABSENT, None),
        (say_another_job, Verdict.SLOW, "answer to another job"),
        (say_too_many_rounds, Verdict.SLOW, "commitment not allowed"),
        (say_no_device, Verdict.SLOW, "devices not allowed"),
        (say_one_device_twice, Verdict.SLOW, "devices not allowed"),
        (say_in_anothers_name, Verdict.ABSENT, None),
        (commit_and_refuse, Verdict.SLOW, "provider: busy"),
        (commit_and_never_pass, Verdict.SLOW, "peer does not answer in time"),
        (commit_and_pass_nothing_kept, Verdict.SLOW, "passes not allowed"),
        (commit_and_chain_garbage, Verdict.SLOW, "chains length"),
        (commit_and_never_open, Verdict.SLOW, "peer does not answer in time"),
        (commit_and_open_short, Verdict.WRONG, "openings size"),
        (commit_and_open_unasked, Verdict.SLOW, "answer to another request"),
        (commit_and_open_another_device, Verdict.SLOW, "openings of other devices"),
        (commit_and_open_oversized, Verdict.SLOW, "message too long"),
    ],
)
async def test_misbehaving_provider_scores_nothing(
    tmp_path: Path, behaviour: Reply, verdict: Verdict, reason: str | None
) -> None:
    async with open_world(tmp_path, IN_SLOT_0) as world:

        async def answer(stream: RequestStream) -> None:
            await behaviour(world, stream, await stream.receive(4096))

        world.providers[0].network.serve(JOB_PROTOCOL, answer)
        checker, challenge = await make_challenge(world)
        with trio.fail_after(10):
            observation = await challenge_provider(checker, challenge, world.view.providers[0])
        refused = dict(checker.network.counters.refused)
    assert (observation.verdict, observation.score) == (verdict, 0), refused
    if reason is not None:
        assert refused[JOB_PROTOCOL, reason] == 1


async def exchange(sender: Node, provider: Node, data: bytes) -> bytes:
    """Send one message on the job protocol and return the first answer."""
    key = provider.network.node_key
    with trio.fail_after(10):
        async with sender.network.open_stream(key, JOB_PROTOCOL, 10) as stream:
            await stream.send(data)
            return await stream.receive(Commitment.MAX_BYTES + ENVELOPE_OVERHEAD)


def refusal_in(answer: bytes) -> Refusal:
    assert peek_kind(answer, 4096, NETWORK) == JobRefusal.KIND
    return Refusal(open_envelope(answer, JobRefusal, NETWORK).message.code)


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"provider": 1}, Refusal.NOT_FOR_ME),
        ({"shard": 1, "provider": LANES}, Refusal.NOT_FOR_ME),
        ({"seat": Seat(1)}, Refusal.NOT_IN_COMMITTEE),
        ({"seat": Seat(9)}, Refusal.NOT_IN_COMMITTEE),
        ({"epoch": EPOCH - 1}, Refusal.NOT_IN_SLOT),
        ({"epoch": EPOCH + 1}, Refusal.NOT_IN_SLOT),
        ({"k": 32}, Refusal.BAD_SHAPE),
        ({"n": 64}, Refusal.BAD_SHAPE),
        ({"window_ms": 1 << 30}, Refusal.BAD_SHAPE),
    ],
)
async def test_provider_refuses_what_is_not_its_job(
    tmp_path: Path, change: dict[str, int], refusal: Refusal
) -> None:
    async with open_world(tmp_path, IN_SLOT_0) as world, serving(world, 0):
        checker, challenge = await make_challenge(world)
        job = replace(make_job(world, challenge), **change)
        answer = await exchange(
            checker, world.providers[0], seal(checker.identity.node_key, NETWORK, job)
        )
        assert refusal_in(answer) is refusal
        counted = world.providers[0].network.counters.refused
        assert counted[JOB_PROTOCOL, f"job: {refusal.name.lower()}"] == 1


async def test_provider_refuses_a_checker_out_of_its_slot(tmp_path: Path) -> None:
    async with open_world(tmp_path, IN_SLOT_0) as world, serving(world, 0):
        checker, challenge = await make_challenge(world, number=2)
        job = seal(checker.identity.node_key, NETWORK, make_job(world, challenge))
        assert refusal_in(await exchange(checker, world.providers[0], job)) is Refusal.NOT_IN_SLOT


async def test_provider_refuses_outsiders_and_strangers_jobs(tmp_path: Path) -> None:
    async with open_world(tmp_path, IN_SLOT_0) as world, serving(world, 0):
        checker, challenge = await make_challenge(world)
        provider, outsider = world.providers[0], world.outsider
        job = make_job(world, challenge)
        own = seal(outsider.identity.node_key, NETWORK, job)
        assert refusal_in(await exchange(outsider, provider, own)) is Refusal.NOT_IN_COMMITTEE
        # The checker's job, carried by somebody else: not even answered.
        with pytest.raises(StreamEndedError):
            await exchange(outsider, provider, seal(checker.identity.node_key, NETWORK, job))
        counted = provider.network.counters.refused
        assert counted[JOB_PROTOCOL, "unexpected signer"] == 1


async def test_provider_answers_a_seat_once(tmp_path: Path) -> None:
    async with open_world(tmp_path, IN_SLOT_0) as world, serving(world, 0):
        checker, challenge = await make_challenge(world)
        job = seal(checker.identity.node_key, NETWORK, make_job(world, challenge))
        provider = world.providers[0]
        first = await exchange(checker, provider, job)
        assert peek_kind(first, 4096, NETWORK) == Commitment.KIND
        assert refusal_in(await exchange(checker, provider, job)) is Refusal.ALREADY_ANSWERED


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not msgpack"),
        (b"\xff" * 100, "not msgpack"),
        (b"\x05", "not an array"),
        (bytes(4000), "message too long"),
    ],
)
async def test_provider_survives_malformed_jobs(tmp_path: Path, data: bytes, reason: str) -> None:
    async with open_world(tmp_path, IN_SLOT_0) as world, serving(world, 0):
        provider = world.providers[0]
        with pytest.raises(StreamEndedError):
            await exchange(world.outsider, provider, data)
        counted = dict(provider.network.counters.refused)
        assert counted[JOB_PROTOCOL, reason] == 1, counted
        checker, challenge = await make_challenge(world)
        observation = await challenge_provider(checker, challenge, world.view.providers[0])
        assert observation.verdict is Verdict.OK, "it goes on serving"


async def test_provider_refuses_jobs_of_another_network(tmp_path: Path) -> None:
    async with open_world(tmp_path, IN_SLOT_0) as world, serving(world, 0):
        checker, challenge = await make_challenge(world)
        other = bytes(32)
        job = seal(checker.identity.node_key, other, make_job(world, challenge))
        with pytest.raises(StreamEndedError):
            await exchange(checker, world.providers[0], job)
        assert world.providers[0].network.counters.refused[JOB_PROTOCOL, "wrong network"] == 1
