"""The extension in real Chromium against a real service, from the installation on."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page, Playwright, expect

from protocols.uptime import Stretch, clip, seconds, total_ms
from protocols.zeronode_rules import UNITS_PER_SECOND
from tests.integration.chromium.browsers import (
    SECONDS,
    TestWallet,
    driven,
    kill_workers,
    left_alone,
    open_popup,
    sign_in,
)
from tests.integration.chromium.services import LISTED, ServiceProcess, service_running, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(280)]

DAY_MS = 20_000
QUICK = {
    "day_ms": DAY_MS,
    # Longer than anything that is under way may take: what comes later is not paid.
    "close_delay_ms": 6_000,
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


@dataclass
class Alone:
    """A browser to which nobody is attached, and the service that sees it."""

    service: ServiceProcess
    browser: subprocess.Popen[bytes]


@pytest.fixture(scope="module")
def alone(
    playwright: Playwright, chromium: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Alone]:
    """Sign in, and leave the browser alone: it runs beside all other tests, for the last one."""
    directory = tmp_path_factory.mktemp("alone")
    profile = directory / "profile"
    with service_running(directory, AS_ON_A_REAL_NETWORK) as service:
        with driven(playwright, chromium, profile) as context:
            sign_in(context, service, WALLET)
            popup = open_popup(context)
            expect(popup.locator("#signed-in")).to_be_visible(timeout=SECONDS)
        with left_alone(chromium, profile) as browser:
            yield Alone(service, browser)


@pytest.fixture(scope="module")
def home(
    alone: Alone, playwright: Playwright, chromium: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Home]:
    """Install, sign in, wait for the first paid beat, and close the browser.

    `alone` is only to be there first: its 100 s go by meanwhile.
    """
    directory = tmp_path_factory.mktemp("service")
    profile = tmp_path_factory.mktemp("home") / "profile"
    with service_running(directory, QUICK) as service:
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
        found = service.stretches(WALLET.address)
        days = range(found[0].start_ms // DAY_MS, found[-1].end_ms // DAY_MS + 1)
        # Whole seconds of each day, though stretches go on over its end.
        parts = [clip(found, day * DAY_MS, (day + 1) * DAY_MS) for day in days]
        return sum(seconds(part) for part in parts) * UNITS_PER_SECOND

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


def test_a_service_with_another_key_gets_nothing_until_somebody_decides(
    home: Home, playwright: Playwright, chromium: str, tmp_path: Path
) -> None:
    service = home.service
    service.stop()
    other = ServiceProcess(tmp_path, QUICK, port=service.port, node=8)
    try:
        other.start()
        with driven(playwright, chromium, home.profile) as context:
            popup = open_popup(context)
            expect(popup.locator("#status-title")).to_have_text("Stopped", timeout=SECONDS)
            expect(popup.locator("#other-service")).to_be_visible()
            expect(popup.locator("#shown-key")).to_have_text(other.key.hex())
            expect(popup.locator("#pinned-key")).to_have_text(service.key.hex())
            other.stop()
            service.start()
            before = service.paid_ms(WALLET.address)
            popup.locator("#retry").click()
            wait_for(lambda: service.paid_ms(WALLET.address) > before, "paid again", 40)
    finally:
        other.stop()
        if service.process is None:
            service.start()


def test_a_position_is_rounded_in_the_browser_and_can_be_deleted(
    home: Home, playwright: Playwright, chromium: str
) -> None:
    sent = []
    with driven(playwright, chromium, home.profile) as context:
        context.grant_permissions(["geolocation"])
        context.set_geolocation({"latitude": 52.5163, "longitude": -13.3777})
        popup = open_popup(context)
        popup.on("request", lambda request: sent.append((request.method, request.post_data_json)))
        popup.get_by_role("tab", name="Settings").click()
        switch = popup.get_by_role("switch", name="Share a coarse position")
        expect(switch).not_to_be_checked()
        switch.click()
        expect(popup.locator("#location")).to_contain_text("52.5° N, 13.4° W")
        expect(switch).to_be_checked()
        popup.locator("#coarse-delete").click()
        expect(popup.locator("#location")).to_contain_text("not shared")
    assert [body for method, body in sent if method == "PUT"] == [
        {"lat_tenths": 525, "lon_tenths": -134}
    ]


def test_an_invitation_is_taken_and_counted(
    home: Home, playwright: Playwright, chromium: str, tmp_path: Path
) -> None:
    guest = TestWallet(12)
    with driven(playwright, chromium, home.profile) as context:
        popup = open_popup(context)
        popup.get_by_role("tab", name="Earn").click()
        expect(popup.locator("#missions li").first).to_be_visible()
        link = popup.locator("#referral-link").input_value()
    code = link.partition("#ref=")[2]
    assert link.startswith(f"{home.service.url}/sign-in#ref=")
    with driven(playwright, chromium, tmp_path / "guest") as context:
        page = context.new_page()
        page.goto(link)
        expect(page.locator("#invitation-code")).to_have_text(code)
        sign_in(context, home.service, guest, referral=code)
        popup = open_popup(context)
        popup.get_by_role("tab", name="Earn").click()
        expect(popup.locator("#referral-form")).to_be_hidden()


def test_an_account_moves_to_another_service(
    alone: Alone, playwright: Playwright, chromium: str, tmp_path: Path
) -> None:
    wallet = TestWallet(13)
    old = alone.service
    with (
        service_running(tmp_path, AS_ON_A_REAL_NETWORK, node=LISTED[1]) as new,
        driven(playwright, chromium, tmp_path / "profile") as context,
    ):
        sign_in(context, old, wallet)
        popup = open_popup(context)
        popup.locator("#check-in").click(timeout=SECONDS)
        expect(popup.locator("#points-total")).to_have_text("5")
        # The two do not hear of each other here, so both are told of the account beforehand.
        turn_to(popup, new)
        expect(popup.locator("#welcome")).to_be_visible()
        popup.close()
        sign_in(context, new, wallet)
        popup = open_popup(context)
        expect(popup.locator("#points-total")).to_have_text("0", timeout=SECONDS)
        turn_to(popup, old)
        expect(popup.locator("#points-total")).to_have_text("5", timeout=SECONDS)

        popup.locator("#move-to").select_option(new.key.hex())
        popup.locator("#move-form button").click()
        popup.get_by_role("button", name="Really move?").click()
        # Nor do they know each other's address.
        expect(popup.locator("#notice")).to_contain_text("Now enter the new service's address")
        expect(popup.locator("#points-total")).to_have_text("0")
        assert old.balances(wallet.address) == (0, 0)
        turn_to(popup, new)
        expect(popup.locator("#points-total")).to_have_text("5", timeout=SECONDS)
        expect(popup.locator("#check-in")).to_be_disabled()
        assert new.balances(wallet.address) == (5 * 2880, 0)
        popup.get_by_role("tab", name="Ledger").click()
        popup.locator("#check-ledger").click()
        expect(popup.locator("#check-result strong")).to_have_text("Everything adds up")


def turn_to(popup: Page, service: ServiceProcess) -> None:
    """Work with another service from now on."""
    popup.get_by_role("tab", name="Settings").click()
    expect(popup.locator("#move-to option")).to_have_count(1)
    popup.locator("#service-address").fill(service.url)
    popup.locator("#service-form button").click()
    expect(popup.locator("#welcome-service")).to_have_value(service.url)


def test_signing_out_forgets_the_key(home: Home, playwright: Playwright, chromium: str) -> None:
    with driven(playwright, chromium, home.profile) as context:
        popup = open_popup(context)
        popup.get_by_role("tab", name="Settings").click()
        button = popup.locator("#sign-out")
        button.click()
        expect(button).to_have_text("Really sign out?")
        button.click()
        expect(popup.locator("#welcome")).to_be_visible()
        expect(popup.locator("#status-title")).to_have_text("Not signed in")
        assert key_of(popup) != home.key
        bound = context.request.get(f"{home.service.url}/v1/keys/{home.key}").json()
    assert bound == {"bound": False}


def test_it_lives_without_a_debugger_and_comes_back_when_killed(alone: Alone) -> None:
    service = alone.service

    def find_newest(after_ms: int) -> Stretch | None:
        found = service.stretches(WALLET.address)
        return found[-1] if found and found[-1].start_ms > after_ms else None

    def find_long() -> Stretch | None:
        newest = find_newest(0)
        return newest if newest and newest.end_ms - newest.start_ms >= 100_000 else None

    # One unbroken stretch: no beat was missed, so the worker was never gone.
    first = wait_for(find_long, "100 s without a gap", 160, poll=1)
    assert kill_workers(alone.browser) >= 1
    killed_ms = time.time() * 1000
    # A stretch begins with the first beat after the return, and is paid one challenge later.
    back = wait_for(lambda: find_newest(first.end_ms), "paid after the kill", 95, poll=1)
    assert killed_ms <= back.start_ms <= killed_ms + 60_000
