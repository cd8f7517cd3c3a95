"""What tests of ZeroNode share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.databases import database, database_url, postgres
from tests.p2p_node.zeronode.serving import Serving, serve

__all__ = ["database", "database_url", "postgres", "service"]


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Serving]:
    """A whole service on SQLite, reached over a real socket."""
    async with serve(tmp_path) as serving:
        yield serving
