"""The vectors on disk are those that the reference makes."""

import pytest

from tests.protocols import compute_vectors, memory_vectors
from tests.protocols.compute_vectors import VECTORS, render


@pytest.mark.parametrize("name", compute_vectors.FILES)
def test_vectors_are_up_to_date(name: str) -> None:
    text = render(compute_vectors.FILES[name])
    assert (VECTORS / name).read_text() == text, "python -m tests.protocols.compute_vectors"


@pytest.mark.parametrize("name", memory_vectors.FILES)
def test_memory_vectors_are_up_to_date(name: str) -> None:
    text = render(memory_vectors.FILES[name])
    assert (VECTORS / name).read_text() == text, "python -m tests.protocols.memory_vectors"
