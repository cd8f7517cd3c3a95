"""Multiaddrs, and the bounded book of where peers can be reached."""

import ipaddress
import socket
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from libp2p.peer.id import ID
from multiaddr import Multiaddr
from multiaddr.exceptions import Error as MultiaddrError

from p2p_node.net.identity import node_key_of
from protocols.errors import LocalError
from protocols.types import NodeKey

_HOST_PROTOCOLS = ("ip4", "ip6", "dns4", "dns6", "dns")
_MAX_TEXT = 256


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A TCP endpoint: an IP address or a host name, and a port."""

    kind: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"/{self.kind}/{self.host}/tcp/{self.port}"


def parse_address(text: str) -> tuple[Endpoint, NodeKey | None]:
    """Split a multiaddr into its TCP endpoint and the node key after /p2p/, if there is one.

    Only /ip4|ip6|dns|dns4|dns6/…/tcp/…[/p2p/…] is understood. Raises ValueError for all else.
    """
    if len(text) > _MAX_TEXT:
        raise ValueError(f"multiaddr of {len(text)} characters")
    parts = text.split("/")
    if len(parts) not in (5, 7) or parts[0] or parts[3] != "tcp" or parts[1] not in _HOST_PROTOCOLS:
        raise ValueError(f"{text!r} is not /ip4|ip6|dns…/<host>/tcp/<port>[/p2p/<peer id>]")
    try:
        parsed = Multiaddr(text)
    except (MultiaddrError, ValueError) as error:
        raise ValueError(f"{text!r}: {error}") from error
    endpoint = Endpoint(parts[1], parts[2], int(parts[4]))
    if len(parts) == 5:
        return endpoint, None
    if parts[5] != "p2p":
        raise ValueError(f"{text!r}: /{parts[5]}/ where /p2p/ is expected")
    node_key = node_key_of(ID.from_base58(str(parsed.value_for_protocol("p2p"))))
    if node_key is None:
        raise ValueError(f"{text!r}: the peer id is not an Ed25519 key")
    return endpoint, node_key


def parse_binary_address(raw: bytes) -> Endpoint | None:
    """The endpoint of a multiaddr in its binary form, None when it is not one we can dial.

    A trailing /p2p/ part is ignored: the key is known from elsewhere and proved on dialling.
    """
    if len(raw) > _MAX_TEXT:
        return None
    try:
        text = str(Multiaddr(raw))
        endpoint, _ = parse_address(text)
    except (MultiaddrError, ValueError, LookupError, TypeError):
        return None
    return endpoint


def parse_own_address(text: str, what: str) -> Endpoint:
    """Parse an address from our own settings. Raises LocalError naming the setting."""
    try:
        return parse_address(text)[0]
    except ValueError as error:
        raise LocalError(f"{what}: {error}") from error


def reachable_endpoints(bound: Endpoint) -> list[Endpoint]:
    """What to tell others about a bound endpoint: a wildcard becomes the addresses of this host."""
    if bound.kind not in ("ip4", "ip6") or not ipaddress.ip_address(bound.host).is_unspecified:
        return [bound]
    if bound.kind == "ip4":
        hosts = ["127.0.0.1", _outgoing_host(socket.AF_INET, "192.0.2.1")]
    else:
        hosts = ["::1", _outgoing_host(socket.AF_INET6, "2001:db8::1")]
    return [Endpoint(bound.kind, host, bound.port) for host in dict.fromkeys(filter(None, hosts))]


def visible_from(host: str, endpoints: Iterable[Endpoint]) -> list[Endpoint]:
    """The endpoints worth telling a peer at `host`: loopback addresses only on this very host."""
    if ipaddress.ip_address(host).is_loopback:
        return list(endpoints)
    return [one for one in endpoints if not _is_loopback(one)]


def _is_loopback(endpoint: Endpoint) -> bool:
    return endpoint.kind in ("ip4", "ip6") and ipaddress.ip_address(endpoint.host).is_loopback


def _outgoing_host(family: socket.AddressFamily, towards: str) -> str:
    """The address this host would send from; empty when it has no route.

    Connecting a UDP socket sends nothing, it only asks the routing table. `towards` is an address
    reserved for documentation.
    """
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((towards, 9))
        except OSError:
            return ""
        return str(probe.getsockname()[0])


class Source(IntEnum):
    """Who told us an address; the lower, the more it is worth."""

    PEER = 0
    """The peer itself, over its authenticated connection or in a message it signed."""
    HEARSAY = 1
    """Another peer, in answer to a search. May be false; dialling it proves the identity."""


class AddressBook:
    """Addresses of peers, bounded in peers and in addresses per peer.

    The addresses a peer names itself replace each other as a set; hearsay only fills what is left.
    The least recently updated peer is forgotten first.
    """

    def __init__(self, max_peers: int, max_addresses: int) -> None:
        self._max_peers = max_peers
        self._max_addresses = max_addresses
        self._entries: OrderedDict[NodeKey, dict[Endpoint, Source]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, peer: NodeKey) -> bool:
        return peer in self._entries

    def peers(self) -> Sequence[NodeKey]:
        """Peers with at least one address, the most recently updated last."""
        return tuple(self._entries)

    def addresses(self, peer: NodeKey) -> list[Endpoint]:
        """Addresses of `peer`, those it named itself first."""
        entry = self._entries.get(peer, {})
        return sorted(entry, key=lambda endpoint: entry[endpoint])

    def replace(self, peer: NodeKey, endpoints: Iterable[Endpoint]) -> None:
        """`peer` says where it is now: what it said before no longer holds."""
        named = list(dict.fromkeys(endpoints))[: self._max_addresses]
        if named:
            self._put(peer, dict.fromkeys(named, Source.PEER))

    def add(self, peer: NodeKey, endpoints: Iterable[Endpoint], source: Source) -> None:
        """Remember further addresses of `peer` as far as there is room."""
        entry: dict[Endpoint, Source] = dict(self._entries.get(peer, {}))
        for endpoint in endpoints:
            known = entry.get(endpoint)
            if known is not None:
                entry[endpoint] = min(known, source)
            elif len(entry) < self._max_addresses:
                entry[endpoint] = source
            elif source is Source.PEER:
                displaced = max(entry, key=lambda one: entry[one])
                del entry[displaced]
                entry[endpoint] = source
        if entry:
            self._put(peer, entry)

    def forget_hearsay(self, peer: NodeKey) -> None:
        """Every address of `peer` failed: drop those that only others named."""
        entry = self._entries.get(peer)
        if entry is None:
            return
        kept: dict[Endpoint, Source] = {
            endpoint: source for endpoint, source in entry.items() if source is Source.PEER
        }
        if kept:
            self._entries[peer] = kept
        else:
            del self._entries[peer]

    def _put(self, peer: NodeKey, entry: dict[Endpoint, Source]) -> None:
        self._entries[peer] = entry
        self._entries.move_to_end(peer)
        while len(self._entries) > self._max_peers:
            self._entries.popitem(last=False)
