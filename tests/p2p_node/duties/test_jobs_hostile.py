"""Checkers that do not keep to the rules, and providers that try to make a checker trip.

Whatever the other side does, the exchange ends with a reason, and nothing is left of it.
"""

import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import trio

from p2p_node.duties.challenging import challenge_provider
from p2p_node.duties.checking import prepare_row_check
from p2p_node.duties.observations import NO_EVIDENCE
from p2p_node.net.api import RequestStream
from p2p_node.net.errors import StreamEndedError
from protocols.codec import encode
from protocols.compute import MAX_ROUNDS
from protocols.envelopes import peek_kind, seal
from protocols.gossip import JOB_PROTOCOL
from protocols.host_proof import MAX_DEVICES
from protocols.messages import (
    Commitment,
    JobRefusal,
    OpenRequest,
    Passes,
    PassRequest,
    Refusal,
)
from protocols.openings import Index, encode_indices
from protocols.scoring import Verdict
from protocols.types import Digest
from tests.fakes.network import FakeRequestStream
from tests.p2p_node.duties.job_harness import PATIENCE, Hand, hand_of, offering
from tests.p2p_node.duties.test_jobs import (
    IN_SLOT_0,
    commit,
    exchange,
    job_id,
    make_challenge,
    make_job,
    refusal_in,
    reply,
    work,
)
from tests.p2p_node.duties.world import EPOCH, NETWORK, PRESET, World, open_world

OTHER = Digest(b"\x09" * 32)
NEXT_SLOT_SOON = PRESET.draw_ms + PRESET.transfer_ms + PRESET.slot_ms - 400


class WideOpenRequest(OpenRequest):
    """An OpenRequest that asks for more than its sender may."""

    def encode(self) -> bytes:
        return encode([self.job, list(self.rows), list(self.passes), self.chains])


def rows(*pairs: tuple[int, int]) -> bytes:
    return encode_indices(Index(*pair) for pair in pairs)


async def to_openings(hand: Hand) -> None:
    await hand.work()
    await hand.make_passes()
    await hand.make_chains()


async def skip_passes(hand: Hand) -> None:
    await hand.work()
    await hand.send(hand.chain_request())


async def skip_chains(hand: Hand) -> None:
    await hand.work()
    await hand.make_passes()
    await hand.send(hand.open_request())


async def repeat_job(hand: Hand) -> None:
    await hand.work()
    await hand.send(hand.job)


async def repeat_passes(hand: Hand) -> None:
    await hand.work()
    await hand.make_passes()
    await hand.send(hand.pass_request())


async def repeat_chains(hand: Hand) -> None:
    await to_openings(hand)
    await hand.send(hand.chain_request())


async def pass_longer(hand: Hand) -> None:
    await hand.work()
    await hand.send(hand.pass_request(window_ms=1 << 30))


async def chain_longer(hand: Hand) -> None:
    await hand.work()
    await hand.make_passes()
    await hand.send(hand.chain_request(window_ms=1))


async def pass_another_job(hand: Hand) -> None:
    await hand.work()
    await hand.send(hand.pass_request(job=OTHER))


async def chain_another_job(hand: Hand) -> None:
    await hand.work()
    await hand.make_passes()
    await hand.send(hand.chain_request(job=OTHER))


async def open_another_job(hand: Hand) -> None:
    await to_openings(hand)
    await hand.send(hand.open_request(job=OTHER))


async def open_what(hand: Hand, make: Callable[[Hand], tuple[bytes, bytes, bytes]]) -> None:
    await to_openings(hand)
    await hand.send(hand.open_request(*make(hand)))


async def open_many(hand: Hand, rows_: int = 0, passes: int = 0, chains: int = 0) -> None:
    await to_openings(hand)
    wide = WideOpenRequest(
        job=hand.id, rows=(bytes(8 * rows_),), passes=(bytes(8 * passes),), chains=bytes(8 * chains)
    )
    await hand.send(wide)


