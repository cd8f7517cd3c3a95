"""Finding peers, losing them, finding them again; leaving in good order."""

import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from p2p_node.net import (
    ACCEPT,
    DeadlineError,
    Network,
    PeerUnreachableError,
    RequestStream,
    StreamEndedError,
    open_network,
)
from p2p_node.net.addresses import parse_address
from protocols.errors import LocalError
from protocols.types import NodeKey
from tests.p2p_node.net.attacker import attach, handshake, open_stream, raw_tcp
from tests.p2p_node.net.conftest import open_nodes, settings, times, until

REPOSITORY = Path(__file__).resolve().parents[3]


async def echo(stream: RequestStream) -> None:
    await stream.send(await stream.receive(1000))


async def ask(node: Network, peer: NodeKey) -> bytes:
    async with node.open_stream(peer, "echo", 8) as stream:
        await stream.send(b"hello")
        return await stream.receive(1000)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass(frozen=True, slots=True)
class PeerProcess:
    """A node in a process of its own."""

    key: NodeKey
    address: str
    process: "subprocess.Popen[str]"


@contextmanager
def peer_process(number: int, port: int, *bootstrap: str) -> Iterator[PeerProcess]:
    """A node in a process of its own; killed (SIGKILL) when the block is left."""
    with subprocess.Popen(
        [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "tests.p2p_node.net.peer_process",
            str(number),
            str(port),
            *bootstrap,
        ],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            key = parse_address(address)[1]
            assert key is not None
            yield PeerProcess(key, address, process)
        finally:
            process.kill()


async def test_nodes_that_know_one_bootstrap_node_find_each_other() -> None:
    count = 8
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(open_network(settings(1)))
        nodes = [first]
        for number in range(2, count + 1):
            nodes.append(
                await stack.enter_async_context(open_network(settings(number, first.addresses)))
            )
        inboxes = [node.subscribe("announce", lambda data, sender: ACCEPT) for node in nodes]
        with trio.fail_after(20):
            for node in nodes:
                await node.wait_for_peers(count - 1)
            await nodes[3].wait_for_peers(3, topic="announce")
            await nodes[3].publish("announce", b"hello")
            for node, inbox in zip(nodes, inboxes, strict=True):
                if node is not nodes[3]:
                    assert (await inbox.receive()).data == b"hello"


async def test_a_peer_is_found_through_others_and_then_dialled() -> None:
    """Nobody looks for peers (one is enough), so only the search can find the far node."""
    async with AsyncExitStack() as stack:
        nodes: list[Network] = []
        for number in range(1, 7):
            bootstrap = nodes[-1].addresses if nodes else ()
            nodes.append(
                await stack.enter_async_context(
                    open_network(settings(number, bootstrap, target_peers=1))
                )
            )
            if len(nodes) > 1:
                with trio.fail_after(5):
                    await nodes[-1].wait_for_peers(1)
                await until(lambda: nodes[-1]._kademlia.known >= 1)  # type: ignore[attr-defined]
        first, last = nodes[0], nodes[-1]
        first.serve("echo", echo)
        assert first.node_key not in last.peers
        with trio.fail_after(10):
            assert await ask(last, first.node_key) == b"hello"


async def test_a_peer_is_dialled_at_the_addresses_it_announced() -> None:
    async with open_network(settings(1)) as alice, open_network(settings(2)) as bob:
        bob.serve("echo", echo)
        with trio.fail_after(10):
            with pytest.raises(PeerUnreachableError):
                await ask(alice, bob.node_key)
            dead = f"/ip4/127.0.0.1/tcp/{free_port()}"
            alice.learn_addresses(bob.node_key, [dead, *bob.addresses])
            assert await ask(alice, bob.node_key) == b"hello"


@pytest.mark.parametrize(
    "address",
    [
        "/dns4/a..b/tcp/1",
        "/dns4/" + "a" * 70 + ".example/tcp/1",
        "/dns4/no-such-host.invalid/tcp/1",
        "/dns4/xn--a/tcp/1",
        "/ip4/127.0.0.1/tcp/0",
        "/ip4/255.255.255.255/tcp/1",
        "/ip4/0.0.0.0/tcp/1",
        "/ip6/::/tcp/1",
    ],
)
async def test_an_address_that_leads_nowhere_does_no_harm(address: str) -> None:
    async with open_network(settings(1)) as alice:
        alice.learn_addresses(NodeKey(bytes(32)), [address])
        with trio.fail_after(10), pytest.raises((PeerUnreachableError, DeadlineError)):
            await ask(alice, NodeKey(bytes(32)))


async def test_addresses_that_name_another_peer_are_refused() -> None:
    async with open_network(settings(1)) as alice, open_network(settings(2)) as bob:
        alice.learn_addresses(NodeKey(bytes(32)), bob.addresses)
        assert alice.counters.refused["addresses", "address of another peer"] == len(bob.addresses)


async def test_a_dial_is_not_delayed() -> None:
    """py-libp2p waits 250 ms after each dial that succeeded: 30 connections took 7.6 s."""
    async with AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(open_network(settings(n, target_peers=1)))
            for n in range(1, 12)
        ]
        for node in nodes:
            node.serve("echo", echo)
        with trio.fail_after(5):
            for node in nodes[1:]:
                nodes[0].learn_addresses(node.node_key, node.addresses)
                assert await ask(nodes[0], node.node_key) == b"hello"


