"""What a run came to: epochs, scores, rewards, and whether every balance adds up.

Rewards are worked out here from scores, weights and pools, not asked of the contract that paid
them, so that the two check each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from protocols.params import LANES, Preset
from protocols.reports import compute_weight
from protocols.types import Epoch, Shard, Wallet


@dataclass(slots=True)
class Participant:
    """A provider or checker of the run; `funded` is what its wallet was given in tokens."""

    name: str
    kind: str
    is_provider: bool
    wallet: Wallet
    funded: int
    index: int = -1
    stake: int = 0
    stake_units: int = 0


@dataclass(frozen=True, slots=True)
class Seat:
    """One report in a bundle: seat, checker index, deviating lanes."""

    seat: int
    checker: int
    deviations: int


@dataclass(frozen=True, slots=True)
class Bundle:
    """An accepted bundle, with the transaction that brought it."""

    shard: Shard
    tx: str
    gas_used: int
    lanes: int
    scores: tuple[int, ...]
    seats: tuple[Seat, ...]


@dataclass(frozen=True, slots=True)
class SettledEpoch:
    """An epoch as the chain has it.

    `contributed` are the checkers that fed the epoch seed; `paid_providers` and `paid_seats`
    (shard, seat) whose rewards have been paid out.
    """

    epoch: Epoch
    bundles: tuple[Bundle, ...]
    provider_total: int
    checker_total: int
    contributed: frozenset[int]
    paid_providers: frozenset[int] = frozenset()
    paid_seats: frozenset[tuple[Shard, int]] = frozenset()


@dataclass(slots=True)
class Outcome:
    """The whole run."""

    preset: Preset
    participants: list[Participant]
    shards: int
    counted: list[SettledEpoch] = field(default_factory=list)
    seconds: float = 0.0
    balances_ok: bool = False
    allow_skipped: bool = False
    """Epochs without bundles are no failure, as long as the last one has them all again."""
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every counted epoch settled, the honest were paid and all balances add up."""
        judged = self.counted[-1:] if self.allow_skipped else self.counted
        return (
            self.balances_ok
            and bool(judged)
            and all(len(epoch.bundles) == self.shards for epoch in judged)
            and all(
                provider_reward(self.preset, epoch, each) > 0
                for epoch in judged
                for each in self.participants
                if each.is_provider and each.kind == "honest"
            )
        )

    def to_json(self) -> dict[str, Any]:
        """Return the result in the form that `--json` documents."""
        return {
            "ok": self.ok,
            "seconds": round(self.seconds, 2),
            "epochs": [self._epoch_json(epoch) for epoch in self.counted],
            "balances_ok": self.balances_ok,
            "problems": self.problems,
        }

    def _epoch_json(self, epoch: SettledEpoch) -> dict[str, Any]:
        return {
            "epoch": epoch.epoch,
            "bundles": [
                {
                    "shard": bundle.shard,
                    "tx": bundle.tx,
                    "gas_used": bundle.gas_used,
                    "reports": len(bundle.seats),
                }
                for bundle in epoch.bundles
            ],
            "providers": [
                {
                    "name": each.name,
                    "index": each.index,
                    "kind": each.kind,
                    "score": provider_score(epoch, each),
                    "reward": str(provider_reward(self.preset, epoch, each)),
                }
                for each in self.participants
                if each.is_provider
            ],
            "checkers": [
                {
                    "name": each.name,
                    "index": each.index,
                    "kind": each.kind,
                    "reported": bool(_reports_of(epoch, each)),
                    "error_rate": error_rate(epoch, each),
                    "reward": str(checker_reward(self.preset, epoch, each)),
                }
                for each in self.participants
                if not each.is_provider
            ],
        }


def provider_score(epoch: SettledEpoch, provider: Participant) -> int:
    """Score on the chain; 0 where the shard has no bundle."""
    shard, lane = divmod(provider.index, LANES)
    return next((b.scores[lane] for b in epoch.bundles if b.shard == shard), 0)


def provider_reward(preset: Preset, epoch: SettledEpoch, provider: Participant) -> int:
    """Share of the provider pool, in the token's smallest unit."""
    if not epoch.provider_total:
        return 0
    return preset.provider_pool * provider_score(epoch, provider) // epoch.provider_total


def seat_reward(
    preset: Preset, epoch: SettledEpoch, checker: Participant, bundle: Bundle, seat: Seat
) -> int:
    """Share of the checker pool that one report earned; nothing without feeding the seed."""
    if not epoch.checker_total or checker.index not in epoch.contributed:
        return 0
    weight = checker.stake_units * compute_weight(seat.deviations, bundle.lanes)
    return preset.checker_pool * weight // epoch.checker_total


def checker_reward(preset: Preset, epoch: SettledEpoch, checker: Participant) -> int:
    """Share of the checker pool over all shards."""
    return sum(
        seat_reward(preset, epoch, checker, bundle, seat)
        for bundle, seat in _reports_of(epoch, checker)
    )


def error_rate(epoch: SettledEpoch, checker: Participant) -> float:
    """Deviating lanes over lanes reported, 0 … 1; 0 for a checker that did not report.

    For people and for `--json` only: rewards are computed from the counts.
    """
    reports = _reports_of(epoch, checker)
    lanes = sum(bundle.lanes for bundle, _ in reports)
    deviations = sum(min(seat.deviations, bundle.lanes) for bundle, seat in reports)
    return round(deviations / lanes, 4) if lanes else 0.0


def paid_reward(preset: Preset, epoch: SettledEpoch, participant: Participant) -> int:
    """The part of a participant's reward that has been paid out."""
    if participant.is_provider:
        paid = participant.index in epoch.paid_providers
        return provider_reward(preset, epoch, participant) if paid else 0
    return sum(
        seat_reward(preset, epoch, participant, bundle, seat)
        for bundle, seat in _reports_of(epoch, participant)
        if (bundle.shard, seat.seat) in epoch.paid_seats
    )


def total_reward(preset: Preset, epoch: SettledEpoch, participant: Participant) -> int:
    """A participant's reward, paid or not."""
    if participant.is_provider:
        return provider_reward(preset, epoch, participant)
    return checker_reward(preset, epoch, participant)


def expected_balance(
    preset: Preset, epochs: Sequence[SettledEpoch], participant: Participant
) -> int:
    """What a wallet holds after its stake went and these epochs' payments came."""
    earned = sum(paid_reward(preset, epoch, participant) for epoch in epochs)
    return participant.funded - participant.stake + earned


def find_unpaid(outcome: Outcome) -> list[str]:
    """List the rewards of counted epochs that have not been paid out."""
    return [
        f"{each.name}: epoch {epoch.epoch} is not paid"
        for epoch in outcome.counted
        for each in outcome.participants
        if paid_reward(outcome.preset, epoch, each) != total_reward(outcome.preset, epoch, each)
    ]


def _reports_of(epoch: SettledEpoch, checker: Participant) -> list[tuple[Bundle, Seat]]:
    return [
        (bundle, seat)
        for bundle in epoch.bundles
        for seat in bundle.seats
        if seat.checker == checker.index
    ]
