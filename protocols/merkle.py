"""Merkle trees over SHA-256, for any number of leaves from one upwards.

Rules, complete:

- A leaf is a 32-byte digest made under a domain tag that no node uses (`hash_leaf`, or a caller's
  own tagged hash).
- A node is SHA-256(NODE_TAG ‖ left ‖ right).
- Neighbours are paired from the left, level by level. When a level is odd, its last digest goes
  up unchanged. This is the shape of RFC 6962 §2.1 (split at the largest power of two below the
  size); nothing is duplicated, so no two leaf lists share a root at the same size.
- The path of a leaf lists its siblings from the bottom up; a level at which it goes up unpaired
  adds none. So its length follows from (index, size) alone.

A root does not bind the number of leaves: whoever checks a path must know the size from elsewhere.
"""

import hashlib
from dataclasses import dataclass

from protocols.errors import LocalError, MalformedError

DIGEST_BYTES = 32

LEAF_TAG = b"kaisar/merkle-leaf/1"
"""Domain of `hash_leaf`."""

NODE_TAG = b"kaisar/merkle-node/1"
"""Domain of inner nodes. 20 + 64 bytes are two SHA-256 blocks, as 64 bytes alone would be."""


@dataclass(frozen=True, slots=True)
class MerkleTree:
    """All levels of a tree, leaves first, each level its digests end to end."""

    levels: tuple[bytes, ...]

    @property
    def root(self) -> bytes:
        """The 32 bytes that bind every leaf and its place."""
        return self.levels[-1]

    @property
    def size(self) -> int:
        """Number of leaves."""
        return len(self.levels[0]) // DIGEST_BYTES

    def path(self, index: int) -> bytes:
        """Siblings of leaf `index`, bottom up, end to end. LocalError for a leaf it lacks."""
        require_index(index, self.size)
        siblings = []
        for level in self.levels[:-1]:
            start = (index ^ 1) * DIGEST_BYTES
            siblings.append(level[start : start + DIGEST_BYTES])
            index >>= 1
        return b"".join(siblings)


def hash_leaf(data: bytes) -> bytes:
    """Digest `data` for use as a leaf where the caller has no tagged hash of its own."""
    return hashlib.sha256(LEAF_TAG + data).digest()


def hash_node(left: bytes, right: bytes) -> bytes:
    """Digest of an inner node."""
    return hashlib.sha256(NODE_TAG + left + right).digest()


def build_tree(leaves: bytes) -> MerkleTree:
    """Build the tree over `leaves`, 32-byte digests end to end.

    Raises LocalError when there is none, or when the last one is incomplete.
    """
    if not leaves or len(leaves) % DIGEST_BYTES:
        raise LocalError(f"{len(leaves)} bytes are not one or more 32-byte leaves")
    sha256 = hashlib.sha256
    pair_bytes = 2 * DIGEST_BYTES
    levels = [leaves]
    while len(level := levels[-1]) > DIGEST_BYTES:
        paired = len(level) - len(level) % pair_bytes
        above = [
            sha256(NODE_TAG + level[start : start + pair_bytes]).digest()
            for start in range(0, paired, pair_bytes)
        ]
        above.append(level[paired:])
        levels.append(b"".join(above))
    return MerkleTree(tuple(levels))


def compute_path_length(index: int, size: int) -> int:
    """Number of siblings in the path of leaf `index` among `size` (LocalError when outside)."""
    require_index(index, size)
    length = 0
    last = size - 1
    while last:
        length += index ^ 1 <= last
        index >>= 1
        last >>= 1
    return length


def compute_root_from_path(leaf: bytes, index: int, size: int, path: bytes) -> bytes:
    """Root that `path` leads to from `leaf`; the caller compares it with the one it trusts.

    Raises MalformedError when the path has not exactly the length that (index, size) asks for,
    LocalError when there is no such leaf.
    """
    if len(path) != compute_path_length(index, size) * DIGEST_BYTES:
        raise MalformedError("merkle path length", f"{len(path)} bytes for leaf {index} of {size}")
    sha256 = hashlib.sha256
    digest = leaf
    start = 0
    last = size - 1
    while last:
        if index ^ 1 <= last:
            sibling = path[start : start + DIGEST_BYTES]
            start += DIGEST_BYTES
            pair = sibling + digest if index & 1 else digest + sibling
            digest = sha256(NODE_TAG + pair).digest()
        index >>= 1
        last >>= 1
    return digest


def require_index(index: int, size: int) -> None:
    """Raise LocalError unless 0 ≤ index < size."""
    if not 0 <= index < size:
        raise LocalError(f"leaf {index} of {size}")
