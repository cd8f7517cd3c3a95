"""The whole proof on one device: its rate beside plain multiplications, and what checking costs.

    python -m bench.popw [--json PATH] [--backend auto|numpy|cupy] [--device N] [--k K] [--n N]

writes one JSON document:

    {"backend", "device", "prover_rate_tops", "gemm_rate_tops", "ratio", "verify_ms", "job_bytes",
     "detection": [{"skipped", "caught", "expected"}, …], "memory": {…}, …}

`prover_rate_tops` is 2·m·k·n·rounds over the whole of `run`: expansion, multiplication, digests,
trees, commitment (10^12 operations per second). `gemm_rate_tops` is that of plain
multiplications of the same shape, back to back, on the same device with the same threads: int8
`gemmEx` for CuPy, float32 sgemm for NumPy, which has no fast integer product. Both take turns
`--repeats` times, so that drift meets both; the medians are given, and `ratio` is the one over the
other.

`memory` holds the rate of passes over what is kept, bytes read only, and that of plain copies,
bytes read and written both counted. Every repetition's commitments are opened at 64 rows and 32
kept rows, drawn at random, and judged by the verifier that checkers use, on the CPU; a proof that
does not hold, or a spoilt one that does, ends this with status 1. `verify_ms` is the median of that
judgement, `job_bytes` what commitments, requests and openings of one job have in bytes.

`detection` is the share of draws in which that verifier refused a prover that skipped a share of
its rows, beside 1 − (1 − share)^64.

NumPy is all it needs, and CuPy for a GPU: copy `bench`, `p2p_node` and `protocols` to a machine.
"""

import os

# Before NumPy is imported: OpenBLAS makes its threads then. What each call takes is set later.
os.environ.setdefault("OPENBLAS_NUM_THREADS", str(os.cpu_count() or 1))

import argparse
import json
import platform
import re
import secrets
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.detection import DRAWS, measure_detection
from bench.multiplying import NumpyPeer, Peer
from p2p_node.workloads.backend import ComputeBackend, Work
from p2p_node.workloads.core_chains import count_cores
from p2p_node.workloads.gpu.devices import list_gpus, open_gpu
from p2p_node.workloads.numpy_backend import NumpyBackend, read_cpu_name
from protocols.compute import Shape, derive_b_seed
from protocols.errors import KaisarError, LocalError
from protocols.freivalds import RowCheck, prepare_check
from protocols.host_proof import (
    PASSES_BYTES,
    WORK_BYTES,
    DeviceWork,
    HostJob,
    OpeningRequest,
    draw_request,
    verify_host,
)
from protocols.memory import PassCommitment
from protocols.params import MAINNET
from protocols.rejection import ProofRejected

TERA = 10**12
GIGA = 10**9
VERIFICATIONS = 11
GEMM_SECONDS = 2.0
"""Of plain multiplications in each repetition."""


@dataclass(frozen=True, slots=True)
class Bench:
    """A device to be measured, and what it is measured against."""

    name: str
    backend: ComputeBackend
    peer: Peer
    shape: Shape
    b_seed: bytes


