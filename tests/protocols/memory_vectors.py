"""Makes tests/vectors/memory out of the reference.

`python -m tests.protocols.memory_vectors` writes the files; a test says when they are stale.
"""

from collections.abc import Callable

from tests.protocols import compute_reference as ref
from tests.protocols import memory_reference as memory
from tests.protocols.compute_vectors import JOB, SECRET, Case, encode_job, write

ROUNDS = 4
KEPT = 3
PASSES = 3
NONCE = ref.sha256(b"pass nonce")
PAIRS = [(0, 0), (0, 14), (1, 7), (2, 3)]

_PROOF = ref.prove(JOB, ROUNDS)


def passes() -> list[Case]:
    """Seeds, start states, all leaves and roots of whole proofs, one pass after another."""
    return [
        _describe(name, memory.prove(_PROOF, kept, nonce, count))
        for name, kept, nonce, count in [
            ("three_rounds_kept", KEPT, NONCE, PASSES),
            ("all_rounds_kept", ROUNDS, NONCE, 1),
            ("one_round_kept", 1, NONCE, 2),
            ("other_nonce", KEPT, ref.sha256(b"other nonce"), 1),
        ]
    ]


def _describe(name: str, done: memory.Passes) -> Case:
    previous = [bytes(32), *done.roots]
    seeds = [
        memory.seed(_PROOF, done.kept, done.nonce, p, previous[p]) for p in range(len(done.roots))
    ]
    return {
        "name": name,
        **_describe_work(),
        "kept": done.kept,
        "nonce": done.nonce.hex(),
        "rows": b"".join(row for rows in _PROOF.rows[ROUNDS - done.kept :] for row in rows).hex(),
        "passes": [
            {
                "seed": seed.hex(),
                "start": ref.expand_row(seed, 256, 0).hex(),
                "leaves": b"".join(leaves).hex(),
                "root": root.hex(),
            }
            for seed, leaves, root in zip(seeds, done.leaves, done.roots, strict=True)
        ],
        "commitment": done.commitment.hex(),
    }


def _describe_work() -> Case:
    return {
        "job": encode_job(JOB),
        "rounds": ROUNDS,
        "work_commitment": _PROOF.commitment.hex(),
    }


def draws() -> list[Case]:
    cases = []
    for name, works, count in [
        ("default", [(30, 5000)], 32),
        ("everything", [(2, 5)], 32),
        ("devices_that_keep_nothing", [(0, 0), (30, 5000), (0, 0), (7, 64)], 32),
        ("nothing_is_kept", [(0, 0)], 32),
        ("largest", [(1024, 4_294_967_295)], 4),
    ]:
        randomness = ref.sha256(b"pass draw", name.encode())
        drawn = memory.draw(randomness, works, count)
        case = {"name": name, "randomness": randomness.hex(), "works": [list(w) for w in works]}
        indices = [[list(pair) for pair in part] for part in drawn]
        cases.append({**case, "count": count, "indices": indices})
    return cases


def requests() -> list[Case]:
    """Requests for openings on the wire, out of 3 passes over 5 rows."""
    return [
        {"name": name, "passes": 3, "rows": 5, "data": data.hex(), "valid": valid}
        for name, data, valid in [
            ("none", b"", True),
            ("one", ref.u32(0, 0), True),
            ("last", ref.u32(2, 4), True),
            ("two_passes", ref.u32(0, 4, 1, 0), True),
            ("half_a_pair", ref.u32(0, 0, 1), False),
            ("pass_too_high", ref.u32(3, 0), False),
            ("row_too_high", ref.u32(0, 5), False),
            ("twice_the_same", ref.u32(1, 1, 1, 1), False),
            ("descending", ref.u32(1, 0, 0, 4), False),
            ("too_many", b"".join(ref.u32(0, i) for i in range(257)), False),
        ]
    ]


def commitments() -> list[Case]:
    return [
        {"name": name, "passes": count, "root": root.hex(), "valid": valid}
        for name, count, root, valid in [
            ("one_pass", 1, bytes(32), True),
            ("most_passes", 1024, bytes(32), True),
            ("no_pass", 0, bytes(32), False),
            ("too_many_passes", 1025, bytes(32), False),
            ("root_short", 1, bytes(31), False),
            ("root_long", 1, bytes(33), False),
        ]
    ]


