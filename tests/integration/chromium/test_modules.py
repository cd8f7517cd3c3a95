"""The extension's modules in Chromium against the vectors and functions of the Python side."""

import json
from typing import Any

import pytest
from playwright.sync_api import Page

from scripts.extension_books import ACCOUNT, NETWORK, SERVICE_KEY, make_books
from scripts.screenshot_extension import ROOT

pytestmark = pytest.mark.integration

VECTORS = ROOT / "tests" / "vectors"


def vectors(path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((VECTORS / path).read_text())
    return found


def test_signed_bytes_and_signatures_are_those_of_the_vectors(blank: Page) -> None:
    cases = vectors("zeronode/signatures.json")
    found = blank.evaluate(
        """async (cases) => {
          const wire = await import("./lib/wire.js");
          const { fromHex, toHex } = await import("./lib/bytes.js");
          const { verify } = await import("./lib/keys.js");
          const make = {
            hello: (peer, f) => wire.helloMessage(peer, f.nonce, f.boot, f.key),
            challenge: (peer, f) => wire.challengeMessage(peer, f.sid, f.seq, f.nonce, f.key),
            beat: (peer, f) => wire.beatMessage(peer, f.sid, f.seq, f.nonce, f.boot),
            token: (peer, f) => wire.tokenMessage(peer, f.nonce, f.key),
            consent: (peer, f) => wire.consentMessage(peer, f.nonce, f.key),
          };
          return Promise.all(cases.map(async (c) => {
            const fields = Object.fromEntries(Object.entries(c.fields).map(
              ([name, value]) => [name, typeof value === "string" ? fromHex(value) : value]));
            const peer = { network: fromHex(c.network), service: fields.service };
            const bytes = make[c.statement](peer, fields);
            const valid = await verify(fromHex(c.signer), bytes, fromHex(c.signature));
            return [toHex(bytes), valid];
          }));
        }""",
        cases,
    )
    assert {case["valid"] for case in cases} == {True, False}
    for case, (signed_bytes, is_valid) in zip(cases, found, strict=True):
        assert is_valid == case["valid"], case["name"]
        if "signed_bytes" in case:
            assert signed_bytes == case["signed_bytes"], case["name"]


BEYOND_JSON_PARSE = ("twice", "fraction", "decimal", "float")
"""JSON.parse keeps the last of two equal names and does not tell 1.0 from 1."""


def test_frames_are_read_as_by_the_vectors(blank: Page) -> None:
    cases = [case for case in vectors("zeronode/frames.json") if case["from"] == "service"]
    cases = [case for case in cases if not any(word in case["name"] for word in BEYOND_JSON_PARSE)]
    found = blank.evaluate(
        """async (texts) => {
          const { parseFrame } = await import("./lib/wire.js");
          return texts.map((text) => {
            try {
              return parseFrame(text).t;
            } catch (error) {
              if (!(error instanceof TypeError)) throw error;
              return null;
            }
          });
        }""",
        [case["text"] for case in cases],
    )
    assert len(cases) > 10
    for case, kind in zip(cases, found, strict=True):
        assert kind == (case["t"] if "fields" in case else None), case["name"]


def test_merkle_paths_lead_where_those_of_the_vectors_lead(blank: Page) -> None:
    cases = vectors("merkle/paths.json")
    trees = vectors("merkle/trees.json")
    for tree in trees:
        for index, (leaf, path) in enumerate(zip(tree["leaves"], tree["paths"], strict=True)):
            place = {"index": index, "size": len(tree["leaves"])}
            cases.append(
                {**place, "leaf": leaf, "path": path, "root": tree["root"], "result": "root"}
            )
    found = blank.evaluate(
        """async (cases) => {
          const { leadsTo } = await import("./lib/merkle.js");
          const { fromHex } = await import("./lib/bytes.js");
          return Promise.all(cases.map((c) => leadsTo(
            fromHex(c.root), fromHex(c.leaf), c.index, c.size, fromHex(c.path))));
        }""",
        cases,
    )
    assert [case["result"] == "root" for case in cases] == found
    assert False in found


AUDIT = """async ({ books, network, service, points, tickets, account }) => {
  const { checkBooks } = await import("./lib/audit.js");
  const { fromHex } = await import("./lib/bytes.js");
  const standing = { wallet: account.slice(5), points_units: points, tickets };
  return checkBooks(books, standing, { network: fromHex(network), service: fromHex(service) });
}"""


def audit(page: Page, **changes: Any) -> list[dict[str, str]]:
    """Check true books after changes: `{"entries__1__note": …}` changes `entries[1]["note"]`."""
    made = make_books()
    shown = {
        "entries": made.entries,
        "proofs": made.proofs,
        "balances": made.balances,
        "anchored": {"root": made.root},
    }
    books = json.loads(json.dumps(shown))
    told = {"points": made.points, "tickets": made.tickets}
    for path, value in changes.items():
        place: Any = told if path in told else books
        *way, last = path.split("__")
        for step in way:
            place = place[int(step) if isinstance(place, list) else step]
        place[int(last) if isinstance(place, list) else last] = value
    found: list[dict[str, str]] = page.evaluate(
        AUDIT,
        {
            "books": books,
            "network": NETWORK.hex(),
            "service": SERVICE_KEY.hex(),
            "account": ACCOUNT,
            **told,
        },
    )
    return found


def test_true_books_pass(blank: Page) -> None:
    found = audit(blank)
    assert {finding["state"] for finding in found} == {"good", "open"}
    assert "420 points and 1 ticket" in found[-1]["text"]


@pytest.mark.parametrize(
    "change",
    [
        {"entries__1__note": "changed"},
        {"entries__1__at_ms": 1},
        {"entries__0__lines__0__amount": 15_000},
        {"entries__0__previous": "00" * 32},
        {"entries__3__lines__0__account": "user:0x" + "11" * 20},
        {"proofs__2__path__0": "00" * 32},
        {"proofs__2__path": []},
        {"proofs__0__summary__head": "11" * 32},
        {"proofs__0__root": "11" * 32},
        {"balances__points__balance__balance": 1},
        {"balances__tickets__path__1": "22" * 32},
        {"balances__points__balance__account": "burn:points"},
        {"anchored__root": "33" * 32},
        {"points": 1},
        {"tickets": 2},
    ],
    ids=str,
)
def test_changed_books_do_not_pass(blank: Page, change: dict[str, Any]) -> None:
    assert "bad" in {finding["state"] for finding in audit(blank, **change)}


def test_an_entry_that_is_left_out_is_missed(blank: Page) -> None:
    made = make_books()
    entries, proofs = list(made.entries), list(made.proofs)
    del entries[3], proofs[3]
    found = audit(blank, entries=entries, proofs=proofs)
    assert "bad" in {finding["state"] for finding in found}


def test_waits_grow_and_scatter(blank: Page) -> None:
    shortest, longest = blank.evaluate(
        """async () => {
          const { delayAfter } = await import("./lib/backoff.js");
          const all = (chance) => [1, 2, 3, 7, 50].map((times) => delayAfter(times, 0, chance));
          return [all(0), all(0.999999)];
        }"""
    )
    assert shortest == [500, 1_000, 2_000, 30_000, 30_000]
    assert longest == [1_000, 2_000, 4_000, 60_000, 60_000]
