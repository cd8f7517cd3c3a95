"""The gossip state machine, without network and clock."""

from random import Random

import pytest

from p2p_node.net.mesh import (
    BACKOFF,
    DEGREE,
    DEGREE_HIGH,
    DEGREE_LAZY,
    DEGREE_LOW,
    DEGREE_OUTBOUND,
    FANOUT_FOR,
    UNSUBSCRIBE_BACKOFF,
    Controls,
    Mesh,
)
from p2p_node.net.message_cache import MessageCache, message_id
from p2p_node.net.settings import NetworkLimits, NetworkTimes
from protocols.types import NodeKey

TOPIC = "/kaisar/test/1/announce"
LIMITS = NetworkLimits()
TIMES = NetworkTimes()


def peer(number: int) -> NodeKey:
    return NodeKey(number.to_bytes(32, "big"))


def new_mesh(
    peers: int, *, outbound: int = 0, joined: bool = True, limits: NetworkLimits = LIMITS
) -> Mesh:
    """A mesh with peers 0 … `peers`-1 that follow TOPIC, the first `outbound` of them dialled."""
    mesh = Mesh(limits, TIMES, Random(1337))
    for number in range(peers):
        mesh.add_peer(peer(number), outbound=number < outbound)
        mesh.peer_ready(peer(number), 0.0)
        mesh.peer_follows(peer(number), TOPIC, 0.0)
    if joined:
        mesh.join(TOPIC, 0.0)
    return mesh


def grafted(controls: Controls) -> set[NodeKey]:
    return {key for key, control in controls.items() if TOPIC in control.graft}


def pruned(controls: Controls) -> dict[NodeKey, float]:
    return {key: control.prune[0][1] for key, control in controls.items() if control.prune}


def test_joining_grafts_the_wanted_number_of_peers() -> None:
    mesh = new_mesh(20, joined=False)
    controls = mesh.join(TOPIC, 0.0)
    assert len(grafted(controls)) == DEGREE
    assert grafted(controls) == mesh.mesh_peers(TOPIC)
    assert mesh.join(TOPIC, 0.0) == {}


def test_a_thin_mesh_takes_a_new_subscriber_at_once() -> None:
    mesh = new_mesh(0)
    for number in range(DEGREE_LOW + 2):
        mesh.add_peer(peer(number), outbound=False)
        mesh.peer_ready(peer(number), 0.0)
        expected = {peer(number)} if number < DEGREE_LOW else set()
        assert grafted(mesh.peer_follows(peer(number), TOPIC, 0.0)) == expected


def test_a_subscription_that_arrives_before_the_stream_is_kept() -> None:
    mesh = new_mesh(0)
    mesh.add_peer(peer(1), outbound=False)
    assert mesh.peer_follows(peer(1), TOPIC, 0.0) == {}
    assert mesh.subscribers(TOPIC) == frozenset()
    assert grafted(mesh.peer_ready(peer(1), 0.0)) == {peer(1)}
    assert mesh.subscribers(TOPIC) == {peer(1)}


def test_a_graft_is_accepted_up_to_the_high_mark() -> None:
    mesh = new_mesh(0)
    for number in range(DEGREE_HIGH + 3):
        mesh.add_peer(peer(number), outbound=False)
        mesh.peer_ready(peer(number), 0.0)
    refused = 0
    for number in range(DEGREE_HIGH + 3):
        answer, broke_backoff = mesh.grafted(peer(number), TOPIC, 0.0)
        refused += bool(pruned(answer))
        assert not broke_backoff
    assert refused == 3
    assert len(mesh.mesh_peers(TOPIC)) == DEGREE_HIGH


def test_a_peer_we_dialled_is_accepted_above_the_high_mark() -> None:
    mesh = new_mesh(DEGREE_HIGH + 1, outbound=1)
    for number in range(1, DEGREE_HIGH + 1):
        mesh.grafted(peer(number), TOPIC, 0.0)
    mesh.pruned(peer(0), TOPIC, 0.0, -100.0)
    answer, _ = mesh.grafted(peer(0), TOPIC, 0.0)
    assert not pruned(answer)
    assert peer(0) in mesh.mesh_peers(TOPIC)


