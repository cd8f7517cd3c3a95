"""Trees of files over a channel: whole or not at all, resumed after a cut, and never elsewhere."""

import hashlib
import os
import random
import socket
import stat
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio

from p2p_node.net.errors import MessageTooLongError, StreamEndedError
from p2p_node.net.nursery import private_nursery
from p2p_node.rental import tree_reading
from p2p_node.rental.beneath import NoSuchPathError
from p2p_node.rental.channel import Channel
from p2p_node.rental.files import (
    Progress,
    TransferError,
    Transferred,
    TreeLimits,
    fetch,
    ignore,
    receive_tree,
    scan_tree,
    send_tree,
    upload,
)
from p2p_node.rental.tree_reading import AHEAD, Have, TreeReader, scan
from p2p_node.rental.tree_writing import TransferRuleError, TreeWriter
from protocols.errors import LocalError, MalformedError, RemoteError
from protocols.lease_frames import (
    FrameKind,
    decode_frame,
    decode_have,
    encode_check,
    encode_file,
    encode_frame,
    encode_resume,
    encode_tree,
)
from protocols.lease_paths import STAGING
from protocols.types import Digest, NodeKey

PLENTY = TreeLimits(files=10_000, size=1 << 30)

# A channel in memory, which can be cut.


@dataclass
class Line:
    """Both directions of a stream; `cut_after` so many messages it is dead."""

    cut_after: int | None = None
    messages: int = 0
    under_way: tuple[deque[bytes], deque[bytes]] = field(default_factory=lambda: (deque(), deque()))
    change: trio.lowlevel.ParkingLot = field(default_factory=trio.lowlevel.ParkingLot)
    ended: bool = False

    def end(self) -> None:
        self.ended = True
        self.change.unpark_all()


