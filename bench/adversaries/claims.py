"""Attacks on what is believed: names, counts, secrets in the client, files that run code."""

import hashlib
import hmac
import inspect
import io
import pickle
import typing
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from bench.adversaries.outcome import Claim, Outcome
from bench.adversaries.skipping import SkippingProver
from bench.adversaries.world import (
    ROUNDS,
    SHAPE,
    Prover,
    Rows,
    count_caught,
    judge_prover,
    make_check,
    make_job,
    name,
    trial,
)
from protocols import scoring
from protocols.compute import Shape
from protocols.errors import MalformedError
from protocols.freivalds import find_wrong_rows, prepare_check
from protocols.host_proof import (
    DeviceWork,
    HostJob,
    decode_works,
    draw_request,
    encode_work,
    verify_host,
)
from protocols.openings import Index, decode_openings, draw_openings
from protocols.params import MAINNET, REFERENCE_RATE
from protocols.rejection import ProofRejected
from protocols.scoring import MILLI, compute_score, compute_throughput, gpu_term

TRIALS = 200

POINTS_BY_NAME = {"H100": 10_000, "A100": 5_000, "T4": 400}
"""Kaisar's table of models, as a verifier that believes names would use it."""


def score_rate(rate: int) -> int:
    """What our score makes of a rate."""
    return compute_score(
        uptime=MILLI,
        validity=MILLI,
        stake=0,
        terms={"gpu": gpu_term(rate, REFERENCE_RATE)},
        preset=MAINNET,
    )


# Names


def list_scored_types() -> set[object]:
    """Types of everything that goes into a score, from the functions themselves."""
    functions = (
        scoring.compute_throughput,
        scoring.compute_memory_credit,
        scoring.bandwidth_term,
        scoring.cpu_term,
        scoring.gpu_term,
        scoring.memory_term,
        scoring.stake_factor,
        scoring.compute_score,
    )
    return {
        kind
        for function in functions
        for parameter, kind in typing.get_type_hints(function).items()
        if parameter != "return" and parameter != "preset"
    }


def rename_a_device() -> Outcome:
    """Put a shim under NVML that calls a T4 an H100 (Lium, vgpu_unlock)."""
    rate = 100 * 10**12
    named = {"T4": POINTS_BY_NAME["T4"], "H100": POINTS_BY_NAME["H100"]}
    typed = list_scored_types()
    return Outcome(
        "NVML and UUID shims",
        6,
        "a rate in the place of a name",
        named["H100"] > named["T4"],
        not typed <= {int, Mapping[str, int]} or score_rate(rate) >= 3000,
        f"named: {named['H100'] * 3 // 10} points, measured: {score_rate(rate)}",
    )


def pass_as_another_class() -> Outcome:
    """Fit the time window of a better card's class, 0.55 … 1.7 of its time (GraVal)."""
    reference_s, own_s = 58.0, 62.0
    own_rate = REFERENCE_RATE * 624 // 1979
    fits = 0.55 <= own_s / reference_s <= 1.7
    return Outcome(
        "weak class separation",
        10,
        "points in proportion to the rate, without classes",
        fits,
        score_rate(own_rate) > score_rate(REFERENCE_RATE) * 624 // 1979 + 1,
        f"an A100's rate: {score_rate(own_rate)} of {score_rate(REFERENCE_RATE)} points",
    )


# Counts


def enumerate_devices() -> Outcome:
    """List one GPU as eight (Lium #1224): the same rounds, spread over eight device numbers."""
    window_us = MAINNET.window_ms * 1000
    one = DeviceWork(0, SHAPE, 0, Prover(make_job(), 8).commitment)
    eight = [
        DeviceWork(device, SHAPE, 0, Prover(make_job(device=device), 1).commitment)
        for device in range(8)
    ]
    alone = compute_throughput(one.operations, window_us, window_us)
    together = compute_throughput(sum(work.operations for work in eight), window_us, window_us)
    parts = [encode_work(one)] * 8
    try:
        repeated = len(decode_works(parts, SHAPE.k, SHAPE.n))
    except MalformedError:
        repeated = 0
    return Outcome(
        "one GPU enumerated as eight",
        6,
        "work instead of a count, and each device once",
        8 * POINTS_BY_NAME["H100"] > POINTS_BY_NAME["H100"],
        together > alone or repeated > 1,
        f"{together / alone:.2f} of the points; listed eight times: refused",
    )


