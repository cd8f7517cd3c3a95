"""The lucky draw: vectors, and odds that are what the table says."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import LocalError
from protocols.lucky_draw import (
    LEAST_LEAD_MS,
    MAX_ENTRIES,
    MAX_PRIZE_UNITS,
    MAX_PRIZES,
    MAX_TICKETS,
    ODDS,
    Award,
    Entry,
    Prize,
    Source,
    SourceKind,
    Terms,
    build_ticket_tree,
    compute_awards,
    compute_commitment,
    compute_returns,
    compute_seed,
    draw_prizes,
    find_table_fault,
    find_terms_fault,
    hash_server_seed,
    hash_ticket,
    is_in_time,
    known_from_ms,
    roll,
)
from protocols.merkle import compute_root_from_path
from protocols.types import Digest, NetworkId, NodeKey, TimeMs, Wallet
from protocols.zeronode_rules import TICKET_UNITS
from tests.vectors.generate import load

DRAWS = load("draws/draws.json")
KINDS = {"drand-quicknet": SourceKind.DRAND, "beacon": SourceKind.BEACON}
ALICE, BOB = Wallet(b"a" * 20), Wallet(b"b" * 20)


def terms_of(case: dict[str, Any]) -> tuple[Terms, tuple[Entry, ...]]:
    entries = tuple(
        Entry(Wallet(bytes.fromhex(wallet)), tickets) for wallet, tickets in case["entries"]
    )
    terms = Terms(
        NetworkId(bytes.fromhex(case["network"])),
        NodeKey(bytes.fromhex(case["service"])),
        case["name"],
        tuple(Prize(*prize) for prize in case["prizes"]),
        Digest(bytes.fromhex(case["root"])),
        sum(entry.tickets for entry in entries),
        hash_server_seed(bytes.fromhex(case["server_seed"])),
        Source(KINDS[case["source"]], case["number"]),
        TimeMs(int(case["closed_ms"])),
        TimeMs(int(case["reveal_by_ms"])),
        case["missed_bonus"],
    )
    return terms, entries


@pytest.mark.parametrize("case", DRAWS, ids=lambda case: case["name"])
def test_vector(case: dict[str, Any]) -> None:
    terms, entries = terms_of(case)
    assert find_terms_fault(terms) == ""
    assert terms.key.hex() == case["key"]
    tree = build_ticket_tree(terms.key, entries)
    assert tree.root.hex() == case["root"]
    assert hash_ticket(terms.key, 0, entries[0].wallet).hex() == case["first_leaf"]
    assert compute_commitment(terms).hex() == case["commitment"]
    seed = compute_seed(
        terms.key,
        terms.root,
        bytes.fromhex(case["server_seed"]),
        bytes.fromhex(case["randomness"]),
    )
    assert seed.hex() == case["seed"]
    assert [roll(seed, index) for index in range(terms.tickets)] == case["numbers"]
    assert draw_prizes(terms.prizes, seed, 0, terms.tickets) == case["places"]
    later = draw_prizes(terms.prizes, seed, 1, terms.tickets - 1)
    assert later == case["places"][1:]


def test_everybody_can_show_that_a_ticket_is_in() -> None:
    terms, entries = terms_of(DRAWS[1])
    tree = build_ticket_tree(terms.key, entries)
    leaf = hash_ticket(terms.key, 3, entries[2].wallet)
    assert compute_root_from_path(leaf, 3, terms.tickets, tree.path(3)) == terms.root


def test_every_term_reaches_the_commitment() -> None:
    terms, _ = terms_of(DRAWS[0])
    prize = terms.prizes[0]
    others = [
        replace(terms, network=NetworkId(bytes(32))),
        replace(terms, service=NodeKey(bytes(32))),
        replace(terms, draw="another"),
        replace(terms, prizes=(replace(prize, name="x"), *terms.prizes[1:])),
        replace(terms, prizes=(replace(prize, ppm=prize.ppm + 1), *terms.prizes[1:])),
        replace(terms, prizes=(replace(prize, units=prize.units + 1), *terms.prizes[1:])),
        replace(terms, prizes=(replace(prize, tickets=1), *terms.prizes[1:])),
        replace(terms, prizes=terms.prizes[1:]),
        replace(terms, root=Digest(bytes(32))),
        replace(terms, tickets=terms.tickets + 1),
        replace(terms, seed_hash=Digest(bytes(32))),
        replace(terms, source=replace(terms.source, kind=SourceKind.BEACON)),
        replace(terms, source=replace(terms.source, number=2)),
        replace(terms, closed_ms=TimeMs(terms.closed_ms + 1)),
        replace(terms, reveal_by_ms=TimeMs(terms.reveal_by_ms + 1)),
        replace(terms, missed_bonus=2),
    ]
    commitments = {compute_commitment(each) for each in (terms, *others)}
    assert len(commitments) == len(others) + 1


CHI_SQUARE_BOUND = 18.47
"""With four degrees of freedom a right implementation exceeds it once in a thousand seeds; the
seed here is fixed."""


def test_odds_over_100_000_tickets_are_those_of_the_table() -> None:
    terms, _ = terms_of(DRAWS[0])
    prizes = (*terms.prizes[1:], Prize("rare", 1_000, 1, 0), Prize("last", 100_000, 1, 0))
    tickets = 100_000
    seed = compute_seed(terms.key, terms.root, b"s" * 32, b"r" * 32)
    outcomes = draw_prizes(prizes, seed, 0, tickets)
    odds = [each.ppm for each in prizes]
    odds.append(ODDS - sum(odds))
    chi_square = 0.0
    for place, ppm in enumerate(odds):
        expected = tickets * ppm / ODDS
        chi_square += (outcomes.count(place) - expected) ** 2 / expected
    assert chi_square < CHI_SQUARE_BOUND


def test_all_numbers_are_equally_likely_at_both_ends() -> None:
    """A modulo instead of another attempt would give the lowest 48,576 numbers twice the share."""
    seed = Digest(bytes(32))
    numbers = [roll(seed, index) for index in range(100_000)]
    assert all(0 <= number < ODDS for number in numbers)
    tenths = [sum(number // 100_000 == tenth for number in numbers) for tenth in range(10)]
    assert sum((count - 10_000) ** 2 / 10_000 for count in tenths) < 27.88
    low = sum(number < 48_576 for number in numbers)
    assert abs(low - 4_857.6) < 4 * 68


prize_lists = st.lists(st.integers(1, ODDS), min_size=1, max_size=MAX_PRIZES, unique=True).map(
    lambda cuts: [
        Prize(f"prize {place}", high - low, 1, 0)
        for place, (low, high) in enumerate(pairwise([0, *sorted(cuts)]))
    ]
)


@given(prize_lists, st.integers(0, 2**64 - 2))
def test_a_prize_has_the_numbers_behind_those_before_it(prizes: list[Prize], index: int) -> None:
    seed = Digest(b"\1" * 32)
    (place,) = draw_prizes(prizes, seed, index, 1)
    start = sum(each.ppm for each in prizes[:place])
    width = prizes[place].ppm if place < len(prizes) else ODDS - start
    assert start <= roll(seed, index) < start + width


def test_awards_are_added_up_for_each_wallet() -> None:
    prizes = [Prize("points", 1, 5, 0), Prize("tickets", 1, 0, 2)]
    entries = [Entry(ALICE, 2), Entry(BOB, 1), Entry(ALICE, 2)]
    awards = compute_awards(prizes, entries, [0, 2, 2, 1, 0])
    assert awards == (Award(ALICE, 10, 2),)
    assert compute_awards(prizes, entries, [2, 2, 1, 0, 2])[0] == Award(ALICE, 5, 0)
    with pytest.raises(ValueError, match="shorter"):
        compute_awards(prizes, entries, [0])


def test_a_missed_reveal_gives_all_back_and_the_bonus_once() -> None:
    entries = [Entry(ALICE, 2), Entry(BOB, 1), Entry(ALICE, 2)]
    assert compute_returns(entries, 1) == (Award(ALICE, 0, 5), Award(BOB, 0, 2))
    assert compute_returns(entries, 0) == (Award(ALICE, 0, 4), Award(BOB, 0, 1))


def test_a_draw_without_tickets_has_no_root() -> None:
    with pytest.raises(LocalError):
        build_ticket_tree(Digest(bytes(32)), [])


@pytest.mark.parametrize(("server_seed", "randomness"), [(31, 32), (32, 48)])
def test_secrets_of_another_length(server_seed: int, randomness: int) -> None:
    with pytest.raises(LocalError, match="expected 32"):
        compute_seed(Digest(bytes(32)), Digest(bytes(32)), bytes(server_seed), bytes(randomness))


FAIR = Prize("fair", ODDS // 2, 2 * TICKET_UNITS - 1, 0)


@pytest.mark.parametrize(
    "prizes",
    [
        [FAIR],
        [Prize("a ticket for less than one", ODDS - 1, 0, 1)],
        [Prize(f"prize {place}", 1, 1, 0) for place in range(MAX_PRIZES)],
        [Prize("~" * 40, ODDS, 1, 0)],
        [Prize("most", 1, MAX_PRIZE_UNITS - 1, 0)],
    ],
)
def test_tables_that_are_fair_to_offer(prizes: list[Prize]) -> None:
    assert find_table_fault(prizes) == ""


@pytest.mark.parametrize(
    ("prizes", "fault"),
    [
        ([], "0 prizes"),
        ([Prize(f"prize {place}", 1, 1, 0) for place in range(MAX_PRIZES + 1)], "25 prizes"),
        ([FAIR, FAIR], "the same name"),
        ([replace(FAIR, name="")], "short name"),
        ([replace(FAIR, name="x" * 41)], "short name"),
        ([replace(FAIR, name="two\nlines")], "short name"),
        ([replace(FAIR, name="prix élevé")], "short name"),
        ([replace(FAIR, ppm=0)], "odds of 0"),
        ([replace(FAIR, ppm=ODDS + 1)], "odds of 1000001"),
        ([replace(FAIR, units=-1)], "out of range"),
        ([replace(FAIR, units=MAX_PRIZE_UNITS + 1)], "out of range"),
        ([replace(FAIR, units=0, tickets=1_000_001)], "out of range"),
        ([replace(FAIR, units=0)], "either points or tickets"),
        ([replace(FAIR, tickets=1)], "either points or tickets"),
        ([replace(FAIR, units=1), Prize("rest", ODDS // 2 + 1, 1, 0)], "1000001 ppm in sum"),
        ([replace(FAIR, units=2 * TICKET_UNITS)], "worth 864000 units"),
        ([Prize("a ticket for a ticket", ODDS, 0, 1)], "less than its price"),
        ([replace(FAIR, units=TICKET_UNITS), Prize("t", ODDS // 2, 0, 1)], "less than its price"),
    ],
)
def test_tables_that_are_refused(prizes: list[Prize], fault: str) -> None:
    assert fault in find_table_fault(prizes)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"draw": ""}, "short name"),
        ({"draw": "x" * 49}, "short name"),
        ({"draw": "Draw"}, "short name"),
        ({"draw": "-draw"}, "short name"),
        ({"tickets": 0}, "0 tickets"),
        ({"tickets": MAX_TICKETS + 1}, "1000001 tickets"),
        ({"missed_bonus": -1}, "bonus of -1"),
        ({"missed_bonus": 101}, "bonus of 101"),
        ({"source": Source(SourceKind.DRAND, 0)}, "drand number 0"),
        ({"source": Source(SourceKind.DRAND, (1 << 40) + 1)}, "out of range"),
        ({"source": Source(SourceKind.BEACON, 1 << 32)}, "beacon number"),
        ({"reveal_by_ms": TimeMs(1)}, "due before"),
        ({"prizes": ()}, "0 prizes"),
    ],
)
def test_terms_that_are_refused(change: dict[str, Any], fault: str) -> None:
    terms, _ = terms_of(DRAWS[0])
    assert fault in find_terms_fault(replace(terms, **change))


def test_entries_fit_their_tickets() -> None:
    assert MAX_ENTRIES <= MAX_TICKETS


def test_a_commitment_is_in_time_only_before_the_randomness_could_be_known() -> None:
    source = Source(SourceKind.DRAND, 1000)
    known = known_from_ms(source, 0, 0)
    assert known == 1_692_806_364_000
    last = (known - LEAST_LEAD_MS) // 1000
    assert is_in_time(source, last, known)
    assert not is_in_time(source, last + 1, known)

    source = Source(SourceKind.BEACON, 7)
    known = known_from_ms(source, 1000, 25)
    assert known == (1000 + 6 * 25) * 1000
    assert is_in_time(source, 1149, known)
    assert not is_in_time(source, 1150, known)
