"""Who earns when sessions come and go."""

from p2p_node.zeronode.limits import Party, SessionPlaces
from p2p_node.zeronode.sessions import (
    ANOTHER_EARNS,
    MAX_TRAILS,
    NO_SESSION,
    REPLACED,
    TWO_COPIES,
    OpenSession,
    SessionBook,
)
from protocols.types import NodeKey, TimeMs, Wallet
from protocols.zeronode_rules import MAINNET_RULES
from protocols.zeronode_session import Session
from tests.protocols.zeronode_world import NETWORK, START, nonce, public, wallet_of

ALICE = wallet_of("alice")


class World:
    """A book, and a new session id for each session."""

    def __init__(self) -> None:
        self.book = SessionBook(SessionPlaces(MAINNET_RULES.limits))
        self._count = 0

    def enter(self, key: str, wallet: Wallet | None = ALICE) -> OpenSession:
        """Let somebody say hello."""
        self._count += 1
        place = self._count.to_bytes(32, "big")
        machine = Session(
            NETWORK, public("service"), place[16:], public(key), bytes(16), MAINNET_RULES
        )
        session = OpenSession(machine, Party(public(key), wallet, place, place))
        self.book.enter(session)
        return session


def test_the_newest_session_of_an_account_earns() -> None:
    world = World()
    first = world.enter("first")
    second = world.enter("second")
    assert (first.is_earning, first.reason) == (False, ANOTHER_EARNS)
    assert second.is_earning
    world.book.leave(second)
    assert (first.is_earning, first.reason) == (True, "")
    assert world.book.describe(ALICE) == (True, "")
    world.book.leave(first)
    assert world.book.describe(ALICE) == (False, NO_SESSION)
    assert len(world.book) == 0


def test_a_second_session_of_a_key_closes_the_first() -> None:
    world = World()
    first = world.enter("key")
    second = world.enter("key")
    assert second.is_earning
    assert first.farewell is not None
    assert (first.farewell.reason, first.is_earning) == (REPLACED, False)
    # It leaves later, and takes nobody's place with it.
    world.book.leave(first)
    assert second.is_earning
    assert len(world.book) == 1


def test_who_idled_earns_when_the_replaced_session_was_the_one_that_earned() -> None:
    """The key was revoked, and says hello again before its session was told."""
    world = World()
    idle = world.enter("other key")
    earning = world.enter("key")
    assert not idle.is_earning
    unbound = world.enter("key", wallet=None)
    assert not unbound.is_earning
    assert not earning.is_earning
    assert (idle.is_earning, idle.reason) == (True, "")


def test_a_change_of_who_earns_breaks_the_chain() -> None:
    world = World()
    first = world.enter("first")
    _beat(first, START)
    assert _has_chain(first)
    second = world.enter("second")
    assert not _has_chain(first)
    _beat(first, START + 15_000)
    world.book.leave(second)
    assert not _has_chain(first)


def _beat(session: OpenSession, now: int) -> None:
    session.machine._last_beat_ms = TimeMs(now)


def _has_chain(session: OpenSession) -> bool:
    return session.machine._last_beat_ms is not None


def test_copies_are_told() -> None:
    world = World()
    key = public("key")
    boots = [nonce(number)[:16] for number in (1, 2, 1)]
    assert [world.book.follow_boot(key, boot) for boot in boots] == [False, False, True]
    session = world.enter("key")
    session.is_copied = True
    assert world.book.describe(ALICE) == (True, TWO_COPIES)


def test_keys_are_forgotten_one_after_another() -> None:
    world = World()
    boot, other = nonce(1)[:16], nonce(2)[:16]
    first = NodeKey(bytes(32))
    world.book.follow_boot(first, boot)
    world.book.follow_boot(first, other)
    for number in range(MAX_TRAILS):
        world.book.follow_boot(NodeKey(number.to_bytes(32, "big")), boot)
    assert not world.book.follow_boot(NodeKey(b"x" * 32), boot)
    assert len(world.book._trails) == MAX_TRAILS
