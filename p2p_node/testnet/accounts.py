"""Whether the money of a run adds up: every wallet and every contract, to the last unit."""

from collections import Counter
from collections.abc import Mapping, Sequence

from p2p_node.testnet.outcome import Offence, Outcome, Participant, SettledEpoch, paid_reward
from p2p_node.testnet.rental_outcome import earned_by_renting, sum_fees

BASIS_POINTS = 10_000


def expected_balance(
    outcome: Outcome, epochs: Sequence[SettledEpoch], participant: Participant, owed: int = 0
) -> int:
    """What a wallet holds after its stake went and payments, bounties and rents came.

    `owed` is what it has not had paid out of its leases.
    """
    earned = sum(paid_reward(epoch, participant) for epoch in epochs)
    bounties = sum(each.bounty for each in outcome.penalties if each.reporter == participant.wallet)
    rents = earned_by_renting(outcome.rentals).get(participant.name, 0)
    return participant.funded - participant.staked + earned + bounties + rents - owed


def expected_holdings(
    outcome: Outcome,
    epochs: Sequence[SettledEpoch],
    reward_fund: int,
    *,
    owed: int = 0,
    unswept: int = 0,
) -> Mapping[str, int]:
    """What the contracts hold, by name: stakes, the fund, what leases owe, and nothing in all
    others.

    `reward_fund` is what was paid into the fund at the deployment, `owed` what wallets have not had
    paid out of their leases, `unswept` the fees that did not go to the fund yet.
    """
    paid = sum(paid_reward(epoch, each) for epoch in epochs for each in outcome.participants)
    slashed = sum(each.slashed for each in outcome.penalties)
    bounties = sum(each.bounty for each in outcome.penalties)
    fees = sum_fees(outcome.rentals)
    return {
        "Registry": sum(each.staked for each in outcome.participants) - slashed,
        "Rewards": reward_fund - paid + slashed - bounties + fees - unswept,
        "Rental": owed + unswept,
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
