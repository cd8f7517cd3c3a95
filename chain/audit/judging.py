"""The judgement of one epoch: everything that was read of it, one thing after another.

Pure. The order is that in which things follow from each other, so that the first difference found
is the one that explains the others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chain.audit.bundles import BundleFacts, Rules, judge_bundle
from chain.audit.chronicle import Chronicle
from chain.audit.claims import Claim, find_doubles, judge_claim, judge_transfers
from chain.audit.findings import Checks, Difference, DifferenceError, Place, differ
from chain.audit.penalties import PenaltyFacts, PenaltyRules, judge_penalty
from chain.audit.pools import EMISSION_BPS, ClosingFacts, judge_closing
from chain.audit.rewards import SettledEpoch, StoredReward, judge_rewards, settle
from chain.audit.seeds import SeedFacts, judge_seed
from chain.audit.tenancies import Position, position_of
from chain.deploy_plan import STAKE_UNIT
from chain.deployment import Deployment
from chain.events import Transferred
from chain.records import Totals
from protocols.reports import compute_domain_separator
from protocols.types import Digest, Epoch


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one epoch: `difference` is None when everything was equal.

    `counts` tells how many of which fields were compared. An expired epoch has left the ring, and
    was judged from events and calldata only. One that `is_closed` is not has no pools yet.
    """

    epoch: Epoch
    is_expired: bool
    is_closed: bool
    counts: Mapping[str, int]
    difference: Difference | None

    @property
    def is_equal(self) -> bool:
        """Whether the chain holds nothing but what its data make it."""
        return self.difference is None


@dataclass(frozen=True, slots=True)
class BundlesFacts:
    """What decides the results of one epoch."""

    epoch: Epoch
    seed: SeedFacts
    bundles: Sequence[BundleFacts]


@dataclass(frozen=True, slots=True)
class PaymentFacts:
    """One transaction that paid rewards: its claims, and what the token moved in it.

    `current` is the epoch in which that was.
    """

    claims: Sequence[Claim]
    transfers: Sequence[Transferred]
    current: Epoch


