"""Seeing a bundle through to finality: what the newest block holds may be taken back."""

import logging

import trio

from chain.errors import RefusedError
from p2p_node.node import Node
from protocols.membership import EpochView
from protocols.types import Shard

logger = logging.getLogger(__name__)

LOOKS_PER_RANK = 4
"""Looks at the chain in the time of one rank: with Δ of four blocks, one for each."""


async def stays_on_chain(node: Node, view: EpochView, shard: Shard, rank: int) -> bool:
    """Watch a bundle that the newest block has until it is final; False when it was taken back.

    Whoever sent it sends the same bytes again, by itself and at once. It is given the time of a
    rank for that, and every rank after the first one more, so that not all send at once where the
    sender is gone.
    """
    pause = node.preset.rank_delay_ms / 1000
    while not await _is_final(node, view, shard):
        await trio.sleep(pause / LOOKS_PER_RANK)
        if not await node.chain.has_bundle(view.epoch, shard):
            logger.warning("epoch %d shard %d: the bundle was taken back", view.epoch, shard)
            await trio.sleep(max(1, rank) * pause)
            return False
    return True


async def _is_final(node: Node, view: EpochView, shard: Shard) -> bool:
    try:
        return await node.chain.has_bundle(view.epoch, shard, "finalized")
    except RefusedError:
        # A chain that does not know what is final: the newest block has to do.
        return True
