"""What a checker pays: 64 openings at k = n = 16,384, and the once-per-epoch precomputation.

`python -m bench.verify --json out.json` writes

    {"n": int, "openings": int, "verify_ms": float, "precompute_s": float, …}

on one core (BLAS is not used; its threads are pinned all the same). `verify_ms` is the median of
the whole of `verify_openings`: decoding, hashing rows and paths, expanding the opened rows of A,
and the products. The proof is real: 16 rounds of 65,536 rows, with every opened row computed from
B and the chain of roots; leaves of rows that are not opened are random, since nobody looks at them.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from protocols.compute import (
    ComputeJob,
    Shape,
    WorkCommitment,
    compute_commitment,
    derive_b_seed,
    digest_each,
    digest_rows,
)
from protocols.expand import expand_each, expand_rows
from protocols.freivalds import RowCheck, find_wrong_rows, prepare_check
from protocols.merkle import DIGEST_BYTES, build_tree, compute_root_from_path
from protocols.openings import Index, Openings, decode_openings, draw_openings, encode_openings
from protocols.rejection import ProofRejected
from protocols.verify import verify_openings

SIDE = 16_384
ROUNDS = 16
ROWS = 65_536
REPEATS = 31
PRECOMPUTATIONS = 3
EXACT_K = 1024
"""Products of this many int8 pairs stay within 2^24, so that float32 sums are exact."""


def multiply(a: NDArray[np.int8], b_seed: bytes, n: int) -> NDArray[np.int32]:
    """A·B exactly, expanding B piece by piece."""
    out = np.zeros((len(a), n), np.int32)
    for first in range(0, a.shape[1], EXACT_K):
        b = expand_rows(b_seed, n, first, EXACT_K).astype(np.float32)
        out += (a[:, first : first + EXACT_K].astype(np.float32) @ b).astype(np.int32)
    return out


def prove(job: ComputeJob, indices: tuple[Index, ...]) -> tuple[WorkCommitment, bytes]:
    """Commit to all rounds and open `indices`, computing only the rows that are opened."""
    shape = job.shape
    noise = np.random.default_rng(1337)
    rows: list[NDArray[np.int32]] = []
    roots: list[bytes] = []
    paths: list[bytes] = []
    for t in range(ROUNDS):
        opened = [index.row for index in indices if index.round == t]
        leaves = bytearray(noise.bytes(shape.m * DIGEST_BYTES))
        seed = job.derive_a_seed(t, roots)
        done = multiply(expand_each([(seed, row) for row in opened], shape.k), job.b_seed, shape.n)
        for row, values in zip(opened, done, strict=True):
            leaf = digest_rows(values[np.newaxis], t, row)
            leaves[row * DIGEST_BYTES : (row + 1) * DIGEST_BYTES] = leaf
        tree = build_tree(bytes(leaves))
        rows.append(done)
        roots.append(tree.root)
        paths += [tree.path(row) for row in opened]
    openings = Openings(np.concatenate(rows), tuple(roots), tuple(paths))
    return compute_commitment(job, openings.roots), encode_openings(openings)


def measure_ms(work: Callable[[], object]) -> float:
    """Median of `REPEATS` runs."""
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e3


def measure_parts(
    check: RowCheck,
    job: ComputeJob,
    commitment: WorkCommitment,
    indices: tuple[Index, ...],
    data: bytes,
) -> dict[str, float]:
    """The parts of `verify_openings`, one by one (ms)."""
    shape = job.shape
    openings = decode_openings(data, shape, commitment.rounds, indices)
    pairs = list(zip(indices, openings.paths, strict=True))
    leaves = digest_each(openings.rows, indices)
    sources = [(job.derive_a_seed(t, openings.roots), row) for t, row in indices]
    a_rows = expand_each(sources, shape.k)
    return {
        "decode_ms": measure_ms(lambda: decode_openings(data, shape, commitment.rounds, indices)),
        "row_digests_ms": measure_ms(lambda: digest_each(openings.rows, indices)),
        "paths_ms": measure_ms(
            lambda: [
                compute_root_from_path(leaf, index.row, shape.m, path)
                for leaf, (index, path) in zip(leaves, pairs, strict=True)
            ]
        ),
        "a_rows_ms": measure_ms(lambda: expand_each(sources, shape.k)),
        "products_ms": measure_ms(lambda: find_wrong_rows(check, a_rows, openings.rows)),
    }


def run() -> dict[str, object]:
    """Measure everything; raises ProofRejected if the honest proof did not verify."""
    shape = Shape(ROWS, SIDE, SIDE)
    b_seed = derive_b_seed(b"\x11" * 32, shape.k, shape.n)
    job = ComputeJob(shape, b_seed, b"\x22" * 32, b"\x33" * 32, 0)
    # A prover cannot know the draw before it commits; this one may, because it is the checker.
    indices = draw_openings(b"\x44" * 32, ROUNDS, shape.m)
    commitment, data = prove(job, indices)

    precomputations = []
    for number in range(PRECOMPUTATIONS):
        started = time.perf_counter()
        check = prepare_check(b_seed, shape, bytes([number]) * 32)
        precomputations.append(time.perf_counter() - started)

    verify_ms = measure_ms(lambda: verify_openings(check, job, commitment, indices, data))
    spoiled = data[:5] + bytes([data[5] ^ 1]) + data[6:]
    try:
        verify_openings(check, job, commitment, indices, spoiled)
    except ProofRejected:
        pass
    else:
        raise SystemExit("a spoiled proof was accepted")
    return {
        "n": shape.n,
        "openings": len(indices),
        "verify_ms": round(verify_ms, 3),
        "precompute_s": round(statistics.median(precomputations), 3),
        "parts": {
            name: round(value, 3)
            for name, value in measure_parts(check, job, commitment, indices, data).items()
        },
        "bytes": len(data),
        "machine": platform.processor() or platform.machine(),
        "numpy": np.__version__,
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    arguments = parser.parse_args()
    text = json.dumps(run(), indent=2)
    if arguments.json:
        arguments.json.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
