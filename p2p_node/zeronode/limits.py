"""How much of a service anybody gets: sessions by key, account and network, requests by minute.

All of it is in memory and bounded. The numbers are published (`publish_limits`), and a refusal
carries the one that was reached.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Final

from p2p_node.zeronode.refusals import TooMany
from protocols.errors import LocalError
from protocols.types import NodeKey, Wallet
from protocols.zeronode_rules import ZeroNodeLimits

MAX_SUBJECTS: Final = 50_000
"""Subjects that are remembered; whoever was quiet for longest is forgotten first."""

RETRY_MS: Final = 60_000
"""When a session that found no place should ask again."""

_MINUTE: Final = 60_000
_HOUR: Final = 60 * _MINUTE


class Idle(StrEnum):
    """Why an open session earns nothing; shown in the popup."""

    NO = ""
    NOT_SIGNED_IN = "this browser is not signed in"
    ANOTHER_EARNS = "another browser of this account earns"


@dataclass(frozen=True)
class Party:
    """Whose session it is. `wallet` is None before the sign-in, `asn` where it is not known."""

    key: NodeKey
    wallet: Wallet | None
    exact: bytes
    near: bytes
    asn: int | None = None


@dataclass(frozen=True)
class Entered:
    """What a new session is, and what others become because of it.

    `replaced` sessions have the same key and are closed; `demoted` ones have the same account, stay
    open, and earn nothing from now on; `promoted` ones earn again, because the replaced one, whose
    key no longer belongs to their account, did.
    """

    earning: bool
    reason: Idle
    replaced: tuple[bytes, ...] = ()
    demoted: tuple[bytes, ...] = ()
    promoted: tuple[bytes, ...] = ()


class SessionPlaces:
    """The open sessions of a service, and which of them earn: the newest of each account."""

    def __init__(self, limits: ZeroNodeLimits) -> None:
        self._limits = limits
        self._parties: dict[bytes, Party] = {}
        self._groups: dict[tuple[str, object], dict[bytes, None]] = {}
        self._earning: dict[Wallet, bytes] = {}

    def __len__(self) -> int:
        return len(self._parties)

    def enter(self, sid: bytes, party: Party) -> Entered:
        """Give a session a place; TooMany, and nothing changed, where there is none."""
        if sid in self._parties:
            raise LocalError("a session has its place already")
        replaced = tuple(self._groups.get(("key", party.key), ()))
        self._require_room(party, replaced)
        promoted = {each for other in replaced for each in self.leave(other)}
        self._parties[sid] = party
        for group, _, _ in self._places(party):
            self._groups.setdefault(group, {})[sid] = None
        if party.wallet is None:
            return Entered(False, Idle.NOT_SIGNED_IN, replaced, promoted=tuple(promoted))
        earned = self._earning.get(party.wallet)
        self._earning[party.wallet] = sid
        demoted = () if earned is None or earned in promoted else (earned,)
        return Entered(True, Idle.NO, replaced, demoted, tuple(promoted - {earned}))

    def leave(self, sid: bytes) -> tuple[bytes, ...]:
        """Free a session's place; return the sessions that earn again because of it.

        One that has no place (it was replaced) is nothing to free.
        """
        party = self._parties.get(sid)
        if party is None:
            return ()
        self._remove(sid)
        wallet = party.wallet
        if wallet is None or self._earning.get(wallet) != sid:
            return ()
        del self._earning[wallet]
        others = self._groups.get(("account", wallet))
        if not others:
            return ()
        newest = next(reversed(others))
        self._earning[wallet] = newest
        return (newest,)

    def is_earning(self, sid: bytes) -> bool:
        """Return whether a session is the one of its account that earns."""
        party = self._parties.get(sid)
        if party is None or party.wallet is None:
            return False
        return self._earning.get(party.wallet) == sid

    def _places(self, party: Party) -> list[tuple[tuple[str, object], int, str]]:
        """Return the groups that a session belongs to, what each may hold, and its name."""
        limits = self._limits
        places: list[tuple[tuple[str, object], int, str]] = [
            (("all", None), limits.sessions, "the service has as many sessions as it takes"),
            (
                ("address", party.exact),
                limits.sessions_per_address,
                "this network address has as many sessions as it may have",
            ),
            (
                ("subnet", party.near),
                limits.sessions_per_subnet,
                "this part of the network has as many sessions as it may have",
            ),
            # A new session of a key takes the place of the one before it, so there is always room.
            (("key", party.key), limits.sessions_per_key + 1, "this key has a session"),
        ]
        if party.asn is not None:
            places.append(
                (
                    ("network", party.asn),
                    limits.sessions_per_network,
                    "this network has as many sessions as it may have",
                )
            )
        if party.wallet is not None:
            places.append(
                (
                    ("account", party.wallet),
                    limits.sessions_per_account,
                    "this account has as many sessions as it may have",
                )
            )
        return places

    def _require_room(self, party: Party, replaced: tuple[bytes, ...]) -> None:
        for group, most, reason in self._places(party):
            members = self._groups.get(group, {})
            if len(members) - sum(other in members for other in replaced) >= most:
                raise TooMany(reason, most, RETRY_MS)

    def _remove(self, sid: bytes) -> None:
        for group, _, _ in self._places(self._parties.pop(sid)):
            members = self._groups[group]
            del members[sid]
            if not members:
                del self._groups[group]


@dataclass(frozen=True)
class Rate:
    """At most `count` at once, and one more each `period_ms / count` after that."""

    count: int
    period_ms: int


class Rates:
    """How often subjects do what is limited by time; a subject is any short run of bytes."""

    def __init__(self, rates: Mapping[str, Rate], most: int = MAX_SUBJECTS) -> None:
        self._rates = rates
        self._most = most
        # When, in thousandths of milliseconds, a subject will have its whole allowance again.
        self._full_at: OrderedDict[tuple[str, bytes], int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, kind: str, subject: bytes, now_ms: int) -> None:
        """Count one; TooMany, which says when there is another, if the allowance is used up."""
        rate, place, now = self._rates[kind], (kind, subject), now_ms * 1000
        step = rate.period_ms * 1000 // rate.count
        full_at = max(self._full_at.get(place, 0), now) + step
        # A clock that was set back must not lock anybody out for longer than a period.
        if now + step * rate.count < full_at <= now + 2 * step * rate.count:
            wait = -(-(full_at - now - step * rate.count) // 1000)
            raise TooMany("too often", rate.count, wait, f"{rate.count} in {rate.period_ms} ms")
        if full_at > now + 2 * step * rate.count:
            full_at = now + step
        self._full_at[place] = full_at
        self._full_at.move_to_end(place)
        while len(self._full_at) > self._most:
            self._full_at.popitem(last=False)


def make_rates(limits: ZeroNodeLimits) -> dict[str, Rate]:
    """Return what a service limits by time.

    `request` and `session` (connections) count by network address, `sign-in` too; `code` counts
    words tried for missions by account.
    """
    requests = limits.requests_per_minute
    return {
        "request": Rate(requests, _MINUTE),
        "session": Rate(max(6 * limits.sessions_per_address, 1), _MINUTE),
        "sign-in": Rate(max(requests // 6, 1), _MINUTE),
        "code": Rate(10, _HOUR),
    }


def publish_limits(limits: ZeroNodeLimits) -> dict[str, object]:
    """Return all limits as they are shown to everybody."""
    rates = {
        name: {"count": rate.count, "period_ms": rate.period_ms}
        for name, rate in make_rates(limits).items()
    }
    return {**asdict(limits), "rates": rates}
