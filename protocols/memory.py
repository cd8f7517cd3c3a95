"""The memory proof: what a device holds, shown by reading all of it faster than it could be made.

What fills the memory is the output of the compute proof. A device keeps C of its last rounds
resident (`kept` of them) and says so in its commitment. Then the checker sends a fresh nonce, and
the device reads every kept row again and again until a window is over:

    kept row q        row i of round t, q = (t − (rounds − kept)) · m + i
    seed_p            from the work's commitment, the nonce, p and passroot_{p−1}; p = 0, 1, …
    leaf(p, q)        digest of row q, mixed from start states that seed_p gives (`mix`)
    passroot_p        Merkle root over all kept rows
    commitment        (number of passes, SHA-256 over work, nonce and all pass roots)

Afterwards some (p, q) are opened: the row with its path in the compute proof, which shows that it
is the row that was committed to and the true product, and its path in pass p. The trees of passes
are not kept; a device runs the few opened passes again.

**Why computed data.** Expanded random bytes can be made again at the speed of memory. A word of C
costs 2·k multiplications and additions: at k = 16,384 and 1.5 · 10^15 operations per second that
is some 180 GB/s, against 3,000 … 5,000 GB/s to read it. And what can be made again in the time is
not credited (`scoring.compute_memory_credit`), so claiming more than there is earns nothing.

**Why start states from a nonce.** With fixed ones the leaves could be kept in place of the rows.

Integers in hashed bytes are unsigned 32-bit little-endian.
"""

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from protocols.compute import Shape, WorkCommitment
from protocols.draws import draw_from_parts
from protocols.errors import LocalError, MalformedError
from protocols.expand import expand_rows
from protocols.merkle import DIGEST_BYTES, compute_path_length, compute_root_from_path
from protocols.mix import MIX_LANES, STATE_BYTES, hash_states, mix_rows
from protocols.openings import Index
from protocols.params import MEMORY_OPENINGS
from protocols.rejection import ProofRejected

MAX_PASSES = 1024
"""Most passes of one proof: 32 KiB of pass roots. A device that gets
there in the window keeps some megabytes, and stops early."""

MAX_KEPT_ROWS = (1 << 32) - 1
"""Kept rows have 32-bit numbers."""

MAX_PASS_OPENINGS = 256
"""Most (pass, row) pairs of one request."""

PASS_INDEX_BYTES = 8
"""A pair on the wire: pass and kept row, two 32-bit little-endian integers."""

FIRST_PASS_ROOT = bytes(32)
"""Stands for passroot_{−1}."""

PASS_TAG = b"kaisar/memory/pass/1"
LEAF_TAG = b"kaisar/memory/row/1"
PASSES_TAG = b"kaisar/memory/passes/1"
DRAW_TAG = b"kaisar/memory/draw/1"

_PAIR = struct.Struct("<II")


class PassIndex(NamedTuple):
    """One kept row in one pass."""

    number: int
    """The pass."""
    row: int
    """The kept row."""


class MemoryFault(StrEnum):
    """What is wrong with a memory proof; the text is the reason that is counted."""

    SIZE = "pass openings size"
    """Not as many bytes as the commitment and the request ask for."""

    ROOTS = "pass roots"
    """The pass roots do not hash to the commitment."""

    PATH = "pass path"
    """A row is not in the pass as it should be: it was not there to be read, or was not read."""


@dataclass(frozen=True, slots=True)
class MemoryJob:
    """Passes over what one device keeps of one work: everything that their bits depend on.

    `kept` rounds, 1 … work.rounds, of which there are at most MAX_KEPT_ROWS rows; `nonce` is the
    checker's, 32 bytes. LocalError outside of that; `find_kept_fault` judges a peer's number.
    """

    shape: Shape
    work: WorkCommitment
    kept: int
    nonce: bytes

    def __post_init__(self) -> None:
        fault = find_kept_fault(self.shape, self.work.rounds, self.kept)
        if fault or not self.kept:
            raise LocalError(fault or "nothing is kept")
        if len(self.nonce) != 32:
            raise LocalError(f"nonce of {len(self.nonce)} bytes, expected 32")

    @property
    def rows(self) -> int:
        """Number of kept rows."""
        return self.kept * self.shape.m

    @property
    def kept_bytes(self) -> int:
        """Bytes that one pass reads."""
        return self.rows * self.shape.row_bytes

    def locate(self, row: int) -> Index:
        """Round and row, in the compute proof, of a kept row."""
        return locate_kept_row(self.shape.m, self.work.rounds, self.kept, row)

    def derive_seed(self, number: int, roots: Sequence[bytes]) -> bytes:
        """Seed of a pass, given at least the roots of the passes before it, from the first on."""
        previous = roots[number - 1] if number else FIRST_PASS_ROOT
        data = PASS_TAG + self.work.root + self.nonce + struct.pack("<II", self.kept, number)
        return hashlib.sha256(data + previous).digest()

    def derive_start(self, number: int, roots: Sequence[bytes]) -> NDArray[np.uint64]:
        """Start states of the mix in a pass, of shape (32,): its seed, expanded."""
        data = expand_rows(self.derive_seed(number, roots), STATE_BYTES, 0, 1)
        return np.ascontiguousarray(data).view("<u8").reshape(MIX_LANES)


