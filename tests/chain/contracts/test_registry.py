"""Registration, leaving, withdrawal, reuse of slots, and the counts that committees start from."""

from __future__ import annotations

from typing import Any

import boa
import pytest
from eth_utils import keccak
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.chain.contracts.world import (
    EPOCH_SECONDS,
    NO_EXIT,
    REUSE_DELAY,
    UNIT,
    UNSTAKE_DELAY,
    World,
    build,
    deployer,
    wallet,
)

KINDS = ("provider", "checker")
R, S = b"\x22" * 32, b"\x33" * 32


def call(world: World, action: str, kind: str, *arguments: Any) -> Any:
    """`action`_`kind`(…) of the Registry, as in withdraw_checker(0)."""
    return getattr(world.registry, f"{action}_{kind}")(*arguments)


def leave(world: World, kind: str, person: str) -> int:
    with boa.env.prank(wallet(person)):
        return int(call(world, "leave", kind))


def wait_for_withdrawal(world: World, exit_epoch: int) -> None:
    boa.env.timestamp = world.registry.epoch_start(exit_epoch) + UNSTAKE_DELAY


# -- time


def test_epochs(empty: World) -> None:
    registry = empty.registry
    assert registry.current_epoch() == 0
    for epoch in (1, 2, 1_000):
        start = registry.epoch_start(epoch)
        assert start == empty.genesis + epoch * EPOCH_SECONDS
        boa.env.timestamp = start - 1
        assert registry.current_epoch() == epoch - 1
        boa.env.timestamp = start
        assert registry.current_epoch() == epoch


def test_nothing_before_genesis() -> None:
    early = build(seconds_to_genesis=10)
    early.token.approve(early.registry, UNIT)
    register = early.registry.register_provider
    for blocked in (early.registry.current_epoch, lambda: register(R, R, S, UNIT)):
        with boa.reverts("registry: before genesis"):
            blocked()
    boa.env.timestamp += 10
    assert register(R, R, S, UNIT) == 0


@pytest.mark.parametrize(
    ("position", "value", "reason"),
    [
        (0, wallet("nobody"), "registry: token is not a contract"),
        (4, 0, "registry: stake unit is zero"),
        (6, 0, "registry: epoch length is zero"),
        (8, 0, "registry: reuse delay is zero"),
    ],
)
def test_bad_settings(empty: World, position: int, value: object, reason: str) -> None:
    others = [wallet(name) for name in ("steward", "penalties", "delegation")]
    setting = [empty.token, *others, UNIT, 0, 600, 0, 1]
    made = deployer("Registry").deploy(*setting)
    assert [made.steward(), made.penalties(), made.delegation()] == others
    setting[position] = value
    with boa.reverts(reason):
        deployer("Registry").deploy(*setting)


# -- registering


@pytest.mark.parametrize("kind", KINDS)
def test_registration_is_recorded(empty: World, kind: str) -> None:
    empty.enter(3)
    stake = 10 * UNIT + 7
    assert empty.register(kind, "alice", stake) == 0
    event = empty.registry.get_logs()[-1]
    slot = getattr(empty.registry, kind)(0)
    node_key = keccak(b"nodealice")
    expected = (0, wallet("alice"), node_key, R, S, 3, 4, NO_EXIT, 10, stake, 4, stake)
    assert tuple(slot) == expected
    assert (event.kind, event.index, event.wallet) == (KINDS.index(kind), 0, wallet("alice"))
    assert (event.node_key, event.stake, event.joined_epoch) == (node_key, stake, 4)
    assert getattr(empty.registry, f"{kind}_count")() == 1
    assert getattr(empty.registry, f"{kind}_index")(wallet("alice")) == (True, 0)
    assert getattr(empty.registry, f"{kind}_index")(wallet("bob")) == (False, 0)
    word = getattr(empty.registry, f"{kind}_word")(0)
    assert word == int(wallet("alice"), 16) | 4 << 160 | NO_EXIT << 192 | 10 << 224
    assert empty.token.balanceOf(empty.registry) == stake
    assert empty.token.balanceOf(wallet("alice")) == 0


def test_both_roles_but_each_once(empty: World) -> None:
    for kind in KINDS:
        empty.register(kind, "alice")
        with boa.reverts("registry: wallet already holds a slot"):
            empty.register(kind, "alice")
    assert (empty.registry.provider_count(), empty.registry.checker_count()) == (1, 1)


@pytest.mark.parametrize(("kind", "minimum"), [("provider", UNIT), ("checker", 2 * UNIT)])
def test_minimum_stake(empty: World, kind: str, minimum: int) -> None:
    with boa.reverts("registry: stake is too small"):
        empty.register(kind, "alice", minimum - 1)
    empty.register(kind, "alice", minimum)


