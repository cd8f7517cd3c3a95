"""What services tell one another, on values that no vector has."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.envelopes import ENVELOPE_OVERHEAD, seal
from protocols.errors import GossipIgnore, LocalError, MalformedError, RemoteError
from protocols.types import Digest, NodeKey, TimeMs, Wallet
from protocols.uptime import Stretch
from protocols.uptime_gossip import (
    NUMBERS_REMEMBERED,
    BatchEquivocation,
    ReceiptMemory,
    ServiceView,
    make_tellable,
    validate_receipts_gossip,
)
from protocols.uptime_homes import SETTLED_MS, Home, hear_claim, hear_move
from protocols.uptime_messages import (
    MAX_MOVES,
    MAX_OPENINGS,
    MAX_RECEIPTS,
    MAX_TIME_MS,
    Departure,
    Move,
    Opening,
    Receipt,
    ReceiptBatch,
    pack_moves,
    pack_openings,
    pack_receipts,
    unpack_moves,
    unpack_openings,
    unpack_receipts,
)
from protocols.zeronode_frames import MAX_CLIENT_CHARS, Hello, decode_client_frame
from protocols.zeronode_frames import decode_service_frame as decode_service
from protocols.zeronode_rules import MAINNET_RULES, MINIMAL_RULES
from tests.protocols.strategies import messages
from tests.protocols.zeronode_world import NETWORK, START, key_of, public, wallet_of

wallets = st.sampled_from([wallet_of(str(number)) for number in range(5)])
times = st.integers(0, MAX_TIME_MS).map(TimeMs)


def receipt(start: int, length: int, name: str = "somebody") -> Receipt:
    """A row."""
    return Receipt(wallet_of(name), Stretch(TimeMs(start), TimeMs(start + length)))


def opening(moment: int, wallet: Wallet) -> Opening:
    """A row."""
    return Opening(wallet, TimeMs(moment))


@pytest.mark.parametrize("kind", [ReceiptBatch, Departure])
@given(data=st.data())
def test_round_trip(kind: type[ReceiptBatch] | type[Departure], data: st.DataObject) -> None:
    message = data.draw(messages(kind))
    assert kind.decode(message.encode()) == message


@given(st.lists(st.builds(receipt, st.integers(0, 1 << 61), st.integers(1, (1 << 32) - 1))))
def test_receipts_come_back_in_order(rows: list[Receipt]) -> None:
    found = unpack_receipts(pack_receipts(rows))
    assert sorted(rows, key=lambda each: (each.wallet, each.stretch)) == list(found)


@given(st.dictionaries(wallets, times), st.dictionaries(wallets, times))
def test_openings_and_moves_come_back_in_order(
    opened: dict[Wallet, TimeMs], moved: dict[Wallet, TimeMs]
) -> None:
    openings = [Opening(wallet, moment) for wallet, moment in sorted(opened.items())]
    assert list(unpack_openings(pack_openings(reversed(openings)))) == openings
    moves = [Move(wallet, public("home"), moment) for wallet, moment in sorted(moved.items())]
    assert list(unpack_moves(pack_moves(reversed(moves)))) == moves


def test_a_row_too_many_is_neither_written_nor_read() -> None:
    somebody = wallet_of("somebody")
    assert len(unpack_receipts(pack_receipts([receipt(5, 1)] * MAX_RECEIPTS))) == MAX_RECEIPTS
    with pytest.raises(LocalError, match="1001 rows, at most 1000"):
        pack_receipts([receipt(5, 1)] * (MAX_RECEIPTS + 1))
    with pytest.raises(LocalError, match="501 rows, at most 500"):
        pack_openings([opening(5, somebody)] * (MAX_OPENINGS + 1))
    with pytest.raises(LocalError, match="201 rows, at most 200"):
        pack_moves([Move(somebody, public("home"), TimeMs(5))] * (MAX_MOVES + 1))
    for read, size in ((unpack_receipts, 32), (unpack_openings, 28), (unpack_moves, 60)):
        with pytest.raises(MalformedError, match="incomplete row"):
            read(bytes(size * 1_001))
        with pytest.raises(MalformedError, match="incomplete row"):
            read(bytes(size + 1))


def test_what_no_row_can_hold_is_not_written() -> None:
    with pytest.raises(LocalError, match="wallet of 19 bytes"):
        pack_openings([opening(5, Wallet(bytes(19)))])
    with pytest.raises(LocalError, match="time -1"):
        pack_openings([opening(-1, wallet_of("somebody"))])
    with pytest.raises(LocalError, match="time"):
        pack_openings([opening(MAX_TIME_MS + 1, wallet_of("somebody"))])
    with pytest.raises(LocalError, match="destination of 31 bytes"):
        pack_moves([Move(wallet_of("somebody"), NodeKey(bytes(31)), TimeMs(1))])
    with pytest.raises(LocalError, match="receipt of 4294967296 ms"):
        pack_receipts([receipt(5, 1 << 32)])


def test_the_largest_batch_fits_a_gossip_message() -> None:
    assert ReceiptBatch.MAX_BYTES + ENVELOPE_OVERHEAD <= 64 << 10


@given(st.binary(max_size=300))
def test_bytes_that_nobody_wrote_are_refused(data: bytes) -> None:
    view = ServiceView(NETWORK, frozenset([public("service")]), MAINNET_RULES)
    with pytest.raises(RemoteError):
        validate_receipts_gossip(ReceiptMemory(), view, data, START)
    for unpack in (unpack_receipts, unpack_openings, unpack_moves):
        try:
            unpack(data)
        except MalformedError:
            continue
        assert len(data) % 4 == 0


@given(st.text(max_size=MAX_CLIENT_CHARS + 1))
def test_text_that_nobody_wrote_is_no_frame(text: str) -> None:
    for decode in (decode_client_frame, decode_service):
        with pytest.raises(MalformedError):
            decode(text)


def test_a_frame_that_breaks_its_own_limits_is_not_sent() -> None:
    hello = Hello(key=public("client"), boot=bytes(16), agent="x" * 65, sig=bytes(64))
    with pytest.raises(LocalError, match=r"Hello\.agent: expected text of at most 64"):
        hello.encode()


def digest(number: int) -> Digest:
    """A batch's body."""
    return Digest(number.to_bytes(32, "big"))


