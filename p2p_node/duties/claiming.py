"""Collecting what closed epochs paid; anyone may, so nobody has to remember to."""

import logging

import trio

from chain.errors import ChainError
from p2p_node.node import Node
from protocols.messages import Role
from protocols.types import Epoch

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
MAX_ITEMS = 64
"""What one claim transaction takes (Rewards.vy)."""


async def claim_forever(node: Node, role: Role, index: int, joined: Epoch) -> None:
    """After each epoch closes, claim it and whatever was missed before, until cancelled."""
    timeline = node.watcher.timeline
    epoch = max(joined, Epoch(node.watcher.current_epoch() - node.preset.ring_epochs + 2))
    while True:
        await node.clock.sleep_until(timeline.bundle_end(epoch))
        newest = epoch
        while timeline.bundle_end(Epoch(newest + 1)) <= node.clock.now():
            newest = Epoch(newest + 1)
        try:
            if not await node.chain.is_closed(newest):
                # By this node's clock it is; the newest block is a moment older.
                await trio.sleep(RETRY_SECONDS)
                continue
            await _claim(node, role, index, [Epoch(e) for e in range(epoch, newest + 1)])
        except ChainError as error:
            logger.warning("epochs %d … %d not claimed yet: %s", epoch, newest, error)
            await trio.sleep(RETRY_SECONDS)
            continue
        epoch = Epoch(newest + 1)


async def _claim(node: Node, role: Role, index: int, epochs: list[Epoch]) -> None:
    chain = node.chain
    deadline = trio.current_time() + node.preset.epoch_seconds
    if role is Role.PROVIDER:
        due = [
            epoch
            for epoch in epochs
            if await chain.provider_reward(index, epoch)
            and not await chain.provider_claimed(index, epoch)
        ]
        calls = [
            chain.calls.claim_provider(index, due[start : start + MAX_ITEMS])
            for start in range(0, len(due), MAX_ITEMS)
        ]
    else:
        items = [
            (epoch, shard, seat)
            for epoch in epochs
            for shard, seat in await node.store.own_seats(epoch)
            if await chain.checker_reward(index, epoch, shard, seat)
            and not await chain.checker_claimed(epoch, shard, seat)
        ]
        calls = [
            chain.calls.claim_checker(index, items[start : start + MAX_ITEMS])
            for start in range(0, len(items), MAX_ITEMS)
        ]
    for call in calls:
        receipt = await node.transactions.execute(call, label="claim", deadline=deadline)
        logger.info("claimed epochs up to %d, %d gas", epochs[-1], receipt.gas_used)
