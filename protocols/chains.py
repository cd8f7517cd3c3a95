"""The cpu proof: how many cores work side by side, shown by chains that cannot be cut.

A chain is a sequence of segments; a segment is one SHA-256 over some hundred thousand bytes, which
nothing but time can shorten. A host runs one chain per core until a window is over:

    seed_c        from the job, the checker's nonce, the provider's key, c and the iterations
    x_i           SHA-256(SEGMENT_TAG ‖ seed_c ‖ i ‖ peaks_i ‖ 64 · iterations zero bytes)
    peaks_i       roots of the full subtrees over x_0 … x_{i−1}, the smallest (last) first
    commitment    (number of segments, Merkle root over x_0 … x_{S−1}) of each chain

Afterwards some (chain, segment) are opened. An opening is the Merkle path alone: its left siblings
*are* peaks_i, so the checker computes x_i from them, and sees whether the path leads to the root.

**Why a segment starts from all segments before it.** If x_i came from x_{i−1} only, a chain could
be cut into p pieces at the price of p − 1 invented segments in a thousand, and the pieces computed
at once by the many slow threads of a GPU. Here every true segment depends on every true segment
before it, through the tree that was committed to: whatever else is invented, the true segments of
a chain were computed one after another. So a thread that is ρ times slower has at most a share
1/ρ of true segments, and every single opening finds it out with probability 1 − 1/ρ. (This is the
argument of Cohen and Pietrzak, "Simple Proofs of Sequential Work", 2018.)

**Why inventing never pays.** Who computed G segments and claims T survives c openings with at most
(G/T)^c, so it can expect the credit of T · (G/T)^c ≤ G segments, even if being caught cost nothing.

**Why one long SHA-256.** An optimised program has no advantage on a single chain, as `hashlib`
spends all of its time in the compression function. PBKDF2 spends two thirds of it elsewhere.

Integers in hashed bytes are unsigned 32-bit little-endian.
"""

import hashlib
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby
from typing import NamedTuple

from protocols.draws import draw_from_parts
from protocols.errors import LocalError, MalformedError
from protocols.merkle import (
    DIGEST_BYTES,
    build_tree,
    compute_path_length,
    compute_root_from_path,
    hash_node,
)
from protocols.rejection import ProofRejected

MAX_CHAINS = 512
"""Most chains of one host. Kaisar's table ends at 128 cores; the largest hosts have 384 threads."""

MAX_SEGMENTS = 1 << 16
"""Most segments of one chain: paths of at most 16 siblings. A core is expected to do 1,024."""

SEGMENTS_PER_WINDOW = 1024
"""Segments that a reference core does in a window. A checker computes CHAIN_OPENINGS of them again:
1/32 of the window. More, shorter ones would cost less, but interpreters of hosts with a hundred
cores need some 2 µs for each, one at a time."""

CHAIN_OPENINGS = 32
"""Segments opened per job. A share of 10 % invented is found with 97 %; chains of threads that are
all eight times too slow survive with less than 10^−28."""

MAX_SEGMENT_OPENINGS = 256
"""Most pairs of one request."""

MIN_ITERATIONS = 64
"""Below 2 KiB `hashlib` would keep the interpreter lock, and cores would wait for each other."""

MAX_ITERATIONS = 1 << 18
"""Largest segment: 16 MiB, 10 ms on a reference core."""

FLOOR_DIVISOR = 8
"""A chain counts when it is no slower than 1/8 of a reference core. Half of a core without SHA-256
instructions is above (0.17, measured); a GPU's thread is below, by the arithmetic in
docs/spec/cpu-proof.md (0.04 … 0.09, not measured)."""

BLOCK_BYTES = 64
"""What one iteration, a call of SHA-256's compression function, takes in."""

CHAIN_INDEX_BYTES = 8
"""A (chain, segment) pair on the wire: two 32-bit little-endian integers."""

