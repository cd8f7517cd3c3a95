"""What an endpoint means when it refuses a transaction: a pure function of its words.

There is no standard; these are the texts of geth, anvil, py-evm's devchain and of frontier with
substrate's pool (peaq).
"""

from enum import Enum
from typing import Final


class Refusal(Enum):
    """Why a transaction was not taken into the pool."""

    KNOWN = "already known"
    """It is there already, or was: as good as taken."""
    NONCE_USED = "nonce too low"
    """Its nonce is in a block already, perhaps by an earlier attempt of ours."""
    UNDERPRICED = "underpriced"
    """Another one with its nonce waits and pays as much, or the price is below the minimum."""
    UNFUNDED = "unfunded"
    """The wallet cannot pay for it."""
    OTHER = "other"
    """It will never be taken like this: too much gas, a bad signature."""


_PHRASES: Final = (
    (
        Refusal.KNOWN,
        ("already known", "known transaction", "already imported", "temporarily banned"),
    ),
    (Refusal.NONCE_USED, ("nonce too low", "nonce is too low", "stale", "outdated", "nonce used")),
    (
        Refusal.UNDERPRICED,
        (
            "underpriced",
            "priority is too low",
            "less than block base fee",
            "lower than block base fee",
            "gas price too low",
            "gasprice is too low",
            "fee too low",
            "pool is full",
        ),
    ),
    (
        Refusal.UNFUNDED,
        (
            "insufficient funds",
            "insufficient balance",
            "balance is too low",
            "balance too low",
            "pay some fees",
        ),
    ),
)


LIMIT_EXCEEDED: Final = -32005
"""Code of EIP-1474 for too many requests."""

_OVERLOAD_PHRASES: Final = ("rate limit", "too many requests", "limit exceeded", "request limit")


def is_overload(code: int, message: str) -> bool:
    """Tell whether an endpoint refuses because it is asked too much, not because of what."""
    lowered = message.lower()
    return code == LIMIT_EXCEEDED or any(phrase in lowered for phrase in _OVERLOAD_PHRASES)


def classify_refusal(message: str) -> Refusal:
    """Recognise a refusal by its text."""
    lowered = message.lower()
    for refusal, phrases in _PHRASES:
        if any(phrase in lowered for phrase in phrases):
            return refusal
    return Refusal.OTHER