def _flip(data: bytes, position: int) -> bytes:
    position %= len(data)
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def proofs() -> list[Case]:
    """Openings of passes, beside the true rows of the compute proof that they are about."""
    honest = memory.prove(_PROOF, KEPT, NONCE, PASSES)
    data = honest.open(PAIRS)
    roots_end = 32 * PASSES

    def case(
        name: str,
        result: str,
        data: bytes = data,
        commitment: bytes = honest.commitment,
        passes: int = PASSES,
        pairs: list[tuple[int, int]] = PAIRS,
    ) -> Case:
        return {
            "name": name,
            **_describe_work(),
            "secret": SECRET.hex(),
            "kept": KEPT,
            "nonce": NONCE.hex(),
            "passes": passes,
            "commitment": commitment.hex(),
            "indices": [list(pair) for pair in pairs],
            "rows": [
                [*place, _PROOF.rows[place[0]][place[1]].hex()]
                for place in sorted({honest.locate(q) for _, q in pairs})
            ],
            "data": data.hex(),
            "result": result,
        }

    def committed(name: str, result: str, done: memory.Passes) -> Case:
        """A device that commits to what it has read, whatever that was."""
        commitment = memory.commit(_PROOF, KEPT, NONCE, done.roots)
        return case(name, result, done.open(PAIRS), commitment)

    def reading(read: memory.Read) -> memory.Passes:
        return memory.prove(_PROOF, KEPT, NONCE, PASSES, read)

    fewer = memory.prove(_PROOF, KEPT, NONCE, PASSES - 1)
    first, second = data[:32], data[32:64]
    return [
        case("honest", "ok"),
        case("nothing_opened", "ok", b"", pairs=[]),
        case("one_opened", "ok", honest.open([(1, 1)]), pairs=[(1, 1)]),
        case("bytes_for_nothing", "pass openings size", data, pairs=[]),
        case("empty", "pass openings size", b""),
        case("one_byte_short", "pass openings size", data[:-1]),
        case("one_byte_more", "pass openings size", data + b"\0"),
        case("one_path_missing", "pass openings size", honest.open(PAIRS[:-1])),
        case("committed_to_one_pass_more", "pass openings size", passes=PASSES + 1),
        case("root_spoiled", "pass roots", _flip(data, 0)),
        case("commitment_spoiled", "pass roots", commitment=_flip(honest.commitment, 0)),
        case("roots_swapped", "pass roots", second + first + data[64:]),
        case(
            "pass_claimed_that_was_not_made",
            "pass roots",
            data[:roots_end] + bytes(32) + data[roots_end:],
            passes=PASSES + 1,
        ),
        case(
            "fewer_passes_opened",
            "pass openings size",
            fewer.open(PAIRS[:-1]),
        ),
        case(
            "other_nonce_as_it_is",
            "pass roots",
            memory.prove(_PROOF, KEPT, ref.sha256(b"other nonce"), PASSES).open(PAIRS),
        ),
        committed(
            "passes_made_before_the_nonce",
            "pass path",
            memory.prove(_PROOF, KEPT, ref.sha256(b"other nonce"), PASSES),
        ),
        case("sibling_spoiled", "pass path", _flip(data, -1)),
        committed(
            "row_not_there",
            "pass path",
            reading(lambda p, q, row: bytes(len(row)) if q == 7 else row),
        ),
        committed(
            "row_gone_after_the_first_pass",
            "pass path",
            reading(lambda p, q, row: _flip(row, 5) if p and q == 7 else row),
        ),
        committed(
            "row_gone_but_not_opened",
            "ok",
            reading(lambda p, q, row: bytes(len(row)) if q == 8 else row),
        ),
        committed(
            "neighbour_read_twice",
            "pass path",
            reading(lambda p, q, row: _PROOF.rows[1][0] if q == 14 else row),
        ),
    ]


FILES: dict[str, Callable[[], list[Case]]] = {
    "memory/passes.json": passes,
    "memory/draws.json": draws,
    "memory/requests.json": requests,
    "memory/commitments.json": commitments,
    "memory/proofs.json": proofs,
}


if __name__ == "__main__":
    write(FILES)
