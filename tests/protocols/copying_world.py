"""A committee with one checker that does no jobs and lives by what others say.

Everything that decides is the real thing: gossip rules with a memory and a clock for every honest
checker, audits of every report of the copier that passes them, ranks, agreement, weights and
shares. Only the network is left out: a message is there for everybody when it is sent. The copier
hears it first.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from functools import cache, cached_property
from random import Random

from nacl.signing import SigningKey

from protocols.audits import AuditFailed, audit_lane, audit_report, draw_lanes
from protocols.committee import compute_transmission_order
from protocols.compute import Shape
from protocols.envelopes import Verified, seal
from protocols.epochs import Timeline
from protocols.errors import GossipIgnore
from protocols.evidence import compute_evidence_path, compute_evidence_root
from protocols.freivalds import RowCheck, prepare_check
from protocols.gossip import (
    GossipMemory,
    NetworkView,
    read_report,
    validate_challenge_gossip,
    validate_commitment_gossip,
    validate_report_gossip,
)
from protocols.lanes import bitmap_of, encode_words, pack_words
from protocols.membership import EpochView, Member
from protocols.messages import (
    AuditResponse,
    ChallengeAnnouncement,
    ReportCommitment,
    ReportMessage,
    compute_challenge_commitment,
    compute_report_commitment,
)
from protocols.params import CLOCK_DISPARITY_MS, LANES, MINIMAL, TOKEN
from protocols.reports import (
    Report,
    agree,
    compute_domain_separator,
    compute_report_digest,
    compute_weight,
)
from protocols.settlement import share_pool
from protocols.signing import compute_network_id, sign_digest
from protocols.types import Digest, Epoch, NodeKey, Seat, Shard, TimeMs, Wallet
from tests.protocols import compute_reference, wire_reference
from tests.protocols.audit_reference import Device, Exchange, Numbers, transcript_digest

EPOCHS = range(1, 5)
SEATS, PROVIDERS = 4, 3
SHARD = Shard(0)
COPIER = 3
"""Checker index; the others are honest."""
FRIEND = 0
"""An honest checker whom the copier copies from first, where it has the choice."""

NUMBERS = Numbers()
PRESET = replace(MINIMAL, seats=SEATS, **asdict(NUMBERS))
TIMELINE = Timeline(TimeMs(1_700_000_000_000), PRESET)
CONSENSUS = Wallet(b"\xc0" * 20)
NETWORK = compute_network_id(31_337, CONSENSUS)
DOMAIN = compute_domain_separator(31_337, CONSENSUS)
STAKE = 1_000 * TOKEN

Transcripts = Mapping[int, Sequence[bytes]]


def name(text: str) -> bytes:
    """32 bytes that stand for the key or secret called `text`."""
    return hashlib.sha256(b"kaisar copying: " + text.encode()).digest()


def node_key(text: str) -> SigningKey:
    """Node key of somebody."""
    return SigningKey(name(f"node of {text}"))


def make_member(index: int, side: str) -> Member:
    """A member that was always there."""
    return Member(
        index=index,
        wallet=Wallet(wire_reference.wallet(name(f"wallet of {side} {index}"))),
        node_key=NodeKey(bytes(node_key(f"{side} {index}").verify_key)),
        stake=STAKE,
        joined=Epoch(0),
        exits=Epoch((1 << 32) - 1),
    )


CHECKERS = {index: make_member(index, "checker") for index in range(SEATS)}
PROVIDER_MEMBERS = {index: make_member(index, "provider") for index in range(PROVIDERS)}


@dataclass(frozen=True)
class Told:
    """A report that somebody may show, and what it can show for it."""

    checker: int
    seat: Seat
    report: Report
    secret: bytes
    salt: bytes
    transcripts: Transcripts = field(default_factory=dict)

    @cached_property
    def digest(self) -> Digest:
        """What the wallet signs."""
        return compute_report_digest(DOMAIN, self.report)

    def commit(self) -> bytes:
        """The sealed commitment."""
        commitment = compute_report_commitment(
            CHECKERS[self.checker].wallet, self.digest, self.salt
        )
        return self.commit_to(commitment)

    def commit_to(self, commitment: Digest) -> bytes:
        """A sealed commitment of this checker to anything."""
        epoch, shard = self.report.epoch, self.report.shard
        message = ReportCommitment(epoch, shard, self.seat, self.checker, commitment)
        return seal(node_key(f"checker {self.checker}"), NETWORK, message)

    def reveal(self) -> bytes:
        """The sealed report."""
        report = self.report
        message = ReportMessage(
            epoch=report.epoch,
            shard=report.shard,
            seat=self.seat,
            checker=self.checker,
            scores=encode_words(pack_words(report.scores)),
            online=report.online.to_bytes(32, "big"),
            fraud=report.fraud.to_bytes(32, "big"),
            evidence=report.evidence,
            secret=self.secret,
            salt=self.salt,
            wallet_signature=sign_digest(name(f"wallet of checker {self.checker}"), self.digest),
        )
        return seal(node_key(f"checker {self.checker}"), NETWORK, message)

    def show(self, lane: int) -> AuditResponse:
        """What it answers to an audit of a lane."""
        if lane not in self.transcripts:
            return AuditResponse(path=b"", messages=())
        digests = {each: Digest(transcript_digest(m)) for each, m in self.transcripts.items()}
        path = compute_evidence_path(digests, lane)
        return AuditResponse(path=path, messages=tuple(self.transcripts[lane]))


@dataclass(frozen=True)
class Scene:
    """One epoch as far as honest checkers make it: its view, what each of them found, and what each
    has accepted of the others."""

    view: EpochView
    honest: Mapping[int, Told]
    nodes: Sequence["Node"]

    @property
    def network(self) -> NetworkView:
        """What a node knows in this epoch."""
        return NetworkView(NETWORK, DOMAIN, TIMELINE, {self.view.epoch: self.view})

    def seat_of(self, checker: int) -> Seat:
        """Seat of a checker; everybody has one."""
        return Seat(self.view.committee(SHARD).index(checker))


@dataclass
class Node:
    """An honest checker: its clock, its memory, and the reports that it holds."""

    index: int
    offset_ms: int
    check: RowCheck
    memory: GossipMemory = field(default_factory=GossipMemory)
    held: dict[Seat, Verified[ReportMessage]] = field(default_factory=dict)


def make_report(
    epoch: Epoch, scores: Sequence[int], evidence: Digest, online: int | None = None
) -> Report:
    """A report in which the given lanes are online, as far as they have a score."""
    lanes = bitmap_of(lane for lane, score in enumerate(scores) if score)
    padded = (*scores, *[0] * (LANES - len(scores)))
    return Report(epoch, SHARD, padded, lanes if online is None else online, 0, evidence)


@cache
def play_honestly(seed: int) -> tuple[Scene, ...]:
    """All epochs of a run. Providers do more in one epoch than in another; checkers measure it with
    noise, each by jobs of its own."""
    rng = Random(seed)
    return tuple(_play_epoch(Epoch(epoch), rng) for epoch in EPOCHS)


def _play_epoch(epoch: Epoch, rng: Random) -> Scene:
    view = EpochView(
        epoch=epoch,
        seed=Digest(rng.randbytes(32)),
        seats=SEATS,
        checker_slots=SEATS,
        provider_slots=PROVIDERS,
        checkers=CHECKERS,
        providers=PROVIDER_MEMBERS,
    )
    b_seed = compute_reference.b_seed(view.seed, PRESET.k, PRESET.n)
    rounds = [rng.randint(1, 6) for _ in range(PROVIDERS)]
    honest, nodes = {}, []
    for checker in range(SEATS):
        if checker == COPIER:
            continue
        check = prepare_check(b_seed, Shape(1, PRESET.k, PRESET.n), rng.randbytes(32))
        # Clocks differ by the disparity at most.
        offset_ms = rng.randint(0, CLOCK_DISPARITY_MS) - CLOCK_DISPARITY_MS // 2
        nodes.append(Node(checker, offset_ms, check))
        seat = Seat(view.committee(SHARD).index(checker))
        secret = rng.randbytes(32)
        transcripts, scores = {}, []
        for provider in range(PROVIDERS):
            job = Exchange(
                network=NETWORK,
                checker_key=node_key(f"checker {checker}"),
                provider_key=node_key(f"provider {provider}"),
                place={
                    "epoch": epoch,
                    "shard": SHARD,
                    "seat": seat,
                    "checker": checker,
                    "provider": provider,
                },
                secret=secret,
                b_seed=b_seed,
                devices=(Device(0, m=1, rounds=rounds[provider], kept=0, passes=0),),
                segments=(2,),
            )
            transcripts[provider] = job.messages()
            scores.append(job.most(STAKE) * rng.randint(85, 100) // 100)
        evidence = compute_evidence_root(
            {lane: Digest(transcript_digest(each)) for lane, each in transcripts.items()}
        )
        report = make_report(epoch, scores, evidence)
        honest[checker] = Told(checker, seat, report, secret, rng.randbytes(32), transcripts)
    scene = Scene(view, honest, nodes)
    for node in nodes:
        for told in honest.values():
            _hear(scene, node, told, rng)
    return scene


def _hear(scene: Scene, node: Node, told: Told, rng: Random) -> None:
    """Let a node judge what an honest checker says in an epoch, each word in its time."""
    epoch, memory, network = scene.view.epoch, node.memory, scene.network
    announcement = ChallengeAnnouncement(
        epoch, SHARD, told.seat, told.checker, compute_challenge_commitment(told.secret)
    )
    sealed = seal(node_key(f"checker {told.checker}"), NETWORK, announcement)
    now = TIMELINE.slot_start(epoch, told.seat) + rng.randint(0, 200) + node.offset_ms
    validate_challenge_gossip(memory, network, sealed, TimeMs(now))
    now = TIMELINE.commit_start(epoch) + rng.randint(0, 200) + node.offset_ms
    validate_commitment_gossip(memory, network, told.commit(), TimeMs(now))
    now = TIMELINE.reveal_start(epoch) + rng.randint(0, 200) + node.offset_ms
    node.held[told.seat] = validate_report_gossip(memory, network, told.reveal(), TimeMs(now))


@dataclass(frozen=True)
class Plan:
    """A copier's moves in one epoch. `late` is committed to when the first report can be read."""

    commitment: bytes | None
    late: bytes | None
    shown: Told
    bundles_itself: bool = False


