"""Makes tests/vectors/{expand,merkle,mix,compute} out of the reference.

`python -m tests.protocols.compute_vectors` writes the files; a test says when they are stale.
"""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.protocols import compute_reference as ref

VECTORS = Path(__file__).parent.parent / "vectors"

Case = dict[str, Any]

JOB = ref.Job(
    m=5,
    k=32,
    n=16,
    b_seed=ref.b_seed(ref.sha256(b"epoch"), 32, 16),
    nonce=ref.sha256(b"nonce"),
    provider=ref.sha256(b"provider"),
    device=0,
)
ROUNDS = 3
INDICES = [(0, 1), (1, 0), (1, 4), (2, 2)]
SECRET = ref.sha256(b"secret")

# Random123's kat_vectors, lines "philox4x64 10": counter, key, output.
PHILOX = [
    ([0] * 4, [0] * 2, "16554d9eca36314c db20fe9d672d0fdc d7e772cee186176b 7e68b68aec7ba23b"),
    (
        [ref.MASK] * 4,
        [ref.MASK] * 2,
        "87b092c3013fe90b 438c3c67be8d0224 9cc7d7c69cd777b6 a09caebf594f0ba0",
    ),
    (
        [0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89],
        [0x452821E638D01377, 0xBE5466CF34E90C6C],
        "a528f45403e61d95 38c72dbd566e9788 a5a1610e72fd18b5 57bd43b5e52b7fe6",
    ),
]


def philox() -> list[Case]:
    return [
        {
            "name": f"random123_{number}",
            "counter": [f"{word:016x}" for word in counter],
            "key": [f"{word:016x}" for word in key],
            "output": output.split(),
        }
        for number, (counter, key, output) in enumerate(PHILOX)
    ]


def expansions() -> list[Case]:
    cases = []
    for name, width, first, count in [
        ("one_block", 32, 0, 1),
        ("half_block_dropped", 16, 0, 3),
        ("row_and_a_half", 48, 2, 2),
        ("far_row", 64, 1_000_000, 1),
        ("many_blocks", 1040, 7, 1),
    ]:
        seed = ref.sha256(b"expand", name.encode())
        rows = [ref.expand_row(seed, width, row).hex() for row in range(first, first + count)]
        cases.append(
            {"name": name, "seed": seed.hex(), "row_bytes": width, "first": first, "rows": rows}
        )
    return cases


def trees() -> list[Case]:
    cases = []
    for size in [1, 2, 3, 4, 5, 6, 7, 8, 11, 33]:
        leaves = [ref.sha256(b"leaf", bytes([i])) for i in range(size)]
        cases.append(
            {
                "name": f"size_{size}",
                "leaves": [leaf.hex() for leaf in leaves],
                "root": ref.merkle_root(leaves).hex(),
                "paths": [b"".join(ref.merkle_path(leaves, i)).hex() for i in range(size)],
            }
        )
    return cases


def paths() -> list[Case]:
    """Single paths: `root` is what they must lead to, `result` what becomes of them."""
    leaves = [ref.sha256(b"leaf", bytes([i])) for i in range(7)]
    good = ref.merkle_path(leaves, 2)
    base = {"index": 2, "size": 7, "leaf": leaves[2].hex(), "root": ref.merkle_root(leaves).hex()}
    spoiled = bytes([good[1][0] ^ 1]) + good[1][1:]
    return [
        {"name": name, **base, **changes, "path": b"".join(path).hex(), "result": result}
        for name, changes, path, result in [
            ("good", {}, good, "root"),
            ("sibling_spoiled", {}, [good[0], spoiled, good[2]], "other"),
            ("siblings_swapped", {}, [good[1], good[0], good[2]], "other"),
            ("leaf_spoiled", {"leaf": leaves[3].hex()}, good, "other"),
            ("index_of_neighbour", {"index": 3}, good, "other"),
            ("one_sibling_short", {}, good[:2], "malformed"),
            ("one_sibling_more", {}, [*good, good[0]], "malformed"),
            ("lone_leaf_needs_fewer", {"index": 6}, good, "malformed"),
        ]
    ]


