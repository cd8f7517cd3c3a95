"""Telling the network where this node is, and learning where the others are."""

import logging

import trio

from p2p_node.duties.gossiping import make_judge
from p2p_node.node import Node
from protocols.envelopes import Verified, seal
from protocols.gossip import ANNOUNCE_TOPIC, validate_announcement_gossip
from protocols.messages import MAX_ADDRESS_CHARS, MAX_ADDRESSES, Announcement, Role
from protocols.params import ANNOUNCEMENT_INTERVAL_MS, ANNOUNCEMENT_LIFETIME_MS

logger = logging.getLogger(__name__)

SOFTWARE = "kaisar-node/0.1.0"

_EVERY_MS = ANNOUNCEMENT_LIFETIME_MS // 5
_PER_EPOCH = 4


def follow_announcements(node: Node) -> None:
    """Subscribe to announcements; whoever is announced can be dialled from then on."""

    def learn(verified: Verified[Announcement]) -> None:
        node.network.learn_addresses(verified.signer, verified.message.addresses)

    node.network.subscribe(
        ANNOUNCE_TOPIC,
        make_judge(validate_announcement_gossip, learn, memory=node.gossip, watcher=node.watcher),
        deliver=False,
    )


async def announce(node: Node, role: Role) -> None:
    """Announce this node again and again until cancelled, and whenever the members change.

    Others ignore a signer that their view of the chain does not have yet, so a new member becomes
    known when they have read the chain again, which they do once per epoch after the check phase.
    """
    pause_ms = min(_EVERY_MS, max(ANNOUNCEMENT_INTERVAL_MS, node.preset.epoch_ms // _PER_EPOCH))
    while True:
        message = Announcement(
            role=role,
            wallet=node.identity.wallet,
            time=node.clock.now(),
            addresses=tuple(
                address for address in node.network.addresses if len(address) <= MAX_ADDRESS_CHARS
            )[:MAX_ADDRESSES],
            software=SOFTWARE,
        )
        sealed = seal(node.identity.node_key, node.watcher.view.network, message)
        await node.network.publish(ANNOUNCE_TOPIC, sealed)
        await trio.sleep(ANNOUNCEMENT_INTERVAL_MS / 1000)
        with trio.move_on_after(pause_ms / 1000 - ANNOUNCEMENT_INTERVAL_MS / 1000):
            await node.watcher.wait_for_change()
