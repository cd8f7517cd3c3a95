"""Reports: their EIP-712 digest beside eth_account's, and agreement beside a naive definition."""

from typing import Any

import pytest
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import LocalError
from protocols.lanes import decode_scores
from protocols.params import LANES, MAX_SCORE, MAX_SEATS
from protocols.reports import (
    Report,
    agree,
    compute_domain_separator,
    compute_report_digest,
    compute_weight,
    is_deviating,
    low_median,
)
from protocols.signing import recover_wallet, sign_digest
from protocols.types import Digest, Epoch, Shard, Wallet
from tests.protocols import wire_reference as ref
from tests.protocols.strategies import score_vectors
from tests.vectors.generate import load

Case = dict[str, Any]

DIGESTS = load("reports/digests.json")
AGREEMENTS = load("reports/agreements.json")

bitmaps = st.integers(0, (1 << LANES) - 1)
scores_of_a_lane = st.integers(0, MAX_SCORE)

named = pytest.mark.parametrize("case", DIGESTS, ids=lambda case: case["name"])


def report_of(case: Case) -> Report:
    """Read a report as the vectors write it."""
    return Report(
        epoch=Epoch(case.get("epoch", 0)),
        shard=Shard(case.get("shard", 0)),
        scores=decode_scores(bytes.fromhex(case["scores"])),
        online=int(case["online"], 16),
        fraud=int(case["fraud"], 16),
        evidence=Digest(bytes.fromhex(case.get("evidence", "00" * 32))),
    )


def make_report(scores: tuple[int, ...], online: int = 0, fraud: int = 0) -> Report:
    """A report of which only the judgement matters."""
    return Report(Epoch(0), Shard(0), scores, online, fraud, Digest(bytes(32)))


@named
def test_digest_vector(case: Case) -> None:
    domain = compute_domain_separator(case["chain_id"], Wallet(bytes.fromhex(case["consensus"])))
    digest = compute_report_digest(domain, report_of(case))
    signature = bytes.fromhex(case["signature"])

    assert domain.hex() == case["domain_separator"]
    assert digest.hex() == case["digest"]
    assert sign_digest(bytes.fromhex(case["private_key"]), digest) == signature
    assert recover_wallet(digest, signature).hex() == case["wallet"]


def test_every_field_and_the_domain_are_in_the_digest() -> None:
    assert len({case["digest"] for case in DIGESTS}) == len(DIGESTS)


@given(
    chain_id=st.integers(0, (1 << 64) - 1),
    consensus=st.binary(min_size=20, max_size=20),
    epoch=st.integers(0, (1 << 32) - 1),
    shard=st.integers(0, (1 << 32) - 1),
    scores=score_vectors(),
    online=bitmaps,
    fraud=bitmaps,
    evidence=st.binary(min_size=32, max_size=32),
)
def test_digest_is_that_of_eth_account(
    chain_id: int,
    consensus: bytes,
    epoch: int,
    shard: int,
    scores: tuple[int, ...],
    online: int,
    fraud: int,
    evidence: bytes,
) -> None:
    fields = {
        "epoch": epoch,
        "shard": shard,
        "scores": scores,
        "online": online,
        "fraud": fraud,
        "evidence": evidence,
    }
    message = ref.typed_report(chain_id, consensus, fields)
    report = Report(Epoch(epoch), Shard(shard), scores, online, fraud, Digest(evidence))
    domain = compute_domain_separator(chain_id, Wallet(consensus))

    assert domain == message.header
    assert compute_report_digest(domain, report) == ref.typed_digest(message)


def test_a_wallet_signature_is_that_of_eth_account() -> None:
    case = DIGESTS[0]
    message = ref.typed_report(
        case["chain_id"],
        bytes.fromhex(case["consensus"]),
        {
            "epoch": case["epoch"],
            "shard": case["shard"],
            "scores": decode_scores(bytes.fromhex(case["scores"])),
            "online": int(case["online"], 16),
            "fraud": int(case["fraud"], 16),
            "evidence": bytes.fromhex(case["evidence"]),
        },
    )

    signed = Account.sign_message(message, bytes.fromhex(case["private_key"]))

    assert signed.signature.hex() == case["signature"]
    assert (
        Account.recover_message(message, signature=signed.signature).lower()
        == "0x" + case["wallet"]
    )


@pytest.mark.parametrize("case", AGREEMENTS, ids=lambda case: case["name"])
def test_agreement_vector(case: Case) -> None:
    agreement = agree([report_of(each) for each in case["reports"]], case["tolerance_shift"])

    expected = case["agreement"]
    assert ref.score_bytes(agreement.medians).hex() == expected["medians"]
    assert ref.score_bytes(agreement.scores).hex() == expected["scores"]
    assert agreement.online == int(expected["online"], 16)
    assert agreement.fraud == int(expected["fraud"], 16)
    assert list(agreement.deviations) == expected["deviations"]