async def open_other_devices(hand: Hand) -> None:
    await to_openings(hand)
    await hand.send(OpenRequest(job=hand.id, rows=(b"", b""), passes=(b"", b""), chains=b""))


async def open_without_end(hand: Hand) -> None:
    await to_openings(hand)
    await hand.stream.send(bytes(1 << 20))


async def open_as_another(hand: Hand) -> None:
    await to_openings(hand)
    key = hand._world.outsider.identity.node_key
    await hand.stream.send(seal(key, NETWORK, hand.open_request()))


def first_kept(hand: Hand) -> int:
    return hand.works[0].commitment.rounds - hand.works[0].kept


OPENINGS = {
    "a round that does not exist": (
        lambda h: (rows((h.works[0].commitment.rounds, 0)), b"", b""),
        "indices not allowed",
    ),
    "a row that does not exist": (lambda _: (rows((0, 32)), b"", b""), "indices not allowed"),
    "a row twice": (lambda _: (rows((0, 1), (0, 1)), b"", b""), "indices not allowed"),
    "rows descending": (lambda _: (rows((0, 1), (0, 0)), b"", b""), "indices not allowed"),
    "half a row": (lambda _: (rows((0, 1))[:5], b"", b""), "indices length"),
    "a pass without its row": (
        lambda h: (rows((first_kept(h), 1)), rows((0, 0)), b""),
        "request not allowed",
    ),
    "a pass that does not exist": (
        lambda h: (rows((first_kept(h), 0)), rows((h.passes[0].passes, 0)), b""),
        "pass indices not allowed",
    ),
    "a kept row that does not exist": (
        lambda h: (b"", rows((0, 32 * h.works[0].kept)), b""),
        "pass indices not allowed",
    ),
    "a segment that does not exist": (
        lambda h: (b"", b"", rows((0, h.chains[0].segments))),
        "segment indices not allowed",
    ),
    "a chain that does not exist": (
        lambda _: (b"", b"", rows((1, 0))),
        "segment indices not allowed",
    ),
    "half a segment": (lambda _: (b"", b"", bytes(7)), "segment indices length"),
}

MISBEHAVIOUR = {
    "skips passes": (skip_passes, "wrong kind"),
    "skips chains": (skip_chains, "wrong kind"),
    "sends the job twice": (repeat_job, "wrong kind"),
    "asks for passes twice": (repeat_passes, "wrong kind"),
    "asks for chains twice": (repeat_chains, "wrong kind"),
    "asks for longer passes": (pass_longer, "window not allowed"),
    "asks for shorter chains": (chain_longer, "window not allowed"),
    "asks for passes of another job": (pass_another_job, "request about another job"),
    "asks for chains of another job": (chain_another_job, "request about another job"),
    "opens another job": (open_another_job, "request about another job"),
    "opens 97 rows": (partial(open_many, rows_=97), "bad field"),
    "opens 33 passes": (partial(open_many, passes=33), "bad field"),
    "opens 33 segments": (partial(open_many, chains=33), "bad field"),
    "opens other devices": (open_other_devices, "request not allowed"),
    "asks without end": (open_without_end, "message too long"),
    "asks in another's name": (open_as_another, "unexpected signer"),
    **{
        f"opens {name}": (partial(open_what, make=make), reason)
        for name, (make, reason) in OPENINGS.items()
    },
}


@pytest.mark.parametrize("name", MISBEHAVIOUR)
async def test_checker_that_breaks_the_rules_ends_the_exchange(tmp_path: Path, name: str) -> None:
    misbehave, reason = MISBEHAVIOUR[name]
    async with open_world(tmp_path, IN_SLOT_0) as world, offering(world) as offer:
        async with hand_of(world) as hand:
            await misbehave(hand)
            with pytest.raises(StreamEndedError):
                await hand.stream.receive(1 << 20)
        await offer.settle()
        assert offer.refused(reason) == 1, dict(offer.node.network.counters.refused)
        offer.forget()
        checker, challenge = await make_challenge(world)
        seen = await challenge_provider(checker, challenge, world.view.providers[0])
        assert seen.verdict is Verdict.OK, "it goes on serving"


