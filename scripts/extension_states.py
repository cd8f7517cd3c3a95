"""States of the extension's popup, for pictures and for tests of its looks."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Page, expect

from protocols.zeronode_rules import CHECK_IN_POINTS, MAINNET_RULES, TICKET_UNITS, UNITS_PER_POINT
from scripts.extension_books import (
    DAY_STARTS_MS,
    HOUR_MS,
    NETWORK,
    SERVICE_KEY,
    WALLET,
    make_books,
)

SERVICE = "http://127.0.0.1:8750"
OTHER_KEY = bytes(range(32, 64))
NOW_MS = DAY_STARTS_MS + 14 * HOUR_MS + 23 * 60_000
BOOKS = make_books()

ABOUT: Mapping[str, Any] = {
    "service": SERVICE_KEY.hex(),
    "network": NETWORK.hex(),
    "chain_id": 9990,
    "rules": {
        "day_ms": MAINNET_RULES.day_ms,
        "gate_ms": MAINNET_RULES.gate_ms,
        "check_in_points": list(CHECK_IN_POINTS),
        "ticket_units": TICKET_UNITS,
    },
}


def at(hours: float) -> int:
    """A time of the day that is shown."""
    return DAY_STARTS_MS + int(hours * HOUR_MS)


SEGMENTS = [[at(0), at(5.2)], [at(6.9), at(7.05)], [at(8.1), NOW_MS - 8_000]]
UPTIME_S = sum(end - start for start, end in SEGMENTS) // 1000

STANDING: Mapping[str, Any] = {
    "wallet": f"0x{WALLET.hex()}",
    "home": True,
    "home_service": SERVICE_KEY.hex(),
    "now_ms": NOW_MS,
    "day": DAY_STARTS_MS // (24 * HOUR_MS),
    "day_ends_ms": at(24),
    "uptime_today_s": UPTIME_S,
    "segments_today": SEGMENTS,
    "today_units": UPTIME_S * 10,
    "pending_units": 0,
    "points_units": BOOKS.points,
    "tickets": BOOKS.tickets,
    "multiplier": 1,
    "nft": {"token": None, "state": "none"},
    "streak": {
        "days": 3,
        "checked_in": False,
        "next_units": 20 * UNITS_PER_POINT,
        "resets_ms": at(24),
    },
    "referral": {
        "code": "k7m2q9xw",
        "link": f"{SERVICE}/sign-in#ref=k7m2q9xw",
        "referred": True,
        "run_s": 13_500,
        "gate_s": 21_600,
        "gated": False,
        "waiting_reason": "",
        "invited": 4,
        "invited_gated": 2,
    },
    "location": {
        "country": "Germany",
        "region": "Berlin",
        "network": "AS3320 Deutsche Telekom AG",
        "coarse": None,
        "mismatch": False,
    },
    "status": {"earning": True, "reason": ""},
    "next_draw": {"id": "weekly-2969", "closes_ms": at(53.6)},
}


def mission(
    name: str,
    period: str,
    points: int,
    title: str,
    summary: str,
    measure: str,
    reached: tuple[int, int],
    *,
    tickets: int = 0,
    is_claimed: bool = False,
) -> Mapping[str, Any]:
    """A mission as the service shows it to an account; `reached` is so much of so much."""
    return {
        "name": name,
        "period": period,
        "title": title,
        "summary": summary,
        "measure": measure,
        "least": reached[1],
        "units": points * UNITS_PER_POINT,
        "tickets": tickets,
        "own": {
            "reached": reached[0],
            "is_met": reached[0] >= reached[1],
            "is_claimed": is_claimed,
            "next_window_ms": None if period == "once" else at(24),
        },
    }


MISSIONS = [
    mission(
        *("six-hours-today", "daily", 10, "Six hours today"),
        *("Stay online for six hours of this day.", "uptime_today_s", (UPTIME_S, 21_600)),
    ),
    mission(
        *("steady-week", "weekly", 75, "A steady week"),
        "Stay online for 100 hours between Monday and Sunday.",
        *("uptime_week_s", (221_400, 360_000)),
    ),
    mission(
        *("five-friends", "once", 200, "Five friends"),
        "Invite five accounts whose nodes run for six hours in a row.",
        *("referrals", (2, 5)),
        tickets=1,
    ),
    mission(
        *("newsletter", "once", 15, "The word of the newsletter"),
        *("Find it in the November letter.", "code", (0, 1)),
    ),
    mission(
        *("first-hour", "once", 20, "The first hour"),
        *("Stay online for an hour in a row.", "run_s", (3_600, 3_600)),
        is_claimed=True,
    ),
]

CAMPAIGNS = [
    {
        "name": "autumn",
        "title": "Autumn",
        "summary": "Tickets for early guests.",
        "opens_ms": at(-48),
        "closes_ms": at(76),
        "budget": 500,
        "spent": 181,
        "tasks": [
            {
                "name": "two-guests",
                "title": "Two guests",
                "summary": "Invite two accounts whose nodes run for six hours in a row.",
                "measure": "referrals",
                "least": 2,
                "units": 0,
                "tickets": 1,
                "is_claimed": False,
            }
        ],
    }
]

DRAWS: list[Mapping[str, Any]] = [
    {
        "id": "weekly-2969",
        "state": "open",
        "summary": "Every week, for everybody.",
        "opens_ms": at(-90),
        "closes_ms": at(53.6),
        "prizes": [
            {"name": "10,000 points", "ppm": 2_000, "units": 28_800_000, "tickets": 0},
            {"name": "1,000 points", "ppm": 60_000, "units": 2_880_000, "tickets": 0},
            {"name": "Two tickets", "ppm": 100_000, "units": 0, "tickets": 2},
        ],
    },
    {"id": "weekly-2968", "state": "done", "opens_ms": at(-258), "closes_ms": at(-114)},
]
OPEN_DRAW = {**DRAWS[0], "own": [{"first_ticket": 7, "tickets": 2}]}

SERVICES = [
    {"service": SERVICE_KEY.hex(), "url": SERVICE},
    {"service": OTHER_KEY.hex(), "url": "https://zeronode.example"},
]

SETTINGS: Mapping[str, Any] = {
    "service": SERVICE,
    "joined": True,
    "paused": False,
    "signingInUntil": 0,
    "moving": None,
    "pins": {SERVICE: {"service": SERVICE_KEY.hex(), "network": NETWORK.hex()}},
}


def stay(page: Page) -> None:
    """Wait until the page stands."""
    expect(page.locator("#status-reason")).not_to_be_empty()


def see_numbers(page: Page) -> None:
    """Wait for the account's numbers."""
    expect(page.locator("#points-total")).not_to_have_text("–")


