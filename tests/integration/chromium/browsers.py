"""Chromium with the extension: driven by Playwright, or left alone."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import coincurve
from playwright.sync_api import BrowserContext, Page, Playwright, expect

from protocols.sign_in import hash_personal_message
from protocols.signing import sign_digest, wallet_of_public_key
from protocols.types import Wallet
from scripts.screenshot_extension import EXTENSION, ORIGIN, launch
from tests.integration.chromium.services import ServiceProcess, wait_for

SECONDS = 20_000
"""Milliseconds that a page gets on a busy machine."""

WALLET_SCRIPT = """([address]) => {
  const provider = {
    request: async ({ method, params }) => {
      if (method === "eth_requestAccounts") return [address];
      if (method === "personal_sign") return window.signForTests(params[0]);
      throw new Error(`the wallet does not know ${method}`);
    },
  };
  const announce = () => window.dispatchEvent(new CustomEvent("eip6963:announceProvider", {
    detail: { info: { uuid: "1", name: "Test wallet", icon: "", rdns: "test" }, provider },
  }));
  window.addEventListener("eip6963:requestProvider", announce);
  announce();
}"""


class TestWallet:
    """A wallet's key, as an extension of the browser would hold it."""

    __test__ = False

    def __init__(self, number: int) -> None:
        self._secret = number.to_bytes(32, "big")
        public = coincurve.PrivateKey(self._secret).public_key.format(compressed=False)
        self.address: Wallet = wallet_of_public_key(public)

    @property
    def text(self) -> str:
        return f"0x{self.address.hex()}"

    def sign(self, message: str) -> str:
        """Sign what personal_sign was asked for, hex of a text."""
        text = bytes.fromhex(message.removeprefix("0x")).decode()
        return f"0x{sign_digest(self._secret, hash_personal_message(text)).hex()}"


@contextmanager
def driven(playwright: Playwright, chromium: str, profile: Path) -> Iterator[BrowserContext]:
    """Run Chromium with the extension and a profile, driven by Playwright."""
    context = launch(playwright, chromium, profile)
    context.set_default_timeout(SECONDS)
    try:
        yield context
    finally:
        context.close()


def open_popup(context: BrowserContext) -> Page:
    """Open the popup in a tab."""
    page = context.new_page()
    page.goto(f"{ORIGIN}/popup.html")
    return page


def sign_in(
    context: BrowserContext, service: ServiceProcess, wallet: TestWallet, referral: str = ""
) -> Page:
    """Sign in as people do; returns the page on which it was done."""
    popup = open_popup(context)
    popup.locator("#welcome-service").fill(service.url)
    popup.locator("#welcome-referral").fill(referral)
    with context.expect_page() as opened:
        popup.locator("#sign-in").click()
    page = opened.value
    page.expose_function("signForTests", wallet.sign)
    page.evaluate(WALLET_SCRIPT, [wallet.text])
    page.get_by_role("button", name="Sign in with Test wallet").click()
    expect(page.locator("#outcome")).to_contain_text("Done", timeout=SECONDS)
    popup.close()
    return page


@contextmanager
def left_alone(chromium: str, profile: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run Chromium with nobody attached to it: a debugger would keep the worker alive."""
    process = subprocess.Popen(
        [
            *(chromium, "--headless=new", "--no-sandbox", "--no-first-run"),
            f"--user-data-dir={profile}",
            f"--disable-extensions-except={EXTENSION}",
            f"--load-extension={EXTENSION}",
            "about:blank",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        for pid in processes_of(process):
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not processes_of(process), "Chromium has ended", 10)


def processes_of(browser: subprocess.Popen[bytes]) -> dict[int, str]:
    """Return the command line of each living process that `left_alone` brought about."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        pid = int(path.name)
        try:
            command = (path / "cmdline").read_bytes().decode(errors="replace")
            if os.getsid(pid) == browser.pid and command:
                found[pid] = command
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def kill_workers(browser: subprocess.Popen[bytes]) -> int:
    """Kill the process in which the extension's worker lives; how many there were."""
    workers = [pid for pid, line in processes_of(browser).items() if "--extension-process" in line]
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    return len(workers)
