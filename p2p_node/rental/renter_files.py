"""Copying files between this machine and a lease, whatever the line does meanwhile."""

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from p2p_node.rental.files import Transferred, fetch, scan_tree, upload
from p2p_node.rental.renter_session import LeaseSession
from p2p_node.rental.tree_writing import TreeLimits
from protocols.errors import LocalError
from protocols.lease_messages import FetchRequest, LeasePurpose, UploadRequest

MAX_FETCHED_FILES: Final = 1_000_000
MAX_FETCHED_BYTES: Final = 16 << 40
"""What a lease is let put here at most; a full disk ends it sooner."""

Tell = Callable[[int, int], None]
"""Is told how many bytes are in place, of how many."""


class NoSuchFileError(LocalError):
    """What is to be copied is not there."""


async def upload_path(session: LeaseSession, path: Path, target: str, tell: Tell) -> Transferred:
    """Copy a file, or what is in a folder, into a folder of the lease's workspace.

    Raises NoSuchFileError, TransferError, and what `LeaseSession.open` raises.
    """
    if not path.exists():
        raise NoSuchFileError(f"{path}: there is no such file or folder")
    tree = await (
        scan_tree(path.resolve())
        if path.is_dir()
        else scan_tree(path.resolve().parent, os.fsencode(path.resolve().name))
    )
    request = UploadRequest(os.fsencode(target.strip("/")), tree.files, tree.size)
    return await upload(lambda: session.open(LeasePurpose.UPLOAD, request), tree, tell)


async def fetch_path(
    session: LeaseSession, path: str, target: Path | None, tell: Tell
) -> tuple[Transferred, Path]:
    """Copy a file, or what is in a folder, of the lease's workspace into the folder `target` here.

    Without a target a folder comes as a folder of its own name, and a file as a file. Returns also
    where it is. Raises TransferError, and what `LeaseSession.open` raises.
    """
    name = Path(path.strip("/")).name
    if target is None and name and not Path(name).exists():
        return await _fetch_as(session, path, Path(name), tell)
    if target is None:
        target = Path(name) if Path(name).is_dir() else Path()
    return await _fetch_into(session, path, target, tell), target


async def _fetch_as(
    session: LeaseSession, path: str, place: Path, tell: Tell
) -> tuple[Transferred, Path]:
    """Copy to a name that is free. What it will be, a file or a folder, is known at the end; until
    then it is in a folder that the same command finds again if it is cut off."""
    digest = hashlib.sha256(f"{session.lease.id} {path}".encode()).hexdigest()
    waiting = place.parent / f".kaisar-fetch-{digest[:16]}"
    try:
        moved = await _fetch_into(session, path, waiting, tell)
    except BaseException:
        # What is partly there stays for the next attempt.
        with suppress(OSError):
            waiting.rmdir()
        raise
    single = waiting / place.name
    if single.is_file() and not single.is_symlink() and len(list(waiting.iterdir())) == 1:
        single.rename(place)
        waiting.rmdir()
    else:
        waiting.rename(place)
    return moved, place


async def _fetch_into(session: LeaseSession, path: str, target: Path, tell: Tell) -> Transferred:
    target.mkdir(parents=True, exist_ok=True)
    request = FetchRequest(os.fsencode(path.strip("/")))
    limits = TreeLimits(MAX_FETCHED_FILES, MAX_FETCHED_BYTES)
    return await fetch(
        lambda: session.open(LeasePurpose.FETCH, request), target.resolve(), b"", limits, tell
    )
