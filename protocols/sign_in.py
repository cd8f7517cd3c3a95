"""Signing in with a wallet: a message of EIP-4361 that binds an extension's key to an account.

What a wallet shows and signs is text; this builds it, parses it strictly and checks it. Our
profile of EIP-4361 has the fields below, all of them, in this order and nothing else, so that
there is exactly one text for each meaning. The extension's key stands in a resource: the wallet's
owner agrees to that one key, and to no other.

(The package `siwe` does the same for any message of EIP-4361. It is not used, because its newest
version needs web3 below 8, and because it takes messages that mean more than is checked here.)
"""

import re
from dataclasses import dataclass
from typing import Final

from protocols.errors import ForgedError, LocalError, MalformedError
from protocols.hashing import keccak256
from protocols.signing import recover_wallet
from protocols.types import Digest, NodeKey, TimeMs, Wallet

MAX_MESSAGE_BYTES: Final = 2048
MAX_LIFETIME_MS: Final = 600_000
"""From the moment of issue to the end: as long as somebody needs to read what a wallet shows."""
MAX_EARLY_MS: Final = 60_000
"""How far in the future the moment of issue may lie: the service names it, but may be restarted on
a machine whose clock is set back."""

STATEMENT: Final = (
    "Let this browser extension earn for my Kaisar account. "
    "This costs nothing and sends no transaction."
)
KEY_RESOURCE: Final = "urn:kaisar:zeronode:key:"
REFERRAL_RESOURCE: Final = "urn:kaisar:zeronode:referral:"

_DAY_MS: Final = 86_400_000
_LAST_MS: Final = 253_402_300_800_000
"""The year 10000, which no longer fits the form of a time."""

_DOMAIN: Final = r"[a-z0-9.-]{1,253}(?::[0-9]{1,5})?|\[[0-9a-f:]{2,39}\](?::[0-9]{1,5})?"
_MESSAGE: Final = re.compile(
    rf"(?P<domain>{_DOMAIN}) wants you to sign in with your Ethereum account:\n"
    r"(?P<address>0x[0-9a-fA-F]{40})\n"
    r"\n"
    r"(?P<statement>[\x20-\x7e]{1,200})\n"
    r"\n"
    r"URI: (?P<uri>[\x21-\x7e]{1,300})\n"
    r"Version: 1\n"
    r"Chain ID: (?P<chain_id>[1-9][0-9]{0,18})\n"
    r"Nonce: (?P<nonce>[0-9a-zA-Z]{8,128})\n"
    r"Issued At: (?P<issued>[0-9T:.Z-]{24})\n"
    r"Expiration Time: (?P<expires>[0-9T:.Z-]{24})\n"
    r"Resources:\n"
    rf"- {KEY_RESOURCE}(?P<key>[0-9a-f]{{64}})"
    rf"(?:\n- {REFERRAL_RESOURCE}(?P<referral>[0-9a-zA-Z]{{1,32}}))?"
)
_TIME: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})\.([0-9]{3})Z"
)


@dataclass(frozen=True, slots=True)
class SignIn:
    """One message: `wallet` lets the extension's `key` earn for it.

    `domain` is the authority of the page (host, and port if it has one), `uri` the page. `referral`
    is the code of whoever invited the wallet's owner, or empty.
    """

    domain: str
    wallet: Wallet
    uri: str
    chain_id: int
    nonce: str
    issued_ms: TimeMs
    expires_ms: TimeMs
    key: NodeKey
    referral: str = ""
    statement: str = STATEMENT


@dataclass(frozen=True, slots=True)
class Expected:
    """What a service demands of every message, whoever signs it."""

    domain: str
    uri: str
    chain_id: int


def build_sign_in(message: SignIn) -> str:
    """Return the text that the wallet signs. Raises LocalError for fields that do not fit."""
    lines = [
        f"{message.domain} wants you to sign in with your Ethereum account:",
        format_wallet(message.wallet),
        "",
        message.statement,
        "",
        f"URI: {message.uri}",
        "Version: 1",
        f"Chain ID: {message.chain_id}",
        f"Nonce: {message.nonce}",
        f"Issued At: {format_time(message.issued_ms)}",
        f"Expiration Time: {format_time(message.expires_ms)}",
        "Resources:",
        f"- {KEY_RESOURCE}{message.key.hex()}",
    ]
    if message.referral:
        lines.append(f"- {REFERRAL_RESOURCE}{message.referral}")
    text = "\n".join(lines)
    if _MESSAGE.fullmatch(text) is None:
        raise LocalError(f"no message of EIP-4361 has these fields: {message}")
    return text