def offer(
    memory: ReceiptMemory, service: NodeKey, number: int, content: int
) -> GossipIgnore | None:
    """Remember a batch, or say why not."""
    try:
        memory.require_new(service, number, digest(content), START)
    except GossipIgnore as refusal:
        return refusal
    memory.add(service, number, digest(content), START)
    return None


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 1)), max_size=200))
def test_no_batch_is_taken_twice_however_they_come(arrivals: list[tuple[int, int]]) -> None:
    memory, service = ReceiptMemory(), public("service")
    taken: dict[int, int] = {}
    for number, content in arrivals:
        refusal = offer(memory, service, number, content)
        if refusal is None:
            assert number not in taken
            taken[number] = content
        elif isinstance(refusal, BatchEquivocation):
            assert taken[number] != content
            assert refusal.first == digest(taken[number])
        elif refusal.reason == "seen before":
            assert taken[number] == content
        elif refusal.reason == "old number":
            assert sum(each > number for each in taken) >= NUMBERS_REMEMBERED
        else:
            assert refusal.reason == "too frequent"
    assert memory.highest_of(service) == max(taken, default=None)


TELLING = replace(MINIMAL_RULES, day_ms=100)
"""Days so short that every moment can be looked at."""

tellings = st.lists(
    st.builds(receipt, st.integers(0, 500), st.integers(1, 300), st.sampled_from(["a", "b", "c"])),
    max_size=8,
)


@given(tellings, st.integers(0, 600))
def test_what_is_made_to_be_told_is_accepted_and_is_all_of_it(
    rows: list[Receipt], sent_ms: int
) -> None:
    told = make_tellable(rows, TimeMs(sent_ms), TELLING)
    batch = ReceiptBatch(0, TimeMs(sent_ms), "", pack_receipts(told), b"", b"")
    data = seal(key_of("service"), NETWORK, batch)
    view = ServiceView(NETWORK, frozenset([public("service")]), TELLING)
    judged = validate_receipts_gossip(ReceiptMemory(), view, data, TimeMs(sent_ms))
    assert judged.receipts == told

    def moments(receipts: Iterable[Receipt]) -> set[tuple[bytes, int]]:
        return {
            (each.wallet, moment)
            for each in receipts
            for moment in range(each.stretch.start_ms, each.stretch.end_ms)
        }

    earliest = sent_ms - 200
    expected = {(who, when) for who, when in moments(rows) if earliest <= when < sent_ms}
    assert moments(told) == expected
    for each in told:
        assert TELLING.day_of(each.stretch.start_ms) == TELLING.day_of(
            TimeMs(each.stretch.end_ms - 1)
        )


def test_a_session_over_midnight_is_told_by_days() -> None:
    """Two rows of one session that touch at midnight must not become one longer than a day."""
    day = MAINNET_RULES.day_ms
    rows = [receipt(START, day), receipt(START + day, 20_000)]
    assert make_tellable(rows, TimeMs(START + day + 20_000), MAINNET_RULES) == tuple(rows)


def test_the_memory_is_bounded() -> None:
    memory = ReceiptMemory(limit=2)
    assert memory.highest_of(public("first")) is None
    for name in ("first", "second", "first", "third"):
        memory.add(public(name), 1, digest(1), START)
    assert len(memory) == 2
    assert memory.highest_of(public("first")) == 1
    assert memory.highest_of(public("second")) is None
    for number in range(10 * NUMBERS_REMEMBERED):
        memory.restore(public(str(number)), number)
    assert len(memory) == 2


