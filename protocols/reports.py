"""Reports, what a quorum of them agrees on, and the bundle that takes it to the chain.

`agree` is the same arithmetic that Consensus.vy does on packed words; the contract checks it and
never trusts it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from protocols.errors import LocalError
from protocols.hashing import keccak256
from protocols.lanes import encode_words, pack_words
from protocols.params import LANES
from protocols.types import Digest, Epoch, Seat, Shard, Wallet

_DOMAIN_TYPE = keccak256(
    b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
_REPORT_TYPE = keccak256(
    b"Report(uint32 epoch,uint32 shard,uint256 online,uint256 fraud,"
    b"bytes32 scores,bytes32 evidence)"
)
_NAME = keccak256(b"Kaisar")
_VERSION = keccak256(b"1")


@dataclass(frozen=True, slots=True)
class Report:
    """One checker's judgement of one shard in one epoch.

    `scores` has 256 lanes of 0 … 32767; `online` and `fraud` are bitmaps of lanes; `evidence` is
    the Merkle root over the transcripts behind it (32 zero bytes when there is none).
    """

    epoch: Epoch
    shard: Shard
    scores: tuple[int, ...]
    online: int
    fraud: int
    evidence: Digest


@dataclass(frozen=True, slots=True)
class SignedReport:
    """A report with the seat it was made for and the 65-byte signature of that seat's wallet."""

    seat: Seat
    report: Report
    signature: bytes


@dataclass(frozen=True, slots=True)
class Agreement:
    """What the reports of one bundle add up to, lane by lane.

    `medians` are the raw low medians; `scores` those with lanes of a fraud majority zeroed;
    `deviations` counts per report, in the order given.
    """

    medians: tuple[int, ...]
    scores: tuple[int, ...]
    online: int
    fraud: int
    deviations: tuple[int, ...]


def compute_domain_separator(chain_id: int, consensus: Wallet) -> Digest:
    """Hash the EIP-712 domain of a deployment."""
    return keccak256(
        _DOMAIN_TYPE, _NAME, _VERSION, chain_id.to_bytes(32, "big"), bytes(12) + consensus
    )


def compute_report_digest(domain: Digest, report: Report) -> Digest:
    """Hash what the checker's wallet signs (EIP-712)."""
    return compute_statement_digest(
        domain,
        report.epoch,
        report.shard,
        online=report.online,
        fraud=report.fraud,
        scores=keccak256(encode_words(pack_words(report.scores))),
        evidence=report.evidence,
    )


def compute_statement_digest(
    domain: Digest,
    epoch: Epoch,
    shard: Shard,
    *,
    online: int,
    fraud: int,
    scores: Digest,
    evidence: Digest,
) -> Digest:
    """Hash a report of which only the hash of the score words is known, as Penalties.vy does."""
    struct = keccak256(
        _REPORT_TYPE,
        epoch.to_bytes(32, "big"),
        shard.to_bytes(32, "big"),
        online.to_bytes(32, "big"),
        fraud.to_bytes(32, "big"),
        scores,
        evidence,
    )
    return keccak256(b"\x19\x01", domain, struct)


def low_median(values: Sequence[int]) -> int:
    """Return the middle value, the lower of the two for an even count."""
    if not values:
        raise LocalError("no values, no median")
    return sorted(values)[(len(values) - 1) // 2]


def is_deviating(score: int, median: int, tolerance_shift: int) -> bool:
    """Tell whether half of `score` is further than ⌊median / 2^(1 + shift)⌋ from half of `median`.

    That is "off by more than median / 2^shift", in halves rounded down, as the contract does it:
    halving keeps the sums below 2^15, which its packed comparison needs. The rounding is worth
    less than three points, so it matters for scores of a few points only.
    """
    half, middle = score >> 1, median >> 1
    slack = median >> (1 + tolerance_shift)
    return half > middle + slack or half + slack < middle


def agree(reports: Sequence[Report], tolerance_shift: int) -> Agreement:
    """Form the consensus of reports on one epoch and shard.

    LocalError when there is none, or when they are not all on the same.
    """
    if len({(report.epoch, report.shard) for report in reports}) != 1:
        raise LocalError("reports: expected one or more, of one epoch and shard")
    columns = zip(*(report.scores for report in reports), strict=True)
    medians = tuple(low_median(column) for column in columns)
    fraud = _majority([report.fraud for report in reports])
    return Agreement(
        medians=medians,
        scores=tuple(0 if fraud >> lane & 1 else score for lane, score in enumerate(medians)),
        online=_majority([report.online for report in reports]),
        fraud=fraud,
        deviations=tuple(
            sum(
                is_deviating(score, median, tolerance_shift)
                for score, median in zip(report.scores, medians, strict=True)
            )
            for report in reports
        ),
    )


def is_wrong(deviations: int, lanes: int) -> bool:
    """Tell whether a report is wrong as a whole: more than half of the shard's lanes deviate."""
    return 2 * deviations > lanes


def compute_weight(deviations: int, lanes: int) -> int:
    """Weigh a report: agreeing lanes, or nothing when more than half of them deviate.

    `lanes` is the number of provider slots in the shard. Kaisar pays work · stake · (1 − error
    rate) and rewards those who match the majority: beyond one half there is no match to reward.
    """
    return 0 if is_wrong(deviations, lanes) else lanes - deviations


def _majority(bitmaps: Sequence[int]) -> int:
    return sum(
        1 << lane
        for lane in range(LANES)
        if 2 * sum(bitmap >> lane & 1 for bitmap in bitmaps) > len(bitmaps)
    )
