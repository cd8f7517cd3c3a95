"""What one job told a checker, and the envelopes that prove it."""

from dataclasses import dataclass, field

from protocols.hashing import keccak256
from protocols.scoring import Verdict
from protocols.types import Digest

NO_EVIDENCE = Digest(bytes(32))
"""Stands for the transcript of a provider that sent nothing, and for a root over none."""


MAX_MESSAGES = 8
"""Four requests and their answers."""


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
        """Hash the whole exchange: keccak256 over the keccak256 of each message."""
        return keccak256(*(keccak256(message) for message in self.messages))


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