async def test_a_bootstrap_node_that_starts_later_is_reached() -> None:
    port = free_port()
    async with open_network(settings(1, listen=(f"/ip4/127.0.0.1/tcp/{port}",))) as late:
        address = late.addresses[0]
    async with open_network(settings(2, [address])) as early:
        await until(lambda: early.counters.dials_failed >= 2)
        async with open_network(settings(1, listen=(f"/ip4/127.0.0.1/tcp/{port}",))):
            with trio.fail_after(10):
                await early.wait_for_peers(1)
        await until(lambda: not early.peers)
        async with open_network(settings(1, listen=(f"/ip4/127.0.0.1/tcp/{port}",))):
            with trio.fail_after(10):
                await early.wait_for_peers(1)


@pytest.mark.parametrize("same_port", [True, False], ids=["same port", "another port"])
async def test_a_killed_peer_is_missed_and_found_again(same_port: bool) -> None:
    port = free_port()
    async with open_nodes(2) as (alice, bob):
        alice.subscribe("announce", lambda data, sender: ACCEPT)
        with peer_process(7, port, alice.addresses[0]) as first:
            key = first.key
            with trio.fail_after(15):
                await until(lambda: key in alice.peers and key in bob.peers, 15)
                await until(lambda: key in alice.subscribers("announce"))
        await until(lambda: key not in alice.peers | bob.peers)
        next_port = port if same_port else free_port()
        with peer_process(7, next_port, alice.addresses[0]) as again:
            assert again.key == key
            await until(lambda: key in alice.peers and key in bob.peers, 15)
            await until(lambda: key in alice.subscribers("announce"))
            with trio.fail_after(10):
                assert await ask(bob, key) == b"hello"


async def test_a_killed_peer_that_lists_nobody_is_dialled_again() -> None:
    """The node that lost it remembers where it was."""
    port = free_port()
    async with open_network(settings(1)) as alice:
        with peer_process(7, port) as first:
            key = first.key
            alice.learn_addresses(key, [first.address])
            with trio.fail_after(15):
                assert await ask(alice, key) == b"hello"
        await until(lambda: not alice.peers)
        with peer_process(7, port):
            await until(lambda: key in alice.peers, 15)