async def test_openings_are_answered_once(tmp_path: Path) -> None:
    """The most that may be asked for, then once more: the exchange is over."""
    async with open_world(tmp_path, IN_SLOT_0) as world, offering(world) as offer:
        async with hand_of(world) as hand:
            await to_openings(hand)
            request = hand.open_request(rows((0, 0)), b"", rows((0, 0)))
            await hand.send(request)
            opened = await hand.open(request)
            assert len(opened.rows[0]) >= 4 * PRESET.n
            with pytest.raises(StreamEndedError):
                await hand.hear(Passes)
        assert offer.backends[0].calls["open"] == 1


async def test_request_for_nothing_is_answered_with_nothing(tmp_path: Path) -> None:
    async with (
        open_world(tmp_path, IN_SLOT_0) as world,
        offering(world),
        hand_of(world) as hand,
    ):
        await to_openings(hand)
        opened = await hand.open(hand.open_request())
    assert (opened.rows, opened.passes, opened.chains) == ((b"",), (b"",), b"")


async def ask_at_once(world: World, jobs: list[tuple[object, bytes]]) -> list[bytes]:
    """Send all jobs at once, each by its node, and keep every stream open for all answers."""
    answers: list[bytes] = []

    async def ask(node, job: bytes) -> None:
        answers.append(await exchange(node, world.providers[0], job))

    async with trio.open_nursery() as nursery:
        for node, job in jobs:
            nursery.start_soon(ask, node, job)
    return answers


async def test_ten_checkers_at_once_of_whom_one_holds_the_seat(tmp_path: Path) -> None:
    async with open_world(tmp_path, IN_SLOT_0) as world, offering(world) as offer:
        checker, challenge = await make_challenge(world)
        job = make_job(world, challenge)
        jobs: list[tuple[object, bytes]] = []
        for number in range(9):
            if number % 3 == 0:
                node, other = await make_challenge(world, 1 + number % 2)
                wrong = make_job(world, other)
            else:
                node, wrong = (world.outsider, world.providers[1])[number % 2], job
            jobs.append((node, seal(node.identity.node_key, NETWORK, wrong)))
        answers: list[bytes] = []
        async with trio.open_nursery() as nursery:

            async def others() -> None:
                answers.extend(await ask_at_once(world, jobs))

            nursery.start_soon(others)
            seen = await challenge_provider(checker, challenge, world.view.providers[0])
        refusals = sorted(refusal_in(answer) for answer in answers)
        assert refusals == [Refusal.NOT_IN_COMMITTEE] * 6 + [Refusal.NOT_IN_SLOT] * 3
        assert seen.verdict is Verdict.OK
        assert seen.rate > 0
        (backend,) = offer.backends
        assert (backend.calls["run"], backend.most_active) == (1, 1), "nobody shared the device"


async def test_holder_of_the_seat_ten_times_at_once(tmp_path: Path) -> None:
    async with open_world(tmp_path, IN_SLOT_0) as world, offering(world) as offer:
        checker, challenge = await make_challenge(world)
        job = seal(checker.identity.node_key, NETWORK, make_job(world, challenge))
        answers = await ask_at_once(world, [(checker, job)] * 10)
        kinds = [peek_kind(answer, len(answer), NETWORK) for answer in answers]
        assert sorted(kinds) == [Commitment.KIND] + [JobRefusal.KIND] * 9
        refusals = {refusal_in(a) for a, kind in zip(answers, kinds, strict=True) if kind == 8}
        assert refusals == {Refusal.ALREADY_ANSWERED}
        assert len(offer.server._answered) == 1
        assert offer.backends[0].calls["run"] == 1


