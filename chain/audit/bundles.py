"""One bundle, judged again from what was submitted.

Does in plain Python, lane by lane, what Consensus.vy does on packed words: who holds the seats,
whether each signed its report, medians, majorities, deviations, units. Then it looks whether the
event and the contract's storage say the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from chain.audit.calldata import Submission, SubmittedReport
from chain.audit.findings import Checks, Difference, DifferenceError, Place
from chain.audit.tenancies import Position, Tenancies
from chain.events import BundleAccepted
from chain.records import BundleRecord, SeatResult, SlotKind
from protocols.committee import compute_committee
from protocols.errors import ForgedError
from protocols.params import LANES, MAX_SCORE
from protocols.reports import (
    Report,
    agree,
    compute_report_digest,
    compute_weight,
)
from protocols.signing import recover_wallet
from protocols.types import Digest, Epoch, Seat, Shard, Wallet

CONTRACT = "Consensus"


@dataclass(frozen=True, slots=True)
class Rules:
    """The numbers of a deployment that decide a bundle; `domain` is the reports' EIP-712 domain."""

    domain: Digest
    seats: int
    quorum: int
    tolerance_shift: int
    stake_unit: int


@dataclass(frozen=True, slots=True)
class BundleFacts:
    """What the chain has of one bundle.

    `submission` is None when it is not in the transaction's calldata. `record` and `scores` are
    what the contract stores, None if it has none; they count only if it `was_asked`.
    """

    event: BundleAccepted
    position: Position
    submission: Submission | None
    was_asked: bool
    record: BundleRecord | None
    scores: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class SettledSeat:
    """A report of an accepted bundle, and what it was worth."""

    seat: Seat
    checker: int
    wallet: Wallet
    deviations: int
    weight: int
    units: int


@dataclass(frozen=True, slots=True)
class SettledShard:
    """What an audit found that a bundle came to. `lanes` is the number of its provider slots."""

    epoch: Epoch
    shard: Shard
    lanes: int
    scores: tuple[int, ...]
    online: int
    fraud: int
    seats: tuple[SettledSeat, ...]

    @property
    def total(self) -> int:
        """Sum of the scores that count."""
        return sum(self.scores)

    @property
    def weighted(self) -> int:
        """Sum of weight · units."""
        return sum(each.weight * each.units for each in self.seats)


def judge_bundle(
    facts: BundleFacts, seed: Digest, tenancies: Tenancies, rules: Rules, checks: Checks
) -> SettledShard:
    """Return what the bundle comes to; DifferenceError at the first thing that is otherwise."""
    epoch, shard = facts.event.epoch, facts.event.shard
    place = Place(epoch, shard)
    if facts.submission is None:
        raise DifferenceError(
            Difference(
                CONTRACT,
                "submit",
                place,
                "no such call in the calldata of the transaction that emitted BundleAccepted",
                "the bundle",
            )
        )
    slots = tenancies.slots_before(SlotKind.CHECKER, epoch)
    lanes = min(LANES, tenancies.slots_before(SlotKind.PROVIDER, epoch) - shard * LANES)
    checks.holds(CONTRACT, "shard", place, lanes > 0, f"{lanes} provider slots", "at least one")
    committee = compute_committee(seed, shard, slots, rules.seats)
    reports = facts.submission.reports
    checks.holds(
        CONTRACT,
        "quorum",
        place,
        len(reports) >= rules.quorum,
        f"{len(reports)} reports",
        f"at least {rules.quorum}",
    )
    signers = _judge_signers(facts, committee, tenancies, rules, checks)
    judged = [_to_report(each, epoch, shard) for each in reports]
    agreement = agree(judged, rules.tolerance_shift)
    for lane, (found, median) in enumerate(
        zip(facts.submission.medians, agreement.medians, strict=True)
    ):
        checks.equal(CONTRACT, "median", Place(epoch, shard, lane=lane), found, median)
        checks.holds(
            CONTRACT,
            "unused lane",
            Place(epoch, shard, lane=lane),
            lane < lanes or median == 0,
            f"score {median}",
            "0, as the lane had no provider",
        )
    settled = SettledShard(
        epoch=epoch,
        shard=shard,
        lanes=lanes,
        scores=agreement.scores,
        online=agreement.online,
        fraud=agreement.fraud,
        seats=tuple(
            SettledSeat(
                seat=each.seat,
                checker=committee[each.seat],
                wallet=wallet,
                deviations=deviations,
                weight=compute_weight(deviations, lanes),
                units=units,
            )
            for each, (wallet, units), deviations in sorted(
                zip(reports, signers, agreement.deviations, strict=True),
                key=lambda item: item[0].seat,
            )
        ),
    )
    _compare_event(facts.event, settled, checks)
    _compare_storage(facts, settled, checks)
    return settled


