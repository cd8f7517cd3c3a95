"""The peer-to-peer network: the only package that imports libp2p."""

from contextlib import AbstractAsyncContextManager

from p2p_node.net.api import (
    GossipMessage,
    Handler,
    Network,
    RequestStream,
    Subscription,
)
from p2p_node.net.counters import Counters
from p2p_node.net.errors import (
    DeadlineError,
    MessageTooLongError,
    NetworkClosedError,
    PeerUnreachableError,
    ProtocolRefusedError,
    StreamEndedError,
)
from p2p_node.net.judgement import ACCEPT, Accept, Ignore, Judge, Judgement, Reject
from p2p_node.net.settings import NetworkLimits, NetworkSettings, NetworkTimes


def open_network(settings: NetworkSettings) -> AbstractAsyncContextManager[Network]:
    """Take part in a network for as long as the block lasts.

    Resource handling: listening sockets, connections and tasks all belong to the block; leaving it
    takes at most `NetworkTimes.shutdown` seconds, whatever the peers do.
    Error handling: raises LocalError for settings that cannot be used and for an address that
    cannot be bound.
    """
    # Imported here because importing libp2p takes 0.7 s, which commands and tests that only need
    # the types above should not pay.
    from p2p_node.net.node import open_libp2p_network

    return open_libp2p_network(settings)


__all__ = [
    "ACCEPT",
    "Accept",
    "Counters",
    "DeadlineError",
    "GossipMessage",
    "Handler",
    "Ignore",
    "Judge",
    "Judgement",
    "MessageTooLongError",
    "Network",
    "NetworkClosedError",
    "NetworkLimits",
    "NetworkSettings",
    "NetworkTimes",
    "PeerUnreachableError",
    "ProtocolRefusedError",
    "Reject",
    "RequestStream",
    "StreamEndedError",
    "Subscription",
    "open_network",
]
