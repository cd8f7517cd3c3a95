"""Chromium with the extension in it, driven by Playwright."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page

from scripts.screenshot_extension import ORIGIN, browser
from tests import require


@pytest.fixture(scope="package")
def chromium() -> str:
    """The program."""
    return require.program("chromium")


@pytest.fixture(scope="package")
def context(chromium: str) -> Iterator[BrowserContext]:
    """One browser for all tests that only look at pages."""
    with browser(chromium) as running:
        yield running


@pytest.fixture
def blank(context: BrowserContext) -> Iterator[Page]:
    """A page of the extension's origin, where its modules may be imported."""
    page = context.new_page()
    page.goto(f"{ORIGIN}/popup.html")
    yield page
    page.close()
