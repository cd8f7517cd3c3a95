"""Chains: known answers, every refusal, attacks, and how surely invented segments are found."""

import random
from collections import Counter
from itertools import accumulate
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols import chains as module
from protocols.chains import (
    CHAIN_BYTES,
    CHAIN_OPENINGS,
    FLOOR_DIVISOR,
    MAX_CHAIN_OPENINGS_BYTES,
    MAX_ITERATIONS,
    MAX_SEGMENT_OPENINGS,
    MAX_SEGMENTS,
    MIN_ITERATIONS,
    SEGMENTS_PER_WINDOW,
    Chain,
    ChainCommitment,
    ChainFault,
    ChainJob,
    SegmentIndex,
    compute_chain_credit,
    compute_segment,
    compute_segment_openings_size,
    decode_commitments,
    decode_segment_indices,
    derive_iterations,
    draw_segments,
    encode_commitments,
    encode_segment_indices,
    open_segments,
    verify_segments,
)
from protocols.errors import LocalError, MalformedError
from protocols.merkle import build_tree
from protocols.rejection import ProofRejected
from tests.protocols.chain_vectors import FILES, JOB, VECTORS, Case, draw, load, render
from tests.protocols.compute_reference import sha256

PROOFS = load("chains/proofs.json")
HONEST = next(case for case in PROOFS if case["name"] == "honest")


def by_name(case: Case) -> str:
    return str(case["name"])


def read_job(case: Case) -> ChainJob:
    return ChainJob(
        bytes.fromhex(case["digest"]),
        bytes.fromhex(case["nonce"]),
        bytes.fromhex(case["provider"]),
        case["iterations"],
    )


def sized(*sizes: int) -> list[ChainCommitment]:
    """Chains of these many segments, of which nothing else is known."""
    return [ChainCommitment(size, sha256(b"root") if size else bytes(32)) for size in sizes]


def grow(seed: bytes, segments: int) -> Chain:
    chain = Chain(seed, MIN_ITERATIONS)
    for _ in range(segments):
        chain.extend()
    return chain


# Known answers


@pytest.mark.parametrize("name", FILES)
def test_vectors_are_up_to_date(name: str) -> None:
    assert (VECTORS / name).read_text() == render(name), "python -m tests.protocols.chain_vectors"


@pytest.mark.parametrize("case", load("chains/seeds.json"), ids=by_name)
def test_seed_vectors(case: Case) -> None:
    assert read_job(case["job"]).derive_seed(case["chain"]).hex() == case["seed"]


@pytest.mark.parametrize("case", load("chains/segments.json"), ids=by_name)
def test_segment_vectors(case: Case) -> None:
    seed, peaks = bytes.fromhex(case["seed"]), bytes.fromhex(case["peaks"])
    leaf = compute_segment(seed, case["segment"], peaks, case["iterations"])
    assert leaf.hex() == case["leaf"]


@pytest.mark.parametrize("case", load("chains/chains.json"), ids=by_name)
def test_chain_vectors(case: Case) -> None:
    job = read_job(case["job"])
    chain = Chain(job.derive_seed(case["chain"]), job.iterations)
    for number, leaf in enumerate(case["leaves"], start=1):
        chain.extend()
        assert chain.segments == number
        assert chain.leaves[-32:].hex() == leaf
    assert encode_commitments([chain.commit()]).hex() == case["commitment"]


@pytest.mark.parametrize("case", load("chains/commitments.json"), ids=by_name)
def test_commitment_vectors(case: Case) -> None:
    data = bytes.fromhex(case["data"])
    if case["valid"]:
        assert encode_commitments(decode_commitments(data)) == data
    else:
        with pytest.raises(MalformedError, match="chains"):
            decode_commitments(data)


@pytest.mark.parametrize("case", load("chains/draws.json"), ids=by_name)
def test_draw_vectors(case: Case) -> None:
    randomness = bytes.fromhex(case["randomness"])
    drawn = draw_segments(randomness, sized(*case["segments"]), case["count"])
    assert [list(index) for index in drawn] == case["indices"]


@pytest.mark.parametrize("case", load("chains/requests.json"), ids=by_name)
def test_request_vectors(case: Case) -> None:
    data, chains = bytes.fromhex(case["data"]), sized(*case["segments"])
    if case["valid"]:
        assert encode_segment_indices(decode_segment_indices(data, chains)) == data
    else:
        with pytest.raises(MalformedError, match="segment indices"):
            decode_segment_indices(data, chains)


@pytest.mark.parametrize("case", load("chains/credits.json"), ids=by_name)
def test_credit_vectors(case: Case) -> None:
    elapsed_us, reference_rate = int(case["elapsed_us"]), int(case["reference_rate"])
    chains = sized(*case["segments"])
    credit = compute_chain_credit(chains, case["iterations"], elapsed_us, reference_rate)
    assert str(credit) == case["credit"]


