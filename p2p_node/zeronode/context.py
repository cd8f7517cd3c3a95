"""What a node of role zeronode has beyond what all nodes have."""

from collections.abc import Callable
from dataclasses import dataclass

from chain.deployment import Deployment
from chain.rpc import JsonRpc
from p2p_node.zeronode.settings import ZeroNodeSettings


@dataclass(frozen=True, slots=True)
class ZeroNodeContext:
    """The operator's settings, and the chain. `note_url` tells where the service is reached, for
    `kaisar status` and whoever else reads the node's run file."""

    settings: ZeroNodeSettings
    rpc: JsonRpc
    deployment: Deployment
    note_url: Callable[[str], None]
