"""Lucky draws: what is on, putting tickets in, and the file by which anybody recomputes one."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from p2p_node.zeronode import draws
from p2p_node.zeronode.draws import Draw, State
from p2p_node.zeronode.http_types import HttpResponse
from p2p_node.zeronode.parts import Service
from p2p_node.zeronode.refusals import NotFound
from p2p_node.zeronode.routes import Call, Route
from p2p_node.zeronode.schemas import (
    TICKETS,
    TIME,
    UNITS,
    Schema,
    anything,
    choice,
    entries,
    fields,
    flag,
    hexadecimal,
    listing,
    nullable,
    number,
    text,
    words,
)
from protocols.lucky_draw import (
    MAX_ID_BYTES,
    MAX_NAME_BYTES,
    MAX_PRIZES,
    MAX_TICKETS,
    ODDS,
    SourceKind,
    compute_commitment,
    compute_key,
    hash_server_seed,
)

SHOWN: Final = 50
"""Draws in one answer, and entries of one account."""

NAME: Final = text("[a-z0-9][a-z0-9-]*", MAX_ID_BYTES)
REQUEST: Final = text("[0-9A-Za-z_-]{8,64}", 64, "The client's name for this wish.")
SOURCES: Final = {each: each.name.lower() for each in SourceKind}

DRAW: Final[dict[str, Schema]] = {
    "id": NAME,
    "state": choice(*State),
    "summary": words(200),
    "opens_ms": TIME,
    "closes_ms": TIME,
    "tickets": TICKETS,
    "prizes": listing(
        fields(
            name=words(MAX_NAME_BYTES),
            ppm=number(1, ODDS, "Its odds, in parts per million."),
            units=UNITS,
            tickets=TICKETS,
        ),
        MAX_PRIZES,
    ),
    "key": hexadecimal(32, "The draw's name in ZeroNodeAnchor."),
    "seed_hash": hexadecimal(32, "SHA-256 of the service's secret."),
    "source": choice(*SOURCES.values(), about="Where the randomness will come from."),
    "missed_bonus": number(
        about="Tickets on top of its own for each account, if nothing is drawn."
    ),
    "frozen": nullable(
        fields(
            "What was fixed before the randomness; null while entries are taken.",
            root=hexadecimal(32, "Of all tickets."),
            number=number(about="Round of drand, or epoch of the Beacon."),
            reveal_by_ms=TIME,
            commitment=hexadecimal(32),
            committed_s=nullable(number(about="Time of the block that has it, Unix seconds.")),
        )
    ),
    "missed": nullable(flag("Whether the reveal was missed; null before the end.")),
}


def describe_draw(service: Service, draw: Draw) -> dict[str, Any]:
    """Return a draw as it is shown; its secret is not in it."""
    identity = service.identity
    frozen = None
    if draw.frozen is not None:
        commitment = compute_commitment(draw.terms(identity.network, identity.service))
        frozen = {
            "root": draw.frozen.root.hex(),
            "number": draw.frozen.source.number,
            "reveal_by_ms": draw.frozen.reveal_by_ms,
            "commitment": commitment.hex(),
            "committed_s": draw.committed_s or None,
        }
    return {
        "id": draw.id,
        "state": draw.state.value,
        "summary": draw.plan.summary,
        "opens_ms": draw.opens_ms,
        "closes_ms": draw.closes_ms,
        "tickets": draw.tickets,
        "prizes": [
            {"name": each.name, "ppm": each.ppm, "units": each.units, "tickets": each.tickets}
            for each in draw.plan.prizes
        ],
        "key": compute_key(identity.network, identity.service, draw.id).hex(),
        "seed_hash": hash_server_seed(draw.server_seed).hex(),
        "source": SOURCES[draw.plan.source],
        "missed_bonus": draw.plan.missed_bonus,
        "frozen": frozen,
        "missed": draw.missed if draw.state in (State.PAYING, State.DONE) else None,
    }


async def show_draws(service: Service, _: Call) -> Mapping[str, Any]:
    """List the draws that close or closed last."""
    found = await service.database.read(draws.list_draws, SHOWN)
    return {"draws": [describe_draw(service, draw) for draw in found]}


async def show_draw(service: Service, call: Call) -> Mapping[str, Any]:
    """Show a draw, and with a token what its account has in it."""
    name = call.parameters["id"]
    draw = await service.database.read(draws.require_draw, name)
    own = None
    if call.wallet:
        mine = await service.database.read(draws.entries_of_wallet, name, call.wallet, SHOWN)
        own = [{"first_ticket": first, "tickets": tickets} for first, tickets in mine]
    return {**describe_draw(service, draw), "own": own}


async def enter_draw(service: Service, call: Call) -> Mapping[str, Any]:
    """Put tickets into a draw; the same request again is the same entry."""
    name, tickets, request = call.parameters["id"], call.body["tickets"], call.body["request"]
    wallet = call.wallet
    entered = await service.run_at_home(
        wallet, draws.enter, wallet, name, tickets, request, service.now()
    )
    return {
        "draw": entered.draw,
        "first_ticket": entered.first_ticket,
        "tickets": entered.tickets,
        "tickets_left": entered.tickets_left,
    }


async def show_transcript(service: Service, call: Call) -> HttpResponse:
    """Return the file as it was signed: every byte of it counts."""
    name = call.parameters["id"]
    content = await service.transcripts.read(name)
    if content is None:
        await service.database.read(draws.require_draw, name)
        raise NotFound("draw has no transcript yet", name)
    return HttpResponse(200, content)


ROUTES: Final[Sequence[Route[Service]]] = (
    Route(
        "GET",
        "/v1/draws",
        "The draws that close or closed last, the latest first.",
        show_draws,
        fields(draws=listing(fields("A draw.", optional={}, **DRAW), SHOWN)),
    ),
    Route(
        "GET",
        "/v1/draws/{id}",
        "One draw; with a token also what the account has in it.",
        show_draw,
        fields(
            "A draw.",
            optional={},
            own=nullable(listing(fields(first_ticket=number(), tickets=TICKETS), SHOWN)),
            **DRAW,
        ),
        parameters={"id": NAME},
        is_personal=True,
        refusals={404: "There is no such draw."},
    ),
    Route(
        "POST",
        "/v1/draws/{id}/entries",
        "Put tickets into a draw.",
        enter_draw,
        fields(
            draw=NAME,
            first_ticket=number(about="Number of the first of these tickets."),
            tickets=TICKETS,
            tickets_left=TICKETS,
        ),
        body=fields(tickets=number(1, MAX_TICKETS), request=REQUEST),
        parameters={"id": NAME},
        is_private=True,
        refusals={
            404: "There is no such draw.",
            409: "It takes no entries now, it is full, or the account has too few tickets.",
        },
    ),
    Route(
        "GET",
        "/v1/draws/{id}/transcript",
        "The signed record of a draw that has ended, for `kaisar zeronode verify-draw`.",
        show_transcript,
        entries(anything(), "docs/spec/zeronode-draw.md has its one form, byte for byte."),
        parameters={"id": NAME},
        refusals={404: "There is no such draw, or it has not ended."},
    ),
)