@given(
    rows=st.lists(st.tuples(score_vectors(), bitmaps, bitmaps), min_size=1, max_size=MAX_SEATS),
    shift=st.integers(1, 14),
)
def test_agreement_is_the_naive_one(
    rows: list[tuple[tuple[int, ...], int, int]], shift: int
) -> None:
    agreement = agree([make_report(*row) for row in rows], shift)

    scores, online, fraud = zip(*rows, strict=True)
    expected = ref.agree(scores, online, fraud, shift)
    assert list(agreement.medians) == expected["medians"]
    assert list(agreement.scores) == expected["scores"]
    assert agreement.online == expected["online"]
    assert agreement.fraud == expected["fraud"]
    assert list(agreement.deviations) == expected["deviations"]


@given(st.lists(score_vectors(), min_size=1, max_size=7), st.integers(1, 14), st.randoms())
def test_the_order_of_reports_does_not_matter(
    rows: list[tuple[int, ...]], shift: int, rng: Any
) -> None:
    shuffled = list(rows)
    rng.shuffle(shuffled)

    first = agree([make_report(row) for row in rows], shift)
    second = agree([make_report(row) for row in shuffled], shift)

    assert first.medians == second.medians
    assert sorted(first.deviations) == sorted(second.deviations)


@given(st.lists(scores_of_a_lane, min_size=3, max_size=MAX_SEATS), st.data())
def test_a_minority_cannot_move_the_median_beyond_the_honest(
    values: list[int], data: st.DataObject
) -> None:
    """Fewer than half liars: the median stays within the range of the honest values."""
    liars = data.draw(st.integers(0, (len(values) - 1) // 2))
    honest = values[liars:]
    lies = data.draw(st.lists(scores_of_a_lane, min_size=liars, max_size=liars))

    assert min(honest) <= low_median([*lies, *honest]) <= max(honest)


def test_reports_on_nothing_agree_on_nothing() -> None:
    with pytest.raises(LocalError, match="one or more"):
        agree([], 2)


@pytest.mark.parametrize(("epoch", "shard"), [(1, 0), (0, 1)])
def test_reports_on_different_things_are_not_compared(epoch: int, shard: int) -> None:
    one = make_report((0,) * LANES)
    other = Report(Epoch(epoch), Shard(shard), one.scores, 0, 0, one.evidence)

    with pytest.raises(LocalError, match="of one epoch and shard"):
        agree([one, other], 2)


@pytest.mark.parametrize(
    ("values", "median"),
    [([7], 7), ([1, 9], 1), ([9, 1, 5], 5), ([4, 3, 2, 1], 2), ([0, 0, 9, 9], 0)],
)
def test_low_median(values: list[int], median: int) -> None:
    assert low_median(values) == median


def test_no_values_have_no_median() -> None:
    with pytest.raises(LocalError):
        low_median([])


@pytest.mark.parametrize(
    ("score", "median", "shift", "deviates"),
    [
        (1000, 1000, 2, False),
        (1251, 1000, 2, False),  # 250 above, by halves rounded down
        (1252, 1000, 2, True),
        (750, 1000, 2, False),
        (749, 1000, 2, True),
        (1501, 1000, 1, False),
        (1502, 1000, 1, True),
        (1, 0, 2, False),
        (2, 0, 2, True),
        (2, 1, 1, True),
        (3, 2, 1, False),
        (MAX_SCORE, MAX_SCORE, 14, False),
        (0, MAX_SCORE, 1, True),
        (0, 0, 14, False),
    ],
)
def test_tolerance(score: int, median: int, shift: int, deviates: bool) -> None:
    assert is_deviating(score, median, shift) is deviates


@given(scores_of_a_lane, scores_of_a_lane, st.integers(1, 14))
def test_tolerance_is_the_exact_one_within_three_points(
    score: int, median: int, shift: int
) -> None:
    distance = abs(score - median)

    if is_deviating(score, median, shift):
        assert distance > median / 2**shift - 3
    else:
        assert distance < median / 2**shift + 3


@given(scores_of_a_lane, scores_of_a_lane, st.integers(1, 14))
def test_no_lane_borrows_in_the_packed_comparison(score: int, median: int, shift: int) -> None:
    """The contract adds half a score and the slack in 15 bits of a 16-bit lane."""
    slack = median >> (1 + shift)

    assert (median >> 1) + slack <= MAX_SCORE
    assert (score >> 1) + slack <= MAX_SCORE


@pytest.mark.parametrize(
    ("deviations", "lanes", "weight"),
    [
        (0, 256, 256),
        (1, 256, 255),
        (128, 256, 128),
        (129, 256, 0),
        (256, 256, 0),
        (0, 1, 1),
        (1, 1, 0),
        (1, 3, 2),
        (2, 3, 0),
        (0, 0, 0),
    ],
)
def test_weight(deviations: int, lanes: int, weight: int) -> None:
    assert compute_weight(deviations, lanes) == weight
