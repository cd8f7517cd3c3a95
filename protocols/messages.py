"""What nodes say to one another. `docs/spec/messages.md` is this file in words.

Gossip carries announcements, challenge announcements, commitments to reports and reports. A job,
its commitment and its openings go over one direct stream; missing reports, and the transcript
behind one lane of a report, can be asked for over others.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from protocols.chains import (
    CHAIN_BYTES,
    CHAIN_INDEX_BYTES,
    CHAIN_OPENINGS,
    MAX_CHAIN_OPENINGS_BYTES,
    MAX_CHAINS,
)
from protocols.envelopes import ENVELOPE_OVERHEAD
from protocols.hashing import keccak256
from protocols.host_proof import MAX_DEVICES, PASSES_BYTES, WORK_BYTES
from protocols.lanes import VECTOR_BYTES
from protocols.memory import PASS_INDEX_BYTES
from protocols.openings import INDEX_BYTES
from protocols.params import MAX_SEATS, MEMORY_OPENINGS, OPENINGS
from protocols.signing import WALLET_SIGNATURE_BYTES
from protocols.types import Digest, Epoch, NodeKey, Seat, Shard, TimeMs, Wallet
from protocols.wire import Bytes, Message, Text, blob, fixed, list_of, text, uint

MAX_ADDRESSES = 8
"""Multiaddrs in an announcement: a host has a handful of interfaces."""

MAX_ADDRESS_CHARS = 256
"""The longest multiaddr in use (DNS name, certificate hashes, peer id) stays below this."""

MAX_OPENINGS_BYTES = 16 << 20
"""96 rows of the largest shape (128 KiB each) with roots and paths stay below 16 MiB."""

MAX_PASS_OPENINGS_BYTES = 64 << 10
"""1,024 pass roots and 32 paths of 32 digests: 64 KiB."""

MAX_RECEIPT_BYTES = 512
"""A sealed receipt has some 250."""

MAX_TRANSCRIPT_MESSAGES = 8
"""Four requests of a job and their answers."""

MAX_EVIDENCE_PATH = 8 * 32
"""Siblings in a Merkle tree over the lanes of a shard."""

MAX_AUDIT_BYTES = (16 << 20) - ENVELOPE_OVERHEAD
"""With its envelope one frame of a stream, which has 16 MiB at most. The largest openings that a
preset's shape allows, and all other messages of a job, stay below it."""


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
    """A signed report on its way to the bundle, with the secret behind the challenges and the salt
    of the commitment that was published before."""

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
    salt: bytes = fixed(32)
    wallet_signature: bytes = fixed(WALLET_SIGNATURE_BYTES)


@dataclass(frozen=True, slots=True)
class Job(Message):
    """One challenge to one provider and all of its devices, signed by the checker of this seat."""

    KIND: ClassVar[int] = 4
    MAX_BYTES: ClassVar[int] = 256

    epoch: Epoch = uint(32)
    shard: Shard = uint(32)
    seat: Seat = uint(8)
    checker: int = uint(16)
    provider: int = uint(32)
    nonce: Digest = fixed(32)
    k: int = uint(32)
    n: int = uint(32)
    window_ms: int = uint(32)


@dataclass(frozen=True, slots=True)
class Commitment(Message):
    """The provider's word on what it computed, given before it knows which rows are opened."""

    KIND: ClassVar[int] = 5
    MAX_BYTES: ClassVar[int] = 10_240

    job: Digest = fixed(32)
    devices: tuple[bytes, ...] = list_of(Bytes(WORK_BYTES, WORK_BYTES), MAX_DEVICES)
    """`host_proof.encode_work` of each."""
    receipts: tuple[bytes, ...] = list_of(Bytes(0, MAX_RECEIPT_BYTES), MAX_SEATS)
    """Sealed TransferReceipts of this epoch's committee."""


@dataclass(frozen=True, slots=True)
class OpenRequest(Message):
    """What to open, drawn by the checker after all commitments arrived.

    One entry for each device in `rows` and `passes`; empty where nothing was drawn.
    """

    KIND: ClassVar[int] = 6
    MAX_BYTES: ClassVar[int] = 20_480

    job: Digest = fixed(32)
    rows: tuple[bytes, ...] = list_of(
        Bytes(0, (OPENINGS + MEMORY_OPENINGS) * INDEX_BYTES), MAX_DEVICES
    )
    passes: tuple[bytes, ...] = list_of(Bytes(0, MEMORY_OPENINGS * PASS_INDEX_BYTES), MAX_DEVICES)
    chains: bytes = blob(CHAIN_OPENINGS * CHAIN_INDEX_BYTES)


@dataclass(frozen=True, slots=True)
class Openings(Message):
    """What was asked for: rows and passes of each device, segments of chains."""

    KIND: ClassVar[int] = 7
    MAX_BYTES: ClassVar[int] = MAX_OPENINGS_BYTES

    job: Digest = fixed(32)
    request: Digest = fixed(32)
    rows: tuple[bytes, ...] = list_of(Bytes(0, MAX_OPENINGS_BYTES), MAX_DEVICES)
    passes: tuple[bytes, ...] = list_of(Bytes(0, MAX_PASS_OPENINGS_BYTES), MAX_DEVICES)
    chains: bytes = blob(MAX_CHAIN_OPENINGS_BYTES)


