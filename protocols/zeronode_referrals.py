"""Referrals: the code of an account, and who may be somebody's referrer.

A code is derived from its wallet, so that it is the same at every service, survives a move, and
needs no randomness. It names an account and proves nothing.
"""

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from protocols.errors import MalformedError
from protocols.types import Wallet

CODE_LENGTH: Final = 10
"""Symbols of five bits: two of a million accounts share a code with a chance of 0.05 %."""

ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's: without i, l, o and u, which are misread or spell words."""

INVITED_WITHIN_DAYS: Final = 7
"""For how long a new account can still name who invited it."""

_DOMAIN: Final = b"kaisar zeronode referral code 1"
_MISREAD: Final = str.maketrans({"o": "0", "i": "1", "l": "1", "-": None, " ": None})
_MAX_TYPED: Final = 64


class Waiting(StrEnum):
    """Why a referral has not brought its tickets; the text is shown and counted."""

    NONE = ""
    RUN = "the invited account has to run for six hours in a row first"
    DAY_FULL = "the inviting account has reached the day's limit; it goes on tomorrow"
    SHARED_ADDRESS = "both accounts were seen on one network address"


def make_code(wallet: Wallet, attempt: int = 0) -> str:
    """Return the code of an account; a higher `attempt` where the one before it is taken."""
    digest = hashlib.sha256(_DOMAIN + wallet + attempt.to_bytes(4, "big")).digest()
    number = int.from_bytes(digest[:8], "big")
    return "".join(ALPHABET[number >> 5 * place & 31] for place in range(CODE_LENGTH))


def parse_code(text: str) -> str:
    """Return a code as it is stored, from what somebody typed; MalformedError if it is none."""
    code = text.lower().translate(_MISREAD) if len(text) <= _MAX_TYPED else ""
    if len(code) != CODE_LENGTH or any(symbol not in ALPHABET for symbol in code):
        raise MalformedError(
            "not a referral code",
            f"found {text[:_MAX_TYPED]!r}, expected {CODE_LENGTH} letters and digits",
        )
    return code


def choose_day(
    gate_day: int, today: int, granted: Mapping[int, int], most_per_day: int
) -> int | None:
    """Return the day to which a referral's tickets count: the first with room since its gate.

    `granted` has the number of the referrer's other referrals for the days that have any. The
    answer does not depend on when it is asked, as long as `today` is not before it; None if there
    is no room yet.
    """
    return next(
        (day for day in range(gate_day, today + 1) if granted.get(day, 0) < most_per_day), None
    )


def explain_waiting(has_gate: bool, is_granted: bool, shares_address: bool) -> Waiting:
    """Return what a referral waits for, to be shown to both accounts."""
    if is_granted:
        return Waiting.NONE
    if shares_address:
        return Waiting.SHARED_ADDRESS
    return Waiting.DAY_FULL if has_gate else Waiting.RUN


def may_be_invited(opened_ms: int, now_ms: int, day_ms: int) -> bool:
    """Return whether an account is new enough to say who invited it: within seven days."""
    return now_ms < opened_ms + INVITED_WITHIN_DAYS * day_ms