def seeds() -> list[Case]:
    root = ref.sha256(b"root")
    cases = []
    for name, job, t, before_last in [
        ("first_round", JOB, 0, bytes(32)),
        ("second_round", JOB, 1, bytes(32)),
        ("later_round", JOB, 7, root),
        ("other_device", JOB.other(device=1), 7, root),
        ("other_provider", JOB.other(provider=ref.sha256(b"mallory")), 7, root),
        ("other_nonce", JOB.other(nonce=ref.sha256(b"old nonce")), 7, root),
        ("other_shape", JOB.other(m=6), 7, root),
    ]:
        cases.append(
            {
                "name": name,
                "job": encode_job(job),
                "round": t,
                "root_before_last": before_last.hex(),
                "job_seed": job.seed.hex(),
                "a_seed": job.a_seed(t, before_last).hex(),
            }
        )
    return cases


def b_seeds() -> list[Case]:
    epoch_seed = ref.sha256(b"epoch")
    return [
        {
            "name": name,
            "epoch_seed": epoch_seed.hex(),
            "k": k,
            "n": n,
            "identity": identity.hex(),
            "b_seed": ref.b_seed(epoch_seed, k, n, identity).hex(),
        }
        for name, k, n, identity in [
            ("shared", 32, 16, bytes(32)),
            ("other_size", 16, 32, bytes(32)),
            ("of_one_identity", 32, 16, ref.sha256(b"provider")),
        ]
    ]


def rows() -> list[Case]:
    cases = []
    for name, n, t, row in [
        ("lanes_without_words", 16, 0, 0),
        ("one_word_in_each_lane", 64, 1, 2),
        ("lanes_of_unequal_length", 80, 3, 9),
        ("many_words", 1040, 16_383, 1_048_575),
    ]:
        data = _make_row(name, n)
        case = {"name": name, "round": t, "row": row, "data": data.hex()}
        cases.append({**case, "leaf": ref.leaf(data, t, row).hex()})
    return cases


def mixes() -> list[Case]:
    """Rows of all remainders of n/2 by 32, from zero and from other start states."""
    cases = []
    for n in (16, 32, 48, 64, 80, 96, 112, 128, 1040):
        for kind in ("zero", "any"):
            data = _make_row(f"mix {n}", n)
            start = ref.expand_row(ref.sha256(b"start", ref.u32(n)), 256, 0)
            start = bytes(256) if kind == "zero" else start
            states = ref.mix(data, list(struct.unpack("<32Q", start)))
            case = {"name": f"n_{n}_from_{kind}", "data": data.hex(), "start": start.hex()}
            cases.append({**case, "states": states.hex()})
    return cases


