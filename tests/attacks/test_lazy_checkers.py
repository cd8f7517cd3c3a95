"""Copying another checker's report: what stops it today, and what does not."""

import pytest

from p2p_node.duties.observations import Observation, Transcript
from p2p_node.duties.reporting import compute_evidence_root
from protocols.errors import GossipIgnore, RemoteError
from protocols.gossip import GossipMemory, validate_challenge_gossip, validate_report_gossip
from protocols.merkle import build_tree, compute_root_from_path, hash_leaf
from protocols.scoring import Verdict
from protocols.types import TimeMs
from tests.protocols.gossip_world import load_view
from tests.vectors.builders import scene

BOBS_SEAT, MALLORYS_SEAT = 2, 1
VIEW = load_view("usual")
NOW = TimeMs(scene.reveal_start(scene.EPOCH) + 1_000)


def observe(checker: str, lane: int) -> Observation:
    """What a checker keeps of its own job: messages that nobody else has."""
    transcript = Transcript([f"{checker} asks {lane}".encode(), f"{lane} answers".encode()])
    return Observation(lane, Verdict.OK, 1000 + lane, 10**12, transcript.digest(), transcript)


def opens(root: bytes, seen: list[Observation], lane: int) -> bool:
    """Whether these observations open a lane of an evidence root, as an audit would ask."""
    leaves = [hash_leaf(each.lane.to_bytes(2, "big") + each.parts.digest()) for each in seen]
    position = [each.lane for each in seen].index(lane)
    path = build_tree(b"".join(leaves)).path(position)
    return compute_root_from_path(leaves[position], position, len(leaves), path) == root


def test_a_copied_evidence_root_cannot_be_opened() -> None:
    bobs = [observe("bob", lane) for lane in range(5)]
    root = compute_evidence_root(bobs)
    copied = [observe("mallory", lane) for lane in range(5)]

    assert all(opens(root, bobs, lane) for lane in range(5))
    assert not any(opens(root, copied, lane) for lane in range(5))


def test_the_evidence_root_binds_every_transcript() -> None:
    """Without it, reports of equal scores would be equal reports."""
    bobs = [observe("bob", lane) for lane in range(5)]
    mallorys = [observe("mallory", lane) for lane in range(5)]

    assert [each.score for each in bobs] == [each.score for each in mallorys]
    assert compute_evidence_root(bobs) != compute_evidence_root(mallorys)


def test_a_report_cannot_be_sent_for_anothers_seat() -> None:
    stolen = scene.report(seat=BOBS_SEAT, by=scene.checker_name(scene.holder(0, MALLORYS_SEAT)))

    with pytest.raises(RemoteError, match="not in committee"):
        validate_report_gossip(GossipMemory(), VIEW, stolen.seal(), NOW)


def copy_bobs_report() -> bytes:
    """The same judgement, evidence and secret, in mallory's own name."""
    bobs = scene.report(seat=BOBS_SEAT)
    judgement = {"evidence": bobs.fields["evidence"]}
    secret = bobs.fields["secret"]
    return scene.report(seat=MALLORYS_SEAT, judgement=judgement, secret=secret).seal()


def test_whoever_announced_a_challenge_cannot_show_anothers_secret() -> None:
    memory = GossipMemory()
    validate_challenge_gossip(
        memory,
        VIEW,
        scene.challenge(seat=MALLORYS_SEAT).seal(),
        TimeMs(scene.slot_start(scene.EPOCH, MALLORYS_SEAT)),
    )

    with pytest.raises(GossipIgnore, match="wrong secret"):
        validate_report_gossip(memory, VIEW, copy_bobs_report(), NOW)


def test_whoever_announced_none_can_copy_a_report_until_reports_are_committed_to() -> None:
    """The residual truth of docs/attacks.md: gossip alone does not stop it. When commit and reveal
    come, this test has to turn round."""
    validate_report_gossip(GossipMemory(), VIEW, copy_bobs_report(), NOW)
