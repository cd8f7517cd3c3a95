"""What the extension makes of a service that lies, or speaks nonsense."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from scripts.extension_states import ABOUT, EARNING, STANDING, State
from scripts.screenshot_extension import LOOKS, ORIGIN, shown
from tests.integration.chromium.services import wait_for
from tests.integration.chromium.test_modules import audit

pytestmark = pytest.mark.integration


KEPT = """
  const seen = { service: "https://127.0.0.1:1", about: {}, standing: { now_ms: 1 }, atMs: 1 };
  const [local, session] = [{ service: seen.service, joined: true }, { seen }];
  const onChanged = { addListener() {} };
  Object.defineProperty(chrome, "storage", { value: {
    local: { get: async (names) => ({ ...names, ...local }), set: async () => undefined },
    session: {
      get: async (name) => ({ [name]: session[name] }),
      remove: async (name) => { globalThis.forgotten = name; },
    },
    onChanged,
  } });
"""


@dataclass(frozen=True)
class Liar(State):
    """Answers as it should, but for some paths."""

    lies: Mapping[str, Any] = field(default_factory=dict)

    def answer(self, method: str, path: str) -> tuple[int, Any]:
        bare = path.partition("?")[0]
        return (200, self.lies[bare]) if bare in self.lies else super().answer(method, path)


@contextmanager
def lied_to(context: BrowserContext, lies: Mapping[str, Any]) -> Iterator[Page]:
    with shown(context, Liar("lied to", EARNING, lies=lies), LOOKS[0]) as page:
        yield page


@pytest.mark.parametrize(
    "lies",
    [
        {"/v1/account": None},
        {"/v1/account": []},
        {"/v1/account": {"now_ms": 1}},
        {"/v1/account": {**STANDING, "streak": None}},
        {"/v1/service": None},
        {"/v1/tokens/nonce": {"nonce": 7}},
    ],
    ids=("null", "a list", "no fields", "no streak", "no service", "no nonce"),
)
def test_nonsense_is_said_and_not_kept(context: BrowserContext, lies: dict[str, Any]) -> None:
    with lied_to(context, lies) as page:
        expect(page.locator("#notice")).to_be_visible()
        expect(page.locator("#signed-in")).to_be_hidden()
        assert page.evaluate("chrome.storage.session.get('seen')") in ({}, {"seen": None})


def test_numbers_that_cannot_be_shown_any_more_are_forgotten(context: BrowserContext) -> None:
    page = context.new_page()
    try:
        page.add_init_script(KEPT)
        page.goto(f"{ORIGIN}/popup.html")
        expect(page.locator("#notice")).to_be_visible()
        assert page.evaluate("globalThis.forgotten") == "seen"
        expect(page.locator("#signed-in")).to_be_hidden()
    finally:
        page.close()


@pytest.mark.parametrize("path", ["/v1/missions", "/v1/draws"])
def test_nonsense_of_a_tab_is_said(context: BrowserContext, path: str) -> None:
    with lied_to(context, {path: {"missions": [None], "draws": None}}) as page:
        page.locator("#tab-earn").click()
        expect(page.locator("#notice")).to_be_visible()


@pytest.mark.parametrize("unit", ["points", "tickets"])
def test_a_balance_that_is_not_proved_is_missed(blank: Page, unit: str) -> None:
    found = audit(blank, **{f"balances__{unit}": None})
    assert "bad" in {finding["state"] for finding in found}


def test_an_entry_of_a_closed_day_without_a_proof_is_missed(blank: Page) -> None:
    found = audit(blank, proofs__2=None)
    assert "bad" in {finding["state"] for finding in found}


WELCOMED_AND_DROPPED = """
async () => {
  const kept = { status: undefined };
  const local = { service: "https://127.0.0.1:1", joined: true };
  Object.defineProperty(chrome, "storage", { value: {
    local: { get: async (names) => ({ ...names, ...local }), set: async () => undefined },
    session: {
      get: async () => kept,
      set: async (changes) => { Object.assign(kept, changes); },
    },
  } });
  const key = "00".repeat(32);
  globalThis.fetch = async () => new Response(JSON.stringify({ service: key, network: key }));
  globalThis.WebSocket = class {
    constructor() {
      setTimeout(() => this.say({ t: "greet", v: 1, service: key, nonce: key }));
    }
    say(frame) { this.onmessage({ data: JSON.stringify(frame) }); }
    send() {
      const sid = "00".repeat(16);
      this.say({ t: "welcome", sid, bound: true, earning: true, reason: "" });
      setTimeout(() => this.onclose(), 50);
    }
    close() {}
  };
  globalThis.kept = kept;
  const { Keeper } = await import("./lib/keeper.js");
  new Keeper().look();
}
"""


def test_whoever_is_welcomed_and_dropped_comes_back_more_and_more_slowly(
    context: BrowserContext,
) -> None:
    page = context.new_page()
    try:
        page.goto(f"{ORIGIN}/manifest.json")
        page.evaluate(WELCOMED_AND_DROPPED)
        told = "globalThis.kept.status?.failures >= 3"
        wait_for(lambda: page.evaluate(told), "three failures in a row", 8)
    finally:
        page.close()


@contextmanager
def opened(context: BrowserContext, state: State) -> Iterator[Page]:
    with shown(context, state, LOOKS[0]) as page:
        yield page


def test_signing_out_needs_no_service(context: BrowserContext) -> None:
    away = State("away", EARNING, is_seen=True, is_reachable=False)
    with opened(context, away) as page:
        fingerprint = page.locator("#settings [data-fill=fingerprint]")
        before = fingerprint.text_content()
        page.locator("#tab-settings").click()
        for _ in range(2):
            page.locator("#sign-out").click()
        expect(fingerprint).not_to_have_text(before or "", use_inner_text=False)
        expect(fingerprint).not_to_have_text("…", use_inner_text=False)


def test_what_needs_the_service_says_that_it_is_away(context: BrowserContext) -> None:
    with opened(context, State("away", EARNING, is_seen=True, is_reachable=False)) as page:
        page.locator("#check-in").click()
        expect(page.locator("#notice")).to_contain_text("The service has not answered yet")


def test_another_wallet_than_before_is_pointed_out(context: BrowserContext) -> None:
    other = {"wallet": "0x" + "11" * 20}
    with opened(context, State("other", EARNING, settings=other)) as page:
        expect(page.locator("#other-wallet")).to_be_visible()
        expect(page.locator("#known-wallet")).to_have_text(other["wallet"])
        expect(page.locator("#shown-wallet")).to_have_text(STANDING["wallet"])
        page.locator("#accept-wallet").click()
        expect(page.locator("#other-wallet")).to_be_hidden()
        kept = page.evaluate("chrome.storage.local.get({ wallet: '' })")
        assert kept["wallet"] == STANDING["wallet"]


def test_the_first_wallet_is_remembered(context: BrowserContext) -> None:
    with opened(context, State("first", EARNING)) as page:
        expect(page.locator("#wallet")).to_have_text(STANDING["wallet"], use_inner_text=False)
        expect(page.locator("#other-wallet")).to_be_hidden()
        kept = page.evaluate("chrome.storage.local.get({ wallet: '' })")
        assert kept["wallet"] == STANDING["wallet"]


CHANGED_MEANWHILE = """
({ about, standing }) => {
  const [old, other] = ["https://127.0.0.1:1", "https://127.0.0.1:2"];
  const local = { service: old, joined: true, wallet: standing.wallet };
  const heard = [];
  Object.defineProperty(chrome, "storage", { value: {
    local: {
      get: async (names) => ({ ...names, ...local }),
      set: async (changes) => { Object.assign(local, changes); },
    },
    session: { get: async () => ({}), set: async () => undefined, remove: async () => undefined },
    onChanged: { addListener: (listener) => heard.push(listener) },
  } });
  const answer = async (url) => {
    const { origin, pathname } = new URL(url);
    if (pathname === "/v1/service") return about;
    if (pathname === "/v1/tokens/nonce") return { nonce: "00".repeat(32) };
    if (pathname === "/v1/tokens") return { token: "t" };
    if (pathname !== "/v1/account") return {};
    if (origin === other) return { ...standing, tickets: 22 };
    local.service = other;
    for (const listener of heard) listener({ service: { newValue: other } }, "local");
    await new Promise((resolve) => setTimeout(resolve, 300));
    return { ...standing, tickets: 11 };
  };
  globalThis.fetch = async (url) => new Response(JSON.stringify(await answer(url)));
}
"""


def test_numbers_of_the_service_before_are_not_shown(context: BrowserContext) -> None:
    page = context.new_page()
    try:
        told = json.dumps({"about": ABOUT, "standing": STANDING})
        page.add_init_script(f"({CHANGED_MEANWHILE})({told})")
        page.goto(f"{ORIGIN}/popup.html")
        expect(page.locator("#tickets")).to_have_text("22", timeout=10_000)
    finally:
        page.close()
