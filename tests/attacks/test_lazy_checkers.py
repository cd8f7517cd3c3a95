"""Copying another checker's report, in every way that gossip might let pass."""

from typing import Any

import pytest

from p2p_node.duties.observations import Observation, Transcript
from protocols.errors import GossipIgnore, RemoteError
from protocols.evidence import (
    compute_evidence_path,
    compute_evidence_root,
    find_evidence_root,
)
from protocols.gossip import (
    GossipMemory,
    validate_challenge_gossip,
    validate_commitment_gossip,
    validate_report_gossip,
)
from protocols.lanes import bitmap_of
from protocols.scoring import Verdict
from protocols.types import Digest, TimeMs
from tests.protocols.gossip_world import load_view
from tests.vectors.builders import scene

BOBS_SEAT, MALLORYS_SEAT = 2, 1
VIEW = load_view("usual")
NOW = TimeMs(scene.reveal_start(scene.EPOCH) + 1_000)


def observe(checker: str, lane: int) -> Observation:
    """What a checker keeps of its own job: messages that nobody else has."""
    transcript = Transcript([f"{checker} asks {lane}".encode(), f"{lane} answers".encode()])
    return Observation(lane, Verdict.OK, 1000 + lane, 10**12, transcript.digest(), transcript)


def find_root(seen: list[Observation]) -> Digest:
    """Evidence root of what a checker has seen."""
    return compute_evidence_root({each.lane: each.transcript for each in seen})


def opens(root: Digest, seen: list[Observation], lane: int) -> bool:
    """Whether these observations open a lane of an evidence root, as an audit asks."""
    transcripts = {each.lane: each.parts.digest() for each in seen}
    path = compute_evidence_path(transcripts, lane)
    return find_evidence_root(bitmap_of(transcripts), lane, transcripts[lane], path) == root


def test_a_copied_evidence_root_cannot_be_opened() -> None:
    bobs = [observe("bob", lane) for lane in range(5)]
    root = find_root(bobs)
    copied = [observe("mallory", lane) for lane in range(5)]

    assert all(opens(root, bobs, lane) for lane in range(5))
    assert not any(opens(root, copied, lane) for lane in range(5))


def test_the_evidence_root_binds_every_transcript() -> None:
    """Without it, reports of equal scores would be equal reports."""
    bobs = [observe("bob", lane) for lane in range(5)]
    mallorys = [observe("mallory", lane) for lane in range(5)]

    assert [each.score for each in bobs] == [each.score for each in mallorys]
    assert find_root(bobs) != find_root(mallorys)


def test_a_report_cannot_be_sent_for_anothers_seat() -> None:
    stolen = scene.report(seat=BOBS_SEAT, by=scene.checker_name(scene.holder(0, MALLORYS_SEAT)))

    with pytest.raises(RemoteError, match="not in committee"):
        validate_report_gossip(GossipMemory(), VIEW, stolen.seal(), NOW)


def copy_bobs_report(**change: Any) -> bytes:
    """The same judgement, evidence and secret, in mallory's own name."""
    bobs = scene.report(seat=BOBS_SEAT)
    judgement = {"evidence": bobs.fields["evidence"]}
    told = {"secret": bobs.fields["secret"], **change}
    return scene.report(seat=MALLORYS_SEAT, judgement=judgement, **told).seal()


def commit(memory: GossipMemory, now: int, **report_of: Any) -> None:
    """Publish a commitment in mallory's name."""
    sealed = scene.commitment(seat=MALLORYS_SEAT, **report_of).seal()
    validate_commitment_gossip(memory, VIEW, sealed, TimeMs(now))


def test_whoever_announced_a_challenge_cannot_show_anothers_secret() -> None:
    """Not even with a report that was committed to in time, were it known that early."""
    memory = GossipMemory()
    validate_challenge_gossip(
        memory,
        VIEW,
        scene.challenge(seat=MALLORYS_SEAT).seal(),
        TimeMs(scene.slot_start(scene.EPOCH, MALLORYS_SEAT)),
    )
    bobs = scene.report(seat=BOBS_SEAT).fields["evidence"]
    commit(memory, scene.commit_start(scene.EPOCH), judgement={"evidence": bobs})

    with pytest.raises(GossipIgnore, match="wrong secret"):
        validate_report_gossip(memory, VIEW, copy_bobs_report(), NOW)


def test_a_report_that_was_not_committed_to_is_not_taken() -> None:
    with pytest.raises(GossipIgnore, match="not committed"):
        validate_report_gossip(GossipMemory(), VIEW, copy_bobs_report(), NOW)


def test_a_copy_comes_too_late_to_be_committed_to() -> None:
    """Bob's report cannot be read before the reveal phase, by the fastest clock there is."""
    memory = GossipMemory()
    readable = scene.reveal_start(scene.EPOCH) - scene.DISPARITY_MS + 1
    bobs = scene.report(seat=BOBS_SEAT).fields["evidence"]

    with pytest.raises(GossipIgnore, match="too late"):
        commit(memory, readable, judgement={"evidence": bobs})


def test_a_guess_that_was_committed_to_cannot_be_changed_into_a_copy() -> None:
    memory = GossipMemory()
    commit(memory, scene.commit_start(scene.EPOCH))

    with pytest.raises(GossipIgnore, match="not as committed"):
        validate_report_gossip(memory, VIEW, copy_bobs_report(), NOW)


def test_bobs_own_commitment_opens_to_nothing_in_mallorys_name() -> None:
    memory = GossipMemory()
    bobs = scene.commitment(seat=BOBS_SEAT).fields["commitment"]
    commit(memory, scene.commit_start(scene.EPOCH), commitment=bobs)
    salt = scene.report_salt(scene.EPOCH, 0, BOBS_SEAT)

    with pytest.raises(GossipIgnore, match="not as committed"):
        validate_report_gossip(memory, VIEW, copy_bobs_report(salt=salt), NOW)
