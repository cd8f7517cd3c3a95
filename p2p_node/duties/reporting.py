"""From observations to a published report; and the book of everybody's reports."""

import logging
from collections.abc import Iterable, Mapping, Set

import trio
from nacl.signing import SigningKey

from p2p_node.duties.observations import NO_EVIDENCE, Observation
from protocols.envelopes import Verified, seal
from protocols.evidence import compute_evidence_root
from protocols.gossip import NetworkView, read_report
from protocols.lanes import bitmap_of, encode_words, pack_words
from protocols.messages import ReportMessage
from protocols.params import LANES
from protocols.reports import Report, SignedReport, compute_report_digest
from protocols.scoring import Verdict
from protocols.types import Digest, Epoch, Seat, Shard

logger = logging.getLogger(__name__)


def build_report(epoch: Epoch, shard: Shard, observations: Iterable[Observation]) -> Report:
    """Turn the observations of a finished slot into the report that its checker signs."""
    seen = sorted(observations, key=lambda each: each.lane)
    scores = [0] * LANES
    for observation in seen:
        scores[observation.lane] = observation.score
    transcripts = {o.lane: o.transcript for o in seen if o.transcript != NO_EVIDENCE}
    return Report(
        epoch=epoch,
        shard=shard,
        scores=tuple(scores),
        online=bitmap_of(o.lane for o in seen if o.verdict is not Verdict.ABSENT),
        fraud=bitmap_of(o.lane for o in seen if o.verdict is Verdict.WRONG),
        evidence=compute_evidence_root(transcripts),
    )


def seal_report(
    key: SigningKey,
    view: NetworkView,
    *,
    signed: SignedReport,
    checker: int,
    secret: bytes,
    salt: bytes,
) -> bytes:
    """Wrap a wallet-signed report for gossip."""
    report = signed.report
    message = ReportMessage(
        epoch=report.epoch,
        shard=report.shard,
        seat=signed.seat,
        checker=checker,
        scores=encode_words(pack_words(report.scores)),
        online=report.online.to_bytes(32, "big"),
        fraud=report.fraud.to_bytes(32, "big"),
        evidence=report.evidence,
        secret=secret,
        salt=salt,
        wallet_signature=signed.signature,
    )
    return seal(key, view.network, message)


def report_digest(view: NetworkView, report: Report) -> Digest:
    """Hash that the wallet signs, in this network's domain."""
    return compute_report_digest(view.domain, report)


class ReportBook:
    """Accepted reports by epoch, shard and seat, and which of them may be bundled.

    A report counts once it is trusted: one's own at once, another's when its audit held. Old epochs
    are dropped.
    """

    def __init__(self) -> None:
        self._pages: dict[tuple[Epoch, Shard], dict[Seat, Verified[ReportMessage]]] = {}
        self._trusted: dict[tuple[Epoch, Shard], set[Seat]] = {}
        self._refused: dict[tuple[Epoch, Shard], set[Seat]] = {}
        self._changed = trio.Event()

    def add(self, verified: Verified[ReportMessage]) -> None:
        """Keep a report that passed the gossip rule; the first of a seat stays."""
        message = verified.message
        page = self._pages.setdefault((message.epoch, message.shard), {})
        page.setdefault(message.seat, verified)
        self._wake()

    def trust(self, epoch: Epoch, shard: Shard, seat: Seat) -> None:
        """Let a seat's report be bundled: it is one's own, or its audit held."""
        self._trusted.setdefault((epoch, shard), set()).add(seat)
        self._wake()

    def refuse(self, epoch: Epoch, shard: Shard, seat: Seat) -> None:
        """Never bundle a seat's report: its audit failed."""
        self._refused.setdefault((epoch, shard), set()).add(seat)
        self._wake()

    async def wait_for_change(self) -> None:
        """Wait until a report comes, or is trusted or refused."""
        await self._changed.wait()

    def sealed(self, epoch: Epoch, shard: Shard) -> list[bytes]:
        """Return the sealed messages of one page, by seat, trusted or not."""
        return [each.raw for _, each in self._page(epoch, shard)]

    def undecided(self, epoch: Epoch, shard: Shard) -> list[Verified[ReportMessage]]:
        """Return the reports of one page that are neither trusted nor refused, by seat."""
        decided = self._of(self._trusted, epoch, shard) | self._of(self._refused, epoch, shard)
        return [each for seat, each in self._page(epoch, shard) if seat not in decided]

    def signed(self, epoch: Epoch, shard: Shard) -> list[SignedReport]:
        """Return the trusted reports of one page ready for a bundle, by seat."""
        trusted = self._of(self._trusted, epoch, shard)
        return [
            read_report(each.message) for seat, each in self._page(epoch, shard) if seat in trusted
        ]

    def count(self, epoch: Epoch, shard: Shard) -> int:
        """Number of reports that may be bundled for one epoch and shard."""
        trusted = self._of(self._trusted, epoch, shard)
        return sum(seat in trusted for seat, _ in self._page(epoch, shard))

    def count_refused(self, epoch: Epoch, shard: Shard) -> int:
        """Number of reports whose audit failed for good."""
        return len(self._of(self._refused, epoch, shard))

    def forget_before(self, epoch: Epoch) -> None:
        """Drop every page of an epoch older than `epoch`."""
        for pages in (self._pages, self._trusted, self._refused):
            for page in [key for key in pages if key[0] < epoch]:
                del pages[page]

    def _page(self, epoch: Epoch, shard: Shard) -> list[tuple[Seat, Verified[ReportMessage]]]:
        return sorted(self._pages.get((epoch, shard), {}).items())

    def _of(
        self, marks: Mapping[tuple[Epoch, Shard], set[Seat]], epoch: Epoch, shard: Shard
    ) -> Set[Seat]:
        return marks.get((epoch, shard), frozenset())

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
