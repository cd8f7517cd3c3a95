"""Files over a stream of a lease, in either direction: `send_tree` here, `receive_tree` there.

    sender                                receiver
       │ ── TREE, FILE, FILE, … ────────────▶ │   announced, up to 512 ahead of their turn
       │ ◀──────────────── HAVE, HAVE, … ──── │   of each so much is here, with its digest
       │ ── RESUME, DATA …, CHECK ──────────▶ │   a file from where both agree, then its digest
       │ ── RESUME, CHECK ──────────────────▶ │   one that is there
       │ ◀────────────────────────── DONE ─── │   all in place and on the disk

What is only partly there after a cut is found again by the next transfer into the same folder. A
side that cannot go on says FAILURE with the reason. The rules are in docs/spec/leases.md.
"""

import contextlib
import logging
import os
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from p2p_node.net.errors import DeadlineError, PeerUnreachableError, StreamEndedError
from p2p_node.rental.beneath import NoSuchPathError, Owner
from p2p_node.rental.channel import Channel
from p2p_node.rental.together import run_together
from p2p_node.rental.tree_reading import AHEAD, Frame, Have, Tree, TreeReader, scan
from p2p_node.rental.tree_writing import TreeLimits, TreeWriter
from protocols.errors import MalformedError, RemoteError
from protocols.lease_frames import (
    FrameKind,
    clean_text,
    decode_have,
    decode_text,
    encode_tree,
    require_empty,
)

logger = logging.getLogger(__name__)

STALL_SECONDS = 120.0
"""The other side takes or sends something at least this often while files are under way."""

LOOK_SECONDS = 600.0
"""The other side has so long to digest what it has of a file, or to bring the last of them to its
disk: a hundred gigabytes on a slow one."""

LOCK_SECONDS = 45.0
"""A transfer that was cut has its folder until its connection is known to be dead."""

_LOCK_PAUSE = 0.2

ATTEMPTS = 6
"""Tries in a row that brought nothing, before a transfer is given up."""

LONGEST_PAUSE_SECONDS = 15.0

_BATCHES = 2
"""Of frames read from the disk before the channel takes them."""

_WAITING_BYTES = 2 << 20
"""Of frames that arrived and are not yet on the disk."""

_FRAME_OVERHEAD = 256
"""What an empty frame takes in memory."""

Progress = Callable[[int, int], None]
"""Is told how many bytes are in place so far, and of how many."""

OpenChannel = Callable[[], AbstractAsyncContextManager[Channel]]


@dataclass(frozen=True, slots=True)
class Transferred:
    """What a transfer did. `moved` are the bytes that went over the wire, the rest of `size` was
    there; `left_out` counts links, devices and such, and files that could not be read."""

    files: int
    size: int
    moved: int
    left_out: int


class TransferError(RemoteError):
    """A transfer failed, here or there; the detail says at what."""


def ignore(done: int, total: int) -> None:
    """Progress for nobody."""


async def scan_tree(base: Path, path: bytes = b"") -> Tree:
    """List what is to be sent: `path` of the folder `base`, a folder or a single file.

    Raises NoSuchPathError, MalformedError for what is no path, LocalError for too large a tree.
    """
    return await trio.to_thread.run_sync(scan, base, path)


async def send_tree(channel: Channel, tree: Tree, progress: Progress = ignore) -> Transferred:
    """Send a tree to the other side's `receive_tree`; returns once all of it is in place there.

    Raises TransferError when the other side gives up or this one has to, otherwise what Channel
    raises.
    """
    sending = _Sending(channel, tree, progress)
    return await _with_last_word(channel, sending.run)


