"""The extension in real Chromium against a real service, from the installation on."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page, Playwright, expect

from protocols.uptime import total_ms
from protocols.zeronode_rules import UNITS_PER_SECOND
from tests.integration.chromium.browsers import (
    SECONDS,
    TestWallet,
    driven,
    kill_workers,
    left_alone,
    open_popup,
    processes_of,
    sign_in,
)
from tests.integration.chromium.services import ServiceProcess, service_running, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(280)]

DAY_MS = 20_000
QUICK = {
    "day_ms": DAY_MS,
    "close_delay_ms": 1_000,
    "challenge_min_ms": 700,
    "challenge_max_ms": 1_200,
    "answer_ms": 3_000,
    "max_credit_ms": 5_000,
    "join_gap_ms": 6_000,
    "gate_ms": 4_000,
}

AS_ON_A_REAL_NETWORK = {
    "day_ms": 86_400_000,
    "challenge_min_ms": 12_000,
    "challenge_max_ms": 22_000,
    "answer_ms": 5_000,
    "max_credit_ms": 30_000,
    "join_gap_ms": 90_000,
}

WALLET = TestWallet(11)


@dataclass
class Home:
    """A service, and a profile that signed in there."""

    service: ServiceProcess
    profile: Path
    key: str
    boot: str
    fingerprints: tuple[str, str]
    first_beat_seconds: float

    def copy_of_profile(self, directory: Path) -> Path:
        return shutil.copytree(self.profile, directory, ignore=shutil.ignore_patterns("Singleton*"))


def key_of(page: Page) -> str:
    key: str = page.evaluate(
        """async () => {
          const { loadKey } = await import("./lib/keys.js");
          return (await loadKey()).hex;
        }"""
    )
    return key


def status_of(page: Page) -> dict[str, object]:
    """What the worker says."""
    status: dict[str, object] = page.evaluate("chrome.storage.session.get('status')")["status"]
    return status


@pytest.fixture(scope="module")
def home(
    playwright: Playwright, chromium: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Home]:
    """Install, sign in, wait for the first paid beat, and close the browser."""
    directory = tmp_path_factory.mktemp("service")
    profile = tmp_path_factory.mktemp("home") / "profile"
    with service_running(directory, **QUICK) as service:
        with driven(playwright, chromium, profile) as context:
            page = sign_in(context, service, WALLET)
            signed = time.monotonic()
            shown = page.locator("#fingerprint").inner_text()
            wait_for(lambda: service.paid_ms(WALLET.address), "a paid beat", 30)
            seconds = time.monotonic() - signed
            popup = open_popup(context)
            expect(popup.locator("#status-title")).to_have_text("Earning", timeout=SECONDS)
            own = popup.locator("#settings [data-fill=fingerprint]").text_content() or ""
            found = Home(
                service,
                profile,
                key_of(popup),
                str(status_of(popup)["boot"]),
                (shown, own),
                seconds,
            )
        yield found


def test_install_sign_in_first_beat(home: Home) -> None:
    on_page, in_popup = home.fingerprints
    assert on_page == in_popup
    assert len(on_page) == 39
    # Two beats make a stretch, and the extension asks every 2 s whether it was signed in.
    assert home.first_beat_seconds < 25


def test_the_key_cannot_be_exported(home: Home, playwright: Playwright, chromium: str) -> None:
    with driven(playwright, chromium, home.profile) as context:
        refused = open_popup(context).evaluate(
            """async () => {
              const { loadKey } = await import("./lib/keys.js");
              const { privateKey } = await loadKey();
              try {
                await crypto.subtle.exportKey("pkcs8", privateKey);
                return "";
              } catch (error) {
                return error.name;
              }
            }"""
        )
    assert refused == "InvalidAccessError"


def test_a_restart_of_the_browser_keeps_the_identity(
    home: Home, playwright: Playwright, chromium: str
) -> None:
    service = home.service
    before = service.paid_ms(WALLET.address)
    with driven(playwright, chromium, home.profile) as context:
        wait_for(lambda: service.paid_ms(WALLET.address) > before, "paid again", 30)
        popup = open_popup(context)
        assert key_of(popup) == home.key
        assert status_of(popup)["boot"] != home.boot


def test_the_popup_shows_what_the_ledger_holds(
    home: Home, playwright: Playwright, chromium: str
) -> None:
    service = home.service
    with driven(playwright, chromium, home.profile) as context:
        popup = open_popup(context)
        popup.locator("#check-in").click()
        expect(popup.locator("#notice")).to_contain_text("Checked in: 5 points")
        expect(popup.locator("#check-in")).to_be_disabled()
        kinds = lambda: {entry.transfer.kind for entry in service.entries(WALLET.address)}  # noqa: E731
        wait_for(lambda: {"uptime", "check-in"} <= kinds(), "a day is booked", 60)
        popup.locator("#running").click()
        expect(popup.locator("#status-title")).to_have_text("Paused")
        wait_until_booked(service)
        popup.reload()
        units, tickets = service.balances(WALLET.address)
        assert units > 0
        hundredths = units * 100 // 2880
        number = f"{hundredths / 100:,.2f}".removesuffix(".00")
        expect(popup.locator("#points-total")).to_have_text(number)
        expect(popup.locator("#tickets")).to_have_text(str(tickets))
        expect(popup.locator("#points-pending")).to_have_text("in the ledger")
        expect(popup.locator("#multiplier")).to_have_text("×1")

        popup.get_by_role("tab", name="Ledger").click()
        expect(popup.locator("#entries li").first).to_be_visible()
        popup.locator("#check-ledger").click()
        expect(popup.locator("#check-result strong")).to_have_text("Everything adds up")
        said = popup.locator("#check-result li").last.inner_text()
        assert f"your entries add up to {number} points and {tickets} ticket" in said
        shown = popup.locator("#entries li").count()
        assert shown == min(20, len(service.entries(WALLET.address)))

        popup.locator("#running").click()
        expect(popup.locator("#status-title")).to_have_text("Earning", timeout=SECONDS)


def wait_until_booked(service: ServiceProcess) -> None:
    """Wait until every day on which the account earned is booked, and check what was booked."""

    def find_booked() -> int:
        return sum(
            line.amount
            for entry in service.entries(WALLET.address)
            if entry.transfer.kind == "uptime"
            for line in entry.transfer.lines
            if line.account == f"user:{WALLET.text}"
        )

    def earned() -> int:
        days: dict[int, int] = {}
        for stretch in service.stretches(WALLET.address):
            day = stretch.start_ms // DAY_MS
            days[day] = days.get(day, 0) + stretch.end_ms - stretch.start_ms
        return sum(ms // 1000 * UNITS_PER_SECOND for ms in days.values())

    wait_for(lambda: find_booked() == earned(), "all is booked, once", 2 * DAY_MS / 1000 + 20)


def test_a_restart_of_the_service_pays_nothing_twice(
    home: Home, playwright: Playwright, chromium: str
) -> None:
    service = home.service
    with driven(playwright, chromium, home.profile) as context:
        popup = open_popup(context)
        started = service.paid_ms(WALLET.address)
        began = time.monotonic()
        wait_for(lambda: service.paid_ms(WALLET.address) > started, "paid before", 30)
        service.stop()
        down = time.monotonic()
        expect(popup.locator("#status-title")).to_have_text("Not connected", timeout=SECONDS)
        before = service.paid_ms(WALLET.address)
        service.start()
        away = time.monotonic() - down
        wait_for(lambda: service.paid_ms(WALLET.address) > before, "paid after", 60)
        elapsed = time.monotonic() - began
        paid = service.paid_ms(WALLET.address) - started
        # A second of slack for what was under way when we began to look.
        assert paid <= (elapsed - away) * 1000 + 1_000
        popup.locator("#running").click()
        wait_until_booked(service)
        popup.locator("#running").click()
        expect(popup.locator("#status-title")).to_have_text("Earning", timeout=SECONDS)


def test_a_copy_of_the_profile_and_the_original_earn_no_more_than_one(
    home: Home, playwright: Playwright, chromium: str, tmp_path: Path
) -> None:
    service = home.service
    copy = home.copy_of_profile(tmp_path / "copy")
    before = service.paid_ms(WALLET.address)
    began = time.monotonic()
    with (
        driven(playwright, chromium, home.profile) as original,
        driven(playwright, chromium, copy) as clone,
    ):
        pages = [open_popup(original), open_popup(clone)]
        assert [key_of(page) for page in pages] == [home.key, home.key]
        # Both are driven on: each tries whenever the other one took its place.
        for _ in range(3):
            for page in pages:
                page.evaluate("chrome.runtime.sendMessage('try now')")
                page.wait_for_timeout(1_500)
        wait_for(lambda: service.paid_ms(WALLET.address) > before, "paid at all", 30)
        elapsed_ms = (time.monotonic() - began) * 1000
        paid = service.paid_ms(WALLET.address) - before
        reasons = {str(status_of(page)["reason"]) for page in pages}
    assert paid <= elapsed_ms
    stretches = service.stretches(WALLET.address)
    assert total_ms(stretches) == sum(each.end_ms - each.start_ms for each in stretches)
    assert "replaced" in reasons


def test_it_lives_without_a_debugger_and_comes_back_when_killed(home: Home, chromium: str) -> None:
    service = home.service
    service.stop()
    service.rules = AS_ON_A_REAL_NETWORK
    service.start()
    with left_alone(chromium, home.profile) as browser:

        def last_run_ms() -> int:
            stretches = service.stretches(WALLET.address)
            return stretches[-1].end_ms - stretches[-1].start_ms

        # One unbroken stretch: no beat was missed, so the worker was never gone.
        wait_for(lambda: last_run_ms() >= 100_000, "100 s without a gap", 150, poll=1)
        first = service.stretches(WALLET.address)[-1]
        assert kill_workers(browser) >= 1
        killed = time.monotonic()

        def next_stretch() -> object:
            found = service.stretches(WALLET.address)[-1]
            return found if found.start_ms > first.end_ms else None

        # Back means connected: the first paid stretch ends one challenge later.
        wait_for(lambda: service.hellos() >= 2, "a hello after the kill", 60, poll=0.5)
        assert time.monotonic() - killed <= 60
        found = wait_for(next_stretch, "a stretch after the gap", 40, poll=1)
        assert found.start_ms > first.end_ms
        assert processes_of(browser)
