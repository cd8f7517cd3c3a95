"""Paths that a peer may name, and those that it may not."""

import pytest

from protocols.errors import MalformedError
from protocols.lease_paths import MAX_DEPTH, STAGING, split_file_path, split_path


def test_a_relative_path_is_cut_into_its_parts() -> None:
    assert split_path(b"") == ()
    assert split_path(b"a") == (b"a",)
    assert split_path(b"a/...b/\xff c") == (b"a", b"...b", b"\xff c")
    assert split_path(b"n" * 255) == (b"n" * 255,)
    assert len(split_path(b"/".join([b"d"] * MAX_DEPTH))) == MAX_DEPTH
    assert split_file_path(b"a/" + STAGING) == (b"a", STAGING)


@pytest.mark.parametrize(
    "path",
    [
        b"/etc/passwd",
        b"..",
        b"a/../b",
        b"a/..",
        b"./a",
        b"a//b",
        b"a/",
        b"a\0b",
        b"n" * 256,
        b"/".join([b"d"] * (MAX_DEPTH + 1)),
        b"/".join([b"d" * 255] * 17),
    ],
)
def test_any_other_path_is_refused(path: bytes) -> None:
    for split in (split_path, split_file_path):
        with pytest.raises(MalformedError):
            split(path)


@pytest.mark.parametrize("path", [b"", STAGING, STAGING + b"/a"])
def test_a_file_is_neither_the_root_nor_among_the_incomplete_ones(path: bytes) -> None:
    split_path(path)
    with pytest.raises(MalformedError):
        split_file_path(path)
