"""The accounts of a run: rewards worked out from scores and counts, and what makes a run ok."""

import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.audit.findings import Difference, Place
from chain.audit.judging import Verdict
from p2p_node.testnet.accounts import expected_balance, expected_holdings, find_odd_penalties
from p2p_node.testnet.outcome import (
    Ban,
    Bundle,
    Offence,
    Outcome,
    Participant,
    Penalty,
    Seat,
    SettledEpoch,
    checker_reward,
    error_rate,
    find_unpaid,
    provider_reward,
)
from p2p_node.testnet.screen import PlainScreen, describe_standing, summarise
from p2p_node.testnet.zeronode_outcome import ZeroNodeRun
from protocols.epochs import Phase
from protocols.params import LANES, MINIMAL, TOKEN
from protocols.types import Epoch, Shard, Wallet

ALICE = Participant("provider-1", "honest", True, Wallet(b"\x01" * 20), 100 * TOKEN, 0, 100 * TOKEN)
CHEAT = Participant("cheat-1", "cheating", True, Wallet(b"\x02" * 20), 100 * TOKEN, 1, 100 * TOKEN)
CAROL = Participant(
    "checker-1", "honest", False, Wallet(b"\x03" * 20), 1000 * TOKEN, 0, 1000 * TOKEN
)
LIAR = Participant("liar-1", "lying", False, Wallet(b"\x04" * 20), 1000 * TOKEN, 1, 1000 * TOKEN)
EVERYBODY = [ALICE, CHEAT, CAROL, LIAR]


def settle(**changes: object) -> SettledEpoch:
    """Two lanes; Carol agrees in both, the liar in none."""
    bundle = Bundle(
        shard=Shard(0),
        tx="0x00",
        gas_used=300_000,
        lanes=2,
        scores=(800, 0, *[0] * (LANES - 2)),
        seats=(Seat(0, 0, 0, 1000), Seat(1, 1, 2, 1000)),
        online=0b11,
    )
    epoch = SettledEpoch(
        epoch=Epoch(3),
        bundles=(bundle,),
        provider_pool=MINIMAL.provider_pool,
        checker_pool=MINIMAL.checker_pool,
        provider_total=800,
        checker_total=2000,
        contributed=frozenset({0, 1}),
        paid_providers=frozenset({0}),
        paid_seats=frozenset({(Shard(0), 0)}),
    )
    return replace(epoch, **changes)


def make_outcome(*epochs: SettledEpoch) -> Outcome:
    return Outcome(MINIMAL, EVERYBODY, 1, list(epochs), balances_ok=True)


def test_all_of_a_pool_goes_to_those_who_earned_it() -> None:
    epoch = settle()
    assert provider_reward(epoch, ALICE) == MINIMAL.provider_pool
    assert provider_reward(epoch, CHEAT) == 0
    assert checker_reward(epoch, CAROL) == MINIMAL.checker_pool
    assert checker_reward(epoch, LIAR) == 0
    assert error_rate(epoch, CAROL) == 0.0
    assert error_rate(epoch, LIAR) == 1.0


def test_withholding_the_seed_costs_the_reward() -> None:
    assert checker_reward(settle(contributed=frozenset({1})), CAROL) == 0


def test_nothing_is_earned_where_nothing_settled() -> None:
    epoch = settle(bundles=(), provider_total=0, checker_total=0)
    assert provider_reward(epoch, ALICE) == 0
    assert checker_reward(epoch, CAROL) == 0
    assert error_rate(epoch, CAROL) == 0.0


def test_balances_hold_only_what_was_paid() -> None:
    outcome = make_outcome()
    assert expected_balance(outcome, [settle()], ALICE) == MINIMAL.provider_pool
    unpaid = settle(paid_providers=frozenset(), paid_seats=frozenset())
    assert expected_balance(outcome, [unpaid], ALICE) == 0
    assert expected_balance(outcome, [unpaid], CAROL) == 0
    assert find_unpaid(make_outcome(settle())) == []
    assert find_unpaid(make_outcome(unpaid)) == [
        "provider-1: epoch 3 is not paid",
        "checker-1: epoch 3 is not paid",
    ]


@pytest.mark.parametrize(
    ("outcome", "ok"),
    [
        (make_outcome(settle()), True),
        (make_outcome(), False),
        (make_outcome(settle(), settle(bundles=(), provider_total=0)), False),
        (replace(make_outcome(settle()), balances_ok=False), False),
        (make_outcome(settle(provider_total=0)), False),
    ],
)
def test_a_run_is_ok_only_if_everything_is(outcome: Outcome, ok: bool) -> None:
    assert outcome.ok is ok
    assert outcome.to_json()["ok"] is ok


