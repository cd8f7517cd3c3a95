"""What the simulated extensions of a run came to, each one's points to the last unit."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from protocols.types import Wallet


class ExtensionKind(StrEnum):
    """What is special about an extension of the run."""

    PLAIN = "plain"
    HOLDER = "holds an NFT"
    INVITED = "invited by the first"
    COPIED = "runs twice with one key"
    LATE = "answers too late"


@dataclass(slots=True)
class Extension:
    """One extension and its account.

    `told_ms` is the uptime that its client was told, `lived_ms` how long it was run. The rest is
    known once the days are booked: seconds of uptime, and units by why they were paid.
    """

    name: str
    kind: ExtensionKind
    wallet: Wallet
    secret: bytes = field(repr=False)
    token: int | None = None
    beats: int = 0
    refused: int = 0
    told_ms: int = 0
    lived_ms: int = 0
    seconds: int = 0
    uptime_units: int = 0
    doubled_units: int = 0
    shared_units: int = 0
    points_units: int = 0
    tickets: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the extension in the form that `--json` documents."""
        return {
            "name": self.name,
            "kind": self.kind.value,
            "wallet": "0x" + self.wallet.hex(),
            "beats": self.beats,
            "refused": self.refused,
            "told_ms": self.told_ms,
            "lived_ms": self.lived_ms,
            "seconds": self.seconds,
            "uptime_units": self.uptime_units,
            "doubled_units": self.doubled_units,
            "shared_units": self.shared_units,
            "points_units": self.points_units,
            "tickets": self.tickets,
        }


@dataclass(slots=True)
class ZeroNodeRun:
    """All of a run's extensions, and the days that were booked; roots by day, in hexadecimal."""

    extensions: list[Extension] = field(default_factory=list)
    service: str = ""
    days: list[int] = field(default_factory=list)
    roots: dict[int, str] = field(default_factory=dict)
    entries: int = 0
    problems: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the run in the form that `--json` documents."""
        return {
            "service": self.service,
            "days": self.days,
            "anchored": {str(day): root for day, root in self.roots.items()},
            "entries": self.entries,
            "extensions": [each.to_json() for each in self.extensions],
            "problems": self.problems,
        }
