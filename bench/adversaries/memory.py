"""Attacks on the memory proof: memory that is streamed, packed, summed up, not read or not there.

Bits are judged by the real verifier. Speeds are those of a card by its data sheet on a clock of
operations and bytes, so that an attack ends the same on every machine.
"""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from bench.adversaries.outcome import Claim, Outcome
from bench.adversaries.products import sketch
from bench.adversaries.world import (
    SHAPE,
    Holder,
    Prover,
    Rows,
    count_caught,
    expand_b,
    judge_holder,
    make_job,
    name,
    trial,
)
from protocols.expand import expand_rows
from protocols.memory import LEAF_TAG, MemoryJob, PassIndex, digest_pass_rows
from protocols.merkle import DIGEST_BYTES, build_tree
from protocols.mix import hash_states, mix_rows
from protocols.params import MAINNET, MEMORY_OPENINGS
from protocols.scoring import (
    PASS_LIMIT_US,
    REGENERATION_MARGIN,
    SECOND_US,
    compute_memory_credit,
    compute_score,
    compute_word_bits,
    gpu_term,
    memory_term,
)

KEPT = 4
TRIALS = 200
WINDOW_US = MAINNET.pass_window_ms * 1000
DEADLINE_US = WINDOW_US + MAINNET.pass_slack_ms * 1000
WORD_BITS = compute_word_bits(MAINNET.k)
GB = 10**9


@dataclass(frozen=True, slots=True)
class Card:
    """Operations per second, bytes read per second, bytes of memory."""

    rate: int
    read: int
    memory: int

    @property
    def words_made(self) -> int:
        """Words of C that it can make again per second, if it is as much faster than measured as
        the rule reckons with."""
        over, under = REGENERATION_MARGIN
        return self.rate * over // (under * 2 * MAINNET.k)


H100 = Card(rate=14 * 10**14, read=2_300 * GB, memory=72 * GB)


def credit(words: int, passes: int, rate: int, time_us: int = WINDOW_US) -> int:
    """What the real rule credits on mainnet."""
    return compute_memory_credit(
        words=words,
        k=MAINNET.k,
        passes=passes,
        rate=rate,
        elapsed_us=time_us,
        window_us=WINDOW_US,
    )


def score(rate: int, credited: int) -> int:
    """What gpu and memory come to."""
    terms = {"gpu": gpu_term(rate, MAINNET.reference_rate), "memory": memory_term(credited)}
    return compute_score(uptime=1000, validity=1000, stake=0, terms=terms, preset=MAINNET)


# Memory that is not there


class StreamingHolder(Holder):
    """Keeps nothing: makes every row again from seeds when a pass comes to it."""

    def read(self, number: int) -> bytes:
        job, shape = self.prover.job, self.job.shape
        start = self.job.derive_start(number, self.roots)
        leaves = []
        for position in range(self.job.kept):
            t = self.job.work.rounds - self.job.kept + position
            a = expand_rows(job.derive_a_seed(t, self.prover.roots), shape.k, 0, shape.m)
            rows = (a.astype(np.float64) @ expand_b(job.b_seed, shape.k, shape.n)).astype(np.int32)
            leaves.append(digest_pass_rows(rows, start, number, position * shape.m))
        return b"".join(leaves)


def stream_the_memory() -> Outcome:
    """Make again what does not fit. The bits are right, so only time can tell: expanded random
    bytes come as fast as memory is read; a word of C takes 2·k operations."""
    passes_bits = judge_holder(StreamingHolder(Prover(make_job()), KEPT), trial(0)) is None
    held = H100.memory * 8 // WORD_BITS
    best = 0
    for passes in range(1, 200):
        added = H100.words_made * WINDOW_US // SECOND_US // passes
        if (held + added) * WORD_BITS // 8 * passes <= H100.read * WINDOW_US // SECOND_US:
            best = max(best, credit(held + added, passes, H100.rate))
    # Expanded at half the speed of memory, in one pass of the window.
    expanded = H100.read * WINDOW_US // SECOND_US // 2
    return Outcome(
        "VRAM streaming: rows made again from seeds",
        5,
        "a fill that costs 2·k operations a word, and credit less what can be made",
        passes_bits and expanded > H100.memory,
        best > H100.memory,
        f"credited {best / GB:.1f} GB of {H100.memory / GB:.0f} held; expanded bytes would be "
        f"credited {expanded / GB:,.0f}",
    )