def test_an_audit_that_finds_a_difference_fails_the_run() -> None:
    equal = Verdict(Epoch(3), False, True, {"Beacon.seed": 2, "Consensus.scores": 256}, None)
    difference = Difference("Beacon", "seed", Place(3), "1", "2")
    outcome = replace(make_outcome(settle()), audited=[equal])
    assert outcome.ok
    assert outcome.to_json()["audits"] == [
        {"epoch": 3, "equal": True, "compared": 258, "difference": None}
    ]
    outcome.audited.append(replace(equal, difference=difference))
    assert not outcome.ok
    assert outcome.to_json()["audits"][1]["difference"] == (
        "Beacon.seed (epoch 3): found 1, expected 2"
    )


def test_a_problem_of_a_zeronode_fails_the_run() -> None:
    outcome = replace(make_outcome(settle()), zeronodes=ZeroNodeRun(days=[3], roots={3: "00"}))
    assert outcome.ok
    assert outcome.to_json()["zeronodes"] == {
        **{"service": "", "days": [3], "anchored": {"3": "00"}, "entries": 0},
        **{"extensions": [], "problems": []},
    }
    outcome.zeronodes.problems.append("extension-1: nothing")
    assert not outcome.ok


def test_json_has_the_documented_form() -> None:
    result = make_outcome(settle()).to_json()
    assert set(result) == {
        *("ok", "seconds", "epochs", "penalties", "bans", "balances_ok", "problems", "audits"),
        "rentals",
        "zeronodes",
    }
    assert result["zeronodes"] is None
    (epoch,) = result["epochs"]
    assert epoch["epoch"] == 3
    assert epoch["bundles"] == [{"shard": 0, "tx": "0x00", "gas_used": 300_000, "reports": 2}]
    assert epoch["providers"][0] == {
        "name": "provider-1",
        "index": 0,
        "kind": "honest",
        "score": 800,
        "reward": str(MINIMAL.provider_pool),
    }
    assert epoch["checkers"][1] == {
        "name": "liar-1",
        "index": 1,
        "kind": "lying",
        "reported": True,
        "error_rate": 1.0,
        "reward": "0",
    }


COPIER = Participant(
    "copier-1", "copying", False, Wallet(b"\x05" * 20), 1000 * TOKEN, 2, 1000 * TOKEN
)
TRAITOR = Participant(
    "traitor-1", "equivocating", False, Wallet(b"\x06" * 20), 1000 * TOKEN, 3, 1000 * TOKEN
)
SLASHED = Penalty(
    Offence.EQUIVOCATION, 3, Epoch(3), Epoch(3), CAROL.wallet, 1000 * TOKEN, 100 * TOKEN
)
DEFRAUDED = Penalty(
    Offence.FRAUD,
    1,
    Epoch(3),
    Epoch(4),
    CAROL.wallet,
    100 * TOKEN * MINIMAL.fraud_slash_bps // 10_000,
    100 * TOKEN * MINIMAL.fraud_slash_bps // 100_000,
)


def with_adversaries(*penalties: Penalty, **changes: object) -> Outcome:
    return Outcome(
        MINIMAL,
        [*EVERYBODY, COPIER, TRAITOR],
        1,
        [settle(**changes)],
        penalties=list(penalties),
        bans=[Ban(1, Epoch(5), Epoch(65))],
        balances_ok=True,
    )


def test_an_equivocating_checker_has_to_lose_its_stake_in_the_same_epoch() -> None:
    assert with_adversaries(SLASHED).ok
    assert not with_adversaries().ok
    assert not with_adversaries(replace(SLASHED, landed=Epoch(4))).ok
    assert not with_adversaries(replace(SLASHED, slashed=999 * TOKEN)).ok
    assert not with_adversaries(replace(SLASHED, index=2)).ok


def test_a_copying_checker_has_to_earn_less_than_every_honest_one() -> None:
    seats = (Seat(0, 0, 0, 1000), Seat(2, 2, 0, 1000))
    equal = replace(settle().bundles[0], seats=seats)
    everybody = frozenset({0, 2})
    assert not with_adversaries(SLASHED, bundles=(equal,), contributed=everybody).ok
    less = replace(equal, seats=(seats[0], Seat(2, 2, 1, 1000)))
    assert with_adversaries(SLASHED, bundles=(less,), contributed=everybody).ok


