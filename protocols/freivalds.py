"""Checking rows of C = A·B in O(k + n) each: Freivalds' test with a secret of the checker's.

A checker keeps secret vectors r_0, r_1 of n random 64-bit words, has u_j = B·r_j mod 2^64 from
once per epoch, and accepts row i when C_i·r_j ≡ A_i·u_j mod 2^64 for both. A true row always
passes. All of it is integer arithmetic that wraps at 2^64; nothing is rounded.

**Error.** Let d = C_i − (A·B)_i ≠ 0 as integers. Every |d_l| < 2^32, so the smallest power of two
that divides all of d is 2^v with v ≤ 31. For uniform r, d·r mod 2^64 is uniform over the multiples
of 2^v, hence zero with probability 2^(v − 64) ≤ 2^−33. With two independent vectors a wrong row
passes with probability at most 2^−66 (2^−128 when some d_l is odd). The second vector costs about
1 ms per 64 rows at k = n = 16,384, and with it this error can be forgotten beside that of opening
only some of the rows.

The bound holds for rows that were fixed without knowledge of r: so rows are committed to before
they are opened, r never leaves the checker, and each checker has its own. One r may serve a whole
epoch and every provider in it, since an attempt tells its maker only *refused*, which it could
have known.
"""

import hashlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from protocols.compute import Shape
from protocols.errors import LocalError
from protocols.expand import expand_rows

SECRET_BYTES = 32

VECTORS = 2
"""Independent secret vectors; see the error above."""

_SECRET_TAG = b"kaisar/compute/secret/1"

_EXPANSION_BYTES = 1 << 20
"""B is expanded and multiplied in pieces of this size: some 10 MB with their 64-bit copy."""

_PIECE_WORDS = 1 << 17
"""64-bit words (1 MiB) multiplied at once, so that they stay in a core's second-level cache."""


@dataclass(frozen=True, slots=True, eq=False)
class RowCheck:
    """What a checker keeps per epoch and (k, n): 16·(k + n) bytes. Secret as a whole.

    `r` has shape (2, n), `u` (2, k), both int64 standing for residues mod 2^64. Any m will do.
    """

    b_seed: bytes
    k: int
    n: int
    r: NDArray[np.int64] = field(repr=False)
    u: NDArray[np.int64] = field(repr=False)


def prepare_check(b_seed: bytes, shape: Shape, secret: bytes) -> RowCheck:
    """Compute u = B·r for the vectors that `secret` (32 random bytes, kept secret) stands for.

    Expands B piece by piece in some 10 MB; about 0.4 s on one core at k = n = 16,384. The secret
    is mixed with `b_seed`, so that one secret serves several epochs. LocalError for a wrong length.
    """
    if len(secret) != SECRET_BYTES:
        raise LocalError(f"secret of {len(secret)} bytes, expected {SECRET_BYTES}")
    k, n = shape.k, shape.n
    words = hashlib.shake_256(_SECRET_TAG + b_seed + secret).digest(8 * VECTORS * n)
    r = np.frombuffer(words, "<i8").astype(np.int64).reshape(VECTORS, n)
    u = np.empty((VECTORS, k), np.int64)
    step = max(1, _EXPANSION_BYTES // n)
    for first in range(0, k, step):
        count = min(step, k - first)
        u[:, first : first + count] = _multiply(expand_rows(b_seed, n, first, count), r)
    return RowCheck(b_seed, k, n, r, u)


def find_wrong_rows(
    check: RowCheck, a_rows: NDArray[np.int8], c_rows: NDArray[np.int32]
) -> list[int]:
    """Positions of the rows of C that are not the product of their row of A with B.

    Shapes (count, k) and (count, n); LocalError for others.
    """
    if a_rows.shape != (len(c_rows), check.k) or c_rows.shape != (len(c_rows), check.n):
        raise LocalError(f"rows of shapes {a_rows.shape}, {c_rows.shape}")
    wrong = np.any(_multiply(c_rows, check.r) != _multiply(a_rows, check.u), axis=0)
    return [int(position) for position in np.flatnonzero(wrong)]


def _multiply(
    rows: NDArray[np.int8] | NDArray[np.int32], vectors: NDArray[np.int64]
) -> NDArray[np.int64]:
    """vectors · rowsᵀ mod 2^64, of shape (len(vectors), len(rows))."""
    out = np.empty((len(vectors), len(rows)), np.int64)
    step = max(1, _PIECE_WORDS // rows.shape[1])
    for first in range(0, len(rows), step):
        piece = rows[first : first + step].astype(np.int64)
        # einsum keeps integers (wrapping) and runs over them with SIMD; matmul would not.
        np.einsum("ij,lj->li", piece, vectors, out=out[:, first : first + step])
    return out
