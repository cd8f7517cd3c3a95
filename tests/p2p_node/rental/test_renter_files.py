"""Copies to and from a lease: what lands where, and nothing that was not whole."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from p2p_node.net import RequestStream
from p2p_node.rental.beneath import NoSuchPathError
from p2p_node.rental.channel import (
    AccessRefused,
    grant_access,
    read_access,
    refuse_access,
)
from p2p_node.rental.files import receive_tree, scan_tree, send_tree
from p2p_node.rental.renter_files import NoSuchFileError, fetch_path, upload_path
from p2p_node.rental.renter_session import LeaseSession
from p2p_node.rental.tree_writing import TreeLimits
from protocols.lease_messages import FetchRequest, LeaseAnswerCode, UploadRequest
from tests.p2p_node.rental.test_renter_session import open_session

LIMITS = TreeLimits(100, 1 << 20)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    (folder / "out" / "deep").mkdir(parents=True)
    (folder / "out" / "a.txt").write_text("a")
    (folder / "out" / "deep" / "b.txt").write_text("b")
    (folder / "single.txt").write_text("one")
    return folder


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@asynccontextmanager
async def lease_with(workspace: Path) -> AsyncIterator[LeaseSession]:
    """A session whose provider copies files of a workspace."""
    async with open_session() as (session, provider, _, _):

        async def handle(stream: RequestStream) -> None:
            access = await read_access(stream, provider.desk, provider.judge)
            if isinstance(access.request, UploadRequest):
                channel = await grant_access(stream, provider.desk, access)
                await receive_tree(channel, workspace, access.request.path, LIMITS)
                return
            request = cast(FetchRequest, access.request)
            try:
                tree = await scan_tree(workspace, request.path)
            except NoSuchPathError as error:
                code = LeaseAnswerCode.NO_SUCH_PATH
                await refuse_access(stream, provider.desk, access, code, str(error))
            await send_tree(await grant_access(stream, provider.desk, access), tree)

        provider.handler = handle
        yield session


def ignore(_done: int, _total: int) -> None:
    """Progress for nobody."""


def files_in(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


async def test_a_folder_comes_under_its_own_name(workspace: Path, here: Path) -> None:
    async with lease_with(workspace) as session:
        moved, place = await fetch_path(session, "out/", None, ignore)
        assert (moved.files, str(place)) == (2, "out")
        assert files_in(here) == {"out/a.txt": "a", "out/deep/b.txt": "b"}
        # And again into the folder that is there by now.
        (workspace / "out" / "a.txt").write_text("changed")
        await fetch_path(session, "out", None, ignore)
    assert files_in(here) == {"out/a.txt": "changed", "out/deep/b.txt": "b"}
    assert [each.name for each in here.iterdir()] == ["out"]


async def test_a_file_comes_as_a_file(workspace: Path, here: Path) -> None:
    async with lease_with(workspace) as session:
        moved, place = await fetch_path(session, "single.txt", None, ignore)
        assert (moved.files, str(place)) == (1, "single.txt")
        (workspace / "single.txt").write_text("two")
        await fetch_path(session, "single.txt", None, ignore)
        await fetch_path(session, "out/deep/b.txt", None, ignore)
    assert files_in(here) == {"single.txt": "two", "b.txt": "b"}
    assert len(list(here.iterdir())) == 2


async def test_a_target_takes_what_is_in_a_folder(workspace: Path, here: Path) -> None:
    async with lease_with(workspace) as session:
        await fetch_path(session, "out", here / "results" / "first", ignore)
    assert files_in(here / "results" / "first") == {"a.txt": "a", "deep/b.txt": "b"}


async def test_what_is_not_there_leaves_nothing(workspace: Path, here: Path) -> None:
    async with lease_with(workspace) as session:
        with pytest.raises(AccessRefused, match="no such path"):
            await fetch_path(session, "nowhere", None, ignore)
        with pytest.raises(NoSuchFileError, match="no such file or folder"):
            await upload_path(session, here / "nothing", "", ignore)
    assert list(here.iterdir()) == []


async def test_what_is_in_a_folder_goes_to_the_workspace(workspace: Path, here: Path) -> None:
    (here / "project" / "deep").mkdir(parents=True)
    (here / "project" / "main.py").write_text("print()")
    (here / "project" / "deep" / "data").write_text("data")
    told: list[tuple[int, int]] = []
    async with lease_with(workspace) as session:
        moved = await upload_path(session, Path("project"), "", lambda *each: told.append(each))
        assert (moved.files, moved.size) == (2, 11)
        await upload_path(session, Path("project/main.py"), "/some/where/", ignore)
    found = files_in(workspace)
    assert found["main.py"] == found["some/where/main.py"] == "print()"
    assert found["deep/data"] == "data"
    assert told[-1] == (11, 11)
