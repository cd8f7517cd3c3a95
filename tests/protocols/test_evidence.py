"""The evidence of a report: its root, paths under it, and what the report's own bitmap tells."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import LocalError, MalformedError
from protocols.evidence import (
    NO_EVIDENCE,
    compute_evidence_path,
    compute_evidence_root,
    compute_transcript_digest,
    find_evidence_root,
)
from protocols.lanes import bitmap_of
from protocols.messages import MAX_EVIDENCE_PATH
from protocols.types import Digest
from tests.protocols import audit_reference as ref

transcripts = st.dictionaries(
    st.integers(0, 255), st.lists(st.binary(max_size=40), min_size=1, max_size=8), min_size=1
)


def digests(shown: dict[int, list[bytes]]) -> dict[int, Digest]:
    """The digest of each lane's transcript."""
    return {lane: compute_transcript_digest(messages) for lane, messages in shown.items()}


@given(shown=transcripts)
def test_root_and_paths_are_those_of_the_reference(shown: dict[int, list[bytes]]) -> None:
    root, paths = ref.evidence(shown)
    online = bitmap_of(shown)

    assert compute_evidence_root(digests(shown)) == root
    for lane, digest in digests(shown).items():
        path = compute_evidence_path(digests(shown), lane)
        assert path == paths[lane]
        assert len(path) <= MAX_EVIDENCE_PATH
        assert find_evidence_root(online, lane, digest, path) == root


@given(shown=transcripts, data=st.data())
def test_a_transcript_opens_the_root_in_its_own_lane_only(
    shown: dict[int, list[bytes]], data: st.DataObject
) -> None:
    lane = data.draw(st.sampled_from(sorted(shown)))
    other = data.draw(st.integers(0, 255).filter(lambda each: each != lane))
    path = compute_evidence_path(digests(shown), lane)
    online = bitmap_of(shown) | 1 << other

    try:
        found = find_evidence_root(online, other, digests(shown)[lane], path)
    except MalformedError:
        return
    assert found != compute_evidence_root(digests(shown))


def test_a_full_shard_has_the_longest_path() -> None:
    full = {lane: Digest(bytes([lane]) * 32) for lane in range(256)}

    assert len(compute_evidence_path(full, 0)) == MAX_EVIDENCE_PATH


def test_no_transcripts_no_evidence() -> None:
    assert compute_evidence_root({}) == NO_EVIDENCE


def test_a_path_of_another_length_is_malformed() -> None:
    with pytest.raises(MalformedError, match="merkle path length"):
        find_evidence_root(0b11, 0, Digest(bytes(32)), bytes(64))


def test_lanes_without_a_transcript_have_no_path() -> None:
    with pytest.raises(LocalError, match="lane 3 has no transcript"):
        compute_evidence_path({0: Digest(bytes(32))}, 3)
    with pytest.raises(LocalError, match="lane 3 is not online"):
        find_evidence_root(0b11, 3, Digest(bytes(32)), b"")