def test_a_graft_for_a_topic_we_do_not_follow_is_pruned_without_backoff() -> None:
    mesh = new_mesh(1, joined=False)
    answer, broke_backoff = mesh.grafted(peer(0), TOPIC, 0.0)
    assert (pruned(answer), broke_backoff) == ({peer(0): 0.0}, False)


def test_the_heartbeat_fills_a_thin_mesh_and_thins_a_full_one() -> None:
    mesh = new_mesh(30, outbound=3)
    for number in range(30):
        mesh.grafted(peer(number), TOPIC, 0.0)
    before = mesh.mesh_peers(TOPIC)
    assert len(before) >= DEGREE_HIGH
    for number in range(30):
        if number >= 3 and peer(number) not in before:
            mesh._mesh[TOPIC].add(peer(number))
    controls = mesh.heartbeat(1.0)
    after = mesh.mesh_peers(TOPIC)
    assert len(after) == DEGREE
    assert set(pruned(controls).values()) == {BACKOFF}
    assert sum(peer(number) in after for number in range(3)) >= DEGREE_OUTBOUND

    for key in after:
        mesh.remove_peer(key)
    assert not mesh.mesh_peers(TOPIC)
    # All others are in backoff until it has passed.
    mesh.heartbeat(1.0 + BACKOFF)
    assert DEGREE <= len(mesh.mesh_peers(TOPIC)) <= DEGREE + DEGREE_OUTBOUND


def test_part_of_the_mesh_is_kept_on_connections_we_dialled() -> None:
    mesh = new_mesh(0)
    for number in range(8):
        mesh.add_peer(peer(number), outbound=False)
        mesh.peer_ready(peer(number), 0.0)
        mesh.grafted(peer(number), TOPIC, 0.0)
    for number in range(8, 12):
        mesh.add_peer(peer(number), outbound=True)
        mesh.peer_ready(peer(number), 0.0)
        mesh.peer_follows(peer(number), TOPIC, 0.0)
    controls = mesh.heartbeat(1.0)
    assert len(grafted(controls)) == DEGREE_OUTBOUND
    assert grafted(controls) <= {peer(number) for number in range(8, 12)}


def test_a_backoff_binds_both_sides() -> None:
    mesh = new_mesh(1)
    mesh.pruned(peer(0), TOPIC, 20.0, 0.0)
    assert mesh.heartbeat(1.0) == {}
    answer, broke_backoff = mesh.grafted(peer(0), TOPIC, 2.0)
    assert broke_backoff
    assert pruned(answer) == {peer(0): BACKOFF}
    assert grafted(mesh.heartbeat(2.0 + BACKOFF)) == {peer(0)}


def test_a_claimed_backoff_of_years_is_not_believed() -> None:
    mesh = new_mesh(1)
    mesh.pruned(peer(0), TOPIC, 1e9, 0.0)
    assert grafted(mesh.heartbeat(2 * BACKOFF)) == {peer(0)}


def test_prunes_for_topics_we_do_not_follow_leave_no_trace() -> None:
    mesh = new_mesh(1)
    for number in range(1000):
        mesh.pruned(peer(0), f"/made/up/{number}", 60.0, 0.0)
    assert not mesh._backoff


def test_leaving_prunes_the_mesh() -> None:
    mesh = new_mesh(3)
    controls = mesh.leave(TOPIC, 0.0)
    assert pruned(controls) == {peer(number): UNSUBSCRIBE_BACKOFF for number in range(3)}
    assert mesh.receivers(TOPIC, peer(9)) == []
    assert mesh.leave(TOPIC, 0.0) == {}


def test_a_message_goes_to_the_mesh_but_not_back() -> None:
    mesh = new_mesh(4)
    assert set(mesh.receivers(TOPIC, peer(0))) == {peer(1), peer(2), peer(3)}


def test_an_own_message_goes_to_every_follower_up_to_a_bound() -> None:
    mesh = new_mesh(15)
    assert len(mesh.receivers_of_own(TOPIC, 0.0)) == 15
    mesh = new_mesh(100)
    assert len(mesh.receivers_of_own(TOPIC, 0.0)) == 2 * DEGREE_HIGH
    assert mesh.receivers_of_own(TOPIC, 0.0) >= mesh.mesh_peers(TOPIC)