SEED_TAG = b"kaisar/chain/seed/1"
SEGMENT_TAG = b"kaisar/chain/segment/1"
DRAW_TAG = b"kaisar/chain/draw/1"

_COMMITMENT = struct.Struct("<I32s")
_PAIR = struct.Struct("<II")

CHAIN_BYTES = _COMMITMENT.size
"""One chain of a commitment on the wire: number of segments, root."""

MAX_CHAIN_OPENINGS_BYTES = CHAIN_OPENINGS * DIGEST_BYTES * (MAX_SEGMENTS - 1).bit_length()
"""16 KiB: paths of 16 siblings for every opening that a checker asks for."""

_ZEROS = memoryview(bytes(BLOCK_BYTES * MAX_ITERATIONS))
_NO_ROOT = bytes(DIGEST_BYTES)


class SegmentIndex(NamedTuple):
    """One segment of one chain."""

    chain: int
    segment: int


class ChainFault(StrEnum):
    """What is wrong with a cpu proof; the text is the reason that is counted."""

    SIZE = "chain openings size"
    """Not as many bytes as the commitment and the request ask for."""

    SEGMENT = "chain segment"
    """The segment that follows from the path is not the one that was committed to: it was invented,
    another job's, another chain's, or the path is not the committed tree's."""


@dataclass(frozen=True, slots=True)
class ChainJob:
    """Chains of one host: everything that their bits depend on.

    `digest` names the checker's job, `nonce` is fresh and comes with the request for chains,
    `provider` is the host's node key, 32 bytes each; `iterations` is the length of a segment,
    MIN_ITERATIONS … MAX_ITERATIONS. LocalError outside of that.
    """

    digest: bytes
    nonce: bytes
    provider: bytes
    iterations: int

    def __post_init__(self) -> None:
        for name in ("digest", "nonce", "provider"):
            if len(getattr(self, name)) != DIGEST_BYTES:
                raise LocalError(f"{name} of {len(getattr(self, name))} bytes, expected 32")
        if not MIN_ITERATIONS <= self.iterations <= MAX_ITERATIONS:
            raise LocalError(f"{self.iterations} iterations")

    def derive_seed(self, chain: int) -> bytes:
        """Seed of one chain; its iterations are in it, so that no segment is another length's."""
        data = SEED_TAG + self.digest + self.nonce + self.provider
        return hashlib.sha256(data + _PAIR.pack(chain, self.iterations)).digest()


@dataclass(frozen=True, slots=True)
class ChainCommitment:
    """How many segments one chain has, and the Merkle root over them.

    A chain that never got to run has none, and a root of zeros. LocalError for a number outside
    0 … MAX_SEGMENTS or another root; a peer's go through `decode_commitments`.
    """

    segments: int
    root: bytes

    def __post_init__(self) -> None:
        if not 0 <= self.segments <= MAX_SEGMENTS:
            raise LocalError(f"{self.segments} segments, expected 0 … {MAX_SEGMENTS}")
        if len(self.root) != DIGEST_BYTES or (not self.segments and self.root != _NO_ROOT):
            raise LocalError(f"root of {len(self.root)} bytes for {self.segments} segments")


@dataclass(slots=True, eq=False)
class Chain:
    """A chain as it grows. `leaves` are its segments so far, 32 bytes each, end to end."""

    seed: bytes
    iterations: int
    leaves: bytearray = field(default_factory=bytearray)
    _peaks: list[bytes] = field(default_factory=list)

    @property
    def segments(self) -> int:
        """Number of segments so far."""
        return len(self.leaves) // DIGEST_BYTES

    def extend(self) -> None:
        """Compute the next segment. LocalError when there are MAX_SEGMENTS.

        Some 2 µs of it hold the interpreter lock, the rest does not.
        """
        segment = self.segments
        if segment >= MAX_SEGMENTS:
            raise LocalError(f"more than {MAX_SEGMENTS} segments")
        self.append(compute_segment(self.seed, segment, b"".join(self._peaks), self.iterations))

    def append(self, leaf: bytes) -> None:
        """Take 32 bytes as the next segment."""
        position = self.segments
        self.leaves += leaf
        digest = leaf
        while position & 1:
            digest = hash_node(self._peaks.pop(0), digest)
            position >>= 1
        self._peaks.insert(0, digest)

    def commit(self) -> ChainCommitment:
        """What a provider says of the chain as it is."""
        if not self._peaks:
            return ChainCommitment(0, _NO_ROOT)
        root, *larger = self._peaks
        for peak in larger:
            root = hash_node(peak, root)
        return ChainCommitment(self.segments, root)


