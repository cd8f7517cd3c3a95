"""Makes tests/vectors/chains out of a second reading of docs/spec/cpu-proof.md.

`python -m tests.protocols.chain_vectors` writes the files; a test says when they are stale. No code
is shared with `protocols`.
"""

import hashlib
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.protocols.compute_reference import merkle_path, merkle_root, sha256, u32

VECTORS = Path(__file__).parent.parent / "vectors"

Case = dict[str, Any]
Leaves = list[bytes]
Pair = tuple[int, int]


@dataclass(frozen=True)
class Job:
    """One job, and how its chains come about."""

    digest: bytes = sha256(b"job")
    nonce: bytes = sha256(b"nonce")
    provider: bytes = sha256(b"provider")
    iterations: int = 64

    def other(self, **changes: Any) -> "Job":
        return replace(self, **changes)

    def seed(self, chain: int) -> bytes:
        return sha256(
            b"kaisar/chain/seed/1",
            self.digest,
            self.nonce,
            self.provider,
            u32(chain, self.iterations),
        )

    def segment(self, chain: int, before: Leaves) -> bytes:
        return segment(self.seed(chain), len(before), peaks(before), self.iterations)

    def leaves(self, chain: int, count: int) -> Leaves:
        done: Leaves = []
        for _ in range(count):
            done.append(self.segment(chain, done))
        return done

    def encode(self) -> Case:
        return {
            "digest": self.digest.hex(),
            "nonce": self.nonce.hex(),
            "provider": self.provider.hex(),
            "iterations": self.iterations,
        }


def segment(seed: bytes, number: int, before: bytes, iterations: int) -> bytes:
    zeros = bytes(64 * iterations)
    return hashlib.sha256(b"kaisar/chain/segment/1" + seed + u32(number) + before + zeros).digest()


def peaks(before: Leaves) -> bytes:
    """Roots of the full subtrees over `before`, the last and smallest first."""
    found = b""
    end, size = len(before), 1
    while end:
        if end & size:
            found += merkle_root(before[end - size : end])
            end -= size
        size *= 2
    return found


def commit(chains: list[Leaves]) -> bytes:
    return b"".join(u32(len(c)) + (merkle_root(c) if c else bytes(32)) for c in chains)


def open_pairs(chains: list[Leaves], pairs: list[Pair]) -> bytes:
    return b"".join(b"".join(merkle_path(chains[c], i)) for c, i in pairs)


def draw(randomness: bytes, sizes: list[int], count: int) -> list[Pair]:
    everything = [(chain, i) for chain, size in enumerate(sizes) for i in range(size)]
    total = len(everything)
    drawn: set[int] = set()
    block = 0
    while len(drawn) < min(count, total):
        digest = sha256(b"kaisar/chain/draw/1", randomness, struct.pack("<Q", block))
        for word in struct.unpack("<4Q", digest):
            if word < 2**64 // total * total and len(drawn) < count:
                drawn.add(word % total)
        block += 1
    return [everything[number] for number in sorted(drawn)]


JOB = Job()
SIZES = [11, 1, 6]
PAIRS = [(0, 0), (0, 3), (0, 10), (1, 0), (2, 4), (2, 5)]


def seeds() -> list[Case]:
    return [
        {"name": name, "job": job.encode(), "chain": chain, "seed": job.seed(chain).hex()}
        for name, job, chain in [
            ("first_chain", JOB, 0),
            ("last_chain", JOB, 511),
            ("other_job", JOB.other(digest=sha256(b"other job")), 0),
            ("other_nonce", JOB.other(nonce=sha256(b"old nonce")), 0),
            ("other_provider", JOB.other(provider=sha256(b"mallory")), 0),
            ("other_iterations", JOB.other(iterations=65), 0),
        ]
    ]


def segments() -> list[Case]:
    seed = sha256(b"seed")
    cases = []
    for name, number, iterations in [
        ("first", 0, 64),
        ("one_before", 1, 64),
        ("seven_before", 7, 64),
        ("eight_before", 8, 64),
        ("longer", 2, 1000),
    ]:
        before = peaks([sha256(b"leaf", u32(i)) for i in range(number)])
        case = {"name": name, "seed": seed.hex(), "segment": number, "peaks": before.hex()}
        leaf = segment(seed, number, before, iterations)
        cases.append({**case, "iterations": iterations, "leaf": leaf.hex()})
    return cases


def chains() -> list[Case]:
    cases = []
    for size in [1, 2, 3, 4, 5, 7, 8, 9, 33]:
        leaves = JOB.leaves(3, size)
        case = {"name": f"segments_{size}", "job": JOB.encode(), "chain": 3}
        shown = {"leaves": [leaf.hex() for leaf in leaves], "commitment": commit([leaves]).hex()}
        cases.append({**case, **shown})
    return cases