def claim_what_is_not_kept() -> Outcome:
    """State twice the rounds that are kept, and invent the leaves of the others."""
    holder = ForgetfulHolder(Prover(make_job()), KEPT)
    judgements = [judge_holder(holder, trial(number)) for number in range(TRIALS)]
    caught = count_caught(judgements)
    return Outcome(
        "self-reported VRAM",
        2,
        "openings of passes over all that is claimed",
        holder.job.kept_bytes > holder.held_bytes,
        caught < 1,
        f"claims twice, caught {caught:.1%} of {TRIALS}: {judgements[0]}",
    )


class ForgetfulHolder(Holder):
    """Holds the last half of what it says; the rest of each pass is noise."""

    @property
    def held_bytes(self) -> int:
        """What it really holds."""
        return self.job.kept_bytes // 2

    def read(self, number: int) -> bytes:
        leaves = super().read(number)
        half = len(leaves) // 2
        return np.random.default_rng(number).bytes(half) + leaves[half:]


def skip_a_little_of_each_pass() -> Outcome:
    """Read all but a twentieth in each pass."""
    share = 0.05
    holder = LazyHolder(Prover(make_job()), KEPT)
    caught = count_caught([judge_holder(holder, trial(number)) for number in range(TRIALS)])
    return Outcome(
        "passes that skip a twentieth",
        None,
        f"{MEMORY_OPENINGS} openings, and nothing for a refuted job",
        1 / (1 - share) > 1,
        (1 - caught) / (1 - share) > 1,
        f"caught {caught:.1%} (expected {1 - (1 - share) ** MEMORY_OPENINGS:.1%}) of {TRIALS}",
    )


