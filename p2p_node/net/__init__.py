"""The peer-to-peer network: the only package that imports libp2p.

A node speaks libp2p: TCP, optionally a private network, multistream-select, Noise, yamux, identify,
ping, Kademlia, gossipsub v1.1, and request streams of its own on top. Of py-libp2p 0.8.1 it uses
the keys and peer ids, the Noise handshake, multistream-select, the Kademlia routing table and
lookup, and the wire formats. The rest is written here, against the same wire protocols, because it
was measured to be unsafe or costly; each module says what it replaces and why, and
`tests/p2p_node/net/test_libp2p_facts.py` holds those reasons against the installed version.
`tests/p2p_node/net/test_interop.py` holds the result against an unmodified py-libp2p host.

    socket     tcp, psk            one connection and its buffers; the private network's cipher
    handshake  noise, negotiate    encryption and identity; agreeing on protocols
    streams    yamux, mux_stream   many flow-controlled streams over one connection
    peers      switch, connection  listening, dialling, admitting; one task tree, no system tasks
               connector, kademlia, identify, addresses, blame
    gossip     mesh, message_cache decisions without I/O; gossip_codec, gossip, subscription around
    requests   request_stream      length-prefixed messages with caps and deadlines
    node       node, settings, counters, errors, judgement, api

Every queue, cache, table and wait has its bound in `settings.py`, with the reason for its size.
"""

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
