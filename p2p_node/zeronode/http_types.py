"""A request, an answer and a refusal, as the parts behind the web server see them."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from p2p_node.zeronode.refusals import TooMany
from protocols.errors import MalformedError, RemoteError

JSON_TYPE: Final = "application/json"

MAX_OBJECTS: Final = 200
"""Objects and lists in a document. The limit that Python sets to its own recursion is raised by
libraries for the chain, so that nesting without a limit of ours would end the process."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request whose body is complete. Names of headers are in lower case.

    `address` is the client's, already looked up behind trusted proxies; it is never stored.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    address: str
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """One answer, complete."""

    status: int
    body: bytes = b""
    content_type: str = JSON_TYPE
    headers: tuple[tuple[str, str], ...] = ()


class HttpRefusal(RemoteError):
    """A request that is refused with this status, and perhaps a time to wait."""

    def __init__(
        self, status: int, reason: str, detail: str = "", headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(reason, detail)
        self.status = status
        self.headers = headers


@dataclass(slots=True)
class WebCounters:
    """Plain integers about what the web server did. Labels are fixed phrases, so few."""

    refused: Counter[str] = field(default_factory=Counter)
    """Reason -> requests, connections and frames that were refused."""
    bugs: Counter[str] = field(default_factory=Counter)
    """Type of exception -> exceptions of our own code that the boundary caught."""
    requests: int = 0
    connections: int = 0
    """Connections that are open now."""
    sockets: int = 0
    """WebSockets that are open now."""


def write_json(status: int, value: Mapping[str, Any]) -> HttpResponse:
    """Answer with a JSON document."""
    return HttpResponse(status, json.dumps(value, separators=(",", ":")).encode())


def write_refusal(refusal: RemoteError, status: int) -> HttpResponse:
    """Answer with a refusal's reason and detail, and when to try again where waiting helps."""
    headers = refusal.headers if isinstance(refusal, HttpRefusal) else ()
    if isinstance(refusal, TooMany) and refusal.retry_ms:
        headers = (("Retry-After", str(-(-refusal.retry_ms // 1000))),)
    body = {"error": refusal.reason, "detail": refusal.detail}
    return HttpResponse(status, json.dumps(body).encode(), headers=headers)


def read_json(body: bytes) -> Any:
    """Parse a JSON document strictly: UTF-8, no number but integers, no name twice.

    Raises MalformedError. The caller has capped the body's length.
    """
    if body.count(b"[") + body.count(b"{") > MAX_OBJECTS:
        raise MalformedError("body is not JSON", "too many objects and lists")
    try:
        return json.loads(
            body.decode(),
            object_pairs_hook=_build_object,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
        )
    except (ValueError, RecursionError) as error:
        raise MalformedError("body is not JSON", str(error)[:100]) from error


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _refuse_number(text: str) -> Any:
    raise ValueError(f"found {text[:20]}, and all numbers are integers")