class Host:
    """Several provers behind one node, with one commitment."""

    def __init__(self, provers: list[Prover]) -> None:
        self.provers = provers
        self.works = tuple(DeviceWork(p.job.device, p.job.shape, 0, p.commitment) for p in provers)
        first = provers[0].job
        self.job = HostJob(first.b_seed, first.nonce, name("pass nonce"), first.provider)

    def judge(self, randomness: bytes) -> str | None:
        """The real verifier's reason to refuse, None when it accepts."""
        nothing = tuple(None for _ in self.works)
        request = draw_request(randomness, self.works, nothing)
        check = make_check(self.job.b_seed, SHAPE.k, SHAPE.n)
        rows = [p.open(i) if i else b"" for p, i in zip(self.provers, request.rows, strict=True)]
        try:
            verify_host(
                check, self.job, self.works, nothing, request, rows, [b""] * len(self.works)
            )
        except ProofRejected as rejection:
            return rejection.reason
        return None


class IdleProver(SkippingProver):
    """A device that does nothing."""

    def __init__(self, device: int, rounds: int) -> None:
        self.skipped = {Index(t, i) for t in range(rounds) for i in range(SHAPE.m)}
        Prover.__init__(self, make_job(device=device), rounds)

    def compute(self, t: int) -> Rows:
        return np.zeros((SHAPE.m, SHAPE.n), np.int32)


def hide_idle_devices() -> Outcome:
    """Let a device that does nothing be missed among fifteen that work, as the openings are drawn
    over all of them together."""
    workers = [Prover(make_job(device=device), 2) for device in range(15)]
    believed = Host(workers).judge(trial(0)) is None
    host = Host([*workers, IdleProver(15, 2)])
    caught = count_caught([host.judge(trial(number)) for number in range(TRIALS)])
    expected = 1 - (15 / 16) ** 64
    return Outcome(
        "an idle device among fifteen",
        None,
        "openings in proportion to what each device claims",
        believed,
        (1 - caught) * 16 / 15 > 1,
        f"caught {caught:.1%} (expected {expected:.1%}) of {TRIALS}",
    )


def register_a_million() -> Outcome:
    """Enumerate GPUs that do not exist under identities of their own (io.net: 1.8 million)."""
    judgements = []
    for number in range(50):
        prover = IdleProver(0, 1)
        prover.job = replace(prover.job, provider=name(f"sybil {number}"))
        judgements.append(judge_prover(prover, trial(number)))
    caught = count_caught(judgements)
    return Outcome(
        "Sybil metadata",
        9,
        "work by every identity in every job",
        50 * POINTS_BY_NAME["H100"] > POINTS_BY_NAME["H100"],
        caught < 1,
        f"{caught:.0%} of {len(judgements)} empty identities refused",
    )


# The client


MASTER_KEY = b"in the image that every provider downloads"


def extract_a_secret() -> Outcome:
    """Read the key out of the client, and seal what was never measured (Lium's gpu_sig). Ours
    grants everything that the node has: job, seeds, code, and vectors drawn as a checker does."""
    claim = b'{"gpu": "H100", "tflops": 1979}'
    seal = hmac.new(MASTER_KEY, claim, hashlib.sha256).digest()
    believed = hmac.compare_digest(seal, hmac.new(MASTER_KEY, claim, hashlib.sha256).digest())
    job = make_job()
    own = prepare_check(job.b_seed, SHAPE, name("mallory's secret"))
    theirs = make_check(job.b_seed, SHAPE.k, SHAPE.n)
    a = np.zeros((1, SHAPE.k), np.int8)
    fooled = 0
    for column in range(SHAPE.n - 2):
        row = np.zeros((1, SHAPE.n), np.int32)
        row[0, column : column + 2] = own.r[0, column : column + 2].astype(np.int32)
        fooled += not find_wrong_rows(theirs, a, row)
    held = {
        parameter for parameter in inspect.signature(type(job)).parameters if "secret" in parameter
    }
    return Outcome(
        "secrets baked into the client",
        8,
        "no secret on the provider's side; the checker's is its own",
        believed,
        fooled > 0 or bool(held),
        f"{fooled} of {SHAPE.n - 2} rows made with vectors of one's own pass",
    )


