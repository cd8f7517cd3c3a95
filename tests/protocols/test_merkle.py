"""Trees and paths: the vectors, the recursive definition, and every refusal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import LocalError, MalformedError
from protocols.merkle import (
    LEAF_TAG,
    build_tree,
    compute_path_length,
    compute_root_from_path,
    hash_leaf,
    hash_node,
)
from tests.protocols import compute_reference as ref
from tests.protocols.compute_vectors import Case, load


def by_name(case: Case) -> str:
    return str(case["name"])


@pytest.mark.parametrize("case", load("merkle/trees.json"), ids=by_name)
def test_tree_vectors(case: Case) -> None:
    leaves = [bytes.fromhex(leaf) for leaf in case["leaves"]]
    tree = build_tree(b"".join(leaves))
    assert tree.size == len(leaves)
    assert tree.root.hex() == case["root"]
    for index, (leaf, path) in enumerate(zip(leaves, case["paths"], strict=True)):
        assert tree.path(index).hex() == path
        assert compute_path_length(index, len(leaves)) * 64 == len(path)
        assert compute_root_from_path(leaf, index, tree.size, tree.path(index)) == tree.root


@pytest.mark.parametrize("case", load("merkle/paths.json"), ids=by_name)
def test_path_vectors(case: Case) -> None:
    def root() -> bytes:
        return compute_root_from_path(
            bytes.fromhex(case["leaf"]), case["index"], case["size"], bytes.fromhex(case["path"])
        )

    if case["result"] == "malformed":
        with pytest.raises(MalformedError, match="merkle path length"):
            root()
    else:
        assert (root().hex() == case["root"]) == (case["result"] == "root")


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=70), st.data())
def test_any_size_follows_the_recursive_definition(
    leaves: list[bytes], data: st.DataObject
) -> None:
    tree = build_tree(b"".join(leaves))
    assert tree.root == ref.merkle_root(leaves)
    index = data.draw(st.integers(0, len(leaves) - 1))
    assert tree.path(index) == b"".join(ref.merkle_path(leaves, index))
    assert compute_root_from_path(leaves[index], index, len(leaves), tree.path(index)) == tree.root


@given(
    st.integers(1, 40),
    st.data(),
)
def test_path_of_another_leaf_leads_elsewhere(size: int, data: st.DataObject) -> None:
    leaves = [ref.sha256(bytes([number])) for number in range(size)]
    tree = build_tree(b"".join(leaves))
    index = data.draw(st.integers(0, size - 1))
    stranger = ref.sha256(b"stranger")
    assert compute_root_from_path(stranger, index, size, tree.path(index)) != tree.root


def test_leaves_and_nodes_have_domains_of_their_own() -> None:
    left, right = hash_leaf(b"left"), hash_leaf(b"right")
    assert hash_leaf(left + right) != hash_node(left, right)
    assert hash_leaf(b"left") == ref.sha256(LEAF_TAG, b"left")
    assert build_tree(left + right).root == hash_node(left, right)


def test_odd_leaf_is_not_duplicated() -> None:
    one, two, three = (hash_leaf(bytes([number])) for number in range(3))
    assert build_tree(one + two + three).root != build_tree(one + two + three + three).root


@pytest.mark.parametrize("leaves", [b"", bytes(31), bytes(65)])
def test_incomplete_leaves_are_our_bug(leaves: bytes) -> None:
    with pytest.raises(LocalError, match="32-byte leaves"):
        build_tree(leaves)


@pytest.mark.parametrize("index", [-1, 3])
def test_a_leaf_that_does_not_exist_is_our_bug(index: int) -> None:
    tree = build_tree(bytes(96))
    with pytest.raises(LocalError, match="of 3"):
        tree.path(index)
    with pytest.raises(LocalError, match="of 3"):
        compute_root_from_path(bytes(32), index, 3, b"")
