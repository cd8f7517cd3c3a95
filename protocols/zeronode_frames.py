"""What travels over a ZeroNode WebSocket: one JSON object in each text message.

    service → client   greet, welcome, refuse, challenge, credit, bye
    client → service   hello, beat

Every object has `t`, its kind, and exactly the fields of that kind. Byte strings are lower-case
hexadecimal. A message is measured before it is parsed.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, Final, TypeAlias, TypeVar

from protocols.errors import LocalError, MalformedError
from protocols.json_fields import (
    Problem,
    constant,
    document,
    flag,
    form_of,
    hexadecimal,
    number,
    phrase,
)
from protocols.signing import NODE_SIGNATURE_BYTES
from protocols.types import NodeKey
from protocols.zeronode_beats import (
    BEATS_VERSION,
    BOOT_BYTES,
    KEY_BYTES,
    MAX_SEQUENCE,
    NONCE_BYTES,
    SESSION_BYTES,
)

MAX_CLIENT_CHARS: Final = 1_024
"""Of a client's message; a hello has some 400."""

MAX_SERVICE_CHARS: Final = 32_768
"""Of a service's message; a credit brings the account along, some 4,000."""

MAX_BRACKETS: Final = 512
"""Opening brackets in a message: some 60 in the largest. Python's parser is recursive, and where a
library has raised the limit of recursion a deep message would end the process."""

MAX_AGENT_CHARS: Final = 64
MAX_REASON_CHARS: Final = 128
MAX_MS: Final = (1 << 53) - 1
"""JavaScript's largest exact integer."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Base of all kinds: a frozen dataclass whose fields carry JSON forms."""

    T: ClassVar[str]
    """Its kind, the value of `t`."""

    def encode(self) -> str:
        """Write it; LocalError when a field breaks its own limits."""
        values: dict[str, object] = {"t": self.T}
        for declared in fields(self):
            written = form_of(declared).write(getattr(self, declared.name))
            try:
                form_of(declared).read(written)
            except Problem as problem:
                raise LocalError(f"{type(self).__name__}.{declared.name}: {problem}") from None
            values[declared.name] = written
        return json.dumps(values, separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True, slots=True)
class Greet(Frame):
    """The service's first message: who it is, and a fresh nonce for the hello."""

    T: ClassVar[str] = "greet"

    v: int = constant(BEATS_VERSION)
    service: NodeKey = hexadecimal(KEY_BYTES)
    nonce: bytes = hexadecimal(NONCE_BYTES)


@dataclass(frozen=True, slots=True)
class Hello(Frame):
    """The client's answer. `boot` is random, made anew whenever the client's program starts."""

    T: ClassVar[str] = "hello"

    v: int = constant(BEATS_VERSION)
    key: NodeKey = hexadecimal(KEY_BYTES)
    boot: bytes = hexadecimal(BOOT_BYTES)
    agent: str = phrase(MAX_AGENT_CHARS)
    sig: bytes = hexadecimal(NODE_SIGNATURE_BYTES)


@dataclass(frozen=True, slots=True)
class Welcome(Frame):
    """The session is open. `reason` says why it does not earn, and is empty when it does."""

    T: ClassVar[str] = "welcome"

    sid: bytes = hexadecimal(SESSION_BYTES)
    bound: bool = flag()
    """Whether the key belongs to an account."""
    earning: bool = flag()
    reason: str = phrase(MAX_REASON_CHARS)


@dataclass(frozen=True, slots=True)
class Refuse(Frame):
    """There is no session, and the connection ends. Try again after `retry_ms`; 0 for never."""

    T: ClassVar[str] = "refuse"

    reason: str = phrase(MAX_REASON_CHARS)
    retry_ms: int = number(MAX_MS)


@dataclass(frozen=True, slots=True)
class Challenge(Frame):
    """Asks for a beat within `answer_ms`."""

    T: ClassVar[str] = "challenge"

    sid: bytes = hexadecimal(SESSION_BYTES)
    seq: int = number(MAX_SEQUENCE)
    nonce: bytes = hexadecimal(NONCE_BYTES)
    answer_ms: int = number(MAX_MS)
    sig: bytes = hexadecimal(NODE_SIGNATURE_BYTES)


@dataclass(frozen=True, slots=True)
class Beat(Frame):
    """The answer to a challenge."""

    T: ClassVar[str] = "beat"

    sid: bytes = hexadecimal(SESSION_BYTES)
    seq: int = number(MAX_SEQUENCE)
    sig: bytes = hexadecimal(NODE_SIGNATURE_BYTES)


@dataclass(frozen=True, slots=True)
class Credit(Frame):
    """What became of a beat, sent when it is durable. `reason` says why nothing was earned."""

    T: ClassVar[str] = "credit"

    seq: int = number(MAX_SEQUENCE)
    paid_ms: int = number(MAX_MS)
    earning: bool = flag()
    reason: str = phrase(MAX_REASON_CHARS)
    account: Mapping[str, object] | None = document()
    """The account's standing, where there is one to show."""


@dataclass(frozen=True, slots=True)
class Bye(Frame):
    """The session ends, and the connection. Try again after `retry_ms`; 0 for never."""

    T: ClassVar[str] = "bye"

    reason: str = phrase(MAX_REASON_CHARS)
    retry_ms: int = number(MAX_MS)


ClientFrame: TypeAlias = Hello | Beat
ServiceFrame: TypeAlias = Greet | Welcome | Refuse | Challenge | Credit | Bye

_CLIENT_KINDS: Final[Mapping[str, type[Hello] | type[Beat]]] = {
    kind.T: kind for kind in (Hello, Beat)
}
_SERVICE_KINDS: Final[Mapping[str, type[ServiceFrame]]] = {
    kind.T: kind for kind in (Greet, Welcome, Refuse, Challenge, Credit, Bye)
}

FrameT = TypeVar("FrameT", bound=Frame)


def decode_client_frame(text: str) -> ClientFrame:
    """Read what a client sent; MalformedError says what is wrong with it."""
    return _decode(text, MAX_CLIENT_CHARS, _CLIENT_KINDS)


def decode_service_frame(text: str) -> ServiceFrame:
    """Read what a service sent; MalformedError says what is wrong with it."""
    return _decode(text, MAX_SERVICE_CHARS, _SERVICE_KINDS)


def _decode(text: str, max_chars: int, kinds: Mapping[str, type[FrameT]]) -> FrameT:
    if len(text) > max_chars:
        raise MalformedError("oversized", f"{len(text)} characters, at most {max_chars}")
    if text.count("[") + text.count("{") > MAX_BRACKETS:
        raise MalformedError("too many brackets")
    try:
        values = json.loads(text, object_pairs_hook=_collect, parse_constant=_refuse_constant)
    except ValueError as error:
        # Also where an integer has thousands of digits.
        raise MalformedError("not JSON", type(error).__name__) from None
    if not isinstance(values, dict):
        raise MalformedError("not an object", type(values).__name__)
    name = values.pop("t", None)
    kind = kinds.get(name) if isinstance(name, str) else None
    if kind is None:
        raise MalformedError("unknown frame")
    declared = {each.name: form_of(each) for each in fields(kind)}
    if values.keys() != declared.keys():
        raise MalformedError("wrong fields", f"{len(values)} in {kind.T}")
    try:
        return kind(**{name: form.read(values[name]) for name, form in declared.items()})
    except Problem as problem:
        raise MalformedError("bad field", f"{kind.T}: {problem}") from None


def _collect(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a name stands twice")
    return values


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")