async def receive_tree(
    channel: Channel,
    base: Path,
    path: bytes,
    limits: TreeLimits,
    progress: Progress = ignore,
    *,
    owner: Owner = None,
) -> Transferred:
    """Take a tree from the other side's `send_tree` into `path` of the folder `base`.

    Makes the folder. What it makes belongs to `owner`. Nothing is written beyond `limits`, and no
    file gets its name before its digest holds. Raises TransferError when this side cannot go on or
    the other one does not, otherwise what Channel raises.
    """
    make = partial(TreeWriter, base, path, limits, owner, trio.from_thread.check_cancelled)
    receiving = _Receiving(channel, make, progress)
    return await _with_last_word(channel, receiving.run)


async def upload(
    open_channel: OpenChannel, tree: Tree, progress: Progress = ignore, attempts: int = ATTEMPTS
) -> Transferred:
    """Send a tree, over one channel after the other when they are cut.

    Raises TransferError, which says how far it got, AccessRefused, and LocalError.
    """

    async def send(tell: Progress) -> Transferred:
        async with open_channel() as channel:
            return await send_tree(channel, tree, tell)

    return await _try_again(send, progress, attempts)


async def fetch(
    open_channel: OpenChannel,
    base: Path,
    path: bytes,
    limits: TreeLimits,
    progress: Progress = ignore,
    attempts: int = ATTEMPTS,
) -> Transferred:
    """The same for a tree that comes from there into `path` of the folder `base`."""

    async def receive(tell: Progress) -> Transferred:
        async with open_channel() as channel:
            return await receive_tree(channel, base, path, limits, tell)

    return await _try_again(receive, progress, attempts)


async def _try_again(
    transfer: Callable[[Progress], Awaitable[Transferred]],
    progress: Progress,
    attempts: int,
) -> Transferred:
    best = total = failed = 0

    def tell(done: int, of: int) -> None:
        nonlocal best, total, failed
        if done > best:
            best, failed = done, 0
        total = of
        progress(done, of)

    while True:
        try:
            return await transfer(tell)
        except (StreamEndedError, DeadlineError, PeerUnreachableError) as error:
            failed += 1
            logger.info("transfer cut: attempt=%d of=%d %s", failed, attempts, error)
            if failed >= attempts:
                raise TransferError(
                    "cut too often",
                    f"{attempts} attempts in a row, the last one: {error}; {best} of {total} bytes"
                    " are there, and the same command goes on from there",
                ) from error
            await trio.sleep(min(0.5 * 2 ** (failed - 1), LONGEST_PAUSE_SECONDS))


async def _with_last_word(
    channel: Channel, run: Callable[[], Awaitable[Transferred]]
) -> Transferred:
    """Run a transfer; when this side gives up the other one learns why."""
    try:
        return await run()
    except (StreamEndedError, DeadlineError):
        raise
    except _OtherSideFailed as error:
        raise TransferError("the other side gave up", error.text) from None
    except NoSuchPathError as error:
        problem = TransferError("no such path", clean_text(str(error)))
    except OSError as error:
        name = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        problem = TransferError(
            "disk does not take it", clean_text(f"{name}{error.strerror or error}")
        )
    except RemoteError as error:
        # Names of files are the other side's words.
        problem = TransferError(error.reason, clean_text(error.detail))
    with contextlib.suppress(StreamEndedError, DeadlineError):
        await channel.fail(str(problem))
    raise problem


