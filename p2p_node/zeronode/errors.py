"""What can go wrong with the books of a ZeroNode service.

LocalError
└── DatabaseError       the database cannot be used, or holds what it must not

RemoteError
├── InsufficientError   an account has less than is asked of it
└── KeyReusedError      an idempotency key was used before, for something else
"""

from protocols.errors import LocalError, RemoteError


class DatabaseError(LocalError):
    """The database cannot be opened, read or written, or is not this service's."""


class InsufficientError(RemoteError):
    """An account has less than a transfer would take from it."""

    def __init__(self, detail: str = "") -> None:
        super().__init__("not enough in the account", detail)


class KeyReusedError(RemoteError):
    """A transfer's key is in the books with other content."""

    def __init__(self, detail: str = "") -> None:
        super().__init__("request used before for something else", detail)
