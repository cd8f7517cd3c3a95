"""The compute proof a second time, from its rules, in plain integers and hashlib.

Slow on purpose: no NumPy, no sharing of code with `protocols`. What both agree on is the protocol.
"""

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace

MASK = (1 << 64) - 1

Rows = list[list[int]]


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def u32(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}I", *values)


def philox4x64_10(counter: tuple[int, ...], key: tuple[int, ...]) -> tuple[int, int, int, int]:
    """One block (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC11)."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        low0, high0 = _multiply(0xD2E7470EE14C6C93, c0)
        low1, high1 = _multiply(0xCA5A826395121157, c2)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0 = (k0 + 0x9E3779B97F4A7C15) & MASK
        k1 = (k1 + 0xBB67AE8584CAA73B) & MASK
    return c0, c1, c2, c3


def _multiply(a: int, b: int) -> tuple[int, int]:
    return a * b & MASK, a * b >> 64


def expand_row(seed: bytes, row_bytes: int, row: int) -> bytes:
    s0, s1, s2, s3 = struct.unpack("<4Q", seed)
    blocks = -(-row_bytes // 32)
    data = b""
    for block in range(row * blocks, (row + 1) * blocks):
        data += struct.pack("<4Q", *philox4x64_10((1 + block, 0, s2, s3), (s0, s1)))
    return data[:row_bytes]


def expand_int8(seed: bytes, width: int, rows: int) -> Rows:
    return [list(struct.unpack(f"{width}b", expand_row(seed, width, i))) for i in range(rows)]


def merkle_root(leaves: list[bytes]) -> bytes:
    """The recursive definition of RFC 6962, with our node tag."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return _node(merkle_root(leaves[:split]), merkle_root(leaves[split:]))


def merkle_path(leaves: list[bytes], index: int) -> list[bytes]:
    if len(leaves) == 1:
        return []
    split = 1 << (len(leaves) - 1).bit_length() - 1
    left, right = leaves[:split], leaves[split:]
    if index < split:
        return [*merkle_path(left, index), merkle_root(right)]
    return [*merkle_path(right, index - split), merkle_root(left)]


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(b"kaisar/merkle-node/1", left, right)


def mix(row: bytes, start: list[int]) -> bytes:
    """End states of the 32 lanes, as bytes."""
    states = list(start)
    for position, word in enumerate(struct.unpack(f"<{len(row) // 8}Q", row)):
        s = (states[position % 32] ^ word) * 0x9E3779B97F4A7C15 & MASK
        states[position % 32] = s ^ s >> 32
    return struct.pack("<32Q", *states)


def leaf(row: bytes, round_number: int, index: int) -> bytes:
    return sha256(b"kaisar/compute/row/2", u32(round_number, index, len(row)), mix(row, [0] * 32))


@dataclass(frozen=True)
class Job:
    m: int
    k: int
    n: int
    b_seed: bytes
    nonce: bytes
    provider: bytes
    device: int

    @property
    def seed(self) -> bytes:
        return sha256(
            b"kaisar/compute/job/1",
            self.b_seed,
            self.nonce,
            self.provider,
            u32(self.device, self.m, self.k, self.n),
        )

    def a_seed(self, round_number: int, root_before_last: bytes) -> bytes:
        return sha256(b"kaisar/compute/a/1", self.seed, u32(round_number), root_before_last)

    def other(self, **changes: object) -> "Job":
        return replace(self, **changes)  # type: ignore[arg-type]


def b_seed(epoch_seed: bytes, k: int, n: int, identity: bytes = bytes(32)) -> bytes:
    return sha256(b"kaisar/compute/b/1", epoch_seed, u32(k, n), identity)


def product(a: Rows, b: Rows) -> Rows:
    columns = list(zip(*b, strict=True))
    return [[sum(x * y for x, y in zip(row, c, strict=True)) for c in columns] for row in a]


def encode_row(row: list[int]) -> bytes:
    return struct.pack(f"<{len(row)}i", *row)


@dataclass(frozen=True)
class Proof:
    """Everything a prover has after its rounds."""

    job: Job
    rows: list[list[bytes]]
    leaves: list[list[bytes]]
    roots: list[bytes]

    @property
    def commitment(self) -> bytes:
        return commit(self.job, self.roots)

    def open(self, indices: list[tuple[int, int]]) -> bytes:
        return b"".join(
            [self.rows[t][i] for t, i in indices]
            + self.roots
            + [sibling for t, i in indices for sibling in merkle_path(self.leaves[t], i)]
        )


def commit(job: Job, roots: list[bytes]) -> bytes:
    return sha256(b"kaisar/compute/rounds/1", job.seed, u32(len(roots)), *roots)


Tamper = Callable[[int, list[bytes]], list[bytes]]


def prove(job: Job, rounds: int, tamper: Tamper | None = None) -> Proof:
    """Do the job. `tamper(t, rows)` may put other rows in the place of round t's."""
    b = expand_int8(job.b_seed, job.n, job.k)
    rows, leaves, roots = [], [], [bytes(32), bytes(32)]
    for t in range(rounds):
        a = expand_int8(job.a_seed(t, roots[-2]), job.k, job.m)
        done = [encode_row(row) for row in product(a, b)]
        done = tamper(t, done) if tamper else done
        rows.append(done)
        leaves.append([leaf(row, t, i) for i, row in enumerate(done)])
        roots.append(merkle_root(leaves[-1]))
    return Proof(job, rows, leaves, roots[2:])


def draw_numbers(tag: bytes, randomness: bytes, total: int, count: int) -> list[int]:
    if total <= count:
        return list(range(total))
    drawn: set[int] = set()
    block = 0
    while True:
        digest = sha256(tag, randomness, struct.pack("<Q", block))
        for word in struct.unpack("<4Q", digest):
            if word < 2**64 // total * total:
                drawn.add(word % total)
            if len(drawn) == count:
                return sorted(drawn)
        block += 1


def draw_parts(tag: bytes, randomness: bytes, sizes: list[int], count: int) -> list[list[int]]:
    """Numbers drawn of each part, counted from the part's own first one."""
    parts: list[list[int]] = [[] for _ in sizes]
    for number in draw_numbers(tag, randomness, sum(sizes), count):
        part = 0
        while number >= sizes[part]:
            number -= sizes[part]
            part += 1
        parts[part].append(number)
    return parts


def draw(
    randomness: bytes, works: list[tuple[int, int]], count: int
) -> list[list[tuple[int, int]]]:
    """(round, row) pairs of each device, `works` being (rounds, m) of each."""
    sizes = [rounds * m for rounds, m in works]
    parts = draw_parts(b"kaisar/compute/draw/1", randomness, sizes, count)
    return [
        [divmod(number, m) for number in part] for part, (_, m) in zip(parts, works, strict=True)
    ]