@dataclass(frozen=True, slots=True)
class JobRefusal(Message):
    """The provider's answer in place of a commitment.

    `lease` is the lease that keeps the provider BUSY, which anybody can look up on the chain; 0 for
    everything else.
    """

    KIND: ClassVar[int] = 8
    MAX_BYTES: ClassVar[int] = 256

    job: Digest = fixed(32)
    code: int = uint(8)
    detail: str = text(128)
    lease: int = uint(64)

    @property
    def named_lease(self) -> int:
        """The lease that excuses the provider by its own word; 0 for none."""
        return self.lease if self.code == Refusal.BUSY else 0


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


@dataclass(frozen=True, slots=True)
class PassRequest(Message):
    """Asks for passes over everything that the devices keep of this job."""

    KIND: ClassVar[int] = 11
    MAX_BYTES: ClassVar[int] = 128

    job: Digest = fixed(32)
    nonce: Digest = fixed(32)
    window_ms: int = uint(32)


@dataclass(frozen=True, slots=True)
class Passes(Message):
    """The passes made, one entry for each device of the Commitment (`host_proof.encode_passes`)."""

    KIND: ClassVar[int] = 12
    MAX_BYTES: ClassVar[int] = 1024

    job: Digest = fixed(32)
    request: Digest = fixed(32)
    devices: tuple[bytes, ...] = list_of(Bytes(PASSES_BYTES, PASSES_BYTES), MAX_DEVICES)


@dataclass(frozen=True, slots=True)
class ChainRequest(Message):
    """Asks for chains on the host's cores."""

    KIND: ClassVar[int] = 13
    MAX_BYTES: ClassVar[int] = 128

    job: Digest = fixed(32)
    nonce: Digest = fixed(32)
    window_ms: int = uint(32)


@dataclass(frozen=True, slots=True)
class Chains(Message):
    """The chains computed (`chains.encode_commitments`); none when the host offers no cores."""

    KIND: ClassVar[int] = 14
    MAX_BYTES: ClassVar[int] = MAX_CHAINS * CHAIN_BYTES + 128

    job: Digest = fixed(32)
    request: Digest = fixed(32)
    chains: bytes = blob(MAX_CHAINS * CHAIN_BYTES)


@dataclass(frozen=True, slots=True)
class ReportCommitment(Message):
    """A checker's word, before anybody shows a report, that it has made its own.

    `commitment` is `compute_report_commitment` of the report that it is about to reveal.
    """

    KIND: ClassVar[int] = 20
    MAX_BYTES: ClassVar[int] = 128

    epoch: Epoch = uint(32)
    shard: Shard = uint(32)
    seat: Seat = uint(8)
    checker: int = uint(16)
    commitment: Digest = fixed(32)


@dataclass(frozen=True, slots=True)
class AuditRequest(Message):
    """Asks a checker for the transcript behind one lane of its own report."""

    KIND: ClassVar[int] = 21
    MAX_BYTES: ClassVar[int] = 64

    epoch: Epoch = uint(32)
    shard: Shard = uint(32)
    lane: int = uint(8)


@dataclass(frozen=True, slots=True)
class AuditResponse(Message):
    """The transcript of the lane's job, and its Merkle path under the report's evidence root.

    Both empty when there is no transcript.
    """

    KIND: ClassVar[int] = 22
    MAX_BYTES: ClassVar[int] = MAX_AUDIT_BYTES

    path: bytes = blob(MAX_EVIDENCE_PATH)
    messages: tuple[bytes, ...] = list_of(Bytes(0, MAX_AUDIT_BYTES), MAX_TRANSCRIPT_MESSAGES)
    """Sealed, in the order in which they went over the job's stream."""


def compute_message_digest(body: bytes) -> Digest:
    """Name a message by the hash of its encoded body; a job's digest is its id."""
    return keccak256(body)


def compute_challenge_commitment(secret: bytes) -> Digest:
    """Commit to a challenge secret of 32 bytes."""
    return keccak256(b"kaisar/challenge/1", secret)


def compute_report_commitment(wallet: Wallet, digest: Digest, salt: bytes) -> Digest:
    """Commit to the report with this EIP-712 digest, in the name of the wallet that signs it.

    `salt` is 32 fresh, secret bytes: nobody can try out reports against the commitment, nor repeat
    it as their own.
    """
    return keccak256(b"kaisar/report-commitment/1", wallet, digest, salt)


def compute_job_nonce(secret: bytes, provider: NodeKey) -> Digest:
    """Derive the nonce of one provider's job from the secret of its shard's challenge."""
    return keccak256(b"kaisar/job-nonce/1", secret, provider)


def compute_pass_nonce(secret: bytes, provider: NodeKey) -> Digest:
    """Likewise the nonce of its passes, which it learns after its commitment only."""
    return keccak256(b"kaisar/pass-nonce/1", secret, provider)


def compute_chain_nonce(secret: bytes, provider: NodeKey) -> Digest:
    """Likewise the nonce of its chains."""
    return keccak256(b"kaisar/chain-nonce/1", secret, provider)