class LineEnd:
    """`RequestStream` over a Line."""

    protocol = "lease"
    peer = NodeKey(bytes(32))

    def __init__(self, line: Line, side: int) -> None:
        self._line = line
        self._out = line.under_way[side]
        self._in = line.under_way[1 - side]

    async def send_all(
        self, messages: Sequence[bytes | bytearray | memoryview], *, within: float | None = None
    ) -> None:
        await trio.lowlevel.checkpoint()
        line = self._line
        for message in messages:
            while len(self._out) >= 8 and not line.ended:
                await line.change.park()
            if line.messages == line.cut_after:
                line.end()
            if line.ended:
                raise StreamEndedError("cut")
            line.messages += 1
            self._out.append(bytes(message))
            line.change.unpark_all()

    async def send(self, data: bytes, *, within: float | None = None) -> None:
        await self.send_all((data,))

    async def receive(self, max_bytes: int, *, within: float | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        while not self._in:
            if self._line.ended:
                raise StreamEndedError("cut")
            await self._line.change.park()
        self._line.change.unpark_all()
        return self._in.popleft()


@dataclass
class Both:
    """What came of the two sides of a transfer."""

    sent: Transferred | RemoteError | None = None
    received: Transferred | RemoteError | None = None


async def transfer(
    source: Path,
    base: Path,
    path: bytes = b"",
    *,
    line: Line | None = None,
    limits: TreeLimits = PLENTY,
    progress: Progress = ignore,
    tree: tree_reading.Tree | None = None,
) -> Both:
    """Send `source` into `base`/`path`; a side that ends closes the line."""
    line = line or Line()
    both = Both()
    tree = tree or await scan_tree(source)

    async def send() -> None:
        try:
            both.sent = await send_tree(Channel(LineEnd(line, 0)), tree, progress)
        except RemoteError as error:
            both.sent = error
        line.end()

    async def receive() -> None:
        try:
            both.received = await receive_tree(
                Channel(LineEnd(line, 1)), base, path, limits, progress
            )
        except RemoteError as error:
            both.received = error
            line.end()

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            nursery.start_soon(receive)
    return both


def make_tree(base: Path, seed: int = 1) -> Path:
    """A folder with files of all sorts of sizes."""
    source = base / "source"
    noise = random.Random(seed)
    for name, size in [
        ("empty", 0),
        ("one", 1),
        ("sub/medium", 100_000),
        ("sub/deeper/big", 3 << 20),
        ("sub/exactly", 512 << 10),
        ("zero.bin", 700_000),
    ]:
        file = source / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(noise.randbytes(size))
    (source / "hollow" / "inner").mkdir(parents=True)
    (source / "run.sh").write_text("#!/bin/sh\n")
    (source / "run.sh").chmod(0o750)
    (source / "one").chmod(0o400)
    return source


def look(folder: Path) -> dict[str, tuple[int, bytes | None]]:
    """All that is below a folder: permissions and content, None for folders."""
    found = {}
    for one in folder.rglob("*"):
        status = one.lstat()
        content = one.read_bytes() if stat.S_ISREG(status.st_mode) else None
        mode = stat.S_IMODE(status.st_mode) if content is not None else 0
        found[str(one.relative_to(folder))] = (mode, content)
    return found


# What is sent arrives.


async def test_a_tree_arrives_as_it_is(tmp_path: Path) -> None:
    source = make_tree(tmp_path)
    told: list[tuple[int, int]] = []
    both = await transfer(
        source, tmp_path, b"a/b", progress=lambda done, total: told.append((done, total))
    )
    size = sum(one.stat().st_size for one in source.rglob("*") if one.is_file())
    assert both.sent == both.received == Transferred(8, size, size, 0)
    assert look(tmp_path / "a" / "b") == look(source)
    assert told[-1] == (size, size)


async def test_what_is_there_is_not_sent_again(tmp_path: Path) -> None:
    source = make_tree(tmp_path)
    await transfer(source, tmp_path, b"to")
    changed = source / "sub" / "medium"
    changed.write_bytes(b"x" * 100_000)
    (source / "zero.bin").chmod(0o604)
    both = await transfer(source, tmp_path, b"to")
    assert isinstance(both.received, Transferred)
    assert both.received.moved == 100_000
    assert look(tmp_path / "to") == look(source)


async def test_a_single_file_is_a_tree_of_one(tmp_path: Path) -> None:
    source = make_tree(tmp_path)
    tree = await scan_tree(source, b"sub/medium")
    assert (tree.files, tree.size) == (1, 100_000)
    await transfer(source, tmp_path, b"to", tree=tree)
    assert look(tmp_path / "to") == {"medium": look(source)["sub/medium"]}


async def test_nothing_is_a_tree_too(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    both = await transfer(tmp_path / "source", tmp_path, b"to")
    assert both.sent == both.received == Transferred(0, 0, 0, 0)
    assert look(tmp_path / "to") == {}


async def test_many_small_files_need_no_round_trip_each(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for number in range(AHEAD + 300):
        file = source / str(number % 7) / str(number)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"%d" % number)
    both = await transfer(source, tmp_path, b"to")
    assert isinstance(both.received, Transferred)
    assert both.received.files == AHEAD + 300
    assert look(tmp_path / "to") == look(source)


async def test_bits_that_lend_rights_stay_behind(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "tool").write_text("x")
    (source / "tool").chmod(0o6755)
    await transfer(source, tmp_path, b"to")
    assert stat.S_IMODE((tmp_path / "to" / "tool").stat().st_mode) == 0o755


async def test_links_and_devices_are_left_out_and_counted(tmp_path: Path) -> None:
    source = make_tree(tmp_path)
    (tmp_path / "secret").write_text("host key")
    (source / "link").symlink_to(tmp_path / "secret")
    (source / "folder").symlink_to(tmp_path)
    os.mkfifo(source / "fifo")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(source / "socket"))
    listener.close()
    both = await transfer(source, tmp_path, b"to")
    assert isinstance(both.received, Transferred)
    assert (both.received.files, both.received.left_out) == (8, 4)
    assert not any((tmp_path / "to" / name).exists() for name in ("link", "folder", "fifo"))


async def test_incomplete_files_of_another_transfer_are_not_sent(tmp_path: Path) -> None:
    source = make_tree(tmp_path)
    before = look(source)
    (source / os.fsdecode(STAGING)).mkdir()
    (source / os.fsdecode(STAGING) / "part").write_text("x")
    await transfer(source, tmp_path, b"to")
    assert look(tmp_path / "to") == before


# Files that change meanwhile.


async def test_a_file_that_shrinks_is_left_out(tmp_path: Path) -> None:
    source = make_tree(tmp_path)
    tree = await scan_tree(source)
    os.truncate(source / "sub" / "deeper" / "big", 100)
    (source / "run.sh").unlink()
    (source / "zero.bin").unlink()
    (source / "zero.bin").symlink_to("/etc/passwd")
    both = await transfer(source, tmp_path, b"to", tree=tree)
    assert isinstance(both.sent, Transferred)
    assert isinstance(both.received, Transferred)
    assert both.sent.left_out == both.received.left_out == 3
    arrived = look(tmp_path / "to")
    assert {"run.sh", "zero.bin", "sub/deeper/big"}.isdisjoint(arrived)
    assert arrived["one"] == look(source)["one"]


async def test_a_file_that_grows_arrives_as_long_as_it_was(tmp_path: Path) -> None:
    source = make_tree(tmp_path)
    tree = await scan_tree(source)
    with (source / "sub" / "medium").open("ab") as file:
        file.write(b"more")
    await transfer(source, tmp_path, b"to", tree=tree)
    assert (tmp_path / "to" / "sub" / "medium").stat().st_size == 100_000


# Cuts.


async def test_a_cut_anywhere_leaves_nothing_half_and_is_resumed(tmp_path: Path) -> None:
    source = make_tree(tmp_path)
    whole = look(source)
    line = Line()
    await transfer(source, tmp_path, b"first", line=line)
    assert line.messages > 20
    for cut_after in range(line.messages):
        target = tmp_path / "cut" / str(cut_after)
        target.mkdir(parents=True)
        both = await transfer(source, target, line=Line(cut_after))
        assert isinstance(both.sent, StreamEndedError)
        before = look(target)
        for name, found in before.items():
            assert name.startswith(os.fsdecode(STAGING)) or found == whole[name] or not found[0]
        placed = sum(len(content or b"") for _, content in before.values())
        again = await transfer(source, target)
        assert isinstance(again.received, Transferred)
        assert again.received.size - again.received.moved == placed
        assert look(target) == whole


async def test_what_was_cut_is_not_built_upon_when_it_is_something_else(tmp_path: Path) -> None:
    source = make_tree(tmp_path)
    size = (source / "zero.bin").stat().st_size
    announced = (encode_tree(1, size, 0), encode_file(0o644, size, b"zero.bin"))
    writer = writer_with(tmp_path, *announced, encode_resume(0), b"\0" + b"y" * 1000)
    writer.close()
    (left,) = (tmp_path / "to" / os.fsdecode(STAGING)).iterdir()
    assert left.stat().st_size == 1000
    both = await transfer(source, tmp_path, b"to")
    assert isinstance(both.received, Transferred)
    assert both.received.moved == both.received.size
    assert look(tmp_path / "to") == look(source)


@asynccontextmanager
async def _serve(line: Line, other: Callable[[Channel], object]) -> AsyncIterator[Channel]:
    async def run() -> None:
        try:
            await other(Channel(LineEnd(line, 1)))  # type: ignore[misc]
        except RemoteError:
            line.end()

    async with private_nursery() as nursery:
        nursery.start_soon(run)
        try:
            yield Channel(LineEnd(line, 0))
        finally:
            line.end()


async def test_an_upload_and_a_fetch_go_on_by_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("p2p_node.rental.files.LONGEST_PAUSE_SECONDS", 0.01)
    source = make_tree(tmp_path)
    tree = await scan_tree(source)
    opened = 0

    def open_to(other: Callable[[Channel], object]) -> Callable[[], object]:
        def open_channel() -> object:
            nonlocal opened
            opened += 1
            return _serve(Line(10 + 9 * opened), other)

        return open_channel

    async def take(channel: Channel) -> None:
        await receive_tree(channel, tmp_path, b"to", PLENTY)

    async def give(channel: Channel) -> None:
        await send_tree(channel, tree)

    done = await upload(open_to(take), tree)  # type: ignore[arg-type]
    assert opened > 1
    assert done.files == 8
    assert look(tmp_path / "to") == look(source)
    opened = 0
    got = await fetch(open_to(give), tmp_path, b"back", PLENTY)  # type: ignore[arg-type]
    assert opened > 1
    assert got.files == 8
    assert look(tmp_path / "back") == look(source)


async def test_a_line_that_carries_nothing_is_given_up_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("p2p_node.rental.files.LONGEST_PAUSE_SECONDS", 0.01)
    source = make_tree(tmp_path)
    tree = await scan_tree(source)
    tries = 0

    @asynccontextmanager
    async def open_channel() -> AsyncIterator[Channel]:
        nonlocal tries
        tries += 1
        line = Line(0)
        yield Channel(LineEnd(line, 0))

    with pytest.raises(TransferError, match=r"cut too often: 3 attempts in a row.*goes on from"):
        await upload(open_channel, tree, attempts=3)
    assert tries == 3


async def test_a_second_transfer_into_the_same_folder_waits(tmp_path: Path) -> None:
    source = make_tree(tmp_path)
    first = TreeWriter(tmp_path, b"to", PLENTY)
    assert first.lock()
    results: list[Both] = []

    async def second() -> None:
        results.append(await transfer(source, tmp_path, b"to"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(second)
        await trio.sleep(0.3)
        assert not results
        # The first one ends, and takes the folder for incomplete files with it.
        first.finish()
        first.close()
    assert isinstance(results[0].received, Transferred)
    assert look(tmp_path / "to") == look(source)


async def test_a_folder_that_stays_taken_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("p2p_node.rental.files.LOCK_SECONDS", 0.3)
    first = TreeWriter(tmp_path, b"to", PLENTY)
    assert first.lock()
    both = await transfer(make_tree(tmp_path), tmp_path, b"to")
    assert isinstance(both.received, TransferError)
    assert both.received.reason == "busy"
    assert isinstance(both.sent, TransferError)
    assert "another transfer" in str(both.sent)
    first.close()


# Limits, and senders that lie.


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (TreeLimits(files=7, size=1 << 30), "too many files"),
        (TreeLimits(files=8, size=4_000_000), "too many bytes"),
        (TreeLimits(files=8, size=1 << 30, depth=2), "path too deep"),
        (TreeLimits(files=8, size=1 << 30, room=100_000), "no room for it"),
    ],
)
async def test_limits_hold_before_anything_has_its_name(
    tmp_path: Path, limits: TreeLimits, reason: str
) -> None:
    both = await transfer(make_tree(tmp_path), tmp_path, b"to", limits=limits)
    assert isinstance(both.received, TransferError)
    assert both.received.reason == reason
    assert isinstance(both.sent, TransferError)
    assert both.sent.reason == "the other side gave up"
    assert reason in str(both.sent)
    if limits.room is None:
        assert not [name for name in look(tmp_path / "to") if not name.startswith(".")]


def writer_with(tmp_path: Path, *frames: bytes, limits: TreeLimits = PLENTY) -> TreeWriter:
    writer = TreeWriter(tmp_path, b"to", limits)
    assert writer.lock()
    apply(writer, *frames)
    return writer


def apply(writer: TreeWriter, *frames: bytes) -> list[bytes]:
    return writer.apply(decode_frame(frame) for frame in frames)


TREE = encode_tree(3, 100, 0)
ONE = encode_tree(1, 5, 0)
DONE_HASH = encode_check(Digest(hashlib.sha256(b"12345").digest()))


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


@pytest.mark.parametrize(
    "frame", [encode_frame(FrameKind.DONE), encode_frame(FrameKind.EXIT, bytes(4))]
)
async def test_a_receiver_that_is_out_of_place(tmp_path: Path, frame: bytes) -> None:
    line = Line()
    tree = await scan_tree(make_tree(tmp_path))
    other = LineEnd(line, 1)
    await other.send(frame)

    async def read_on() -> None:
        with suppress(StreamEndedError):
            while (await other.receive(1 << 20))[0] != FrameKind.FAILURE:
                pass
        line.end()

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_on)
            with pytest.raises(TransferError, match="unexpected frame"):
                await send_tree(Channel(LineEnd(line, 0)), tree)
            line.end()


# Workloads that rearrange the target meanwhile.


def send_file(writer: TreeWriter, path: bytes, content: bytes = b"12345") -> None:
    check = encode_check(Digest(hashlib.sha256(content).digest()))
    apply(writer, encode_file(0o644, len(content), path), encode_resume(0), b"\0" + content, check)


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
