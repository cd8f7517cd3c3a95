"""The compute proof: what is computed, and what a provider commits to.

All work is exact integer arithmetic, so every machine produces the same bits.

    B    (k × n int8)   from the epoch's seed, resident while the epoch lasts
    A_t  (m × k int8)   from the job and root_{t−2}, fresh in every round t = 0, 1, …
    C_t = A_t · B       (m × n int32)
    leaf(t, i)          digest of row i of C_t (`mix`)
    root_t              Merkle root over the m leaves (`merkle`)
    commitment          (number of rounds, SHA-256 over job and all round roots)

A_t needs root_{t−2}, so rounds cannot be computed before their predecessors are complete, nor
exchanged. The nonce, the provider's key, the device and the shape are in every A_t: an answer is
worth nothing to another identity, for another device or at another time.

**Why the root before the last.** With root_{t−1} a GPU would multiply, then digest, build a tree
and expand, and its tensor cores would rest meanwhile. With root_{t−2} all of that goes on beside
the next multiplication. It gives nothing away: two chains of rounds for two devices are no more
than two halves of the rows of every round would be.

**Why m is the provider's choice.** k and n fix what a checker has to precompute and are the
network's. m is only how much is done between two roots: a device wants rounds of some milliseconds,
and what is right for one starves another. What counts is m · rounds, and the rows to open are
drawn over all of it.

**Why the list of round roots is hashed flat.** An opened round needs root_t and root_{t−2} under
the commitment. The list costs 32 bytes a round; a Merkle tree over the roots would cost, at 64
openings, about 64 · 32 · (2 + log2 rounds) bytes. The list is the smaller up to some 700 rounds,
and a window holds tens to hundreds, beside 0.25 … 8 MiB of rows. It is also one hash to check.

**Why B is shared by all providers of an epoch.** `derive_b_seed` takes an identity, and the
network leaves it empty. What makes work unshareable is A, which is bound to the identity. A B of
one's own would add nothing against the two ways of sharing: a relay to an equal device has only to
expand B again, k·n bytes beside the m·k·n multiplications of every single round; and one device
behind two identities does the same multiplications either way. Tables over a fixed B can be
amortised over one identity's epoch just as over many. The price of an own B would be paid by the
checkers: u = B·r once per provider instead of once per epoch, 256 × 0.4 s per shard at
k = n = 16,384, for providers that may not even answer.

Integers in hashed bytes are unsigned 32-bit little-endian; everything else has a fixed length.
"""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from protocols.errors import LocalError, MalformedError
from protocols.mix import hash_states, mix_rows

MAX_M = 1 << 20
"""Rows per round: 64 MiB of leaves and nodes."""

MAX_K = 131_056
"""Largest multiple of 16 below 131,072: |Σ a·b| ≤ k · 2^14 < 2^31, so int32 sums are exact."""

MAX_N = 32_768
"""Rows of at most 128 KiB: 64 openings stay below 9 MiB."""

MAX_B_BYTES = 1 << 30
"""Largest B: what a checker expands once per epoch (about 1.6 s on one core)."""

MAX_ROUNDS = 16_384
"""Most rounds of one job: 512 KiB of round roots. A provider that gets there stops early and is
paid for less than it could do; with a larger m, which is its own choice, it does not get there."""

ALIGNMENT = 16
"""k and n are multiples of 16, as int8 tensor cores ask of every leading dimension."""

CHAIN_LAG = 2
"""A_t depends on root_{t − CHAIN_LAG}."""

FIRST_ROOT = bytes(32)
"""Stands for root_{−1} and root_{−2}."""

B_TAG = b"kaisar/compute/b/1"
JOB_TAG = b"kaisar/compute/job/1"
A_TAG = b"kaisar/compute/a/1"
ROW_TAG = b"kaisar/compute/row/2"
ROUNDS_TAG = b"kaisar/compute/rounds/1"

