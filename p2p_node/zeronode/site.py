"""What the web server serves: the API's routes, the pages, and who may use them from a browser.

Whatever a client sent passes here, in this order: its address's limit, its origin, its route's
description, its token. Only then its handler sees it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from p2p_node.zeronode.errors import InsufficientError, KeyReusedError
from p2p_node.zeronode.http_types import (
    HttpRefusal,
    HttpRequest,
    HttpResponse,
    read_json,
    write_json,
)
from p2p_node.zeronode.parts import Service
from p2p_node.zeronode.refusals import Conflict, NotFound, NotYet, TooMany
from p2p_node.zeronode.routes import NO_KEY, NO_WALLET, Call, Route, Routes, read_parameters
from p2p_node.zeronode.schemas import check
from p2p_node.zeronode.web import Talk
from protocols.errors import ForgedError, RemoteError
from protocols.types import NodeKey, Wallet

PAGES: Final = Path(__file__).parent / "pages"
PAGE_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
EXTENSION_ORIGIN: Final = "chrome-extension://dknjlifkcllgahplngaabkckbhkkpmop"
"""Of the extension in `extension/`, by the key in its manifest."""

SIGN_IN_PAGE: Final = "sign-in.html"

STATUSES: Final[Mapping[type[RemoteError], int]] = {
    ForgedError: 403,
    NotFound: 404,
    NotYet: 409,
    Conflict: 409,
    TooMany: 429,
    InsufficientError: 409,
    KeyReusedError: 409,
}
"""What refusals are answered with; everything else is 400."""

API_POLICY: Final = "default-src 'none'; frame-ancestors 'none'"
PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_SAFE_METHODS: Final = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True, slots=True)
class Page:
    """A file that is served as it is."""

    body: bytes
    content_type: str


def read_pages(directory: Path = PAGES) -> Mapping[str, Page]:
    """Read the pages that come with the node, by their paths; they are few and small."""
    found = {
        f"/pages/{file.name}": Page(file.read_bytes(), PAGE_TYPES[file.suffix])
        for file in sorted(directory.glob("*"))
        if file.suffix in PAGE_TYPES
    }
    sign_in = found.get(f"/pages/{SIGN_IN_PAGE}")
    return found if sign_in is None else {**found, "/sign-in": sign_in}


class ServiceSite:
    """The site of one service."""

    def __init__(
        self,
        service: Service,
        routes: Routes[Service],
        talks: Mapping[str, Talk],
        pages: Mapping[str, Page],
    ) -> None:
        self._service = service
        self._routes = routes
        self._talks = talks
        self._pages = pages

    async def answer(self, request: HttpRequest) -> HttpResponse:
        """Answer one request. Raises RemoteError for a refusal."""
        self._service.take_request(request.address)
        page = self._pages.get(request.path)
        if page is not None:
            if request.method not in ("GET", "HEAD"):
                raise HttpRefusal(405, "method not allowed", headers=(("Allow", "GET, HEAD"),))
            return HttpResponse(200, page.body, page.content_type)
        if request.method == "OPTIONS":
            return self._answer_preflight(request)
        self._require_origin(request)
        route, texts = self._routes.find(request.method, request.path)
        parameters = read_parameters(route, texts, request.query)
        body = _read_body(route, request)
        key, wallet = NO_KEY, NO_WALLET
        if route.is_private or (route.is_personal and "authorization" in request.headers):
            key, wallet = await self._authenticate(request)
        call = Call(request, parameters, body, key, wallet)
        found = await route.handle(self._service, call)
        return found if isinstance(found, HttpResponse) else write_json(200, found)

    def find_talk(self, request: HttpRequest) -> Talk | None:
        """Return who talks over a WebSocket of this path."""
        talk = self._talks.get(request.path)
        if talk is not None:
            self._service.take_request(request.address)
            if "origin" in request.headers:
                self._require_known_origin(request.headers["origin"])
        return talk

    def dress(self, request: HttpRequest | None, response: HttpResponse) -> list[tuple[str, str]]:
        """Return the headers that every answer gets on top of its own."""
        is_page = request is not None and request.path in self._pages
        headers = [
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Content-Security-Policy", PAGE_POLICY if is_page else API_POLICY),
            ("Cache-Control", "no-cache" if is_page else "no-store"),
        ]
        if self._service.public_url.startswith("https:"):
            headers.append(("Strict-Transport-Security", "max-age=31536000"))
        if not is_page:
            headers.append(("Vary", "Origin"))
            origin = "" if request is None else request.headers.get("origin", "")
            if origin in self._service.origins:
                headers.append(("Access-Control-Allow-Origin", origin))
                headers.append(("Access-Control-Expose-Headers", "Retry-After"))
        return headers

    def find_status(self, refusal: RemoteError) -> int:
        """Return the status that a refusal is answered with."""
        if isinstance(refusal, HttpRefusal):
            return refusal.status
        found = (STATUSES[kind] for kind in type(refusal).__mro__ if kind in STATUSES)
        return next(found, 400)

    def _require_origin(self, request: HttpRequest) -> None:
        # Reading is left to the browser, which shows a foreign page nothing without our headers.
        if request.method not in _SAFE_METHODS and "origin" in request.headers:
            self._require_known_origin(request.headers["origin"])

    def _require_known_origin(self, origin: str) -> None:
        if origin not in self._service.origins:
            raise HttpRefusal(403, "unknown origin", "this page may not use the service")

    def _answer_preflight(self, request: HttpRequest) -> HttpResponse:
        methods, _ = self._routes.find_path(request.path)
        self._require_known_origin(request.headers.get("origin", ""))
        headers = [
            ("Access-Control-Allow-Methods", ", ".join(sorted(methods))),
            ("Access-Control-Allow-Headers", "authorization, content-type"),
            ("Access-Control-Max-Age", "600"),
        ]
        if request.headers.get("access-control-request-private-network") == "true":
            headers.append(("Access-Control-Allow-Private-Network", "true"))
        return HttpResponse(204, headers=tuple(headers))

    async def _authenticate(self, request: HttpRequest) -> tuple[NodeKey, Wallet]:
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not text:
            bearer = ("WWW-Authenticate", "Bearer")
            raise HttpRefusal(401, "no token", "expected Authorization: Bearer …", (bearer,))
        key = self._service.tokens.read_token(text, self._service.now())
        return key, await self._service.require_wallet(key)


def _read_body(route: Route[Any], request: HttpRequest) -> Mapping[str, Any]:
    if route.body is None:
        if request.body:
            raise HttpRefusal(400, "malformed request", "expected no body")
        return {}
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HttpRefusal(415, "body is not JSON", "expected Content-Type: application/json")
    value = read_json(request.body)
    check(route.body, value)
    found: Mapping[str, Any] = value
    return found