class LazyHolder(Holder):
    """Leaves every twentieth row out, another one in each pass."""

    def read(self, number: int) -> bytes:
        leaves = bytearray(super().read(number))
        for row in range(number % 20, len(leaves) // DIGEST_BYTES, 20):
            noise = name(f"noise {number} {row}")
            leaves[row * DIGEST_BYTES : (row + 1) * DIGEST_BYTES] = noise
        return bytes(leaves)


# Less than the rows


def pack(rows: Rows) -> bytes:
    """Three bytes a word: C never uses the fourth."""
    data = np.ascontiguousarray(rows, "<i4").view(np.uint8).reshape(-1, 4)
    return data[:, :3].tobytes()


def unpack(data: bytes, n: int) -> Rows:
    """Inverse of `pack`."""
    words = np.zeros((len(data) // 3, 4), np.uint8)
    words[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
    return (words.view("<i4") >> 8).reshape(-1, n).astype(np.int32)


class PackingHolder(Holder):
    """Holds its rows in three quarters of their bytes."""

    def __init__(self, prover: Prover, kept: int) -> None:
        self.packed = pack(np.concatenate(prover.rows[-kept:]))
        super().__init__(prover, kept)

    def read(self, number: int) -> bytes:
        rows = unpack(self.packed, self.job.shape.n)
        return digest_pass_rows(rows, self.job.derive_start(number, self.roots), number, 0)


def pack_the_words() -> Outcome:
    """Keep the bits that a sum of random products really has: 21.5 of 32 at k = 16,384."""
    holder = PackingHolder(Prover(make_job()), KEPT)
    accepted = judge_holder(holder, trial(0)) is None
    words, held = holder.job.kept_bytes // 4, len(holder.packed)
    credited = compute_memory_credit(
        words=words, k=SHAPE.k, passes=4, rate=0, elapsed_us=1, window_us=1
    )
    return Outcome(
        "packed rows",
        None,
        "credit for a word's entropy instead of its 32 bits",
        accepted and holder.job.kept_bytes > held,
        not accepted or credited > held,
        f"accepted with {held / holder.job.kept_bytes:.0%} of the bytes, "
        f"credited {credited / held:.0%} of those",
    )


class DigestHolder(Holder):
    """Keeps end states in place of rows: 256 bytes instead of 4·n."""

    fixed = np.arange(32, dtype=np.uint64)

    def __init__(self, prover: Prover, kept: int) -> None:
        self.states = mix_rows(np.concatenate(prover.rows[-kept:]), self.fixed)
        super().__init__(prover, kept)

    def read(self, number: int) -> bytes:
        names = [(number, row) for row in range(self.job.rows)]
        return b"".join(hash_states(LEAF_TAG, self.states, names, self.job.shape.row_bytes))


def keep_digests() -> Outcome:
    """Keep what a pass asks of a row, and drop the row: with start states known beforehand."""

    def derive(_job: MemoryJob, _number: int, _roots: Sequence[bytes]) -> NDArray[np.uint64]:
        return DigestHolder.fixed

    with patch.object(MemoryJob, "derive_start", derive):
        without = judge_holder(DigestHolder(Prover(make_job()), KEPT), trial(0)) is None
    refusal = judge_holder(DigestHolder(Prover(make_job()), KEPT), trial(0))
    return Outcome(
        "digests kept in place of rows",
        5,
        "start states from a nonce that comes after the commitment",
        without,
        refusal is None,
        f"256 bytes a row instead of {4 * MAINNET.n:,}, refused: {refusal}",
    )


class SummaryHolder(Holder):
    """Keeps row · weights, from which any linear digest follows, whatever it starts from."""

    def __init__(self, prover: Prover, kept: int) -> None:
        self.sums = sketch(np.concatenate(prover.rows[-kept:]))
        super().__init__(prover, kept)

    def read(self, number: int) -> bytes:
        states = self.sums + self.job.derive_start(number, self.roots)
        names = [(number, row) for row in range(self.job.rows)]
        return b"".join(hash_states(LEAF_TAG, states, names, self.job.shape.row_bytes))


def keep_sums() -> Outcome:
    """Where the digest of a pass is linear, keep a sum of each row."""

    def mix_linearly(rows: Rows, start: NDArray[np.uint64]) -> NDArray[np.uint64]:
        return sketch(rows) + start

    with patch("protocols.memory.mix_rows", mix_linearly):
        without = judge_holder(SummaryHolder(Prover(make_job()), KEPT), trial(0)) is None
    refusal = judge_holder(SummaryHolder(Prover(make_job()), KEPT), trial(0))
    return Outcome(
        "sums kept in place of rows",
        5,
        "a mix that is not linear",
        without,
        refusal is None,
        f"256 bytes a row instead of {4 * MAINNET.n:,}, refused: {refusal}",
    )


class SweepingHolder(Holder):
    """Reads every row once, and makes the leaves of all passes from that one reading."""

    def read(self, number: int) -> bytes:
        rows = np.concatenate(self.prover.rows[-self.job.kept :])
        invented = [name(f"pass root {each}") for each in range(number)]
        return digest_pass_rows(rows, self.job.derive_start(number, invented), number, 0)


def make_all_passes_at_once() -> Outcome:
    """Make a row again once for all passes instead of once for each."""

    def derive(job: MemoryJob, number: int, _roots: Sequence[bytes]) -> bytes:
        return hashlib.sha256(job.nonce + struct.pack("<I", number)).digest()

    with patch.object(MemoryJob, "derive_seed", derive):
        without = judge_holder(SweepingHolder(Prover(make_job()), KEPT), trial(0)) is None
    refusal = judge_holder(SweepingHolder(Prover(make_job()), KEPT), trial(0))
    return Outcome(
        "all passes in one sweep",
        5,
        "start states from the root of the pass before",
        without,
        refusal is None,
        f"1/P of the work, refused: {refusal}",
    )


class LateHolder(Holder):
    """Commits to noise, and makes the passes that are opened."""

    def read(self, number: int) -> bytes:
        return np.random.default_rng(number).bytes(DIGEST_BYTES * self.job.rows)

    def open(self, indices: Sequence[PassIndex]) -> bytes:
        for number in {index.number for index in indices}:
            self.trees[number] = build_tree(Holder.read(self, number))
        return super().open(indices)


def pass_on_demand() -> Outcome:
    """Make passes only once they are asked for."""
    holder = LateHolder(Prover(make_job()), KEPT)
    with patch(
        "protocols.memory.compute_root_from_path",
        lambda _leaf, row, _rows, _path: _Whatever(),
    ):
        without = judge_holder(holder, trial(0)) is None
    refusal = judge_holder(LateHolder(Prover(make_job()), KEPT), trial(0))
    return Outcome(
        "passes made after the draw",
        None,
        "paths to the committed pass roots",
        without,
        refusal is None,
        f"refused: {refusal}",
    )


class _Whatever:
    """Equal to any root: a verifier that does not compare."""

    def __eq__(self, _other: object) -> bool:
        return True

    def __ne__(self, _other: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]


# Claims about the rate, and help from outside


def show_a_smaller_rate() -> Outcome:
    """Show half of the rate, so that less is taken off for what could be made again."""
    held = H100.memory * 8 // WORD_BITS
    honest = score(H100.rate, H100.memory)
    best, naive = 0, 0
    for tenths in range(1, 11):
        shown = H100.rate * tenths // 10
        for passes in range(1, 100):
            words = held + H100.words_made * DEADLINE_US // SECOND_US // passes
            best = max(best, score(shown, credit(words, passes, shown, DEADLINE_US)))
            naive = max(naive, score(H100.rate, words * WORD_BITS // 8))
    return Outcome(
        "sandbagging: a smaller rate for more memory",
        5,
        "what could have been made again is taken off, by the rate that is paid",
        naive > honest,
        best > honest,
        f"at best {best} points, with nothing claimed {honest}; without {naive}",
    )


def bring_words_over_pcie() -> Outcome:
    """Keep a part in the host's memory and fetch it in every pass, while the GPU makes more again.
    To the verifier this is memory, and it is: but a quarter of a second of the bus at most."""
    bus = 64 * GB
    held = H100.memory * 8 // WORD_BITS
    best = unlimited = 0
    for passes in range(1, 100):
        seconds = DEADLINE_US / SECOND_US / passes
        words = held + int((H100.words_made + bus * 8 // WORD_BITS) * seconds)
        best = max(best, credit(words, passes, H100.rate, DEADLINE_US))
        again = H100.words_made * DEADLINE_US // (passes * SECOND_US)
        unlimited = max(unlimited, (words - again) * WORD_BITS // 8)
    added = best - H100.memory
    return Outcome(
        "host memory over PCIe shown as VRAM",
        5,
        "a pass beyond a quarter of a second counts in part",
        unlimited > H100.memory,
        0 < added <= bus * PASS_LIMIT_US // SECOND_US,
        f"{added / GB:.1f} GB more than the card's {H100.memory / GB:.0f} at most; "
        f"without the limit {(unlimited - H100.memory) / GB:.0f}",
        Claim.BOUNDED,
    )


ATTACKS = (
    stream_the_memory,
    claim_what_is_not_kept,
    skip_a_little_of_each_pass,
    pack_the_words,
    keep_digests,
    keep_sums,
    make_all_passes_at_once,
    pass_on_demand,
    show_a_smaller_rate,
    bring_words_over_pcie,
)
