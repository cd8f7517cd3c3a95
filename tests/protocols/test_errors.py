"""The tree of errors: who is to blame, and what is counted."""

import pytest

from protocols.errors import (
    ForgedError,
    GossipIgnore,
    GossipReject,
    KaisarError,
    LocalError,
    MalformedError,
    RemoteError,
)
from protocols.hashing import keccak256

REMOTE = [RemoteError, MalformedError, ForgedError, GossipIgnore, GossipReject]


@pytest.mark.parametrize("kind", REMOTE)
def test_what_a_peer_did_is_never_our_own_fault(kind: type[RemoteError]) -> None:
    assert issubclass(kind, RemoteError)
    assert issubclass(kind, KaisarError)
    assert not issubclass(kind, LocalError)
    assert not issubclass(LocalError, RemoteError)


@pytest.mark.parametrize("kind", REMOTE)
def test_the_reason_is_apart_from_the_detail(kind: type[RemoteError]) -> None:
    error = kind("wrong version", "found 7")

    assert (error.reason, error.detail) == ("wrong version", "found 7")
    assert str(error) == "wrong version: found 7"


def test_a_reason_may_say_it_all() -> None:
    error = MalformedError("wrong network")

    assert (error.detail, str(error)) == ("", "wrong network")


def test_the_hash_is_ethereums() -> None:
    """Known answers: keccak256 of nothing and of "abc", which SHA3-256 does not give."""
    assert keccak256().hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    assert (
        keccak256(b"a", b"bc").hex()
        == "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"
    )
