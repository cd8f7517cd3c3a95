"""The network as the roles see it.

Two things fit these protocols: the network over py-libp2p (`open_network`) and the one in memory
that role tests use (`tests/fakes/network.py`). One suite of contract tests runs against both.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from p2p_node.net.counters import Counters
from p2p_node.net.judgement import Judge
from protocols.types import NodeKey


@dataclass(frozen=True, slots=True)
class GossipMessage:
    """An accepted message: the exact bytes, and the peer that handed them to us."""

    data: bytes
    sender: NodeKey


class Subscription(Protocol):
    """The accepted messages of one topic, in the order they were accepted.

    The queue is bounded (`NetworkLimits.delivery_queue`). When it is full the oldest message is
    dropped and counted: in a protocol of deadlines the newest message is worth most, and waiting
    for a slow reader would hold up gossip for everybody else.
    """

    async def receive(self) -> GossipMessage:
        """Wait for the next message. Raises NetworkClosedError once the network is closed."""

    def __aiter__(self) -> AsyncIterator[GossipMessage]:
        """Iterate until the network or the subscription is closed."""

    def close(self) -> None:
        """Leave the topic. Messages still in the queue are lost."""


class RequestStream(Protocol):
    """A stream of length-prefixed messages to one authenticated peer.

    Resource handling: `open_stream` and `serve` close it; a block left with an exception resets it.
    Error handling: every method raises StreamEndedError when the peer is gone, DeadlineError when
    it took too long, both RemoteError; after an error the stream is of no more use.
    One task may send while another one receives.
    """

    @property
    def peer(self) -> NodeKey:
        """Node key of the other side, proved by the encryption handshake."""

    @property
    def protocol(self) -> str:
        """Short name of the protocol."""

    def outlast(self) -> None:
        """Have no deadline any more: the stream may last as long as its connection.

        For a handler of a lasting protocol, once it knows that the peer may. Lasting streams have
        places of their own, so that they take none from the others; raises RemoteError when there
        is none left.
        """

    async def send(self, data: bytes, *, within: float | None = None) -> None:
        """Send one message. Returns when it is handed to the transport. Whoever is cancelled here
        has sent nothing, or part of it: then the stream is reset.

        `within`: seconds, `NetworkTimes.io` by default; `math.inf` to wait as long as the peer
        keeps us waiting, which is for a stream that lasts: a peer that is gone ends it anyway.
        """

    async def send_all(
        self, messages: Sequence[bytes | bytearray | memoryview], *, within: float | None = None
    ) -> None:
        """Send several messages, in order. Costs less than one by one where they are small."""

    async def receive(self, max_bytes: int, *, within: float | None = None) -> bytes:
        """Wait for one message of at most `max_bytes`.

        Raises MessageTooLongError, having read nothing but the length, when it is longer. Whoever
        is cancelled here has lost nothing: the next call goes on.
        """


Handler = Callable[[RequestStream], Awaitable[None]]


class Network(Protocol):
    """A node's place in the network. Names of topics and protocols are short ones, without the
    prefix of the network."""

    @property
    def node_key(self) -> NodeKey:
        """This node's Ed25519 public key."""

    @property
    def peer_id(self) -> str:
        """The same as a libp2p peer id."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Multiaddrs, with /p2p/<peer id>, under which others can reach this node."""

    @property
    def counters(self) -> Counters:
        """What happened so far."""

    @property
    def peers(self) -> frozenset[NodeKey]:
        """Peers connected now."""

    def subscribers(self, topic: str) -> frozenset[NodeKey]:
        """Connected peers that are known to follow `topic`."""

    async def wait_for_peers(self, count: int, *, topic: str | None = None) -> None:
        """Wait until at least `count` peers are connected (and follow `topic`).

        Without a deadline of its own: put it under `trio.fail_after`.
        """

    async def publish(self, topic: str, data: bytes) -> int:
        """Gossip `data` on `topic`; returns the number of peers it was handed to at once.

        0 is no failure: peers that join within `NetworkTimes.cached` are still offered the message.
        An own message is neither judged nor delivered here. Raises LocalError above
        `NetworkLimits.max_gossip_message`.
        """

    def subscribe(self, topic: str, judge: Judge, *, deliver: bool = True) -> Subscription:
        """Follow `topic`. `judge` is called exactly once per message that was not seen before.

        With `deliver=False` accepted messages are passed on and counted but not queued here, for
        a judge that itself takes what it accepts.

        A judge may also raise: GossipIgnore counts as Ignore, any other RemoteError as Reject;
        any other exception is our own bug: the message is refused, the bug counted and logged,
        nobody is blamed. One subscription per topic; a second one is a LocalError.
        """

    def serve(self, protocol: str, handler: Handler, *, lasting: bool = False) -> None:
        """Answer streams of `protocol` with `handler`, one task per stream.

        A handler has `NetworkTimes.handler` for all it does, unless the protocol is `lasting` and
        it calls `RequestStream.outlast`.

        A handler that raises RemoteError has the stream reset and the reason counted; any other
        exception is counted as our own bug and logged. Either way the node goes on.
        """

    def open_stream(
        self, peer: NodeKey, protocol: str, deadline: float
    ) -> AbstractAsyncContextManager[RequestStream]:
        """Open a stream to `peer`, dialling it if need be.

        `deadline`: seconds from now within which the whole exchange has to end; every operation on
        the stream fails with DeadlineError after it. `math.inf` for a stream that lasts, which has
        to be open within `NetworkTimes.opening` all the same. Raises PeerUnreachableError,
        ProtocolRefusedError or DeadlineError on entry.
        """

    def learn_addresses(self, peer: NodeKey, addresses: Sequence[str]) -> None:
        """Remember where `peer` can be reached (from a message it signed). Addresses that do not
        parse are counted and ignored."""
