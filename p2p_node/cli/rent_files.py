"""`kaisar rent upload` and `fetch`: copy files to a lease's workspace, and back."""

import argparse
import time
from pathlib import Path
from typing import Any

from p2p_node.cli.event_loop import run_async
from p2p_node.cli.progress import Progress, format_bytes
from p2p_node.cli.rent_common import Renter, open_renter
from p2p_node.display import show_json, show_lines
from p2p_node.rental.files import Transferred
from p2p_node.rental.renter_files import fetch_path, upload_path
from p2p_node.rental.renter_session import LeaseSession


def run(arguments: argparse.Namespace) -> int:
    """Copy them."""
    renter = open_renter(arguments)
    result = run_async(_copy, renter, arguments)
    if arguments.json:
        show_json(result)
    else:
        show_lines([str(result["said"])])
    return 0


async def _copy(renter: Renter, arguments: argparse.Namespace) -> dict[str, Any]:
    progress = Progress()
    async with renter.use_lease(arguments.lease, progress) as (_, session):
        if arguments.action == "upload":
            return await upload_and_tell(session, arguments.path, arguments.target, progress)
        return await fetch_and_tell(session, arguments.path, arguments.target, progress)


async def upload_and_tell(
    session: LeaseSession, path: str, target: str, progress: Progress
) -> dict[str, Any]:
    """Copy something there, with progress; return what was copied."""
    meter = _Meter(progress, f"uploading {path}")
    moved = await upload_path(session, Path(path), target, meter.tell)
    return meter.describe(moved, path, target or "the workspace")


async def fetch_and_tell(
    session: LeaseSession, path: str, target: str | None, progress: Progress
) -> dict[str, Any]:
    """Copy something back, with progress; return what was copied."""
    meter = _Meter(progress, f"fetching {path}")
    place = None if target is None else Path(target)
    moved, found = await fetch_path(session, path, place, meter.tell)
    return meter.describe(moved, path, str(found))


class _Meter:
    """Shows how fast a copy goes, and what it came to."""

    def __init__(self, progress: Progress, what: str) -> None:
        self._progress = progress
        self._what = what
        self._start = time.monotonic()

    def tell(self, done: int, total: int) -> None:
        if not done:
            return
        rate = done / max(time.monotonic() - self._start, 1e-3) / 1e6
        self._progress.update(
            f"{self._what}: {format_bytes(done)} of {format_bytes(total)}, {rate:,.1f} MB/s"
        )

    def describe(self, moved: Transferred, source: str, target: str) -> dict[str, Any]:
        self._progress.clear()
        seconds = max(time.monotonic() - self._start, 1e-3)
        said = (
            f"{source} → {target}: {moved.files:,} files, {format_bytes(moved.size)}, "
            f"{moved.moved / seconds / 1e6:,.1f} MB/s"
        )
        if moved.left_out:
            said += f"; {moved.left_out:,} left out (links, devices, files that changed)"
        return {
            "source": source,
            "target": target,
            "files": moved.files,
            "bytes": moved.size,
            "moved": moved.moved,
            "left_out": moved.left_out,
            "seconds": round(seconds, 3),
            "said": said,
        }
