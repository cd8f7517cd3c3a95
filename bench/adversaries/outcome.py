"""What became of one attack."""

from dataclasses import dataclass
from enum import StrEnum


class Claim(StrEnum):
    """What we say of an attack."""

    STOPPED = "stopped"
    """It is refused, or earns no more than honesty: the run fails otherwise."""

    BOUNDED = "bounded"
    """It earns something, no more than the figure says."""

    PRICED = "priced"
    """It works, and costs as much as what it pretends to have."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One attack, run against a verifier that lacks one defence and against the real one.

    `known_as` is the number of the attack in the survey of other systems (docs/attacks.md), None
    for an attack on something of our own. `defence` says what was taken out for
    `succeeds_without`. `figure` is what was measured.
    """

    name: str
    known_as: int | None
    defence: str
    succeeds_without: bool
    succeeds_with: bool
    figure: str
    claim: Claim = Claim.STOPPED

    @property
    def as_claimed(self) -> bool:
        """Whether the attack is real, and ends as we say that it does."""
        return self.succeeds_without and self.succeeds_with == (self.claim is not Claim.STOPPED)
