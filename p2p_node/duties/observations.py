"""What one job told a checker, and the envelopes that prove it."""

from dataclasses import dataclass, field

from protocols.evidence import NO_EVIDENCE, compute_transcript_digest
from protocols.messages import MAX_TRANSCRIPT_MESSAGES
from protocols.scoring import Verdict
from protocols.types import Digest

__all__ = ["MAX_MESSAGES", "NO_EVIDENCE", "Observation", "Transcript"]

MAX_MESSAGES = MAX_TRANSCRIPT_MESSAGES


@dataclass(slots=True)
class Transcript:
    """The sealed messages of one job, in the order in which they went over the stream, as far as
    it got: the checker's requests and the provider's answers in turn."""

    messages: list[bytes] = field(default_factory=list)

    @property
    def answered(self) -> bool:
        """Whether there is anything that carries the provider's signature."""
        return len(self.messages) > 1

    def digest(self) -> Digest:
        """Name the exchange by its hash, as the report's evidence does."""
        return compute_transcript_digest(self.messages)


@dataclass(frozen=True, slots=True)
class Observation:
    """A checker's judgement of one provider in one epoch.

    `score` 0 … 32767, `rate` in operations per second, `transcript` the digest of `parts`
    (`NO_EVIDENCE` when nothing signed came back). `parts` are not kept by the report.
    """

    lane: int
    verdict: Verdict
    score: int
    rate: int
    transcript: Digest
    parts: Transcript = field(default_factory=Transcript, repr=False, compare=False)
