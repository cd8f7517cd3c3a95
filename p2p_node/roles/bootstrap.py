"""The bootstrap node: a known address where others find each other. It has no wallet."""

import trio

from p2p_node.duties.announcing import follow_announcements
from p2p_node.duties.challenges import follow_challenges
from p2p_node.node import Node


async def run_bootstrap(node: Node) -> None:
    """Follow and pass on valid gossip, and answer discovery, until cancelled."""
    follow_announcements(node)
    follow_challenges(node)
    if node.services is None:
        await trio.sleep_forever()
        return
    # Imported here: all roles import this module, and none of the others needs these.
    from p2p_node.zeronode.passing_on import pass_receipts_on
    from protocols.zeronode_rules import rules_of

    pass_receipts_on(
        node.network,
        node.services,
        rules_of(node.preset.name),
        node.watcher.view.network,
        node.clock,
    )
    await node.services.run()
