"""What a run came to: epochs, scores, rewards, and who was punished.

Rewards are worked out here from scores, weights and pools, not asked of the contract that paid
them, so that the two check each other. Whether balances add up is `accounts`' business.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from chain.audit.judging import Verdict
from p2p_node.testnet.rental_outcome import Rental
from p2p_node.testnet.zeronode_outcome import ZeroNodeRun
from protocols.params import LANES, Preset
from protocols.reports import compute_weight
from protocols.types import Epoch, Shard, Wallet


@dataclass(slots=True)
class Participant:
    """A provider or checker of the run.

    `funded` is what its wallet was given in tokens, `staked` what it put down when it registered.
    """

    name: str
    kind: str
    is_provider: bool
    wallet: Wallet
    funded: int
    index: int = -1
    staked: int = 0


@dataclass(frozen=True, slots=True)
class Seat:
    """One report in a bundle: seat, checker index, deviating lanes, stake units when it came."""

    seat: int
    checker: int
    deviations: int
    units: int


@dataclass(frozen=True, slots=True)
class Bundle:
    """An accepted bundle, with the transaction that brought it; `online` is a bitmap of lanes."""

    shard: Shard
    tx: str
    gas_used: int
    lanes: int
    scores: tuple[int, ...]
    seats: tuple[Seat, ...]
    online: int


@dataclass(frozen=True, slots=True)
class SettledEpoch:
    """An epoch as the chain has it.

    The pools are those of `protocols.settlement`, 0 as long as the epoch is open. `contributed` are
    the checkers that fed the epoch seed; `paid_providers` and `paid_seats` (shard, seat) whose
    rewards have been paid out.
    """

    epoch: Epoch
    bundles: tuple[Bundle, ...]
    provider_pool: int
    checker_pool: int
    provider_total: int
    checker_total: int
    contributed: frozenset[int]
    paid_providers: frozenset[int] = frozenset()
    paid_seats: frozenset[tuple[Shard, int]] = frozenset()


class Offence(StrEnum):
    """What a stake was taken for."""

    EQUIVOCATION = "equivocation"
    FRAUD = "fraud"


@dataclass(frozen=True, slots=True)
class Penalty:
    """A stake that was taken, in part or as a whole.

    `epoch` is the offence's, `landed` the one in which it was punished. `bounty` is the part of
    `slashed` that `reporter` got.
    """

    offence: Offence
    index: int
    epoch: Epoch
    landed: Epoch
    reporter: Wallet
    slashed: int
    bounty: int


@dataclass(frozen=True, slots=True)
class Ban:
    """A checker that takes no part in the epochs `first` … `until` − 1; None is for good."""

    checker: int
    first: Epoch
    until: Epoch | None


@dataclass(slots=True)
class Outcome:
    """The whole run."""

    preset: Preset
    participants: list[Participant]
    shards: int
    counted: list[SettledEpoch] = field(default_factory=list)
    penalties: list[Penalty] = field(default_factory=list)
    bans: list[Ban] = field(default_factory=list)
    seconds: float = 0.0
    balances_ok: bool = False
    allow_skipped: bool = False
    """Epochs without bundles are no failure, as long as the last one has them all again."""
    problems: list[str] = field(default_factory=list)
    audited: list[Verdict] = field(default_factory=list)
    """What audits of the run's epochs came to; empty without `--audit`."""
    rentals: list[Rental] = field(default_factory=list)
    zeronodes: ZeroNodeRun | None = None

    @property
    def ok(self) -> bool:
        """Whether every counted epoch settled, the honest were paid, the dishonest were not, and
        all balances add up."""
        judged = self.counted[-1:] if self.allow_skipped else self.counted
        return (
            self.balances_ok
            and all(verdict.is_equal for verdict in self.audited)
            and bool(judged)
            and all(len(epoch.bundles) == self.shards for epoch in judged)
            and all(
                provider_reward(epoch, each) > 0
                for epoch in judged
                for each in self.participants
                if each.is_provider and each.kind == "honest"
            )
            and self.copying_does_not_pay
            and self.equivocation_is_punished
            and not any(each.problems for each in self.rentals)
            and (self.zeronodes is None or not self.zeronodes.problems)
        )

    @property
    def copying_does_not_pay(self) -> bool:
        """Whether each copying checker earned less than every honest one."""
        checkers = [each for each in self.participants if not each.is_provider]
        honest = [self.earned(each) for each in checkers if each.kind == "honest"]
        return all(
            self.earned(each) < earned
            for each in checkers
            if each.kind == "copying"
            for earned in honest
        )

    @property
    def equivocation_is_punished(self) -> bool:
        """Whether each equivocating checker lost its whole stake in the epoch of its offence."""
        return all(
            any(
                penalty.landed == penalty.epoch and penalty.slashed == each.staked
                for penalty in self.penalties_of(each)
            )
            for each in self.participants
            if each.kind == "equivocating"
        )

    def earned(self, participant: Participant) -> int:
        """A participant's reward over the counted epochs, in the token's smallest unit."""
        return sum(total_reward(epoch, participant) for epoch in self.counted)

    def penalties_of(self, participant: Participant) -> list[Penalty]:
        """What was taken from a participant's stake."""
        offence = Offence.FRAUD if participant.is_provider else Offence.EQUIVOCATION
        return [
            each
            for each in self.penalties
            if (each.offence, each.index) == (offence, participant.index)
        ]

    def ban_of(self, participant: Participant) -> Ban | None:
        """The latest ban of a checker, if there is one."""
        if participant.is_provider:
            return None
        bans = [each for each in self.bans if each.checker == participant.index]
        return bans[-1] if bans else None

    def to_json(self) -> dict[str, Any]:
        """Return the result in the form that `--json` documents."""
        return {
            "ok": self.ok,
            "seconds": round(self.seconds, 2),
            "epochs": [self._epoch_json(epoch) for epoch in self.counted],
            "penalties": [self._penalty_json(each) for each in self.penalties],
            "bans": [
                {
                    "name": self._name_of(is_provider=False, index=each.checker),
                    "first": each.first,
                    "until": each.until,
                }
                for each in self.bans
            ],
            "rentals": [each.to_json() for each in self.rentals],
            "zeronodes": None if self.zeronodes is None else self.zeronodes.to_json(),
            "balances_ok": self.balances_ok,
            "problems": self.problems,
            "audits": [
                {
                    "epoch": verdict.epoch,
                    "equal": verdict.is_equal,
                    "compared": sum(verdict.counts.values()),
                    "difference": verdict.difference and str(verdict.difference),
                }
                for verdict in self.audited
            ],
        }

    def _penalty_json(self, penalty: Penalty) -> dict[str, Any]:
        reporters = [each.name for each in self.participants if each.wallet == penalty.reporter]
        return {
            "offence": penalty.offence.value,
            "name": self._name_of(
                is_provider=penalty.offence is Offence.FRAUD, index=penalty.index
            ),
            "epoch": penalty.epoch,
            "landed": penalty.landed,
            "reporter": reporters[0] if reporters else None,
            "slashed": str(penalty.slashed),
            "bounty": str(penalty.bounty),
        }

    def _name_of(self, *, is_provider: bool, index: int) -> str | None:
        for each in self.participants:
            if (each.is_provider, each.index) == (is_provider, index):
                return each.name
        return None

    def _epoch_json(self, epoch: SettledEpoch) -> dict[str, Any]:
        return {
            "epoch": epoch.epoch,
            "provider_pool": str(epoch.provider_pool),
            "checker_pool": str(epoch.checker_pool),
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
                    "reward": str(provider_reward(epoch, each)),
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
                    "reward": str(checker_reward(epoch, each)),
                }
                for each in self.participants
                if not each.is_provider
            ],
        }