@pytest.mark.parametrize("case", PROOFS, ids=by_name)
def test_proof_vectors(case: Case) -> None:
    job, chains = read_job(case["job"]), decode_commitments(bytes.fromhex(case["chains"]))
    indices = [SegmentIndex(*pair) for pair in case["indices"]]
    data = bytes.fromhex(case["data"])
    if case["result"] == "ok":
        verify_segments(job, chains, indices, data)
        return
    with pytest.raises(ProofRejected) as caught:
        verify_segments(job, chains, indices, data)
    assert caught.value.reason == caught.value.fault == case["result"]
    assert caught.value.index is None


def test_every_fault_has_a_vector() -> None:
    assert {case["result"] for case in PROOFS} == {"ok", *ChainFault}


# Growing, committing, opening


@given(st.integers(1, 70), st.binary(min_size=32, max_size=32))
def test_the_root_of_a_growing_chain_is_that_of_its_tree(segments: int, seed: bytes) -> None:
    chain = grow(seed, segments)
    assert chain.commit() == ChainCommitment(segments, build_tree(bytes(chain.leaves)).root)


def test_a_chain_that_had_no_turn_has_nothing_to_show() -> None:
    assert Chain(bytes(32), MIN_ITERATIONS).commit() == ChainCommitment(0, bytes(32))


def test_a_chain_ends_at_the_most_segments() -> None:
    full = Chain(bytes(32), MIN_ITERATIONS, bytearray(32 * MAX_SEGMENTS))
    with pytest.raises(LocalError, match="more than 65536"):
        full.extend()