def test_a_restart_takes_up_the_numbers() -> None:
    memory = ReceiptMemory()
    memory.restore(public("service"), 7)
    memory.restore(public("service"), 5)
    assert memory.highest_of(public("service")) == 7
    with pytest.raises(GossipIgnore, match="old number"):
        memory.require_new(public("service"), 7, digest(1), START)
    memory.require_new(public("service"), 8, digest(1), START)


NOW = START


def home(name: str, since: int = 0, settled: int = SETTLED_MS) -> Home:
    """An account's home, settled two days from now."""
    return Home(public(name), TimeMs(NOW + since), TimeMs(NOW + settled))


def claim(known: Home | None, name: str, since: int, after: int = 0) -> Home:
    """What is known after a claim."""
    return hear_claim(known, public(name), TimeMs(NOW + since), TimeMs(NOW + after))


def test_the_first_claim_is_taken() -> None:
    assert claim(None, "a", -5) == home("a", -5)


def test_the_earlier_of_two_claims_stands_in_any_order() -> None:
    for first, second in ((("a", -5), ("b", -9)), (("b", -9), ("a", -5))):
        assert claim(claim(None, *first), *second, after=10) == home("b", -9)


@given(
    st.dictionaries(st.sampled_from("abcde"), st.integers(-9, 0), min_size=1),
    st.permutations(range(5)),
)
def test_services_that_hear_the_same_claims_agree(claims: dict[str, int], order: list[int]) -> None:
    told = list(claims.items())
    homes = []
    for heard in (told, [told[place] for place in order if place < len(told)]):
        known: Home | None = None
        for after, (name, since) in enumerate(heard * 2):
            known = claim(known, name, since, after)
        assert known is not None
        homes.append((known.service, known.since_ms))
    assert (
        homes[0]
        == homes[1]
        == min(
            ((public(name), NOW + since) for name, since in told),
            key=lambda each: (each[1], each[0]),
        )
    )


def test_claims_of_the_same_moment_are_told_apart_by_their_keys() -> None:
    low, high = sorted(("a", "b"), key=public)
    for first, second in ((low, high), (high, low)):
        assert claim(claim(None, first, -5), second, -5).service == public(low)


def test_a_home_that_is_settled_gives_way_to_no_claim() -> None:
    known = claim(None, "a", -5)
    assert claim(known, "b", -9, after=SETTLED_MS - 1).service == public("b")
    assert claim(known, "b", -9, after=SETTLED_MS) == known
    # Nor does a second claim make it older, or younger.
    assert claim(known, "a", -9, after=1) == known


def test_a_home_that_was_retired_gives_way_to_any_claim() -> None:
    known = claim(None, "a", -5)
    late = TimeMs(NOW + SETTLED_MS)
    for listed in ([], [public("a"), public("b")]):
        assert hear_claim(known, public("b"), NOW, late, listed) == known
    assert hear_claim(known, public("b"), NOW, late, [public("b")]) == Home(
        public("b"), NOW, TimeMs(late + SETTLED_MS)
    )


def test_only_the_home_gives_an_account_away() -> None:
    known = claim(None, "a", -5)
    move = Move(wallet_of("somebody"), public("b"), TimeMs(NOW + 3))
    later = TimeMs(NOW + 4)
    assert hear_move(known, public("c"), move, later) == known
    moved = hear_move(known, public("a"), move, later)
    assert moved == home("b", 3, 4)
    at_once = Move(move.wallet, move.destination, TimeMs(NOW - 5))
    assert hear_move(known, public("a"), at_once, later) == home("b", -5, 4)
    too_early = Move(move.wallet, move.destination, TimeMs(NOW - 6))
    assert hear_move(known, public("a"), too_early, later) == known
    # It is settled at once.
    assert hear_claim(moved, public("a"), TimeMs(NOW - 5), later) == moved


def test_a_move_told_again_after_a_return_changes_nothing() -> None:
    wallet = wallet_of("somebody")
    there = Move(wallet, public("b"), TimeMs(NOW + 3))
    back = Move(wallet, public("a"), TimeMs(NOW + 6))
    known: Home | None = claim(None, "a", -5)
    for service, move in (("a", there), ("b", back), ("a", there), ("b", back)):
        known = hear_move(known, public(service), move, TimeMs(NOW + 9))
    assert known == home("a", 6, 9)


def test_a_move_of_an_unknown_account_is_taken() -> None:
    move = Move(wallet_of("somebody"), public("b"), TimeMs(NOW + 3))
    assert hear_move(None, public("a"), move, NOW) == home("b", 3, 0)