SHARED_B = bytes(32)
"""The identity of a B that belongs to nobody in particular."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Size of one round: A is m × k, B is k × n. LocalError outside the limits above."""

    m: int
    k: int
    n: int

    def __post_init__(self) -> None:
        fault = find_shape_fault(self.m, self.k, self.n)
        if fault:
            raise LocalError(fault)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of C."""
        return 4 * self.n

    @property
    def operations(self) -> int:
        """Multiplications and additions of one round."""
        return 2 * self.m * self.k * self.n


@dataclass(frozen=True, slots=True)
class ComputeJob:
    """One job for one device: everything that its bits depend on.

    `nonce` (32 bytes) is the checker's, `provider` the node key (32 bytes), `device` the index
    of the device on that node. LocalError for wrong lengths or an index outside 32 bits.

    `seed` is the digest of all of it; every A_t derives from it and the commitment binds it.
    """

    shape: Shape
    b_seed: bytes
    nonce: bytes
    provider: bytes
    device: int
    seed: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _require_digests(b_seed=self.b_seed, nonce=self.nonce, provider=self.provider)
        if not 0 <= self.device < 1 << 32:
            raise LocalError(f"device {self.device}")
        shape = self.shape
        sizes = struct.pack("<IIII", self.device, shape.m, shape.k, shape.n)
        data = JOB_TAG + self.b_seed + self.nonce + self.provider + sizes
        object.__setattr__(self, "seed", hashlib.sha256(data).digest())

    def derive_a_seed(self, round_number: int, roots: Sequence[bytes]) -> bytes:
        """Seed of A_t, given at least the roots of the rounds up to t − 2, from the first on."""
        before = round_number - CHAIN_LAG
        root = roots[before] if before >= 0 else FIRST_ROOT
        data = A_TAG + self.seed + round_number.to_bytes(4, "little") + root
        return hashlib.sha256(data).digest()


@dataclass(frozen=True, slots=True)
class WorkCommitment:
    """What a provider signs: how many rounds it did, and the hash that binds them all.

    LocalError for a count outside 1 … MAX_ROUNDS or a root that is not 32 bytes; a peer's values
    go through `parse_commitment`.
    """

    rounds: int
    root: bytes

    def __post_init__(self) -> None:
        if not 1 <= self.rounds <= MAX_ROUNDS:
            raise LocalError(f"{self.rounds} rounds, expected 1 … {MAX_ROUNDS}")
        _require_digests(root=self.root)


def find_shape_fault(m: int, k: int, n: int) -> str | None:
    """Say what is wrong with a shape; None when it is allowed."""
    for name, value, largest in (("m", m, MAX_M), ("k", k, MAX_K), ("n", n, MAX_N)):
        if not 1 <= value <= largest:
            return f"{name} = {value}, expected 1 … {largest}"
    for name, value in (("k", k), ("n", n)):
        if value % ALIGNMENT:
            return f"{name} = {value} is no multiple of {ALIGNMENT}"
    if k * n > MAX_B_BYTES:
        return f"k·n = {k * n}, expected at most {MAX_B_BYTES}"
    return None


def parse_shape(m: int, k: int, n: int) -> Shape:
    """Shape from a peer's numbers. Raises MalformedError where `Shape` would raise LocalError."""
    fault = find_shape_fault(m, k, n)
    if fault:
        raise MalformedError("shape not allowed", fault)
    return Shape(m, k, n)


def parse_commitment(rounds: int, root: bytes) -> WorkCommitment:
    """Commitment from a peer's values. Raises MalformedError when they are out of range."""
    try:
        return WorkCommitment(rounds, root)
    except LocalError as error:
        raise MalformedError("commitment not allowed", str(error)) from None


def derive_b_seed(epoch_seed: bytes, k: int, n: int, identity: bytes = SHARED_B) -> bytes:
    """Seed of B from the epoch's 32-byte seed; see above for why `identity` is left as it is."""
    _require_digests(epoch_seed=epoch_seed, identity=identity)
    return hashlib.sha256(B_TAG + epoch_seed + struct.pack("<II", k, n) + identity).digest()


def digest_rows(rows: NDArray[np.int32], round_number: int, first: int) -> bytes:
    """Leaves of consecutive rows, end to end; `first` is the index of `rows[0]`."""
    names = [(round_number, first + i) for i in range(len(rows))]
    return b"".join(digest_each(rows, names))


def digest_each(rows: NDArray[np.int32], names: Sequence[tuple[int, int]]) -> list[bytes]:
    """Leaf of each row, named by (round, index of the row).

    SHA-256(ROW_TAG ‖ round ‖ row ‖ length in bytes ‖ end states of the mix started at zero).
    """
    return hash_states(ROW_TAG, mix_rows(rows), names, 4 * rows.shape[1])


def compute_commitment(job: ComputeJob, roots: Sequence[bytes]) -> WorkCommitment:
    """Bind every round root and their number.

    The root is SHA-256(ROUNDS_TAG ‖ job seed ‖ round count ‖ root_0 ‖ root_1 ‖ …).
    """
    head = ROUNDS_TAG + job.seed + len(roots).to_bytes(4, "little")
    return WorkCommitment(len(roots), hashlib.sha256(head + b"".join(roots)).digest())


def _require_digests(**values: bytes) -> None:
    for name, value in values.items():
        if len(value) != 32:
            raise LocalError(f"{name}: {len(value)} bytes, expected 32")
