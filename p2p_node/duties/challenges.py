"""Following the challenge announcements of others: the gossip memory keeps their commitments."""

from p2p_node.duties.gossiping import make_judge
from p2p_node.node import Node
from protocols.envelopes import Verified
from protocols.gossip import CHALLENGES_TOPIC, validate_challenge_gossip
from protocols.messages import ChallengeAnnouncement


def follow_challenges(node: Node) -> None:
    """Subscribe to challenge announcements; reports are later held against them."""

    def take_note(_verified: Verified[ChallengeAnnouncement]) -> None:
        # The rule itself remembers the commitment; there is nothing else to do with it.
        return

    node.network.subscribe(
        CHALLENGES_TOPIC,
        make_judge(validate_challenge_gossip, take_note, memory=node.gossip, watcher=node.watcher),
        deliver=False,
    )
