"""Collecting what closed epochs paid; anyone may, so nobody has to remember to."""

import logging
from typing import TypeVar

import trio

from chain.calls import MAX_CLAIMS, MAX_CLOSED
from chain.errors import ChainError
from chain.records import Call
from p2p_node.node import Node
from protocols.messages import Role
from protocols.types import Epoch

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1.0

ItemT = TypeVar("ItemT")


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
    await _close_up_to(node, epochs[-1])
    done = await node.store.claimed_epochs()
    left = [epoch for epoch in epochs if epoch not in done]
    if role is Role.PROVIDER:
        calls = await _provider_claims(node, index, left)
    else:
        calls = await _checker_claims(node, index, left)
    deadline = trio.current_time() + node.preset.epoch_seconds
    for call in calls:
        label = f"claim up to epoch {epochs[-1]}"
        receipt = await node.transactions.execute(call, label=label, deadline=deadline)
        logger.info("%s: %d gas", label, receipt.gas_used)
    await node.store.record_claims(left)


async def _close_up_to(node: Node, newest: Epoch) -> None:
    """See to it that what `newest` and the epochs before it paid can be told.

    A claim closes the epochs that it needs. Only where nobody has claimed anything for longer than
    one transaction can make up for, there has to be one more.
    """
    while newest >= await node.chain.next_open_epoch() + MAX_CLOSED:
        deadline = trio.current_time() + node.preset.epoch_seconds
        await node.transactions.execute(
            node.calls.close_epochs(), label=f"closing up to epoch {newest}", deadline=deadline
        )


async def _provider_claims(node: Node, index: int, epochs: list[Epoch]) -> list[Call]:
    chain = node.chain
    due = [
        epoch
        for epoch in epochs
        if await chain.provider_reward(index, epoch)
        and not await chain.provider_claimed(index, epoch)
    ]
    return [node.calls.claim_provider(index, part) for part in _parts(due)]


async def _checker_claims(node: Node, index: int, epochs: list[Epoch]) -> list[Call]:
    chain = node.chain
    due = [
        (epoch, shard, seat)
        for epoch in epochs
        for shard, seat in await node.store.own_seats(epoch)
        if await chain.checker_reward(index, epoch, shard, seat)
        and not await chain.checker_claimed(index, epoch, shard)
    ]
    return [node.calls.claim_checker(index, part) for part in _parts(due)]


def _parts(items: list[ItemT]) -> list[list[ItemT]]:
    return [items[start : start + MAX_CLAIMS] for start in range(0, len(items), MAX_CLAIMS)]
