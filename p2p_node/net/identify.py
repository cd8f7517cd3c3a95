"""Telling peers who we are and where we listen (/ipfs/id/1.0.0), and answering pings.

The addresses in an identify message are the only way to learn where a peer that dialled us can be
dialled. They come over its authenticated connection, so it speaks for itself; the other fields are
not used. py-libp2p's own reader asks for a byte at a time, and its peer store keeps 1,000 addresses
per peer and, when it is full, first evicts the entry without addresses: our own key.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Final

import trio
from google.protobuf.message import DecodeError
from libp2p.identity.identify.pb.identify_pb2 import Identify
from multiaddr import Multiaddr

from p2p_node.net.addresses import (
    AddressBook,
    Endpoint,
    parse_binary_address,
    visible_from,
)
from p2p_node.net.connection import Connection
from p2p_node.net.errors import DeadlineError
from p2p_node.net.framing import encode_frame, read_frame
from p2p_node.net.identity import peer_id_of
from p2p_node.net.switch import Arrival, Switch
from protocols.errors import MalformedError, RemoteError
from protocols.types import NodeKey

logger = logging.getLogger(__name__)

IDENTIFY: Final = "/ipfs/id/1.0.0"
PING: Final = "/ipfs/ping/1.0.0"

_MAX_MESSAGE = 16 * 1024
_MAX_ADDRESSES_READ = 32
_WITHIN = 10.0
_PING_BYTES = 32
_AGENT = "kaisar"


class Identifier:
    """Exchanges identify messages with every peer, once per connection."""

    def __init__(
        self,
        switch: Switch,
        book: AddressBook,
        own_key: NodeKey,
        own_endpoints: Callable[[], Sequence[Endpoint]],
        identified: Callable[[NodeKey, frozenset[str]], None],
    ) -> None:
        self._switch = switch
        self._book = book
        self._own_key = own_key
        self._own_endpoints = own_endpoints
        self._identified = identified
        switch.handle(IDENTIFY, self._answer)
        switch.handle(PING, _answer_pings)

    async def ask(self, connection: Connection) -> None:
        """Ask the peer who it is; what it says goes to the address book and to `identified`."""
        try:
            stream, _ = await self._switch.open_stream(connection, (IDENTIFY,))
            try:
                with trio.fail_after(_WITHIN):
                    raw = await read_frame(stream, _MAX_MESSAGE)
                stream.abandon()
            finally:
                stream.reset_unless_abandoned()
            message = _parse(raw)
        except trio.TooSlowError:
            logger.debug("identify too slow: peer=%s", connection.peer.hex())
            return
        except RemoteError as error:
            logger.debug("identify failed: peer=%s %s", connection.peer.hex(), error)
            return
        endpoints = [
            endpoint
            for raw_address in message.listen_addrs[:_MAX_ADDRESSES_READ]
            if (endpoint := parse_binary_address(raw_address)) is not None
        ]
        self._book.replace(connection.peer, endpoints)
        self._identified(connection.peer, frozenset(message.protocols))

    async def _answer(self, arrival: Arrival) -> None:
        message = Identify(
            protocol_version="ipfs/0.1.0",
            agent_version=_AGENT,
            public_key=peer_id_of(self._own_key).to_bytes()[2:],
            listen_addrs=[
                Multiaddr(str(one)).to_bytes()
                for one in visible_from(arrival.connection.host, self._own_endpoints())
            ],
            protocols=self._switch.protocols,
        )
        await _send(arrival, encode_frame(message.SerializeToString()))
        arrival.stream.abandon()


async def _answer_pings(arrival: Arrival) -> None:
    """Echo 32 bytes at a time until the peer closes the stream or falls silent."""
    while True:
        received = bytearray()
        try:
            with trio.fail_after(_WITHIN):
                while len(received) < _PING_BYTES:
                    part = await arrival.stream.receive_some(_PING_BYTES - len(received))
                    if not part:
                        return arrival.stream.abandon()
                    received += part
        except trio.TooSlowError:
            return arrival.stream.reset()
        await _send(arrival, bytes(received))


async def _send(arrival: Arrival, data: bytes) -> None:
    try:
        with trio.fail_after(_WITHIN):
            await arrival.stream.write(data)
    except trio.TooSlowError as error:
        raise DeadlineError("peer does not read") from error


def _parse(raw: bytes) -> Identify:
    message = Identify()
    try:
        message.ParseFromString(raw)
    except DecodeError as error:
        raise MalformedError("identify does not parse") from error
    return message
