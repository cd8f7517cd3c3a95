"""Trees that others fill: measured and removed without leaving them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2p_node.rental.trees import (
    MAX_DEPTH,
    TreeTooDeepError,
    measure_tree,
    measure_workspace,
    remove_tree,
)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "tree").mkdir()
    descriptor = os.open(tmp_path / "tree", os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def nest(root: int, depth: int) -> None:
    current = os.dup(root)
    for _ in range(depth):
        os.mkdir("d", dir_fd=current)
        below = os.open("d", os.O_RDONLY, dir_fd=current)
        os.close(current)
        current = below
    os.close(current)


def test_what_is_allocated_counts_and_each_file_once(tmp_path: Path, root: int) -> None:
    tree = tmp_path / "tree"
    (tree / "file").write_bytes(bytes(100_000))
    os.link(tree / "file", tree / "again")
    with (tree / "sparse").open("wb") as file:
        file.truncate(10**12)
    (tree / "d").mkdir()
    size = measure_tree(root, 1000)
    assert size.entries == 4
    assert 100_000 <= size.bytes < 150_000


def test_links_are_not_followed(tmp_path: Path, root: int) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_bytes(bytes(1_000_000))
    (tmp_path / "tree" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "tree" / "loop").symlink_to(".")
    assert measure_tree(root, 1000).bytes < 100_000


def test_counting_stops_soon_after_the_limit(tmp_path: Path, root: int) -> None:
    for number in range(50):
        (tmp_path / "tree" / str(number)).touch()
    assert measure_tree(root, 10).entries == 11


def test_depth_has_a_limit_for_measuring_and_none_for_removing(tmp_path: Path, root: int) -> None:
    nest(root, MAX_DEPTH - 1)
    assert measure_tree(root, 1000).entries == MAX_DEPTH - 1
    remove_tree(tmp_path / "tree" / "d")
    nest(root, 3000)
    with pytest.raises(TreeTooDeepError):
        measure_tree(root, 10_000)
    assert measure_workspace(tmp_path / "tree") is None
    remove_tree(tmp_path / "tree")
    assert not (tmp_path / "tree").exists()


def test_removing_takes_what_resists(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "closed" / "inner").mkdir(parents=True)
    (tree / "closed" / "inner" / "file").touch(0o000)
    (tree / ".removed-1").mkdir()
    (tree / ".removed-1" / ".removed-2").mkdir()
    (tree / ".removed-1" / ".removed-2" / "file").touch()
    (tree / ".removed-3").touch()
    os.mkfifo(tree / "fifo")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").touch()
    (tree / "closed" / "link").symlink_to(tmp_path / "outside")
    os.mkdir(os.fsencode(tree) + b"/odd\xff\n")
    (tree / "closed" / "inner").chmod(0)
    (tree / "closed").chmod(0)
    tree.chmod(0)
    remove_tree(tree)
    assert not tree.exists()
    assert (tmp_path / "outside" / "kept").exists()
    remove_tree(tree)


def test_a_link_in_the_place_of_a_tree_is_removed_alone(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "outside")
    remove_tree(tmp_path / "link")
    assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "outside").is_dir()


def test_a_workspace_that_is_not_there_takes_nothing(tmp_path: Path) -> None:
    assert measure_workspace(tmp_path / "nowhere") == 0
