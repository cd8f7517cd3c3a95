"""A lease's log: what was written comes back, the newest is kept, readers follow."""

import os
from pathlib import Path

import pytest
import trio
import trio.testing

from p2p_node.rental.lease_log import LeaseLog


async def read_all(log: LeaseLog, position: int = 0) -> bytes:
    found = b""
    while True:
        data, position = await log.read(position)
        if not data:
            return found
        found += data


async def test_what_was_written_comes_back_also_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "7.log"
    log = LeaseLog(path)
    assert (log.end, await read_all(log)) == (0, b"")
    await log.append(b"one\n")
    await log.say("two")
    assert await read_all(log) == b"one\n[kaisar] two\n"
    assert path.stat().st_mode & 0o777 == 0o600
    again = LeaseLog(path)
    assert again.end == log.end
    assert await read_all(again, 4) == b"[kaisar] two\n"


async def test_only_the_newest_is_kept(tmp_path: Path) -> None:
    log = LeaseLog(tmp_path / "7.log", max_bytes=100)
    written = b"".join(b"line %03d.\n" % number for number in range(200))
    for start in range(0, len(written), 10):
        await log.append(written[start : start + 10])
    kept = await read_all(log)
    assert log.end == len(written)
    assert 100 <= len(kept) <= 200
    assert written.endswith(kept)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == len(kept)
    # A position that is gone is continued with the first byte that is kept.
    assert (await log.read(0))[0] == kept[: len((await log.read(0))[0])]


async def test_more_than_fits_is_cut_at_the_beginning(tmp_path: Path) -> None:
    log = LeaseLog(tmp_path / "7.log", max_bytes=100)
    await log.append(bytes(50) + b"x" * 100)
    assert (await read_all(log))[-100:] == b"x" * 100


async def test_whoever_follows_is_woken(tmp_path: Path) -> None:
    log = LeaseLog(tmp_path / "7.log")
    found: list[bytes] = []

    async def follow() -> None:
        position = 0
        while b"".join(found) != b"onetwo":
            await log.wait_beyond(position)
            data, position = await log.read(position)
            found.append(data)

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            await trio.testing.wait_all_tasks_blocked()
            await log.append(b"one")
            await trio.testing.wait_all_tasks_blocked()
            await log.append(b"two")


async def test_it_is_gone_when_it_is_removed_and_can_begin_anew(tmp_path: Path) -> None:
    log = LeaseLog(tmp_path / "7.log", max_bytes=10)
    for _ in range(3):
        await log.append(b"12345678")
    end = log.end
    await log.remove()
    await log.remove()
    assert list(tmp_path.iterdir()) == []
    assert (log.end, await read_all(log)) == (end, b"")
    await log.append(b"new")
    assert await read_all(log, end) == b"new"


async def test_a_disk_that_takes_nothing_loses_the_log_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = LeaseLog(tmp_path / "7.log")
    await log.append(b"kept")

    def write(_handle: int, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", write)
    await log.append(b"lost")
    assert log.lost == 4
    monkeypatch.undo()
    assert await read_all(log) == b"kept"


async def test_a_look_ends_however_fast_somebody_writes(tmp_path: Path) -> None:
    log = LeaseLog(tmp_path / "7.log", max_bytes=1000)
    await log.append(b"one two three ")
    found = b""
    async for data in log.read_up_to(log.end - 1, 4):
        found += data
        await log.append(b"four ")
    assert found == b"two three"


async def test_a_log_that_cannot_be_read_ends_a_look(tmp_path: Path) -> None:
    log = LeaseLog(tmp_path / "7.log")
    await log.append(b"one")
    (tmp_path / "7.log").unlink()
    assert [data async for data in log.read_up_to(log.end, 0)] == []