def commitments() -> list[Case]:
    one = u32(1) + sha256(b"root")
    return [
        {"name": name, "data": data.hex(), "valid": valid}
        for name, data, valid in [
            ("one", one, True),
            ("most_segments", u32(65_536) + sha256(b"root"), True),
            ("most_chains", one * 512, True),
            ("a_chain_without_segments", one + bytes(36) + one, True),
            ("empty", b"", False),
            ("one_byte_short", one[:-1], False),
            ("one_byte_more", one + b"\0", False),
            ("too_many_segments", u32(65_537) + sha256(b"root"), False),
            ("too_many_chains", one * 513, False),
            ("a_root_of_no_segments", one + u32(0) + sha256(b"root"), False),
            ("no_segments_at_all", bytes(72), False),
        ]
    ]


def draws() -> list[Case]:
    cases = []
    for name, sizes, count in [
        ("default", [1000, 1024, 0, 980], 32),
        ("everything", [2, 0, 3], 32),
        ("all_but_one", [5, 6], 10),
        ("not_a_power_of_two", [3, 333], 8),
        ("largest", [65_536] * 3, 4),
    ]:
        randomness = sha256(b"draw", name.encode())
        pairs = [list(pair) for pair in draw(randomness, sizes, count)]
        case = {"name": name, "randomness": randomness.hex(), "segments": sizes}
        cases.append({**case, "count": count, "indices": pairs})
    return cases


def requests() -> list[Case]:
    """Requests for openings on the wire, out of chains of 3, 0 and 300 segments."""
    return [
        {"name": name, "segments": [3, 0, 300], "data": data.hex(), "valid": valid}
        for name, data, valid in [
            ("none", b"", True),
            ("one", u32(0, 0), True),
            ("last", u32(2, 299), True),
            ("two_chains", u32(0, 2, 2, 0), True),
            ("most", b"".join(u32(2, i) for i in range(256)), True),
            ("half_a_pair", u32(0, 0, 1), False),
            ("chain_too_high", u32(3, 0), False),
            ("segment_too_high", u32(0, 3), False),
            ("chain_without_segments", u32(1, 0), False),
            ("twice_the_same", u32(0, 1, 0, 1), False),
            ("descending", u32(2, 0, 0, 2), False),
            ("too_many", b"".join(u32(2, i) for i in range(257)), False),
        ]
    ]


def chain_credits() -> list[Case]:
    """24 million iterations per second are a core; a chain counts from 3 million on."""
    return [
        {
            "name": name,
            "segments": sizes,
            "iterations": 1000,
            "elapsed_us": str(elapsed_us),
            "reference_rate": str(24_000_000),
            "credit": str(credit),
        }
        for name, sizes, elapsed_us, credit in [
            ("one_core", [24_000], 1_000_000, 24_000_000),
            ("two_cores_over_two_seconds", [24_000, 48_000], 2_000_000, 36_000_000),
            ("at_the_floor", [3_000], 1_000_000, 3_000_000),
            ("below_the_floor", [2_999], 1_000_000, 0),
            ("at_the_floor_but_late", [3_000], 1_000_001, 0),
            ("slow_ones_do_not_count", [24_000, 2_999, 3_000, 0], 1_000_000, 27_000_000),
            ("many_slow_ones_are_nothing", [2_999] * 512, 1_000_000, 0),
            ("rounded_down", [24_000], 999_999, 24_000_024),
        ]
    ]


def _flip(data: bytes, position: int) -> bytes:
    position %= len(data)
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def _cut(job: Job, chain: int, pieces: list[int]) -> Leaves:
    """Pieces computed side by side, each from its own beginning as nobody knows the one before."""
    done: Leaves = []
    for size in pieces:
        piece: Leaves = []
        for i in range(size):
            number = len(done) + i
            piece.append(segment(job.seed(chain), number, peaks(piece), job.iterations))
        done += piece
    return done