async def stall_after_work(hand: Hand) -> None:
    await hand.work()


async def stall_after_passes(hand: Hand) -> None:
    await hand.work()
    await hand.make_passes()


@pytest.mark.parametrize("stall", [stall_after_work, stall_after_passes, to_openings])
async def test_checker_that_stalls_does_not_spoil_the_next_slot(
    tmp_path: Path, stall: Callable[[Hand], Awaitable[None]]
) -> None:
    """Its job ends with its slot: the next checker sees the same provider as everybody else."""
    async with open_world(tmp_path, NEXT_SLOT_SOON) as world, offering(world) as offer:
        checker, challenge = await make_challenge(world, 1)
        async with hand_of(world) as hand:
            await stall(hand)
            await checker.clock.sleep_until(
                checker.watcher.timeline.slot_start(EPOCH, challenge.seat)
            )
            seen = await challenge_provider(checker, challenge, world.view.providers[0])
            assert seen.verdict is Verdict.OK
            with pytest.raises(StreamEndedError):
                await hand.stream.receive(1 << 20)
        assert offer.refused("job not done within its slot") == 1


async def test_checker_that_does_not_read_does_not_spoil_the_next_slot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_world(tmp_path, NEXT_SLOT_SOON) as world, offering(world) as offer:
        checker, challenge = await make_challenge(world, 1)
        async with hand_of(world) as hand:
            await to_openings(hand)
            send = FakeRequestStream.send

            async def stick(stream: RequestStream, data: bytes, **settings: float) -> None:
                if stream.peer == hand.stream.peer or len(data) < 1024:
                    return await send(stream, data, **settings)  # type: ignore[arg-type]
                return await trio.sleep_forever()

            monkeypatch.setattr(FakeRequestStream, "send", stick)
            await hand.send(hand.open_request(rows(*((0, i) for i in range(32)))))
            await offer.settle()
            monkeypatch.undo()
            await checker.clock.sleep_until(
                checker.watcher.timeline.slot_start(EPOCH, challenge.seat)
            )
            seen = await challenge_provider(checker, challenge, world.view.providers[0])
        assert seen.verdict is Verdict.OK
        assert offer.refused("job not done within its slot") == 1


async def test_job_after_its_slot_is_refused(tmp_path: Path) -> None:
    """Also where clocks may differ: the devices are the next checker's."""
    late = PRESET.draw_ms + PRESET.transfer_ms + PRESET.slot_ms + 10
    async with open_world(tmp_path, late) as world, offering(world):
        checker, challenge = await make_challenge(world)
        job = seal(checker.identity.node_key, NETWORK, make_job(world, challenge))
        assert refusal_in(await exchange(checker, world.providers[0], job)) is Refusal.NOT_IN_SLOT


# Providers against a checker.


@asynccontextmanager
async def answering(
    tmp_path: Path, behave: Callable[[World, RequestStream, bytes], Awaitable[None]]
) -> AsyncIterator[World]:
    async with open_world(tmp_path, IN_SLOT_0) as world:

        async def answer(stream: RequestStream) -> None:
            await behave(world, stream, await stream.receive(4096))

        world.providers[0].network.serve(JOB_PROTOCOL, answer)
        with trio.fail_after(PATIENCE):
            yield world


async def test_refusal_is_evidence(tmp_path: Path) -> None:
    async def refuse(world: World, stream: RequestStream, job: bytes) -> None:
        await reply(
            world, stream, JobRefusal(job=job_id(job), code=Refusal.BUSY, detail="", lease=0)
        )

    async with answering(tmp_path, refuse) as world:
        checker, challenge = await make_challenge(world)
        seen = await challenge_provider(checker, challenge, world.view.providers[0])
    assert seen.verdict is Verdict.BUSY
    assert len(seen.parts.messages) == 2
    assert seen.transcript == seen.parts.digest() != NO_EVIDENCE


