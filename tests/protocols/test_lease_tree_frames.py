"""The frames with which a tree of files is announced and resumed."""

import pytest

from protocols import lease_frames as frames
from protocols.errors import LocalError, MalformedError
from protocols.lease_frames import FrameKind, decode_frame


def payload_of(frame: bytes, kind: FrameKind) -> memoryview:
    found, payload = decode_frame(frame)
    assert found is kind
    return payload


def test_what_goes_in_comes_out() -> None:
    tree = payload_of(frames.encode_tree(7, 1 << 40, 3), FrameKind.TREE)
    assert frames.decode_tree(tree) == (7, 1 << 40, 3)
    have = payload_of(frames.encode_have(1 << 40, b"d" * 32), FrameKind.HAVE)
    assert frames.decode_have(have) == (1 << 40, b"d" * 32)
    folder = payload_of(frames.encode_file(0o755, 0, b"a/"), FrameKind.FILE)
    assert frames.decode_file(folder) == (0o755, 0, b"a/")


def test_their_numbers_are_fixed() -> None:
    assert (FrameKind.TREE, FrameKind.HAVE, FrameKind.LEAVE) == (12, 13, 14)


@pytest.mark.parametrize("size", [0, 15, 17])
def test_a_tree_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(MalformedError):
        frames.decode_tree(memoryview(bytes(size)))


@pytest.mark.parametrize("size", [0, 39, 41])
def test_a_have_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(MalformedError):
        frames.decode_have(memoryview(bytes(size)))


def test_what_does_not_fit_is_our_own_mistake() -> None:
    with pytest.raises(LocalError):
        frames.encode_have(0, b"")
    with pytest.raises(LocalError):
        frames.encode_tree(1 << 32, 0, 0)
