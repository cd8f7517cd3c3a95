"""The committed vectors are those that the generator makes, and all of them."""

import pytest

from tests.vectors.generate import FILES, ROOT, list_committed, render


@pytest.mark.parametrize("name", FILES)
def test_vectors_are_fresh(name: str) -> None:
    """When this fails: `python -m tests.vectors.generate`, and read the difference."""
    assert (ROOT / name).read_text(encoding="utf-8") == render(name)


def test_no_vector_is_left_over() -> None:
    assert list_committed() == set(FILES)