@dataclass(frozen=True, slots=True)
class PassCommitment:
    """How many passes were made, and the hash that binds them. LocalError for a count outside
    1 … MAX_PASSES or a root that is not 32 bytes; a peer's go through `parse_pass_commitment`."""

    passes: int
    root: bytes

    def __post_init__(self) -> None:
        if not 1 <= self.passes <= MAX_PASSES:
            raise LocalError(f"{self.passes} passes, expected 1 … {MAX_PASSES}")
        if len(self.root) != DIGEST_BYTES:
            raise LocalError(f"root of {len(self.root)} bytes, expected {DIGEST_BYTES}")


@dataclass(frozen=True, slots=True)
class PassOpenings:
    """Decoded openings of passes: of the right size, not yet verified."""

    roots: tuple[bytes, ...]
    paths: tuple[bytes, ...]


def find_kept_fault(shape: Shape, rounds: int, kept: int) -> str | None:
    """Say what is wrong with a number of kept rounds; None when it is allowed (0 included)."""
    if not 0 <= kept <= rounds:
        return f"{kept} rounds kept of {rounds}"
    if kept * shape.m > MAX_KEPT_ROWS:
        return f"{kept} · {shape.m} rows kept, expected at most {MAX_KEPT_ROWS}"
    return None


def locate_kept_row(m: int, rounds: int, kept: int, row: int) -> Index:
    """Round and row, in the compute proof, of a kept row when the last `kept` rounds are kept."""
    t, i = divmod(row, m)
    return Index(rounds - kept + t, i)


def parse_pass_commitment(passes: int, root: bytes) -> PassCommitment:
    """Commitment from a peer's values. Raises MalformedError when they are out of range."""
    try:
        return PassCommitment(passes, root)
    except LocalError as error:
        raise MalformedError("pass commitment not allowed", str(error)) from None


def digest_pass_rows(
    rows: NDArray[np.int32], start: NDArray[np.uint64], number: int, first: int
) -> bytes:
    """Leaves of consecutive kept rows in pass `number`, end to end; `first` is that of `rows[0]`.

    SHA-256(LEAF_TAG ‖ pass ‖ kept row ‖ length in bytes ‖ end states of the mix).
    """
    names = [(number, first + i) for i in range(len(rows))]
    return b"".join(hash_states(LEAF_TAG, mix_rows(rows, start), names, 4 * rows.shape[1]))


def compute_pass_commitment(job: MemoryJob, roots: Sequence[bytes]) -> PassCommitment:
    """Bind every pass root and their number.

    The root is SHA-256(PASSES_TAG ‖ work root ‖ nonce ‖ kept ‖ passes ‖ passroot_0 ‖ …).
    """
    head = PASSES_TAG + job.work.root + job.nonce + struct.pack("<II", job.kept, len(roots))
    return PassCommitment(len(roots), hashlib.sha256(head + b"".join(roots)).digest())


def draw_passes(
    randomness: bytes, works: Sequence[tuple[int, int]], count: int = MEMORY_OPENINGS
) -> tuple[tuple[PassIndex, ...], ...]:
    """Draw `count` distinct pairs uniformly over all devices (`draws.draw_from_parts`).

    `works` is (passes, kept rows) of each device, (0, 0) for one that keeps nothing; number
    pass · kept rows + row stands for a pair. Returns each device's pairs in ascending order.
    """
    if not 1 <= count <= MAX_PASS_OPENINGS:
        raise LocalError(f"{count} pass openings")
    parts = draw_from_parts(DRAW_TAG, randomness, [p * rows for p, rows in works], count)
    return tuple(
        tuple(PassIndex(*divmod(number, rows)) for number in part)
        for part, (_, rows) in zip(parts, works, strict=True)
    )


