"""Members of an epoch, one slot per node key, and what follows for shards and seats."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.membership import EpochView, Member, select_members
from protocols.params import LANES
from protocols.types import Digest, Epoch, NodeKey, Seat, Shard, Wallet

EPOCH = Epoch(5)
FOREVER = Epoch((1 << 32) - 1)


def member(index: int, key: int | None = None, joined: int = 1, exits: int = FOREVER) -> Member:
    """A member whose node key has a number, its index by default."""
    return Member(
        index=index,
        wallet=Wallet(index.to_bytes(20, "big")),
        node_key=NodeKey((index if key is None else key).to_bytes(32, "big")),
        stake=1,
        joined=Epoch(joined),
        exits=Epoch(exits),
    )


def epoch_view(
    *,
    checkers: dict[int, Member] | None = None,
    providers: dict[int, Member] | None = None,
    checker_slots: int = 5,
    provider_slots: int = 300,
    seats: int = 4,
) -> EpochView:
    """Epoch 5 of a network of five checkers, everybody active."""
    return EpochView(
        epoch=EPOCH,
        seed=Digest(bytes(32)),
        seats=seats,
        checker_slots=checker_slots,
        provider_slots=provider_slots,
        checkers={each: member(each) for each in range(5)} if checkers is None else checkers,
        providers=providers or {},
    )


@pytest.mark.parametrize(
    ("joined", "exits", "active"),
    [(5, 6, True), (6, 9, False), (4, 5, False), (5, 5, False), (0, FOREVER, True)],
)
def test_active_from_joining_to_before_leaving(joined: int, exits: int, active: bool) -> None:
    assert member(0, joined=joined, exits=exits).is_active(EPOCH) is active


def test_members_are_found_by_slot() -> None:
    members = [member(3), member(1), member(2)]

    assert select_members(members, EPOCH) == {each.index: each for each in members}


def test_who_has_left_is_not_selected() -> None:
    assert select_members([member(0, exits=EPOCH)], EPOCH) == {}


@pytest.mark.parametrize(
    ("exits", "returns", "active"),
    [(EPOCH, EPOCH + 1, False), (EPOCH + 1, EPOCH + 2, True), (EPOCH - 2, EPOCH, True)],
)
def test_who_is_suspended_is_active_before_and_after(
    exits: int, returns: int, active: bool
) -> None:
    suspended = member(0, exits=exits, joined=returns)

    assert suspended.is_suspended
    assert suspended.is_active(EPOCH) is active
    assert select_members([suspended], EPOCH) == {0: suspended}, "it will be back"


def test_a_suspended_slot_does_not_stand_in_for_an_active_one() -> None:
    slots = [member(0, key=7, exits=EPOCH, joined=EPOCH + 9), member(1, key=7)]

    assert select_members(slots, EPOCH) == {1: slots[1]}


def test_who_joins_later_is_known_already() -> None:
    later = member(0, joined=EPOCH + 1)

    assert select_members([later], EPOCH) == {0: later}


def test_of_several_slots_of_a_key_the_lowest_active_counts() -> None:
    slots = [
        member(0, key=7, exits=EPOCH),
        member(1, key=7, joined=EPOCH + 1),
        member(2, key=7),
        member(3, key=7),
    ]

    assert select_members(slots, EPOCH) == {2: slots[2]}


def test_of_several_slots_that_join_later_the_lowest_counts() -> None:
    slots = [member(2, key=7, joined=6), member(1, key=7, joined=7)]

    assert select_members(slots, EPOCH) == {1: slots[1]}


def test_a_registration_cannot_displace_an_active_member() -> None:
    """Whoever registers during an epoch changes nothing about who is active in it."""
    active = member(9, key=7)
    before = select_members([active], EPOCH)

    after = select_members([active, member(1, key=7, joined=EPOCH + 1)], EPOCH)

    assert after == before


members_drawn = st.lists(
    st.builds(
        member,
        index=st.integers(0, 30),
        key=st.integers(0, 6),
        joined=st.integers(0, 8),
        exits=st.integers(0, 9),
    ),
    unique_by=lambda each: each.index,
)


@given(members_drawn)
def test_one_slot_per_key_and_an_active_one_where_there_is_one(drawn: list[Member]) -> None:
    selected = select_members(drawn, EPOCH)

    keys = [each.node_key for each in selected.values()]
    assert len(keys) == len(set(keys))
    assert all(each in drawn and each.has_future(EPOCH) for each in selected.values())
    for key in {each.node_key for each in drawn if each.is_active(EPOCH)}:
        found = next(each for each in selected.values() if each.node_key == key)
        lowest = min(each.index for each in drawn if each.node_key == key and each.is_active(EPOCH))
        assert found.index == lowest


@given(members_drawn)
def test_the_order_of_registrations_does_not_matter(drawn: list[Member]) -> None:
    assert select_members(reversed(drawn), EPOCH) == select_members(drawn, EPOCH)


@pytest.mark.parametrize(
    ("slots", "lanes"),
    [(0, []), (1, [1]), (255, [255]), (256, [256]), (257, [256, 1]), (600, [256, 256, 88])],
)
def test_shards_and_lanes_follow_from_the_slots(slots: int, lanes: list[int]) -> None:
    view = epoch_view(provider_slots=slots)

    assert view.shards == len(lanes)
    assert [view.lanes_of(Shard(shard)) for shard in range(len(lanes) + 2)] == [*lanes, 0, 0]


def test_a_seat_is_held_by_its_checker() -> None:
    view = epoch_view()

    for seat, index in enumerate(view.committee(Shard(0))):
        assert view.seated(Shard(0), Seat(seat)) == member(index)


@pytest.mark.parametrize("seat", [-1, 4, 255])
def test_a_seat_that_does_not_exist_is_held_by_nobody(seat: int) -> None:
    assert epoch_view().seated(Shard(0), Seat(seat)) is None


def test_a_seat_is_void_when_its_checker_is_unknown_or_not_active() -> None:
    index = epoch_view().committee(Shard(0))[1]
    everybody = {each: member(each) for each in range(5)}
    gone = {**everybody, index: replace(everybody[index], exits=EPOCH)}
    unknown = {each: held for each, held in everybody.items() if each != index}

    assert epoch_view(checkers=gone).seated(Shard(0), Seat(1)) is None
    assert epoch_view(checkers=unknown).seated(Shard(0), Seat(1)) is None


def test_seats_of_a_checker_are_one_per_shard_at_most() -> None:
    view = epoch_view()
    held = {checker: view.seats_of(checker) for checker in range(6)}

    assert sorted(seat for seats in held.values() for seat in seats) == [
        (shard, seat) for shard in range(2) for seat in range(4)
    ]
    for seats in held.values():
        assert len({shard for shard, _ in seats}) == len(seats)
    assert held[5] == []


def test_providers_of_a_shard_are_the_active_ones_by_lane() -> None:
    providers = {
        each.index: each
        for each in (
            member(0),
            member(3, joined=EPOCH + 1),
            member(5, exits=EPOCH),
            member(255),
            member(256),
            member(299),
            member(300),
        )
    }
    view = epoch_view(providers=providers)

    assert [each.index for each in view.shard_providers(Shard(0))] == [0, 255]
    assert [each.index for each in view.shard_providers(Shard(1))] == [256, 299]
    assert view.shard_providers(Shard(2)) == []
    assert LANES == 256
