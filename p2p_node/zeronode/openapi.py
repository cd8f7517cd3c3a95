"""The API's description in OpenAPI 3.1, made of the same routes that the service answers."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from p2p_node.zeronode.routes import Route
from p2p_node.zeronode.schemas import Schema, anything, entries, fields, listing, words

ERROR: Final = fields(error=words(200, "A fixed phrase."), detail=words(400, "What was found."))

OPENAPI_SHAPE: Final = fields(
    openapi=words(10),
    info=entries(anything()),
    servers=listing(anything(), 10),
    paths=entries(anything()),
    components=entries(anything()),
)

BEATS: Final = (
    "A WebSocket of one JSON object per text message. The service greets, the client says hello, "
    "the service challenges at random times, the client answers, the service says what was earned. "
    "docs/spec/zeronode.md has every frame and the bytes that are signed."
)

_COMMON: Final = {
    400: "The request is malformed.",
    429: "There were too many requests; `Retry-After` says when to try again.",
}


def describe_api(routes: Iterable[Route[Any]], version: str) -> dict[str, Any]:
    """Return the description as a JSON document."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _describe(route)
    paths["/v1/beats"] = {
        "get": {
            "operationId": "getV1Beats",
            "summary": "Open a session that earns uptime (WebSocket).",
            "description": BEATS,
            "responses": {"101": {"description": "The WebSocket is open."}, **_refuse(426, 429)},
        }
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Kaisar ZeroNode service",
            "version": version,
            "description": "Uptime, points, tickets and draws; see docs/spec/zeronode.md.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": {"Error": ERROR},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _describe(route: Route[Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": _name(route),
        "summary": route.summary,
        "responses": {
            "200": {"description": "Done.", "content": _json(route.answer)},
            **_refusals(route),
        },
    }
    parameters = [_parameter(name, shape, "path") for name, shape in route.parameters.items()]
    parameters += [_parameter(name, shape, "query") for name, shape in route.query.items()]
    if parameters:
        described["parameters"] = parameters
    if route.body is not None:
        described["requestBody"] = {"required": True, "content": _json(route.body)}
    if route.is_private:
        described["security"] = [{"token": []}]
    elif route.is_personal:
        described["security"] = [{}, {"token": []}]
    return described


def _name(route: Route[Any]) -> str:
    parts = re.findall(r"[a-z0-9]+", route.path)
    return route.method.lower() + "".join(part.capitalize() for part in parts)


def _parameter(name: str, shape: Schema, place: str) -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": shape}


def _json(shape: Schema) -> dict[str, Any]:
    return {"application/json": {"schema": shape}}


def _refusals(route: Route[Any]) -> Mapping[str, Any]:
    reasons = {**_COMMON, **route.refusals}
    if route.is_private:
        reasons[401] = "There is no token, or it is void: ask for a new one."
        reasons.setdefault(403, "The key is bound to no account any more.")
    return {str(status): _refusal(reason) for status, reason in sorted(reasons.items())}


def _refuse(*statuses: int) -> Mapping[str, Any]:
    reasons = {**_COMMON, 426: "The request asks for no WebSocket of version 13."}
    return {str(status): _refusal(reasons[status]) for status in statuses}


def _refusal(reason: str) -> dict[str, Any]:
    error = {"$ref": "#/components/schemas/Error"}
    return {"description": reason, "content": {"application/json": {"schema": error}}}