def test_stake_beyond_32_bits_of_units() -> None:
    supply = 2**32 * 10
    token = deployer("Token").deploy("Kaisar", "KAI", supply)
    registry = build(token=token, unit=1, parameters=(1, 1, 0, 0, 0)).registry
    token.approve(registry, supply)
    with boa.reverts("registry: stake is too large"):
        registry.register_provider(R, R, S, 2**32)
    registry.register_provider(R, R, S, 2**32 - 2)
    assert registry.provider(0).stake_units == 2**32 - 2
    registry.top_up_provider(0, 1)
    with boa.reverts("registry: stake is too large"):
        registry.top_up_provider(0, 1)
    assert registry.provider(0).stake_units == 2**32 - 1


def test_stake_beyond_128_bits() -> None:
    token = deployer("Token").deploy("Kaisar", "KAI", 2**129)
    registry = build(token=token, unit=2**100, parameters=(2**100, 2**100, 0, 0, 0)).registry
    token.approve(registry, 2**129)
    with boa.reverts("registry: stake is too large"):
        registry.register_provider(R, R, S, 2**128)
    registry.register_provider(R, R, S, 2**128 - 1)
    with boa.reverts("registry: stake is too large"):
        registry.top_up_provider(0, 1)


def test_needs_allowance_and_node_key(empty: World) -> None:
    with boa.reverts("token: allowance is too small"):
        empty.registry.register_provider(R, R, S, UNIT)
    empty.token.approve(empty.registry, UNIT)
    with boa.reverts("registry: node key is zero"):
        empty.registry.register_provider(bytes(32), R, S, UNIT)


def test_node_key_need_not_be_unique(empty: World) -> None:
    """Or a squatter could keep its owner out; a false binding is ignored off-chain."""
    for person in ("alice", "mallory"):
        empty.give(person, UNIT)
        with boa.env.prank(wallet(person)):
            empty.token.approve(empty.registry, UNIT)
            empty.registry.register_provider(R, R, S, UNIT)
    assert empty.registry.provider_count() == 2


# -- pages


def test_pages(empty: World) -> None:
    empty.populate(checkers=2, providers=70)
    registry = empty.registry
    whole = [registry.provider(i) for i in range(70)]
    assert registry.providers(0, 70) == whole[:64]
    assert registry.providers(64, 64) == whole[64:]
    assert registry.providers(10, 3) == whole[10:13]
    assert registry.providers(0, 2**256 - 1) == whole[:64]
    for start, count in ((70, 1), (2**256 - 1, 64), (3, 0)):
        assert registry.providers(start, count) == []
    assert [slot.index for slot in registry.checkers(0, 64)] == [0, 1]
    for kind in KINDS:
        with boa.reverts("registry: no such slot"):
            getattr(registry, kind)(70)


# -- leaving and withdrawing


