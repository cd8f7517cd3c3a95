"""Lockstep: every request at its fixed moment, for everybody, and no time that a provider can stop.

Without it one machine behind several identities has them served one after another. Times are only
ever too late on a busy machine, and these tests are about what comes too early.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import trio
import trio.testing
from nacl.signing import SigningKey

from p2p_node.duties.challenging import challenge_provider
from p2p_node.duties.checking import assess_shard
from p2p_node.duties.exchange import Exchange
from p2p_node.duties.observations import Transcript
from p2p_node.net.api import RequestStream
from protocols.gossip import JOB_PROTOCOL
from protocols.messages import ChainRequest, Chains, OpenRequest, Passes, PassRequest
from protocols.scoring import Verdict
from protocols.types import Digest, NodeKey, TimeMs
from tests.p2p_node.duties.test_jobs import (
    IN_SLOT_0,
    commitment,
    hear,
    job_id,
    make_challenge,
    reply,
)
from tests.p2p_node.duties.world import EPOCH, NETWORK, PRESET, SHARD, open_world

BEFORE_SLOT_0 = PRESET.draw_ms + PRESET.transfer_ms - 600
WORK_MS = PRESET.window_ms + PRESET.commitment_slack_ms
PASS_MS = PRESET.pass_window_ms + PRESET.pass_slack_ms
PATIENCE = 10


async def test_a_stage_begins_at_its_moment_however_early_the_one_before_is_answered(
    tmp_path: Path,
) -> None:
    asked: dict[str, float] = {}
    async with open_world(tmp_path, IN_SLOT_0) as world:

        async def answer_at_once(stream: RequestStream) -> None:
            job = await stream.receive(4096)
            asked["work"] = trio.current_time()
            await reply(world, stream, commitment(job_id(job)))
            request = await hear(stream, PassRequest)
            asked["passes"] = trio.current_time()
            nothing = Passes(job=job_id(job), request=request, devices=(bytes(36),))
            await reply(world, stream, nothing)
            request = await hear(stream, ChainRequest)
            asked["chains"] = trio.current_time()
            await reply(world, stream, Chains(job=job_id(job), request=request, chains=b""))
            await hear(stream, OpenRequest)

        world.providers[0].network.serve(JOB_PROTOCOL, answer_at_once)
        checker, challenge = await make_challenge(world)
        started = trio.current_time()
        with trio.fail_after(PATIENCE):
            await challenge_provider(checker, challenge, world.view.providers[0])
    assert asked["passes"] - started >= WORK_MS / 1000
    assert asked["chains"] - started >= (WORK_MS + PASS_MS) / 1000


async def test_jobs_are_sent_at_the_start_over_streams_that_are_open_by_then(
    tmp_path: Path,
) -> None:
    opened: list[TimeMs] = []
    arrived: list[TimeMs] = []
    async with open_world(tmp_path, IN_SLOT_0) as world:
        checker, challenge = await make_challenge(world)
        start = TimeMs(checker.clock.now() + 500)

        async def take_note(stream: RequestStream) -> None:
            opened.append(checker.clock.now())
            await stream.receive(4096)
            arrived.append(checker.clock.now())

        world.providers[0].network.serve(JOB_PROTOCOL, take_note)
        with trio.fail_after(PATIENCE):
            await challenge_provider(
                checker, replace(challenge, start=start), world.view.providers[0]
            )
    assert opened[0] < start <= arrived[0]


async def test_a_provider_that_delays_its_stream_is_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_world(tmp_path, IN_SLOT_0) as world:
        checker, challenge = await make_challenge(world)

        @asynccontextmanager
        async def open_late(*_: object) -> AsyncIterator[None]:
            await trio.sleep_forever()
            yield

        monkeypatch.setattr(checker.network, "open_stream", open_late)
        with trio.fail_after(PATIENCE):
            seen = await challenge_provider(checker, challenge, world.view.providers[0])
        left = checker.watcher.timeline.slot_end(EPOCH, challenge.seat)
        assert checker.clock.now() < left, "it has not the whole slot"
    assert (seen.verdict, seen.score) == (Verdict.ABSENT, 0)


async def test_a_checker_opens_streams_before_its_slot_and_asks_in_it(tmp_path: Path) -> None:
    opened: list[TimeMs] = []
    arrived: list[TimeMs] = []
    async with open_world(tmp_path, BEFORE_SLOT_0) as world:
        checker, seat = world.seat(0)
        index = world.view.committee(SHARD)[0]
        start = checker.watcher.timeline.slot_start(EPOCH, seat)

        async def take_note(stream: RequestStream) -> None:
            opened.append(checker.clock.now())
            await stream.receive(4096)
            arrived.append(checker.clock.now())

        for provider in world.providers:
            provider.network.serve(JOB_PROTOCOL, take_note)
        with trio.fail_after(PATIENCE):
            await assess_shard(checker, world.view, SHARD, seat, index)
    assert len(arrived) == len(world.providers)
    assert min(opened) < start <= min(arrived)


class SlowStream:
    """Takes a request in `send_s` seconds and answers after `answer_s` more."""

    def __init__(self, send_s: float, answer_s: float) -> None:
        self._send_s, self._answer_s = send_s, answer_s

    async def send(self, _data: bytes, *, within: float | None = None) -> None:
        await trio.sleep(self._send_s)

    async def receive(self, _cap: int, *, within: float | None = None) -> bytes:
        await trio.sleep(self._answer_s)
        return b"answer"


async def test_time_runs_from_the_moment_in_which_a_request_is_sent(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A peer can stop the transport a byte before the request's end, and begin to work."""
    key = SigningKey(bytes(32))
    exchange = Exchange(
        cast("Any", SlowStream(send_s=3, answer_s=1)),
        job=Digest(bytes(32)),
        key=key,
        network=NETWORK,
        provider=NodeKey(bytes(key.verify_key)),
        transcript=Transcript(),
    )
    request = PassRequest(job=Digest(bytes(32)), nonce=Digest(bytes(32)), window_ms=1000)

    _, elapsed_us = await exchange.fetch(request, cap=100, within=10)

    assert elapsed_us == 4_000_000