def open_tab(name: str, wait_for: str) -> Callable[[Page], None]:
    """Open a tab, and wait until there is something in it."""

    def prepare(page: Page) -> None:
        page.get_by_role("tab", name=name).click()
        expect(page.locator(wait_for).first).to_be_visible()

    return prepare


def check_books(page: Page) -> None:
    """Have the ledger checked."""
    open_tab("Ledger", "#entries li")(page)
    page.locator("#check-ledger").click()
    expect(page.locator("#check-result li").first).to_be_visible()


@dataclass(frozen=True)
class State:
    """What worker and service say, and what is done on the page before one looks."""

    name: str
    status: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    standing: Mapping[str, Any] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    is_reachable: bool = True
    is_forged: bool = False
    is_seen: bool = False
    prepare: Callable[[Page], None] = stay
    service: str = SERVICE

    def storage_json(self, *, is_tab: bool) -> str:
        """What the page finds in chrome.storage, and whether it is in a tab."""
        session: dict[str, Any] = {"status": self.status}
        if self.is_seen:
            session["seen"] = {
                "service": SERVICE,
                "about": ABOUT,
                "standing": STANDING,
                "atMs": NOW_MS - 95_000,
            }
        local = {**SETTINGS, **self.settings}
        return json.dumps({"local": local, "session": session, "isTab": is_tab})

    def answer(self, method: str, path: str) -> tuple[int, Any]:
        """Status and body of an answer; status 0 for none."""
        if not self.is_reachable:
            return 0, None
        if method == "OPTIONS":
            return 204, None
        bare = path.partition("?")[0]
        answers: Mapping[str, Any] = {
            "/v1/service": {**ABOUT, **self.about},
            "/v1/tokens/nonce": {"nonce": "00" * 32},
            "/v1/tokens": {"token": "for-pictures-only", "expires_ms": NOW_MS + HOUR_MS},
            "/v1/account": {**STANDING, **self.standing},
            "/v1/account/proof": BOOKS.balances,
            f"/v1/days/{BOOKS.balances['day']}": {"anchored": {"root": BOOKS.root}},
            "/v1/missions": {"missions": MISSIONS},
            "/v1/services": {"services": SERVICES},
            "/v1/campaigns": {"campaigns": CAMPAIGNS},
            "/v1/draws": {"draws": DRAWS},
            f"/v1/draws/{OPEN_DRAW['id']}": OPEN_DRAW,
        }
        if bare == "/v1/account/ledger":
            return 200, self._ledger(path)
        return (200, answers[bare]) if bare in answers else (404, {"error": "no such path"})

    def _ledger(self, path: str) -> Mapping[str, Any]:
        entries = [dict(entry) for entry in BOOKS.entries]
        if self.is_forged:
            entries[1]["note"] = "changed afterwards"
        if "newest=" in path:
            return {"entries": entries[::-1], "proofs": BOOKS.proofs[::-1]}
        after = int(path.partition("after=")[2].partition("&")[0])
        return {"entries": entries[after:], "proofs": BOOKS.proofs[after:]}