async def test_a_stream_to_a_killed_peer_ends() -> None:
    async with open_network(settings(1)) as alice:
        with ExitStack() as stack:
            peer = stack.enter_context(peer_process(7, free_port()))
            alice.learn_addresses(peer.key, [peer.address])
            with trio.fail_after(15):
                async with alice.open_stream(peer.key, "sleep", 10) as stream:
                    stack.close()
                    with pytest.raises(StreamEndedError):
                        await stream.receive(10)


async def test_a_peer_that_froze_is_given_up_and_welcomed_back() -> None:
    """SIGSTOP: the connection stays open, and nothing comes any more."""
    quick = times(keepalive=0.3, dead=1.0)
    async with open_network(settings(1, times=quick)) as alice:
        with peer_process(7, free_port(), alice.addresses[0]) as peer:
            await until(lambda: peer.key in alice.peers, 15)
            peer.process.send_signal(signal.SIGSTOP)
            try:
                await until(lambda: peer.key not in alice.peers)
            finally:
                peer.process.send_signal(signal.SIGCONT)
            await until(lambda: peer.key in alice.peers, 15)


async def test_a_peer_that_cannot_be_found_is_not_searched_for_again_and_again() -> None:
    searches: list[NodeKey] = []
    stranger = NodeKey(bytes(32))
    async with open_nodes(2) as (alice, _bob):
        kademlia = alice._kademlia  # type: ignore[attr-defined]
        search = kademlia.find

        async def find(peer: NodeKey) -> None:
            searches.append(peer)
            await search(peer)

        kademlia.find = find
        with trio.fail_after(10):
            # With nobody to ask yet there is no search, and so none that would have to wait.
            if not kademlia.known:
                assert not await kademlia.find_soon(stranger)
            await until(lambda: kademlia.known > 0)
            for _ in range(5):
                with pytest.raises(PeerUnreachableError):
                    await ask(alice, stranger)
        assert searches.count(stranger) == 1


async def test_messages_missed_while_away_are_caught_up() -> None:
    async with open_nodes(2) as (alice, bob):
        alice.subscribe("announce", lambda data, sender: ACCEPT)
        inbox = bob.subscribe("announce", lambda data, sender: ACCEPT)
        with trio.fail_after(10):
            await alice.wait_for_peers(1, topic="announce")
            for connection in bob._switch.connections():  # type: ignore[attr-defined]
                connection.muxer.close("cut by the test")
            await until(lambda: not alice.peers)
            assert await alice.publish("announce", b"while you were out") == 0
            assert (await inbox.receive()).data == b"while you were out"


async def test_both_sides_dialling_at_once_ends_in_one_peer() -> None:
    ports = [free_port(), free_port()]
    seeds = [settings(number).seed for number in (1, 2)]
    from p2p_node.net.identity import key_pair_of, peer_id_of

    names = [str(peer_id_of(key_pair_of(seed).public_key.to_bytes())) for seed in seeds]
    addresses = [f"/ip4/127.0.0.1/tcp/{p}/p2p/{n}" for p, n in zip(ports, names, strict=True)]

    @asynccontextmanager
    async def start(one: int) -> AsyncIterator[Network]:
        listen = (f"/ip4/127.0.0.1/tcp/{ports[one]}",)
        async with open_network(settings(one + 1, addresses, listen=listen)) as node:
            yield node

    async with start(0) as alice, start(1) as bob:
        inbox = bob.subscribe("announce", lambda data, sender: ACCEPT)
        with trio.fail_after(10):
            await alice.wait_for_peers(1, topic="announce")
            await bob.wait_for_peers(1)
            await alice.publish("announce", b"once")
            assert (await inbox.receive()).data == b"once"
        assert len(alice.peers) == len(bob.peers) == 1
        assert bob.counters.delivered["announce"] == 1


# Private networks.


