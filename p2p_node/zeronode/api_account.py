"""One account: its standing, and what its owner does."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from p2p_node.zeronode.accounts import revoke_key
from p2p_node.zeronode.burning import burn
from p2p_node.zeronode.check_in import check_in
from p2p_node.zeronode.http_types import HttpRefusal
from p2p_node.zeronode.location import delete_position, put_position
from p2p_node.zeronode.nft import link_token, unlink
from p2p_node.zeronode.parts import Service
from p2p_node.zeronode.referrals import bind_referral
from p2p_node.zeronode.routes import Call, Route
from p2p_node.zeronode.schemas import DAY, KEY, TICKETS, UNITS, Schema, fields, number, text, words
from p2p_node.zeronode.standing_shape import STANDING
from protocols.coarse_places import Position
from protocols.types import NodeKey

REQUEST: Final = text(
    "[0-9A-Za-z_-]{8,64}", 64, "Chosen by the client; the same again changes nothing."
)
MOST_TICKETS: Final = 1_000_000
TOKEN: Final = text("0|[1-9][0-9]{0,77}", 78, "A token's id, in decimal.")
DONE: Final[Schema] = fields()


async def read_account(service: Service, call: Call) -> Mapping[str, Any]:
    """Return all that is shown of an account."""
    return await service.read_standing(call.wallet)


async def do_check_in(service: Service, call: Call) -> Mapping[str, Any]:
    """Check in for this day; again on the same day it is the same."""
    done = await service.run_at_home(
        call.wallet, check_in, call.wallet, service.rules, service.now()
    )
    return {"day": done.day, "days": done.days, "units": done.units}


async def do_burn(service: Service, call: Call) -> Mapping[str, Any]:
    """Burn points for tickets."""
    tickets, request = call.body["tickets"], call.body["request"]
    done = await service.run_at_home(
        call.wallet, burn, call.wallet, tickets, request, service.now()
    )
    return {
        "tickets": done.tickets,
        "units": done.units,
        "points_units": done.points_units,
        "tickets_left": done.tickets_left,
    }


async def name_referrer(service: Service, call: Call) -> Mapping[str, Any]:
    """Say who invited the account."""
    await service.run_at_home(
        call.wallet, bind_referral, call.wallet, call.body["code"], service.rules, service.now()
    )
    return {}


async def set_location(service: Service, call: Call) -> Mapping[str, Any]:
    """Keep where the browser says that it is."""
    position = Position(call.body["lat_tenths"], call.body["lon_tenths"])
    await service.database.run(put_position, call.wallet, position, service.now())
    return {}


async def clear_location(service: Service, call: Call) -> Mapping[str, Any]:
    """Forget it."""
    await service.database.run(delete_position, call.wallet, service.now())
    return {}


async def set_nft(service: Service, call: Call) -> Mapping[str, Any]:
    """Link a token that the wallet owns."""
    await service.require_home(call.wallet)
    if service.chain is None:
        raise HttpRefusal(503, "the chain cannot be read here")
    link = await link_token(
        service.database, service.chain, call.wallet, int(call.body["token"]), service.now()
    )
    return {"token": str(link.token), "linked_ms": link.linked_ms}


async def clear_nft(service: Service, call: Call) -> Mapping[str, Any]:
    """Unlink the account's token."""
    await service.run_at_home(call.wallet, unlink, call.wallet, service.now())
    return {}


async def drop_key(service: Service, call: Call) -> Mapping[str, Any]:
    """Take a key from the account, for good."""
    key = NodeKey(bytes.fromhex(call.parameters["key"]))
    await service.database.run(revoke_key, call.wallet, key, service.now())
    service.sessions.refresh_key(key)
    return {}


ROUTES: Final[Sequence[Route[Service]]] = (
    Route(
        "GET",
        "/v1/account",
        "The account's standing: uptime, points, tickets, streak, referral, location.",
        read_account,
        STANDING,
        is_private=True,
    ),
    Route(
        "POST",
        "/v1/account/check-in",
        "Check in for this day.",
        do_check_in,
        fields(day=DAY, days=number(1), units=UNITS),
        is_private=True,
    ),
    Route(
        "POST",
        "/v1/account/burn",
        "Burn points for tickets.",
        do_burn,
        fields(tickets=TICKETS, units=UNITS, points_units=UNITS, tickets_left=TICKETS),
        body=fields(tickets=number(1, MOST_TICKETS), request=REQUEST),
        is_private=True,
        refusals={409: "There are not enough points."},
    ),
    Route(
        "POST",
        "/v1/account/referral",
        "Say who invited the account, within its first days.",
        name_referrer,
        DONE,
        body=fields(code=words(64, "The referrer's code.")),
        is_private=True,
        refusals={404: "Nobody has this code.", 409: "It is too late, or it was said before."},
    ),
    Route(
        "PUT",
        "/v1/account/location",
        "Keep a coarse position from the browser, with its owner's consent.",
        set_location,
        DONE,
        body=fields(
            lat_tenths=number(-900, 900, "Latitude in tenths of a degree."),
            lon_tenths=number(-1800, 1800, "Longitude in tenths of a degree."),
        ),
        is_private=True,
    ),
    Route(
        "DELETE",
        "/v1/account/location",
        "Forget the position from the browser.",
        clear_location,
        DONE,
        is_private=True,
    ),
    Route(
        "PUT",
        "/v1/account/nft",
        "Link a token of the collection that the wallet owns.",
        set_nft,
        fields(token=TOKEN, linked_ms=number()),
        body=fields(token=TOKEN),
        is_private=True,
        refusals={409: "The wallet does not own the token.", 503: "The chain cannot be read."},
    ),
    Route(
        "DELETE",
        "/v1/account/nft",
        "Unlink the account's token.",
        clear_nft,
        DONE,
        is_private=True,
    ),
    Route(
        "DELETE",
        "/v1/account/keys/{key}",
        "Take a key from the account, for good.",
        drop_key,
        DONE,
        parameters={"key": KEY},
        is_private=True,
        refusals={404: "It is no key of this account."},
    ),
)
