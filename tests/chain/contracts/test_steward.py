"""Parameters behind a time lock, roles, and the pause of bundles."""

from __future__ import annotations

import boa
import pytest

from tests.chain.contracts.world import (
    BOUNTY_BPS,
    EMISSION_BPS,
    FRAUD_SLASH_BPS,
    PARAMETERS,
    STEWARD_DELAY,
    UNIT,
    World,
    build,
    deployer,
    events,
    wallet,
)

DAY = 86_400
WINDOW = 14 * DAY
PAUSE = 3 * DAY
COOL_DOWN = 3 * DAY
ZERO = "0x" + "0" * 40
MOST = 32_767 * UNIT
BOUNDS = [(0, UNIT, MOST), (1, UNIT, MOST), (2, 0, 5_000), (3, 0, 2_000), (4, 0, 10_000)]


def propose(world: World, number: int, value: int) -> None:
    with boa.env.prank(wallet("owner")):
        world.steward.propose(number, value)


# -- setting up


def test_initial_values(empty: World) -> None:
    steward = empty.steward
    assert [steward.value(number) for number in range(5)] == [
        UNIT,
        2 * UNIT,
        FRAUD_SLASH_BPS,
        BOUNTY_BPS,
        EMISSION_BPS,
    ]
    assert (steward.owner(), steward.guardian()) == (wallet("owner"), wallet("guardian"))
    assert (steward.heir(), steward.paused_until()) == (ZERO, 0)
    assert steward.registry() == empty.registry.address
    assert steward.delay_seconds() == STEWARD_DELAY
    for call in (steward.value, steward.proposal):
        with boa.reverts("steward: no such parameter"):
            call(5)


def test_belongs_to_its_registry(empty: World) -> None:
    arguments = [wallet("owner"), wallet("guardian"), STEWARD_DELAY, PARAMETERS]
    with boa.reverts("steward: registry is not a contract"):
        deployer("Steward").deploy(wallet("nobody"), *arguments)
    with boa.reverts("steward: registry of another steward"):
        deployer("Steward").deploy(empty.registry, *arguments)


@pytest.mark.parametrize("delay", [0, 30 * DAY + 1])
def test_delay_has_bounds(empty: World, delay: int) -> None:
    place = empty.steward.address
    with boa.reverts("steward: delay out of range"):
        deployer("Steward").deploy(
            empty.registry, ZERO, ZERO, delay, PARAMETERS, override_address=place
        )


@pytest.mark.parametrize(("number", "least", "most"), BOUNDS)
def test_initial_values_have_bounds(number: int, least: int, most: int) -> None:
    for value in (least, most):
        parameters = [*PARAMETERS]
        parameters[number] = value
        assert build(parameters=parameters).steward.value(number) == value
    for value in {most + 1, max(least - 1, 0)} - {least}:
        parameters[number] = value
        with boa.reverts("steward: value out of bounds"):
            build(parameters=parameters)


# -- changing a parameter


@pytest.mark.parametrize(("number", "least", "most"), BOUNDS)
def test_a_change_waits_for_its_delay(empty: World, number: int, least: int, most: int) -> None:
    steward = empty.steward
    value = most - 1
    before = steward.value(number)
    propose(empty, number, value)
    ready_at = boa.env.timestamp + STEWARD_DELAY
    (event,) = events(steward)
    assert (event.id, event.value, event.ready_at) == (number, value, ready_at)
    assert steward.proposal(number) == (value, ready_at)
    boa.env.timestamp = ready_at - 1
    with boa.reverts("steward: delay is not over"):
        steward.execute(number)
    assert steward.value(number) == before
    boa.env.timestamp = ready_at
    with boa.env.prank(wallet("passer-by")):
        steward.execute(number)
    (event,) = events(steward)
    assert (event.id, event.value) == (number, value)
    assert steward.value(number) == value
    others = [steward.value(other) for other in range(5) if other != number]
    assert others == [v for other, v in enumerate(PARAMETERS) if other != number]
    with boa.reverts("steward: nothing is proposed"):
        steward.execute(number)


@pytest.mark.parametrize(("number", "least", "most"), BOUNDS)
def test_proposals_have_bounds(empty: World, number: int, least: int, most: int) -> None:
    for value in (least, most):
        propose(empty, number, value)
    refused = [most + 1, 2**256 - 1] + ([least - 1, 0] if least else [])
    for value in refused:
        with boa.reverts("steward: value out of bounds"):
            propose(empty, number, value)
    with boa.reverts("steward: no such parameter"):
        propose(empty, 5, 1)


def test_a_proposal_expires(empty: World) -> None:
    propose(empty, 3, 500)
    boa.env.timestamp += STEWARD_DELAY + WINDOW
    with boa.reverts("steward: proposal expired"):
        empty.steward.execute(3)
    propose(empty, 3, 500)
    boa.env.timestamp += STEWARD_DELAY + WINDOW - 1
    empty.steward.execute(3)
    assert empty.steward.value(3) == 500