Strategy = Callable[[Scene, Scene | None, Random], Plan]


# One run


@dataclass
class Outcome:
    """What everybody earned in a run, and why the copier's reports were not taken."""

    earned: dict[int, int]
    refusals: set[str] = field(default_factory=set)


@cache
def run(seed: int, strategy: Strategy) -> Outcome:
    """Play all epochs of a run."""
    rng = Random(f"{seed} {strategy.__name__}")
    outcome = Outcome(dict.fromkeys(range(SEATS), 0))
    last: Scene | None = None
    for scene in play_honestly(seed):
        _settle(scene, strategy(scene, last, rng), rng, outcome)
        last = scene
    return outcome


def _settle(scene: Scene, plan: Plan, rng: Random, outcome: Outcome) -> None:
    nodes = [
        replace(node, memory=deepcopy(node.memory), held=dict(node.held)) for node in scene.nodes
    ]
    for node in nodes:
        try:
            _hear_copier(scene, node, plan, rng, outcome)
        except (GossipIgnore, AuditFailed) as refused:
            outcome.refusals.add(refused.reason)
    reports = _bundle(scene, plan, nodes)
    agreement = agree(list(reports.values()), PRESET.tolerance_shift)
    # All stakes are alike, so weights are shares.
    weights = {
        checker: compute_weight(deviations, PROVIDERS)
        for checker, deviations in zip(reports, agreement.deviations, strict=True)
    }
    for checker, weight in weights.items():
        outcome.earned[checker] += share_pool(PRESET.checker_pool, weight, sum(weights.values()))