def derive_iterations(reference_rate: int, window_ms: int) -> int:
    """Iterations of a segment, so that a reference core does SEGMENTS_PER_WINDOW in the window."""
    iterations = reference_rate * window_ms // (1000 * SEGMENTS_PER_WINDOW)
    return max(MIN_ITERATIONS, min(MAX_ITERATIONS, iterations))


def compute_segment(seed: bytes, segment: int, peaks: bytes, iterations: int) -> bytes:
    """x_i out of the peaks before it, end to end, the smallest first."""
    state = hashlib.sha256(SEGMENT_TAG + seed + segment.to_bytes(4, "little") + peaks)
    state.update(_ZEROS[: BLOCK_BYTES * iterations])
    return state.digest()


def compute_chain_credit(
    chains: Iterable[ChainCommitment], iterations: int, elapsed_us: int, reference_rate: int
) -> int:
    """Iterations per second of all chains that are fast enough to be a core's.

    A chain counts when its own rate is at least reference_rate / FLOOR_DIVISOR. `elapsed_us` is the
    time on the checker's clock from request to commitment, or the window where that is longer.
    LocalError when it is not positive.
    """
    if elapsed_us <= 0:
        raise LocalError(f"elapsed time {elapsed_us} µs is not positive")
    floor = reference_rate * elapsed_us
    done = (chain.segments * iterations * 1_000_000 for chain in chains)
    return sum(each for each in done if each * FLOOR_DIVISOR >= floor) // elapsed_us


def encode_commitments(chains: Iterable[ChainCommitment]) -> bytes:
    """The chains of a commitment as bytes, CHAIN_BYTES each."""
    return b"".join(_COMMITMENT.pack(chain.segments, chain.root) for chain in chains)


def decode_commitments(data: bytes) -> tuple[ChainCommitment, ...]:
    """Parse a peer's commitment. Raises MalformedError unless it has 1 … MAX_CHAINS chains of at
    most MAX_SEGMENTS segments, not all without any."""
    if not data or len(data) % CHAIN_BYTES or len(data) > MAX_CHAINS * CHAIN_BYTES:
        raise MalformedError("chains length", f"{len(data)} bytes")
    try:
        chains = tuple(ChainCommitment(*values) for values in _COMMITMENT.iter_unpack(data))
    except LocalError as error:
        raise MalformedError("chains not allowed", str(error)) from None
    if not any(chain.segments for chain in chains):
        raise MalformedError("chains not allowed", "no segment in any")
    return chains


def draw_segments(
    randomness: bytes, chains: Sequence[ChainCommitment], count: int = CHAIN_OPENINGS
) -> tuple[SegmentIndex, ...]:
    """Draw `count` distinct pairs uniformly over all chains' segments (`draws.draw_from_parts`),
    in ascending order; all pairs when there are no more."""
    if not 1 <= count <= MAX_SEGMENT_OPENINGS:
        raise LocalError(f"{count} segment openings")
    parts = draw_from_parts(DRAW_TAG, randomness, [chain.segments for chain in chains], count)
    return tuple(SegmentIndex(chain, i) for chain, part in enumerate(parts) for i in part)


def encode_segment_indices(indices: Iterable[SegmentIndex]) -> bytes:
    """The pairs of a request as bytes."""
    return b"".join(_PAIR.pack(*index) for index in indices)


