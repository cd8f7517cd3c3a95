"""The words with which nodes refuse transactions."""

import pytest

from chain.refusals import Refusal, classify_refusal, is_overload


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        # geth
        ("already known", Refusal.KNOWN),
        ("nonce too low: next nonce 5, tx nonce 4", Refusal.NONCE_USED),
        ("replacement transaction underpriced", Refusal.UNDERPRICED),
        ("transaction underpriced", Refusal.UNDERPRICED),
        ("txpool is full", Refusal.UNDERPRICED),
        ("insufficient funds for gas * price + value", Refusal.UNFUNDED),
        ("intrinsic gas too low", Refusal.OTHER),
        ("exceeds block gas limit", Refusal.OTHER),
        # anvil
        ("transaction already imported", Refusal.KNOWN),
        ("nonce too low", Refusal.NONCE_USED),
        ("max fee per gas less than block base fee", Refusal.UNDERPRICED),
        ("Insufficient funds for gas * price + value", Refusal.UNFUNDED),
        # frontier gives geth's words; these are substrate's pool's own
        ("Transaction is temporarily banned", Refusal.KNOWN),
        ("Priority is too low: (5 vs 5)", Refusal.UNDERPRICED),
        ("gas price less than block base fee", Refusal.UNDERPRICED),
        ("Invalid Transaction: Transaction is outdated", Refusal.NONCE_USED),
        ("Transaction is stale", Refusal.NONCE_USED),
        ("Inability to pay some fees (e.g. account balance too low)", Refusal.UNFUNDED),
        ("", Refusal.OTHER),
    ],
)
def test_a_refusal_is_recognised(words: str, refusal: Refusal) -> None:
    assert classify_refusal(words) is refusal


@pytest.mark.parametrize(
    ("code", "words", "overload"),
    [
        (-32005, "daily request count exceeded", True),
        (-32000, "Rate limit reached", True),
        (429, "Too Many Requests", True),
        (-32000, "nonce too low", False),
        (-32000, "exceeds block gas limit", False),
    ],
)
def test_being_asked_too_much_is_not_a_refusal(code: int, words: str, overload: bool) -> None:
    assert is_overload(code, words) is overload
