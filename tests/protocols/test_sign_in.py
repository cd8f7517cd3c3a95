"""Sign-in with a wallet: one text for each meaning, and what each check refuses."""

import datetime
from dataclasses import replace

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_utils import to_checksum_address
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import ForgedError, LocalError, MalformedError
from protocols.sign_in import (
    MAX_EARLY_MS,
    MAX_LIFETIME_MS,
    STATEMENT,
    Expected,
    SignIn,
    build_sign_in,
    check_sign_in,
    check_signature,
    format_time,
    format_wallet,
    hash_personal_message,
    parse_sign_in,
    parse_time,
)
from protocols.signing import sign_digest
from protocols.types import NodeKey, TimeMs, Wallet

NOW = TimeMs(1_790_000_000_123)
SECRET = (7).to_bytes(32, "big")
WALLET = Wallet(bytes.fromhex(Account.from_key(SECRET).address[2:]))
EXPECTED = Expected("node.example:8750", "https://node.example:8750/sign-in", 3338)
MESSAGE = SignIn(
    domain=EXPECTED.domain,
    wallet=WALLET,
    uri=EXPECTED.uri,
    chain_id=EXPECTED.chain_id,
    nonce="0123456789abcdef",
    issued_ms=NOW,
    expires_ms=TimeMs(NOW + MAX_LIFETIME_MS),
    key=NodeKey(bytes(range(32))),
    referral="ABC234",
)
TEXT = """\
node.example:8750 wants you to sign in with your Ethereum account:
0xdcD7FaBcfb77dA4Cf8C6CfAcb6Fae3EbfB0f0A1a

Let this browser extension earn for my Kaisar account. This costs nothing and sends no transaction.

URI: https://node.example:8750/sign-in
Version: 1
Chain ID: 3338
Nonce: 0123456789abcdef
Issued At: 2026-09-21T14:13:20.123Z
Expiration Time: 2026-09-21T14:23:20.123Z
Resources:
- urn:kaisar:zeronode:key:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
- urn:kaisar:zeronode:referral:ABC234"""


def test_text_is_that_of_the_standard() -> None:
    expected = TEXT.replace("0xdcD7FaBcfb77dA4Cf8C6CfAcb6Fae3EbfB0f0A1a", format_wallet(WALLET))
    assert build_sign_in(MESSAGE) == expected


@pytest.mark.parametrize("referral", ["", "A", "z" * 32])
@pytest.mark.parametrize("domain", ["localhost", "127.0.0.1:1", "[::1]:8750", "a-b.example"])
def test_what_is_built_is_parsed(referral: str, domain: str) -> None:
    message = replace(MESSAGE, referral=referral, domain=domain)
    assert parse_sign_in(build_sign_in(message)) == message


@pytest.mark.parametrize(
    "change",
    [
        {"domain": "evil.example\nURI: x"},
        {"domain": "UPPER.example"},
        {"uri": "https://a b"},
        {"nonce": "short"},
        {"referral": "a-b"},
        {"chain_id": 0},
        {"key": NodeKey(b"short")},
        {"statement": "two\nlines"},
    ],
)
def test_fields_that_do_not_fit_are_not_built(change: dict[str, object]) -> None:
    with pytest.raises(LocalError, match="no message of EIP-4361"):
        build_sign_in(replace(MESSAGE, **change))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Version: 1", "Version: 2"),
        ("\n\nURI", "\nURI"),
        ("Chain ID: 3338", "Chain ID: 03338"),
        ("Nonce: 0123456789abcdef\n", ""),
        ("Resources:", "Request ID: 1\nResources:"),
        ("- urn:kaisar:zeronode:key:00", "- urn:kaisar:zeronode:key:zz"),
        ("- urn:kaisar:zeronode:referral:", "- https://example.com/"),
        ("Ethereum account:\n", "Ethereum account:\r\n"),
        ("node.example", "https://node.example"),
    ],
)
def test_other_texts_are_refused(old: str, new: str) -> None:
    text = build_sign_in(MESSAGE)
    assert old in text
    with pytest.raises(MalformedError, match=r"not of EIP-4361"):
        parse_sign_in(text.replace(old, new, 1))


