"""The vectors on disk are those that the reference makes."""

import pytest

from tests.protocols.compute_vectors import FILES, VECTORS, render


@pytest.mark.parametrize("name", FILES)
def test_vectors_are_up_to_date(name: str) -> None:
    assert (VECTORS / name).read_text() == render(name), "python -m tests.protocols.compute_vectors"
