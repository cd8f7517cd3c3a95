"""A made-up epoch as the chain would tell it, for judges that are given facts and no chain."""

from dataclasses import dataclass, replace

import coincurve

from chain.audit.bundles import BundleFacts, Rules
from chain.audit.calldata import find_submission
from chain.audit.tenancies import Tenancies
from chain.calls import Calls
from chain.events import BundleAccepted, Event, Registered
from chain.records import BundleRecord, Log, SeatResult, SlotKind
from protocols.committee import compute_committee
from protocols.hashing import keccak256
from protocols.params import LANES, TOKEN
from protocols.reports import (
    Report,
    SignedReport,
    agree,
    compute_domain_separator,
    compute_report_digest,
)
from protocols.signing import sign_digest, wallet_of_public_key
from protocols.types import Digest, Epoch, NodeKey, Seat, Shard, Wallet
from tests.chain.samples import DEPLOYMENT

EPOCH = Epoch(5)
SHARD = Shard(0)
SEED = Digest(keccak256(b"seed of the scene"))
CHECKERS = 6
PROVIDERS = 3
DOMAIN = compute_domain_separator(DEPLOYMENT.chain_id, DEPLOYMENT.address("Consensus"))
RULES = Rules(DOMAIN, seats=4, quorum=3, tolerance_shift=2, stake_unit=TOKEN)


def key_of(kind: SlotKind, index: int) -> bytes:
    return keccak256(f"{kind.name} {index}".encode())


def wallet_of(kind: SlotKind, index: int) -> Wallet:
    public = coincurve.PrivateKey(key_of(kind, index)).public_key
    return wallet_of_public_key(public.format(compressed=False))


def log_at(block: int, index: int = 0, transaction: bytes = b"\x77" * 32) -> Log:
    return Log(Wallet(bytes(20)), (), b"", block, transaction, index)


def registered(kind: SlotKind, index: int, joined: int = 1, stake: int = 10 * TOKEN) -> Registered:
    return Registered(
        kind, index, wallet_of(kind, index), NodeKey(b"\x01" * 32), stake, Epoch(joined)
    )


def replay(*events: Event) -> Tenancies:
    """Tenancies after these events, one to a block from block 10 on."""
    tenancies = Tenancies()
    for number, event in enumerate(events):
        tenancies.apply(event, log_at(10 + number))
    return tenancies


def everybody() -> list[Event]:
    checkers = [
        registered(SlotKind.CHECKER, index, stake=(1000 + index) * TOKEN)
        for index in range(CHECKERS)
    ]
    return [*checkers, *(registered(SlotKind.PROVIDER, index) for index in range(PROVIDERS))]


@dataclass
class Scene:
    """One settled shard: what was sent, and what the chain says became of it."""

    tenancies: Tenancies
    facts: BundleFacts


def vector(*scores: int) -> tuple[int, ...]:
    return scores + (0,) * (LANES - len(scores))


def make_scene(
    vectors: tuple[tuple[int, ...], ...] = ((100, 200, 300), (110, 190, 300), (90, 200, 9000)),
    fraud: int = 0,
) -> Scene:
    """The first seats report these scores; the chain has done everything right."""
    committee = compute_committee(SEED, SHARD, CHECKERS, RULES.seats)
    reports = []
    for seat, scores in enumerate(vectors):
        report = Report(EPOCH, SHARD, vector(*scores), 0b111, fraud, Digest(b"\x11" * 32))
        digest = compute_report_digest(DOMAIN, report)
        key = key_of(SlotKind.CHECKER, committee[seat])
        reports.append(SignedReport(Seat(seat), report, sign_digest(key, digest)))
    agreement = agree([each.report for each in reports], RULES.tolerance_shift)
    data = Calls(DEPLOYMENT).submit(EPOCH, SHARD, agreement.medians, reports).data
    results = tuple(
        SeatResult(seat, committee[seat], deviations, 1000 + committee[seat])
        for seat, deviations in enumerate(agreement.deviations)
    )
    event = BundleAccepted(
        epoch=EPOCH,
        shard=SHARD,
        sender=Wallet(b"\x05" * 20),
        reports=results,
        online=agreement.online,
        fraud=agreement.fraud,
        total=sum(agreement.scores),
    )
    record = BundleRecord(EPOCH, SHARD, PROVIDERS, agreement.online, agreement.fraud, results)
    facts = BundleFacts(
        event=event,
        position=(1000, 3),
        submission=find_submission(data, EPOCH, SHARD),
        was_asked=True,
        record=record,
        scores=agreement.scores,
    )
    return Scene(replay(*everybody()), facts)


def alter_seat(
    results: tuple[SeatResult, ...], seat: int, **changes: int
) -> tuple[SeatResult, ...]:
    return tuple(replace(each, **changes) if each.seat == seat else each for each in results)
