"""Why somebody's request is not done: fixed reasons that are shown, answered and counted.

RemoteError
└── Refused
    ├── NotFound   there is nothing of that name
    ├── NotYet     a condition does not hold (yet)
    ├── Conflict   it contradicts what is already so
    └── TooMany    a published limit is reached; carries the limit and when to try again
"""

from protocols.errors import RemoteError


class Refused(RemoteError):
    """A request that is not done; nothing was changed by it."""


class NotFound(Refused):
    """The request names something that is not there."""


class NotYet(Refused):
    """What the request depends on is not so."""


class Conflict(Refused):
    """The request contradicts what is already so."""


class TooMany(Refused):
    """A published limit is reached: `limit` is its number; `retry_ms` is 0 if waiting is no use."""

    def __init__(self, reason: str, limit: int, retry_ms: int = 0, detail: str = "") -> None:
        super().__init__(reason, detail or f"the limit is {limit}")
        self.limit = limit
        self.retry_ms = retry_ms
