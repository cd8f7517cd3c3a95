"""Places for sessions and allowances of requests."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p_node.zeronode.limits import (
    Entered,
    Idle,
    Party,
    Rate,
    Rates,
    SessionPlaces,
    make_rates,
    publish_limits,
)
from p2p_node.zeronode.refusals import TooMany
from protocols.errors import LocalError
from protocols.types import NodeKey, Wallet
from protocols.zeronode_rules import rules_of

LIMITS = rules_of("mainnet").limits


def party(
    key: int, wallet: int | None = None, address: int = 0, subnet: int = 0, asn: int | None = None
) -> Party:
    return Party(
        NodeKey(key.to_bytes(32, "big")),
        None if wallet is None else Wallet(wallet.to_bytes(20, "big")),
        address.to_bytes(32, "big"),
        subnet.to_bytes(32, "big"),
        asn,
    )


def sid(number: int) -> bytes:
    return number.to_bytes(16, "big")


def test_the_newest_session_of_a_key_replaces_the_one_before() -> None:
    places = SessionPlaces(LIMITS)
    assert places.enter(sid(1), party(1, 1)) == Entered(True, Idle.NO)
    assert places.enter(sid(2), party(1, 1)) == Entered(True, Idle.NO, replaced=(sid(1),))
    assert places.leave(sid(1)) == ()
    assert len(places) == 1
    assert places.is_earning(sid(2))
    assert not places.is_earning(sid(1))


def test_only_the_newest_key_of_an_account_earns_until_it_leaves() -> None:
    places = SessionPlaces(LIMITS)
    places.enter(sid(1), party(1, 1, address=1))
    places.enter(sid(2), party(2, 1, address=2))
    entered = places.enter(sid(3), party(3, 1, address=3))
    assert entered == Entered(True, Idle.NO, demoted=(sid(2),))
    assert places.leave(sid(1)) == ()
    assert places.leave(sid(3)) == (sid(2),)
    assert places.is_earning(sid(2))
    assert places.leave(sid(2)) == ()
    assert len(places) == 0


def test_a_key_without_an_account_earns_nothing() -> None:
    places = SessionPlaces(LIMITS)
    assert places.enter(sid(1), party(1)) == Entered(False, Idle.NOT_SIGNED_IN)
    assert not places.is_earning(sid(1))
    assert places.leave(sid(1)) == ()


def test_a_session_has_one_place() -> None:
    places = SessionPlaces(LIMITS)
    places.enter(sid(1), party(1))
    with pytest.raises(LocalError, match="has its place"):
        places.enter(sid(1), party(2))


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        ("sessions_per_address", "this network address"),
        ("sessions_per_subnet", "this part of the network"),
        ("sessions_per_network", "this network has"),
        ("sessions_per_account", "this account"),
        ("sessions", "the service"),
    ],
)
def test_a_full_place_refuses_and_says_its_number(field: str, reason: str) -> None:
    wide = dict.fromkeys(
        ("sessions_per_address", "sessions_per_subnet", "sessions_per_network"), 99
    )
    limits = replace(LIMITS, **(wide | {"sessions_per_account": 99, "sessions": 99} | {field: 2}))
    places = SessionPlaces(limits)
    for number in (1, 2):
        places.enter(sid(number), party(number, wallet=7, asn=64_500))
    with pytest.raises(TooMany, match=reason) as refused:
        places.enter(sid(3), party(3, wallet=7, asn=64_500))
    assert (refused.value.limit, refused.value.retry_ms) == (2, 60_000)
    assert len(places) == 2
    assert places.is_earning(sid(2))
    # A reconnecting key has the place of its session before, and somebody's leaving makes one.
    assert places.enter(sid(4), party(2, wallet=7, asn=64_500)).replaced == (sid(2),)
    places.leave(sid(1))
    places.enter(sid(5), party(5, wallet=7, asn=64_500))


steps = st.lists(
    st.tuples(
        st.booleans(),
        st.integers(0, 9),
        st.integers(1, 4),
        st.integers(1, 3) | st.none(),
        st.integers(1, 3),
        st.integers(1, 2),
    ),
    max_size=60,
)


@given(steps)
def test_at_most_one_session_of_each_key_and_account_earns(
    moves: list[tuple[bool, int, int, int | None, int, int]],
) -> None:
    places = SessionPlaces(replace(LIMITS, sessions_per_subnet=3))
    present: dict[bytes, Party] = {}
    earning: set[bytes] = set()
    for is_entry, number, key, wallet, address, subnet in moves:
        session, who = sid(number), party(key, wallet, address, subnet)
        if not is_entry:
            promoted = places.leave(session)
            present.pop(session, None)
            earning.discard(session)
            earning |= set(promoted)
        elif session not in present:
            try:
                entered = places.enter(session, who)
            except TooMany:
                continue
            for other in entered.replaced:
                del present[other]
            earning -= set(entered.replaced) | set(entered.demoted)
            assert not earning & set(entered.promoted)
            earning |= set(entered.promoted)
            present[session] = who
            earning |= {session} if entered.earning else set()
        assert len(places) == len(present)
        assert earning == {each for each in present if places.is_earning(each)}
        wallets = [present[each].wallet for each in earning]
        signed_in = {each.wallet for each in present.values()} - {None}
        assert len(wallets) == len(set(wallets))
        assert set(wallets) == signed_in
        keys = [each.key for each in present.values()]
        assert len(keys) == len(set(keys))


def test_an_allowance_comes_back_with_time() -> None:
    rates = Rates({"request": Rate(3, 60_000)})
    for _ in range(3):
        rates.take("request", b"a", 1_000_000)
    with pytest.raises(TooMany, match="too often") as refused:
        rates.take("request", b"a", 1_000_000)
    assert (refused.value.limit, refused.value.retry_ms) == (3, 20_000)
    rates.take("request", b"b", 1_000_000)
    with pytest.raises(TooMany):
        rates.take("request", b"a", 1_019_999)
    rates.take("request", b"a", 1_020_000)


def test_a_clock_set_back_locks_nobody_out() -> None:
    rates = Rates({"request": Rate(2, 1_000)})
    for _ in range(2):
        rates.take("request", b"a", 1_000_000_000)
    rates.take("request", b"a", 5_000)


def test_the_memory_of_allowances_is_bounded() -> None:
    rates = Rates({"request": Rate(1, 60_000)}, most=10)
    for number in range(100):
        rates.take("request", number.to_bytes(4, "big"), 1_000_000)
    assert len(rates) == 10
    with pytest.raises(TooMany):
        rates.take("request", (99).to_bytes(4, "big"), 1_000_000)
    rates.take("request", (0).to_bytes(4, "big"), 1_000_000)


@given(st.lists(st.integers(0, 5_000), max_size=80))
def test_no_more_than_the_count_and_its_refill(gaps: list[int]) -> None:
    rates, now, taken = Rates({"r": Rate(5, 10_000)}), 1_000_000, []
    for gap in gaps:
        now += gap
        try:
            rates.take("r", b"", now)
        except TooMany:
            continue
        taken.append(now)
    for index, first in enumerate(taken):
        for more, last in enumerate(taken[index:], 1):
            assert more <= 5 + (last - first) // 2_000 + 1


def test_what_is_published_names_every_limit() -> None:
    published = publish_limits(LIMITS)
    assert published["sessions_per_address"] == LIMITS.sessions_per_address
    rates = published["rates"]
    assert isinstance(rates, dict)
    assert rates.keys() == make_rates(LIMITS).keys()