class _OtherSideFailed(Exception):
    """The other side's last word."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class _Sending:
    """One run of `send_tree`."""

    def __init__(self, channel: Channel, tree: Tree, progress: Progress) -> None:
        self._channel = channel
        self._tree = tree
        self._progress = progress
        self._size = tree.size
        self._claims: deque[Have] = deque()
        self._claimed = trio.Event()
        self._produced, self._to_send = trio.open_memory_channel[tuple[list[Frame], int]](_BATCHES)
        self._all_read = False

    async def run(self) -> Transferred:
        tree = self._tree
        reader = await trio.to_thread.run_sync(
            partial(TreeReader, tree, trio.from_thread.check_cancelled)
        )
        try:
            await run_together(partial(self._read, reader), self._send, self._listen)
        finally:
            reader.close()
        left_out = tree.left_out + reader.left_out
        return Transferred(tree.files - reader.left_out, self._size, reader.moved, left_out)

    async def _read(self, reader: TreeReader) -> None:
        """Produce frames as fast as the channel takes them."""
        tree = self._tree
        first: list[Frame] = [encode_tree(tree.files, self._size, tree.left_out)]
        async with self._produced:
            self._all_read = reader.finished
            await self._produced.send((first + reader.announce(), 0))
            while not reader.finished:
                if reader.waiting and not self._claims:
                    self._claimed = trio.Event()
                    with trio.move_on_after(LOOK_SECONDS) as scope:
                        await self._claimed.wait()
                    if scope.cancelled_caught:
                        raise DeadlineError("peer does not say what it has")
                frames = await trio.to_thread.run_sync(reader.produce, self._claims)
                self._all_read = reader.finished
                await self._produced.send((frames, reader.placed))

    async def _send(self) -> None:
        async for frames, placed in self._to_send:
            await self._channel.send_all(frames, within=STALL_SECONDS)
            self._progress(placed, self._size)

    async def _listen(self) -> None:
        while True:
            kind, payload = await self._channel.receive_frame(within=LOOK_SECONDS)
            if kind is FrameKind.HAVE:
                if len(self._claims) >= AHEAD:
                    raise MalformedError("unexpected frame", "HAVE")
                self._claims.append(Have(*decode_have(payload)))
                self._claimed.set()
            elif kind is FrameKind.DONE:
                require_empty(payload)
                if not self._all_read:
                    raise MalformedError("unexpected frame", "DONE")
                return
            elif kind is FrameKind.FAILURE:
                raise _OtherSideFailed(decode_text(payload))
            else:
                raise MalformedError("unexpected frame", kind.name)


class _Receiving:
    """One run of `receive_tree`."""

    def __init__(
        self,
        channel: Channel,
        make: Callable[[], TreeWriter],
        progress: Progress,
    ) -> None:
        self._channel = channel
        self._make = make
        self._progress = progress
        self._arrived: list[tuple[FrameKind, memoryview]] = []
        self._waiting = 0
        self._change = trio.lowlevel.ParkingLot()
        self._listening = trio.CancelScope()

    async def run(self) -> Transferred:
        writer = await trio.to_thread.run_sync(self._make)
        try:
            await self._lock(writer)
            await run_together(self._listen, partial(self._write, writer))
        finally:
            writer.close()
        files, size = writer.announced
        return Transferred(files, size, writer.moved, writer.left_out)

    async def _lock(self, writer: TreeWriter) -> None:
        with trio.move_on_after(LOCK_SECONDS):
            while not await trio.to_thread.run_sync(writer.lock):
                await trio.sleep(_LOCK_PAUSE)
            return
        raise TransferError("busy", "another transfer into this folder is under way")

    async def _listen(self) -> None:
        """Take frames while the disk keeps up."""
        with self._listening:
            while True:
                kind, payload = await self._channel.receive_frame(within=LOOK_SECONDS)
                if kind is FrameKind.FAILURE:
                    raise _OtherSideFailed(decode_text(payload))
                self._arrived.append((kind, payload))
                self._waiting += len(payload) + _FRAME_OVERHEAD
                self._change.unpark_all()
                while self._waiting > _WAITING_BYTES:
                    await self._change.park()

    async def _write(self, writer: TreeWriter) -> None:
        while not writer.finished:
            while not self._arrived:
                await self._change.park()
            frames, self._arrived, self._waiting = self._arrived, [], 0
            self._change.unpark_all()
            answers = await trio.to_thread.run_sync(writer.apply, frames)
            await self._channel.send_all(answers, within=STALL_SECONDS)
            self._progress(writer.placed, writer.announced[1])
        self._listening.cancel()
        await trio.to_thread.run_sync(writer.finish)
        await self._channel.send_frame(FrameKind.DONE, within=STALL_SECONDS)
