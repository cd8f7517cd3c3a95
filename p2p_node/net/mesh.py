"""gossipsub as a state machine: who is in the mesh, who gets what. No I/O, no clock, no tasks.

Takes the place of `libp2p.pubsub.gossipsub`, keeping its wire protocol (/meshsub/1.1.0 and 1.0.0).
Reasons, all in 0.8.1: its message cache names messages by author and number whatever id function is
set, so IHAVE and IWANT cannot work with content ids; it drops messages above 10 per second and
topic; `_emit_control_msgs` sends one peer's grafts to the next; a PRUNE for any topic name is
remembered; it prunes without telling or keeping a backoff; heartbeats default to 120 s; and every
message carries the sender's signed address record, made and verified each time.

Rules follow the libp2p specifications gossipsub v1.0 and v1.1, without peer exchange and without
peer scores (py-libp2p's flood and spam scores punish honest peers of a busy network; blame is dealt
out in `blame.py`, standing in `protocols/scoring.py`). Instead of asking for three distinct IP
addresses in the mesh, which no network on one machine or behind one NAT has, part of the mesh is
kept on connections that this node dialled itself (v1.1, "outbound mesh quotas").

Times are seconds of one monotonic clock, given by the caller.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random

from p2p_node.net.message_cache import MessageCache, MessageId
from p2p_node.net.settings import NetworkLimits, NetworkTimes
from protocols.types import NodeKey

DEGREE = 5
"""Mesh peers wanted per topic (D). The specification proposes 6; each of them costs a duplicate of
every message. Random graphs hang together from degree 3 on, so one in five peers may be silent."""
DEGREE_LOW = 4
DEGREE_HIGH = 10
DEGREE_OUTBOUND = 2
"""At least so many mesh peers were dialled by this node, if there are any such peers."""
DEGREE_LAZY = 6
"""Peers outside the mesh that are told about recent messages at each heartbeat (D_lazy)."""
BACKOFF = 30.0
"""Seconds without a graft between two peers after one pruned the other."""
UNSUBSCRIBE_BACKOFF = 10.0
FANOUT_FOR = 60.0
"""Seconds that peers for a topic we publish on but do not follow are kept."""

_MAX_IHAVE_PER_HEARTBEAT = 16
_MAX_WANTED_PER_HEARTBEAT = 1000
_MAX_SERVED_PER_HEARTBEAT = 1000
_MAX_ADVERTISED = 1000
_MAX_ASKED = 20_000
_ASK_AGAIN_AFTER = 3.0
_GOSSIP_WINDOW = 3.0
"""Seconds back that IHAVE reaches: three heartbeats, as specified."""


@dataclass(slots=True)
class Control:
    """Control entries for one peer."""

    graft: list[str] = field(default_factory=list)
    prune: list[tuple[str, float]] = field(default_factory=list)
    """Topic and seconds of backoff."""
    ihave: list[tuple[str, list[MessageId]]] = field(default_factory=list)
    iwant: list[MessageId] = field(default_factory=list)


Controls = dict[NodeKey, Control]


@dataclass(slots=True)
class _Peer:
    outbound: bool
    ready: bool = False
    topics: set[str] = field(default_factory=set)
    ihaves: int = 0
    wanted: int = 0
    served: int = 0


@dataclass(slots=True)
class _Fanout:
    peers: set[NodeKey]
    until: float


class Mesh:
    """Subscriptions of all peers, the mesh of every topic we follow, and recent messages."""

    def __init__(self, limits: NetworkLimits, times: NetworkTimes, random: Random) -> None:
        self._limits = limits
        self._random = random
        self._peers: dict[NodeKey, _Peer] = {}
        self._mesh: dict[str, set[NodeKey]] = {}
        self._fanout: dict[str, _Fanout] = {}
        self._backoff: dict[tuple[str, NodeKey], float] = {}
        self._asked: dict[MessageId, float] = {}
        self.cache = MessageCache(limits, times)

    @property
    def topics(self) -> Iterable[str]:
        """Topics that we follow."""
        return self._mesh.keys()

    def is_followed(self, topic: str) -> bool:
        """Whether we follow `topic`."""
        return topic in self._mesh

    def subscribers(self, topic: str) -> frozenset[NodeKey]:
        """Peers that follow `topic` and can be sent gossip."""
        return frozenset(
            key for key, peer in self._peers.items() if peer.ready and topic in peer.topics
        )

    def mesh_peers(self, topic: str) -> frozenset[NodeKey]:
        """Peers in our mesh for `topic`."""
        return frozenset(self._mesh.get(topic, ()))

    def in_any_mesh(self, peer: NodeKey) -> bool:
        """Whether `peer` is in the mesh of any topic."""
        return any(peer in members for members in self._mesh.values())

    # Peers and subscriptions.

    def add_peer(self, peer: NodeKey, *, outbound: bool) -> None:
        """A peer is connected; `outbound` if we dialled it."""
        known = self._peers.get(peer)
        if known is None:
            self._peers[peer] = _Peer(outbound)
        else:
            known.outbound = outbound

    def peer_ready(self, peer: NodeKey, now: float) -> Controls:
        """A peer can be sent gossip. Its subscriptions may have arrived before."""
        controls: Controls = {}
        state = self._peers.get(peer)
        if state is not None:
            state.ready = True
            for topic, members in self._mesh.items():
                if topic in state.topics and len(members) < DEGREE_LOW:
                    self._graft(topic, [peer], now, controls)
        return controls

    def peer_not_ready(self, peer: NodeKey) -> None:
        """A connected peer cannot be sent gossip any more."""
        state = self._peers.get(peer)
        if state is not None:
            state.ready = False
        self._leave_sets(peer)

    def remove_peer(self, peer: NodeKey) -> None:
        """A peer is gone."""
        self._peers.pop(peer, None)
        self._leave_sets(peer)

    def _leave_sets(self, peer: NodeKey) -> None:
        for members in self._mesh.values():
            members.discard(peer)
        for fanout in self._fanout.values():
            fanout.peers.discard(peer)

    def peer_follows(self, peer: NodeKey, topic: str, now: float) -> Controls:
        """A peer subscribed. If our mesh is thin it is grafted at once, not at the heartbeat."""
        state = self._peers.get(peer)
        if state is None or len(state.topics) >= self._limits.max_topics_per_peer:
            return {}
        state.topics.add(topic)
        controls: Controls = {}
        members = self._mesh.get(topic)
        if state.ready and members is not None and len(members) < DEGREE_LOW:
            self._graft(topic, [peer], now, controls)
        return controls

    def peer_unfollows(self, peer: NodeKey, topic: str) -> None:
        """A peer unsubscribed."""
        state = self._peers.get(peer)
        if state is not None:
            state.topics.discard(topic)
        self._mesh.get(topic, set()).discard(peer)
        fanout = self._fanout.get(topic)
        if fanout is not None:
            fanout.peers.discard(peer)

    def join(self, topic: str, now: float) -> Controls:
        """Follow `topic`."""
        controls: Controls = {}
        if topic not in self._mesh:
            self._mesh[topic] = set()
            fanout = self._fanout.pop(topic, None)
            if fanout is not None:
                self._graft(topic, fanout.peers, now, controls)
            missing = DEGREE - len(self._mesh[topic])
            self._graft(topic, self._some(self._outside(topic), missing), now, controls)
        return controls

    def leave(self, topic: str, now: float) -> Controls:
        """Follow `topic` no longer."""
        controls: Controls = {}
        for peer in self._mesh.pop(topic, set()):
            self._backoff[topic, peer] = now + UNSUBSCRIBE_BACKOFF
            _of(controls, peer).prune.append((topic, UNSUBSCRIBE_BACKOFF))
        return controls

    # What peers tell.

    def grafted(self, peer: NodeKey, topic: str, now: float) -> tuple[Controls, bool]:
        """A peer put us into its mesh. Returns what to answer, and whether it broke a backoff."""
        controls: Controls = {}
        members = self._mesh.get(topic)
        state = self._peers.get(peer)
        if members is None or state is None or not state.ready:
            # We do not follow the topic (any more): no backoff, so that we can come back.
            _of(controls, peer).prune.append((topic, 0.0))
            return controls, False
        if peer in members:
            return controls, False
        if self._backoff.get((topic, peer), 0.0) > now:
            self._prune(topic, peer, now, controls)
            return controls, True
        if len(members) >= DEGREE_HIGH and not state.outbound:
            self._prune(topic, peer, now, controls)
            return controls, False
        members.add(peer)
        state.topics.add(topic)
        self._offer(topic, peer, now, controls)
        return controls, False

    def pruned(self, peer: NodeKey, topic: str, backoff: float, now: float) -> None:
        """A peer took us out of its mesh and asks not to be grafted for `backoff` seconds."""
        members = self._mesh.get(topic)
        if members is None:
            return
        members.discard(peer)
        if backoff > 0 or (topic, peer) not in self._backoff:
            self._backoff[topic, peer] = now + min(backoff or 1.0, 2 * BACKOFF)

    def offered(
        self, peer: NodeKey, topic: str, ids: Iterable[MessageId], now: float
    ) -> tuple[Controls, bool]:
        """A peer says which messages it has. Returns what to ask for, and whether it says too much.

        Each id is asked for once in a while, of one peer, so that many offers bring one copy.
        """
        state = self._peers.get(peer)
        if state is None or topic not in self._mesh:
            return {}, False
        state.ihaves += 1
        if state.ihaves > _MAX_IHAVE_PER_HEARTBEAT:
            return {}, state.ihaves > 10 * _MAX_IHAVE_PER_HEARTBEAT
        wanted = []
        for message_id in ids:
            if state.wanted >= _MAX_WANTED_PER_HEARTBEAT or len(self._asked) >= _MAX_ASKED:
                break
            if not self.cache.was_seen(message_id) and self._asked.get(message_id, 0.0) <= now:
                self._asked[message_id] = now + _ASK_AGAIN_AFTER
                state.wanted += 1
                wanted.append(message_id)
        return ({peer: Control(iwant=wanted)} if wanted else {}), False

    def requested(self, peer: NodeKey, ids: Iterable[MessageId]) -> tuple[list[bytes], bool]:
        """A peer asks for messages. Returns their frames, and whether it asks for too much."""
        state = self._peers.get(peer)
        if state is None:
            return [], False
        frames: list[bytes] = []
        for message_id in ids:
            state.served += 1
            if state.served > _MAX_SERVED_PER_HEARTBEAT:
                continue
            frame = self.cache.serve(message_id, peer)
            if frame is not None:
                frames.append(frame)
        return frames, state.served > 10 * _MAX_SERVED_PER_HEARTBEAT

    # Messages.

    def receivers_of_own(self, topic: str, now: float) -> frozenset[NodeKey]:
        """Whom an own message goes to: every peer that follows the topic, up to a bound.

        ("Flood publishing", v1.1: a node whose mesh was taken over still gets its word out.)
        """
        followers = self.subscribers(topic)
        members = self._mesh.get(topic)
        if members is None:
            fanout = self._fanout.setdefault(topic, _Fanout(set(), 0.0))
            fanout.until = now + FANOUT_FOR
            fanout.peers |= set(self._some(followers - fanout.peers, DEGREE - len(fanout.peers)))
            members = fanout.peers
        extra = self._some(followers - members, 2 * DEGREE_HIGH - len(members))
        return frozenset(members).union(extra)

    def receivers(self, topic: str, sender: NodeKey) -> list[NodeKey]:
        """Whom a message from `sender` goes to: the mesh, but for the sender."""
        return [peer for peer in self._mesh.get(topic, ()) if peer != sender]

    # Upkeep.

    def heartbeat(self, now: float) -> Controls:
        """Once a second: forget what is old, mend the meshes, tell others what is new here."""
        for state in self._peers.values():
            state.ihaves = state.wanted = state.served = 0
        self.cache.expire(now)
        _drop_expired(self._backoff, now)
        _drop_expired(self._asked, now)
        for topic in [topic for topic, fanout in self._fanout.items() if fanout.until <= now]:
            del self._fanout[topic]
        controls: Controls = {}
        for topic, members in self._mesh.items():
            self._mend(topic, members, now, controls)
            self._gossip(topic, members, now, controls)
        return controls

    def _mend(self, topic: str, members: set[NodeKey], now: float, controls: Controls) -> None:
        if len(members) < DEGREE_LOW:
            missing = DEGREE - len(members)
            self._graft(topic, self._some(self._outside(topic), missing), now, controls)
        elif len(members) > DEGREE_HIGH:
            kept = set(self._some(self._dialled(members), DEGREE_OUTBOUND))
            kept |= set(self._some(members - kept, DEGREE - len(kept)))
            for peer in members - kept:
                self._prune(topic, peer, now, controls)
        missing = DEGREE_OUTBOUND - len(self._dialled(members))
        if missing > 0 and len(members) >= DEGREE_LOW:
            dialled = self._dialled(self._outside(topic))
            self._graft(topic, self._some(dialled, missing), now, controls)

    def _gossip(self, topic: str, members: set[NodeKey], now: float, controls: Controls) -> None:
        ids = self.cache.recent(topic, now - _GOSSIP_WINDOW)
        if ids:
            others = self.subscribers(topic) - members
            count = max(DEGREE_LAZY, len(others) // 4)
            for peer in self._some(others, count):
                _of(controls, peer).ihave.append((topic, ids[-_MAX_ADVERTISED:]))

    # Steps.

    def _graft(self, topic: str, peers: Iterable[NodeKey], now: float, controls: Controls) -> None:
        members = self._mesh[topic]
        for peer in peers:
            if peer not in members and self._backoff.get((topic, peer), 0.0) <= now:
                members.add(peer)
                _of(controls, peer).graft.append(topic)
                self._offer(topic, peer, now, controls)

    def _prune(self, topic: str, peer: NodeKey, now: float, controls: Controls) -> None:
        self._mesh[topic].discard(peer)
        self._backoff[topic, peer] = now + BACKOFF
        _of(controls, peer).prune.append((topic, BACKOFF))

    def _offer(self, topic: str, peer: NodeKey, now: float, controls: Controls) -> None:
        """Tell a new mesh peer what it may have missed while it was not connected.

        (Not in the specification, where a peer that joins the mesh only gets what comes after.)
        """
        ids = self.cache.recent(topic, 0.0)
        if ids:
            _of(controls, peer).ihave.append((topic, ids[-_MAX_ADVERTISED:]))

    def _outside(self, topic: str) -> frozenset[NodeKey]:
        return self.subscribers(topic) - self._mesh[topic]

    def _dialled(self, peers: Iterable[NodeKey]) -> list[NodeKey]:
        return [peer for peer in peers if peer in self._peers and self._peers[peer].outbound]

    def _some(self, peers: Iterable[NodeKey], count: int) -> list[NodeKey]:
        if count <= 0:
            return []
        # Sorted, so that a seeded generator gives the same choice in every run.
        ordered = sorted(peers)
        return ordered if count >= len(ordered) else self._random.sample(ordered, count)


def _of(controls: Controls, peer: NodeKey) -> Control:
    return controls.setdefault(peer, Control())


def _drop_expired(entries: dict, now: float) -> None:  # type: ignore[type-arg]
    for key in [key for key, until in entries.items() if until <= now]:
        del entries[key]
