"""The modules of the sign-in page in Chromium against the functions of the Python side."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, Route

from protocols.hashing import keccak256
from protocols.sign_in import SignIn, build_sign_in
from protocols.types import NodeKey, TimeMs, Wallet
from scripts.screenshot_extension import ROOT

pytestmark = pytest.mark.integration

PAGES = ROOT / "p2p_node" / "zeronode" / "pages"
PAGES_ORIGIN = "http://127.0.0.1:9"


@pytest.fixture
def pages(blank: Page) -> Page:
    """A page on which the modules of the sign-in page may be imported."""

    def serve(route: Route) -> None:
        file = PAGES / Path(route.request.url).name
        if file.suffix == ".js":
            route.fulfill(body=file.read_text(), content_type="text/javascript")
        else:
            route.fulfill(body="<!doctype html>", content_type="text/html")

    blank.route(f"{PAGES_ORIGIN}/**", serve)
    blank.goto(f"{PAGES_ORIGIN}/")
    return blank


def test_the_page_builds_the_message_that_the_service_expects(pages: Page) -> None:
    wallets = [keccak256(bytes([number]))[:20] for number in range(8)]
    for wallet in wallets:
        for referral in ("", "k7m2q9xw"):
            message = SignIn(
                domain="127.0.0.1:8750",
                wallet=Wallet(wallet),
                uri="http://127.0.0.1:8750/sign-in",
                chain_id=9990,
                nonce="ab" * 32,
                issued_ms=TimeMs(1_795_000_000_123),
                expires_ms=TimeMs(1_795_000_600_123),
                key=NodeKey(bytes(range(32))),
                referral=referral,
            )
            text = build_sign_in(message)
            built = pages.evaluate(
                """async ([terms, address, key, referral]) => {
                  const { buildMessage } = await import("./siwe.js");
                  return buildMessage(terms, address, key, referral);
                }""",
                [
                    {
                        "nonce": message.nonce,
                        "domain": message.domain,
                        "uri": message.uri,
                        "chain_id": message.chain_id,
                        "statement": message.statement,
                        "issued_at": text.partition("Issued At: ")[2][:24],
                        "expires_at": text.partition("Expiration Time: ")[2][:24],
                    },
                    f"0x{wallet.hex()}",
                    message.key.hex(),
                    referral,
                ],
            )
            assert built == text


def test_keccak_is_that_of_the_python_side(pages: Page) -> None:
    lengths = [0, 1, 31, 135, 136, 137, 271, 272, 1_000]
    found = pages.evaluate(
        """async (lengths) => {
          const { keccak256 } = await import("./keccak.js");
          return lengths.map((length) => Array.from(keccak256(
            Uint8Array.from({ length }, (_, index) => (7 * index + 3) % 256))));
        }""",
        lengths,
    )
    expected = [
        list(keccak256(bytes((7 * index + 3) % 256 for index in range(length))))
        for length in lengths
    ]
    assert found == expected