def _judge_signers(
    facts: BundleFacts,
    committee: Sequence[int],
    tenancies: Tenancies,
    rules: Rules,
    checks: Checks,
) -> list[tuple[Wallet, int]]:
    """Return wallet and units of each report's seat, in the order of the reports."""
    epoch, shard = facts.event.epoch, facts.event.shard
    signers: list[tuple[Wallet, int]] = []
    seen: set[int] = set()
    for each in facts.submission.reports if facts.submission else ():
        place = Place(epoch, shard, seat=each.seat)
        checks.holds(
            CONTRACT,
            "seat",
            place,
            each.seat < len(committee) and each.seat not in seen,
            "a seat that does not exist, or twice",
            f"distinct seats below {len(committee)}",
        )
        seen.add(each.seat)
        checks.holds(
            CONTRACT,
            "score",
            place,
            max(each.scores) <= MAX_SCORE,
            f"{max(each.scores)}",
            f"at most {MAX_SCORE}",
        )
        checker = committee[each.seat]
        tenancy = tenancies.at(SlotKind.CHECKER, checker, facts.position)
        if tenancy is None or not tenancy.is_active(epoch):
            raise DifferenceError(
                Difference(CONTRACT, "seat", place, f"checker {checker}, not active", "void")
            )
        digest = compute_report_digest(rules.domain, _to_report(each, epoch, shard))
        checks.equal(CONTRACT, "signer", place, _recover(digest, each.signature), tenancy.wallet)
        signers.append((tenancy.wallet, tenancy.units(SlotKind.CHECKER, rules.stake_unit)))
    return signers


def _compare_event(event: BundleAccepted, settled: SettledShard, checks: Checks) -> None:
    place = Place(settled.epoch, settled.shard)
    _compare_seats("BundleAccepted", event.reports, settled, checks)
    checks.equal(CONTRACT, "BundleAccepted.online", place, event.online, settled.online)
    checks.equal(CONTRACT, "BundleAccepted.fraud", place, event.fraud, settled.fraud)
    checks.equal(CONTRACT, "BundleAccepted.total", place, event.total, settled.total)


def _compare_storage(facts: BundleFacts, settled: SettledShard, checks: Checks) -> None:
    place = Place(settled.epoch, settled.shard)
    if facts.was_asked:
        is_stored = facts.record is not None and facts.scores is not None
        checks.holds(CONTRACT, "has_bundle", place, is_stored, "no bundle", "the bundle")
    if facts.record is not None:
        _compare_seats("bundle", facts.record.reports, settled, checks)
        checks.equal(CONTRACT, "bundle.lanes", place, facts.record.lanes, settled.lanes)
        checks.equal(CONTRACT, "bundle.online", place, facts.record.online, settled.online)
        checks.equal(CONTRACT, "bundle.fraud", place, facts.record.fraud, settled.fraud)
    if facts.scores is not None:
        for lane, (found, score) in enumerate(zip(facts.scores, settled.scores, strict=True)):
            at = Place(settled.epoch, settled.shard, lane=lane)
            checks.equal(CONTRACT, "scores", at, found, score)


def _compare_seats(
    source: str, found: Sequence[SeatResult], settled: SettledShard, checks: Checks
) -> None:
    place = Place(settled.epoch, settled.shard)
    seats = [each.seat for each in settled.seats]
    checks.equal(CONTRACT, f"{source}.reported", place, [each.seat for each in found], seats)
    for result, expected in zip(found, settled.seats, strict=True):
        at = Place(settled.epoch, settled.shard, seat=expected.seat)
        for field in ("checker", "deviations", "units"):
            checks.equal(
                CONTRACT,
                f"{source}.{field}",
                at,
                getattr(result, field),
                getattr(expected, field),
            )


def _to_report(each: SubmittedReport, epoch: Epoch, shard: Shard) -> Report:
    return Report(epoch, shard, each.scores, each.online, each.fraud, each.evidence)


def _recover(digest: Digest, signature: bytes) -> Wallet | None:
    try:
        return recover_wallet(digest, signature)
    except ForgedError:
        return None
