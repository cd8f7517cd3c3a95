"""Commit, contribute, and the seeds that follow."""

from __future__ import annotations

import boa
import pytest
from eth_utils import keccak
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.chain.contracts.reference import word
from tests.chain.contracts.world import World, deployer, wallet

NO_SEED = "beacon: no seed for this epoch"
NO_MATCH = "beacon: secret does not match"


def derive(accumulator: bytes, epoch: int) -> bytes:
    """The seed of `epoch`, given the accumulator at its start."""
    return keccak(accumulator + word(epoch))[:12] + bytes(16) + epoch.to_bytes(4, "big")


# -- seeds


def test_seed_of_an_untouched_beacon(small: World) -> None:
    accumulator = small.beacon.accumulator()
    for epoch in (1, 2, 7):
        small.enter(epoch)
        assert small.beacon.seed(epoch) == derive(accumulator, epoch)
        assert small.beacon.seed(epoch - 1) == derive(accumulator, epoch - 1)


def test_contribution_reaches_the_next_seed_only(small: World) -> None:
    before = small.beacon.accumulator()
    small.contribute(0)
    assert small.beacon.seed(1) == derive(before, 1)
    after = small.beacon.accumulator()
    small.enter(2)
    assert small.beacon.seed(1) == derive(before, 1)
    assert small.beacon.seed(2) == derive(after, 2)


def test_accumulator_takes_secret_and_blockhash(small: World) -> None:
    before = small.beacon.accumulator()
    with boa.env.anchor():
        small.contribute(0)
        one = small.beacon.accumulator()
    with boa.env.anchor():
        small.contribute(1)
        other = small.beacon.accumulator()
    assert len({before, one, other}) == 3
    blockhash = boa.eval("blockhash(block.number - 1)")
    assert one == keccak(before + small.secret("checker 0", 0) + blockhash)


def test_seed_differs_in_each_epoch_even_without_contributions(small: World) -> None:
    seeds = set()
    for epoch in range(1, 9):
        small.enter(epoch)
        seeds.add(small.beacon.seed(epoch))
    assert len(seeds) == 8


def test_seeds_of_other_epochs(small: World) -> None:
    """Current and previous always; older ones if somebody called in them."""
    touched = {}
    for epoch in (1, 2, 5):
        small.enter(epoch)
        small.contribute(0, len(touched))
        touched[epoch] = small.beacon.seed(epoch)
    small.enter(9)
    for call in (False, True):
        if call:
            small.contribute(0, len(touched))
        for epoch in (3, 6, 7, 10, 5 + 2**32, 2**256 - 1):
            with boa.reverts(NO_SEED):
                small.beacon.seed(epoch)
        assert small.beacon.seed(8) != small.beacon.seed(9)
        assert {epoch: small.beacon.seed(epoch) for epoch in touched} == touched
        # Epoch 4 was over, and nobody had called, when its seed was frozen with that of 5.
        assert small.beacon.seed(4)


def test_256_seeds_are_kept(small: World) -> None:
    small.contribute(0, 0)
    first = small.beacon.seed(1)
    small.enter(256)
    small.contribute(0, 1)
    assert small.beacon.seed(1) == first
    small.enter(257)
    small.contribute(0, 2)
    assert small.beacon.seed(257) != first
    with boa.reverts(NO_SEED):
        small.beacon.seed(1)


def test_frozen_seed_names_its_accumulator(small: World) -> None:
    """So that an auditor can replay an epoch's contributions."""
    small.enter(2)
    before = small.beacon.accumulator()
    small.contribute(0)
    frozen = [event for event in small.beacon.get_logs() if type(event).__name__ == "SeedFrozen"]
    assert [event.epoch for event in frozen] == [1, 2]
    for event in frozen:
        assert event.accumulator == before
        assert event.seed == derive(event.accumulator, event.epoch)


def test_seed_is_the_same_before_and_after_freezing(small: World) -> None:
    small.enter(4)
    unfrozen = small.beacon.seed(3), small.beacon.seed(4)
    small.contribute(0)
    events = {type(event).__name__: event for event in small.beacon.get_logs()}
    assert (small.beacon.seed(3), small.beacon.seed(4)) == unfrozen
    assert events["SeedFrozen"].seed == unfrozen[1]
    small.contribute(1)
    assert [type(event).__name__ for event in small.beacon.get_logs()] == ["Contributed"]
    assert (small.beacon.seed(3), small.beacon.seed(4)) == unfrozen


@given(touches=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=14))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_seeds_never_change(small: World, touches: list[tuple[int, int]]) -> None:
    """Whoever contributes when: seed(e) follows from the accumulator at the end of e - 1."""
    beacon, epoch = small.beacon, 1
    numbers = [0] * 4
    done: set[tuple[int, int]] = set()
    at_start = {0: beacon.accumulator(), 1: beacon.accumulator()}
    for pause, checker in touches:
        for _ in range(pause):
            epoch += 1
            at_start[epoch] = beacon.accumulator()
        small.enter(epoch)
        if (epoch, checker) in done:
            with boa.reverts():
                small.contribute(checker, numbers[checker])
        else:
            small.contribute(checker, numbers[checker])
            numbers[checker] += 1
            done.add((epoch, checker))
        for asked in (epoch - 1, epoch):
            assert beacon.seed(asked) == derive(at_start[asked], asked)
    for asked in range(epoch + 1):
        for checker in range(4):
            assert beacon.contributed(asked, checker) == ((asked, checker) in done)


# -- commitments


