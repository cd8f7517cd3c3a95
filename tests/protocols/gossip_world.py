"""Reads the gossip vectors into what the rules take."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

from protocols.envelopes import Verified
from protocols.epochs import Timeline
from protocols.errors import GossipIgnore, RemoteError
from protocols.gossip import (
    GossipMemory,
    NetworkView,
    validate_announcement_gossip,
    validate_challenge_gossip,
    validate_commitment_gossip,
    validate_report_gossip,
)
from protocols.membership import EpochView, Member
from protocols.params import MINIMAL
from protocols.types import Digest, Epoch, NetworkId, NodeKey, TimeMs, Wallet
from tests.vectors.generate import load

Rule = Callable[[GossipMemory, NetworkView, bytes, TimeMs], Verified[Any]]

RULES: dict[str, Rule] = {
    "announcement": validate_announcement_gossip,
    "challenge": validate_challenge_gossip,
    "commitment": validate_commitment_gossip,
    "report": validate_report_gossip,
}


@cache
def load_view(name: str) -> NetworkView:
    """A view of tests/vectors/gossip/views."""
    shown = load(f"gossip/views/{name}.json")
    return NetworkView(
        network=NetworkId(bytes.fromhex(shown["network"])),
        domain=Digest(bytes.fromhex(shown["domain_separator"])),
        timeline=Timeline(TimeMs(shown["genesis_ms"]), replace(MINIMAL, **shown["calendar"])),
        epochs={Epoch(each["epoch"]): _read_epoch(each) for each in shown["epochs"]},
    )


def _read_epoch(shown: dict[str, Any]) -> EpochView:
    return EpochView(
        epoch=Epoch(shown["epoch"]),
        seed=Digest(bytes.fromhex(shown["seed"])),
        seats=shown["seats"],
        checker_slots=shown["checker_slots"],
        provider_slots=shown["provider_slots"],
        checkers=_read_members(shown["checkers"]),
        providers=_read_members(shown["providers"]),
    )


def _read_members(shown: list[dict[str, Any]]) -> dict[int, Member]:
    return {
        each["index"]: Member(
            index=each["index"],
            wallet=Wallet(bytes.fromhex(each["wallet"])),
            node_key=NodeKey(bytes.fromhex(each["node_key"])),
            stake=int(each["stake"]),
            joined=Epoch(each["joined"]),
            exits=Epoch(each["exits"]),
        )
        for each in shown
    }


def replay_seen(case: dict[str, Any]) -> GossipMemory:
    """A memory that has judged what the vector says was seen before."""
    memory = GossipMemory()
    view = load_view(case["view"])
    for each in case["seen"]:
        found = judge(each["rule"], memory, view, bytes.fromhex(each["message"]), each["now_ms"])
        if found != each["expected"]:
            raise AssertionError(f"seen before: {found}, expected {each['expected']}")
    return memory


def judge(rule: str, memory: GossipMemory, view: NetworkView, data: bytes, now: int) -> str:
    """The judgement in a word; whatever is no RemoteError goes through."""
    try:
        RULES[rule](memory, view, data, TimeMs(now))
    except GossipIgnore:
        return "ignore"
    except RemoteError:
        return "reject"
    return "accept"


def sizes(memory: GossipMemory) -> tuple[int, int, int, int]:
    """How much a memory has accepted."""
    accepted = (memory.announcements, memory.challenges, memory.commitments, memory.reports)
    announcements, challenges, commitments, reports = map(len, accepted)
    return announcements, challenges, commitments, reports