def test_trailing_newline_is_refused() -> None:
    with pytest.raises(MalformedError, match=r"not of EIP-4361"):
        parse_sign_in(build_sign_in(MESSAGE) + "\n")


def test_long_text_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(MalformedError, match="too long"):
        parse_sign_in("x" * 2049)


def test_address_needs_its_checksum() -> None:
    text = build_sign_in(MESSAGE)
    address = format_wallet(WALLET)
    with pytest.raises(MalformedError, match="checksum"):
        parse_sign_in(text.replace(address, address.lower()))


def test_message_for_this_service_and_moment_passes() -> None:
    for now in (NOW - MAX_EARLY_MS, NOW, NOW + MAX_LIFETIME_MS - 1):
        check_sign_in(MESSAGE, EXPECTED, TimeMs(now))


@pytest.mark.parametrize(
    ("change", "later_ms", "reason"),
    [
        ({"domain": "other.example"}, 0, "another service"),
        ({"uri": "https://other.example/"}, 0, "another service"),
        ({"chain_id": 1}, 0, "another service"),
        ({"statement": "Give everything away."}, 0, "another service"),
        ({"expires_ms": NOW + MAX_LIFETIME_MS + 1}, 0, "too long"),
        ({"expires_ms": NOW}, 0, "too long"),
        ({}, -MAX_EARLY_MS - 1, "not valid yet"),
        ({}, MAX_LIFETIME_MS, "expired"),
    ],
)
def test_what_is_meant_otherwise_is_refused(
    change: dict[str, object], later_ms: int, reason: str
) -> None:
    message = replace(MESSAGE, **change)  # type: ignore[arg-type]
    with pytest.raises(ForgedError, match=reason):
        check_sign_in(message, EXPECTED, TimeMs(NOW + later_ms))


def test_wallets_signature_is_what_other_software_makes() -> None:
    text = build_sign_in(MESSAGE)
    theirs = bytes(Account.from_key(SECRET).sign_message(encode_defunct(text=text)).signature)
    assert theirs == sign_digest(SECRET, hash_personal_message(text))
    check_signature(MESSAGE, text, theirs)


def test_other_wallet_or_text_is_refused() -> None:
    text = build_sign_in(MESSAGE)
    other = sign_digest((8).to_bytes(32, "big"), hash_personal_message(text))
    with pytest.raises(ForgedError, match="another wallet"):
        check_signature(MESSAGE, text, other)
    own = sign_digest(SECRET, hash_personal_message(text))
    with pytest.raises(ForgedError, match="another wallet"):
        check_signature(MESSAGE, text + " ", own)
    with pytest.raises(ForgedError, match="bad wallet signature"):
        check_signature(MESSAGE, text, own[:64])


def test_statement_says_that_it_costs_nothing() -> None:
    assert "costs nothing" in STATEMENT


@given(st.binary(min_size=20, max_size=20))
def test_checksums_are_those_of_other_software(wallet: bytes) -> None:
    assert format_wallet(Wallet(wallet)) == to_checksum_address(wallet)


@given(st.integers(0, 253_402_300_799_999))
def test_times_are_those_of_the_calendar(moment: int) -> None:
    text = format_time(TimeMs(moment))
    start = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    seen = start + datetime.timedelta(milliseconds=moment)
    assert text == seen.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert parse_time(text) == moment


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-29T00:00:00.000Z",
        "2026-13-01T00:00:00.000Z",
        "2026-00-01T00:00:00.000Z",
        "2026-01-01T24:00:00.000Z",
        "2026-01-01T00:60:00.000Z",
        "2026-01-01T00:00:60.000Z",
        "1969-12-31T23:59:59.999Z",
        "0000-01-01T00:00:00.000Z",
        "2026-01-01T00:00:00Z",
        "2026-01-01t00:00:00.000z",
        "9999-13-31T23:59:59.999Z",
    ],
)
def test_malformed_times_are_refused(text: str) -> None:
    with pytest.raises(MalformedError, match="malformed time"):
        parse_time(text)