@dataclass(frozen=True, slots=True)
class EpochFacts:
    """Everything that was read about one epoch.

    `closed_in` is the epoch in which it was closed, None if nobody has. `stored` is what Rewards
    answers at `position`, `totals` what Consensus does: nothing for an expired epoch. `payments`
    are those that were for this epoch among others, and `others` the results of the others.
    """

    results: BundlesFacts
    is_expired: bool
    closed_in: Epoch | None
    totals: Totals | None
    stored: Sequence[StoredReward]
    position: Position
    payments: Sequence[PaymentFacts]
    others: Sequence[BundlesFacts]
    penalties: Sequence[PenaltyFacts]


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges the epochs of one deployment.

    `genesis_accumulator` is what its Beacon began with, `first_epoch` the first that pays rewards.
    """

    deployment: Deployment
    chronicle: Chronicle
    genesis_accumulator: Digest
    first_epoch: Epoch

    def judge(self, facts: EpochFacts) -> Verdict:
        """Judge everything about an epoch."""
        checks = Checks()
        difference = None
        try:
            self._judge(facts, checks)
        except DifferenceError as error:
            difference = error.difference
        return Verdict(
            epoch=facts.results.epoch,
            is_expired=facts.is_expired,
            is_closed=facts.closed_in is not None,
            counts=dict(checks.counts),
            difference=difference,
        )

    def _judge(self, facts: EpochFacts, checks: Checks) -> None:
        settled = self._settle(facts.results, checks)
        _judge_totals(facts, settled, checks)
        if facts.closed_in is not None:
            judge_closing(
                self._closing_facts(settled, facts.closed_in), self.deployment.preset, checks
            )
            self._judge_payments(facts, settled, checks)
        self._judge_penalties(facts, settled, checks)

    def _settle(self, facts: BundlesFacts, checks: Checks) -> SettledEpoch:
        """Judge seed and bundles; pools are those that the closing tells."""
        chronicle = self.chronicle
        seed = judge_seed(facts.seed, self.genesis_accumulator, checks)
        rules = rules_of(self.deployment)
        shards = [
            judge_bundle(each, seed, chronicle.tenancies, rules, checks) for each in facts.bundles
        ]
        closing = chronicle.fund.closing(facts.epoch)
        return settle(
            epoch=facts.epoch,
            shards=shards,
            provider_pool=closing[0].provider_pool if closing else 0,
            checker_pool=closing[0].checker_pool if closing else 0,
            contributors=chronicle.contributors(facts.epoch),
        )

    def _closing_facts(self, settled: SettledEpoch, closed_in: Epoch) -> ClosingFacts:
        chronicle, preset = self.chronicle, self.deployment.preset
        closing = chronicle.fund.closing(settled.epoch)
        if closing is None:
            differ("Rewards", "EpochClosed", Place(settled.epoch), "no event", "one")
        event, log = closing
        oldest = Epoch(max(0, closed_in + 1 - preset.ring_epochs))
        unpromised = chronicle.fund.unpromised(position_of(log), oldest)
        return ClosingFacts(
            event=event,
            previous=chronicle.fund.closing_before(settled.epoch),
            first=self.first_epoch,
            skipped_to=oldest,
            emission_bps=chronicle.setting(EMISSION_BPS, position_of(log)),
            least=unpromised.least,
            most=unpromised.most,
            has_providers=settled.total > 0,
            has_checkers=settled.weighted > 0,
        )

    def _judge_payments(self, facts: EpochFacts, settled: SettledEpoch, checks: Checks) -> None:
        chronicle, epoch = self.chronicle, settled.epoch
        # What is equal in other epochs is counted by their own audits.
        epochs = {each.epoch: self._settle(each, Checks()) for each in facts.others}
        epochs[epoch] = settled
        rewards = self.deployment.address("Rewards")
        delegation = self.deployment.address("Delegation")
        for payment in facts.payments:
            for claim in payment.claims:
                if not claim.items:
                    differ(
                        "Rewards",
                        "claim",
                        Place(epoch, index=claim.index),
                        f"not in the calldata of 0x{claim.log.transaction_hash.hex()}",
                        "the items that were paid",
                    )
                if not any(item.epoch == epoch for item in claim.items):
                    continue
                commission = chronicle.commission(claim, payment.current)
                judge_claim(claim, epochs, chronicle.tenancies, commission, checks)
            judge_transfers(payment.claims, payment.transfers, rewards, delegation, checks)
        paid = find_doubles(
            epoch, [claim for payment in facts.payments for claim in payment.claims], checks
        )
        judge_rewards(facts.stored, settled, paid, chronicle.tenancies, facts.position, checks)

    def _judge_penalties(self, facts: EpochFacts, settled: SettledEpoch, checks: Checks) -> None:
        rules = PenaltyRules(
            domain=rules_of(self.deployment).domain,
            preset=self.deployment.preset,
            penalties=self.deployment.address("Penalties"),
            rewards=self.deployment.address("Rewards"),
        )
        for each in facts.penalties:
            judge_penalty(each, settled.shards, self.chronicle, rules, checks)


def rules_of(deployment: Deployment) -> Rules:
    """Return the numbers by which a deployment's bundles are judged."""
    preset = deployment.preset
    return Rules(
        domain=compute_domain_separator(deployment.chain_id, deployment.address("Consensus")),
        seats=preset.seats,
        quorum=preset.quorum,
        tolerance_shift=preset.tolerance_shift,
        stake_unit=STAKE_UNIT,
    )


def _judge_totals(facts: EpochFacts, settled: SettledEpoch, checks: Checks) -> None:
    if facts.totals is None:
        return
    place, totals = Place(settled.epoch), facts.totals
    checks.equal("Consensus", "totals.provider_total", place, totals.provider_total, settled.total)
    checks.equal("Consensus", "totals.checker_total", place, totals.checker_total, settled.weighted)