def test_commitment_is_stored_with_its_epoch(small: World) -> None:
    assert small.beacon.commitment(0) == (keccak(small.secret("checker 0", 0)), 0)
    assert small.beacon.commitment(9) == (bytes(32), 0)
    small.contribute(0)
    event = small.beacon.get_logs()[-1]
    following = keccak(small.secret("checker 0", 1))
    assert small.beacon.commitment(0) == (following, 1)
    assert (event.epoch, event.checker_index) == (1, 0)
    assert (event.secret, event.next_commitment) == (small.secret("checker 0", 0), following)


def test_secret_must_match(small: World) -> None:
    with boa.env.prank(wallet("checker 0")):
        for secret in (b"\x01" * 32, bytes(32), small.secret("checker 1", 0)):
            with boa.reverts(NO_MATCH):
                small.beacon.contribute(0, secret, b"\x02" * 32)


def test_next_commitment_must_not_be_zero(small: World) -> None:
    with boa.env.prank(wallet("checker 0")):
        with boa.reverts("beacon: commitment is zero"):
            small.beacon.contribute(0, small.secret("checker 0", 0), bytes(32))
        with boa.reverts("beacon: commitment is zero"):
            small.beacon.commit(0, bytes(32))


def test_once_per_epoch(small: World) -> None:
    small.contribute(0, 0)
    with boa.reverts("beacon: commitment is of this epoch"):
        small.contribute(0, 1)
    with boa.reverts(NO_MATCH):
        small.contribute(0, 0)
    small.enter(2)
    small.contribute(0, 1)


def test_commitment_of_this_epoch_cannot_be_opened_in_it(small: World) -> None:
    small.commit(0, 5)
    event = small.beacon.get_logs()[-1]
    commitment = keccak(small.secret("checker 0", 5))
    assert (event.epoch, event.checker_index, event.commitment) == (1, 0, commitment)
    for number, reason in ((5, "beacon: commitment is of this epoch"), (0, NO_MATCH)):
        with boa.reverts(reason):
            small.contribute(0, number)
    assert not small.beacon.contributed(1, 0), "replacing a secret costs the epoch"
    small.enter(2)
    small.contribute(0, 5)
    assert small.beacon.contributed(2, 0)


def test_without_a_commitment_nothing_is_opened(small: World) -> None:
    index = small.register("checker", "newcomer")
    small.enter(2)
    with boa.reverts(NO_MATCH):
        small.contribute(index)


def test_replacing_after_contributing_keeps_the_contribution(small: World) -> None:
    small.contribute(0)
    small.commit(0, 7)
    assert small.beacon.contributed(1, 0)
    small.enter(2)
    small.contribute(0, 7)
    assert small.beacon.contributed(1, 0)
    assert small.beacon.contributed(2, 0)


def test_history_reaches_back_224_epochs(small: World) -> None:
    small.contribute(0, 0)
    small.enter(224)
    small.commit(0, 3)
    assert small.beacon.contributed(1, 0)
    small.enter(225)
    small.contribute(0, 3)
    assert not small.beacon.contributed(1, 0)
    assert small.beacon.contributed(225, 0)
    assert not small.beacon.contributed(224, 0)
    assert not small.beacon.contributed(226, 0)
    small.enter(2_000)
    small.contribute(0, 4)
    assert not small.beacon.contributed(225, 0)
    assert small.beacon.contributed(2_000, 0)


def test_history_is_one_word(small: World) -> None:
    small.contribute(0, 0)
    small.enter(4)
    small.contribute(0, 1)
    small.enter(6)
    small.commit(0, 9)
    assert small.beacon.history(0) == 6 | 1 << 32 + 2 | 1 << 32 + 5
    assert small.beacon.history(1) == 0


# -- who may


@pytest.mark.parametrize("person", ["outsider", "checker 1", "provider 0"])
def test_only_the_checker_itself(small: World, person: str) -> None:
    with boa.env.prank(wallet(person)):
        with boa.reverts("beacon: caller is not the checker"):
            small.beacon.commit(0, b"\x01" * 32)
        with boa.reverts("beacon: caller is not the checker"):
            small.beacon.contribute(0, small.secret("checker 0", 0), b"\x01" * 32)
        with boa.reverts("beacon: caller is not the checker"):
            small.beacon.commit(77, b"\x01" * 32)


def test_newcomer_commits_at_once_and_contributes_when_active(small: World) -> None:
    index = small.register("checker", "newcomer")
    small.commit(index)
    with boa.reverts("beacon: checker is not active"):
        small.contribute(index)
    small.enter(2)
    small.contribute(index)


def test_checker_that_left(small: World) -> None:
    with boa.env.prank(wallet("checker 0")):
        small.registry.leave_checker()
    with boa.env.anchor():
        small.contribute(0)
    small.commit(0, 8)
    small.enter(2)
    with boa.reverts("beacon: checker is not active"):
        small.contribute(0, 8)
    with boa.reverts("beacon: checker has left"):
        small.commit(0)


def test_newcomer_in_a_reused_slot_cannot_use_the_old_commitment(small: World) -> None:
    with boa.env.prank(wallet("checker 0")):
        small.registry.leave_checker()
    small.enter(20)
    small.registry.withdraw_checker(0)
    assert small.register("checker", "newcomer") == 0
    small.enter(21)
    with boa.env.prank(wallet("newcomer")), boa.reverts(NO_MATCH):
        small.beacon.contribute(0, small.secret("newcomer", 0), b"\x01" * 32)
    small.commit(0)
    small.enter(22)
    small.contribute(0)


def test_needs_a_registry(small: World) -> None:
    with boa.reverts("beacon: registry is not a contract"):
        deployer("Beacon").deploy(wallet("nobody"))
