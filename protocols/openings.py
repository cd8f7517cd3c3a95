"""Commit, then open: which rows are opened, and the bytes that open them.

Only after the commitment arrived does the checker draw (round, row) pairs, from randomness that
nobody could have known before. A provider that skipped a share ε of the rows survives with at most
(1 − ε)^count.

Openings on the wire, for c pairs in ascending order and R rounds:

    c rows       4·n bytes each, little-endian int32
    R roots      32 bytes each: root_0 … root_{R−1}
    c paths      Merkle path of each row in its round, 32 bytes per sibling, bottom up

Nothing is announced within: every length follows from the shape, R and the pairs, which the
checker has before the first byte arrives. Paths are not merged, as they are below 4 % of the
bytes wherever rows are 16 KiB or more.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from protocols.compute import MAX_ROUNDS, Shape
from protocols.draws import draw_from_parts
from protocols.errors import LocalError, MalformedError
from protocols.merkle import DIGEST_BYTES, compute_path_length
from protocols.params import OPENINGS

MAX_OPENINGS = 1024
"""Most pairs of one request. 64 are asked for; a proof to stand without a checker's coins needs
some 840 (facts: popw.md (e))."""

INDEX_BYTES = 8
"""A pair on the wire: round and row, two 32-bit little-endian integers."""

DRAW_TAG = b"kaisar/compute/draw/1"

_PAIR = struct.Struct("<II")


class Index(NamedTuple):
    """One row of one round."""

    round: int
    row: int


@dataclass(frozen=True, slots=True, eq=False)
class Openings:
    """Decoded openings: parsed and of the right size, not yet verified.

    `rows` has shape (count, n); `roots` are all round roots; `paths` belong to the rows in order.
    """

    rows: NDArray[np.int32]
    roots: tuple[bytes, ...]
    paths: tuple[bytes, ...]


def draw_openings(
    randomness: bytes, rounds: int, m: int, count: int = OPENINGS
) -> tuple[Index, ...]:
    """Draw `count` distinct pairs out of rounds × m of a single device; see `draw_rows`."""
    return draw_rows(randomness, [(rounds, m)], count)[0]


def draw_rows(
    randomness: bytes, works: Sequence[tuple[int, int]], count: int = OPENINGS
) -> tuple[tuple[Index, ...], ...]:
    """Draw `count` distinct pairs uniformly over all devices' rows (`draws.draw_from_parts`).

    `works` is (rounds, m) of each device; number round · m + row stands for a pair. Returns the
    pairs of each device, in ascending order. All pairs when there are no more than `count`.
    """
    for rounds, m in works:
        if not (1 <= rounds <= MAX_ROUNDS and m >= 1 and 1 <= count <= MAX_OPENINGS):
            raise LocalError(f"{count} openings out of {rounds} rounds of {m} rows")
    parts = draw_from_parts(DRAW_TAG, randomness, [rounds * m for rounds, m in works], count)
    return tuple(
        tuple(Index(*divmod(number, m)) for number in part)
        for part, (_, m) in zip(parts, works, strict=True)
    )


def encode_indices(indices: Iterable[Index]) -> bytes:
    """The pairs of a request as bytes."""
    return b"".join(_PAIR.pack(*index) for index in indices)


def decode_indices(data: bytes, rounds: int, m: int) -> tuple[Index, ...]:
    """Parse a checker's request. Raises MalformedError unless it has 1 … MAX_OPENINGS pairs that
    exist and ascend strictly."""
    if not data or len(data) % INDEX_BYTES or len(data) > MAX_OPENINGS * INDEX_BYTES:
        raise MalformedError("indices length", f"{len(data)} bytes")
    indices = tuple(Index(*pair) for pair in _PAIR.iter_unpack(data))
    fault = _find_index_fault(indices, rounds, m)
    if fault:
        raise MalformedError("indices not allowed", fault)
    return indices


def compute_openings_size(shape: Shape, rounds: int, indices: Sequence[Index]) -> int:
    """Exact number of bytes of the openings of `indices`. LocalError for pairs out of range."""
    fault = _find_index_fault(indices, rounds, shape.m)
    if fault:
        raise LocalError(fault)
    siblings = sum(compute_path_length(index.row, shape.m) for index in indices)
    return len(indices) * shape.row_bytes + DIGEST_BYTES * (rounds + siblings)


def encode_openings(openings: Openings) -> bytes:
    """The bytes that open the rows."""
    rows = np.ascontiguousarray(openings.rows, "<i4").tobytes()
    return b"".join([rows, *openings.roots, *openings.paths])


def decode_openings(data: bytes, shape: Shape, rounds: int, indices: Sequence[Index]) -> Openings:
    """Take `data` apart without copying rows.

    Raises MalformedError unless it has exactly the size that shape, rounds and indices ask for,
    LocalError when those are out of range (they are the checker's own).
    """
    size = compute_openings_size(shape, rounds, indices)
    if len(data) != size:
        raise MalformedError("openings size", f"{len(data)} bytes, expected {size}")
    count = len(indices)
    rows = np.frombuffer(data, "<i4", count * shape.n).reshape(count, shape.n)
    position = count * shape.row_bytes
    roots = []
    for _ in range(rounds):
        roots.append(data[position : position + DIGEST_BYTES])
        position += DIGEST_BYTES
    paths = []
    for index in indices:
        length = compute_path_length(index.row, shape.m) * DIGEST_BYTES
        paths.append(data[position : position + length])
        position += length
    return Openings(rows, tuple(roots), tuple(paths))


def _find_index_fault(indices: Sequence[Index], rounds: int, m: int) -> str | None:
    previous = (-1, -1)
    for index in indices:
        if not (0 <= index.round < rounds and 0 <= index.row < m):
            return f"round {index.round}, row {index.row} of {rounds} rounds of {m} rows"
        if index <= previous:
            return f"round {index.round}, row {index.row} does not follow {previous}"
        previous = index
    return None