@pytest.mark.parametrize("kind", KINDS)
def test_leave_and_withdraw(empty: World, kind: str) -> None:
    stake = 10 * UNIT + 3
    empty.register(kind, "alice", stake)
    empty.register(kind, "bob")
    empty.enter(2)
    assert leave(empty, kind, "alice") == 3
    (event,) = empty.registry.get_logs()
    assert (event.kind, event.index, event.exit_epoch) == (KINDS.index(kind), 0, 3)
    assert getattr(empty.registry, kind)(0).exit_epoch == 3
    with boa.reverts("registry: already left"):
        leave(empty, kind, "alice")

    wait_for_withdrawal(empty, 3)
    boa.env.timestamp -= 1
    with boa.reverts("registry: unstake delay is not over"):
        call(empty, "withdraw", kind, 0)
    boa.env.timestamp += 1
    with boa.env.prank(wallet("passer-by")):
        assert call(empty, "withdraw", kind, 0) == stake
    event = empty.registry.get_logs()[-1]
    assert (event.index, event.wallet, event.amount) == (0, wallet("alice"), stake)
    assert empty.token.balanceOf(wallet("alice")) == stake
    assert empty.token.balanceOf(wallet("passer-by")) == 0
    slot = getattr(empty.registry, kind)(0)
    assert (slot.stake, slot.exit_epoch, slot.wallet) == (0, 3, wallet("alice"))
    with boa.reverts("registry: nothing to withdraw"):
        call(empty, "withdraw", kind, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_withdraws_without_having_left(empty: World, kind: str) -> None:
    empty.register(kind, "alice")
    boa.env.timestamp += 1_000 * EPOCH_SECONDS
    with boa.reverts("registry: has not left"):
        call(empty, "withdraw", kind, 0)
    with boa.reverts("registry: nothing to withdraw"):
        call(empty, "withdraw", kind, 1)
    with boa.env.prank(wallet("bob")), boa.reverts("registry: wallet holds no slot"):
        call(empty, "leave", kind)


@pytest.mark.parametrize("kind", KINDS)
def test_leaving_before_the_first_epoch(empty: World, kind: str) -> None:
    empty.register(kind, "alice")
    assert leave(empty, kind, "alice") == 1
    slot = getattr(empty.registry, kind)(0)
    assert slot.joined_epoch == slot.exit_epoch, "never active"


@pytest.mark.parametrize("kind", KINDS)
def test_wallet_registers_again_after_withdrawal_only(empty: World, kind: str) -> None:
    empty.register(kind, "alice")
    leave(empty, kind, "alice")
    wait_for_withdrawal(empty, 1)
    with boa.reverts("registry: wallet already holds a slot"):
        empty.register(kind, "alice")
    call(empty, "withdraw", kind, 0)
    assert getattr(empty.registry, f"{kind}_index")(wallet("alice")) == (False, 0)
    epoch = empty.epoch
    # Its old slot is still kept for its old claims, so it gets another.
    assert empty.register(kind, "alice") == (0 if epoch >= 1 + REUSE_DELAY else 1)


# -- reuse


@pytest.mark.parametrize("kind", KINDS)
def test_slot_is_reused_only_after_the_delay(empty: World, kind: str) -> None:
    for person in ("alice", "bob"):
        empty.register(kind, person)
    leave(empty, kind, "alice")
    wait_for_withdrawal(empty, 1)
    call(empty, "withdraw", kind, 0)
    empty.enter(REUSE_DELAY)
    assert empty.register(kind, "carol") == 2
    empty.enter(1 + REUSE_DELAY)
    assert empty.register(kind, "dave", 4 * UNIT) == 0
    slot = getattr(empty.registry, kind)(0)
    assert (slot.wallet, slot.joined_epoch, slot.exit_epoch) == (
        wallet("dave"),
        2 + REUSE_DELAY,
        NO_EXIT,
    )
    assert (slot.created_epoch, slot.stake, slot.stake_units) == (0, 4 * UNIT, 4)
    assert empty.register(kind, "erin") == 3


@pytest.mark.parametrize("kind", KINDS)
def test_slot_is_not_reused_before_its_stake_is_withdrawn(empty: World, kind: str) -> None:
    empty.register(kind, "alice")
    leave(empty, kind, "alice")
    empty.enter(100)
    assert empty.register(kind, "bob") == 1
    call(empty, "withdraw", kind, 0)
    assert empty.token.balanceOf(wallet("alice")) == 10 * UNIT
    assert empty.register(kind, "carol") == 0


def test_free_slots_are_reused_in_the_order_of_withdrawal(empty: World) -> None:
    for person in ("alice", "bob", "carol"):
        empty.register("provider", person)
        leave(empty, "provider", person)
    empty.enter(50)
    for index in (1, 2, 0):
        empty.registry.withdraw_provider(index)
    assert [empty.register("provider", person) for person in "defg"] == [1, 2, 0, 3]


# -- counts of slots


def counts(world: World, epoch: int) -> tuple[int, int]:
    """(provider slots, checker slots) allocated before `epoch`, from the records."""
    registry = world.registry
    return tuple(  # type: ignore[return-value]
        sum(slot.created_epoch < epoch for slot in page(0, 64))
        for page in (registry.providers, registry.checkers)
    )


PAUSES = st.sampled_from([0, 0, 0, 1, 1, 2, 3])  # epochs


@given(steps=st.lists(st.tuples(st.sampled_from(KINDS), PAUSES), max_size=12))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_counts_of_slots(empty: World, steps: list[tuple[str, int]]) -> None:
    registry = empty.registry
    epoch = 0
    for number, (kind, pause) in enumerate(steps):
        epoch += pause
        empty.enter(epoch)
        empty.register(kind, f"person {number}")
        for judged in {epoch, max(epoch - 1, 0)}:
            assert registry.slots_before(judged) == counts(empty, judged)
            assert registry.bundle_slots(judged) == counts(empty, judged)


def test_slots_before_answers_for_two_epochs(empty: World) -> None:
    empty.populate(checkers=1, providers=2)
    empty.enter(5)
    for epoch in (4, 5):
        assert empty.registry.slots_before(epoch) == (2, 1)
    for epoch in (0, 3, 6, 2**256 - 1):
        with boa.reverts():
            empty.registry.slots_before(epoch)


def test_reuse_does_not_change_the_counts(empty: World) -> None:
    empty.populate(checkers=2, providers=0)
    leave(empty, "checker", "checker 0")
    empty.enter(20)
    empty.registry.withdraw_checker(0)
    assert empty.register("checker", "newcomer") == 0
    assert empty.registry.slots_before(20) == (0, 2)
    empty.enter(21)
    assert empty.registry.slots_before(21) == (0, 2)
