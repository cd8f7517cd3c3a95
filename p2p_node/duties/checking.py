"""The checker's round: in each slot of its own, challenge a whole shard at once; then report."""

import logging
import secrets
from dataclasses import replace

import trio

from p2p_node.duties.challenging import Challenge, challenge_provider
from p2p_node.duties.device_reporting import ASK_SECONDS, ask_for_device_report, find_work
from p2p_node.duties.observations import Observation, Transcript
from p2p_node.duties.reporting import build_report
from p2p_node.node import Node
from protocols.compute import Shape, derive_b_seed
from protocols.envelopes import seal
from protocols.freivalds import SECRET_BYTES, RowCheck, prepare_check
from protocols.gossip import CHALLENGES_TOPIC
from protocols.membership import EpochView, Member
from protocols.messages import ChallengeAnnouncement, compute_challenge_commitment
from protocols.reports import Report
from protocols.scoring import MILLI, Verdict
from protocols.types import Seat, Shard, TimeMs

logger = logging.getLogger(__name__)

LEAD_MS = 2_000
"""So long before its slot a checker opens its streams: a dial takes a quarter of a second, and 256
of them some seconds of a busy machine."""

LATE_MS = 500
"""A checker that comes to its slot later than that leaves itself so long to open them."""


async def prepare_row_check(node: Node, view: EpochView) -> RowCheck:
    """Compute B·r for this epoch, with an r that nobody else ever learns."""
    # Any m will do: a provider chooses its own.
    shape = Shape(1, node.preset.k, node.preset.n)
    b_seed = derive_b_seed(view.seed, shape.k, shape.n)
    return await trio.to_thread.run_sync(
        prepare_check, b_seed, shape, secrets.token_bytes(SECRET_BYTES)
    )


async def assess_shard(
    node: Node, view: EpochView, shard: Shard, seat: Seat, checker: int
) -> Report | None:
    """Open streams before the slot of `seat`, challenge every active provider at its beginning,
    keep what was seen.

    A slot that is over is not made up for: what a restarted checker had observed is in the store,
    and of what it had not it does not speak (None).
    """
    stored = await node.store.observations(view.epoch, shard)
    if stored is not None:
        logger.info("epoch %d shard %d: slot was done before a restart", view.epoch, shard)
        return build_report(view.epoch, shard, stored)
    timeline = node.watcher.timeline
    start, end = timeline.slot_start(view.epoch, seat), timeline.slot_end(view.epoch, seat)
    check = await prepare_row_check(node, view)
    await node.clock.sleep_until(TimeMs(start - LEAD_MS))
    start = max(start, TimeMs(node.clock.now() + LATE_MS))
    if start + node.preset.job_ms > end:
        # Its jobs would run into the next slot.
        logger.warning("epoch %d shard %d: slot of seat %d missed", view.epoch, shard, seat)
        return None
    fresh = secrets.token_bytes(32)
    secret = await node.store.challenge_secret(view.epoch, shard, seat, fresh)
    if secret != fresh:
        # Its jobs may have been sent before a restart. Who got one answers no second, and who would
        # knows its nonces since then.
        logger.warning("epoch %d shard %d: slot was begun before a restart", view.epoch, shard)
        return None
    challenge = Challenge(view, shard, seat, checker, secret, check, start)
    observations: list[Observation] = []

    async def observe(provider: Member) -> None:
        seen = await challenge_provider(node, challenge, provider)
        # Not kept in memory until the slot is over: it may be 3 MB for each of 256 providers.
        await node.store.save_transcript(view.epoch, shard, seen.lane, seen.parts)
        observations.append(replace(seen, parts=Transcript()))
        work = find_work(seen.parts, node.watcher.view.network, node.preset)
        if work and seen.verdict is Verdict.OK:
            job, roots = work
            left = (end - node.clock.now()) / MILLI
            await ask_for_device_report(
                node,
                node.devices,
                provider,
                epoch=view.epoch,
                job=job,
                roots=roots,
                # The report on the shard waits for it: never beyond the slot.
                within=min(ASK_SECONDS, max(0.001, left)),
            )

    async with trio.open_nursery() as nursery:
        nursery.start_soon(_announce, node, challenge)
        for provider in view.shard_providers(shard):
            nursery.start_soon(observe, provider)
    await node.store.save_observations(view.epoch, shard, observations)
    return build_report(view.epoch, shard, observations)


async def _announce(node: Node, challenge: Challenge) -> None:
    """Commit to the challenge's secret before the network, when its jobs are sent."""
    announcement = ChallengeAnnouncement(
        epoch=challenge.view.epoch,
        shard=challenge.shard,
        seat=challenge.seat,
        checker=challenge.checker,
        commitment=compute_challenge_commitment(challenge.secret),
    )
    sealed = seal(node.identity.node_key, node.watcher.view.network, announcement)
    await node.clock.sleep_until(challenge.start)
    await node.network.publish(CHALLENGES_TOPIC, sealed)