_RAN: list[str] = []


def _run(text: str) -> str:
    _RAN.append(text)
    return text


class Payload:
    """What a file may hold where pickles are allowed: a call."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return _run, ("mallory",)


def run_code_on_the_checker() -> Outcome:
    """Answer with a file that runs code when it is read (SN27: np.load with pickles allowed)."""
    _RAN.clear()
    file = io.BytesIO()
    np.save(file, np.array([Payload()], object), allow_pickle=True)
    # The attack is the point: this is the verifier that lacks the defence.
    np.load(io.BytesIO(file.getvalue()), allow_pickle=True)
    ran_without = bool(_RAN)
    _RAN.clear()
    indices = draw_openings(trial(0), ROUNDS, SHAPE.m)
    refused = False
    for data in (file.getvalue(), pickle.dumps(Payload()), file.getvalue().ljust(10**6)):
        try:
            decode_openings(data, SHAPE, ROUNDS, indices)
        except MalformedError:
            refused = True
    return Outcome(
        "files that run code",
        2,
        "plain bytes of a size known beforehand",
        ran_without,
        bool(_RAN) or not refused,
        "refused before it is read",
    )


# What no proof can tell


def relay_the_job() -> Outcome:
    """Let an equal GPU elsewhere do the work, and show it as one's own. This works. It takes all of
    that GPU while the job lasts, so it costs what owning one costs."""
    rented = Prover(make_job(provider="mallory"))
    accepted = judge_prover(rented, trial(0)) is None
    window_us = MAINNET.window_ms * 1000
    rate = 14 * 10**14
    own = rate * MAINNET.window_ms // 1000
    both = [compute_throughput(own // 2, window_us, window_us) for _ in range(2)]
    return Outcome(
        "relay to a rented GPU",
        7,
        "none: where work was done cannot be seen without attestation",
        accepted,
        accepted and sum(both) <= rate,
        f"passes; the GPU's own identity falls to {both[0] / rate:.0%} at the same time",
        Claim.PRICED,
    )


def state_a_shape() -> Outcome:
    """Ask the checker to allocate: numbers beyond every bound in a commitment."""
    honest = encode_work(DeviceWork(0, SHAPE, 0, Prover(make_job()).commitment))
    accepted = 0
    for position in (4, 8, 12):
        for value in (0, 1 << 31, (1 << 32) - 1):
            part = honest[:position] + value.to_bytes(4, "little") + honest[position + 4 :]
            try:
                (work,) = decode_works([part], SHAPE.k, SHAPE.n)
            except MalformedError:
                continue
            accepted += work.shape.m > 1 << 20 or work.kept > work.commitment.rounds
    largest = Shape(1 << 20, SHAPE.k, SHAPE.n)
    return Outcome(
        "numbers beyond all bounds",
        2,
        "bounds on m, rounds and kept rounds before anything is allocated",
        4 * ((1 << 32) - 1) * SHAPE.n > largest.m * largest.row_bytes,
        accepted > 0,
        f"{accepted} of 9 accepted",
    )


ATTACKS = (
    rename_a_device,
    pass_as_another_class,
    enumerate_devices,
    hide_idle_devices,
    register_a_million,
    extract_a_secret,
    run_code_on_the_checker,
    relay_the_job,
    state_a_shape,
)
