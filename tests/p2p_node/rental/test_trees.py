"""The two halves of a transfer against senders that lie and workloads that plant things."""

import hashlib
import os
import stat
from collections import deque
from pathlib import Path

import pytest

from p2p_node.net.errors import MessageTooLongError
from p2p_node.rental.beneath import NoSuchPathError
from p2p_node.rental.files import (
    TransferError,
)
from p2p_node.rental.tree_reading import AHEAD, Have, TreeReader, scan
from p2p_node.rental.tree_writing import TransferRuleError, TreeWriter
from protocols.errors import LocalError, MalformedError, RemoteError
from protocols.lease_frames import (
    FrameKind,
    decode_frame,
    decode_have,
    encode_file,
    encode_frame,
    encode_resume,
    encode_tree,
)
from protocols.lease_paths import STAGING
from protocols.types import Digest
from tests.p2p_node.rental.trees import (
    DONE_HASH,
    ONE,
    PLENTY,
    TREE,
    apply,
    make_tree,
    send_file,
    transfer,
    writer_with,
)


@pytest.mark.parametrize(
    ("frames", "error"),
    [
        ([encode_file(0o644, 1, b"a")], TransferRuleError),
        ([TREE, TREE], MalformedError),
        ([TREE, encode_file(0o644, 101, b"a")], TransferRuleError),
        ([TREE, encode_file(0o644, 60, b"a"), encode_file(0o644, 60, b"b")], TransferRuleError),
        ([TREE, *[encode_file(0o644, 1, b"a")] * 4], TransferRuleError),
        ([TREE, encode_file(0o644, 1, b"a/")], TransferRuleError),
        ([TREE, encode_file(0o644, 1, b"../a")], MalformedError),
        ([TREE, encode_file(0o644, 1, b"a/../../b")], MalformedError),
        ([TREE, encode_file(0o644, 1, b"/etc/cron.d/x")], MalformedError),
        ([TREE, encode_file(0o644, 1, STAGING + b"/x")], MalformedError),
        ([TREE, encode_file(0o644, 1, STAGING)], MalformedError),
        ([TREE, encode_resume(0)], MalformedError),
        ([TREE, encode_file(0o644, 5, b"a"), encode_resume(1)], MalformedError),
        ([TREE, encode_file(0o644, 5, b"a"), b"\0x"], TransferRuleError),
        ([TREE, encode_file(0o644, 5, b"a"), encode_resume(0), b"\x00123456"], TransferRuleError),
        ([TREE, encode_file(0o644, 5, b"a"), encode_resume(0), encode_resume(0)], MalformedError),
        ([TREE, encode_file(0o644, 5, b"a"), encode_resume(0), DONE_HASH], TransferRuleError),
        (
            [TREE, encode_file(0o644, 5, b"a"), encode_resume(0), b"\x0012346", DONE_HASH],
            TransferRuleError,
        ),
        ([TREE, DONE_HASH], MalformedError),
        ([TREE, encode_frame(FrameKind.LEAVE)], MalformedError),
        ([TREE, encode_frame(FrameKind.LEAVE, b"x")], MalformedError),
        ([TREE, encode_frame(FrameKind.EXIT, bytes(4))], MalformedError),
        (
            [encode_tree(2000, 0, 0)] + [encode_file(0, 0, b"a")] * (AHEAD + 1),
            MessageTooLongError,
        ),
    ],
)
def test_a_sender_that_breaks_a_rule_is_refused(
    tmp_path: Path, frames: list[bytes], error: type[RemoteError]
) -> None:
    writer = writer_with(tmp_path)
    with pytest.raises(error):
        apply(writer, *frames)
    writer.close()
    assert [one.name for one in (tmp_path / "to").iterdir()] == [os.fsdecode(STAGING)]
    assert not [one for one in tmp_path.iterdir() if one.name != "to"]


def test_a_receiver_cannot_have_more_than_there_is(tmp_path: Path) -> None:
    reader = TreeReader(scan(make_tree(tmp_path), b"one"))
    with pytest.raises(MalformedError):
        reader.produce(deque([Have(2, Digest(bytes(32)))]))
    reader.close()


# Workloads that rearrange the target meanwhile.


@pytest.mark.parametrize("planted", ["folder", "target", "staging", "file"])
def test_a_link_that_was_planted_leads_nowhere(tmp_path: Path, planted: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "key").write_text("the host's")
    target = tmp_path / "to"
    target.mkdir()
    if planted == "folder":
        (target / "sub").symlink_to(outside)
    elif planted == "target":
        target.rmdir()
        target.symlink_to(outside)
    elif planted == "staging":
        (target / os.fsdecode(STAGING)).symlink_to(outside)
    else:
        (target / "sub").mkdir()
        (target / "sub" / "key").symlink_to(outside / "key")

    def write() -> None:
        writer = writer_with(tmp_path, ONE)
        try:
            send_file(writer, b"sub/key")
        finally:
            writer.close()

    if planted == "file":
        # What has the name is replaced, not followed.
        write()
        assert not (target / "sub" / "key").is_symlink()
        assert (target / "sub" / "key").read_bytes() == b"12345"
    else:
        with pytest.raises(OSError, match=r"Not a directory|symbolic"):
            write()
    assert [one.name for one in outside.iterdir()] == ["key"]
    assert (outside / "key").read_text() == "the host's"


