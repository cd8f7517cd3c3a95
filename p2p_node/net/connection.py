"""From a TCP connection to a multiplexed one: private network, Noise, yamux."""

from collections.abc import Callable
from dataclasses import dataclass, field

import trio
from libp2p.io.exceptions import IOException

from p2p_node.net.errors import DeadlineError
from p2p_node.net.mux_stream import MuxStream
from p2p_node.net.negotiate import answer, select
from p2p_node.net.noise import NoiseConnection, NoiseIdentity
from p2p_node.net.settings import NetworkSettings
from p2p_node.net.tcp import TcpConnection
from p2p_node.net.yamux import PROTOCOL as YAMUX
from p2p_node.net.yamux import Muxer, MuxerOptions, UnreadBudget
from protocols.errors import MalformedError, RemoteError
from protocols.types import NodeKey

NOISE = "/noise"


@dataclass(eq=False, slots=True)
class Connection:
    """A multiplexed connection to a peer whose key is proved."""

    peer: NodeKey
    outbound: bool
    host: str
    """IP address of the other side."""
    muxer: Muxer
    busy: int = 0
    """Request streams open on it."""
    last_used: float = field(default_factory=trio.current_time)
    """When a request stream on it last began or ended, on trio's clock."""
    over: trio.Event = field(default_factory=trio.Event)
    """Set once the connection has left the switch's table."""


class Upgrader:
    """Turns sockets into connections, the same way in both directions."""

    def __init__(self, settings: NetworkSettings, identity: NoiseIdentity) -> None:
        self._settings = settings
        self._identity = identity
        limits, times = settings.limits, settings.times
        self._options = MuxerOptions(
            window=limits.stream_window,
            max_lent=limits.max_lent_window,
            budget=UnreadBudget(limits.max_unread_total),
            max_inbound_streams=(
                limits.max_inbound_streams_per_peer + limits.max_lasting_streams_per_peer
            ),
            max_pending_write=limits.max_pending_write,
            keepalive=times.keepalive,
            dead=times.dead,
            linger=times.linger,
        )

    async def upgrade(
        self,
        tcp: TcpConnection,
        expected: NodeKey | None,
        on_stream: Callable[[Connection, MuxStream], None],
        on_refused: Callable[[str], None],
    ) -> Connection:
        """Run all handshakes on `tcp`, which is closed if they fail.

        Raises RemoteError: a DeadlineError after `NetworkTimes.handshake`, ForgedError for another
        identity than `expected`, MalformedError or StreamEndedError for the rest.
        """
        try:
            with trio.fail_after(self._settings.times.handshake):
                secured = await self._secure(tcp, expected)
        except trio.TooSlowError as error:
            tcp.abort()
            raise DeadlineError("handshake too slow") from error
        except BaseException:
            tcp.abort()
            raise
        muxer = Muxer(
            secured, self._options, lambda stream: on_stream(connection, stream), on_refused
        )
        connection = Connection(secured.remote, tcp.is_initiator, tcp.host, muxer)
        return connection

    async def _secure(self, tcp: TcpConnection, expected: NodeKey | None) -> NoiseConnection:
        times = self._settings.times
        try:
            if self._settings.network_key is not None:
                await tcp.protect(self._settings.network_key)
            if tcp.is_initiator:
                await select(tcp, (NOISE,), times.handshake)
            else:
                await answer(tcp, {NOISE: None}, times.handshake)
            secured = await self._identity.secure(tcp, expected)
            if tcp.is_initiator:
                await select(secured, (YAMUX,), times.handshake)
            else:
                await answer(secured, {YAMUX: None}, times.handshake)
        except RemoteError:
            raise
        except IOException as error:
            raise MalformedError("connection ended in handshake", str(error)) from error
        except Exception as error:
            # py-libp2p, noiseprotocol, protobuf and cryptography each raise types of their own on
            # what a stranger sends, and none of them lists them; none may end the node.
            raise MalformedError("handshake failed", repr(error)[:200]) from error
        return secured
