"""Leaving for another service, and arriving from one."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection

from p2p_node.zeronode.homes import find_url
from p2p_node.zeronode.moving import arrive, depart
from p2p_node.zeronode.parts import Service
from p2p_node.zeronode.routes import Call, Route
from p2p_node.zeronode.schemas import (
    SERVICE,
    TICKETS,
    UNITS,
    fields,
    flag,
    listing,
    text,
    words,
)
from protocols.errors import MalformedError
from protocols.types import NodeKey, TimeMs
from protocols.uptime_gossip import ServiceView
from protocols.uptime_messages import MAX_URL_CHARS, Departure

MAX_LISTED: Final = 1_024
_MAX_TEXT: Final = 4 * ((Departure.MAX_BYTES + 256) // 3 + 1)

DEPARTURE: Final = text(
    "[A-Za-z0-9+/]{4,}={0,2}", _MAX_TEXT, "What the old home signed, in base64."
)
URL: Final = words(MAX_URL_CHARS, "Where the service says that it is reached; may be empty.")


def view_services(service: Service) -> ServiceView:
    """Return who is listed now."""
    return ServiceView(service.identity.network, service.listed(), service.rules)


async def leave(service: Service, call: Call) -> Mapping[str, Any]:
    """Let the account go to another service; again it is the same departure."""
    to = NodeKey(bytes.fromhex(call.body["to"]))
    return await service.database.run(_leave, service, call, to, service.now())


def _leave(
    connection: Connection, service: Service, call: Call, to: NodeKey, now: TimeMs
) -> dict[str, str]:
    key = service.identity.node_key
    signed = depart(connection, call.wallet, to, key, view_services(service), now)
    return {
        "departure": base64.b64encode(signed).decode("ascii"),
        "to": to.hex(),
        "url": find_url(connection, to),
    }


async def come(service: Service, call: Call) -> Mapping[str, Any]:
    """Take in the account with what it brings; the same departure again brings nothing."""
    try:
        data = base64.b64decode(call.body["departure"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedError("malformed departure", "no base64") from error
    arrived = await service.database.run(
        arrive,
        call.wallet,
        data,
        service.identity.service,
        view_services(service),
        service.now(),
    )
    return {
        "came_from": arrived.service.hex(),
        "points_units": arrived.points,
        "tickets": arrived.tickets,
        "is_home": arrived.is_home,
    }


async def list_services(service: Service, _: Call) -> Mapping[str, Any]:
    """List the services of the network, by the chain."""
    return {"services": await service.database.read(_list_services, service)}


def _list_services(connection: Connection, service: Service) -> list[dict[str, str]]:
    own = service.identity.service
    return [
        {
            "service": key.hex(),
            "url": service.public_url if key == own else find_url(connection, key),
        }
        for key in sorted(service.listed())[:MAX_LISTED]
    ]


ROUTES: Final[Sequence[Route[Service]]] = (
    Route(
        "GET",
        "/v1/services",
        "The services of this network that the chain lists.",
        list_services,
        fields(services=listing(fields(service=SERVICE, url=URL), MAX_LISTED)),
    ),
    Route(
        "POST",
        "/v1/account/departure",
        "Leave for another service, with all balances.",
        leave,
        fields(departure=DEPARTURE, to=SERVICE, url=URL),
        body=fields(to=SERVICE),
        is_private=True,
        refusals={
            404: "The service is not listed.",
            409: "A day is not booked yet, or the account is at home elsewhere.",
        },
    ),
    Route(
        "POST",
        "/v1/arrivals",
        "Arrive with a departure of the old home.",
        come,
        fields(
            came_from=SERVICE,
            points_units=UNITS,
            tickets=TICKETS,
            is_home=flag(
                "Whether the account is at home here since. If not, bring it again later."
            ),
        ),
        body=fields(departure=DEPARTURE),
        is_private=True,
        refusals={409: "It is of another account."},
    ),
)
