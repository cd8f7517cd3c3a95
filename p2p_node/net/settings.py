"""Everything the network can be told, with the reason for each default."""

from dataclasses import dataclass, field

from protocols.errors import LocalError

KEY_BYTES = 32
KIB = 1024
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class NetworkLimits:
    """Bounds on what peers can make this node hold. Bytes are bytes of payload."""

    max_peers: int = 512
    """Connections at once, both directions. A checker challenges all 256 providers of a shard at
    once, each over a connection of its own."""
    reserved_outbound: int = 288
    """Part of `max_peers` that inbound connections cannot take, so that nobody fills all places."""
    max_handshakes: int = 64
    """Inbound connections that have not finished their handshake, all peers together."""
    max_handshakes_per_host: int = 32
    """The same for one IP address. A laptop's testnet starts two dozen nodes on one address."""
    arrival_rate: float = 50.0
    """Inbound connections per second that get a handshake; one costs a few milliseconds of CPU."""
    arrival_burst: int = 200
    """The same at once."""
    max_gossip_message: int = 64 * KIB
    """One gossiped message. The largest planned one, a full report with its signature, is 1 KiB."""
    max_gossip_rpc: int = 256 * KIB
    """One frame on a gossip stream: several messages and control entries."""
    max_request_message: int = 16 * MIB
    """Ceiling of `RequestStream.receive`. Openings (64 rows of 16,384 int32) are 4 MiB."""
    delivery_queue: int = 1024
    """Accepted messages waiting per subscription; beyond it the oldest is dropped and counted."""
    delivery_bytes: int = 8 * MIB
    """The same in bytes."""
    gossip_outbox: int = 1 * MIB
    """Gossip waiting for one slow peer; beyond it messages to that peer are dropped and counted."""
    gossip_rate: float = 500.0
    """Gossip messages per second one peer may send on average before we read it more slowly.

    Far above honest traffic (a checker sends a few per epoch); a bound on the CPU one peer can use.
    """
    gossip_burst: int = 2000
    """Messages one peer may send at once before `gossip_rate` binds."""
    max_inbound_streams: int = 256
    """Request streams served at once, all peers together."""
    max_inbound_streams_per_peer: int = 32
    """The same for one peer."""
    max_lasting_streams: int = 128
    """Streams without a deadline, counted apart: a leased machine serves one renter, who may run a
    command, sit at a shell and forward a port with dozens of connections."""
    max_lasting_streams_per_peer: int = 48
    """The same for one peer. The muxer resets what is beyond both on one connection."""
    stream_window: int = 1 * MIB
    """Bytes one stream may be ahead of its reader. yamux's own 256 KiB would cap a stream at
    5 MB/s over a round trip of 50 ms."""
    max_lent_window: int = 4 * MIB
    """Window beyond yamux's own 256 KiB over all streams of one connection: the first five have all
    of `stream_window`. So with 80 streams of the peer's it can have 24 MiB unread here."""
    max_unread_total: int = 256 * MIB
    """Unread bytes over all connections; beyond it the peer with the most is disconnected."""
    max_pending_write: int = 1 * MIB
    """Bytes waiting for one socket before writers to it have to wait."""
    seen_messages: int = 32_768
    """Message ids remembered so that a duplicate is not judged again (about 5 MB)."""
    cached_messages: int = 2048
    """Recent messages kept for peers that ask for what they missed."""
    cached_bytes: int = 8 * MIB
    """The same in bytes."""
    max_topics_per_peer: int = 512
    """Subscriptions remembered per peer; reports use one topic per shard of 256 providers."""
    known_peers: int = 1024
    """Peers whose addresses are remembered."""
    addresses_per_peer: int = 8
    """Addresses remembered per peer."""


@dataclass(frozen=True, slots=True)
class NetworkTimes:
    """Waits, in seconds. Every wait of the network is bounded by one of these or by its caller."""

    dial: float = 5.0
    """One TCP connection attempt."""
    handshake: float = 10.0
    """Encryption and multiplexing of a new connection, after TCP. Two busy cores with a dozen
    nodes need most of a second."""
    negotiate: float = 10.0
    """Agreeing on the protocol of a new stream."""
    io: float = 10.0
    """One read or write on a request stream unless the caller says otherwise."""
    opening: float = 60.0
    """Reaching a peer and agreeing on a protocol, for a stream without a deadline of its own."""
    handler: float = 120.0
    """One inbound request stream from its opening to its end."""
    heartbeat: float = 1.0
    """Between two rounds of mesh upkeep, as in the gossipsub specification (py-libp2p: 120 s)."""
    keepalive: float = 10.0
    """A silent connection is pinged after this."""
    dead: float = 30.0
    """A connection that stayed silent this long is closed."""
    retry_first: float = 0.25
    """First pause before dialling again; doubled up to `retry_most`, with jitter."""
    retry_most: float = 30.0
    discovery: float = 30.0
    """Between two searches for peers once there are enough of them; sooner while there are not."""
    seen: float = 120.0
    """A message id is remembered this long, as in libp2p's implementations."""
    cached: float = 10.0
    """A message can be asked for this long."""
    ban: float = 300.0
    """A peer that misbehaved is not talked to for this long."""
    linger: float = 1.0
    """A peer has this long to read what was sent last before we closed the connection."""
    shutdown: float = 3.0
    """Closing the network takes no longer, whatever the peers do."""


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """How one node takes part in one network.

    Raises LocalError when a value cannot be meant.
    """

    seed: bytes = field(repr=False)
    """Ed25519 seed of the node key, 32 bytes."""
    network: str
    """Name of the network: the first 16 hex digits of the network id. Part of every topic and
    protocol id, so that nodes of two networks that meet have nothing to say to each other."""
    version: str = "1"
    """Version of the wire rules, the other part of topic and protocol ids."""
    listen: tuple[str, ...] = ("/ip4/0.0.0.0/tcp/0",)
    """Multiaddrs to listen on; empty for a node that only dials."""
    announce: tuple[str, ...] = ()
    """Multiaddrs told to others instead of the addresses listened on (behind a NAT or a proxy)."""
    bootstrap: tuple[str, ...] = ()
    """Multiaddrs with /p2p/<peer id> that are dialled for as long as the node lives."""
    network_key: bytes | None = field(default=None, repr=False)
    """Pre-shared key, 32 bytes: makes the swarm a libp2p private network."""
    target_peers: int = 12
    """The node looks for peers until it has this many connections. Twice the mesh's degree."""
    limits: NetworkLimits = NetworkLimits()
    times: NetworkTimes = NetworkTimes()

    def __post_init__(self) -> None:
        if len(self.seed) != KEY_BYTES:
            raise LocalError(f"seed: {len(self.seed)} bytes, expected {KEY_BYTES}")
        if self.network_key is not None and len(self.network_key) != KEY_BYTES:
            raise LocalError(f"network_key: {len(self.network_key)} bytes, expected {KEY_BYTES}")
        for name, value in (("network", self.network), ("version", self.version)):
            if not value or not value.isascii() or not value.replace("-", "").isalnum():
                raise LocalError(f"{name}: {value!r}, expected letters, digits and hyphens")

    @property
    def prefix(self) -> str:
        """What every topic and protocol id of this network begins with."""
        return f"/kaisar/{self.network}/{self.version}/"