def encode_pass_indices(indices: Sequence[PassIndex]) -> bytes:
    """The pairs of a request as bytes."""
    return b"".join(_PAIR.pack(*index) for index in indices)


def decode_pass_indices(data: bytes, passes: int, rows: int) -> tuple[PassIndex, ...]:
    """Parse a checker's request. Raises MalformedError unless it has at most MAX_PASS_OPENINGS
    pairs that exist and ascend strictly; it may have none."""
    if len(data) % PASS_INDEX_BYTES or len(data) > MAX_PASS_OPENINGS * PASS_INDEX_BYTES:
        raise MalformedError("pass indices length", f"{len(data)} bytes")
    indices = tuple(PassIndex(*pair) for pair in _PAIR.iter_unpack(data))
    fault = _find_index_fault(indices, passes, rows)
    if fault:
        raise MalformedError("pass indices not allowed", fault)
    return indices


def compute_pass_openings_size(passes: int, rows: int, indices: Sequence[PassIndex]) -> int:
    """Exact number of bytes of the openings of `indices`; 0 when there is none.

    LocalError for pairs out of range.
    """
    fault = _find_index_fault(indices, passes, rows)
    if fault:
        raise LocalError(fault)
    if not indices:
        return 0
    return DIGEST_BYTES * (passes + sum(compute_path_length(i.row, rows) for i in indices))


def encode_pass_openings(openings: PassOpenings) -> bytes:
    """All pass roots, then the path of each pair in its pass; rows travel with the compute
    proof's openings. No bytes where nothing is opened."""
    return b"".join([*openings.roots, *openings.paths])


def decode_pass_openings(
    data: bytes, passes: int, rows: int, indices: Sequence[PassIndex]
) -> PassOpenings:
    """Take `data` apart. Raises MalformedError unless it has exactly the size expected."""
    size = compute_pass_openings_size(passes, rows, indices)
    if len(data) != size:
        raise MalformedError(MemoryFault.SIZE.value, f"{len(data)} bytes, expected {size}")
    if not indices:
        return PassOpenings((), ())
    roots = tuple(data[i * DIGEST_BYTES : (i + 1) * DIGEST_BYTES] for i in range(passes))
    position = passes * DIGEST_BYTES
    paths = []
    for index in indices:
        length = compute_path_length(index.row, rows) * DIGEST_BYTES
        paths.append(data[position : position + length])
        position += length
    return PassOpenings(roots, tuple(paths))


def verify_passes(
    job: MemoryJob,
    commitment: PassCommitment,
    indices: Sequence[PassIndex],
    data: bytes,
    rows: Mapping[Index, NDArray[np.int32]],
) -> None:
    """Verify that `data` opens the pairs `indices` of `commitment`.

    `rows` has the row of each of them, by its place in the compute proof, as `verify_openings`
    found it true. Raises ProofRejected with a MemoryFault; LocalError when a row is missing there
    or the indices are another commitment's.
    """
    try:
        openings = decode_pass_openings(data, commitment.passes, job.rows, indices)
    except MalformedError as error:
        raise ProofRejected(MemoryFault.SIZE, error.detail) from error
    if not indices:
        return
    if compute_pass_commitment(job, openings.roots) != commitment:
        raise ProofRejected(MemoryFault.ROOTS, f"of {commitment.passes} passes")
    starts = {p: job.derive_start(p, openings.roots) for p in {i.number for i in indices}}
    try:
        opened = np.stack([rows[job.locate(index.row)] for index in indices])
    except KeyError as error:
        raise LocalError(f"row of {error.args[0]} was not opened") from None
    states = mix_rows(opened, np.stack([starts[index.number] for index in indices]))
    leaves = hash_states(LEAF_TAG, states, indices, job.shape.row_bytes)
    for index, leaf, path in zip(indices, leaves, openings.paths, strict=True):
        root = compute_root_from_path(leaf, index.row, job.rows, path)
        if root != openings.roots[index.number]:
            raise ProofRejected(MemoryFault.PATH, f"pass {index.number}, kept row {index.row}")


def _find_index_fault(indices: Sequence[PassIndex], passes: int, rows: int) -> str | None:
    previous = (-1, -1)
    for index in indices:
        if not (0 <= index.number < passes and 0 <= index.row < rows):
            return f"pass {index.number}, row {index.row} of {passes} passes of {rows} rows"
        if index <= previous:
            return f"pass {index.number}, row {index.row} does not follow {previous}"
        previous = index
    return None