def status(state: str, reason: str = "", **changes: Any) -> Mapping[str, Any]:
    """What the worker says."""
    return {
        "state": state,
        "reason": reason,
        "sinceMs": NOW_MS - 4 * HOUR_MS,
        "saidMs": NOW_MS - 8_000,
        "lastPaidMs": NOW_MS - 8_000,
        "beats": 1_311,
        "retryAtMs": 0,
        "waitMs": 0,
        "failures": 0,
        "wanted": SERVICE,
        "boot": "00" * 16,
        **changes,
    }


EARNING = status("earning")
NEW = {"joined": False, "pins": {}}
HOLDER = {
    "multiplier": 2,
    "nft": {"token": "4711", "state": "held"},
    "today_units": UPTIME_S * 20,
    "pending_units": 599 * UNITS_PER_POINT,
    "streak": {
        "days": 7,
        "checked_in": True,
        "next_units": 5 * UNITS_PER_POINT,
        "resets_ms": at(24),
    },
    "points_units": 12_345_678 * 2880 // 100,
    "tickets": 1_204,
}
WAITING = "waiting for your signature on the sign-in page"

STATES = (
    State("welcome", status("signed-out", "sign in with a wallet to begin"), settings=NEW),
    State(
        "waiting",
        status("signed-out", WAITING),
        settings={**NEW, "signingInUntil": NOW_MS + 600_000},
    ),
    State("today", EARNING, prepare=see_numbers),
    State("today-holder", EARNING, standing=HOLDER, prepare=see_numbers),
    State(
        "today-idle",
        status("idle", "another session of this account earns"),
        standing={"uptime_today_s": 0, "segments_today": [], "today_units": 0},
        prepare=see_numbers,
    ),
    State(
        "offline",
        status("offline", "the service cannot be reached", failures=5, retryAtMs=NOW_MS + 24_000),
        is_reachable=False,
        is_seen=True,
        prepare=see_numbers,
    ),
    State(
        "paused",
        status("paused", "you switched it off"),
        settings={"paused": True},
        prepare=see_numbers,
    ),
    State(
        "other-service",
        status("stopped", "the service shows another key than before"),
        about={"service": OTHER_KEY.hex()},
        prepare=lambda page: expect(page.locator("#other-service")).to_be_visible(),
    ),
    State("earn", EARNING, prepare=open_tab("Earn", "#draw-prizes li")),
    State("ledger", EARNING, prepare=open_tab("Ledger", "#entries li")),
    State("ledger-checked", EARNING, prepare=check_books),
    State("ledger-forged", EARNING, is_forged=True, prepare=check_books),
    State("settings", EARNING, prepare=open_tab("Settings", "#move-form")),
    State(
        "settings-shared",
        EARNING,
        standing={
            "location": {**STANDING["location"], "coarse": [525, 134], "mismatch": True},
            "home": False,
            "home_service": OTHER_KEY.hex(),
        },
        prepare=open_tab("Settings", "#move-form"),
    ),
)
