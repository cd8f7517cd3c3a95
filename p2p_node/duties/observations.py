"""What one job told a checker, and the envelopes that prove it."""

from dataclasses import dataclass, field

from protocols.hashing import keccak256
from protocols.scoring import Verdict
from protocols.types import Digest

NO_EVIDENCE = Digest(bytes(32))
"""Stands for the transcript of a provider that sent nothing, and for a root over none."""


@dataclass(slots=True)
class Transcript:
    """The sealed messages of one job, as far as it got; the provider's carry its signature."""

    job: bytes | None = None
    answer: bytes | None = None
    request: bytes | None = None
    openings: bytes | None = None

    def parts(self) -> tuple[bytes, bytes, bytes, bytes]:
        """Return all four, missing ones empty."""
        return self.job or b"", self.answer or b"", self.request or b"", self.openings or b""

    def digest(self) -> Digest:
        """Hash the whole exchange: keccak256 over the keccak256 of each part."""
        return keccak256(*(keccak256(part) for part in self.parts()))


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