def _hear_copier(scene: Scene, node: Node, plan: Plan, rng: Random, outcome: Outcome) -> None:
    """Let a node judge what the copier says; GossipIgnore or AuditFailed where it is refused."""
    epoch, memory, network = scene.view.epoch, node.memory, scene.network
    commit, reveal = TIMELINE.commit_start(epoch), TIMELINE.reveal_start(epoch)
    if plan.commitment is not None:
        now = TimeMs(commit + node.offset_ms)
        validate_commitment_gossip(memory, network, plan.commitment, now)
    if plan.late is not None:
        # The first report goes out when the fastest clock says so, and the copier hears it at once.
        first = reveal - max(each.offset_ms for each in scene.nodes)
        try:
            now = TimeMs(first + 1 + node.offset_ms)
            validate_commitment_gossip(memory, network, plan.late, now)
        except GossipIgnore as refused:
            outcome.refusals.add(refused.reason)
    now = TimeMs(reveal + rng.randint(0, 200) + node.offset_ms)
    verified = validate_report_gossip(memory, network, plan.shown.reveal(), now)
    audit(scene, node, plan.shown, verified, rng)
    node.held[plan.shown.seat] = verified


def audit(
    scene: Scene, node: Node, told: Told, verified: Verified[ReportMessage], rng: Random
) -> None:
    """Let a node audit an accepted report."""
    report = read_report(verified.message).report
    audit_report(report, scene.view)
    for lane in draw_lanes(report, rng.randbytes(32)):
        audit_lane(scene.network, scene.view, node.check, verified.message, lane, told.show(lane))


def _bundle(scene: Scene, plan: Plan, nodes: Sequence[Node]) -> dict[int, Report]:
    """Reports of the first bundle by rank, by checker."""
    by_index = {node.index: node for node in nodes}
    for seat in compute_transmission_order(scene.view.seed, SHARD, SEATS):
        sender = scene.view.committee(SHARD)[seat]
        if sender == COPIER:
            if not plan.bundles_itself:
                continue
            held = {checker: told.report for checker, told in scene.honest.items()}
            return {**held, COPIER: plan.shown.report}
        messages = [each.message for each in by_index[sender].held.values()]
        if len(messages) >= PRESET.quorum:
            return {each.checker: read_report(each).report for each in messages}
    raise AssertionError("no quorum of honest reports")
