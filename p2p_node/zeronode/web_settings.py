"""Bounds and deadlines of the web server, and whose word about a client's address counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from protocols.errors import LocalError

Networks = tuple[IPv4Network | IPv6Network, ...]


@dataclass(frozen=True, slots=True)
class WebSettings:
    """What one web server allows; times in seconds, sizes in bytes."""

    host: str = "127.0.0.1"
    port: int = 0
    trusted_proxies: Networks = ()
    """Networks whose X-Forwarded-For is believed."""
    max_connections: int = 8192
    max_connections_per_address: int = 64
    """Of one IPv4 address or IPv6 /64 that is no trusted proxy."""
    max_header_bytes: int = 16 << 10
    max_body_bytes: int = 32 << 10
    max_frame_bytes: int = 4 << 10
    """Of one message of a WebSocket; the protocol's longest has a few hundred bytes."""
    header_seconds: float = 10
    """From a connection's first moment, or a request's first byte, to the end of its header."""
    idle_seconds: float = 60
    """Between two requests of one connection."""
    body_seconds: float = 15
    answer_seconds: float = 30
    """For a request to be answered."""
    write_seconds: float = 15
    """For a client to take what is written to it."""
    close_seconds: float = 1
    """For open WebSockets to be told that the service ends."""


def parse_networks(texts: Sequence[str]) -> Networks:
    """Parse networks such as 10.0.0.0/8. Raises LocalError that names what was found."""
    found = []
    for text in texts:
        try:
            found.append(ip_network(text))
        except ValueError as error:
            raise LocalError(
                f"trusted_proxies: found {text!r}, expected a network such as 10.0.0.0/8"
            ) from error
    return tuple(found)


def is_within(address: str, networks: Networks) -> bool:
    """Whether an address lies in one of the networks; something that is no address does not."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in networks)


def normalise_address(address: str) -> str:
    """Return the shortest form of an address: an IPv4 address in IPv6's clothes is one of IPv4."""
    parsed = ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return str(parsed)


def find_household(address: str) -> str:
    """Return what one household has: an IPv4 address, or an IPv6 network of 64 bits."""
    parsed = ip_address(address)
    if isinstance(parsed, IPv6Address):
        return str(ip_network((parsed.packed[:8] + bytes(8), 64)))
    return address


def find_client(peer: str, forwarded: str, trusted: Networks) -> str:
    """Return the client's address: the last one that no trusted proxy stands for.

    `peer` is who is connected, `forwarded` the X-Forwarded-For header, in which each proxy adds
    whom it was reached by on the right. Whatever a stranger wrote there is ignored, because the
    search ends at the first address, from the right, that is not a trusted proxy's.
    """
    client = normalise_address(peer)
    for text in reversed(forwarded.split(",")):
        if not is_within(client, trusted):
            break
        try:
            client = normalise_address(text.strip())
        except ValueError:
            break
    return client
