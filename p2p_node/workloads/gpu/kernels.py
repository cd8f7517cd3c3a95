"""The kernels by what they do, with the layout of their arguments in one place."""

import numpy as np

from p2p_node.workloads.gpu.runtime import Buffer, Runtime, Stream
from protocols.compute import ROW_TAG
from protocols.errors import LocalError
from protocols.expand import compute_row_blocks
from protocols.memory import LEAF_TAG
from protocols.merkle import DIGEST_BYTES, NODE_TAG
from protocols.mix import MIX_LANES, STATE_BYTES

MAX_PATH_DIGESTS = 32
"""Siblings in the path of a leaf: leaves have 32-bit numbers."""

PATH_BYTES = MAX_PATH_DIGESTS * DIGEST_BYTES

_TAG_BYTES = 20
_TAGS = (ROW_TAG, LEAF_TAG, NODE_TAG)
_TAG_PITCH = 256


class Kernels:
    """The kernels of one device, and the few bytes that they always need there.

    Queues everything into the stream given. Addresses are the device's.
    """

    def __init__(self, runtime: Runtime, stream: Stream) -> None:
        self._runtime = runtime
        self._constants: Buffer = runtime.allocate(_TAG_PITCH * (len(_TAGS) + 1))
        self._tags = {
            tag: self._constants.address + _TAG_PITCH * (1 + i) for i, tag in enumerate(_TAGS)
        }
        runtime.write(stream, self.zero_start, bytes(STATE_BYTES))
        for tag, address in self._tags.items():
            runtime.write(stream, address, _pack_tag(tag))

    @property
    def zero_start(self) -> int:
        """Address of 32 start states of zero."""
        return self._constants.address

    def expand_rows(
        self, stream: Stream, seed: int, rows: int, row_bytes: int, out: int, *, blocks: int = 0
    ) -> None:
        """Rows 0 … rows − 1 of the matrix of a seed, row by row."""
        count = rows * compute_row_blocks(row_bytes)
        self._runtime.launch(stream, "expand_rows", count, seed, row_bytes, out, blocks=blocks)

    def expand_transposed(
        self, stream: Stream, seed: int, rows: int, row_bytes: int, out: int
    ) -> None:
        """The same matrix, column by column."""
        count = rows * compute_row_blocks(row_bytes)
        self._runtime.launch(stream, "expand_transposed", count, seed, row_bytes, rows, out)

    def derive_seed(
        self, stream: Stream, prefix: int, prefix_bytes: int, number: int, root: int, seed: int
    ) -> None:
        """SHA-256 of a prefix, a number (32 bits) and a root, all but the number on the device."""
        self._runtime.launch(stream, "derive_seed", 1, prefix, prefix_bytes, number, root, seed)

    def mix_rows(
        self,
        stream: Stream,
        rows: int,
        count: int,
        row_bytes: int,
        start: int,
        states: int,
        *,
        blocks: int = 0,
    ) -> None:
        """End states of `count` rows that lie end to end at `rows`."""
        self._runtime.launch(
            stream,
            "mix_rows",
            count * MIX_LANES,
            rows,
            row_bytes // 8,
            start,
            states,
            blocks=blocks,
        )

    def hash_leaves(
        self,
        stream: Stream,
        tag: bytes,
        states: int,
        number: int,
        first: int,
        count: int,
        row_bytes: int,
        leaves: int,
    ) -> None:
        """Leaves of rows `first` … under (tag, number, row), from their end states."""
        self._runtime.launch(
            stream,
            "hash_leaves",
            count,
            states,
            self._tags[tag],
            len(tag),
            number,
            first,
            row_bytes,
            leaves,
        )

    def build_tree(self, stream: Stream, levels: int, leaves: int, root: int) -> None:
        """All levels above `leaves` leaves at address `levels`, and the root at `root` too."""
        size = leaves
        while size > 1:
            above = levels + size * DIGEST_BYTES
            self._runtime.launch(
                stream, "hash_level", (size + 1) // 2, self._tags[NODE_TAG], levels, size, above
            )
            levels, size = above, (size + 1) // 2
        self._runtime.copy(stream, levels, root, DIGEST_BYTES)

    def gather_paths(
        self, stream: Stream, levels: int, leaves: int, indices: int, count: int, paths: int
    ) -> None:
        """Paths of `count` leaves, PATH_BYTES apart; `indices` are 64-bit words."""
        self._runtime.launch(
            stream, "gather_paths", count, levels, leaves, indices, PATH_BYTES // 4, paths
        )

    def close(self) -> None:
        """Give back the constants. May be called twice."""
        self._constants.free()


def compute_tree_bytes(leaves: int) -> int:
    """Bytes of all levels of a tree."""
    digests = size = leaves
    while size > 1:
        size = (size + 1) // 2
        digests += size
    return digests * DIGEST_BYTES


def _pack_tag(tag: bytes) -> bytes:
    if not _TAG_BYTES - 4 < len(tag) <= _TAG_BYTES:
        raise LocalError(f"tag of {len(tag)} bytes, expected {_TAG_BYTES - 3} … {_TAG_BYTES}")
    return np.frombuffer(tag.ljust(_TAG_BYTES, b"\0"), ">u4").astype("<u4").tobytes()