def proofs() -> list[Case]:
    honest = [JOB.leaves(c, size) for c, size in enumerate(SIZES)]
    whole = open_pairs(honest, PAIRS)

    def case(
        name: str,
        result: str,
        *,
        opened: list[Leaves] = honest,
        committed: bytes | None = None,
        data: bytes | None = None,
        pairs: list[Pair] = PAIRS,
        job: Job = JOB,
    ) -> Case:
        return {
            "name": name,
            "job": job.encode(),
            "chains": (commit(opened) if committed is None else committed).hex(),
            "indices": [list(pair) for pair in pairs],
            "data": (open_pairs(opened, pairs) if data is None else data).hex(),
            "result": result,
        }

    def first(leaves: Leaves) -> list[Leaves]:
        return [leaves, *honest[1:]]

    good = honest[0]
    invented = [*good[:5], sha256(b"invented"), *good[6:]]
    onwards = [*good[:5], sha256(b"invented")]
    while len(onwards) < SIZES[0]:
        onwards.append(JOB.segment(0, onwards))
    numbers_off = [segment(JOB.seed(0), i + 1, peaks(good[:i]), 64) for i in range(SIZES[0])]
    only_before = [
        segment(JOB.seed(0), i, merkle_root(good[i - 1 : i]) if i else b"", 64)
        for i in range(SIZES[0])
    ]
    shorter = [segment(JOB.seed(0), i, peaks(good[:i]), 63) for i in range(SIZES[0])]
    old = JOB.other(nonce=sha256(b"old nonce"))
    mallory = JOB.other(provider=sha256(b"mallory"))
    another = JOB.other(digest=sha256(b"other job"))
    quick = JOB.other(iterations=65)

    def of(job: Job) -> list[Leaves]:
        return [job.leaves(c, size) for c, size in enumerate(SIZES)]

    size_fault, segment_fault = "chain openings size", "chain segment"
    return [
        case("honest", "ok"),
        case("lone_segment", "ok", pairs=[(1, 0)]),
        case("nothing_asked_for", "ok", pairs=[]),
        case("empty", size_fault, data=b""),
        case("one_byte_short", size_fault, data=whole[:-1]),
        case("one_byte_more", size_fault, data=whole + b"\0"),
        case("one_path_missing", size_fault, data=whole[4 * 32 :]),
        case("bytes_for_nothing", size_fault, pairs=[], data=b"\0"),
        case("first_byte_spoiled", segment_fault, data=_flip(whole, 0)),
        case("last_byte_spoiled", segment_fault, data=_flip(whole, -1)),
        case("siblings_swapped", segment_fault, data=whole[32:64] + whole[:32] + whole[64:]),
        case("root_spoiled", segment_fault, committed=_flip(commit(honest), 4)),
        case(
            "lone_root_spoiled", segment_fault, committed=_flip(commit(honest), 40), pairs=[(1, 0)]
        ),
        case("segment_invented", segment_fault, opened=first(invented), pairs=[(0, 5)]),
        case("segment_after_the_invented", segment_fault, opened=first(invented), pairs=[(0, 6)]),
        case("far_after_the_invented", segment_fault, opened=first(invented), pairs=[(0, 10)]),
        case("before_the_invented", "ok", opened=first(invented), pairs=[(0, 4), (2, 0)]),
        case("going_on_from_the_invented", segment_fault, opened=first(onwards), pairs=[(0, 5)]),
        case("going_on_but_not_opened", "ok", opened=first(onwards), pairs=[(0, 6), (0, 10)]),
        case(
            "cut_in_two_beginning_of_second",
            segment_fault,
            opened=first(_cut(JOB, 0, [6, 5])),
            pairs=[(0, 6)],
        ),
        case(
            "cut_in_two_end_of_second",
            segment_fault,
            opened=first(_cut(JOB, 0, [6, 5])),
            pairs=[(0, 10)],
        ),
        case("cut_in_two_first_piece", "ok", opened=first(_cut(JOB, 0, [6, 5])), pairs=[(0, 5)]),
        case("segment_skipped", segment_fault, opened=first(numbers_off), pairs=[(0, 3)]),
        case("linked_to_the_last_only", segment_fault, opened=first(only_before), pairs=[(0, 3)]),
        case("fewer_iterations", segment_fault, opened=first(shorter), pairs=[(0, 3)]),
        case(
            "segments_swapped",
            segment_fault,
            opened=first([good[1], good[0], *good[2:]]),
            pairs=[(0, 1)],
        ),
        case("same_segment_twice", segment_fault, opened=first([*good, good[10]]), pairs=[(0, 11)]),
        case(
            "chains_swapped",
            segment_fault,
            opened=[honest[2], honest[1], good],
            pairs=[(0, 0), (0, 3), (2, 4)],
        ),
        case("one_chain_twice", segment_fault, opened=[good, honest[1], good]),
        case("old_nonce", segment_fault, opened=of(old)),
        case("other_provider", segment_fault, opened=of(mallory)),
        case("other_job", segment_fault, opened=of(another)),
        case("other_iterations", segment_fault, opened=of(quick)),
        case(
            "more_segments_claimed",
            segment_fault,
            committed=u32(12) + commit(honest)[4:],
            pairs=[(0, 11)],
            data=open_pairs(first([*good, bytes(32)]), [(0, 11)]),
        ),
        case(
            "fewer_segments_claimed",
            size_fault,
            committed=u32(9) + commit(honest)[4:],
            pairs=[(0, 8)],
            data=open_pairs(honest, [(0, 8)]),
        ),
    ]


FILES: dict[str, Callable[[], list[Case]]] = {
    "chains/seeds.json": seeds,
    "chains/segments.json": segments,
    "chains/chains.json": chains,
    "chains/commitments.json": commitments,
    "chains/draws.json": draws,
    "chains/requests.json": requests,
    "chains/credits.json": chain_credits,
    "chains/proofs.json": proofs,
}


def load(name: str) -> list[Case]:
    cases: list[Case] = json.loads((VECTORS / name).read_text())
    return cases


def render(name: str) -> str:
    return json.dumps(FILES[name](), indent=1) + "\n"


if __name__ == "__main__":
    for name in FILES:
        path = VECTORS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render(name))
