"""What a renter and a provider say to each other over a stream of a lease.

Every stream begins with three messages: a sealed LeaseAccess, signed with the lease's key; the body
of the request that it names; and the provider's sealed LeaseAnswer. After a granted one come frames
(`protocols.lease_frames`), which need no signatures: the stream itself is authenticated, and the
access names the peer that opened it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Final

from protocols.errors import LocalError, MalformedError
from protocols.types import Digest, NodeKey, TimeMs
from protocols.wire import Message, blob, fixed, text, uint

LEASE_PROTOCOL = "lease"
"""Short name of the stream protocol."""

ACCESS_DISPARITY_MS = 30_000
"""An access is good for so long around its time: clocks differ, and a slow line is no theft."""

MAX_PATH_BYTES = 4096
"""Linux' own limit."""

MAX_STRINGS = 1024
"""Arguments of a command, or variables of its environment."""

MAX_STRINGS_BYTES = 128 << 10
"""All of them together, each with its NUL: what Linux takes as a single argument."""


class LeasePurpose(IntEnum):
    """What a stream is for; each has its request below."""

    DEPLOY = 1
    STATUS = 2
    RUN = 3
    UPLOAD = 4
    FETCH = 5
    FORWARD = 6
    LOGS = 7


class LeaseAnswerCode(IntEnum):
    """GRANTED, or why a stream of a lease is refused."""

    GRANTED = 0
    UNKNOWN_LEASE = 1
    NOT_MINE = 2
    NOT_HOLDER = 3
    NOT_ACTIVE = 4
    EXPIRED = 5
    STALE = 6
    REPLAYED = 7
    BAD_REQUEST = 8
    NOT_DEPLOYED = 9
    NO_SUCH_TEMPLATE = 10
    NO_SUCH_PATH = 11
    TOO_MANY = 12
    FAILED = 13


@dataclass(frozen=True, slots=True)
class LeaseAccess(Message):
    """The lease key's word that `peer` may do this one thing now.

    `request` is `compute_message_digest` of the request's body, `nonce` makes two of them differ.
    """

    KIND: ClassVar[int] = 30
    MAX_BYTES: ClassVar[int] = 256

    lease: int = uint(64)
    peer: NodeKey = fixed(32)
    time: TimeMs = uint(64)
    nonce: bytes = fixed(16)
    purpose: int = uint(8)
    request: Digest = fixed(32)


@dataclass(frozen=True, slots=True)
class LeaseAnswer(Message):
    """The provider's answer to an access, which it names by the digest of its body."""

    KIND: ClassVar[int] = 31
    MAX_BYTES: ClassVar[int] = 512

    access: Digest = fixed(32)
    code: int = uint(8)
    detail: str = text(200)


@dataclass(frozen=True, slots=True)
class DeployRequest(Message):
    """Make the lease's place ready with a template of the provider's; again is no error."""

    KIND: ClassVar[int] = 32
    MAX_BYTES: ClassVar[int] = 128

    template: str = text(64)


@dataclass(frozen=True, slots=True)
class StatusRequest(Message):
    """Tell how the lease's place is, as one JSON document in a TEXT frame."""

    KIND: ClassVar[int] = 33
    MAX_BYTES: ClassVar[int] = 16


@dataclass(frozen=True, slots=True)
class RunRequest(Message):
    """Run a command: `argv`, with `environment` as NAME=VALUE, in `directory` of the workspace.

    Both are strings as `join_strings` writes them. With `rows` and `columns` above 0 it gets a
    terminal of that size; `detached` leaves it running when the stream ends, with its output in the
    logs only.
    """

    KIND: ClassVar[int] = 34
    MAX_BYTES: ClassVar[int] = 2 * MAX_STRINGS_BYTES + MAX_PATH_BYTES + 64

    argv: bytes = blob(MAX_STRINGS_BYTES)
    environment: bytes = blob(MAX_STRINGS_BYTES)
    directory: bytes = blob(MAX_PATH_BYTES)
    rows: int = uint(16)
    columns: int = uint(16)
    detached: int = uint(1)


@dataclass(frozen=True, slots=True)
class UploadRequest(Message):
    """Take files into `path` of the workspace: so many, of so many bytes together."""

    KIND: ClassVar[int] = 35
    MAX_BYTES: ClassVar[int] = MAX_PATH_BYTES + 64

    path: bytes = blob(MAX_PATH_BYTES)
    files: int = uint(32)
    size: int = uint(64)


@dataclass(frozen=True, slots=True)
class FetchRequest(Message):
    """Send the file or folder `path` of the workspace."""

    KIND: ClassVar[int] = 36
    MAX_BYTES: ClassVar[int] = MAX_PATH_BYTES + 64

    path: bytes = blob(MAX_PATH_BYTES)


@dataclass(frozen=True, slots=True)
class ForwardRequest(Message):
    """Connect to a TCP port inside."""

    KIND: ClassVar[int] = 37
    MAX_BYTES: ClassVar[int] = 16

    port: int = uint(16)


@dataclass(frozen=True, slots=True)
class LogsRequest(Message):
    """Send the last `tail` bytes of the lease's logs, and with `follow` what comes after."""

    KIND: ClassVar[int] = 38
    MAX_BYTES: ClassVar[int] = 32

    tail: int = uint(32)
    follow: int = uint(1)


REQUESTS: Final[Mapping[LeasePurpose, type[Message]]] = {
    LeasePurpose.DEPLOY: DeployRequest,
    LeasePurpose.STATUS: StatusRequest,
    LeasePurpose.RUN: RunRequest,
    LeasePurpose.UPLOAD: UploadRequest,
    LeasePurpose.FETCH: FetchRequest,
    LeasePurpose.FORWARD: ForwardRequest,
    LeasePurpose.LOGS: LogsRequest,
}
"""The request that belongs to each purpose."""


def join_strings(strings: Sequence[bytes]) -> bytes:
    """Write strings one after another, each followed by a NUL, which none may contain.

    An array of the codec would be too short for a command's arguments. LocalError for what
    `split_strings` would refuse.
    """
    if any(b"\0" in each for each in strings):
        raise LocalError("an argument or variable has a NUL in it, where none may be")
    data = b"".join(each + b"\0" for each in strings)
    if len(strings) > MAX_STRINGS or len(data) > MAX_STRINGS_BYTES:
        raise LocalError(
            f"found {len(strings)} arguments or variables of {len(data)} bytes together,"
            f" expected at most {MAX_STRINGS} of {MAX_STRINGS_BYTES}"
        )
    return data


def split_strings(data: bytes) -> tuple[bytes, ...]:
    """Read what `join_strings` wrote; MalformedError for too many, or no NUL at the end."""
    *strings, rest = data.split(b"\0")
    if rest:
        raise MalformedError("bad strings", "the last one does not end")
    if len(strings) > MAX_STRINGS:
        raise MalformedError("bad strings", f"{len(strings)}, at most {MAX_STRINGS}")
    return tuple(strings)
