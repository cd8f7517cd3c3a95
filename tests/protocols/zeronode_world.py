"""People of the ZeroNode tests: services, clients, and a clock."""

import hashlib

from nacl.signing import SigningKey

from protocols.types import NetworkId, NodeKey, TimeMs, Wallet
from protocols.zeronode_beats import sign_beat
from protocols.zeronode_frames import Beat, Challenge
from protocols.zeronode_rules import MAINNET_RULES, ZeroNodeRules
from protocols.zeronode_session import Session

NETWORK = NetworkId(hashlib.sha256(b"zeronode network").digest())
BOOT = bytes(range(16))
SID = bytes(range(16, 32))
START = TimeMs(20_000 * 86_400_000)
"""The beginning of a day."""


def key_of(name: str) -> SigningKey:
    """Somebody's Ed25519 key."""
    return SigningKey(hashlib.sha256(name.encode()).digest())


def public(name: str) -> NodeKey:
    """Its public half."""
    return NodeKey(bytes(key_of(name).verify_key))


def wallet_of(name: str) -> Wallet:
    """Somebody's wallet."""
    return Wallet(hashlib.sha256(name.encode()).digest()[:20])


def nonce(number: int) -> bytes:
    """A service's 32 bytes of chance."""
    return hashlib.sha256(number.to_bytes(8, "big")).digest()


class Client:
    """A browser's extension at one end of a session, and the service's machine at the other."""

    def __init__(self, rules: ZeroNodeRules = MAINNET_RULES, name: str = "client") -> None:
        self.key = key_of(name)
        self.session = Session(NETWORK, public("service"), SID, public("client"), BOOT, rules)

    def ask(self, now: int) -> Challenge:
        """Let the service send the next challenge."""
        return self.session.challenge(key_of("service"), nonce(now), TimeMs(now))

    def answer(self, challenge: Challenge) -> Beat:
        """The beat that answers it."""
        sig = sign_beat(
            self.key,
            NETWORK,
            public("service"),
            challenge.sid,
            challenge.seq,
            challenge.nonce,
            BOOT,
        )
        return Beat(sid=challenge.sid, seq=challenge.seq, sig=sig)
