"""Penalties, judged again: whether each was due, and what it came to.

Nobody has to bring evidence, so a penalty that was not asked for is no difference; one that was not
due is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from chain.abi import get_interface
from chain.audit.bundles import SettledShard
from chain.audit.calldata import expand_signature, find_calls
from chain.audit.chronicle import Chronicle
from chain.audit.findings import Checks, Place, differ
from chain.audit.tenancies import Tenancy, position_of
from chain.events import Equivocated, FraudPunished, Slashed, Transferred, WrongRecorded
from chain.records import Log, SlotKind
from protocols.bans import Standing, compute_ban, find_return, record_wrong
from protocols.errors import ForgedError
from protocols.params import LANES, Preset
from protocols.reports import compute_statement_digest
from protocols.signing import recover_wallet
from protocols.types import Digest, Epoch, Shard, Wallet

CONTRACT: Final = "Penalties"
BPS: Final = 10_000

FRAUD_SLASH_BPS: Final = 2
BOUNTY_BPS: Final = 3
"""Numbers of the Steward's parameters."""

Penalty: TypeAlias = Equivocated | FraudPunished | WrongRecorded


@dataclass(frozen=True, slots=True)
class PenaltyFacts:
    """One penalty: its transaction's calldata and transfers, and the epoch in which it came."""

    event: Penalty
    log: Log
    data: bytes
    transfers: Sequence[Transferred]
    current: Epoch


@dataclass(frozen=True, slots=True)
class PenaltyRules:
    """The numbers of a deployment that decide penalties, and its addresses that money moves by."""

    domain: Digest
    preset: Preset
    penalties: Wallet
    rewards: Wallet


def judge_penalty(
    facts: PenaltyFacts,
    shards: Mapping[Shard, SettledShard],
    chronicle: Chronicle,
    rules: PenaltyRules,
    checks: Checks,
) -> None:
    """Raise DifferenceError unless the penalty was due and came to what it says."""
    match facts.event:
        case Equivocated():
            _judge_equivocation(facts, facts.event, chronicle, rules, checks)
        case FraudPunished():
            _judge_fraud(facts, facts.event, shards, chronicle, rules, checks)
        case WrongRecorded():
            _judge_wrong(facts, facts.event, shards, chronicle, rules, checks)


def _judge_equivocation(
    facts: PenaltyFacts,
    event: Equivocated,
    chronicle: Chronicle,
    rules: PenaltyRules,
    checks: Checks,
) -> None:
    place = Place(event.epoch, event.shard, index=event.index)
    slash, before = _slash_of(facts, SlotKind.CHECKER, event.index, place, chronicle, checks)
    checks.holds(
        CONTRACT,
        "Equivocated.tenant",
        place,
        before.since <= event.epoch,
        f"a tenant since {before.since}",
        "one since the epoch or before",
    )
    digests = _signed_digests(facts.data, event, before.wallet, rules.domain)
    checks.holds(
        CONTRACT,
        "Equivocated.evidence",
        place,
        len(digests) == 2,
        f"{len(digests)} reports of the checker's wallet in the calldata",
        "two that differ",
    )
    checks.equal("Registry", "Slashed.amount", place, slash.amount, before.stake)
    active, leaving = chronicle.delegated_slash(facts.log, event.index)
    checks.equal("Delegation", "DelegationSlashed.active", place, active, before.delegated)
    slashed = before.stake + active + leaving
    checks.equal(CONTRACT, "Equivocated.slashed", place, event.slashed, slashed)
    _judge_bounty(facts, event, place, chronicle, rules, checks)


