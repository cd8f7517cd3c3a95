"""The rules of gossip, one function per topic: accept (return), ignore or reject (raise).

Each rule takes what was seen, what the chain says, the bytes and the time, and returns the
verified message. What was accepted is remembered only after every check has passed. Who is blamed
for a rejection is decided elsewhere, once (`p2p_node/net`). `docs/spec/gossip.md` is this file in
words.

Reports are committed to before they are shown. A commitment is taken until the earliest moment in
which an honest report can be read anywhere: by clocks that differ by the disparity, that is as much
before the reveal phase. So whoever reads the reports of others first is too late to commit.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from protocols.envelopes import Verified, open_envelope
from protocols.epochs import Timeline
from protocols.errors import ForgedError, GossipIgnore, GossipReject
from protocols.lanes import decode_scores
from protocols.membership import EpochView, Member
from protocols.messages import (
    Announcement,
    ChallengeAnnouncement,
    ReportCommitment,
    ReportMessage,
    Role,
    compute_challenge_commitment,
    compute_report_commitment,
)
from protocols.params import (
    ANNOUNCEMENT_INTERVAL_MS,
    ANNOUNCEMENT_LIFETIME_MS,
    CLOCK_DISPARITY_MS,
)
from protocols.reports import Report, SignedReport, compute_report_digest
from protocols.signing import recover_wallet
from protocols.types import Digest, Epoch, NetworkId, NodeKey, Seat, Shard, TimeMs

SEEN_ENTRIES = 16_384
"""Challenges, commitments and reports remembered: 16 seats × 391 shards (100,000 providers) ×
2 epochs."""

ANNOUNCEMENT_ENTRIES = 131_072
"""Announcements remembered, one per node and role: 100,000 providers and their checkers. Some
260 bytes each; a network that outgrows it carries some announcements twice."""

ANNOUNCE_TOPIC = "announce"
"""Topic of announcements. Topic and protocol names here are the short ones; on the wire they
stand behind `/kaisar/<first 16 hex digits of the network id>/<version>/`."""

CHALLENGES_TOPIC = "challenges"
"""Topic of challenge announcements."""

COMMITMENTS_TOPIC = "commitments"
"""Topic of commitments to reports."""

JOB_PROTOCOL = "job"
"""Stream protocol of job, commitment and openings."""

ASK_REPORTS_PROTOCOL = "ask-reports"
"""Stream protocol for asking a peer for the reports it holds."""

AUDIT_PROTOCOL = "audit"
"""Stream protocol for asking a checker for the transcript behind one lane of its report."""


def reports_topic(shard: Shard) -> str:
    """Topic of the reports on one shard."""
    return f"reports/{shard}"


class Seen:
    """What has been accepted, by key, bounded: the oldest entries are forgotten first."""

    def __init__(self, limit: int = SEEN_ENTRIES) -> None:
        self._limit = limit
        self._entries: OrderedDict[tuple[object, ...], bytes] = OrderedDict()

    def get(self, *key: object) -> bytes | None:
        """Return what was accepted under `key`, if it is still remembered."""
        return self._entries.get(key)

    def add(self, value: bytes, *key: object) -> None:
        """Remember `value` under `key`."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._limit:
            self._entries.popitem(last=False)

    def __len__(self) -> int:
        return len(self._entries)


@dataclass(slots=True)
class GossipMemory:
    """Everything that the rules remember, one bounded `Seen` per kind."""

    announcements: Seen = field(default_factory=lambda: Seen(ANNOUNCEMENT_ENTRIES))
    challenges: Seen = field(default_factory=Seen)
    commitments: Seen = field(default_factory=Seen)
    reports: Seen = field(default_factory=Seen)
    statements: Seen = field(default_factory=Seen)
    """The first report of each checker that its wallet signed, accepted or not."""


class Equivocation(GossipIgnore):
    """A report that contradicts an earlier one by the same wallet on the same epoch and shard.

    Both are signed by the wallet of checker `checker`, and their EIP-712 digests differ: so
    together they are what `Penalties.prove_equivocation` takes. Neither message's forwarder is
    to blame.
    """

    def __init__(self, checker: int, first: SignedReport, second: SignedReport) -> None:
        super().__init__("equivocation", f"checker {checker}")
        self.checker = checker
        self.first = first
        self.second = second


