"""A ZeroNode session as its service sees it: which beats count, and what they earn.

The service asks, the client answers. A beat earns the time since the beat before it, if the client
answered every challenge in between: in time, in order, once, with the right key. Whatever else
comes ends this chain, and the next beat begins a new one without earning anything. All times are
the service's; nothing that a client says about time is ever read.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from nacl.signing import SigningKey

from protocols.errors import ForgedError, RemoteError
from protocols.types import NetworkId, NodeKey, TimeMs
from protocols.uptime import Stretch
from protocols.zeronode_beats import sign_challenge, verify_beat
from protocols.zeronode_frames import Beat, Challenge
from protocols.zeronode_rules import ZeroNodeRules

BOOTS_REMEMBERED: Final = 8
"""Of one key. A copied profile comes back after one other boot already."""


class BeatFault(StrEnum):
    """Why a beat earns nothing."""

    WRONG_SESSION = "wrong session"
    """It names another session than the connection's."""
    REPLAYED = "replayed"
    """This challenge, or a later one, was answered before."""
    WRONG_SEQUENCE = "wrong sequence"
    """This challenge was never sent."""
    LATE = "late"
    """Its time is over, or a later challenge has been sent."""
    FORGED = "forged"
    """It is not signed by the session's key, or not over this challenge."""


class BeatRefused(RemoteError):
    """A beat that earns nothing and ends the chain; `fault` says why."""

    def __init__(self, fault: BeatFault, detail: str = "") -> None:
        super().__init__(fault.value, detail)
        self.fault = fault


@dataclass(slots=True)
class Session:
    """One open session. Times must not come from a clock that people set: a service takes the time
    of day once and adds what a monotonic clock says."""

    network: NetworkId
    service: NodeKey
    sid: bytes
    """16 random bytes."""
    key: NodeKey
    """Whose hello opened it."""
    boot: bytes
    """As the hello said."""
    rules: ZeroNodeRules
    misses: int = field(default=0, init=False)
    """Challenges unanswered and beats refused since the last good beat."""
    _seq: int = field(default=0, init=False)
    _nonce: bytes = field(default=b"", init=False)
    _sent_ms: TimeMs = field(default=TimeMs(0), init=False)
    _pending: bool = field(default=False, init=False)
    _answered: int = field(default=0, init=False)
    _last_beat_ms: TimeMs | None = field(default=None, init=False)

    @property
    def deadline(self) -> TimeMs | None:
        """Until when the newest challenge can be answered; None when it has been, or is over."""
        return TimeMs(self._sent_ms + self.rules.answer_ms) if self._pending else None

    @property
    def is_over(self) -> bool:
        """Whether the client has missed so much that the service should hang up."""
        return self.misses >= self.rules.max_misses

    def challenge(self, service_key: SigningKey, nonce: bytes, now: TimeMs) -> Challenge:
        """Make the next challenge out of 32 fresh random bytes. One that is still open is missed.

        Call it just before sending: the client's time runs from here.
        """
        if self._pending:
            self._miss()
        self._seq += 1
        self._nonce, self._sent_ms, self._pending = nonce, now, True
        return Challenge(
            sid=self.sid,
            seq=self._seq,
            nonce=nonce,
            answer_ms=self.rules.answer_ms,
            sig=sign_challenge(service_key, self.network, self.sid, self._seq, nonce, self.key),
        )

    def expire(self, now: TimeMs) -> bool:
        """Tell whether the open challenge's time is over by now; it is missed then."""
        if not self._pending or self._is_in_time(now):
            return False
        self._miss()
        return True

    def on_beat(self, beat: Beat, now: TimeMs) -> Stretch | None:
        """Judge a beat that arrived `now`: the stretch that it earns, None for a chain's first.

        Raises BeatRefused; the chain ends then.
        """
        try:
            self._require_good(beat, now)
        except BeatRefused:
            self._miss_beat()
            raise
        began, self._last_beat_ms = self._last_beat_ms, now
        self._pending, self._answered, self.misses = False, beat.seq, 0
        if began is None:
            return None
        start = max(began, now - self.rules.max_credit_ms)
        # Not so where the clock went back, against the rule above.
        return Stretch(TimeMs(start), now) if start < now else None

    def break_chain(self) -> None:
        """Let the next beat begin anew: from then on the session earns for somebody, or no more."""
        self._last_beat_ms = None

    def _require_good(self, beat: Beat, now: TimeMs) -> None:
        # The cheap checks first.
        if beat.sid != self.sid:
            raise BeatRefused(BeatFault.WRONG_SESSION)
        if beat.seq > self._seq or beat.seq == 0:
            raise BeatRefused(BeatFault.WRONG_SEQUENCE, f"{beat.seq}, sent {self._seq}")
        if beat.seq <= self._answered:
            raise BeatRefused(BeatFault.REPLAYED, f"{beat.seq}, answered {self._answered}")
        if beat.seq < self._seq or not self._pending or not self._is_in_time(now):
            raise BeatRefused(BeatFault.LATE, f"{beat.seq}, {now - self._sent_ms} ms")
        try:
            verify_beat(
                self.network,
                self.service,
                self.sid,
                beat.seq,
                self._nonce,
                self.boot,
                self.key,
                beat.sig,
            )
        except ForgedError as error:
            raise BeatRefused(BeatFault.FORGED) from error

    def _is_in_time(self, now: TimeMs) -> bool:
        return now <= self._sent_ms + self.rules.answer_ms

    def _miss(self) -> None:
        self._pending = False
        self._miss_beat()

    def _miss_beat(self) -> None:
        self.misses += 1
        self._last_beat_ms = None


@dataclass(frozen=True, slots=True)
class BootTrail:
    """The boots with which one key said hello lately, newest last.

    A browser that starts again has a new boot, and never an old one after it. So a boot that comes
    back means that two copies of a profile are at work.
    """

    boots: tuple[bytes, ...] = ()

    def extend(self, boot: bytes) -> tuple["BootTrail", bool]:
        """Add the boot of a hello; whether it came back after another one."""
        if self.boots and self.boots[-1] == boot:
            return self, False
        others = tuple(each for each in self.boots if each != boot)
        trail = BootTrail((*others, boot)[-BOOTS_REMEMBERED:])
        return trail, len(others) < len(self.boots)
