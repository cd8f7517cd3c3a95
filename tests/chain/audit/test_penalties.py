"""Penalties judged again: due and right, or named."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from chain.abi import get_interface
from chain.audit.bundles import SettledSeat, SettledShard
from chain.audit.chronicle import Chronicle, Entry
from chain.audit.findings import Checks, DifferenceError
from chain.audit.penalties import Penalty, PenaltyFacts, PenaltyRules, judge_penalty
from chain.delegation_events import DelegationSlashed
from chain.events import (
    DelegatedStake,
    Equivocated,
    Event,
    Executed,
    FraudPunished,
    Left,
    Slashed,
    Suspended,
    Transferred,
    WrongRecorded,
)
from chain.records import NO_EXIT, SlotKind
from protocols.hashing import keccak256
from protocols.params import MINIMAL, TOKEN
from protocols.reports import compute_statement_digest
from protocols.signing import sign_digest
from protocols.types import Digest, Epoch, Seat, Shard, Wallet
from tests.chain.audit.scene import (
    DOMAIN,
    EPOCH,
    SHARD,
    key_of,
    log_at,
    registered,
    vector,
    wallet_of,
)

CHECKER, PROVIDER = SlotKind.CHECKER, SlotKind.PROVIDER
PENALTIES, REWARDS = Wallet(b"\xf1" * 20), Wallet(b"\xf2" * 20)
REGISTRY, REPORTER = Wallet(b"\xf3" * 20), Wallet(b"\xf4" * 20)
RULES = PenaltyRules(DOMAIN, MINIMAL, PENALTIES, REWARDS)
STAKE = 100 * TOKEN
LANE = 2

SETTLED = SettledShard(
    epoch=EPOCH,
    shard=SHARD,
    lanes=3,
    scores=vector(100, 200),
    online=0b111,
    fraud=1 << LANE,
    seats=(
        SettledSeat(Seat(0), 1, wallet_of(CHECKER, 1), deviations=0, weight=3, units=100),
        SettledSeat(Seat(1), 0, wallet_of(CHECKER, 0), deviations=2, weight=0, units=100),
    ),
)

BEFORE: tuple[Event, ...] = (
    Executed(2, 3_333),
    Executed(3, 1_000),
    registered(CHECKER, 0, stake=STAKE),
    registered(CHECKER, 1, stake=STAKE),
    *(registered(PROVIDER, index, stake=STAKE) for index in range(3)),
    DelegatedStake(0, 40 * TOKEN),
)


def chronicle_of(*steps: tuple[Event, ...]) -> Chronicle:
    """History: each event of BEFORE in a block of its own, then each step as one transaction."""
    entries: list[Entry] = [(event, log_at(n)) for n, event in enumerate(BEFORE, start=1)]
    for block, step in enumerate(steps, start=100):
        entries += [
            (event, log_at(block, 2 * place, bytes([block]) * 32))
            for place, event in enumerate(step)
        ]
    return Chronicle(entries, warmup_epochs=5)


def facts_of(
    event: Penalty, chronicle: Chronicle, data: bytes = b"", slashed: int = 0
) -> PenaltyFacts:
    log = next(log for found, log in chronicle.penalties if found == event)
    bounty = slashed // 10
    transfers = [
        Transferred(REGISTRY, PENALTIES, slashed),
        Transferred(PENALTIES, REWARDS, slashed - bounty),
        Transferred(PENALTIES, REPORTER, bounty),
    ]
    return PenaltyFacts(event, log, data, transfers, Epoch(EPOCH + 1))


def judge(facts: PenaltyFacts, chronicle: Chronicle) -> Checks:
    checks = Checks()
    judge_penalty(facts, {SHARD: SETTLED}, chronicle, RULES, checks)
    return checks


def field_of(facts: PenaltyFacts, chronicle: Chronicle) -> str:
    with pytest.raises(DifferenceError) as caught:
        judge(facts, chronicle)
    difference = caught.value.difference
    assert difference.place.epoch == EPOCH
    return f"{difference.contract}.{difference.field}"


# -- equivocation


def statement(scores: bytes, key: bytes) -> tuple[object, ...]:
    hashed = keccak256(scores)
    digest = compute_statement_digest(
        DOMAIN, EPOCH, SHARD, online=7, fraud=0, scores=hashed, evidence=Digest(bytes(32))
    )
    signature = sign_digest(key, digest)
    vs = int.from_bytes(signature[32:64], "big") | (signature[64] - 27) << 255
    return 7, 0, hashed, bytes(32), signature[:32], vs


def proof(first: bytes = b"a", second: bytes = b"b", key: bytes = key_of(CHECKER, 0)) -> bytes:
    return (
        get_interface("Penalties")
        .functions["prove_equivocation"]
        .encode([0, EPOCH, SHARD, statement(first, key), statement(second, key)])
    )


TAKEN = 145 * TOKEN
EQUIVOCATED = Equivocated(0, EPOCH, SHARD, REPORTER, TAKEN, TAKEN // 10)
EQUIVOCATION = (
    Slashed(CHECKER, 0, wallet_of(CHECKER, 0), STAKE, 0),
    Left(CHECKER, 0, wallet_of(CHECKER, 0), Epoch(EPOCH + 1)),
    DelegatedStake(0, 0),
    DelegationSlashed(0, Epoch(1), 40 * TOKEN, 5 * TOKEN),
    EQUIVOCATED,
)


def test_a_proven_equivocation_takes_everything() -> None:
    chronicle = chronicle_of(EQUIVOCATION)
    checks = judge(facts_of(EQUIVOCATED, chronicle, proof(), TAKEN), chronicle)
    assert checks.counts["Penalties.Equivocated.evidence"] == 1


EQUIVOCATION_ALTERED: dict[str, tuple[bytes, Callable[[Event], Event], str]] = {
    "the same report twice": (proof(b"a", b"a"), lambda e: e, "Penalties.Equivocated.evidence"),
    "somebody else's signatures": (
        proof(key=key_of(CHECKER, 1)),
        lambda e: e,
        "Penalties.Equivocated.evidence",
    ),
    "no proof": (b"", lambda e: e, "Penalties.Equivocated.evidence"),
    "less than the stake": (
        proof(),
        lambda e: replace(e, amount=STAKE - 1, left=1) if isinstance(e, Slashed) else e,
        "Registry.Slashed.amount",
    ),
    "what is left": (
        proof(),
        lambda e: replace(e, left=1) if isinstance(e, Slashed) else e,
        "Registry.Slashed.left",
    ),
    "another's stake": (
        proof(),
        lambda e: replace(e, index=1) if isinstance(e, Slashed) else e,
        "Registry.Slashed",
    ),
    "delegations spared": (
        proof(),
        lambda e: replace(e, leaving=0) if isinstance(e, DelegationSlashed) else e,
        "Penalties.Equivocated.slashed",
    ),
    "active delegations spared": (
        proof(),
        lambda e: replace(e, active=0) if isinstance(e, DelegationSlashed) else e,
        "Delegation.DelegationSlashed.active",
    ),
    "the sum": (
        proof(),
        lambda e: replace(e, slashed=TAKEN + 1) if isinstance(e, Equivocated) else e,
        "Penalties.Equivocated.slashed",
    ),
    "the bounty": (
        proof(),
        lambda e: replace(e, bounty=1) if isinstance(e, Equivocated) else e,
        "Penalties.Equivocated.bounty",
    ),
    "a tenant that came later": (
        proof(),
        lambda e: e,
        "Penalties.Equivocated.tenant",
    ),
}


@pytest.mark.parametrize("name", EQUIVOCATION_ALTERED)
def test_an_altered_equivocation_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data, change, field = EQUIVOCATION_ALTERED[name]
    if "later" in name:
        late = tuple(
            registered(CHECKER, 0, joined=EPOCH + 1, stake=STAKE)
            if event == registered(CHECKER, 0, stake=STAKE)
            else event
            for event in BEFORE
        )
        monkeypatch.setattr("tests.chain.audit.test_penalties.BEFORE", late)
    events = tuple(change(event) for event in EQUIVOCATION)
    chronicle = chronicle_of(events)
    penalty = events[-1]
    assert isinstance(penalty, Equivocated)
    assert field_of(facts_of(penalty, chronicle, data, TAKEN), chronicle) == field


def test_where_the_slashed_stake_went() -> None:
    chronicle = chronicle_of(EQUIVOCATION)
    right = facts_of(EQUIVOCATED, chronicle, proof(), TAKEN)
    _, to_fund, to_reporter = right.transfers
    for transfers, field in (
        ([to_fund], "Penalties.Equivocated.bounty"),
        ([to_fund, replace(to_reporter, receiver=REGISTRY)], "Token.bounty"),
        ([replace(to_fund, receiver=REGISTRY), to_reporter], "Token.slashed stake into the fund"),
    ):
        assert field_of(replace(right, transfers=transfers), chronicle) == field
    # What somebody sent to Penalties by mistake goes the same way.
    event = replace(EQUIVOCATED, bounty=(TAKEN + 10) // 10)
    chronicle = chronicle_of((*EQUIVOCATION[:-1], event))
    judge(facts_of(event, chronicle, proof(), TAKEN + 10), chronicle)


# -- fraud

CUT = STAKE * 3_333 // 10_000
PUNISHED = FraudPunished(LANE, EPOCH, REPORTER, CUT, CUT // 10)
FRAUD = (Slashed(PROVIDER, LANE, wallet_of(PROVIDER, LANE), CUT, STAKE - CUT), PUNISHED)


def test_a_majoritys_mark_costs_a_part() -> None:
    chronicle = chronicle_of(FRAUD)
    judge(facts_of(PUNISHED, chronicle, slashed=CUT), chronicle)


def test_the_part_is_the_stewards_of_the_moment() -> None:
    lower = chronicle_of((Executed(2, 100),), FRAUD)
    assert field_of(facts_of(PUNISHED, lower, slashed=CUT), lower) == "Registry.Slashed.amount"
    later = chronicle_of(FRAUD, (Executed(2, 100),))
    judge(facts_of(PUNISHED, later, slashed=CUT), later)


def test_a_lane_that_no_majority_marked() -> None:
    event = replace(PUNISHED, index=1)
    slash = replace(FRAUD[0], index=1, wallet=wallet_of(PROVIDER, 1))  # type: ignore[arg-type]
    chronicle = chronicle_of((slash, event))
    assert field_of(facts_of(event, chronicle, slashed=CUT), chronicle) == "Penalties.FraudPunished"


def test_once_per_epoch() -> None:
    again = (replace(FRAUD[0], amount=1), PUNISHED)  # type: ignore[arg-type]
    chronicle = chronicle_of(FRAUD, again)
    facts = facts_of(PUNISHED, chronicle, slashed=CUT)
    assert field_of(facts, chronicle) == "Penalties.FraudPunished.count"


def test_who_was_not_there_in_the_epoch() -> None:
    left = Left(PROVIDER, LANE, wallet_of(PROVIDER, LANE), EPOCH)
    chronicle = chronicle_of((left,), FRAUD)
    facts = facts_of(PUNISHED, chronicle, slashed=CUT)
    assert field_of(facts, chronicle) == "Penalties.FraudPunished.tenant"


# -- wrong reports


def wrong(epoch: int, total: int, until: int = 0) -> WrongRecorded:
    return WrongRecorded(0, Epoch(epoch), SHARD, Seat(1), total, Epoch(until))


def test_a_first_wrong_report_bans_nobody() -> None:
    chronicle = chronicle_of((wrong(EPOCH, 1),))
    judge(facts_of(wrong(EPOCH, 1), chronicle), chronicle)


def test_a_second_one_within_a_week_does() -> None:
    until = EPOCH + 2 + MINIMAL.ban_month_epochs
    first, second = wrong(EPOCH - 1, 1), wrong(EPOCH, 2, until)
    ban = Suspended(0, wallet_of(CHECKER, 0), Epoch(EPOCH + 2), Epoch(until))
    chronicle = chronicle_of((first,), (ban, second))
    judge(facts_of(second, chronicle), chronicle)
    # A longer ban of before stays.
    longer = Suspended(0, wallet_of(CHECKER, 0), Epoch(EPOCH), Epoch(until + 9))
    kept = replace(second, banned_until=Epoch(until + 9))
    chronicle = chronicle_of((longer, first), (ban, kept))
    judge(facts_of(kept, chronicle), chronicle)
    assert field_of(
        facts_of(kept, chronicle_of((first,), (ban, kept))), chronicle_of((first,), (ban, kept))
    ) == ("Penalties.WrongRecorded.banned_until")


@pytest.mark.parametrize(
    ("event", "field"),
    [
        (replace(wrong(EPOCH, 1), seat=Seat(0)), "WrongRecorded"),
        (replace(wrong(EPOCH, 1), seat=Seat(3)), "WrongRecorded"),
        (replace(wrong(EPOCH, 1), shard=Shard(1)), "WrongRecorded"),
        (replace(wrong(EPOCH, 1), index=1), "WrongRecorded.index"),
        (wrong(EPOCH, 2), "WrongRecorded.total"),
        (wrong(EPOCH, 1, until=77), "WrongRecorded.banned_until"),
    ],
)
def test_a_wrong_record_is_named(event: WrongRecorded, field: str) -> None:
    chronicle = chronicle_of((event,))
    assert field_of(facts_of(event, chronicle), chronicle) == f"Penalties.{field}"


def test_records_come_in_order() -> None:
    chronicle = chronicle_of((wrong(EPOCH + 1, 1),), (wrong(EPOCH, 2),))
    facts = facts_of(wrong(EPOCH, 2), chronicle)
    assert field_of(facts, chronicle) == "Penalties.WrongRecorded.epoch"


def test_too_many_are_for_good() -> None:
    apart = MINIMAL.ban_week_epochs
    events = [wrong(1 + n * apart, n + 1) for n in range(10)]
    last = wrong(1 + 10 * apart, 11, NO_EXIT)
    chronicle = chronicle_of(*((event,) for event in events), (last,))
    checks = Checks()
    judge_penalty(facts_of(last, chronicle), {SHARD: SETTLED}, chronicle, RULES, checks)
    assert checks.counts["Penalties.WrongRecorded.banned_until"] == 1
