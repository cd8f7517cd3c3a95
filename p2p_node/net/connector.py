"""Keeps the node connected for as long as it lives.

- Every bootstrap address is dialled again and again, with growing pauses and jitter.
- As long as there are fewer peers than wanted, Kademlia is asked for more and they are dialled.
- A peer whose last connection broke is dialled again for a while; if it comes back under another
  address, the search finds it.
- Connections beyond twice the wanted number that carry nothing are given up.
"""

import logging
import secrets
from collections.abc import Callable
from random import Random

import trio

from p2p_node.net.addresses import Endpoint, parse_address
from p2p_node.net.connection import Connection
from p2p_node.net.identity import peer_id_of
from p2p_node.net.kademlia import Kademlia
from p2p_node.net.settings import NetworkSettings
from p2p_node.net.switch import Switch
from protocols.errors import LocalError, RemoteError
from protocols.types import NodeKey

logger = logging.getLogger(__name__)

_GROWTH = 2.0
_JITTER = 0.5
"""A pause is its nominal length times 1 ± this, so that nodes started together drift apart."""
_RECONNECT_ATTEMPTS = 6
"""Dials of a peer that was lost: over 0.25 + 0.5 + … + 8 = 16 seconds."""
_MAX_RECONNECTING = 64
_DIALS_PER_ROUND = 8
_FIRST_SEARCH = 0.2
"""Seconds after the first connection; the peer's identify message has arrived by then."""
_AFTER_NEWS = 1.0
"""Seconds to the next search after peers came or went; doubled from there."""
_IDLE_FOR = 60.0
"""Seconds without a request before a surplus connection is given up."""


class Connector:
    """Decides whom to be connected to."""

    def __init__(
        self,
        settings: NetworkSettings,
        own_key: NodeKey,
        switch: Switch,
        kademlia: Kademlia,
        is_needed: Callable[[NodeKey], bool],
        random: Random,
    ) -> None:
        self._settings = settings
        self._own_key = own_key
        self._switch = switch
        self._kademlia = kademlia
        self._is_needed = is_needed
        self._random = random
        self._bootstrap = _parse_bootstrap(settings.bootstrap, own_key)
        self._left: dict[NodeKey, trio.Event] = {}
        self._reconnecting: set[NodeKey] = set()
        self._news = trio.Event()
        switch.watch(self._joined, self._lost)

    async def run(self) -> None:
        """Keep connected until cancelled."""
        async with trio.open_nursery() as nursery:
            for peer, endpoints in self._bootstrap.items():
                nursery.start_soon(self._hold, peer, endpoints)
            nursery.start_soon(self._discover)

    # Bootstrap peers.

    async def _hold(self, peer: NodeKey, endpoints: list[Endpoint]) -> None:
        pause = self._settings.times.retry_first
        while True:
            try:
                await self._switch.connect(peer, endpoints)
            except RemoteError as error:
                logger.info("bootstrap peer not reached: peer=%s %s", peer_id_of(peer), error)
                await trio.sleep(self._jittered(pause))
                pause = min(pause * _GROWTH, self._settings.times.retry_most)
                continue
            since = trio.current_time()
            await self._until_left(peer)
            if trio.current_time() - since > self._settings.times.retry_most:
                pause = self._settings.times.retry_first
            await trio.sleep(self._jittered(pause))

    async def _until_left(self, peer: NodeKey) -> None:
        while self._switch.connection_to(peer) is not None:
            await self._left.setdefault(peer, trio.Event()).wait()

    # Lost peers.

    def _joined(self, connection: Connection) -> None:
        self._news.set()

    def _lost(self, peer: NodeKey) -> None:
        event = self._left.pop(peer, None)
        if event is not None:
            event.set()
        self._kademlia.remove(peer)
        self._news.set()
        known = peer in self._bootstrap or peer in self._reconnecting
        if not known and len(self._reconnecting) < _MAX_RECONNECTING:
            self._reconnecting.add(peer)
            self._switch.start("connector", self._reconnect, peer)

    async def _reconnect(self, peer: NodeKey) -> None:
        pause = self._settings.times.retry_first
        try:
            for _ in range(_RECONNECT_ATTEMPTS):
                await trio.sleep(self._jittered(pause))
                if self._enough():
                    return
                try:
                    await self._switch.connect(peer)
                except RemoteError:
                    pause *= _GROWTH
                else:
                    return
        finally:
            self._reconnecting.discard(peer)

    # Further peers.

    async def _discover(self) -> None:
        pause = _FIRST_SEARCH
        while True:
            news = self._news = trio.Event()
            with trio.move_on_after(self._jittered(pause)) as waiting:
                await news.wait()
            if waiting.cancelled_caught:
                pause = min(pause * _GROWTH, self._settings.times.discovery)
            else:
                # Peers come and go in bursts: one search for all of them, and not at once.
                pause = _AFTER_NEWS
                await trio.sleep(self._jittered(_FIRST_SEARCH))
            if self._switch.peers() and not self._enough():
                await self._switch.guard("connector", self._search)
            self._give_up_surplus()

    async def _search(self) -> None:
        await self._kademlia.find(self._own_key)
        await self._dial_candidates()
        if not self._enough():
            await self._kademlia.search(secrets.token_bytes(32))
            await self._dial_candidates()

    async def _dial_candidates(self) -> None:
        connected = self._switch.peers()
        candidates = [peer for peer in self._kademlia.candidates() if peer not in connected]
        self._random.shuffle(candidates)
        missing = self._settings.target_peers - len(connected)
        async with trio.open_nursery() as nursery:
            for peer in candidates[: min(missing, _DIALS_PER_ROUND)]:
                nursery.start_soon(self._try, peer)

    async def _try(self, peer: NodeKey) -> None:
        try:
            await self._switch.connect(peer)
        except RemoteError as error:
            logger.debug("candidate not reached: peer=%s %s", peer.hex(), error)
            self._kademlia.remove(peer)

    def _give_up_surplus(self) -> None:
        surplus = len(self._switch.peers()) - 2 * self._settings.target_peers
        if surplus <= 0:
            return
        now = trio.current_time()
        idle = [
            connection
            for connection in self._switch.connections()
            if connection.outbound
            and not connection.busy
            and now - connection.last_used > _IDLE_FOR
            and connection.peer not in self._bootstrap
            and not self._is_needed(connection.peer)
        ]
        self._random.shuffle(idle)
        for connection in idle[:surplus]:
            connection.muxer.close("closed here")

    def _enough(self) -> bool:
        return len(self._switch.peers()) >= self._settings.target_peers

    def _jittered(self, seconds: float) -> float:
        return seconds * self._random.uniform(1 - _JITTER, 1 + _JITTER)


def _parse_bootstrap(addresses: tuple[str, ...], own_key: NodeKey) -> dict[NodeKey, list[Endpoint]]:
    """Bootstrap peers with their addresses; our own entry is left out, so that all nodes of a
    network can be given one list. Raises LocalError."""
    peers: dict[NodeKey, list[Endpoint]] = {}
    for text in addresses:
        try:
            endpoint, key = parse_address(text)
        except ValueError as error:
            raise LocalError(f"bootstrap: {error}") from error
        if key is None:
            raise LocalError(f"bootstrap: {text!r} has no /p2p/<peer id>")
        if key != own_key:
            peers.setdefault(key, []).append(endpoint)
    return peers
