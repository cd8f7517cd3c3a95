"""A checker's part in the epoch seed: reveal last epoch's secret, commit to the next."""

import logging
import secrets

import trio

from chain.errors import ChainError
from p2p_node.node import Node
from protocols.hashing import keccak256
from protocols.membership import EpochView
from protocols.types import Digest, Epoch

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1.0


async def make_commitment(node: Node) -> Digest:
    """Draw a secret, store it durably, and return the hash to commit to."""
    secret = secrets.token_bytes(32)
    commitment = keccak256(secret)
    await node.store.save_beacon_secret(commitment, secret)
    return commitment


async def contribute_to_seed(node: Node, view: EpochView, checker: int) -> None:
    """Contribute once in this epoch; withholding costs this epoch's checker reward.

    Where the secret behind the commitment is lost (a new data directory), commit anew: the
    contract takes a replacement, and contributions go on from the next epoch.
    """
    deadline = node.clock.deadline(node.watcher.timeline.start_of(Epoch(view.epoch + 1)))
    with trio.move_on_at(deadline):
        while True:
            try:
                if await _contribute(node, view, checker, deadline):
                    return
            except ChainError as error:
                logger.warning("epoch %d: no contribution yet: %s", view.epoch, error)
            await trio.sleep(RETRY_SECONDS)


async def _contribute(node: Node, view: EpochView, checker: int, deadline: float) -> bool:
    if await node.chain.contributed(view.epoch, checker):
        return True
    standing = await node.chain.commitment(checker)
    secret = await node.store.beacon_secret(standing.digest)
    fresh = await make_commitment(node)
    if secret is None:
        call = node.calls.commit(checker, fresh)
        await node.transactions.execute(call, label="seed commitment", deadline=deadline)
        return True
    if standing.epoch >= view.epoch:
        return True
    call = node.calls.contribute(checker, secret, fresh)
    label = f"seed contribution {view.epoch}"
    await node.transactions.execute(call, label=label, deadline=deadline)
    return True
