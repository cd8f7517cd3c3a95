"""What travels with a ZeroNode account beside its balances, when it moves to another service.

Canonical JSON: no spaces, keys in order, each number in its one form, so that a departure's
signature covers one text. Times are milliseconds since the Unix epoch.

    {"claims":[["daily-run",20418,1764180000000]],"nft":["7",1764180000000],
     "referral":["0x<40 hex>",1764170000000,null,1764190000000,20418,1764190000000],
     "revoked":["<64 hex>"],"streak":[3,20418],"tasks":[["winter","post",1764180000000]],"v":1}

Keys do not travel: each agrees itself to be bound at a service, and a departure is only the word of
the one that was left.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from protocols.errors import MalformedError
from protocols.types import NodeKey, Wallet

MAX_FACTS_BYTES: Final = 16_384
"""Room for the most of everything."""

MAX_REVOKED: Final = 64
MAX_CLAIMS: Final = 96
"""Missions that were claimed once for all, in this week or today."""
MAX_TASKS: Final = 32
MAX_NAME: Final = 32
"""Characters of a mission's, a campaign's and a task's name."""
MAX_TIME: Final = (1 << 53) - 1
"""What every reader of JSON keeps exact; days and windows stay below it as well."""

_MAX_TOKEN: Final = (1 << 256) - 1
_HEX: Final = frozenset("0123456789abcdef")
_NAME: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


@dataclass(frozen=True, slots=True)
class NftLink:
    """The token that doubles the account's uptime, and since when it is linked."""

    token: int
    linked_ms: int


@dataclass(frozen=True, slots=True)
class InvitedBy:
    """Who invited the account, and what came of it; None for what has not come yet."""

    referrer: Wallet
    bound_ms: int
    shared_ms: int | None
    gate_ms: int | None
    granted_day: int | None
    share_from_ms: int | None


@dataclass(frozen=True, slots=True)
class Claim:
    """A mission that was claimed: for which window (0 for once and for all), and when."""

    mission: str
    window: int
    claimed_ms: int


@dataclass(frozen=True, slots=True)
class TaskClaim:
    """A campaign's task that was claimed."""

    campaign: str
    task: str
    claimed_ms: int


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """All of it; what there is none of is empty, 0 or None.

    `revoked` keys are no longer the account's, wherever they still are. The streak counts
    `streak_days` days in a row, the last of them `streak_last_day`.
    """

    revoked: tuple[NodeKey, ...] = ()
    streak_days: int = 0
    streak_last_day: int = 0
    nft: NftLink | None = None
    referral: InvitedBy | None = None
    claims: tuple[Claim, ...] = ()
    tasks: tuple[TaskClaim, ...] = ()

    def encode(self) -> bytes:
        """Return the canonical text."""
        nft, referral = self.nft, self.referral
        return _write(
            {
                "v": 1,
                "revoked": [key.hex() for key in self.revoked],
                "streak": [self.streak_days, self.streak_last_day],
                "nft": None if nft is None else [str(nft.token), nft.linked_ms],
                "referral": None
                if referral is None
                else [
                    "0x" + referral.referrer.hex(),
                    referral.bound_ms,
                    referral.shared_ms,
                    referral.gate_ms,
                    referral.granted_day,
                    referral.share_from_ms,
                ],
                "claims": [[each.mission, each.window, each.claimed_ms] for each in self.claims],
                "tasks": [[each.campaign, each.task, each.claimed_ms] for each in self.tasks],
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> "AccountFacts":
        """Read exactly such a text; MalformedError for any other."""
        if len(data) > MAX_FACTS_BYTES:
            raise MalformedError("facts too long", f"{len(data)} bytes")
        try:
            parsed = json.loads(data)
        except (ValueError, RecursionError):
            raise MalformedError("facts are no JSON") from None
        if not isinstance(parsed, dict) or _write(parsed) != data:
            raise MalformedError("facts are not canonical")
        if set(parsed) != _FIELDS or parsed["v"] != 1:
            raise MalformedError("facts of another form")
        streak_days, streak_last_day = _row(parsed["streak"], _time, _time)
        nft, referral = parsed["nft"], parsed["referral"]
        return cls(
            revoked=_rows(parsed["revoked"], MAX_REVOKED, _key),
            streak_days=streak_days,
            streak_last_day=streak_last_day,
            nft=None if nft is None else NftLink(*_row(nft, _token, _time)),
            referral=None
            if referral is None
            else InvitedBy(*_row(referral, _wallet, _time, *(_time_or_none,) * 4)),
            claims=_rows(
                parsed["claims"], MAX_CLAIMS, lambda row: Claim(*_row(row, _name, _time, _time))
            ),
            tasks=_rows(
                parsed["tasks"], MAX_TASKS, lambda row: TaskClaim(*_row(row, _name, _name, _time))
            ),
        )


_FIELDS: Final = {"v", "revoked", "streak", "nft", "referral", "claims", "tasks"}


def _write(parsed: dict[str, Any]) -> bytes:
    return json.dumps(parsed, separators=(",", ":"), sort_keys=True).encode("ascii")


def _rows(value: object, most: int, read: Callable[[object], Any]) -> tuple[Any, ...]:
    if not isinstance(value, list) or len(value) > most:
        raise MalformedError("bad list in facts")
    return tuple(map(read, value))


def _row(value: object, *reads: Callable[[object], Any]) -> tuple[Any, ...]:
    if not isinstance(value, list) or len(value) != len(reads):
        raise MalformedError("bad row in facts")
    return tuple(read(each) for read, each in zip(reads, value, strict=True))


def _time(value: object) -> int:
    if type(value) is not int or not 0 <= value <= MAX_TIME:
        raise MalformedError("bad number in facts")
    return value


def _time_or_none(value: object) -> int | None:
    return None if value is None else _time(value)


def _hex(value: object, digits: int) -> bytes:
    if not isinstance(value, str) or len(value) != digits or set(value) - _HEX:
        raise MalformedError("bad digits in facts")
    return bytes.fromhex(value)


def _key(value: object) -> NodeKey:
    return NodeKey(_hex(value, 64))


def _wallet(value: object) -> Wallet:
    if not isinstance(value, str) or not value.startswith("0x"):
        raise MalformedError("bad digits in facts")
    return Wallet(_hex(value[2:], 40))


def _token(value: object) -> int:
    if not isinstance(value, str) or not value.isascii() or not value.isdigit() or len(value) > 78:
        raise MalformedError("bad token in facts")
    token = int(value)
    if token > _MAX_TOKEN or str(token) != value:
        raise MalformedError("bad token in facts")
    return token


def _name(value: object) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_NAME or set(value) - _NAME:
        raise MalformedError("bad name in facts")
    return value