def provider_score(epoch: SettledEpoch, provider: Participant) -> int:
    """Score on the chain; 0 where the shard has no bundle."""
    shard, lane = divmod(provider.index, LANES)
    return next((b.scores[lane] for b in epoch.bundles if b.shard == shard), 0)


def provider_reward(epoch: SettledEpoch, provider: Participant) -> int:
    """Share of the provider pool, in the token's smallest unit."""
    if not epoch.provider_total:
        return 0
    return epoch.provider_pool * provider_score(epoch, provider) // epoch.provider_total


def seat_reward(epoch: SettledEpoch, bundle: Bundle, seat: Seat) -> int:
    """Share of the checker pool that one report earned; nothing without feeding the seed."""
    if not epoch.checker_total or seat.checker not in epoch.contributed:
        return 0
    weight = seat.units * compute_weight(seat.deviations, bundle.lanes)
    return epoch.checker_pool * weight // epoch.checker_total


def checker_reward(epoch: SettledEpoch, checker: Participant) -> int:
    """Share of the checker pool over all shards."""
    return sum(seat_reward(epoch, bundle, seat) for bundle, seat in _reports_of(epoch, checker))


def error_rate(epoch: SettledEpoch, checker: Participant) -> float:
    """Deviating lanes over lanes reported, 0 … 1; 0 for a checker that did not report.

    For people and for `--json` only: rewards are computed from the counts.
    """
    reports = _reports_of(epoch, checker)
    lanes = sum(bundle.lanes for bundle, _ in reports)
    deviations = sum(min(seat.deviations, bundle.lanes) for bundle, seat in reports)
    return round(deviations / lanes, 4) if lanes else 0.0


def paid_reward(epoch: SettledEpoch, participant: Participant) -> int:
    """The part of a participant's reward that has been paid out."""
    if participant.is_provider:
        paid = participant.index in epoch.paid_providers
        return provider_reward(epoch, participant) if paid else 0
    return sum(
        seat_reward(epoch, bundle, seat)
        for bundle, seat in _reports_of(epoch, participant)
        if (bundle.shard, seat.seat) in epoch.paid_seats
    )


def total_reward(epoch: SettledEpoch, participant: Participant) -> int:
    """A participant's reward, paid or not."""
    if participant.is_provider:
        return provider_reward(epoch, participant)
    return checker_reward(epoch, participant)


def find_unpaid(outcome: Outcome) -> list[str]:
    """List the rewards of counted epochs that have not been paid out.

    Who was killed claims nothing any more.
    """
    return [
        f"{each.name}: epoch {epoch.epoch} is not paid"
        for epoch in outcome.counted
        for each in outcome.participants
        if each.kind != "doomed" and paid_reward(epoch, each) != total_reward(epoch, each)
    ]


def _reports_of(epoch: SettledEpoch, checker: Participant) -> list[tuple[Bundle, Seat]]:
    return [
        (bundle, seat)
        for bundle in epoch.bundles
        for seat in bundle.seats
        if seat.checker == checker.index
    ]