@dataclass(frozen=True, slots=True)
class Proof:
    """One whole job, opened."""

    job: HostJob
    work: DeviceWork
    passes: PassCommitment | None
    request: OpeningRequest
    rows: bytes
    pass_paths: bytes
    seconds: float
    pass_seconds: float

    @property
    def job_bytes(self) -> int:
        """Bytes of commitments, requests and openings."""
        asked = (*self.request.encode_rows(), *self.request.encode_passes())
        opened = len(self.rows) + len(self.pass_paths)
        return WORK_BYTES + PASSES_BYTES + sum(map(len, asked)) + opened

    def verify(self, check: RowCheck, rows: bytes | None = None) -> None:
        """Judge it as a checker does; with other `rows`, if given. Raises ProofRejected."""
        opened = self.rows if rows is None else rows
        verify_host(
            check, self.job, [self.work], [self.passes], self.request, [opened], [self.pass_paths]
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    arguments = _parse(argv)
    try:
        bench = _open(arguments)
        try:
            figures = run(bench, arguments.repeats, arguments.window, arguments.pass_window)
        finally:
            bench.backend.close()
    except KaisarError as error:
        print(f"bench.popw: {error}", file=sys.stderr)
        return 1
    detection = measure_detection(draws=arguments.draws)
    figures["detection"] = [asdict(point) for point in detection]
    text = json.dumps(figures, indent=2)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0


def run(bench: Bench, repeats: int, window_s: float, pass_window_s: float) -> dict[str, Any]:
    """Take turns with the peer, verify every proof, and work out the figures.

    Raises ProofRejected for a proof that does not hold, LocalError when a spoilt one does.
    """
    shape = bench.shape
    check = prepare_check(bench.b_seed, shape, secrets.token_bytes(32))
    # Plain multiplications until the clocks have settled, and to know how many fill a second.
    gemm_rate = bench.peer.measure_multiplication_rate(2)
    calls = max(2, round(GEMM_SECONDS * gemm_rate / shape.operations))
    proofs: list[Proof] = []
    gemm_rates: list[float] = []
    for _ in range(repeats):
        gemm_rates.append(bench.peer.measure_multiplication_rate(calls))
        proofs.append(prove(bench, window_s, pass_window_s))
        proofs[-1].verify(check)
    copy_rate = bench.peer.measure_copy_rate(5)
    last = proofs[-1]
    _require_refusal(last, check)
    prover_rate = statistics.median(proof.work.operations / proof.seconds for proof in proofs)
    gemm_rate = statistics.median(gemm_rates)
    info = bench.backend.describe()
    return {
        "backend": bench.name,
        "device": info.name,
        "prover_rate_tops": _round(prover_rate / TERA),
        "gemm_rate_tops": _round(gemm_rate / TERA),
        "ratio": _round(prover_rate / gemm_rate),
        "verify_ms": _round(_measure_ms(lambda: last.verify(check))),
        "job_bytes": last.job_bytes,
        "memory": _describe_memory(proofs, info.memory_bytes, copy_rate),
        "shape": asdict(shape),
        "rounds": [proof.work.commitment.rounds for proof in proofs],
        "seconds": [_round(proof.seconds) for proof in proofs],
        "software": info.backend,
        "driver": _read_driver() if bench.name == "cupy" else None,
        **_describe_machine(),
    }


def prove(bench: Bench, window_s: float, pass_window_s: float) -> Proof:
    """One whole job with fresh nonces, its openings drawn afterwards."""
    nonce, pass_nonce, provider = (secrets.token_bytes(32) for _ in range(3))
    job = HostJob(bench.b_seed, nonce, pass_nonce, provider)
    # The device that a job is for is in its bits; which backend does it is not.
    compute_job = job.compute_job(_Asked(bench.shape))  # type: ignore[arg-type]
    started = time.perf_counter()
    work = bench.backend.run(
        compute_job, window_s=window_s, limit_s=4 * window_s + 10, is_cancelled=_never
    )
    seconds = time.perf_counter() - started
    try:
        return _open_proof(job, work, seconds, pass_window_s)
    finally:
        work.close()


@dataclass(frozen=True, slots=True)
class _Asked:
    """The parts of a DeviceWork that are known before the work is done."""

    shape: Shape
    device: int = 0


def _open_proof(job: HostJob, work: Work, seconds: float, pass_window_s: float) -> Proof:
    done = DeviceWork(0, work.job.shape, work.kept, work.commitment)
    passes = None
    started = time.perf_counter()
    if done.kept:
        passes = work.run_passes(
            job.pass_nonce,
            window_s=pass_window_s,
            limit_s=4 * pass_window_s + 10,
            is_cancelled=_never,
        )
    pass_seconds = time.perf_counter() - started
    request = draw_request(secrets.token_bytes(32), [done], [passes])
    rows = work.open(request.rows[0])
    paths = work.open_passes(request.passes[0]) if passes else b""
    return Proof(job, done, passes, request, rows, paths, seconds, pass_seconds)


def _require_refusal(proof: Proof, check: RowCheck) -> None:
    spoilt = proof.rows[:5] + bytes([proof.rows[5] ^ 1]) + proof.rows[6:]
    try:
        proof.verify(check, spoilt)
    except ProofRejected:
        return
    raise LocalError("the verifier accepted a spoilt proof")


def _describe_memory(
    proofs: Sequence[Proof], memory_bytes: int, copy_rate: float
) -> dict[str, Any]:
    made = [proof for proof in proofs if proof.passes]
    rates = [
        proof.passes.passes * proof.work.kept_bytes / proof.pass_seconds
        for proof in made
        if proof.passes
    ]
    pass_rate = statistics.median(rates) if rates else 0.0
    kept = proofs[-1].work.kept_bytes
    return {
        "kept_bytes": kept,
        "kept_rounds": proofs[-1].work.kept,
        "memory_bytes": memory_bytes,
        "covered": _round(kept / memory_bytes),
        "passes": [proof.passes.passes for proof in made if proof.passes],
        "pass_rate_gbs": _round(pass_rate / GIGA),
        "copy_rate_gbs": _round(copy_rate / GIGA),
        "ratio": _round(pass_rate / copy_rate),
    }


def _describe_machine() -> dict[str, Any]:
    return {
        "machine": read_cpu_name(),
        "cores": count_cores(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "commit": _read_commit(),
    }


def _read_commit() -> str | None:
    """Commit of the tree that this file is in; None where git or the repository is not there."""
    root = Path(__file__).resolve().parents[1]
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=root,
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def _read_driver() -> str | None:
    """Version of the NVIDIA driver, as Linux tells it."""
    try:
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8")
    except OSError:
        return None
    match = re.search(r"\d{3,}\.\d+(\.\d+)?", text)
    return match[0] if match else None


def _open(arguments: argparse.Namespace) -> Bench:
    b_seed = derive_b_seed(secrets.token_bytes(32), arguments.k, arguments.n)
    found = list_gpus()
    name = arguments.backend
    if name == "auto":
        name = "cupy" if found.gpus else "numpy"
    if name == "cupy":
        if not any(gpu.index == arguments.device for gpu in found.gpus):
            raise LocalError(f"GPU {arguments.device}: {found.fault or 'there is no such device'}")
        gpu = open_gpu(arguments.device)
        try:
            shape = gpu.prepare(b_seed, arguments.k, arguments.n)
        except BaseException:
            gpu.close()
            raise
        return Bench(name, gpu, gpu, shape, b_seed)
    backend = NumpyBackend(arguments.threads, arguments.memory << 20, arguments.rows)
    try:
        shape = backend.prepare(b_seed, arguments.k, arguments.n)
    except BaseException:
        backend.close()
        raise
    return Bench(name, backend, NumpyPeer(shape, arguments.threads), shape, b_seed)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.popw", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    parser.add_argument("--backend", choices=("auto", "numpy", "cupy"), default="auto")
    parser.add_argument("--device", type=int, default=0, help="number of the GPU (0)")
    parser.add_argument("--k", type=int, default=MAINNET.k, help="mainnet's by default")
    parser.add_argument("--n", type=int, default=MAINNET.n, help="mainnet's by default")
    parser.add_argument("--rows", type=int, help="m, for NumPy; measured by default")
    parser.add_argument("--threads", type=int, default=count_cores(), help="for NumPy; all cores")
    parser.add_argument("--memory", type=int, default=2048, help="MiB, for NumPy (2048)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--window", type=float, default=MAINNET.window_ms / 1000, help="seconds")
    parser.add_argument(
        "--pass-window", type=float, default=MAINNET.pass_window_ms / 1000, help="seconds"
    )
    parser.add_argument("--draws", type=int, default=DRAWS, help="per point of the curve")
    arguments = parser.parse_args(argv)
    if arguments.repeats < 1 or arguments.draws < 1:
        parser.error("--repeats and --draws: expected at least 1")
    return arguments


def _measure_ms(function: Callable[[], object]) -> float:
    times = []
    for _ in range(VERIFICATIONS):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e3


def _round(value: float) -> float:
    return float(f"{value:.4g}")


def _never() -> bool:
    return False


if __name__ == "__main__":
    sys.exit(main())
