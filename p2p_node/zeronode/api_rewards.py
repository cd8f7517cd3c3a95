"""Missions and campaigns: what there is to do, and claiming what was done."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from p2p_node.zeronode.campaigns import CampaignState, claim_task, list_campaigns
from p2p_node.zeronode.missions import Missions, MissionState, claim_mission, list_missions
from p2p_node.zeronode.parts import Service
from p2p_node.zeronode.routes import Call, Route
from p2p_node.zeronode.schemas import (
    TICKETS,
    TIME,
    UNITS,
    Schema,
    choice,
    fields,
    flag,
    listing,
    nullable,
    number,
    text,
    words,
)
from protocols.zeronode_missions import MAX_CODE_LENGTH, Measure, Period, Task

NAME: Final = text("[a-z0-9][a-z0-9-]{0,31}", 32)

TASK: Final[dict[str, Schema]] = {
    "name": NAME,
    "title": words(80),
    "summary": words(240),
    "measure": choice(*Measure, about="What is looked at."),
    "least": number(1, about="What it has to reach."),
    "units": UNITS,
    "tickets": TICKETS,
}

WORD: Final = fields(
    optional={"code": words(MAX_CODE_LENGTH, "The word, for a task that asks for one.")}
)


def describe_task(task: Task) -> dict[str, Any]:
    """Return a task as it is shown; the word that it may ask for is not in it."""
    return {
        "name": task.name,
        "title": task.title,
        "summary": task.summary,
        "measure": task.condition.measure.value,
        "least": task.condition.least,
        "units": task.units,
        "tickets": task.tickets,
    }


async def show_missions(service: Service, call: Call) -> Mapping[str, Any]:
    """List all missions, and with a token how far its account has come with each."""
    missions = service.missions
    if not call.wallet:
        return {"missions": [_describe_mission(name, missions, None) for name in missions]}
    states = await service.database.read(
        list_missions, missions, call.wallet, service.rules, service.now()
    )
    found = zip(missions, states, strict=True)
    return {"missions": [_describe_mission(name, missions, state) for name, state in found]}


def _describe_mission(name: str, missions: Missions, state: MissionState | None) -> dict[str, Any]:
    mission = missions[name]
    own = state and {
        "reached": state.reached,
        "is_met": state.is_met,
        "is_claimed": state.claimed,
        "next_window_ms": state.next_window_ms,
    }
    return {**describe_task(mission.task), "period": mission.period.value, "own": own}


async def claim_one_mission(service: Service, call: Call) -> Mapping[str, Any]:
    """Claim a mission; again within its window it is the same."""
    code = _take_word(service, call)
    name, now = call.parameters["name"], service.now()
    claim = await service.run_at_home(
        call.wallet, claim_mission, service.missions, call.wallet, name, code, service.rules, now
    )
    return {"units": claim.units, "tickets": claim.tickets, "claimed_ms": claim.claimed_ms}


async def show_campaigns(service: Service, call: Call) -> Mapping[str, Any]:
    """List all campaigns, and with a token what its account has claimed."""
    states = await service.database.read(list_campaigns, service.campaigns, call.wallet or None)
    return {"campaigns": [_describe_campaign(state, bool(call.wallet)) for state in states]}


def _describe_campaign(state: CampaignState, is_own: bool) -> dict[str, Any]:
    campaign = state.campaign
    return {
        "name": campaign.name,
        "title": campaign.title,
        "summary": campaign.summary,
        "opens_ms": campaign.opens_ms,
        "closes_ms": campaign.closes_ms,
        "budget": campaign.budget,
        "spent": state.spent,
        "tasks": [
            {**describe_task(task), "is_claimed": name in state.claimed if is_own else None}
            for name, task in campaign.tasks.items()
        ],
    }


async def claim_campaign_task(service: Service, call: Call) -> Mapping[str, Any]:
    """Claim a campaign's task; again it is the same."""
    code = _take_word(service, call)
    campaign, task = call.parameters["campaign"], call.parameters["task"]
    work = partial(claim_task, rules=service.rules, now_ms=service.now())
    claim = await service.run_at_home(
        call.wallet, work, service.campaigns, call.wallet, campaign, task, code
    )
    return {"tickets": claim.tickets, "claimed_ms": claim.claimed_ms}


def _take_word(service: Service, call: Call) -> str | None:
    """Return the word of a claim. Raises TooMany for whoever tries too many."""
    code: str | None = call.body.get("code")
    if code is not None:
        service.rates.take("code", call.wallet, service.now())
    return code


ROUTES: Final[Sequence[Route[Service]]] = (
    Route(
        "GET",
        "/v1/missions",
        "All missions; with a token also how far the account has come.",
        show_missions,
        fields(
            missions=listing(
                fields(
                    period=choice(*Period),
                    own=nullable(
                        fields(
                            reached=number(),
                            is_met=flag(),
                            is_claimed=flag("In the window that is open now."),
                            next_window_ms=nullable(TIME),
                        )
                    ),
                    **TASK,
                ),
                100,
            )
        ),
        is_personal=True,
    ),
    Route(
        "POST",
        "/v1/account/missions/{name}",
        "Claim a mission.",
        claim_one_mission,
        fields(units=UNITS, tickets=TICKETS, claimed_ms=TIME),
        body=WORD,
        parameters={"name": NAME},
        is_private=True,
        refusals={404: "There is no such mission.", 409: "Its condition does not hold yet."},
    ),
    Route(
        "GET",
        "/v1/campaigns",
        "All campaigns; with a token also what the account has claimed.",
        show_campaigns,
        fields(
            campaigns=listing(
                fields(
                    name=NAME,
                    title=words(80),
                    summary=words(240),
                    opens_ms=TIME,
                    closes_ms=TIME,
                    budget=TICKETS,
                    spent=TICKETS,
                    tasks=listing(fields(is_claimed=nullable(flag()), **TASK), 20),
                ),
                50,
            )
        ),
        is_personal=True,
    ),
    Route(
        "POST",
        "/v1/account/campaigns/{campaign}/{task}",
        "Claim a campaign's task.",
        claim_campaign_task,
        fields(tickets=TICKETS, claimed_ms=TIME),
        body=WORD,
        parameters={"campaign": NAME, "task": NAME},
        is_private=True,
        refusals={
            404: "There is no such campaign or task.",
            409: "It is not open, its condition does not hold, or its tickets are gone.",
        },
    ),
)
