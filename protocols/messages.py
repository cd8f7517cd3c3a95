"""What nodes say to one another. `docs/spec/messages.md` is this file in words.

Gossip carries announcements, challenge announcements and reports. A job, its commitment and its
openings go over one direct stream; missing reports can be asked for over another.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from protocols.hashing import keccak256
from protocols.lanes import VECTOR_BYTES
from protocols.params import MAX_SEATS, OPENINGS
from protocols.signing import WALLET_SIGNATURE_BYTES
from protocols.types import Digest, Epoch, NodeKey, Seat, Shard, TimeMs, Wallet
from protocols.wire import Bytes, Message, Text, blob, fixed, list_of, text, uint

MAX_ADDRESSES = 8
"""Multiaddrs in an announcement: a host has a handful of interfaces."""

MAX_ADDRESS_CHARS = 256
"""The longest multiaddr in use (DNS name, certificate hashes, peer id) stays below this."""

OPENING_INDEX_BYTES = 8
"""A (round, row) pair: two 32-bit little-endian integers."""

MAX_OPENINGS_BYTES = 16 << 20
"""Openings of the largest shape (64 rows of 32,768 int32 with paths) stay below 16 MiB."""


class Role(IntEnum):
    """What a node says that it is for."""

    PROVIDER = 1
    CHECKER = 2


class Refusal(IntEnum):
    """Why a provider does not take a job."""

    BUSY = 1
    NOT_IN_COMMITTEE = 2
    NOT_IN_SLOT = 3
    NOT_FOR_ME = 4
    ALREADY_ANSWERED = 5
    BAD_SHAPE = 6
    NOT_READY = 7


@dataclass(frozen=True, slots=True)
class Announcement(Message):
    """Where a registered node can be reached. Newer `time` replaces older."""

    KIND: ClassVar[int] = 1
    MAX_BYTES: ClassVar[int] = 4096

    role: int = uint(8)
    wallet: Wallet = fixed(20)
    time: TimeMs = uint(64)
    addresses: tuple[str, ...] = list_of(Text(MAX_ADDRESS_CHARS), MAX_ADDRESSES)
    software: str = text(32)


@dataclass(frozen=True, slots=True)
class ChallengeAnnouncement(Message):
    """A checker's word, at the start of its slot, that it is about to challenge a shard.

    `commitment` binds it to the secret from which every provider's nonce derives, and which its
    report reveals: so it cannot pick nonces per provider.
    """

    KIND: ClassVar[int] = 2
    MAX_BYTES: ClassVar[int] = 128

    epoch: Epoch = uint(32)
    shard: Shard = uint(32)
    seat: Seat = uint(8)
    checker: int = uint(16)
    commitment: Digest = fixed(32)


@dataclass(frozen=True, slots=True)
class ReportMessage(Message):
    """A signed report on its way to the bundle, with the secret behind the challenges."""

    KIND: ClassVar[int] = 3
    MAX_BYTES: ClassVar[int] = 1024

    epoch: Epoch = uint(32)
    shard: Shard = uint(32)
    seat: Seat = uint(8)
    checker: int = uint(16)
    scores: bytes = fixed(VECTOR_BYTES)
    online: bytes = fixed(32)
    fraud: bytes = fixed(32)
    evidence: Digest = fixed(32)
    secret: bytes = fixed(32)
    wallet_signature: bytes = fixed(WALLET_SIGNATURE_BYTES)


@dataclass(frozen=True, slots=True)
class Job(Message):
    """One compute challenge to one provider, signed by the checker of this seat."""

    KIND: ClassVar[int] = 4
    MAX_BYTES: ClassVar[int] = 256

    epoch: Epoch = uint(32)
    shard: Shard = uint(32)
    seat: Seat = uint(8)
    checker: int = uint(16)
    provider: int = uint(32)
    device: int = uint(8)
    nonce: Digest = fixed(32)
    m: int = uint(32)
    k: int = uint(32)
    n: int = uint(32)
    window_ms: int = uint(32)


@dataclass(frozen=True, slots=True)
class Commitment(Message):
    """The provider's word on what it computed, given before it knows which rows are opened."""

    KIND: ClassVar[int] = 5
    MAX_BYTES: ClassVar[int] = 128

    job: Digest = fixed(32)
    rounds: int = uint(32)
    root: Digest = fixed(32)


@dataclass(frozen=True, slots=True)
class OpenRequest(Message):
    """The rows to open, drawn by the checker after the commitment arrived."""

    KIND: ClassVar[int] = 6
    MAX_BYTES: ClassVar[int] = 1024

    job: Digest = fixed(32)
    indices: bytes = blob(OPENINGS * OPENING_INDEX_BYTES)


@dataclass(frozen=True, slots=True)
class Openings(Message):
    """The rows asked for, with their paths (`openings.encode_openings`)."""

    KIND: ClassVar[int] = 7
    MAX_BYTES: ClassVar[int] = MAX_OPENINGS_BYTES + 128

    job: Digest = fixed(32)
    request: Digest = fixed(32)
    data: bytes = blob(MAX_OPENINGS_BYTES)


@dataclass(frozen=True, slots=True)
class JobRefusal(Message):
    """The provider's answer in place of a commitment."""

    KIND: ClassVar[int] = 8
    MAX_BYTES: ClassVar[int] = 256

    job: Digest = fixed(32)
    code: int = uint(8)
    detail: str = text(128)


@dataclass(frozen=True, slots=True)
class ReportsRequest(Message):
    """Asks a peer for the reports of one epoch and shard that it holds."""

    KIND: ClassVar[int] = 9
    MAX_BYTES: ClassVar[int] = 64

    epoch: Epoch = uint(32)
    shard: Shard = uint(32)


@dataclass(frozen=True, slots=True)
class ReportsResponse(Message):
    """The sealed report messages held, each to be judged as if it came by gossip."""

    KIND: ClassVar[int] = 10
    MAX_BYTES: ClassVar[int] = MAX_SEATS * 2048 + 128

    reports: tuple[bytes, ...] = list_of(Bytes(0, 2048), MAX_SEATS)


def compute_message_digest(body: bytes) -> Digest:
    """Name a message by the hash of its encoded body; a job's digest is its id."""
    return keccak256(body)


def compute_challenge_commitment(secret: bytes) -> Digest:
    """Commit to a challenge secret of 32 bytes."""
    return keccak256(b"kaisar/challenge/1", secret)


def compute_job_nonce(secret: bytes, provider: NodeKey) -> Digest:
    """Derive the nonce of one provider's job from the secret of its shard's challenge."""
    return keccak256(b"kaisar/job-nonce/1", secret, provider)