async def test_refusal_of_another_job_refuses_nothing(tmp_path: Path) -> None:
    async def refuse(world: World, stream: RequestStream, job: bytes) -> None:
        await reply(world, stream, JobRefusal(job=OTHER, code=Refusal.BUSY, detail="", lease=0))

    async with answering(tmp_path, refuse) as world:
        checker, challenge = await make_challenge(world)
        seen = await challenge_provider(checker, challenge, world.view.providers[0])
        refused = checker.network.counters.refused
    assert seen.verdict is Verdict.SLOW
    assert refused[JOB_PROTOCOL, "answer to another job"] == 1


async def test_answers_before_their_requests_count_for_nothing(tmp_path: Path) -> None:
    """Passes that were sent before the nonce was known cannot name the request."""

    async def hurry(world: World, stream: RequestStream, job: bytes) -> None:
        await reply(world, stream, Commitment(job=job_id(job), devices=(work(),), receipts=()))
        await reply(world, stream, Passes(job=job_id(job), request=OTHER, devices=(bytes(36),)))
        await stream.receive(PassRequest.MAX_BYTES + 256)
        await trio.sleep_forever()

    async with answering(tmp_path, hurry) as world:
        checker, challenge = await make_challenge(world)
        seen = await challenge_provider(checker, challenge, world.view.providers[0])
        refused = checker.network.counters.refused
    assert seen.verdict is Verdict.SLOW
    assert refused[JOB_PROTOCOL, "answer to another request"] == 1


async def test_more_openings_than_a_stream_carries_are_no_bug_of_the_checker(
    tmp_path: Path,
) -> None:
    """Sixteen devices with the most rounds and the longest rows: 20 MiB."""
    preset = replace(PRESET, k=16, n=32_768)

    async def boast(world: World, stream: RequestStream, job: bytes) -> None:
        devices = [
            struct.pack("<IIII", device, 1 << 20, MAX_ROUNDS, 0) + bytes(32)
            for device in range(MAX_DEVICES)
        ]
        await commit(world, stream, job, *devices)
        await stream.send(bytes(1000))

    async with answering(tmp_path, boast) as world:
        checker, challenge = await make_challenge(world)
        checker = replace(checker, preset=preset)
        check = await prepare_row_check(checker, world.view)
        seen = await challenge_provider(
            checker, replace(challenge, check=check), world.view.providers[0]
        )
    assert (seen.verdict, seen.score) == (Verdict.SLOW, 0)


async def test_node_does_not_challenge_itself(tmp_path: Path) -> None:
    """Who offers a machine and checks others under one key is judged by the others."""
    async with open_world(tmp_path, IN_SLOT_0) as world:
        checker, challenge = await make_challenge(world)
        self = replace(world.view.providers[0], node_key=checker.network.node_key)
        seen = await challenge_provider(checker, challenge, self)
    assert (seen.verdict, seen.transcript) == (Verdict.ABSENT, NO_EVIDENCE)


async def test_openings_wait_for_their_turn_as_they_came(tmp_path: Path) -> None:
    """A whole shard sends them at once: there are as many threads for them as cores, and none of
    a provider's time is spent waiting."""
    async with open_world(tmp_path, IN_SLOT_0) as world, offering(world) as offer:
        checker, challenge = await make_challenge(world)
        turn = trio.CapacityLimiter(1)
        seen: list[Verdict] = []

        async def observe() -> None:
            one = replace(challenge, verifiers=turn)
            seen.append((await challenge_provider(checker, one, world.view.providers[0])).verdict)

        # The nursery ends after the turn has been given back.
        async with trio.open_nursery() as nursery, turn:
            nursery.start_soon(observe)
            with trio.fail_after(PATIENCE):
                while not turn.statistics().tasks_waiting:
                    await trio.sleep(0.005)
            await offer.settle()
            assert seen == []
        assert seen == [Verdict.OK]
