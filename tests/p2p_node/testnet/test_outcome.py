"""The accounts of a run: rewards worked out from scores and counts, and what makes a run ok."""

import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p_node.testnet.outcome import (
    Bundle,
    Outcome,
    Participant,
    Seat,
    SettledEpoch,
    checker_reward,
    error_rate,
    expected_balance,
    find_unpaid,
    provider_reward,
)
from p2p_node.testnet.screen import PlainScreen, summarise
from protocols.epochs import Phase
from protocols.params import LANES, MINIMAL, TOKEN
from protocols.types import Epoch, Shard, Wallet

ALICE = Participant("provider-1", "honest", True, Wallet(b"\x01" * 20), 100 * TOKEN, 0, 100 * TOKEN)
CHEAT = Participant("cheat-1", "cheating", True, Wallet(b"\x02" * 20), 100 * TOKEN, 1, 100 * TOKEN)
CAROL = Participant(
    "checker-1", "honest", False, Wallet(b"\x03" * 20), 1000 * TOKEN, 0, 1000 * TOKEN, 1000
)
LIAR = Participant(
    "liar-1", "lying", False, Wallet(b"\x04" * 20), 1000 * TOKEN, 1, 1000 * TOKEN, 1000
)
EVERYBODY = [ALICE, CHEAT, CAROL, LIAR]


def settle(**changes: object) -> SettledEpoch:
    """Two lanes; Carol agrees in both, the liar in none."""
    bundle = Bundle(
        shard=Shard(0),
        tx="0x00",
        gas_used=300_000,
        lanes=2,
        scores=(800, 0, *[0] * (LANES - 2)),
        seats=(Seat(0, 0, 0), Seat(1, 1, 2)),
    )
    epoch = SettledEpoch(
        epoch=Epoch(3),
        bundles=(bundle,),
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
    assert provider_reward(MINIMAL, epoch, ALICE) == MINIMAL.provider_pool
    assert provider_reward(MINIMAL, epoch, CHEAT) == 0
    assert checker_reward(MINIMAL, epoch, CAROL) == MINIMAL.checker_pool
    assert checker_reward(MINIMAL, epoch, LIAR) == 0
    assert error_rate(epoch, CAROL) == 0.0
    assert error_rate(epoch, LIAR) == 1.0


def test_withholding_the_seed_costs_the_reward() -> None:
    assert checker_reward(MINIMAL, settle(contributed=frozenset({1})), CAROL) == 0


def test_nothing_is_earned_where_nothing_settled() -> None:
    epoch = settle(bundles=(), provider_total=0, checker_total=0)
    assert provider_reward(MINIMAL, epoch, ALICE) == 0
    assert checker_reward(MINIMAL, epoch, CAROL) == 0
    assert error_rate(epoch, CAROL) == 0.0


def test_balances_hold_only_what_was_paid() -> None:
    assert expected_balance(MINIMAL, [settle()], ALICE) == MINIMAL.provider_pool
    unpaid = settle(paid_providers=frozenset(), paid_seats=frozenset())
    assert expected_balance(MINIMAL, [unpaid], ALICE) == 0
    assert expected_balance(MINIMAL, [unpaid], CAROL) == 0
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


def test_json_has_the_documented_form() -> None:
    result = make_outcome(settle()).to_json()
    assert set(result) == {"ok", "seconds", "epochs", "balances_ok", "problems"}
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


@given(st.lists(st.integers(0, 32_767), min_size=1, max_size=LANES))
def test_providers_never_get_more_than_the_pool(scores: list[int]) -> None:
    padded = (*scores, *[0] * (LANES - len(scores)))
    bundle = replace(settle().bundles[0], scores=padded)
    epoch = settle(bundles=(bundle,), provider_total=sum(scores))
    everybody = [replace(ALICE, index=lane) for lane in range(len(scores))]
    paid = sum(provider_reward(MINIMAL, epoch, each) for each in everybody)
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
