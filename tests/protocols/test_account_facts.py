"""What travels with an account: one text for one meaning, and nothing else is read."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.account_facts import (
    MAX_CLAIMS,
    MAX_FACTS_BYTES,
    MAX_NAME,
    MAX_REVOKED,
    MAX_TASKS,
    MAX_TIME,
    AccountFacts,
    Claim,
    InvitedBy,
    NftLink,
    TaskClaim,
)
from protocols.errors import MalformedError
from protocols.types import NodeKey, Wallet

WALLET = Wallet(bytes(range(20)))
FULL = AccountFacts(
    revoked=(NodeKey(bytes([2] * 32)),),
    streak_days=3,
    streak_last_day=20_418,
    nft=NftLink(7, 1_764_180_000_000),
    referral=InvitedBy(WALLET, 1_764_170_000_000, None, 1_764_190_000_000, 20_418, None),
    claims=(Claim("daily-run", 20_418, 1_764_180_000_000),),
    tasks=(TaskClaim("winter", "post", 1_764_180_000_000),),
)

times = st.integers(0, MAX_TIME)
maybe = st.none() | times
names = st.text("abcxyz019-", min_size=1, max_size=MAX_NAME)
keys = st.binary(min_size=32, max_size=32).map(NodeKey)


@given(
    st.builds(
        AccountFacts,
        st.lists(keys, max_size=4).map(tuple),
        times,
        times,
        st.none() | st.builds(NftLink, st.integers(0, 2**256 - 1), times),
        st.none() | st.builds(InvitedBy, st.just(WALLET), times, maybe, maybe, maybe, maybe),
        st.lists(st.builds(Claim, names, times, times), max_size=3).map(tuple),
        st.lists(st.builds(TaskClaim, names, names, times), max_size=3).map(tuple),
    )
)
def test_what_was_written_is_read(facts: AccountFacts) -> None:
    assert AccountFacts.decode(facts.encode()) == facts


def test_the_text() -> None:
    assert FULL.encode() == (
        b'{"claims":[["daily-run",20418,1764180000000]],'
        b'"nft":["7",1764180000000],"referral":["0x000102030405060708090a0b0c0d0e0f10111213",'
        b'1764170000000,null,1764190000000,20418,null],"revoked":["' + b"02" * 32 + b'"],'
        b'"streak":[3,20418],"tasks":[["winter","post",1764180000000]],"v":1}'
    )


def test_the_most_of_everything_fits() -> None:
    name = "a" * MAX_NAME
    most = AccountFacts(
        revoked=(NodeKey(bytes(32)),) * MAX_REVOKED,
        streak_days=MAX_TIME,
        streak_last_day=MAX_TIME,
        nft=NftLink(2**256 - 1, MAX_TIME),
        referral=InvitedBy(WALLET, MAX_TIME, MAX_TIME, MAX_TIME, MAX_TIME, MAX_TIME),
        claims=(Claim(name, MAX_TIME, MAX_TIME),) * MAX_CLAIMS,
        tasks=(TaskClaim(name, name, MAX_TIME),) * MAX_TASKS,
    )
    assert AccountFacts.decode(most.encode()) == most


def changed(**fields: Any) -> bytes:
    parsed = {**json.loads(FULL.encode()), **fields}
    return json.dumps(parsed, separators=(",", ":"), sort_keys=True).encode()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b" " * (MAX_FACTS_BYTES + 1), "facts too long"),
        (b"{", "facts are no JSON"),
        (b"[" * 10_000, "facts are no JSON"),
        (b"[]", "facts are not canonical"),
        (FULL.encode() + b"\n", "facts are not canonical"),
        (b'{"v":1}', "facts of another form"),
        (changed(v=2), "facts of another form"),
        (changed(x=1), "facts of another form"),
        (changed(keys=[]), "facts of another form"),
        (changed(revoked={}), "bad list in facts"),
        (changed(revoked=["01" * 32] * (MAX_REVOKED + 1)), "bad list in facts"),
        (changed(revoked=[1]), "bad digits in facts"),
        (changed(revoked=["01" * 31]), "bad digits in facts"),
        (changed(revoked=["0A" * 32]), "bad digits in facts"),
        (changed(streak=3), "bad row in facts"),
        (changed(streak=[3]), "bad row in facts"),
        (changed(streak=[3, True]), "bad number in facts"),
        (changed(streak=[3, -1]), "bad number in facts"),
        (changed(streak=[3, MAX_TIME + 1]), "bad number in facts"),
        (changed(nft=[7, 1]), "bad token in facts"),
        (changed(nft=["07", 1]), "bad token in facts"),
        (changed(nft=["²", 1]), "bad token in facts"),
        (changed(nft=["x", 1]), "bad token in facts"),
        (changed(nft=["1" * 79, 1]), "bad token in facts"),
        (changed(nft=[str(2**256), 1]), "bad token in facts"),
        (changed(referral=["11" * 21, 1, 1, 1, 1, 1]), "bad digits in facts"),
        (changed(referral=[1, 1, 1, 1, 1, 1]), "bad digits in facts"),
        (changed(claims=[["", 1, 1]]), "bad name in facts"),
        (changed(claims=[[1, 1, 1]]), "bad name in facts"),
        (changed(claims=[["A", 1, 1]]), "bad name in facts"),
        (changed(claims=[["a" * 33, 1, 1]]), "bad name in facts"),
        (changed(tasks=[["a", "b"]]), "bad row in facts"),
    ],
)
def test_anything_else_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(MalformedError) as caught:
        AccountFacts.decode(data)
    assert caught.value.reason == reason
