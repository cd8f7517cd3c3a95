#!/usr/bin/env python3
"""Pictures of the extension's popup in every state: light, dark, and at 200 % zoom.

    python scripts/screenshot_extension.py DIRECTORY

The page is the extension's own, in real Chromium with the extension loaded; only what the worker
and the service would say is put in its place, so that every state can be had at once. The books
behind it are real: their hashes, roots and paths are computed by protocols.ledger_records, and
checked by the page. Needs Chromium and the project's `dev` requirements.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import BrowserContext, Page, Playwright, Route, sync_playwright

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from scripts.extension_states import NOW_MS, STATES, State  # noqa: E402

EXTENSION = ROOT / "p2p_node" / "zeronode" / "extension"
ORIGIN = "chrome-extension://dknjlifkcllgahplngaabkckbhkkpmop"

STORAGE = """
values => {
  const listeners = { addListener() {} };
  const area = (kept) => ({
    get: async (names) =>
      typeof names === "string" ? { [names]: kept[names] } : { ...names, ...kept },
    set: async (changes) => { Object.assign(kept, changes); },
    remove: async (name) => { delete kept[name]; },
  });
  Object.defineProperty(chrome, "storage", {
    value: { local: area(values.local), session: area(values.session), onChanged: listeners },
  });
  if (!values.isTab) chrome.tabs.getCurrent = async () => undefined;
}
"""


@dataclass(frozen=True)
class Look:
    """How a state is looked at: 200 % zoom leaves half of the popup's 800 × 600 either way."""

    name: str
    scheme: str
    width: int
    height: int
    scale: int
    is_tab: bool = False


LOOKS = (
    Look("light", "light", 380, 600, 2),
    Look("dark", "dark", 380, 600, 2),
    Look("zoom-200", "light", 400, 300, 2),
    Look("tab", "light", 900, 700, 1, is_tab=True),
)


def launch(playwright: Playwright, chromium: str, profile: Path) -> BrowserContext:
    """Start Chromium with the extension; the caller closes it."""
    return playwright.chromium.launch_persistent_context(
        profile,
        executable_path=chromium,
        headless=False,
        # Not UTC, so that it shows which times are local.
        timezone_id="Europe/Berlin",
        args=[
            "--headless=new",
            "--no-sandbox",
            f"--disable-extensions-except={EXTENSION}",
            f"--load-extension={EXTENSION}",
        ],
    )


@contextmanager
def shown(context: BrowserContext, state: State, look: Look) -> Iterator[Page]:
    """Open the popup in a state, as high as it is."""
    page = context.new_page()
    try:
        page.emulate_media(color_scheme=look.scheme, reduced_motion="reduce")
        page.set_viewport_size({"width": look.width, "height": look.height})
        page.add_init_script(f"({STORAGE})({state.storage_json(is_tab=look.is_tab)})")
        page.route(f"{state.service}/**", lambda route: answer(route, state))
        page.clock.install(time=NOW_MS / 1000)
        page.goto(f"{ORIGIN}/popup.html")
        state.prepare(page)
        height = page.evaluate("document.documentElement.scrollHeight")
        page.set_viewport_size({"width": look.width, "height": max(height, look.height)})
        yield page
    finally:
        page.close()


def answer(route: Route, state: State) -> None:
    """Answer a request of the page as the service in this state does."""
    path = route.request.url.removeprefix(state.service)
    status, body = state.answer(route.request.method, path)
    if status == 0:
        route.abort()
    else:
        headers = {"Access-Control-Allow-Origin": ORIGIN}
        route.fulfill(status=status, json=body, headers=headers)


def main(arguments: list[str] | None = None) -> int:
    """Take the pictures; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path, help="where the pictures go")
    parser.add_argument("--chromium", default=shutil.which("chromium"), help="the program")
    parser.add_argument("--only", default="", help="states whose name begins so")
    options = parser.parse_args(arguments)
    if options.chromium is None:
        parser.error("--chromium: found nothing, expected the path of Chromium")
    options.directory.mkdir(parents=True, exist_ok=True)
    wanted = [state for state in STATES if state.name.startswith(options.only)]
    with tempfile.TemporaryDirectory() as profile, sync_playwright() as playwright:
        context = launch(playwright, options.chromium, Path(profile))
        for state in wanted:
            for look in LOOKS:
                with shown(context, state, look) as page:
                    path = options.directory / f"{state.name}.{look.name}.png"
                    page.screenshot(path=path, scale="css")
                    print(path)  # noqa: T201
        context.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
