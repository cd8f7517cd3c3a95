"""Hypothesis strategies for what travels on the wire."""

from dataclasses import fields
from typing import Any

from hypothesis import strategies as st

from protocols.lanes import encode_words, pack_words
from protocols.lease_messages import (
    DeployRequest,
    FetchRequest,
    ForwardRequest,
    LeaseAccess,
    LeaseAnswer,
    LogsRequest,
    RunRequest,
    StatusRequest,
    UploadRequest,
)
from protocols.messages import (
    Announcement,
    AuditRequest,
    AuditResponse,
    ChainRequest,
    Chains,
    ChallengeAnnouncement,
    Commitment,
    Job,
    JobRefusal,
    Openings,
    OpenRequest,
    Passes,
    PassRequest,
    ReportCommitment,
    ReportMessage,
    ReportsRequest,
    ReportsResponse,
)
from protocols.params import LANES, MAX_SCORE
from protocols.wire import Bytes, Form, ListOf, Message, Text, Uint

MESSAGES: tuple[type[Message], ...] = (
    Announcement,
    ChallengeAnnouncement,
    ReportMessage,
    Job,
    Commitment,
    OpenRequest,
    Openings,
    JobRefusal,
    ReportsRequest,
    ReportsResponse,
    PassRequest,
    Passes,
    ChainRequest,
    Chains,
    ReportCommitment,
    AuditRequest,
    AuditResponse,
    LeaseAccess,
    LeaseAnswer,
    DeployRequest,
    StatusRequest,
    RunRequest,
    UploadRequest,
    FetchRequest,
    ForwardRequest,
    LogsRequest,
)
"""Every kind of message there is."""

LARGEST_DRAWN = 3000
"""Longest byte string drawn for a blob: openings of 16 MiB would only slow the tests down."""


def codec_values() -> st.SearchStrategy[list[Any]]:
    """Arrays of what the codec can write, up to its depth."""
    leaves = (
        st.integers(0, (1 << 64) - 1)
        | st.binary(max_size=300)
        | st.text(st.characters(exclude_categories=["Cs"]), max_size=100)
    )
    inner = st.lists(leaves, max_size=20)
    middle = st.lists(leaves | inner, max_size=5)
    return st.lists(leaves | middle, max_size=32)


def field_values(form: Form) -> st.SearchStrategy[Any]:
    """Values that fit a form, its limits among them."""
    match form:
        case Uint(maximum):
            return st.integers(0, maximum)
        case Bytes(minimum, maximum):
            return st.binary(min_size=minimum, max_size=min(maximum, LARGEST_DRAWN))
        case Text(maximum):
            return st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=maximum)
        case ListOf(item, maximum):
            return st.lists(field_values(item), max_size=maximum).map(tuple)
    raise AssertionError(form)


def messages(kind: type[Message]) -> st.SearchStrategy[Message]:
    """Messages of one kind with any values that their fields allow."""
    return st.builds(
        kind, **{each.name: field_values(each.metadata["form"]) for each in fields(kind)}
    )


def score_vectors() -> st.SearchStrategy[tuple[int, ...]]:
    """256 scores, the smallest and largest among them; a few that repeat, to be drawn fast."""
    score = st.sampled_from([0, 1, 2, 3, MAX_SCORE - 1, MAX_SCORE]) | st.integers(0, MAX_SCORE)
    pattern = st.lists(score, min_size=1, max_size=33)
    return pattern.map(lambda scores: tuple((scores * LANES)[:LANES]))


def encoded_scores() -> st.SearchStrategy[bytes]:
    """Score vectors as the 512 bytes of a report."""
    return score_vectors().map(lambda scores: encode_words(pack_words(scores)))
