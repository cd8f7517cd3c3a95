"""The bootstrap node: a known address where others find each other. It has no wallet."""

import trio

from p2p_node.duties.announcing import follow_announcements
from p2p_node.duties.challenges import follow_challenges
from p2p_node.node import Node


async def run_bootstrap(node: Node) -> None:
    """Follow and pass on valid gossip, and answer discovery, until cancelled."""
    follow_announcements(node)
    follow_challenges(node)
    await trio.sleep_forever()
