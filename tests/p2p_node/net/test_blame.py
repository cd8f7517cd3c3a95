"""Points, bans and rates, with the clock as an argument."""

import pytest

from p2p_node.net.addresses import Endpoint, visible_from
from p2p_node.net.blame import MALFORMED_FRAME, REJECTED_MESSAGE, Blame, TokenBucket
from protocols.types import NodeKey

ALICE = NodeKey(b"a" * 32)
BOB = NodeKey(b"b" * 32)


def test_enough_points_at_once_ban_a_peer_and_nobody_else() -> None:
    blame = Blame(300)
    outcomes = [blame.add(ALICE, MALFORMED_FRAME, 0.0) for _ in range(4)]
    assert outcomes == [False, False, False, True]
    assert blame.is_banned(ALICE, 299.0)
    assert not blame.is_banned(BOB, 0.0)
    assert not blame.is_banned(ALICE, 300.0)
    assert not blame.add(ALICE, REJECTED_MESSAGE, 301.0)


def test_rare_accidents_leak_away() -> None:
    blame = Blame(300)
    assert not any(blame.add(ALICE, REJECTED_MESSAGE, 10.0 * number) for number in range(1000))


def test_the_number_of_peers_remembered_is_bounded() -> None:
    blame = Blame(300)
    for number in range(10_000):
        key = NodeKey(number.to_bytes(32, "big"))
        blame.add(key, REJECTED_MESSAGE, 0.0)
        blame.add(key, 1000.0, 0.0)
        blame.add(key, REJECTED_MESSAGE, 0.0)
    assert len(blame._points) == len(blame._banned) == 4096


def test_a_bucket_allows_the_burst_and_then_the_rate() -> None:
    bucket = TokenBucket(10.0, 5.0, 0.0)
    assert bucket.take(5, 0.0) == 0.0
    assert bucket.take(1, 0.0) == pytest.approx(0.1)
    assert bucket.take(1, 0.2) == 0.0
    assert bucket.take(0, 100.0) == 0.0
    assert bucket.take(7, 100.0) == pytest.approx(0.2)


def test_a_bucket_can_refuse_instead_of_lending() -> None:
    bucket = TokenBucket(1.0, 2.0, 0.0)
    assert [bucket.take_if_there(0.0) for _ in range(3)] == [True, True, False]
    assert not bucket.take_if_there(0.9)
    assert bucket.take_if_there(1.0)


def test_loopback_addresses_are_told_on_this_host_only() -> None:
    near, far = Endpoint("ip4", "127.0.0.1", 1), Endpoint("ip4", "192.0.2.1", 1)
    near6, named = Endpoint("ip6", "::1", 1), Endpoint("dns4", "node.example", 1)
    everything = [near, far, near6, named]
    assert visible_from("127.0.0.1", everything) == everything
    assert visible_from("::1", everything) == everything
    assert visible_from("198.51.100.7", everything) == [far, named]
