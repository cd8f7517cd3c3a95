"""The memory proof a second time, from its rules, on top of `compute_reference`."""

import struct
from collections.abc import Callable
from dataclasses import dataclass

from tests.protocols import compute_reference as ref
from tests.protocols.compute_reference import u32


@dataclass(frozen=True)
class Passes:
    """Everything a device has after its passes: `leaves[p][q]`."""

    proof: ref.Proof
    kept: int
    nonce: bytes
    leaves: list[list[bytes]]
    roots: list[bytes]

    @property
    def commitment(self) -> bytes:
        return commit(self.proof, self.kept, self.nonce, self.roots)

    def open(self, pairs: list[tuple[int, int]]) -> bytes:
        if not pairs:
            return b""
        paths = [sibling for p, q in pairs for sibling in ref.merkle_path(self.leaves[p], q)]
        return b"".join(self.roots + paths)

    def locate(self, q: int) -> tuple[int, int]:
        """Round and row of a kept row."""
        m = self.proof.job.m
        return len(self.proof.roots) - self.kept + q // m, q % m


def seed(proof: ref.Proof, kept: int, nonce: bytes, p: int, previous_root: bytes) -> bytes:
    return ref.sha256(
        b"kaisar/memory/pass/1", proof.commitment, nonce, u32(kept), u32(p), previous_root
    )


def start(pass_seed: bytes) -> list[int]:
    return list(struct.unpack("<32Q", ref.expand_row(pass_seed, 256, 0)))


def leaf(row: bytes, states: list[int], p: int, q: int) -> bytes:
    return ref.sha256(b"kaisar/memory/row/1", u32(p, q, len(row)), ref.mix(row, states))


def commit(proof: ref.Proof, kept: int, nonce: bytes, roots: list[bytes]) -> bytes:
    head = b"kaisar/memory/passes/1" + proof.commitment + nonce
    return ref.sha256(head, u32(kept), u32(len(roots)), *roots)


Read = Callable[[int, int, bytes], bytes]


def prove(
    proof: ref.Proof, kept: int, nonce: bytes, passes: int, read: Read = lambda p, q, row: row
) -> Passes:
    """Make passes. `read(p, q, row)` is what a device reads in the place of a kept row."""
    rows = [row for done in proof.rows[len(proof.roots) - kept :] for row in done]
    leaves, roots = [], [bytes(32)]
    for p in range(passes):
        states = start(seed(proof, kept, nonce, p, roots[-1]))
        leaves.append([leaf(read(p, q, row), states, p, q) for q, row in enumerate(rows)])
        roots.append(ref.merkle_root(leaves[-1]))
    return Passes(proof, kept, nonce, leaves, roots[1:])


def draw(
    randomness: bytes, works: list[tuple[int, int]], count: int
) -> list[list[tuple[int, int]]]:
    """(pass, kept row) pairs of each device, `works` being (passes, kept rows) of each."""
    sizes = [passes * rows for passes, rows in works]
    parts = ref.draw_parts(b"kaisar/memory/draw/1", randomness, sizes, count)
    return [
        [divmod(number, rows) for number in part]
        for part, (_, rows) in zip(parts, works, strict=True)
    ]
