"""Referral codes, and when a referral counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import MalformedError
from protocols.types import Wallet
from protocols.zeronode_referrals import (
    ALPHABET,
    CODE_LENGTH,
    Waiting,
    choose_day,
    explain_waiting,
    make_code,
    may_be_invited,
    parse_code,
)

ALICE = Wallet(b"a" * 20)


def test_a_code_is_the_same_everywhere() -> None:
    """A vector for other implementations."""
    assert make_code(ALICE) == "2qqzmdsgz5"
    assert make_code(ALICE, 1) == "kkpbtth35s"


@given(st.binary(min_size=20, max_size=20), st.integers(0, 5))
def test_codes_read_back_however_they_are_typed(wallet: bytes, attempt: int) -> None:
    code = make_code(Wallet(wallet), attempt)
    assert len(code) == CODE_LENGTH
    assert set(code) <= set(ALPHABET)
    typed = f" {code[:5]}-{code[5:]} ".upper().replace("0", "O").replace("1", "L")
    assert parse_code(typed) == parse_code(code) == code


@pytest.mark.parametrize("text", ["", "abc", "u" * 10, "0" * 11, "é" * 10, "0" * 10_000])
def test_what_is_no_code(text: str) -> None:
    with pytest.raises(MalformedError, match="not a referral code"):
        parse_code(text)


def test_a_referral_counts_on_the_first_day_with_room() -> None:
    assert choose_day(5, 5, {}, 10) == 5
    assert choose_day(5, 7, {5: 10, 6: 9}, 10) == 6
    assert choose_day(5, 6, {5: 10, 6: 12}, 10) is None
    assert choose_day(6, 5, {}, 10) is None


@given(st.dictionaries(st.integers(0, 6), st.integers(0, 3)), st.integers(0, 6), st.integers(0, 6))
def test_the_day_does_not_depend_on_when_it_is_asked(
    granted: dict[int, int], gate: int, wait: int
) -> None:
    later = choose_day(gate, 20, granted, 2)
    assert later is not None
    assert granted.get(later, 0) < 2
    assert choose_day(gate, gate + wait, granted, 2) in (None, later)


def test_what_a_referral_waits_for() -> None:
    assert explain_waiting(False, False, False) is Waiting.RUN
    assert explain_waiting(True, False, False) is Waiting.DAY_FULL
    assert explain_waiting(True, False, True) is Waiting.SHARED_ADDRESS
    assert explain_waiting(True, True, True) is Waiting.NONE


def test_only_new_accounts_are_invited() -> None:
    assert may_be_invited(1_000, 1_000 + 7 * 10 - 1, 10)
    assert not may_be_invited(1_000, 1_000 + 7 * 10, 10)
