"""Whether the money of a run adds up: every wallet and every contract, to the last unit."""

from collections import Counter
from collections.abc import Mapping, Sequence

from p2p_node.testnet.outcome import Offence, Outcome, Participant, SettledEpoch, paid_reward

BASIS_POINTS = 10_000


def expected_balance(
    outcome: Outcome, epochs: Sequence[SettledEpoch], participant: Participant
) -> int:
    """What a wallet holds after its stake went and payments and bounties came."""
    earned = sum(paid_reward(epoch, participant) for epoch in epochs)
    bounties = sum(each.bounty for each in outcome.penalties if each.reporter == participant.wallet)
    return participant.funded - participant.staked + earned + bounties


def expected_holdings(
    outcome: Outcome, epochs: Sequence[SettledEpoch], reward_fund: int
) -> Mapping[str, int]:
    """What the contracts hold, by name: stakes, the fund, and nothing in all others.

    `reward_fund` is what was paid into the fund at the deployment.
    """
    paid = sum(paid_reward(epoch, each) for epoch in epochs for each in outcome.participants)
    slashed = sum(each.slashed for each in outcome.penalties)
    bounties = sum(each.bounty for each in outcome.penalties)
    return {
        "Registry": sum(each.staked for each in outcome.participants) - slashed,
        "Rewards": reward_fund - paid + slashed - bounties,
    }


def find_odd_penalties(outcome: Outcome) -> list[str]:
    """List the penalties that took something else than the rules say, in the order they came."""
    preset = outcome.preset
    left: Counter[tuple[bool, int]] = Counter(
        {(each.is_provider, each.index): each.staked for each in outcome.participants}
    )
    odd = []
    for penalty in outcome.penalties:
        is_fraud = penalty.offence is Offence.FRAUD
        stake = left[is_fraud, penalty.index]
        due = stake * preset.fraud_slash_bps // BASIS_POINTS if is_fraud else stake
        bounty = due * preset.bounty_bps // BASIS_POINTS
        left[is_fraud, penalty.index] -= penalty.slashed
        if (penalty.slashed, penalty.bounty) != (due, bounty):
            odd.append(
                f"{penalty.offence.value} by slot {penalty.index} in epoch {penalty.epoch}: "
                f"{penalty.slashed} taken and {penalty.bounty} as bounty, expected {due} and "
                f"{bounty}"
            )
    return odd
