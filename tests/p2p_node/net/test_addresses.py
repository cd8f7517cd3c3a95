"""Multiaddrs, node keys and the address book."""

import pytest
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from p2p_node.net.addresses import (
    AddressBook,
    Endpoint,
    Source,
    parse_address,
    parse_binary_address,
    parse_own_address,
    reachable_endpoints,
)
from p2p_node.net.identity import key_pair_of, node_key_of, peer_id_of
from protocols.errors import LocalError
from protocols.types import NodeKey

KEY = NodeKey(key_pair_of(bytes(31) + b"\1").public_key.to_bytes())
OTHER = NodeKey(key_pair_of(bytes(31) + b"\2").public_key.to_bytes())


def at(port: int) -> Endpoint:
    return Endpoint("ip4", "127.0.0.1", port)


def test_a_peer_id_is_the_node_key_in_libp2ps_envelope() -> None:
    assert peer_id_of(KEY) == ID.from_pubkey(key_pair_of(bytes(31) + b"\1").public_key)
    assert node_key_of(peer_id_of(KEY)) == KEY


@pytest.mark.parametrize("raw", [b"", b"\x12\x20" + bytes(32), b"\0\x24" + bytes(36)])
def test_other_kinds_of_identity_have_no_node_key(raw: bytes) -> None:
    assert node_key_of(ID(raw)) is None


@pytest.mark.parametrize(
    "text",
    ["/ip4/192.0.2.1/tcp/4001", "/ip6/::1/tcp/1", "/dns4/node.example/tcp/65535"],
)
def test_addresses_that_can_be_dialled_parse_and_print_the_same(text: str) -> None:
    endpoint, key = parse_address(text)
    assert (str(endpoint), key) == (text, None)
    assert parse_address(f"{text}/p2p/{peer_id_of(KEY)}") == (endpoint, KEY)
    assert parse_binary_address(Multiaddr(text).to_bytes()) == endpoint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "127.0.0.1:4001",
        "/ip4/127.0.0.1",
        "/ip4/127.0.0.1/udp/4001",
        "/ip4/127.0.0.1/tcp/4001/ws",
        "/ip4/300.0.0.1/tcp/4001",
        "/ip4/127.0.0.1/tcp/70000",
        "/ip4/127.0.0.1/tcp/4001/p2p/nonsense",
        "/ip4/127.0.0.1/tcp/4001/p2p/QmcgpsyWgH8Y8ajJz1Cu72KnS5uo2Aa2LpzU7kinSupNKC",
        "/unix/tmp/tcp/1",
        "/dns4/" + "a" * 300 + "/tcp/1",
    ],
)
def test_all_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_address(text)


@pytest.mark.parametrize("raw", [b"", b"\xff" * 20, b"\x04\x7f", bytes(1000)])
def test_binary_addresses_from_peers_never_raise(raw: bytes) -> None:
    assert parse_binary_address(raw) is None


def test_a_bad_setting_is_named() -> None:
    with pytest.raises(LocalError, match=r"^listen: "):
        parse_own_address("nonsense", "listen")


def test_a_wildcard_is_announced_as_addresses_of_this_host() -> None:
    wildcard = Endpoint("ip4", "0.0.0.0", 4001)  # noqa: S104
    endpoints = reachable_endpoints(wildcard)
    assert at(4001) in endpoints
    assert wildcard not in endpoints
    assert all(one.port == 4001 for one in endpoints)
    assert reachable_endpoints(at(1)) == [at(1)]


def test_what_a_peer_says_of_itself_replaces_what_was_known() -> None:
    book = AddressBook(10, 4)
    book.add(KEY, [at(1)], Source.HEARSAY)
    book.replace(KEY, [at(2), at(3)])
    assert book.addresses(KEY) == [at(2), at(3)]
    book.replace(KEY, [])
    assert book.addresses(KEY) == [at(2), at(3)]


def test_hearsay_fills_what_is_left_and_never_displaces() -> None:
    book = AddressBook(10, 3)
    book.add(KEY, [at(1)], Source.PEER)
    book.add(KEY, [at(port) for port in range(10, 20)], Source.HEARSAY)
    assert book.addresses(KEY) == [at(1), at(10), at(11)]
    book.add(KEY, [at(2)], Source.PEER)
    assert set(book.addresses(KEY)[:2]) == {at(1), at(2)}
    assert len(book.addresses(KEY)) == 3
    book.forget_hearsay(KEY)
    assert set(book.addresses(KEY)) == {at(1), at(2)}


def test_a_peer_known_by_hearsay_alone_is_forgotten_with_it() -> None:
    book = AddressBook(10, 3)
    book.add(KEY, [at(1)], Source.HEARSAY)
    book.forget_hearsay(KEY)
    assert KEY not in book
    assert book.addresses(KEY) == []


def test_the_book_is_bounded_in_peers() -> None:
    book = AddressBook(5, 3)
    keys = [NodeKey(bytes([number]) * 32) for number in range(8)]
    for key in keys:
        book.add(key, [at(1)], Source.HEARSAY)
    assert list(book.peers()) == keys[3:]
    book.add(keys[3], [at(2)], Source.HEARSAY)
    book.add(OTHER, [at(1)], Source.PEER)
    assert keys[3] in book
    assert keys[4] not in book