def parse_sign_in(text: str) -> SignIn:
    """Parse a message. Raises MalformedError unless it is exactly what `build_sign_in` returns."""
    if len(text) > MAX_MESSAGE_BYTES:
        raise MalformedError("sign-in message too long", f"{len(text)} characters")
    found = _MESSAGE.fullmatch(text)
    if found is None:
        raise MalformedError("sign-in message is not of EIP-4361")
    message = SignIn(
        domain=found["domain"],
        wallet=Wallet(bytes.fromhex(found["address"][2:])),
        uri=found["uri"],
        chain_id=int(found["chain_id"]),
        nonce=found["nonce"],
        issued_ms=parse_time(found["issued"]),
        expires_ms=parse_time(found["expires"]),
        key=NodeKey(bytes.fromhex(found["key"])),
        referral=found["referral"] or "",
        statement=found["statement"],
    )
    if format_wallet(message.wallet) != found["address"]:
        raise MalformedError("sign-in message has a wrong checksum", "of the address (EIP-55)")
    return message


def check_sign_in(message: SignIn, expected: Expected, now: TimeMs) -> None:
    """Raise ForgedError unless the message is meant for this service and for this moment.

    The nonce is the caller's to check, who gave it out.
    """
    found = (message.domain, message.uri, message.chain_id, message.statement)
    if found != (expected.domain, expected.uri, expected.chain_id, STATEMENT):
        raise ForgedError("sign-in message is for another service", f"{found}")
    if not message.issued_ms < message.expires_ms <= message.issued_ms + MAX_LIFETIME_MS:
        raise ForgedError("sign-in message is valid for too long")
    if message.issued_ms > now + MAX_EARLY_MS:
        raise ForgedError("sign-in message is not valid yet")
    if message.expires_ms <= now:
        raise ForgedError("sign-in message has expired")


def check_signature(message: SignIn, text: str, signature: bytes) -> None:
    """Raise ForgedError unless the wallet that `message` names signed `text` (EIP-191).

    Wallets that are contracts (EIP-1271) have no key, and cannot sign in.
    """
    if recover_wallet(hash_personal_message(text), signature) != message.wallet:
        raise ForgedError("sign-in message is signed by another wallet")


def hash_personal_message(text: str) -> Digest:
    """Return the digest that a wallet signs for a text: EIP-191, version 0x45."""
    encoded = text.encode()
    return Digest(keccak256(b"\x19Ethereum Signed Message:\n%d" % len(encoded), encoded))


def format_wallet(wallet: Wallet) -> str:
    """Write an address with its checksum in upper and lower case (EIP-55)."""
    digits = wallet.hex()
    checksum = keccak256(digits.encode()).hex()
    return "0x" + "".join(
        digit.upper() if int(check, 16) >= 8 else digit
        for digit, check in zip(digits, checksum, strict=False)
    )


def format_time(moment: TimeMs) -> str:
    """Write a moment as RFC 3339 does, in UTC, with milliseconds."""
    days, rest = divmod(moment, _DAY_MS)
    year, month, day = _date_of(days)
    seconds, milliseconds = divmod(rest, 1000)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    return f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milliseconds:03}Z"


def parse_time(text: str) -> TimeMs:
    """Read what `format_time` writes. Raises MalformedError, also for a 30th of February."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise MalformedError("malformed time", text[:40])
    year, month, day, hour, minute, second, milliseconds = map(int, found.groups())
    moment = TimeMs(
        _days_of(year, month, day) * _DAY_MS
        + ((hour * 60 + minute) * 60 + second) * 1000
        + milliseconds
    )
    if not 0 <= moment < _LAST_MS or format_time(moment) != text:
        raise MalformedError("malformed time", text)
    return moment


def _days_of(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 in the Gregorian calendar, counted in years that begin in March."""
    if month <= 2:
        year, month = year - 1, month + 12
    return (
        365 * year
        + year // 4
        - year // 100
        + year // 400
        + (153 * month - 457) // 5
        + day
        - (719_469)
    )


def _date_of(days: int) -> tuple[int, int, int]:
    """The inverse of `_days_of`, from 1970 on."""
    era, of_era = divmod(days + 719_468, 146_097)
    year = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    shifted = (5 * of_year + 2) // 153
    day = of_year - (153 * shifted + 2) // 5 + 1
    month = shifted + 3 if shifted < 10 else shifted - 9
    return era * 400 + year + (month <= 2), month, day