def _judge_fraud(
    facts: PenaltyFacts,
    event: FraudPunished,
    shards: Mapping[Shard, SettledShard],
    chronicle: Chronicle,
    rules: PenaltyRules,
    checks: Checks,
) -> None:
    shard, lane = Shard(event.index // LANES), event.index % LANES
    place = Place(event.epoch, shard, lane=lane)
    settled = shards.get(shard)
    if settled is None or not settled.fraud >> lane & 1:
        differ(CONTRACT, "FraudPunished", place, "a penalty", "none: no majority marked the lane")
    checks.equal(CONTRACT, "FraudPunished.count", place, chronicle.times_punished(event), 1)
    slash, before = _slash_of(facts, SlotKind.PROVIDER, event.index, place, chronicle, checks)
    checks.holds(
        CONTRACT,
        "FraudPunished.tenant",
        place,
        before.is_active(event.epoch),
        "a tenant that was not active",
        "the one of the epoch",
    )
    part = chronicle.setting(FRAUD_SLASH_BPS, position_of(facts.log))
    checks.equal("Registry", "Slashed.amount", place, slash.amount, before.stake * part // BPS)
    checks.equal(CONTRACT, "FraudPunished.slashed", place, event.slashed, slash.amount)
    _judge_bounty(facts, event, place, chronicle, rules, checks)


def _judge_wrong(
    facts: PenaltyFacts,
    event: WrongRecorded,
    shards: Mapping[Shard, SettledShard],
    chronicle: Chronicle,
    rules: PenaltyRules,
    checks: Checks,
) -> None:
    place = Place(event.epoch, event.shard, seat=event.seat)
    settled = shards.get(event.shard)
    seats = {each.seat: each for each in settled.seats} if settled else {}
    seat = seats.get(event.seat)
    if settled is None or seat is None or 2 * seat.deviations <= settled.lanes:
        differ(CONTRACT, "WrongRecorded", place, "a wrong report", "a right one, or none")
    checks.equal(CONTRACT, "WrongRecorded.index", place, event.index, seat.checker)
    history = chronicle.wrong_reports(facts.log)
    checks.equal(CONTRACT, "WrongRecorded.total", place, event.total, len(history.epochs))
    standing = Standing()
    for epoch in history.epochs:
        if standing.latest and epoch <= standing.latest[0]:
            differ(CONTRACT, "WrongRecorded.epoch", place, f"{epoch}", "a later one than before")
        standing = record_wrong(standing, epoch)
    until = Epoch(0)
    ban = compute_ban(standing, rules.preset)
    if ban:
        until = max(history.barred_before, find_return(facts.current, ban))
    checks.equal(CONTRACT, "WrongRecorded.banned_until", place, event.banned_until, until)


def _slash_of(
    facts: PenaltyFacts,
    kind: SlotKind,
    index: int,
    place: Place,
    chronicle: Chronicle,
    checks: Checks,
) -> tuple[Slashed, Tenancy]:
    """Return the slash that a penalty made, and the tenancy before it."""
    found = chronicle.slash_before(facts.log, kind, index)
    if found is None:
        differ("Registry", "Slashed", place, "no slash", "one by the same transaction")
    event, log = found
    before = chronicle.tenancies.at(kind, index, position_of(log))
    if before is None:
        differ("Registry", "Slashed", place, "a slash", "none, as nobody had the slot")
    checks.equal("Registry", "Slashed.left", place, event.left, before.stake - event.amount)
    return event, before


def _signed_digests(data: bytes, event: Equivocated, wallet: Wallet, domain: Digest) -> set[Digest]:
    """Return the digests of reports in the evidence that the wallet signed."""
    digests: set[Digest] = set()
    named = (event.index, event.epoch, event.shard)
    for call in find_calls(get_interface(CONTRACT).functions["prove_equivocation"], data):
        index, epoch, shard, *statements = call
        if (index, epoch, shard) == named:
            digests |= {
                digest
                for statement in statements
                if (digest := _signed_digest(statement, event, wallet, domain)) is not None
            }
    return digests


def _signed_digest(
    statement: Sequence[Any], event: Equivocated, wallet: Wallet, domain: Digest
) -> Digest | None:
    online, fraud, scores, evidence, r, vs = statement
    digest = compute_statement_digest(
        domain,
        event.epoch,
        event.shard,
        online=online,
        fraud=fraud,
        scores=Digest(scores),
        evidence=Digest(evidence),
    )
    try:
        signer = recover_wallet(digest, expand_signature(r, vs))
    except ForgedError:
        return None
    return digest if signer == wallet else None


def _judge_bounty(
    facts: PenaltyFacts,
    event: Equivocated | FraudPunished,
    place: Place,
    chronicle: Chronicle,
    rules: PenaltyRules,
    checks: Checks,
) -> None:
    """Look at where the slashed stake went; what was in Penalties by mistake goes along."""
    sent = [each for each in facts.transfers if each.sender == rules.penalties]
    amount = sum(each.amount for each in sent)
    bounty = sum(each.amount for each in sent if each.receiver == event.reporter)
    to_fund = sum(each.amount for each in sent if each.receiver == rules.rewards)
    part = chronicle.setting(BOUNTY_BPS, position_of(facts.log))
    name = type(event).__name__
    checks.equal(CONTRACT, f"{name}.bounty", place, event.bounty, amount * part // BPS)
    checks.equal("Token", "bounty", place, bounty, event.bounty)
    checks.equal("Token", "slashed stake into the fund", place, to_fund, amount - event.bounty)
    checks.holds(
        "Token",
        "slashed stake",
        place,
        amount >= event.slashed,
        f"{amount} sent on",
        f"at least {event.slashed}",
    )
