"""Looking at leases: those that wait are found among many, in the final block and the newest."""

from typing import Any, cast

import pytest
import trio
import trio.testing

from chain.client import BlockTag
from chain.errors import RefusedError
from chain.records import Head
from p2p_node.clock import MAX_DRIFT_MS, Clock
from p2p_node.rental.chain_view import MAX_WAITING, PAGE, ChainLooker
from protocols.leases import LeaseState
from protocols.types import Epoch, NodeKey, TimeMs, Wallet
from tests.fakes.rental import FakeRental

START = 1_700_000_000
WALLET = Wallet(b"\x01" * 20)
KEY = NodeKey(bytes(32))


def make_rental() -> FakeRental:
    return FakeRental(START, lambda _: Epoch(0))


def make_looker(rental: FakeRental, ahead: int = 0) -> ChainLooker:
    clock = Clock(started_at=TimeMs((rental.now + ahead) * 1000))
    return ChainLooker(cast("Any", rental), rental, clock, provider=5, wallet=WALLET)


async def test_those_that_wait_are_found_among_many(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rental = make_rental()
    for number in range(5 * PAGE):
        rental.open(5 if number % 40 == 0 else 6, WALLET, KEY)
    await trio.sleep(10)
    looker = make_looker(rental)
    view = await looker.look(set())
    assert list(view.leases) == [1, 41, 81, 121]
    assert view.count == 5 * PAGE
    # What was found is looked at until it no longer waits, and what is new is found.
    rental.reclaim(41)
    rental.change(81, state=LeaseState.ACTIVE, started_at=rental.now)
    new = rental.open(5, WALLET, KEY)
    await trio.sleep(10)
    await looker.look(set())
    view = await looker.look({81})
    assert list(view.leases) == [1, 81, 121, new]


async def test_the_search_ends_where_deadlines_have_passed(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    rental = make_rental()
    for _ in range(10 * PAGE):
        rental.open(5, WALLET, KEY)
    await trio.sleep(rental.accept_seconds + 10)
    last = rental.open(5, WALLET, KEY)
    await trio.sleep(10)
    asked: list[int] = []
    read = rental.leases

    async def leases(first: int, count: int = PAGE, block: BlockTag = "latest") -> Any:
        asked.append(first)
        return await read(first, count, block)

    monkeypatch.setattr(rental, "leases", leases)
    view = await make_looker(rental).look(set())
    assert list(view.leases) == [last]
    assert asked == [last - PAGE + 1]


async def test_what_is_not_final_is_not_looked_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A number may become another lease in a reorganisation."""
    rental = make_rental()
    await trio.sleep(10)
    looker = make_looker(rental)
    rental.freeze()
    rental.open(6, WALLET, KEY)
    assert not (await looker.look(set())).leases
    rental.change(1, provider=5)
    rental.frozen = None
    await trio.sleep(10)
    assert list((await looker.look(set())).leases) == [1]


async def test_both_blocks_are_told_apart(autojump_clock: trio.testing.MockClock) -> None:
    rental = make_rental()
    rental.open(5, WALLET, KEY)
    await trio.sleep(10)
    looker = make_looker(rental)
    rental.change(1, state=LeaseState.ACTIVE)
    each = (await looker.look(set())).leases[1]
    assert each.final is not None
    assert each.newest is not None
    assert (each.final.state, each.newest.state) == (LeaseState.RESERVED, LeaseState.ACTIVE)
    assert (await looker.find(1)) == each


async def test_a_chain_without_the_tag_is_final_at_once(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    rental = make_rental()
    read, refused = rental.head, 0

    async def head(block: BlockTag = "latest") -> Head:
        nonlocal refused
        if block == "finalized":
            refused += 1
            raise RefusedError(-32602, "unknown block tag")
        return await read(block)

    monkeypatch.setattr(rental, "head", head)
    rental.open(5, WALLET, KEY)
    looker = make_looker(rental)
    for _ in range(2):
        view = await looker.look(set())
        assert list(view.leases) == [1]
        assert view.final_time == view.now
    assert refused == 1


async def test_a_chain_that_refuses_for_once_is_not_final_at_once(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    rental = make_rental()
    read, is_busy = rental.head, False

    async def head(block: BlockTag = "latest") -> Head:
        if is_busy and block == "finalized":
            raise RefusedError(-32005, "too many requests")
        return await read(block)

    monkeypatch.setattr(rental, "head", head)
    looker = make_looker(rental)
    await looker.look(set())
    is_busy = True
    with pytest.raises(RefusedError):
        await looker.look(set())
    is_busy = False
    view = await looker.look(set())
    assert view.final_time == view.now - rental.finality


async def test_any_number_of_reservations_costs_a_look_no_more_than_some(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rental = make_rental()
    for _ in range(3 * MAX_WAITING):
        rental.open(5, WALLET, KEY)
    await trio.sleep(10)
    looker = make_looker(rental)
    assert list((await looker.look({40})).leases) == [*range(1, MAX_WAITING + 1), 40]
    # Those behind have their turn.
    for number in range(1, MAX_WAITING):
        rental.reclaim(number)
    looker.forget(MAX_WAITING)
    await trio.sleep(10)
    await looker.look(set())
    view = await looker.look(set())
    assert list(view.leases) == list(range(MAX_WAITING + 1, 2 * MAX_WAITING + 1))
    # Deadlines that have passed hold up nobody.
    await trio.sleep(rental.accept_seconds)
    new = rental.open(5, WALLET, KEY)
    await trio.sleep(10)
    assert list((await looker.look(set())).leases) == [new]


@pytest.mark.parametrize(("ahead", "late"), [(0, 0), (-50, 0), (20, 0), (50, 20)])
async def test_time_goes_by_the_newest_block(
    autojump_clock: trio.testing.MockClock, ahead: int, late: int
) -> None:
    """And by this clock where that is further ahead than clocks may be."""
    assert MAX_DRIFT_MS == 30_000
    rental = make_rental()
    view = await make_looker(rental, ahead).look(set())
    assert view.now == rental.now + late