def decode_segment_indices(
    data: bytes, chains: Sequence[ChainCommitment]
) -> tuple[SegmentIndex, ...]:
    """Parse a checker's request. Raises MalformedError unless it has at most MAX_SEGMENT_OPENINGS
    pairs that exist and ascend strictly; it may have none."""
    if len(data) % CHAIN_INDEX_BYTES or len(data) > MAX_SEGMENT_OPENINGS * CHAIN_INDEX_BYTES:
        raise MalformedError("segment indices length", f"{len(data)} bytes")
    indices = tuple(SegmentIndex(*pair) for pair in _PAIR.iter_unpack(data))
    fault = _find_index_fault(indices, chains)
    if fault:
        raise MalformedError("segment indices not allowed", fault)
    return indices


def compute_segment_openings_size(
    chains: Sequence[ChainCommitment], indices: Sequence[SegmentIndex]
) -> int:
    """Exact number of bytes of the openings of `indices`. LocalError for pairs out of range."""
    fault = _find_index_fault(indices, chains)
    if fault:
        raise LocalError(fault)
    return DIGEST_BYTES * sum(
        compute_path_length(index.segment, chains[index.chain].segments) for index in indices
    )


def open_segments(leaves: Sequence[bytes], indices: Sequence[SegmentIndex]) -> bytes:
    """The bytes that open `indices`: the path of each, in order.

    `leaves` are those of each chain (`Chain.leaves`). LocalError for a pair that is not there.
    """
    if any(not 0 <= index.chain < len(leaves) for index in indices):
        raise LocalError(f"a chain outside of {len(leaves)}")
    paths: list[bytes] = []
    for chain, group in groupby(indices, key=lambda index: index.chain):
        tree = build_tree(bytes(leaves[chain]))
        paths.extend(tree.path(index.segment) for index in group)
    return b"".join(paths)


def verify_segments(
    job: ChainJob,
    chains: Sequence[ChainCommitment],
    indices: Sequence[SegmentIndex],
    data: bytes,
) -> None:
    """Verify that `data` opens the pairs `indices` of the commitment `chains`, and that these
    segments are the job's.

    `indices` are what the checker drew after the commitment arrived (`draw_segments`). Takes as
    long as computing them, and stops at the first that is wrong. Raises ProofRejected with a
    ChainFault; LocalError when the indices are another commitment's.
    """
    size = compute_segment_openings_size(chains, indices)
    if len(data) != size:
        raise ProofRejected(ChainFault.SIZE, f"{len(data)} bytes, expected {size}")
    position = 0
    for index in indices:
        segments, root = chains[index.chain].segments, chains[index.chain].root
        end = position + DIGEST_BYTES * compute_path_length(index.segment, segments)
        path = data[position:end]
        position = end
        peaks = b"".join(_select_peaks(index.segment, segments, path))
        seed = job.derive_seed(index.chain)
        leaf = compute_segment(seed, index.segment, peaks, job.iterations)
        if compute_root_from_path(leaf, index.segment, segments, path) != root:
            detail = f"chain {index.chain}, segment {index.segment} of {segments}"
            raise ProofRejected(ChainFault.SEGMENT, detail)


def _select_peaks(index: int, size: int, path: bytes) -> Iterator[bytes]:
    """Left siblings of a path, which together cover all leaves before the one at `index`."""
    start = 0
    last = size - 1
    while last:
        if index & 1:
            yield path[start : start + DIGEST_BYTES]
        start += DIGEST_BYTES * (index ^ 1 <= last)
        index >>= 1
        last >>= 1


def _find_index_fault(
    indices: Sequence[SegmentIndex], chains: Sequence[ChainCommitment]
) -> str | None:
    previous = (-1, -1)
    for index in indices:
        chain, segment = index
        if not (0 <= chain < len(chains) and 0 <= segment < chains[chain].segments):
            return f"chain {chain}, segment {segment} of {len(chains)} chains"
        if index <= previous:
            return f"chain {chain}, segment {segment} does not follow {previous}"
        previous = index
    return None
