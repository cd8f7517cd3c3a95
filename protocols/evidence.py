"""What a report rests on: transcripts of jobs, under one Merkle root.

A transcript is the sealed messages of one job, in the order in which they went over its stream: the
checker's requests and the provider's valid answers in turn. A lane has one exactly when the report
calls its provider *online*: then something came back that the provider has signed. So the report
itself says how many leaves the tree has and which of them is a lane's.
"""

from collections.abc import Mapping, Sequence

from protocols.errors import LocalError
from protocols.hashing import keccak256
from protocols.merkle import MerkleTree, build_tree, compute_root_from_path, hash_leaf
from protocols.types import Digest

NO_EVIDENCE = Digest(bytes(32))
"""Stands for the transcript of a provider that sent nothing, and for a root over none."""


def compute_transcript_digest(messages: Sequence[bytes]) -> Digest:
    """Hash a whole exchange: keccak256 over the keccak256 of each message."""
    return keccak256(*(keccak256(message) for message in messages))


def compute_evidence_root(transcripts: Mapping[int, Digest]) -> Digest:
    """Merkle root over the transcript digests of lanes; zero where there is none."""
    return Digest(_build_tree(transcripts).root) if transcripts else NO_EVIDENCE


def compute_evidence_path(transcripts: Mapping[int, Digest], lane: int) -> bytes:
    """Siblings that lead from the leaf of `lane` to the root; LocalError when it has none."""
    if lane not in transcripts:
        raise LocalError(f"lane {lane} has no transcript")
    return _build_tree(transcripts).path(sorted(transcripts).index(lane))


def find_evidence_root(online: int, lane: int, transcript: Digest, path: bytes) -> Digest:
    """Root that `path` leads to from the transcript of `lane`, one of those in the bitmap `online`.

    Raises MalformedError for a path of another length, LocalError when the lane is not online.
    """
    if not online >> lane & 1:
        raise LocalError(f"lane {lane} is not online")
    position = (online & ((1 << lane) - 1)).bit_count()
    leaf = _hash_leaf(lane, transcript)
    return Digest(compute_root_from_path(leaf, position, online.bit_count(), path))


def _build_tree(transcripts: Mapping[int, Digest]) -> MerkleTree:
    leaves = (_hash_leaf(lane, transcripts[lane]) for lane in sorted(transcripts))
    return build_tree(b"".join(leaves))


def _hash_leaf(lane: int, transcript: Digest) -> bytes:
    return hash_leaf(lane.to_bytes(2, "big") + transcript)
