"""Nonces and tokens that the service knows again without having kept them.

Both are its own statements with a MAC over them, by a secret that dies with the process: after a
restart every token is void, and clients ask for a new one (401). A spent nonce is remembered until
it has expired, so that it serves once.
"""

import base64
import binascii
import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from p2p_node.zeronode.http_types import HttpRefusal
from protocols.types import NodeKey, TimeMs

NONCE_LIFETIME_MS: Final = 600_000
TOKEN_LIFETIME_MS: Final = 3_600_000

MAX_SPENT: Final = 100_000
"""Nonces remembered; more within ten minutes are not taken (8 MB)."""

_TIME_BYTES: Final = 6
_RANDOM_BYTES: Final = 10
_MAC_BYTES: Final = 16
NONCE_BYTES: Final = _TIME_BYTES + _RANDOM_BYTES + _MAC_BYTES
_KEY_BYTES: Final = 32


class Tokens:
    """Gives out and knows again. `random` returns so many bytes that nobody can predict."""

    def __init__(self, secret: bytes, random: Callable[[int], bytes]) -> None:
        self._secret = secret
        self._random = random
        self._spent: OrderedDict[bytes, TimeMs] = OrderedDict()

    def make_nonce(self, purpose: str, now: TimeMs) -> bytes:
        """Return a fresh nonce of 32 bytes for one purpose."""
        head = (now + NONCE_LIFETIME_MS).to_bytes(_TIME_BYTES, "big") + self._random(_RANDOM_BYTES)
        return head + self._mac(f"nonce/{purpose}", head)

    def check_nonce(
        self, purpose: str, nonce: bytes, now: TimeMs, remedy: str = "ask for a new one"
    ) -> TimeMs:
        """Return when one of our nonces expires. Raises HttpRefusal if it is none, or has."""
        head, mac = nonce[:-_MAC_BYTES], nonce[-_MAC_BYTES:]
        is_ours = len(nonce) == NONCE_BYTES and hmac.compare_digest(
            mac, self._mac(f"nonce/{purpose}", head)
        )
        if not is_ours:
            raise HttpRefusal(400, "unknown nonce", remedy)
        expires = TimeMs(int.from_bytes(head[:_TIME_BYTES], "big"))
        if expires <= now:
            raise HttpRefusal(400, "expired nonce", remedy)
        return expires

    def spend_nonce(self, purpose: str, nonce: bytes, now: TimeMs) -> None:
        """Take a nonce back, once. Raises HttpRefusal."""
        expires = self.check_nonce(purpose, nonce, now)
        # All live equally long, so they expire in about the order in which they are spent.
        while self._spent and next(iter(self._spent.values())) <= now:
            self._spent.popitem(last=False)
        if nonce in self._spent:
            raise HttpRefusal(409, "spent nonce", "ask for a new one")
        if len(self._spent) >= MAX_SPENT:
            raise HttpRefusal(503, "too many sign-ins", "try again in ten minutes")
        self._spent[nonce] = expires

    def make_token(self, key: NodeKey, now: TimeMs) -> tuple[str, TimeMs]:
        """Return a token that lets `key` use its account, and when it expires."""
        expires = TimeMs(now + TOKEN_LIFETIME_MS)
        head = key + expires.to_bytes(_TIME_BYTES, "big")
        token = head + self._mac("token", head)
        return base64.urlsafe_b64encode(token).decode().rstrip("="), expires

    def read_token(self, text: str, now: TimeMs) -> NodeKey:
        """Return whose token this is. Raises HttpRefusal with 401."""
        try:
            token = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            token = b""
        head, mac = token[:-_MAC_BYTES], token[-_MAC_BYTES:]
        if len(head) != _KEY_BYTES + _TIME_BYTES or not hmac.compare_digest(
            mac, self._mac("token", head)
        ):
            raise _refuse_token("unknown token")
        if int.from_bytes(head[_KEY_BYTES:], "big") <= now:
            raise _refuse_token("expired token")
        return NodeKey(head[:_KEY_BYTES])

    def _mac(self, purpose: str, message: bytes) -> bytes:
        # Purposes hold no zero byte, so a purpose and a message have one encoding.
        whole = purpose.encode() + b"\0" + message
        return hmac.digest(self._secret, whole, hashlib.sha256)[:_MAC_BYTES]


def _refuse_token(reason: str) -> HttpRefusal:
    return HttpRefusal(401, reason, "ask for a new one", (("WWW-Authenticate", "Bearer"),))