def _make_row(name: str, n: int) -> bytes:
    return b"".join(ref.sha256(name.encode(), ref.u32(i)) for i in range(n // 8))


def draws() -> list[Case]:
    cases = []
    for name, works, count in [
        ("default", [(40, 512)], 64),
        ("everything", [(2, 5)], 64),
        ("all_but_one", [(5, 13)], 64),
        ("not_a_power_of_two", [(3, 1000)], 8),
        ("largest", [(16_384, 1_048_576)], 4),
        ("three_devices", [(40, 512), (1, 3), (17, 1000)], 64),
        ("everything_of_two_devices", [(2, 5), (1, 3)], 64),
    ]:
        randomness = ref.sha256(b"draw", name.encode())
        drawn = ref.draw(randomness, works, count)
        case = {"name": name, "randomness": randomness.hex(), "works": [list(w) for w in works]}
        indices = [[list(pair) for pair in part] for part in drawn]
        cases.append({**case, "count": count, "indices": indices})
    return cases


def requests() -> list[Case]:
    """Requests for openings on the wire, out of 3 rounds of 5 rows."""
    return [
        {"name": name, "rounds": 3, "m": 5, "data": data.hex(), "valid": valid}
        for name, data, valid in [
            ("one", ref.u32(0, 0), True),
            ("last", ref.u32(2, 4), True),
            ("two_rounds", ref.u32(0, 4, 1, 0), True),
            ("empty", b"", False),
            ("half_a_pair", ref.u32(0, 0, 1), False),
            ("round_too_high", ref.u32(3, 0), False),
            ("row_too_high", ref.u32(0, 5), False),
            ("twice_the_same", ref.u32(1, 1, 1, 1), False),
            ("descending", ref.u32(1, 0, 0, 4), False),
            ("too_many", b"".join(ref.u32(0, i) for i in range(1025)), False),
        ]
    ]


def shapes() -> list[Case]:
    return [
        {"name": name, "m": m, "k": k, "n": n, "valid": valid}
        for name, m, k, n, valid in [
            ("smallest", 1, 16, 16, True),
            ("largest_m", 1_048_576, 16, 16, True),
            ("largest_k", 1, 131_056, 16, True),
            ("largest_n", 1, 16, 32_768, True),
            ("largest_b", 1, 32_768, 32_768, True),
            ("no_rows", 0, 16, 16, False),
            ("m_too_large", 1_048_577, 16, 16, False),
            ("k_zero", 1, 0, 16, False),
            ("sums_overflow", 1, 131_072, 16, False),
            ("k_unaligned", 1, 24, 16, False),
            ("n_zero", 1, 16, 0, False),
            ("n_too_large", 1, 16, 32_784, False),
            ("n_unaligned", 1, 16, 20, False),
            ("b_too_large", 1, 32_784, 32_768, False),
        ]
    ]


def commitments() -> list[Case]:
    return [
        {"name": name, "rounds": rounds, "root": root.hex(), "valid": valid}
        for name, rounds, root, valid in [
            ("one_round", 1, bytes(32), True),
            ("most_rounds", 16_384, bytes(32), True),
            ("no_round", 0, bytes(32), False),
            ("too_many_rounds", 16_385, bytes(32), False),
            ("root_short", 1, bytes(31), False),
            ("root_long", 1, bytes(33), False),
        ]
    ]


def encode_job(job: ref.Job) -> Case:
    return {
        "m": job.m,
        "k": job.k,
        "n": job.n,
        "b_seed": job.b_seed.hex(),
        "nonce": job.nonce.hex(),
        "provider": job.provider.hex(),
        "device": job.device,
    }


def _replace_row(t: int, index: int, change: Callable[[list[bytes]], bytes]) -> ref.Tamper:
    def tamper(round_number: int, done: list[bytes]) -> list[bytes]:
        if round_number != t:
            return done
        return [change(done) if i == index else row for i, row in enumerate(done)]

    return tamper


def _plus_one(row: bytes, value: int = 1) -> bytes:
    return ((int.from_bytes(row[:4], "little") + value) % 2**32).to_bytes(4, "little") + row[4:]


def _swap_rows(_: int, done: list[bytes]) -> list[bytes]:
    return [done[1], done[0], *done[2:]]


def _flip(data: bytes, position: int) -> bytes:
    position %= len(data)
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def proofs() -> list[Case]:
    honest = ref.prove(JOB, ROUNDS)
    data = honest.open(INDICES)
    row_bytes = 4 * JOB.n
    roots_at = len(INDICES) * row_bytes
    roots = data[roots_at : roots_at + 32 * ROUNDS]

    def case(
        name: str,
        result: str,
        data: bytes = data,
        commitment: bytes = honest.commitment,
        rounds: int = ROUNDS,
    ) -> Case:
        return {
            "name": name,
            "job": encode_job(JOB),
            "secret": SECRET.hex(),
            "rounds": rounds,
            "commitment": commitment.hex(),
            "indices": [list(pair) for pair in INDICES],
            "data": data.hex(),
            "result": result,
        }

    def committed(name: str, result: str, tamper: ref.Tamper) -> Case:
        """A prover that commits to what it has, instead of what was asked for."""
        proof = ref.prove(JOB, ROUNDS, tamper)
        return case(name, result, proof.open(INDICES), proof.commitment)

    def of_other_job(name: str, job: ref.Job) -> list[Case]:
        """An answer to another job: handed over as it is, and committed to afresh."""
        other = ref.prove(job, ROUNDS)
        data = other.open(INDICES)
        return [
            case(f"{name}_as_it_is", "openings roots", data, other.commitment),
            case(f"{name}_recommitted", "openings row", data, ref.commit(JOB, other.roots)),
        ]

    swapped_roots = roots[32:64] + roots[:32] + roots[64:]
    fewer = ref.prove(JOB, ROUNDS - 1)
    first_two_rows_swapped = data[row_bytes : 2 * row_bytes] + data[:row_bytes]
    swapped_rounds = [honest.rows[1], honest.rows[0], honest.rows[2]]
    skipped_chain = ref.prove(JOB, ROUNDS).rows
    b = ref.expand_int8(JOB.b_seed, JOB.n, JOB.k)
    for t in range(2, ROUNDS):
        a = ref.expand_int8(JOB.a_seed(t, bytes(32)), JOB.k, JOB.m)
        skipped_chain[t] = [ref.encode_row(row) for row in ref.product(a, b)]
    a = ref.expand_int8(JOB.a_seed(1, honest.roots[0]), JOB.k, JOB.m)
    hurried = [ref.encode_row(row) for row in ref.product(a, b)]
    return [
        case("honest", "ok"),
        case("empty", "openings size", b""),
        case("one_byte_short", "openings size", data[:-1]),
        case("one_byte_more", "openings size", data + b"\0"),
        case("one_row_missing", "openings size", data[row_bytes:]),
        case("committed_to_one_round_more", "openings size", rounds=ROUNDS + 1),
        case("openings_of_fewer_rounds", "openings size", fewer.open(INDICES[:-1])),
        case(
            "round_claimed_that_was_not_done",
            "openings roots",
            data[: roots_at + len(roots)] + bytes(32) + data[roots_at + len(roots) :],
            rounds=ROUNDS + 1,
        ),
        case("root_spoiled", "openings roots", _flip(data, roots_at)),
        case("commitment_spoiled", "openings roots", commitment=_flip(honest.commitment, 0)),
        case(
            "roots_swapped",
            "openings roots",
            data[:roots_at] + swapped_roots + data[roots_at + len(roots) :],
        ),
        *of_other_job("old_nonce", JOB.other(nonce=ref.sha256(b"old nonce"))),
        *of_other_job("other_provider", JOB.other(provider=ref.sha256(b"mallory"))),
        *of_other_job("other_device", JOB.other(device=1)),
        *of_other_job(
            "other_epoch", JOB.other(b_seed=ref.b_seed(ref.sha256(b"last epoch"), JOB.k, JOB.n))
        ),
        case("row_spoiled_after_commitment", "openings path", _flip(data, 0)),
        case("last_row_spoiled_after_commitment", "openings path", _flip(data, roots_at - 1)),
        case("sibling_spoiled", "openings path", _flip(data, -1)),
        case(
            "rows_swapped_in_openings",
            "openings path",
            first_two_rows_swapped + data[2 * row_bytes :],
        ),
        committed("rows_swapped_before_commitment", "openings row", _swap_rows),
        committed(
            "garbage_row_committed", "openings row", _replace_row(1, 4, lambda _: bytes(row_bytes))
        ),
        committed(
            "neighbours_row_committed", "openings row", _replace_row(1, 4, lambda done: done[3])
        ),
        committed(
            "off_by_one", "openings row", _replace_row(2, 2, lambda done: _plus_one(done[2]))
        ),
        committed(
            "off_by_half_the_range",
            "openings row",
            _replace_row(2, 2, lambda done: _plus_one(done[2], 1 << 31)),
        ),
        committed(
            "rounds_swapped_before_commitment", "openings row", lambda t, _: swapped_rounds[t]
        ),
        committed("chain_of_roots_ignored", "openings row", lambda t, _: skipped_chain[t]),
        committed(
            "chain_with_a_lag_of_one",
            "openings row",
            lambda t, done: hurried if t == 1 else done,
        ),
        committed(
            "wrong_row_not_opened",
            "ok",
            _replace_row(2, 0, lambda _: bytes(row_bytes)),
        ),
    ]


FILES: dict[str, Callable[[], list[Case]]] = {
    "expand/philox.json": philox,
    "expand/rows.json": expansions,
    "merkle/trees.json": trees,
    "merkle/paths.json": paths,
    "mix/states.json": mixes,
    "compute/b_seeds.json": b_seeds,
    "compute/seeds.json": seeds,
    "compute/rows.json": rows,
    "compute/draws.json": draws,
    "compute/requests.json": requests,
    "compute/shapes.json": shapes,
    "compute/commitments.json": commitments,
    "compute/proofs.json": proofs,
}


def load(name: str) -> list[Case]:
    cases: list[Case] = json.loads((VECTORS / name).read_text())
    return cases


def render(make: Callable[[], list[Case]]) -> str:
    return json.dumps(make(), indent=1) + "\n"


def write(files: dict[str, Callable[[], list[Case]]]) -> None:
    for name, make in files.items():
        path = VECTORS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render(make))


if __name__ == "__main__":
    write(FILES)