async def test_a_private_network_keeps_others_out() -> None:
    secret = bytes(range(32))
    async with open_nodes(2, network_key=secret, times=times(handshake=1.0)) as (alice, bob):
        bob.serve("echo", echo)
        assert await ask(alice, bob.node_key) == b"hello"
        for key in (None, bytes(32)):
            other = settings(9, alice.addresses, network_key=key, times=times(handshake=1.0))
            async with open_network(other) as stranger:
                await until(lambda: stranger.counters.dials_failed >= 1)
                assert stranger.peers == frozenset()
        assert len(alice.peers) == 1
        assert any(where == "handshake" for where, _ in alice.counters.refused)


# Leaving.


async def test_a_node_leaves_quickly_although_its_peers_hang() -> None:
    """A peer in the middle of its handshake, one that never reads, one in a request."""
    asked = trio.Event()

    async def hang(stream: RequestStream) -> None:
        asked.set()
        await trio.sleep_forever()

    async def half_open(node: Network) -> None:
        async with raw_tcp(node):
            await trio.sleep_forever()

    async def never_read(node: Network) -> None:
        secured = await handshake(node)
        try:
            await trio.sleep_forever()
        finally:
            secured.tcp.abort()

    async def request(node: Network) -> None:
        async with attach(node, 667) as muxer:
            await open_stream(muxer, "/kaisar/test/1/hang")
            await trio.sleep_forever()

    async with open_nodes(1) as (alice,), trio.open_nursery() as nursery:
        async with open_network(settings(3, alice.addresses)) as node:
            node.serve("hang", hang)
            for behaviour in (half_open, never_read, request):
                nursery.start_soon(behaviour, node)
            with trio.fail_after(5):
                await node.wait_for_peers(3)
                await asked.wait()
            leaving = trio.current_time()
        assert trio.current_time() - leaving < 2.5
        nursery.cancel_scope.cancel()


async def test_the_last_message_before_leaving_arrives() -> None:
    async with open_nodes(1) as (alice,):
        inbox = alice.subscribe("announce", lambda data, sender: ACCEPT)
        for attempt in range(3):
            async with open_network(settings(2 + attempt, alice.addresses)) as node:
                with trio.fail_after(5):
                    await node.wait_for_peers(1, topic="announce")
                    await node.publish("announce", b"bye %d" % attempt)
            with trio.fail_after(5):
                assert (await inbox.receive()).data == b"bye %d" % attempt


async def test_an_address_that_is_taken_is_named() -> None:
    async with open_network(settings(1)) as node:
        port = parse_address(node.addresses[0])[0].port
        with pytest.raises(LocalError, match=f"listen: cannot bind /ip4/127.0.0.1/tcp/{port}"):
            async with open_network(settings(2, listen=(f"/ip4/127.0.0.1/tcp/{port}",))):
                pytest.fail("the address was bound twice")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("bootstrap", ["/ip4/127.0.0.1/tcp/1"]),
        ("bootstrap", ["nonsense"]),
        ("listen", ("nonsense",)),
        ("announce", ("nonsense",)),
    ],
)
async def test_a_setting_that_cannot_be_meant_is_named(setting: str, value: list[str]) -> None:
    with pytest.raises(LocalError, match=f"^{setting}: "):
        async with open_network(settings(1, **{setting: value})):
            pytest.fail("the setting was accepted")


@pytest.mark.parametrize(
    ("setting", "value"),
    [("seed", b"short"), ("network_key", b"short"), ("network", "a/b"), ("version", "")],
)
def test_a_value_of_the_wrong_shape_is_named(setting: str, value: object) -> None:
    with pytest.raises(LocalError, match=f"^{setting}: "):
        settings(1, **{setting: value})


def test_secrets_are_not_shown() -> None:
    text = repr(settings(1, network_key=bytes(range(32))))
    assert "seed" not in text
    assert "network_key" not in text


async def test_what_is_announced_replaces_what_is_bound() -> None:
    announced = "/dns4/node.example/tcp/4001"
    async with open_network(settings(1, announce=(announced,))) as node:
        assert node.addresses == (f"{announced}/p2p/{node.peer_id}",)
