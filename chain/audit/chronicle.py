"""Everything that happened in a deployment, in order and sorted by what an audit asks for."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from chain.audit.claims import Claim
from chain.audit.commissions import Commissions
from chain.audit.fund import Fund
from chain.audit.tenancies import Position, Tenancies, position_of
from chain.delegation_events import DelegationSlashed
from chain.errors import MalformedAnswerError
from chain.events import (
    BundleAccepted,
    Contributed,
    Equivocated,
    Event,
    Executed,
    FraudPunished,
    SeedFrozen,
    Slashed,
    Suspended,
    WrongRecorded,
)
from chain.records import Log, SlotKind
from protocols.types import Epoch, Shard, Wallet

Entry: TypeAlias = tuple[Event, Log]


@dataclass(frozen=True, slots=True)
class SeedHistory:
    """What led to one epoch's seed; see `SeedFacts`, which has the parents' hashes besides."""

    before: SeedFrozen | None
    contributions: Sequence[tuple[Contributed, Log]]
    frozen: SeedFrozen | None


@dataclass(frozen=True, slots=True)
class WrongHistory:
    """What the contracts hold against a wallet: epochs of its wrong reports, in order.

    `barred_before` is the end of its longest ban before the latest of them.
    """

    epochs: tuple[Epoch, ...]
    barred_before: Epoch


class Chronicle:
    """The deployment's events up to one block.

    Built from entries in the order of the chain; MalformedAnswerError when they are not, or when
    they cannot have been emitted one after the other. `warmup_epochs` is Delegation's.
    `beacon_block` is where the Beacon was created.
    """

    def __init__(self, entries: Iterable[Entry], warmup_epochs: int) -> None:
        self.tenancies = Tenancies()
        self.commissions = Commissions(warmup_epochs)
        self.fund = Fund()
        self.bundles: dict[Epoch, dict[Shard, tuple[BundleAccepted, Log]]] = {}
        self.beacon_block = 0
        self._seeds: list[SeedFrozen] = []
        self._contributions: list[tuple[Contributed, Log]] = []
        self.penalties: list[tuple[Equivocated | FraudPunished | WrongRecorded, Log]] = []
        self._settings: dict[int, list[tuple[Position, int]]] = {}
        self._slashes: list[tuple[Slashed, Log]] = []
        self._delegation_slashes: list[tuple[DelegationSlashed, Log]] = []
        self._suspensions: list[tuple[Suspended, Log]] = []
        self._wrong: list[tuple[Wallet, WrongRecorded, Log]] = []
        last: Position = (-1, -1)
        for event, log in entries:
            if position_of(log) <= last:
                raise MalformedAnswerError(f"logs out of order at block {log.block_number}")
            last = position_of(log)
            self._take(event, log)
        self._require_reasons()

    def seed_history(self, epoch: Epoch) -> SeedHistory:
        """Return what led to the seed of `epoch`."""
        following = bisect_left(self._seeds, epoch, key=lambda frozen: frozen.epoch)
        before = self._seeds[following - 1] if following else None
        frozen = None
        if following < len(self._seeds) and self._seeds[following].epoch == epoch:
            frozen = self._seeds[following]
        start = 0 if before is None else before.epoch
        return SeedHistory(
            before,
            [each for each in self._contributions if start <= each[0].epoch < epoch],
            frozen,
        )

    def contributors(self, epoch: Epoch) -> frozenset[int]:
        """Return the checkers that contributed to the Beacon in `epoch`."""
        return frozenset(event.checker for event, _ in self._contributions if event.epoch == epoch)

    def commission(self, claim: Claim, current: Epoch) -> int:
        """Return the part of a claim, made in epoch `current`, that went to delegators."""
        position = position_of(claim.log)
        tenancy = self.tenancies.at(claim.kind, claim.index, position)
        if claim.kind is SlotKind.PROVIDER or tenancy is None:
            return 0
        return self.commissions.commission(claim.index, tenancy.since, current, position)

    def setting(self, number: int, position: Position) -> int:
        """Return a parameter of the Steward as it was for a log at `position`."""
        changes = self._settings.get(number, [])
        earlier = bisect_left(changes, position, key=lambda change: change[0])
        if not earlier:
            raise MalformedAnswerError(f"Steward: parameter {number} was never set")
        return changes[earlier - 1][1]

    def slash_before(self, log: Log, kind: SlotKind, index: int) -> tuple[Slashed, Log] | None:
        """Return the last slash of a slot in the same transaction before `log`, or None."""
        for slash, found in reversed(self._slashes):
            if position_of(found) < position_of(log):
                if found.transaction_hash != log.transaction_hash:
                    return None
                if (slash.kind, slash.index) == (kind, index):
                    return slash, found
        return None

    def delegated_slash(self, log: Log, index: int) -> tuple[int, int]:
        """Return what was slashed of a checker's delegations in the same transaction.

        That is of what was active, and of what was on its way out.
        """
        found = [
            event
            for event, at in self._delegation_slashes
            if at.transaction_hash == log.transaction_hash and event.index == index
        ]
        return sum(event.active for event in found), sum(event.leaving for event in found)

    def times_punished(self, event: FraudPunished) -> int:
        """Return how often a provider was punished for one epoch."""
        return sum(
            (each.index, each.epoch) == (event.index, event.epoch)
            for each, _ in self.penalties
            if isinstance(each, FraudPunished)
        )

    def wrong_reports(self, log: Log) -> WrongHistory:
        """Return the wrong reports recorded of one wallet up to the one that `log` records."""
        at = next(n for n, (_, _, found) in enumerate(self._wrong) if found == log)
        wallet = self._wrong[at][0]
        earlier = [each for each in self._wrong[:at] if each[0] == wallet]
        # Bans are made by records only, each just before the event of its own.
        known = position_of(earlier[-1][2]) if earlier else (0, 0)
        return WrongHistory(
            tuple(event.epoch for _, event, _ in (*earlier, self._wrong[at])),
            max(
                (
                    event.until_epoch
                    for event, found in self._suspensions
                    if event.wallet == wallet and position_of(found) < known
                ),
                default=Epoch(0),
            ),
        )

    def _require_reasons(self) -> None:
        """Refuse a history in which somebody was slashed or suspended and no penalty says why."""
        explained = {log.transaction_hash for _, log in self.penalties}
        measures: list[tuple[Slashed | Suspended, Log]] = [*self._slashes, *self._suspensions]
        for event, log in measures:
            if log.transaction_hash not in explained:
                raise MalformedAnswerError(
                    f"{type(event).__name__} of slot {event.index} without a penalty, "
                    f"0x{log.transaction_hash.hex()}"
                )

    def _take(self, event: Event, log: Log) -> None:
        match event:
            case BundleAccepted():
                shards = self.bundles.setdefault(event.epoch, {})
                if event.shard in shards:
                    raise MalformedAnswerError(
                        f"two bundles of epoch {event.epoch}, shard {event.shard}"
                    )
                shards[event.shard] = event, log
            case SeedFrozen():
                if self._seeds and self._seeds[-1].epoch >= event.epoch:
                    raise MalformedAnswerError(f"seed of epoch {event.epoch} frozen out of order")
                if not self._seeds:
                    # The Beacon freezes the seed of epoch 0 when it is created.
                    self.beacon_block = log.block_number
                self._seeds.append(event)
            case Contributed():
                self._contributions.append((event, log))
            case Executed():
                changes = self._settings.setdefault(event.number, [])
                changes.append((position_of(log), event.value))
            case Equivocated() | FraudPunished():
                self.penalties.append((event, log))
            case WrongRecorded():
                self.penalties.append((event, log))
                tenancy = self.tenancies.at(SlotKind.CHECKER, event.index, position_of(log))
                if tenancy is None:
                    raise MalformedAnswerError(f"a wrong report of checker {event.index}, nobody's")
                self._wrong.append((tenancy.wallet, event, log))
            case Slashed():
                self._slashes.append((event, log))
                self.tenancies.apply(event, log)
            case DelegationSlashed():
                self._delegation_slashes.append((event, log))
            case Suspended():
                self._suspensions.append((event, log))
                self.tenancies.apply(event, log)
            case _:
                self.tenancies.apply(event, log)
                self.commissions.apply(event, log)
                self.fund.apply(event, log)