@dataclass(frozen=True, slots=True)
class NetworkView:
    """What a node knows of its network: calendar, report domain and the epochs it has read."""

    network: NetworkId
    domain: Digest
    timeline: Timeline
    epochs: Mapping[Epoch, EpochView]
    _registrations: dict[NodeKey, list[tuple[Role, Member]]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        # Once per view: with 100,000 members nobody can look through all of them per message.
        if self.epochs:
            newest = self.epochs[max(self.epochs)]
            for role, members in (
                (Role.PROVIDER, newest.providers),
                (Role.CHECKER, newest.checkers),
            ):
                for member in members.values():
                    self._registrations.setdefault(member.node_key, []).append((role, member))

    def members_of(self, key: NodeKey) -> Sequence[tuple[Role, Member]]:
        """Find the registrations of a node key in the newest epoch known."""
        return self._registrations.get(key, ())


def validate_announcement_gossip(
    memory: GossipMemory, view: NetworkView, data: bytes, now: TimeMs
) -> Verified[Announcement]:
    """Judge an announcement: from a registered node, about itself, newer than the last."""
    verified = open_envelope(data, Announcement, view.network)
    message, signer = verified.message, verified.signer
    if message.time > now + CLOCK_DISPARITY_MS:
        raise GossipIgnore("from the future")
    if message.time + ANNOUNCEMENT_LIFETIME_MS < now:
        raise GossipIgnore("stale")
    registrations = view.members_of(signer)
    if not registrations:
        raise GossipIgnore("unknown signer")
    if all(
        (message.role, message.wallet) != (role, member.wallet) for role, member in registrations
    ):
        # No reason to blame anybody: registrations are read from the chain at moments of one's own.
        raise GossipIgnore("not as registered")
    last = memory.announcements.get(signer, message.role)
    if last is not None:
        last_time = int.from_bytes(last, "big")
        if message.time <= last_time:
            raise GossipIgnore("seen before")
        if message.time < last_time + ANNOUNCEMENT_INTERVAL_MS:
            raise GossipIgnore("too frequent")
    memory.announcements.add(message.time.to_bytes(8, "big"), signer, message.role)
    return verified


def validate_challenge_gossip(
    memory: GossipMemory, view: NetworkView, data: bytes, now: TimeMs
) -> Verified[ChallengeAnnouncement]:
    """Judge a challenge announcement: by the holder of the seat, within its slot, once."""
    verified = open_envelope(data, ChallengeAnnouncement, view.network)
    message = verified.message
    epoch_view = _known_epoch(view, message.epoch, now)
    if now + CLOCK_DISPARITY_MS < view.timeline.slot_start(message.epoch, message.seat):
        raise GossipIgnore("too early")
    if now > view.timeline.slot_end(message.epoch, message.seat) + CLOCK_DISPARITY_MS:
        raise GossipIgnore("too late")
    _require_seat(epoch_view, message.shard, message.seat, message.checker, verified.signer)
    _require_first(memory.challenges, verified.body, message.epoch, message.shard, message.seat)
    memory.challenges.add(verified.body, message.epoch, message.shard, message.seat)
    return verified


def validate_commitment_gossip(
    memory: GossipMemory, view: NetworkView, data: bytes, now: TimeMs
) -> Verified[ReportCommitment]:
    """Judge a commitment to a report: by the holder of the seat, before any report, once."""
    verified = open_envelope(data, ReportCommitment, view.network)
    epoch = verified.message.epoch
    epoch_view = _known_epoch(view, epoch, now)
    if now + CLOCK_DISPARITY_MS < view.timeline.commit_start(epoch):
        raise GossipIgnore("too early")
    if now + CLOCK_DISPARITY_MS > view.timeline.reveal_start(epoch):
        raise GossipIgnore("too late")
    _remember_commitment(memory, epoch_view, verified)
    return verified


def restore_commitment(memory: GossipMemory, view: NetworkView, data: bytes, now: TimeMs) -> None:
    """Remember a commitment that this node accepted before a restart and kept.

    The rule once more, except for the time of its arrival: errors as there, but `too early` and
    `too late`. Never for what a peer sent.
    """
    verified = open_envelope(data, ReportCommitment, view.network)
    _remember_commitment(memory, _known_epoch(view, verified.message.epoch, now), verified)


def validate_report_gossip(
    memory: GossipMemory, view: NetworkView, data: bytes, now: TimeMs
) -> Verified[ReportMessage]:
    """Judge a report: by the holder of the seat, after the check phase, signed by its wallet and
    committed to in time.

    Where the challenge announcement was seen, the secret must be the one committed to. A second,
    different report of the same checker is not passed on but raised as Equivocation, whatever
    became of the first: to have signed it is enough.
    """
    verified = open_envelope(data, ReportMessage, view.network)
    message = verified.message
    place = (message.epoch, message.shard, message.seat)
    epoch_view = _known_epoch(view, message.epoch, now)
    if now + CLOCK_DISPARITY_MS < view.timeline.reveal_start(message.epoch):
        raise GossipIgnore("too early")
    checker = _require_seat(
        epoch_view, message.shard, message.seat, message.checker, verified.signer
    )
    if memory.reports.get(*place) == verified.body:
        raise GossipIgnore("seen before")
    report = read_report(message).report
    lanes = epoch_view.lanes_of(message.shard)
    if any(report.scores[lanes:]) or (report.online | report.fraud) >> lanes:
        raise GossipReject("empty lane reported")
    digest = compute_report_digest(view.domain, report)
    if recover_wallet(digest, message.wallet_signature) != checker.wallet:
        raise ForgedError("unexpected wallet")
    _compare_statements(memory.statements, view.domain, verified)
    if memory.reports.get(*place) is not None:
        # The same report in other words: another salt, or its signature made anew.
        raise GossipIgnore("seen before")
    committed = memory.commitments.get(*place)
    if committed is None:
        raise GossipIgnore("not committed")
    if ReportCommitment.decode(committed).commitment != compute_report_commitment(
        checker.wallet, digest, message.salt
    ):
        # Not the forwarder's fault: it may have been told another commitment.
        raise GossipIgnore("not as committed")
    challenge = memory.challenges.get(*place)
    if challenge is not None:
        announced = ChallengeAnnouncement.decode(challenge).commitment
        if compute_challenge_commitment(message.secret) != announced:
            # Nor here: it may have missed the announcement, or been told another.
            raise GossipIgnore("wrong secret")
    memory.reports.add(verified.body, *place)
    return verified


def read_report(message: ReportMessage) -> SignedReport:
    """Unpack a report message; MalformedError for a score above 15 bits."""
    return SignedReport(
        seat=message.seat,
        report=Report(
            epoch=message.epoch,
            shard=message.shard,
            scores=decode_scores(message.scores),
            online=int.from_bytes(message.online, "big"),
            fraud=int.from_bytes(message.fraud, "big"),
            evidence=message.evidence,
        ),
        signature=message.wallet_signature,
    )


def _known_epoch(view: NetworkView, epoch: Epoch, now: TimeMs) -> EpochView:
    """Return the view of an epoch that can still matter: this one, or the one in its grace."""
    if view.timeline.start_of(epoch) > now + CLOCK_DISPARITY_MS:
        raise GossipIgnore("future epoch")
    if view.timeline.bundle_end(epoch) < now:
        raise GossipIgnore("past epoch")
    if epoch not in view.epochs:
        raise GossipIgnore("epoch not read yet")
    return view.epochs[epoch]


def _require_seat(
    epoch_view: EpochView, shard: Shard, seat: Seat, checker: int, signer: NodeKey
) -> Member:
    if shard >= epoch_view.shards:
        raise GossipReject("no such shard")
    member = epoch_view.seated(shard, seat)
    if member is None or member.index != checker or member.node_key != signer:
        raise GossipReject("not in committee")
    return member


def _remember_commitment(
    memory: GossipMemory, epoch_view: EpochView, verified: Verified[ReportCommitment]
) -> None:
    message = verified.message
    place = (message.epoch, message.shard, message.seat)
    _require_seat(epoch_view, message.shard, message.seat, message.checker, verified.signer)
    _require_first(memory.commitments, verified.body, *place)
    memory.commitments.add(verified.body, *place)


def _compare_statements(
    statements: Seen, domain: Digest, verified: Verified[ReportMessage]
) -> None:
    """Hold a report that its wallet signed against the first one, or remember it as such."""
    message = verified.message
    key = (message.epoch, message.shard, message.checker)
    known = statements.get(*key)
    if known is None:
        statements.add(verified.body, *key)
        return
    first, second = read_report(ReportMessage.decode(known)), read_report(message)
    if compute_report_digest(domain, first.report) != compute_report_digest(domain, second.report):
        raise Equivocation(message.checker, first, second)


def _require_first(seen: Seen, body: bytes, epoch: Epoch, shard: Shard, seat: Seat) -> None:
    first = seen.get(epoch, shard, seat)
    if first == body:
        raise GossipIgnore("seen before")
    if first is not None:
        raise GossipIgnore("equivocation")
