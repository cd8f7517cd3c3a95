"""The sessions that are open, and which of them earn: at most one per key and account."""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

import trio

from p2p_node.zeronode.limits import Party, SessionPlaces
from protocols.types import NodeKey, Wallet
from protocols.zeronode_frames import Bye
from protocols.zeronode_session import BootTrail, Session

MAX_TRAILS: Final = 20_000
"""Keys whose boots are remembered; the one seen longest ago gives way."""

REPLACED: Final = "replaced"
NO_SESSION: Final = "not connected"
ANOTHER_EARNS: Final = "another session of this account earns"
TWO_COPIES: Final = "two copies"

REPLACED_RETRY_MS: Final = 60_000
"""A copy that comes straight back would take its turn with the other one for ever; as slow as this
the two cost nothing, and never earn more than one."""


@dataclass(eq=False, slots=True)
class OpenSession:
    """A session, and what others have to say to the task that holds it.

    `wallet` is empty while the key belongs to no account. `is_earning` may change at any time.
    """

    machine: Session
    party: Party
    is_earning: bool = False
    reason: str = ""
    """Why it does not earn."""
    is_copied: bool = False
    """Whether its key's boots alternate: two copies of one profile are at work."""
    farewell: Bye | None = None
    """What the session is to end with, as soon as its task looks."""
    is_stale: bool = False
    """Whether the key may have been bound or revoked since it was looked up."""
    waiting: trio.CancelScope | None = field(default=None, repr=False)
    """Cancelled to have the session's task look at all of the above."""

    @property
    def sid(self) -> bytes:
        """Its id."""
        return self.machine.sid

    @property
    def key(self) -> NodeKey:
        """The extension's key."""
        return self.machine.key

    @property
    def wallet(self) -> Wallet | None:
        """Whom it earns for."""
        return self.party.wallet

    def wake(self) -> None:
        """Have the session's task look at what was said to it."""
        if self.waiting is not None:
            self.waiting.cancel()


class SessionBook:
    """All open sessions of one service."""

    def __init__(self, places: SessionPlaces) -> None:
        self._places = places
        self._open: dict[bytes, OpenSession] = {}
        self._trails: OrderedDict[NodeKey, BootTrail] = OrderedDict()
        self.refreshed = 0
        """How often some key was bound or revoked."""

    def __len__(self) -> int:
        return len(self._open)

    def follow_boot(self, key: NodeKey, boot: bytes) -> bool:
        """Note a hello; whether its boot came back after another one."""
        trail, is_copied = self._trails.pop(key, BootTrail()).extend(boot)
        self._trails[key] = trail
        if len(self._trails) > MAX_TRAILS:
            self._trails.popitem(last=False)
        return is_copied

    def enter(self, session: OpenSession) -> None:
        """Give a session its place. Raises TooMany; otherwise `leave` must follow."""
        entered = self._places.enter(session.sid, session.party)
        self._open[session.sid] = session
        session.is_earning, session.reason = entered.earning, entered.reason
        for sid in entered.replaced:
            self._end(sid, Bye(reason=REPLACED, retry_ms=REPLACED_RETRY_MS))
        for sid in entered.demoted:
            self._set_earning(sid, is_earning=False, reason=ANOTHER_EARNS)
        for sid in entered.promoted:
            self._set_earning(sid, is_earning=True)

    def leave(self, session: OpenSession) -> None:
        """Take a session's place back."""
        if self._open.pop(session.sid, None) is not None:
            for sid in self._places.leave(session.sid):
                self._set_earning(sid, is_earning=True)

    def refresh_key(self, key: NodeKey) -> None:
        """Have the sessions of a key look again whom they earn for."""
        self.refreshed += 1
        for session in self._open.values():
            if session.key == key:
                session.is_stale = True
                session.wake()

    def describe(self, wallet: Wallet) -> tuple[bool, str]:
        """Return whether an account earns here now, and why not, or what is odd about it."""
        found = [each for each in self._open.values() if each.wallet == wallet]
        earning = next((each for each in found if each.is_earning), None)
        if any(each.is_copied for each in found):
            return earning is not None, TWO_COPIES
        if earning is not None:
            return True, ""
        return False, found[0].reason if found else NO_SESSION

    def _end(self, sid: bytes, bye: Bye) -> None:
        session = self._open.pop(sid, None)
        if session is not None:
            session.is_earning, session.reason, session.farewell = False, bye.reason, bye
            session.wake()

    def _set_earning(self, sid: bytes, *, is_earning: bool, reason: str = "") -> None:
        session = self._open.get(sid)
        if session is not None:
            session.is_earning, session.reason = is_earning, reason
            # What it answered before was somebody else's time, or nobody's.
            session.machine.break_chain()
