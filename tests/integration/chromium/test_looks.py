"""What the popup looks like and how it is used without a mouse, in every state."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from scripts.extension_states import STATES, State
from scripts.screenshot_extension import LOOKS, ROOT, Look, shown

pytestmark = pytest.mark.integration

# For each visible element with text of its own: its contrast with what is behind it.
CONTRASTS = """() => {
  const parse = (color) => {
    const [r, g, b, a = 1] = color.match(/[0-9.]+/g).map(Number);
    return color.startsWith("color(srgb") ? [255 * r, 255 * g, 255 * b, a] : [r, g, b, a];
  };
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => v / 255).map(
      (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const color = parse(getComputedStyle(each).backgroundColor);
      if (color[3] === 1) return color;
      if (color[3] !== 0) throw new Error("a colour that is half transparent");
    }
    throw new Error("nothing behind");
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    const isField = element.matches("input:not([type=checkbox])");
    if ((!own && !isField) || !element.checkVisibility() || element.closest(".hidden")) continue;
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(behind(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    found.push([ratio, element.id || element.className || element.tagName, element.textContent]);
  }
  return found;
}"""

CUT_OFF = """() => {
  const found = [];
  const wide = document.documentElement.scrollWidth - innerWidth;
  if (wide > 0) found.push(`the page is ${wide} px too wide`);
  for (const element of document.querySelectorAll("body *")) {
    if (!element.checkVisibility() || element.closest(".hidden, svg") || element.matches("input")) {
      continue;
    }
    const style = getComputedStyle(element);
    const isCut = element.scrollWidth > element.clientWidth + 1 && style.display !== "inline";
    const place = element.getBoundingClientRect();
    if (isCut || place.right > innerWidth + 1 || place.left < -1) {
      found.push(`${element.tagName} ${element.id} ${element.textContent.slice(0, 40)}`);
    }
  }
  return found;
}"""

UNNAMED = """() => [...document.querySelectorAll("button, input, progress, a, [role=img]")]
  .filter((element) => element.checkVisibility())
  .filter((element) => {
    const labels = [...(element.labels ?? [])].map((label) => label.textContent);
    const pointed = (element.getAttribute("aria-labelledby") ?? "").split(" ").filter(Boolean)
      .map((id) => document.getElementById(id).textContent);
    const name = [element.getAttribute("aria-label"), element.textContent, ...labels, ...pointed];
    return !name.join("").trim();
  }).map((element) => element.outerHTML)"""


@contextmanager
def popup(context: BrowserContext, name: str, look: str = "light") -> Iterator[Page]:
    with shown(context, state_of(name), look_of(look)) as page:
        yield page


def state_of(name: str) -> State:
    return next(state for state in STATES if state.name == name)


def look_of(name: str) -> Look:
    return next(look for look in LOOKS if look.name == name)


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_every_state_can_be_read(context: BrowserContext, state: State) -> None:
    with shown(context, state, look_of("light")) as page:
        assert page.evaluate(UNNAMED) == []
        for look in LOOKS:
            # At 200 % zoom the page has half the width, in twice the size.
            page.emulate_media(color_scheme=look.scheme)
            page.set_viewport_size({"width": look.width, "height": look.height})
            contrasts = page.evaluate(CONTRASTS)
            assert len(contrasts) > 5
            assert [found for found in contrasts if found[0] < 4.5] == [], look.name
            assert page.evaluate(CUT_OFF) == [], look.name


def test_a_tab_of_its_own_can_be_read(context: BrowserContext) -> None:
    with popup(context, "settings", "tab") as page:
        assert page.evaluate(CUT_OFF) == []
        page.set_viewport_size({"width": 320, "height": 400})
        assert page.evaluate(CUT_OFF) == []


def test_the_check_of_contrast_can_fail(context: BrowserContext) -> None:
    with popup(context, "today") as page:
        page.evaluate('document.getElementById("points-total").style.color = "#999999"')
        low = [name for ratio, name, _ in page.evaluate(CONTRASTS) if ratio < 4.5]
    assert low == ["points-total"]


def test_the_check_of_what_is_cut_off_can_fail(context: BrowserContext) -> None:
    with popup(context, "today") as page:
        page.evaluate('document.getElementById("check-in").style.whiteSpace = "nowrap"')
        page.evaluate('document.getElementById("check-in").textContent = "long ".repeat(50)')
        assert page.evaluate(CUT_OFF) != []


def test_everything_is_reached_by_the_keyboard(context: BrowserContext) -> None:
    with popup(context, "today") as page:
        reached = walk(page)
        assert reached[:3] == ["running", "tab-today", "check-in"]
        assert reached[-1] == "open-tab"
        page.locator("#tab-today").focus()
        page.keyboard.press("ArrowRight")
        expect(page.locator("#tab-earn")).to_be_focused()
        expect(page.locator("#earn")).to_be_visible()
        expect(page.locator("#today")).to_be_hidden()
        expect(page.locator("#missions button").first).to_be_visible()
        assert {"referral-link", "copy-link", "burn-count", "draw-enter", "nft-link"} <= set(
            walk(page)
        )
        page.locator("#tab-earn").focus()
        page.keyboard.press("End")
        expect(page.locator("#settings")).to_be_visible()
        assert {"coarse", "service-address", "sign-out"} <= set(walk(page))
        page.locator("#tab-settings").focus()
        page.keyboard.press("ArrowRight")
        expect(page.locator("#tab-today")).to_be_focused()


def walk(page: Page) -> list[str]:
    """Press Tab from the top to the bottom; every stop shows that it has the focus."""
    page.evaluate(
        "document.activeElement.blur(); document.body.tabIndex = -1; document.body.focus()"
    )
    stops = []
    for _ in range(60):
        page.keyboard.press("Tab")
        stop = page.evaluate(
            """() => {
              const element = document.activeElement;
              if (element === document.body) return null;
              const style = getComputedStyle(element);
              return [element.id, style.outlineStyle, parseFloat(style.outlineWidth)];
            }"""
        )
        if stop is None or (stops and stop[0] and stop[0] == stops[0]):
            break
        assert stop[1] == "solid", stop
        assert stop[2] >= 2, stop
        stops.append(stop[0])
    return stops


def test_the_switch_pauses_and_says_so(context: BrowserContext) -> None:
    with popup(context, "today") as page:
        switch = page.get_by_role("switch", name="On")
        expect(switch).to_be_checked()
        switch.press("Space")
        assert page.evaluate("chrome.storage.local.get({ paused: false })")["paused"] is True


def test_motion_stops_for_who_asks_for_it(context: BrowserContext) -> None:
    with popup(context, "today") as page:
        moving = "getComputedStyle(document.querySelector('.dot')).animationName"
        assert page.evaluate(moving) == "none"
        page.emulate_media(reduced_motion="no-preference")
        assert page.evaluate(moving) == "breathe"


def test_numbers_are_those_that_the_service_gave(context: BrowserContext) -> None:
    with popup(context, "today-holder") as page:
        expect(page.locator("#uptime-today")).to_have_text("11 h 37 min")
        expect(page.locator("#points-today")).to_have_text("290.77")
        expect(page.locator("#points-total")).to_have_text("123,456.77")
        expect(page.locator("#multiplier")).to_have_text("×2")
        expect(page.locator("#tickets")).to_have_text("1,204")
        expect(page.locator("#check-in")).to_be_disabled()
        expect(page.locator("#streak-reset")).to_have_text(
            "Next check-in in 9:37:00, from 01:00 your time (midnight UTC) on."
        )


def test_hours_left_to_the_gate_are_shown(context: BrowserContext) -> None:
    with popup(context, "earn") as page:
        expect(page.locator("#gate-left")).to_contain_text("2 h 15 min left")
        value = "document.getElementById('gate-progress').value"
        assert page.evaluate(value) == 13_500


def test_a_burn_asks_before_it_does(context: BrowserContext) -> None:
    sent = []
    with popup(context, "earn") as page:
        page.on("request", lambda request: sent.append(request.url))
        page.locator("#burn").click()
        expect(page.locator("#burn")).to_have_text("Burn 300 points?")
        assert not [url for url in sent if url.endswith("/burn")]
        page.clock.fast_forward(7_000)
        expect(page.locator("#burn")).to_have_text("Burn")


def test_a_forged_entry_is_named(context: BrowserContext) -> None:
    with popup(context, "ledger-forged") as page:
        expect(page.locator("#check-result strong")).to_have_text("Something does not add up")
        assert page.locator("#check-result li.bad").all_inner_texts() == [
            "Fails:\nanother hash than the content gives: no. 2",
            "Fails:\nnot in the tree of their day: no. 2",
        ]


@pytest.mark.parametrize(
    ("typed", "complaint"),
    [
        ("zeronode", "That is not an address"),
        ("http://zeronode.example", "has to begin with https://"),
        ("https://zeronode.example/page", "Only the first part is needed"),
        ("ftp://127.0.0.1", "has to begin with https://"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused(
    context: BrowserContext, typed: str, complaint: str
) -> None:
    with popup(context, "settings") as page:
        page.locator("#service-address").fill(typed)
        page.locator("#service-form button").click()
        expect(page.locator("#notice")).to_contain_text(complaint)
        kept = page.evaluate("chrome.storage.local.get({ joined: false })")
        assert kept["joined"] is True


def test_pictures_are_made_of_every_state(chromium: str, tmp_path: Path) -> None:
    script = ROOT / "scripts" / "screenshot_extension.py"
    # One state: that all of them open is tested above.
    arguments = [sys.executable, script, tmp_path, "--chromium", chromium, "--only", "welcome"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    pictures = sorted(path.name for path in tmp_path.iterdir())
    assert pictures == sorted(f"welcome.{look.name}.png" for look in LOOKS)