@pytest.mark.parametrize("planted", ["link", "hard link", "fifo"])
def test_what_was_planted_among_the_incomplete_files_is_not_written_to(
    tmp_path: Path, planted: str
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"123")
    name = hashlib.sha256(b"a").hexdigest()[:40]
    place = tmp_path / "to" / os.fsdecode(STAGING) / name
    place.parent.mkdir(parents=True)
    if planted == "link":
        place.symlink_to(victim)
    elif planted == "hard link":
        place.hardlink_to(victim)
    else:
        os.mkfifo(place)
    writer = writer_with(tmp_path, ONE)
    send_file(writer, b"a")
    writer.close()
    assert victim.read_bytes() == b"123"
    assert (tmp_path / "to" / "a").read_bytes() == b"12345"


def test_a_path_that_comes_twice_is_written_twice(tmp_path: Path) -> None:
    writer = writer_with(tmp_path, encode_tree(2, 10, 0))
    send_file(writer, b"a")
    send_file(writer, b"a", b"54321")
    assert writer.finished
    writer.close()
    assert (tmp_path / "to" / "a").read_bytes() == b"54321"


def test_complete_files_that_have_no_name_yet_are_found_again(tmp_path: Path) -> None:
    writer = writer_with(tmp_path, encode_tree(2, 10, 0))
    send_file(writer, b"a")
    writer.close()
    assert not (tmp_path / "to" / "a").exists()
    again = writer_with(tmp_path, ONE)
    (have,) = apply(again, encode_file(0o640, 5, b"a"))
    assert decode_have(decode_frame(have)[1])[0] == 5
    apply(again, encode_resume(5), DONE_HASH)
    again.close()
    assert (tmp_path / "to" / "a").read_bytes() == b"12345"
    assert stat.S_IMODE((tmp_path / "to" / "a").stat().st_mode) == 0o640


@pytest.mark.parametrize("planted", ["fifo", "link"])
def test_what_has_the_name_of_a_file_is_looked_at_but_not_through(
    tmp_path: Path, planted: str
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"12345")
    (tmp_path / "to").mkdir()
    if planted == "fifo":
        os.mkfifo(tmp_path / "to" / "a")
    else:
        (tmp_path / "to" / "a").symlink_to(victim)
    writer = writer_with(tmp_path, ONE)
    (have,) = apply(writer, encode_file(0o644, 5, b"a"))
    assert decode_have(decode_frame(have)[1])[0] == 0
    writer.close()


async def test_a_folder_that_has_the_name_of_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "to" / "one").mkdir(parents=True)
    both = await transfer(make_tree(tmp_path), tmp_path, b"to")
    assert isinstance(both.received, TransferError)
    assert both.received.reason == "disk does not take it"
    assert "Is a directory" in str(both.sent)


def test_what_a_workload_put_into_a_path_is_not_sent(tmp_path: Path) -> None:
    workspace = make_tree(tmp_path)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("the host's")
    (workspace / "link").symlink_to(tmp_path / "secret")
    for path in (b"link", b"link/key", b"nothing", b"one/x"):
        with pytest.raises(NoSuchPathError):
            scan(workspace, path)
    for path in (b"../secret", b"/etc", b"sub/../../secret"):
        with pytest.raises(MalformedError):
            scan(workspace, path)
    os.mkfifo(workspace / "pipe")
    with pytest.raises(NoSuchPathError, match="neither a file nor a folder"):
        scan(workspace, b"pipe")
    with pytest.raises(NoSuchPathError):
        scan(workspace / "nothing")


def test_a_folder_that_became_a_link_is_not_sent(tmp_path: Path) -> None:
    workspace = make_tree(tmp_path)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "medium").write_text("s" * 100_000)
    tree = scan(workspace, b"sub")
    (workspace / "sub").rename(workspace / "was")
    (workspace / "sub").symlink_to(tmp_path / "secret")
    reader = TreeReader(tree)
    frames = []
    while not reader.finished:
        frames += reader.produce(deque([Have(0, Digest(bytes(32)))]))
    reader.close()
    assert {frame[0] for frame in frames} == {FrameKind.FILE, FrameKind.RESUME, FrameKind.LEAVE}
    assert reader.left_out == tree.files


def test_too_many_files_belong_into_an_archive(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="archive"):
        scan(make_tree(tmp_path), max_files=5)


def test_too_deep_a_folder_is_not_sent(tmp_path: Path) -> None:
    folder = tmp_path / "source"
    for _ in range(65):
        folder = folder / "d"
    folder.mkdir(parents=True)
    with pytest.raises(LocalError, match="too deep"):
        scan(tmp_path / "source")


def test_files_belong_to_the_workload(tmp_path: Path) -> None:
    me = (os.getuid(), os.getgid())
    owner = me if os.getuid() else (12345, 54321)
    writer = TreeWriter(tmp_path, b"to/there", PLENTY, owner)
    assert writer.lock()
    apply(writer, ONE)
    send_file(writer, b"sub/a")
    writer.finish()
    writer.close()
    for path in ("to", "to/there", "to/there/sub", "to/there/sub/a"):
        status = (tmp_path / path).stat()
        assert (status.st_uid, status.st_gid) == owner
