"""Fixtures: the same test on SQLite and on PostgreSQL.

A conftest imports what it needs: `from tests.databases import database, database_url, postgres`.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from p2p_node.zeronode.database import Database
from tests.postgres import Server, run_server

KINDS = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """One server for all tests of a session."""
    with run_server() as server:
        yield server


@pytest.fixture(params=KINDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Address of an empty database, once of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'zeronode.sqlite'}"
        return
    server: Server = request.getfixturevalue("postgres")
    url = server.make_database()
    yield url
    server.drop_database(url)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """An open, empty database, once of each kind."""
    opened = Database.open(database_url)
    yield opened
    opened.close()
