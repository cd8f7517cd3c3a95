"""Nonces and tokens that are known again without having been kept."""

from collections.abc import Callable
from itertools import count

import pytest

from p2p_node.zeronode.http_types import HttpRefusal
from p2p_node.zeronode.tokens import NONCE_LIFETIME_MS, TOKEN_LIFETIME_MS, Tokens
from protocols.types import NodeKey, TimeMs

NOW = TimeMs(1_790_000_000_000)
KEY = NodeKey(b"\x07" * 32)


def make_tokens(secret: bytes = b"secret") -> Tokens:
    numbers = count()
    return Tokens(secret, lambda size: next(numbers).to_bytes(size, "big"))


def refusal(act: Callable[[], object]) -> tuple[int, str]:
    with pytest.raises(HttpRefusal) as caught:
        act()
    return caught.value.status, caught.value.reason


def after(milliseconds: int) -> TimeMs:
    return TimeMs(NOW + milliseconds)


def test_a_nonce_is_checked_as_often_as_one_likes_and_spent_once() -> None:
    tokens = make_tokens()
    nonce = tokens.make_nonce("sign-in", NOW)
    for _ in range(3):
        assert tokens.check_nonce("sign-in", nonce, NOW) == after(NONCE_LIFETIME_MS)
    tokens.spend_nonce("sign-in", nonce, NOW)
    assert refusal(lambda: tokens.spend_nonce("sign-in", nonce, NOW)) == (409, "spent nonce")


def test_a_nonce_expires() -> None:
    tokens = make_tokens()
    nonce = tokens.make_nonce("consent", NOW)
    tokens.check_nonce("consent", nonce, after(NONCE_LIFETIME_MS - 1))
    for act in (tokens.check_nonce, tokens.spend_nonce):
        late = after(NONCE_LIFETIME_MS)
        assert refusal(lambda act=act, late=late: act("consent", nonce, late)) == (
            400,
            "expired nonce",
        )


def test_a_nonce_is_for_one_purpose_of_one_process() -> None:
    tokens, restarted = make_tokens(), make_tokens(b"another")
    nonce = tokens.make_nonce("consent", NOW)
    changed = bytes([nonce[0] ^ 1]) + nonce[1:]
    for refused in (
        lambda: tokens.check_nonce("sign-in", nonce, NOW),
        lambda: restarted.check_nonce("consent", nonce, NOW),
        lambda: tokens.check_nonce("consent", changed, NOW),
        lambda: tokens.check_nonce("consent", nonce[:-1], NOW),
        lambda: tokens.check_nonce("consent", b"", NOW),
    ):
        assert refusal(refused) == (400, "unknown nonce")


def test_a_token_names_its_key_until_it_expires() -> None:
    tokens = make_tokens()
    text, expires = tokens.make_token(KEY, NOW)
    assert expires == after(TOKEN_LIFETIME_MS)
    assert tokens.read_token(text, TimeMs(expires - 1)) == KEY
    assert refusal(lambda: tokens.read_token(text, expires)) == (401, "expired token")
    assert refusal(lambda: make_tokens(b"x").read_token(text, NOW)) == (401, "unknown token")
