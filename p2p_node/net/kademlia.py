"""Finding peers beyond the bootstrap list: Kademlia.

Routing table and iterative lookup are `libp2p.kad_dht`'s; the messages in between are handled here.
py-libp2p's service also stores values and provider records of anybody (50,000 values of 1 MiB
each), believes unlimited addresses, and speaks under one fixed protocol id, so that two networks
that meet once are one. Here only FIND_NODE is answered, under an id of the network's own.
"""

import logging
from collections import OrderedDict
from collections.abc import Sequence
from math import inf

import trio
from google.protobuf.message import DecodeError
from libp2p.kad_dht.common import BUCKET_SIZE
from libp2p.kad_dht.pb.kademlia_pb2 import Message
from libp2p.kad_dht.peer_routing import PeerRouting
from libp2p.kad_dht.routing_table import RoutingTable
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo
from multiaddr import Multiaddr

from p2p_node.net.addresses import AddressBook, Source, parse_binary_address, visible_from
from p2p_node.net.connection import Connection
from p2p_node.net.errors import DeadlineError
from p2p_node.net.framing import encode_frame, read_frame
from p2p_node.net.identify import PING
from p2p_node.net.identity import node_key_of, peer_id_of
from p2p_node.net.mux_stream import MuxStream
from p2p_node.net.settings import NetworkSettings
from p2p_node.net.switch import Arrival, Switch
from protocols.errors import MalformedError, RemoteError
from protocols.types import NodeKey

logger = logging.getLogger(__name__)

_MAX_REQUEST = 4 * 1024
_MAX_RESPONSE = 64 * 1024
_MAX_KEY = 64
_MAX_PEERS_READ = BUCKET_SIZE
_MAX_ADDRESSES_SENT = 4
_WITHIN = 5.0
"""Seconds for one question or one answer."""
_IDLE = 30.0
"""Seconds a peer may keep its question stream open without asking."""
_MAX_SEARCHES = 4
_SEARCH_AGAIN_AFTER = 15.0
_MAX_SEARCHED = 1024
_LOOKUP = 20.0
"""Seconds for one search over the network."""


class Kademlia:
    """This node's part in the network's directory of peers."""

    def __init__(
        self,
        settings: NetworkSettings,
        switch: Switch,
        book: AddressBook,
        own_key: NodeKey,
    ) -> None:
        self.protocol = f"{settings.prefix}kad"
        self._switch = switch
        self._book = book
        self._own_key = own_key
        host = _Host(switch, book, own_key)
        # Subnet limits of the table are py-libp2p's default: 2 peers of one /24 per bucket.
        self._table = RoutingTable(host.get_id(), host)  # type: ignore[arg-type]
        self._routing = _Routing(host, self._table, self)
        self._searching = trio.CapacityLimiter(_MAX_SEARCHES)
        self._searched: OrderedDict[NodeKey, float] = OrderedDict()
        switch.handle(self.protocol, self._answer)

    @property
    def known(self) -> int:
        """Peers in the routing table."""
        return self._table.size()

    def candidates(self) -> list[NodeKey]:
        """Peers of the routing table, in no particular order."""
        keys = (node_key_of(peer_id) for peer_id in self._table.get_peer_ids())
        return [key for key in keys if key is not None]

    async def add(self, peer: NodeKey) -> None:
        """Put a peer that answers questions into the table, if there is room for it."""
        await self._table.add_peer(_peer_info(self._book, peer))

    def remove(self, peer: NodeKey) -> None:
        """A peer is gone."""
        self._table.remove_peer(peer_id_of(peer))

    async def search(self, target: bytes) -> None:
        """Look for the peers nearest to `target` (a peer id or random bytes); what is learnt goes
        to the table and the address book."""
        with trio.move_on_after(_LOOKUP):
            await self._routing.find_closest_peers_network(target)

    async def find(self, peer: NodeKey) -> None:
        """Look for the addresses of one peer."""
        await self.search(peer_id_of(peer).to_bytes())

    async def find_soon(self, peer: NodeKey) -> bool:
        """Look for one peer unless that was done a moment ago; few searches run at once.

        A checker whose shard has many dead providers asks for all of them in every slot; a search
        each would cost the network more than they are worth. False when no search was made; where
        nobody can be asked yet there is none.
        """
        if not self.known:
            return False
        now = trio.current_time()
        if now - self._searched.get(peer, -inf) < _SEARCH_AGAIN_AFTER:
            return False
        self._searched[peer] = now
        self._searched.move_to_end(peer)
        while len(self._searched) > _MAX_SEARCHED:
            self._searched.popitem(last=False)
        async with self._searching:
            await self.find(peer)
        return True

    # Asking.

    async def ask(self, peer: NodeKey, target: bytes) -> list[NodeKey]:
        """Ask one peer for those nearest to `target` that it knows."""
        with trio.move_on_after(_WITHIN):
            try:
                connection = await self._switch.connect(peer)
                stream, _ = await self._switch.open_stream(connection, (self.protocol,), _WITHIN)
                try:
                    question = Message(type=Message.MessageType.FIND_NODE, key=target)
                    await stream.write(encode_frame(question.SerializeToString()))
                    answer = _parse(await read_frame(stream, _MAX_RESPONSE))
                    stream.abandon()
                finally:
                    stream.reset_unless_abandoned()
            except RemoteError as error:
                logger.debug("search: no answer: peer=%s %s", peer.hex(), error)
                self.remove(peer)
                return []
            return await self._learn(answer)
        return []

    async def _learn(self, answer: Message) -> list[NodeKey]:
        found = []
        for entry in answer.closerPeers[:_MAX_PEERS_READ]:
            key = node_key_of(ID(entry.id))
            if key is None or key == self._own_key:
                continue
            endpoints = [
                endpoint
                for raw in entry.addrs[: 2 * _MAX_ADDRESSES_SENT]
                if (endpoint := parse_binary_address(raw)) is not None
            ]
            self._book.add(key, endpoints, Source.HEARSAY)
            if key in self._book:
                found.append(key)
                await self.add(key)
        return found

    # Answering.

    async def _answer(self, arrival: Arrival) -> None:
        while True:
            with trio.move_on_after(_IDLE) as idle:
                question = await _read_question(arrival.stream)
                if question is None:
                    return arrival.stream.abandon()
            if idle.cancelled_caught:
                return arrival.stream.reset()
            answer = self._nearest(question, arrival.connection)
            try:
                with trio.fail_after(_WITHIN):
                    await arrival.stream.write(encode_frame(answer.SerializeToString()))
            except trio.TooSlowError as error:
                raise DeadlineError("peer does not read") from error

    def _nearest(self, question: Message, asker: Connection) -> Message:
        if question.type != Message.MessageType.FIND_NODE:
            raise MalformedError("question is not FIND_NODE")
        if not 0 < len(question.key) <= _MAX_KEY:
            raise MalformedError("question has no usable key")
        nearest = self._table.find_local_closest_peers(question.key, BUCKET_SIZE)
        target = ID(question.key)
        if target not in nearest:
            nearest = [target, *nearest]
        answer = Message(type=Message.MessageType.FIND_NODE)
        for peer_id in nearest:
            key = node_key_of(peer_id)
            if key is None or key == asker.peer:
                continue
            known = visible_from(asker.host, self._book.addresses(key))
            addresses = known[:_MAX_ADDRESSES_SENT]
            if addresses:
                entry = answer.closerPeers.add()
                entry.id = peer_id.to_bytes()
                entry.addrs.extend(Multiaddr(str(address)).to_bytes() for address in addresses)
        return answer


