"""Chromium with the extension in it, driven by Playwright."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, Playwright, sync_playwright

from scripts.screenshot_extension import ORIGIN, launch
from tests import require


@pytest.fixture(scope="package")
def chromium() -> str:
    """The program."""
    return require.program("chromium")


@pytest.fixture(scope="package")
def playwright(chromium: str) -> Iterator[Playwright]:
    """What drives it: one for the whole package, as there can be only one at a time."""
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="package")
def context(
    playwright: Playwright, chromium: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BrowserContext]:
    """One browser for all tests that only look at pages."""
    running = launch(playwright, chromium, tmp_path_factory.mktemp("profile"))
    yield running
    running.close()


@pytest.fixture
def blank(context: BrowserContext) -> Iterator[Page]:
    """A page of the extension's origin, where its modules may be imported."""
    page = context.new_page()
    page.goto(f"{ORIGIN}/popup.html")
    yield page
    page.close()
