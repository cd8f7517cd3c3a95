"""What a friend sees who follows a referral link: no key, no extension, and what to do."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from p2p_node.zeronode.site import PAGE_POLICY, PAGE_TYPES, PAGES
from protocols.types import Wallet
from protocols.zeronode_referrals import make_code

pytestmark = pytest.mark.integration

SITE = "http://localhost:8750"
CODE = make_code(Wallet(b"a" * 20))
KEY, NONCE, CONSENT = "ab" * 32, "cd" * 32, "ef" * 64


def serve(route: Route) -> None:
    """The pages as the service has them, under its own policy."""
    name = route.request.url.rsplit("/", 1)[-1].partition("#")[0]
    path = PAGES / ("sign-in.html" if name == "sign-in" else name)
    headers = {
        "Content-Type": PAGE_TYPES[path.suffix],
        "Content-Security-Policy": PAGE_POLICY,
    }
    route.fulfill(body=path.read_bytes(), headers=headers)


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A page whose mistakes fail the test."""
    opened = context.new_page()
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on(
        "console",
        lambda message: faults.append(message.text) if message.type == "error" else None,
    )
    opened.route(f"{SITE}/**", serve)
    yield opened
    opened.close()
    assert faults == []


def test_a_referral_link_says_what_to_do(page: Page) -> None:
    page.goto(f"{SITE}/sign-in#ref={CODE.upper()}")
    expect(page.get_by_role("heading", name="You are invited")).to_be_visible()
    expect(page.locator("#invitation-code")).to_have_text(CODE)
    expect(page.locator("#invitation-service")).to_have_text(SITE)
    expect(page.locator("#key-section, #wallet-section")).to_have_count(2)
    for section in ("#key-section", "#wallet-section"):
        expect(page.locator(section)).to_be_hidden()
    expect(page).to_have_title("You are invited to ZeroNode")


def test_the_extension_s_link_with_a_code_is_a_sign_in(page: Page) -> None:
    page.goto(f"{SITE}/sign-in#key={KEY}&nonce={NONCE}&consent={CONSENT}&ref={CODE}")
    expect(page.locator("#invitation")).to_be_hidden()
    expect(page.locator("#referral")).to_have_text(f"Invited by: {CODE}")
    expect(page.locator("#fingerprint")).not_to_have_text("…")


@pytest.mark.parametrize(
    "fragment",
    [
        *("", "#ref=", "#ref=<b>x</b>", "#ref=short", "#key=ab"),
        f"#key={KEY}&ref={CODE}",
        f"#key={KEY}&nonce={NONCE}&consent={CONSENT[1:]}",
    ],
)
def test_neither_a_key_that_agrees_nor_a_code(page: Page, fragment: str) -> None:
    page.goto(f"{SITE}/sign-in{fragment}")
    expect(page.locator("#outcome")).to_contain_text("Open this page from the extension")
    expect(page.locator("#invitation")).to_be_hidden()
