"""Routes: what the API takes and returns, described once for the dispatcher and for OpenAPI."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from p2p_node.zeronode.http_types import HttpRefusal, HttpRequest, HttpResponse
from p2p_node.zeronode.schemas import Schema, check
from protocols.types import NodeKey, Wallet

NO_KEY: Final = NodeKey(b"")
NO_WALLET: Final = Wallet(b"")

Context = TypeVar("Context")


@dataclass(frozen=True, slots=True)
class Call:
    """One request, checked against its route's description.

    `key` is the token's and `wallet` its account; without a token both are empty.
    """

    request: HttpRequest
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Those of the path and of the query, numbers as numbers; missing ones are not in it."""
    body: Mapping[str, Any] = field(default_factory=dict)
    key: NodeKey = NO_KEY
    wallet: Wallet = NO_WALLET


@dataclass(frozen=True, slots=True)
class Route(Generic[Context]):
    """One method of one path. `{name}` in the path is a parameter."""

    method: str
    path: str
    summary: str
    handle: Callable[[Context, Call], Awaitable[Mapping[str, Any] | HttpResponse]]
    """Returns the answer's JSON object, or a whole answer where its bytes matter."""
    answer: Schema
    """Shape of the answer with status 200."""
    body: Schema | None = None
    parameters: Mapping[str, Schema] = field(default_factory=dict)
    """Of the path: all of them are there."""
    query: Mapping[str, Schema] = field(default_factory=dict)
    """Each may be missing."""
    is_private: bool = False
    """Whether it needs a token."""
    is_personal: bool = False
    """Whether a token, which it does not need, makes it tell more."""
    refusals: Mapping[int, str] = field(default_factory=dict)
    """Further statuses, and when they come."""


class Routes(Generic[Context]):
    """Finds a route by method and path."""

    def __init__(self, routes: Sequence[Route[Context]]) -> None:
        self.all = tuple(routes)
        self._plain = {each.path: self._of_path(each.path) for each in routes}
        self._patterns = [
            (_compile(path), methods) for path, methods in self._plain.items() if "{" in path
        ]

    def _of_path(self, path: str) -> dict[str, Route[Context]]:
        return {each.method: each for each in self.all if each.path == path}

    def find(self, method: str, path: str) -> tuple[Route[Context], Mapping[str, str]]:
        """Return the route and the texts of its path's parameters. Raises HttpRefusal."""
        methods, texts = self.find_path(path)
        route = methods.get("GET" if method == "HEAD" else method)
        if route is None:
            allowed = ", ".join(
                sorted({*methods, "OPTIONS", *(["HEAD"] if "GET" in methods else [])})
            )
            raise HttpRefusal(405, "method not allowed", headers=(("Allow", allowed),))
        return route, texts

    def find_path(self, path: str) -> tuple[Mapping[str, Route[Context]], Mapping[str, str]]:
        """Return all methods of a path. Raises HttpRefusal."""
        if "{" not in path and path in self._plain:
            return self._plain[path], {}
        for pattern, methods in self._patterns:
            found = pattern.fullmatch(path)
            if found is not None:
                return methods, found.groupdict()
        raise HttpRefusal(404, "no such path")


def read_parameters(
    route: Route[Any], texts: Mapping[str, str], query: Mapping[str, str]
) -> Mapping[str, Any]:
    """Check and convert the parameters of path and query. Raises MalformedError, HttpRefusal."""
    found: dict[str, Any] = {}
    for name, shape in route.parameters.items():
        found[name] = _convert(shape, texts[name], name)
    for name, text in query.items():
        if name not in route.query:
            raise HttpRefusal(400, "malformed query", f"no parameter is called {name[:40]!r}")
        found[name] = _convert(route.query[name], text, name)
    return found


def _convert(shape: Schema, text: str, name: str) -> Any:
    value: Any = text
    if shape.get("type") == "integer" and re.fullmatch(r"0|[1-9][0-9]{0,15}", text):
        value = int(text)
    check(shape, value, name)
    return value


def _compile(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{([a-z_]+)\\}", r"(?P<\1>[^/]+)", re.escape(path)))