@given(st.lists(st.integers(0, 40), min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_what_an_honest_host_opens_is_accepted(sizes: list[int], chance: random.Random) -> None:
    job = ChainJob(chance.randbytes(32), chance.randbytes(32), chance.randbytes(32), 64)
    done = [grow(job.derive_seed(c), size) for c, size in enumerate(sizes)]
    chains = [chain.commit() for chain in done]
    indices = draw_segments(chance.randbytes(32), chains)
    data = open_segments([bytes(chain.leaves) for chain in done], indices)
    assert len(data) == compute_segment_openings_size(chains, indices)
    verify_segments(job, chains, indices, data)


@given(
    st.binary(min_size=32, max_size=32),
    st.lists(st.integers(0, 300), min_size=1, max_size=6),
    st.integers(1, 64),
)
def test_draws_are_distinct_ascending_and_the_references(
    randomness: bytes, sizes: list[int], count: int
) -> None:
    drawn = draw_segments(randomness, sized(*sizes), count)
    assert len(drawn) == min(count, sum(sizes))
    assert list(drawn) == sorted(set(drawn))
    assert [tuple(index) for index in drawn] == draw(randomness, sizes, count)
    assert decode_segment_indices(encode_segment_indices(drawn), sized(*sizes)) == drawn


@given(st.binary(max_size=80))
def test_any_bytes_are_a_commitment_or_refused(data: bytes) -> None:
    try:
        chains = decode_commitments(data)
    except MalformedError:
        return
    assert encode_commitments(chains) == data


@given(st.binary(max_size=40))
def test_any_bytes_are_a_request_or_refused(data: bytes) -> None:
    chains = sized(3, 0, 300)
    try:
        indices = decode_segment_indices(data, chains)
    except MalformedError:
        return
    assert encode_segment_indices(indices) == data


def test_openings_fit_what_a_message_may_hold() -> None:
    most = sized(MAX_SEGMENTS)
    indices = [SegmentIndex(0, i) for i in range(CHAIN_OPENINGS)]
    assert compute_segment_openings_size(most, indices) == MAX_CHAIN_OPENINGS_BYTES
    assert len(encode_commitments(most)) == CHAIN_BYTES


# Our own bugs


@pytest.mark.parametrize(
    "changes",
    [
        {"digest": bytes(31)},
        {"nonce": bytes(33)},
        {"provider": b""},
        {"iterations": MIN_ITERATIONS - 1},
        {"iterations": MAX_ITERATIONS + 1},
    ],
)
def test_a_job_outside_the_limits_is_our_bug(changes: Case) -> None:
    parts = {"digest": bytes(32), "nonce": bytes(32), "provider": bytes(32), "iterations": 64}
    with pytest.raises(LocalError):
        ChainJob(**{**parts, **changes})


@pytest.mark.parametrize(
    ("segments", "root"),
    [(-1, bytes(32)), (MAX_SEGMENTS + 1, bytes(32)), (1, bytes(31)), (0, b"\1" * 32)],
)
def test_a_commitment_outside_the_limits_is_our_bug(segments: int, root: bytes) -> None:
    with pytest.raises(LocalError):
        ChainCommitment(segments, root)


@pytest.mark.parametrize("count", [0, MAX_SEGMENT_OPENINGS + 1])
def test_an_impossible_draw_is_our_bug(count: int) -> None:
    with pytest.raises(LocalError):
        draw_segments(bytes(32), sized(5), count)


@pytest.mark.parametrize("index", [SegmentIndex(-1, 0), SegmentIndex(1, 0), SegmentIndex(0, 5)])
def test_segments_that_are_not_there_are_our_bug(index: SegmentIndex) -> None:
    with pytest.raises(LocalError):
        verify_segments(read_job(HONEST["job"]), sized(5), [index], b"")
    with pytest.raises(LocalError):
        open_segments([bytes(5 * 32)], [index])


def test_time_that_did_not_pass_is_our_bug() -> None:
    with pytest.raises(LocalError, match="not positive"):
        compute_chain_credit(sized(1), 64, 0, 1)


# Length of segments


@pytest.mark.parametrize(("rate", "window_ms"), [(25_000_000, 2000), (25_000_000, 100)])
def test_a_reference_core_fills_the_window(rate: int, window_ms: int) -> None:
    iterations = derive_iterations(rate, window_ms)
    in_window = rate * window_ms // 1000
    assert in_window // iterations == SEGMENTS_PER_WINDOW
    # What the checker computes again, in thousandths of the window.
    assert 1000 * CHAIN_OPENINGS * iterations // in_window <= 32


def test_segments_stay_within_their_limits() -> None:
    assert derive_iterations(1000, 1) == MIN_ITERATIONS
    assert derive_iterations(10**12, 10_000) == MAX_ITERATIONS


# Attacks


@given(st.binary(max_size=2000))
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    job, chains = read_job(HONEST["job"]), decode_commitments(bytes.fromhex(HONEST["chains"]))
    with pytest.raises(ProofRejected):
        verify_segments(job, chains, [SegmentIndex(*pair) for pair in HONEST["indices"]], data)


@given(st.integers(0, len(HONEST["data"]) // 2 - 1), st.integers(1, 255))
def test_any_changed_byte_is_refused(position: int, difference: int) -> None:
    data = bytearray.fromhex(HONEST["data"])
    data[position] ^= difference
    job, chains = read_job(HONEST["job"]), decode_commitments(bytes.fromhex(HONEST["chains"]))
    indices = [SegmentIndex(*pair) for pair in HONEST["indices"]]
    with pytest.raises(ProofRejected, match="chain segment"):
        verify_segments(job, chains, indices, bytes(data))


@given(st.integers(0, len(HONEST["chains"]) // 2 - 1), st.integers(1, 255))
def test_openings_are_worth_nothing_under_another_commitment(pos: int, difference: int) -> None:
    data = bytearray.fromhex(HONEST["chains"])
    data[pos] ^= difference
    job = read_job(HONEST["job"])
    indices = [SegmentIndex(*pair) for pair in HONEST["indices"]]
    try:
        chains = decode_commitments(bytes(data))
        compute_segment_openings_size(chains, indices)
    except (MalformedError, LocalError):
        return
    with pytest.raises(ProofRejected):
        verify_segments(job, chains, indices, bytes.fromhex(HONEST["data"]))


class Host:
    """Commits to these leaves, whatever they are, and opens whatever is asked."""

    def __init__(self, *chains: list[bytes]) -> None:
        self.job = read_job(JOB.encode())
        self.leaves = [b"".join(leaves) for leaves in chains]
        self.chains = [ChainCommitment(len(c), build_tree(b"".join(c)).root) for c in chains]

    def is_caught(self, indices: tuple[SegmentIndex, ...]) -> bool:
        rejected: ProofRejected | None = None
        try:
            verify_segments(self.job, self.chains, indices, open_segments(self.leaves, indices))
        except ProofRejected as rejection:
            rejected = rejection
        assert rejected is None or rejected.fault is ChainFault.SEGMENT
        return rejected is not None

    def find_wrong(self) -> set[SegmentIndex]:
        return {
            index
            for chain, commitment in enumerate(self.chains)
            for index in (SegmentIndex(chain, i) for i in range(commitment.segments))
            if self.is_caught((index,))
        }

    def count_caught(self, draws: int) -> int:
        wrong = self.find_wrong()
        caught = 0
        for number in range(draws):
            randomness = sha256(b"draw", number.to_bytes(4, "little"))
            indices = draw_segments(randomness, self.chains)
            is_caught = self.is_caught(indices)
            assert is_caught == bool(wrong.intersection(indices))
            caught += is_caught
        return caught


def invent(leaves_done: int, invented: set[int], chain: int = 0) -> list[bytes]:
    """A chain that is computed but for some segments, which are invented, and goes on from them."""
    seed = read_job(JOB.encode()).derive_seed(chain)
    made = Chain(seed, JOB.iterations)
    for i in range(leaves_done):
        if i in invented:
            made.append(sha256(b"invented", i.to_bytes(4, "little")))
        else:
            made.extend()
    return [bytes(made.leaves[i : i + 32]) for i in range(0, len(made.leaves), 32)]


def compute_pieces(sizes: list[int], chain: int = 0) -> list[bytes]:
    """Pieces of a chain computed side by side by slow threads: each has its own peaks only."""
    seed = read_job(JOB.encode()).derive_seed(chain)
    leaves: list[bytes] = []
    for start, size in zip([0, *accumulate(sizes)], sizes, strict=False):
        piece = Chain(seed, JOB.iterations)
        for i in range(size):
            peaks = b"".join(piece._peaks)
            piece.append(compute_segment(seed, start + i, peaks, JOB.iterations))
        leaves += [bytes(piece.leaves[i : i + 32]) for i in range(0, 32 * size, 32)]
    return leaves


@pytest.mark.parametrize("pieces", [2, 4, 16])
def test_a_chain_cut_into_pieces_is_true_in_its_first_piece_only(pieces: int) -> None:
    """Were a segment linked to the last one alone, only the pieces' beginnings would be wrong."""
    host = Host(compute_pieces([64 // pieces] * pieces))
    wrong = {index.segment for index in host.find_wrong()}
    assert wrong == set(range(64 // pieces, 64))


def test_a_cut_chain_beside_honest_ones_is_found() -> None:
    """15/16 of one chain in eight is wrong: a draw misses all of it with (1 − 0.117)^32 = 0.0185,
    and without replacement less often: C(452, 32) / C(512, 32) = 0.0154."""
    honest = [invent(64, set(), chain) for chain in range(1, 8)]
    host = Host(compute_pieces([4] * 16), *honest)
    assert len(host.find_wrong()) == 60
    # 400 draws miss 6.2 ± 2.5 times.
    assert 400 - host.count_caught(400) <= 21


@pytest.mark.parametrize(("share", "low", "high"), [(0.02, 0.42, 0.58), (0.1, 0.93, 1.0)])
def test_detection_follows_the_share_that_was_invented(
    share: float, low: float, high: float
) -> None:
    """Near 1 − C(T − g, 32) / C(T, 32), so that these tests do not rest on a verifier that always
    says no; 400 draws have a standard deviation of 0.025 at most."""
    total, invented = 500, round(500 * share)
    chosen = set(random.Random(1337).sample(range(total), invented))
    host = Host(invent(total, chosen))
    assert {index.segment for index in host.find_wrong()} == chosen
    expected = 1 - comb(total - invented, CHAIN_OPENINGS) / comb(total, CHAIN_OPENINGS)
    caught = host.count_caught(400) / 400
    assert low < caught <= high
    assert abs(caught - expected) < 0.1


def test_an_honest_host_is_never_refused() -> None:
    assert Host(invent(40, set()), invent(33, set(), 1)).count_caught(200) == 0


@given(st.integers(1, 2000), st.data())
def test_inventing_segments_never_pays(claimed: int, data: st.DataObject) -> None:
    """Expected credit of a claim, by the exact chance that no draw hits an invention, against
    the credit of what was done."""
    done = data.draw(st.integers(0, claimed))
    draws = min(CHAIN_OPENINGS, claimed)
    assert claimed * comb(done, draws) <= done * comb(claimed, draws)


@given(st.lists(st.integers(0, 4000), min_size=1, max_size=20), st.integers(1, 8))
def test_more_chains_on_the_same_cores_earn_no_more(segments: list[int], split: int) -> None:
    """Each chain's time is shared by `split` chains instead."""
    parts = [part // split for part in segments for _ in range(split)]
    credit = compute_chain_credit(sized(*parts), 1000, 1_000_000, 24_000_000)
    assert credit <= 1000 * sum(segments)
    slowest_core = 24_000_000 // FLOOR_DIVISOR
    assert credit >= 1000 * sum(part for part in parts if 1000 * part >= slowest_core)


def test_all_chains_of_a_job_differ() -> None:
    job = read_job(JOB.encode())
    seeds = Counter(job.derive_seed(chain) for chain in range(512))
    assert set(seeds.values()) == {1}


def test_segments_are_computed_without_copying_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a segment takes in is a view, so that a core does nothing but hash."""
    taken: list[object] = []

    class Recorder:
        def __init__(self, head: bytes) -> None:
            taken.append(head)

        def update(self, data: object) -> None:
            taken.append(data)

        def digest(self) -> bytes:
            return bytes(32)

    monkeypatch.setattr(module.hashlib, "sha256", Recorder)
    compute_segment(bytes(32), 0, b"", 100)
    assert isinstance(taken[1], memoryview)
    assert taken[1].nbytes == 6400
    assert len(taken) == 2