def test_publishing_without_following_keeps_the_same_peers_for_a_while() -> None:
    mesh = new_mesh(100, joined=False)
    first = mesh._fanout
    mesh.receivers_of_own(TOPIC, 0.0)
    kept = set(first[TOPIC].peers)
    assert len(kept) == DEGREE
    mesh.receivers_of_own(TOPIC, 1.0)
    assert first[TOPIC].peers == kept
    mesh.heartbeat(2.0 + FANOUT_FOR)
    assert TOPIC not in mesh._fanout


def test_a_peer_that_leaves_is_in_nothing() -> None:
    mesh = new_mesh(3)
    mesh.remove_peer(peer(0))
    assert peer(0) not in mesh.mesh_peers(TOPIC) | mesh.subscribers(TOPIC)
    mesh.peer_not_ready(peer(1))
    assert peer(1) not in mesh.mesh_peers(TOPIC) | mesh.subscribers(TOPIC)
    mesh.peer_unfollows(peer(2), TOPIC)
    assert peer(2) not in mesh.mesh_peers(TOPIC) | mesh.subscribers(TOPIC)
    assert not mesh.in_any_mesh(peer(2))


def test_subscriptions_of_one_peer_are_bounded() -> None:
    mesh = new_mesh(1, limits=NetworkLimits(max_topics_per_peer=3))
    for number in range(10):
        mesh.peer_follows(peer(0), f"/kaisar/test/1/{number}", 0.0)
    followed = [n for n in range(10) if mesh.subscribers(f"/kaisar/test/1/{n}")]
    assert len(followed) == 2


# Catching up: offers and requests.


def keep(mesh: Mesh, data: bytes, now: float = 0.0) -> bytes:
    name = message_id(TOPIC, data)
    mesh.cache.see(name, now)
    mesh.cache.keep(name, TOPIC, b"frame of " + data, now)
    return name


