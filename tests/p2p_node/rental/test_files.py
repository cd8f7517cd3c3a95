"""Trees of files over a channel: whole or not at all, resumed after a cut, and never elsewhere."""

import os
import random
import socket
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from math import inf
from pathlib import Path

import pytest
import trio

from p2p_node.net import RequestStream
from p2p_node.net.errors import StreamEndedError
from p2p_node.net.nursery import private_nursery
from p2p_node.rental.channel import Channel
from p2p_node.rental.files import (
    TransferError,
    Transferred,
    TreeLimits,
    fetch,
    receive_tree,
    scan_tree,
    send_tree,
    upload,
)
from p2p_node.rental.tree_reading import AHEAD
from p2p_node.rental.tree_writing import TreeWriter
from protocols.errors import RemoteError
from protocols.lease_frames import (
    FrameKind,
    encode_file,
    encode_frame,
    encode_resume,
    encode_tree,
)
from protocols.lease_paths import STAGING
from tests.p2p_node.net.conftest import open_nodes
from tests.p2p_node.rental.trees import (
    PLENTY,
    Both,
    Line,
    LineEnd,
    look,
    make_tree,
    transfer,
    writer_with,
)

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


async def test_what_a_name_says_steers_no_terminal(tmp_path: Path) -> None:
    name = "\x1b]0;name\x07"
    (tmp_path / "from" / name).mkdir(parents=True)
    (tmp_path / "from" / name / "file").write_bytes(b"content")
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / name).write_bytes(b"in the way")
    both = await transfer(tmp_path / "from", tmp_path, b"to")
    for problem in (both.received, both.sent):
        assert isinstance(problem, TransferError)
        assert " ]0;name " in str(problem)
        assert "\x1b" not in str(problem)


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


# Over real sockets.


@pytest.mark.integration
async def test_transfers_go_on_when_their_connection_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("p2p_node.rental.files.LONGEST_PAUSE_SECONDS", 0.1)
    source = tmp_path / "source"
    source.mkdir()
    noise = random.Random(1)
    (source / "big").write_bytes(noise.randbytes(30 << 20))
    (source / "small").write_bytes(b"small")
    tree = await scan_tree(source)
    cuts = 0

    async def serve(stream: RequestStream) -> None:
        channel = Channel(stream)
        kind, _ = await channel.receive_frame()
        if kind is FrameKind.TEXT:
            await send_tree(channel, tree)
        else:
            await receive_tree(channel, tmp_path, b"to", PLENTY)

    with trio.fail_after(60):
        async with open_nodes(2) as (renter, provider):
            provider.serve("lease", serve, lasting=True)

            def cut_now_and_then(done: int, total: int) -> None:
                nonlocal cuts
                assert total in (0, tree.size)
                if done > (cuts + 1) * (8 << 20):
                    cuts += 1
                    renter._switch.disconnect(provider.node_key, "cut")  # type: ignore[attr-defined]

            def ask(kind: FrameKind) -> Callable[[], AbstractAsyncContextManager[Channel]]:
                @asynccontextmanager
                async def open_channel() -> AsyncIterator[Channel]:
                    async with renter.open_stream(provider.node_key, "lease", inf) as stream:
                        channel = Channel(stream)
                        await channel.send_frame(kind)
                        yield channel

                return open_channel

            sent = await upload(ask(FrameKind.END), tree, cut_now_and_then)
            assert cuts == 3
            assert sent.moved < tree.size
            cuts = 0
            got = await fetch(ask(FrameKind.TEXT), tmp_path, b"back", PLENTY, cut_now_and_then)
            assert cuts == 3
            assert got.moved < tree.size
    assert look(tmp_path / "to") == look(tmp_path / "back") == look(source)