def test_a_new_proposal_waits_anew(empty: World) -> None:
    propose(empty, 3, 500)
    boa.env.timestamp += STEWARD_DELAY
    propose(empty, 3, 600)
    with boa.reverts("steward: delay is not over"):
        empty.steward.execute(3)
    boa.env.timestamp += STEWARD_DELAY
    empty.steward.execute(3)
    assert empty.steward.value(3) == 600


def test_cancelling(empty: World) -> None:
    propose(empty, 3, 500)
    with boa.env.prank(wallet("owner")):
        empty.steward.cancel(3)
        (event,) = events(empty.steward)
        assert event.id == 3
        with boa.reverts("steward: nothing is proposed"):
            empty.steward.cancel(3)
        with boa.reverts("steward: no such parameter"):
            empty.steward.cancel(5)
    boa.env.timestamp += STEWARD_DELAY
    with boa.reverts("steward: nothing is proposed"):
        empty.steward.execute(3)
    with boa.reverts("steward: no such parameter"):
        empty.steward.execute(5)


# -- roles


@pytest.mark.parametrize("stranger", ["guardian", "passer-by"])
def test_only_the_owner(empty: World, stranger: str) -> None:
    steward = empty.steward
    propose(empty, 3, 500)
    with boa.env.prank(wallet(stranger)):
        for act in (
            lambda: steward.propose(3, 500),
            lambda: steward.cancel(3),
            lambda: steward.offer_ownership(wallet(stranger)),
            lambda: steward.set_guardian(wallet(stranger)),
        ):
            with boa.reverts("steward: caller is not the owner"):
                act()


def test_ownership_changes_hands_in_two_steps(empty: World) -> None:
    steward = empty.steward
    with boa.env.prank(wallet("owner")):
        steward.offer_ownership(wallet("heir"))
    (event,) = events(steward)
    assert (event.owner, event.heir) == (wallet("owner"), wallet("heir"))
    assert (steward.owner(), steward.heir()) == (wallet("owner"), wallet("heir"))
    with boa.env.prank(wallet("passer-by")), boa.reverts("steward: ownership was not offered"):
        steward.accept_ownership()
    with boa.env.prank(wallet("heir")):
        steward.accept_ownership()
        (event,) = events(steward)
        assert (event.before, event.owner) == (wallet("owner"), wallet("heir"))
        steward.propose(3, 500)
        with boa.reverts("steward: ownership was not offered"):
            steward.accept_ownership()
    with pytest.raises(boa.BoaError):
        propose(empty, 3, 500)


def test_an_offer_is_taken_back(empty: World) -> None:
    with boa.env.prank(wallet("owner")):
        empty.steward.offer_ownership(wallet("heir"))
        empty.steward.offer_ownership(ZERO)
    with boa.env.prank(wallet("heir")), boa.reverts("steward: ownership was not offered"):
        empty.steward.accept_ownership()


def test_the_guardian_is_replaced(empty: World) -> None:
    with boa.env.prank(wallet("owner")):
        empty.steward.set_guardian(wallet("other"))
    (event,) = events(empty.steward)
    assert (event.before, event.guardian) == (wallet("guardian"), wallet("other"))
    with (
        boa.env.prank(wallet("guardian")),
        boa.reverts("steward: caller is neither owner nor guardian"),
    ):
        empty.steward.pause()
    with boa.env.prank(wallet("other")):
        empty.steward.pause()


# -- the pause


@pytest.mark.parametrize("role", ["owner", "guardian"])
def test_a_pause_ends_by_itself_and_does_not_come_back_soon(small: World, role: str) -> None:
    steward, registry = small.steward, small.registry
    start = boa.env.timestamp
    with boa.env.prank(wallet(role)):
        steward.pause()
        (event,) = events(steward)
        assert (event.sender, event.until) == (wallet(role), start + PAUSE)
        assert steward.paused_until() == registry.paused_until() == start + PAUSE
        for moment in (0, PAUSE, PAUSE + COOL_DOWN - 1):
            boa.env.timestamp = start + moment
            with boa.reverts("steward: paused too recently"):
                steward.pause()
        boa.env.timestamp = start + PAUSE - 1
        with boa.reverts("registry: bundles are paused"):
            registry.bundle_slots(small.epoch)
        boa.env.timestamp = start + PAUSE
        registry.bundle_slots(small.epoch)
        boa.env.timestamp = start + PAUSE + COOL_DOWN
        steward.pause()


@pytest.mark.parametrize("role", ["owner", "guardian"])
def test_an_early_end_does_not_bring_the_next_pause_nearer(small: World, role: str) -> None:
    steward, registry = small.steward, small.registry
    start = boa.env.timestamp
    with boa.env.prank(wallet("guardian")):
        steward.pause()
    boa.env.timestamp += 60
    with boa.env.prank(wallet(role)):
        steward.unpause()
        (event,) = events(steward)
        assert event.sender == wallet(role)
        registry.bundle_slots(small.epoch)
        boa.env.timestamp = start + PAUSE + COOL_DOWN - 1
        with boa.reverts("steward: paused too recently"):
            steward.pause()


def test_strangers_do_not_pause(empty: World) -> None:
    with boa.env.prank(wallet("passer-by")):
        for act in (empty.steward.pause, empty.steward.unpause):
            with boa.reverts("steward: caller is neither owner nor guardian"):
                act()