def test_recent_messages_are_offered_to_peers_outside_the_mesh() -> None:
    mesh = new_mesh(40)
    name = keep(mesh, b"news")
    controls = mesh.heartbeat(1.0)
    offered = {key for key, control in controls.items() if control.ihave == [(TOPIC, [name])]}
    assert len(offered) == max(DEGREE_LAZY, (40 - DEGREE) // 4)
    assert not offered & mesh.mesh_peers(TOPIC)
    assert mesh.heartbeat(5.0) == {}


def test_a_new_mesh_peer_is_offered_everything_kept() -> None:
    mesh = new_mesh(0)
    name = keep(mesh, b"news")
    mesh.add_peer(peer(0), outbound=False)
    mesh.peer_ready(peer(0), 8.0)
    controls = mesh.peer_follows(peer(0), TOPIC, 8.0)
    assert controls[peer(0)].ihave == [(TOPIC, [name])]
    mesh.add_peer(peer(1), outbound=False)
    mesh.peer_ready(peer(1), 8.0)
    answer, _ = mesh.grafted(peer(1), TOPIC, 8.0)
    assert answer[peer(1)].ihave == [(TOPIC, [name])]


def test_an_unknown_message_is_asked_for_once_in_a_while_of_one_peer() -> None:
    mesh = new_mesh(2)
    known = keep(mesh, b"known")
    unknown = message_id(TOPIC, b"unknown")
    asked, too_much = mesh.offered(peer(0), TOPIC, [known, unknown], 0.0)
    assert (asked[peer(0)].iwant, too_much) == ([unknown], False)
    assert mesh.offered(peer(1), TOPIC, [unknown], 1.0) == ({}, False)
    assert mesh.offered(peer(1), TOPIC, [unknown], 4.0)[0][peer(1)].iwant == [unknown]
    assert mesh.offered(peer(1), "/other", [unknown], 8.0) == ({}, False)


def test_a_flood_of_offers_is_ignored_and_then_blamed() -> None:
    mesh = new_mesh(1)
    asked = 0
    blamed = False
    for number in range(200):
        names = [message_id(TOPIC, b"%d/%d" % (number, i)) for i in range(100)]
        controls, too_much = mesh.offered(peer(0), TOPIC, names, 0.0)
        asked += sum(len(control.iwant) for control in controls.values())
        blamed |= too_much
    assert asked == 1000
    assert blamed
    assert len(mesh._asked) == 1000


def test_a_message_is_served_a_few_times_to_each_peer() -> None:
    mesh = new_mesh(2)
    name = keep(mesh, b"news")
    served = [mesh.requested(peer(0), [name])[0] for _ in range(5)]
    assert served == [[b"frame of news"]] * 3 + [[]] * 2
    assert mesh.requested(peer(1), [name, b"unknown"]) == ([b"frame of news"], False)


def test_a_flood_of_requests_is_cut_and_then_blamed() -> None:
    mesh = new_mesh(1)
    assert mesh.requested(peer(0), [b"unknown"] * 2000) == ([], False)
    outcomes = [mesh.requested(peer(0), [b"unknown"] * 2000)[1] for _ in range(5)]
    assert outcomes == [False] * 4 + [True]


# The cache.


def test_a_message_is_named_by_topic_and_content() -> None:
    assert message_id("/a", b"x") != message_id("/b", b"x") != message_id("/b", b"y")
    assert message_id("/a", b"\0x") != message_id("/a\0", b"x")


def test_seen_messages_are_bounded_in_number_and_time() -> None:
    cache = MessageCache(NetworkLimits(seen_messages=10), TIMES)
    names = [b"%d" % number for number in range(15)]
    assert all(cache.see(name, 0.0) for name in names)
    assert cache.seen_count == 10
    assert not cache.see(names[14], 0.0)
    cache.expire(TIMES.seen)
    assert cache.seen_count == 0


def test_kept_messages_are_bounded_in_number_bytes_and_time() -> None:
    cache = MessageCache(NetworkLimits(cached_messages=10, cached_bytes=55), TIMES)
    for number in range(8):
        cache.keep(b"%d" % number, TOPIC, bytes(10), float(number))
    assert cache.recent(TOPIC, 0.0) == [b"3", b"4", b"5", b"6", b"7"]
    assert cache.recent(TOPIC, 6.0) == [b"6", b"7"]
    assert cache.recent("/other", 0.0) == []
    cache.expire(5.0 + TIMES.cached)
    assert cache.recent(TOPIC, 0.0) == [b"6", b"7"]
    for number in range(20):
        cache.keep(b"s%d" % number, TOPIC, b"", 20.0)
    assert len(cache) == 10


# Many nodes together.


@pytest.mark.parametrize(("nodes", "silent"), [(12, 0), (60, 0), (60, 12)])
def test_a_message_reaches_every_honest_node(nodes: int, silent: int) -> None:
    """Random connections; the silent nodes take part in meshes and pass nothing on."""
    random = Random(7)
    meshes = [Mesh(LIMITS, TIMES, Random(number)) for number in range(nodes)]
    for one in range(nodes):
        for other in random.sample([n for n in range(nodes) if n != one], min(8, nodes - 1)):
            for a, b, outbound in ((one, other, True), (other, one, False)):
                meshes[a].add_peer(peer(b), outbound=outbound)
                meshes[a].peer_ready(peer(b), 0.0)
                meshes[a].peer_follows(peer(b), TOPIC, 0.0)

    def deliver(sender: int, controls: Controls, now: float) -> None:
        for key, control in controls.items():
            receiver = int.from_bytes(key, "big")
            for topic in control.graft:
                deliver(receiver, meshes[receiver].grafted(peer(sender), topic, now)[0], now)
            for topic, backoff in control.prune:
                meshes[receiver].pruned(peer(sender), topic, backoff, now)

    for number, mesh in enumerate(meshes):
        deliver(number, mesh.join(TOPIC, 0.0), 0.0)
    for beat in range(1, 5):
        for number, mesh in enumerate(meshes):
            deliver(number, mesh.heartbeat(float(beat)), float(beat))

    degrees = [len(mesh.mesh_peers(TOPIC)) for mesh in meshes]
    assert min(degrees) >= DEGREE_LOW
    assert max(degrees) <= DEGREE_HIGH + 8
    honest = range(silent, nodes)
    reached = {nodes - 1}
    pending = [(nodes - 1, meshes[-1].receivers_of_own(TOPIC, 5.0))]
    while pending:
        sender, receivers = pending.pop()
        for key in receivers:
            receiver = int.from_bytes(key, "big")
            if receiver not in reached:
                reached.add(receiver)
                if receiver >= silent:
                    pending.append((receiver, meshes[receiver].receivers(TOPIC, peer(sender))))
    assert set(honest) <= reached