def test_bounties_and_slashed_stakes_are_on_the_accounts() -> None:
    outcome = with_adversaries(SLASHED, DEFRAUDED)
    epochs = outcome.counted
    bounties = SLASHED.bounty + DEFRAUDED.bounty
    slashed = SLASHED.slashed + DEFRAUDED.slashed
    paid = MINIMAL.provider_pool + MINIMAL.checker_pool
    assert expected_balance(outcome, epochs, CAROL) == MINIMAL.checker_pool + bounties
    assert expected_balance(outcome, epochs, TRAITOR) == 0
    assert expected_holdings(outcome, epochs, 10**30) == {
        "Registry": 4200 * TOKEN - slashed,
        "Rewards": 10**30 - paid + slashed - bounties,
        "Rental": 0,
    }
    holdings = expected_holdings(outcome, epochs, 10**30, owed=5, unswept=2)
    assert (holdings["Rental"], holdings["Rewards"]) == (7, 10**30 - paid + slashed - bounties - 2)
    assert find_odd_penalties(outcome) == []


def test_penalties_are_held_against_the_rules() -> None:
    odd = replace(SLASHED, bounty=101 * TOKEN)
    (text,) = find_odd_penalties(with_adversaries(odd))
    assert text.startswith("equivocation by slot 3 in epoch 3: 1000")
    # The second mark takes its part of what the first one left.
    assert find_odd_penalties(with_adversaries(DEFRAUDED, DEFRAUDED)) != []


def test_penalties_and_bans_are_shown() -> None:
    outcome = with_adversaries(SLASHED, DEFRAUDED)
    result = outcome.to_json()
    assert result["penalties"][0] == {
        "offence": "equivocation",
        "name": "traitor-1",
        "epoch": 3,
        "landed": 3,
        "reporter": "checker-1",
        "slashed": str(1000 * TOKEN),
        "bounty": str(100 * TOKEN),
    }
    assert result["penalties"][1]["name"] == "cheat-1"
    assert result["bans"] == [{"name": "liar-1", "first": 5, "until": 65}]
    shown = {each.name: describe_standing(outcome, each) for each in outcome.participants}
    assert shown["traitor-1"] == "equivocation in epoch 3: lost 1000 KAI in epoch 3"
    assert shown["cheat-1"] == "fraud in epoch 3: lost 33.33 KAI in epoch 4"
    assert shown["liar-1"] == "banned from epoch 5, until epoch 65"
    assert shown["checker-1"] == ""


@given(st.lists(st.integers(0, 32_767), min_size=1, max_size=LANES))
def test_providers_never_get_more_than_the_pool(scores: list[int]) -> None:
    padded = (*scores, *[0] * (LANES - len(scores)))
    bundle = replace(settle().bundles[0], scores=padded)
    epoch = settle(bundles=(bundle,), provider_total=sum(scores))
    everybody = [replace(ALICE, index=lane) for lane in range(len(scores))]
    paid = sum(provider_reward(epoch, each) for each in everybody)
    assert paid <= MINIMAL.provider_pool
    assert not sum(scores) or paid > MINIMAL.provider_pool - len(scores)


def test_plain_screen_tells_each_phase_once(capsys: pytest.CaptureFixture[str]) -> None:

    screen = PlainScreen(sys.stdout)
    for _ in range(3):
        screen.progress(Epoch(1), Phase.CHECK, 0, 1)
    screen.progress(Epoch(1), Phase.REVEAL, 0, 1)
    screen.epoch(make_outcome(settle()), settle())
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("s  ")[1] for line in lines[:2]] == ["epoch 1: check", "epoch 1: reveal"]
    assert lines[2].endswith(summarise(make_outcome(settle()), settle()))
    assert "2 of 4 earn" in lines[2]


def test_epochs_that_an_outage_swallowed_may_be_allowed() -> None:
    skipped = settle(bundles=(), provider_total=0, checker_total=0)
    outcome = make_outcome(skipped, settle())
    outcome.balances_ok = True
    assert not outcome.ok
    outcome.allow_skipped = True
    assert outcome.ok
    outcome.counted.append(skipped)
    assert not outcome.ok, "the last one has to settle"
    outcome.counted[-1] = settle()
    outcome.balances_ok = False
    assert not outcome.ok