async def _read_question(stream: MuxStream) -> Message | None:
    """The next question, None when the peer has no more. One is asked at a time."""
    data = await stream.receive_some(_MAX_REQUEST)
    if not data:
        return None
    return _parse(await read_frame(stream, _MAX_REQUEST, begun=data))


def _parse(raw: bytes) -> Message:
    message = Message()
    try:
        message.ParseFromString(raw)
    except DecodeError as error:
        raise MalformedError("kademlia message does not parse") from error
    return message


def _peer_info(book: AddressBook, peer: NodeKey) -> PeerInfo:
    return PeerInfo(peer_id_of(peer), [Multiaddr(str(one)) for one in book.addresses(peer)])


class _Routing(PeerRouting):
    """py-libp2p's iterative lookup with our way of asking one peer."""

    def __init__(self, host: "_Host", table: RoutingTable, kademlia: Kademlia) -> None:
        super().__init__(host, table)  # type: ignore[arg-type]
        self._kademlia = kademlia

    async def _query_peer_for_closest(self, peer: ID, target_key: bytes) -> list[ID]:
        key = node_key_of(peer)
        if key is None:
            return []
        return [peer_id_of(found) for found in await self._kademlia.ask(key, target_key)]


class _Host:
    """The few things that py-libp2p's routing table and lookup ask of a host."""

    def __init__(self, switch: Switch, book: AddressBook, own_key: NodeKey) -> None:
        self._switch = switch
        self._book = book
        self._id = peer_id_of(own_key)

    def get_id(self) -> ID:
        return self._id

    def get_connected_peers(self) -> list[ID]:
        return [peer_id_of(peer) for peer in self._switch.peers()]

    def get_peerstore(self) -> "_Host":
        return self

    def peer_ids(self) -> Sequence[ID]:
        return [peer_id_of(peer) for peer in self._book.peers()]

    def get_protocols(self, peer_id: ID) -> list[str]:
        """Empty: whether a peer answers questions was decided before it was added."""
        return []

    async def new_stream(self, peer_id: ID, protocols: Sequence[str]) -> MuxStream:
        """For the ping with which a full bucket decides whether its oldest peer still lives."""
        key = node_key_of(peer_id)
        if key is None or list(protocols) != [PING]:
            raise MalformedError("only Ed25519 peers can be pinged")
        connection = await self._switch.connect(key)
        stream, _ = await self._switch.open_stream(connection, (PING,), _WITHIN)
        return stream
