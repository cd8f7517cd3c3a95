"""Trees of files, and channels in memory to carry them, for tests."""

import hashlib
import random
import stat
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import trio

from p2p_node.net.errors import StreamEndedError
from p2p_node.rental import tree_reading
from p2p_node.rental.channel import Channel
from p2p_node.rental.files import (
    Progress,
    Transferred,
    TreeLimits,
    ignore,
    receive_tree,
    scan_tree,
    send_tree,
)
from p2p_node.rental.tree_writing import TreeWriter
from protocols.errors import RemoteError
from protocols.lease_frames import (
    decode_frame,
    encode_check,
    encode_file,
    encode_resume,
    encode_tree,
)
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


def send_file(writer: TreeWriter, path: bytes, content: bytes = b"12345") -> None:
    check = encode_check(Digest(hashlib.sha256(content).digest()))
    apply(writer, encode_file(0o644, len(content), path), encode_resume(0), b"\0" + content, check)
