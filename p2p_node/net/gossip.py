"""Gossip over the connections: streams, judges, queues. Decisions are made in `mesh.py`.

Two traps of py-libp2p's Pubsub are closed here. Whatever a judge or a peer does, one adapter turns
it into a count: there, a validator that raises ends the service, one that times out blames the peer
that passed the message on, and a frame that is no protobuf ends the node. And a message is worked
through where it arrives: there, each one starts a task, as many as a peer likes.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from random import Random

import trio

from p2p_node.net import blame
from p2p_node.net.blame import TokenBucket
from p2p_node.net.connection import Connection
from p2p_node.net.counters import Counters
from p2p_node.net.errors import ProtocolRefusedError, StreamEndedError
from p2p_node.net.framing import FrameSplitter
from p2p_node.net.gossip_codec import (
    Rpc,
    decode_rpc,
    encode_control,
    encode_message,
    encode_subscriptions,
)
from p2p_node.net.judgement import Accept, Ignore, Judge, Reject
from p2p_node.net.mesh import Control, Controls, Mesh
from p2p_node.net.message_cache import message_id
from p2p_node.net.mux_stream import MuxStream
from p2p_node.net.settings import NetworkSettings
from p2p_node.net.subscription import MessageQueue, judge_safely
from p2p_node.net.switch import Arrival, Switch
from protocols.errors import LocalError, RemoteError
from protocols.types import NodeKey

logger = logging.getLogger(__name__)

PROTOCOLS = ("/meshsub/1.1.0", "/meshsub/1.0.0")

_MAX_TOPIC = 128
_RETRY_FIRST = 0.1
_RETRY_MOST = 5.0
_SHORTEST_REST = 0.01
"""Seconds; a shorter debt of a peer that sends too fast is not worth a task."""


class _Talk:
    """What we exchange with one peer: our stream to it, its stream to us."""

    def __init__(self, peer: NodeKey, bucket: TokenBucket) -> None:
        self.peer = peer
        self.bucket = bucket
        self.outbound: MuxStream | None = None
        self.inbound: MuxStream | None = None
        self.splitter = FrameSplitter(0)
        self.outbox: deque[bytes] = deque()
        self.outbox_bytes = 0
        self.wake = trio.Event()


class Gossip:
    """This node's part in gossip. Topics are full names, with the network's prefix."""

    def __init__(
        self, settings: NetworkSettings, switch: Switch, counters: Counters, random: Random
    ) -> None:
        self._settings = settings
        self._switch = switch
        self._counters = counters
        self._random = random
        self._talks: dict[NodeKey, _Talk] = {}
        self._judges: dict[str, tuple[Judge, MessageQueue]] = {}
        self._changed: Callable[[], None] = lambda: None
        self.mesh = Mesh(settings.limits, settings.times, random)
        switch.watch(self._joined, self._left)
        for protocol in PROTOCOLS:
            switch.handle(protocol, self._accept_stream)

    def on_change(self, changed: Callable[[], None]) -> None:
        """Have `changed` called when a peer can be sent gossip or follows another topic."""
        self._changed = changed

    async def run(self) -> None:
        """Keep the meshes in order until cancelled."""
        # A random start spreads the heartbeats of nodes that were started together.
        await trio.sleep(self._settings.times.heartbeat * self._random.random())
        while True:
            self._send_controls(self.mesh.heartbeat(trio.current_time()))
            await trio.sleep(self._settings.times.heartbeat)

    # Our own side.

    def publish(self, topic: str, data: bytes) -> int:
        """Send an own message; returns to how many peers."""
        if len(data) > self._settings.limits.max_gossip_message:
            raise LocalError(f"{topic}: a message of {len(data)} bytes")
        now = trio.current_time()
        name = message_id(topic, data)
        self.mesh.cache.see(name, now)
        frame = encode_message(topic, data)
        self.mesh.cache.keep(name, topic, frame, now)
        self._counters.published[self._short(topic)] += 1
        sent = self._send_all(self.mesh.receivers_of_own(topic, now), frame)
        self._counters.forwarded += sent
        return sent

    def subscribe(self, topic: str, judge: Judge, *, deliver: bool) -> MessageQueue:
        """Follow `topic`; accepted messages go to the queue returned."""
        if topic in self._judges:
            raise LocalError(f"{topic}: subscribed twice")
        queue = MessageQueue(
            self._short(topic),
            self._settings.limits,
            self._counters,
            partial(self._unsubscribe, topic),
            deliver=deliver,
        )
        self._judges[topic] = (judge, queue)
        self._send_all(self._talks, encode_subscriptions([topic], follow=True))
        self._send_controls(self.mesh.join(topic, trio.current_time()))
        return queue

    def _unsubscribe(self, topic: str) -> None:
        if self._judges.pop(topic, None) is not None:
            self._send_controls(self.mesh.leave(topic, trio.current_time()))
            self._send_all(self._talks, encode_subscriptions([topic], follow=False))

    def close(self) -> None:
        """Wake everybody who waits for messages."""
        for _, queue in tuple(self._judges.values()):
            queue.close()

    # Peers.

    def _joined(self, connection: Connection) -> None:
        peer = connection.peer
        self.mesh.add_peer(peer, outbound=connection.outbound)
        if peer not in self._talks:
            limits = self._settings.limits
            bucket = TokenBucket(limits.gossip_rate, limits.gossip_burst, trio.current_time())
            talk = self._talks[peer] = _Talk(peer, bucket)
            self._switch.start("gossip", self._keep_talking, talk)

    def _left(self, peer: NodeKey) -> None:
        self.mesh.remove_peer(peer)
        talk = self._talks.pop(peer, None)
        if talk is not None:
            talk.wake.set()
        self._changed()

    async def _keep_talking(self, talk: _Talk) -> None:
        pause = _RETRY_FIRST
        while self._talks.get(talk.peer) is talk:
            connection = self._switch.connection_to(talk.peer)
            try:
                if connection is None:
                    raise StreamEndedError("connection ended")
                stream, _ = await self._switch.open_stream(connection, PROTOCOLS)
                await self._talk(talk, stream)
            except ProtocolRefusedError:
                logger.debug("peer takes no part in gossip: peer=%s", talk.peer.hex())
                return
            except RemoteError as error:
                logger.debug("gossip stream lost: peer=%s %s", talk.peer.hex(), error)
            await trio.sleep(pause * self._random.uniform(0.5, 1.5))
            pause = min(2 * pause, _RETRY_MOST)

    async def _talk(self, talk: _Talk, stream: MuxStream) -> None:
        """Serve one outbound stream until it ends. Raises RemoteError."""
        # Nothing is ever received on it; the sink is told when it ends.
        stream.set_sink(lambda data: talk.wake.set())
        topics = tuple(self.mesh.topics)
        if topics:
            await stream.write(encode_subscriptions(topics, follow=True))
        talk.outbound = stream
        talk.outbox.clear()
        talk.outbox_bytes = 0
        try:
            # What was joined while the first frame was being written.
            later = [topic for topic in self.mesh.topics if topic not in topics]
            if later:
                self._send(talk.peer, encode_subscriptions(later, follow=True))
            self._send_controls(self.mesh.peer_ready(talk.peer, trio.current_time()))
            self._changed()
            while not stream.failed:
                while talk.outbox:
                    frame = talk.outbox.popleft()
                    talk.outbox_bytes -= len(frame)
                    await stream.write(frame)
                await talk.wake.wait()
                talk.wake = trio.Event()
        finally:
            talk.outbound = None
            if self._talks.get(talk.peer) is talk:
                self.mesh.peer_not_ready(talk.peer)
            stream.reset()

    async def _accept_stream(self, arrival: Arrival) -> None:
        talk = self._talks.get(arrival.connection.peer)
        if talk is None:
            arrival.stream.reset()
            return
        if talk.inbound is not None:
            talk.inbound.reset()
        talk.inbound = arrival.stream
        talk.splitter = FrameSplitter(self._settings.limits.max_gossip_rpc)
        arrival.stream.set_sink(partial(self._received, talk, arrival.stream))
        await trio.lowlevel.checkpoint()

    # What peers say.

    def _received(self, talk: _Talk, stream: MuxStream, data: bytes) -> None:
        """Take in bytes from a peer. Never raises: it runs inside the connection's own task."""
        if not data:
            if talk.inbound is stream:
                talk.inbound = None
            return
        try:
            count = 0
            for frame in talk.splitter.feed(data):
                count += self._frame(talk.peer, decode_rpc(frame))
        except RemoteError as error:
            self._counters.refuse("gossip", error.reason)
            logger.debug("gossip refused: peer=%s %s", talk.peer.hex(), error)
            stream.reset()
            self._switch.punish(talk.peer, blame.MALFORMED_FRAME)
            return
        except Exception as error:
            self._counters.bug("gossip", error)
            logger.exception("gossip failed: peer=%s", talk.peer.hex())
            stream.reset()
            return
        rest = talk.bucket.take(count, trio.current_time()) if count else 0.0
        if rest > _SHORTEST_REST and not stream.failed:
            # Too fast: let it wait behind its window, which TCP then passes on to the peer.
            self._counters.refuse("gossip", "peer slowed down")
            stream.set_sink(None)
            self._switch.start("gossip", self._resume, talk, stream, rest)

    async def _resume(self, talk: _Talk, stream: MuxStream, rest: float) -> None:
        await trio.sleep(rest)
        stream.set_sink(partial(self._received, talk, stream))

    def _frame(self, peer: NodeKey, rpc: Rpc) -> int:
        """Work through one frame; returns the number of messages in it."""
        now = trio.current_time()
        for topic, follow in rpc.subscriptions:
            if not topic.startswith(self._settings.prefix) or len(topic) > _MAX_TOPIC:
                self._counters.refuse("gossip", "topic of another network")
            elif follow:
                self._send_controls(self.mesh.peer_follows(peer, topic, now))
            else:
                self.mesh.peer_unfollows(peer, topic)
        if rpc.subscriptions:
            self._changed()
        for topic, data in rpc.messages:
            self._message(peer, topic, data, now)
        if rpc.control is not None:
            self._control(peer, rpc.control, now)
        return len(rpc.messages)

    def _message(self, peer: NodeKey, topic: str, data: bytes, now: float) -> None:
        entry = self._judges.get(topic)
        if entry is None:
            self._counters.refuse("gossip", "topic not followed")
            return
        judge, queue = entry
        if len(data) > self._settings.limits.max_gossip_message:
            self._counters.refuse(queue.topic, "message too long")
            self._switch.punish(peer, blame.REJECTED_MESSAGE)
            return
        name = message_id(topic, data)
        if not self.mesh.cache.see(name, now):
            self._counters.duplicates += 1
            return
        judgement = judge_safely(judge, queue.topic, data, peer, self._counters)
        if isinstance(judgement, Accept):
            frame = encode_message(topic, data)
            self.mesh.cache.keep(name, topic, frame, now)
            receivers = self.mesh.receivers(topic, peer)
            self._counters.forwarded += self._send_all(receivers, frame)
            queue.put(data, peer)
        elif isinstance(judgement, Ignore):
            self._counters.refuse(queue.topic, judgement.reason)
        elif isinstance(judgement, Reject):
            self._counters.refuse(queue.topic, judgement.reason)
            self._switch.punish(peer, blame.REJECTED_MESSAGE)

    def _control(self, peer: NodeKey, control: Control, now: float) -> None:
        for topic in control.graft:
            answer, broke_backoff = self.mesh.grafted(peer, topic, now)
            self._send_controls(answer)
            if broke_backoff:
                self._unwanted(peer, "graft during backoff")
        for topic, backoff in control.prune:
            self.mesh.pruned(peer, topic, backoff, now)
        for topic, ids in control.ihave:
            wanted, too_much = self.mesh.offered(peer, topic, ids, now)
            self._send_controls(wanted)
            if too_much:
                self._unwanted(peer, "too many offers")
        if control.iwant:
            frames, too_much = self.mesh.requested(peer, control.iwant)
            for frame in frames:
                self._send(peer, frame)
            if too_much:
                self._unwanted(peer, "too many requests")

    def _unwanted(self, peer: NodeKey, reason: str) -> None:
        self._counters.refuse("gossip", reason)
        self._switch.punish(peer, blame.UNWANTED_CONTROL)

    # Sending.

    def _send_controls(self, controls: Controls) -> None:
        for peer, control in controls.items():
            self._send(peer, encode_control(control))

    def _send_all(self, peers: Iterable[NodeKey], frame: bytes) -> int:
        return sum(self._send(peer, frame) for peer in peers)

    def _send(self, peer: NodeKey, frame: bytes) -> bool:
        """Send at once, or queue if the peer is slow; False if it cannot be sent or queued."""
        talk = self._talks.get(peer)
        if talk is None or talk.outbound is None:
            return False
        try:
            if not talk.outbox and talk.outbound.try_write(frame):
                return True
        except StreamEndedError:
            return False
        if talk.outbox_bytes + len(frame) > self._settings.limits.gossip_outbox:
            self._counters.dropped["gossip to a slow peer"] += 1
            return False
        talk.outbox.append(frame)
        talk.outbox_bytes += len(frame)
        talk.wake.set()
        return True

    def _short(self, topic: str) -> str:
        return topic.removeprefix(self._settings.prefix)
