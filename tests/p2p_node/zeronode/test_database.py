"""Opening databases: ours, others', old ones, new ones; and what a transaction is."""

import sqlite3
import stat
from pathlib import Path

import pytest
import trio
from sqlalchemy import Connection, inspect, select, text

from p2p_node.zeronode import database as database_module
from p2p_node.zeronode import schema
from p2p_node.zeronode.database import AsyncDatabase, Database
from p2p_node.zeronode.errors import DatabaseError
from p2p_node.zeronode.ledger import read_head
from p2p_node.zeronode.ledger_tables import head
from p2p_node.zeronode.schema import read_version
from protocols.ledger_records import compute_ledger_id
from protocols.types import Digest, NetworkId, NodeKey
from tests.p2p_node.zeronode.books import fill_books_now

OURS = compute_ledger_id(NetworkId(b"n" * 32), NodeKey(b"s" * 32))
OTHERS = compute_ledger_id(NetworkId(b"n" * 32), NodeKey(b"t" * 32))


@pytest.mark.parametrize(
    "url",
    ["", "nothing", "sqlite:///relative", "sqlite://", "mysql://root@/x", "oracle://secret:pw@h/x"],
)
def test_an_address_that_cannot_be_meant(url: str) -> None:
    with pytest.raises(DatabaseError, match="expected sqlite:") as caught:
        Database.open(url)
    assert "pw" not in str(caught.value)


def test_books_belong_to_one_service(database_url: str) -> None:
    for ledger in (None, OURS, OURS, None):
        Database.open(database_url, ledger).close()
    with pytest.raises(DatabaseError, match="books of another service"):
        Database.open(database_url, OTHERS)
    opened = Database.open(database_url)
    with opened.reading() as connection:
        found = read_head(connection)
    assert (found.ledger, found.number, found.hash) == (OURS, 0, OURS)
    opened.close()


def test_books_of_nobody_are_not_taken_over(database_url: str) -> None:
    opened = Database.open(database_url)
    fill_books_now(opened)
    opened.close()
    with pytest.raises(DatabaseError, match="books of another service"):
        Database.open(database_url, OURS)


def test_a_database_in_use_by_another_program(database_url: str) -> None:
    opened = Database.open(database_url)
    with opened.transaction() as connection:
        connection.execute(text("DROP TABLE zeronode_versions"))
        if opened.dialect == "sqlite":
            connection.execute(text("PRAGMA application_id = 7"))
    opened.close()
    with pytest.raises(DatabaseError, match=r"another program's|expected an empty database"):
        Database.open(database_url)


def test_a_database_of_a_newer_program(database_url: str) -> None:
    opened = Database.open(database_url)
    with opened.transaction() as connection:
        connection.execute(schema.versions.insert().values(version=99))
    opened.close()
    with pytest.raises(DatabaseError, match="found version 99"):
        Database.open(database_url)
    with pytest.raises(DatabaseError, match="found version 99"):
        Database.open_to_read(database_url)


def test_older_databases_take_the_steps_they_lack(database_url: str) -> None:
    """A database of version 1 that takes two steps becomes what a new one is at once."""

    def add_table(connection: Connection) -> None:
        connection.execute(text("CREATE TABLE later (id BIGINT PRIMARY KEY)"))

    def add_column(connection: Connection) -> None:
        connection.execute(text("ALTER TABLE later ADD COLUMN name TEXT"))

    opened = Database.open(database_url)
    fill_books_now(opened)
    for steps, version in (((), 1), ((add_table,), 2), ((add_table, add_column), 3)):
        for _ in range(2):
            with opened.transaction() as connection:
                schema.prepare(connection, steps)
                assert read_version(connection) == version
    with opened.transaction() as connection:
        assert [each["name"] for each in inspect(connection).get_columns("later")] == ["id", "name"]
        assert read_head(connection).number == 4
    opened.close()


def test_a_step_that_fails_leaves_the_database_as_it_was(database_url: str) -> None:
    def fail(connection: Connection) -> None:
        connection.execute(text("CREATE TABLE later (id BIGINT PRIMARY KEY)"))
        connection.execute(text("CREATE TABLE later (id BIGINT PRIMARY KEY)"))

    opened = Database.open(database_url)
    with pytest.raises(DatabaseError, match="later"), opened.transaction() as connection:
        schema.prepare(connection, (fail,))
    with opened.reading() as connection:
        assert read_version(connection) == 1
        assert not inspect(connection).has_table("later")
    opened.close()


def test_only_reading_changes_nothing(database_url: str, tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match=r"No such file|found version 0"):
        Database.open_to_read(database_url)
    opened = Database.open(database_url)
    fill_books_now(opened)
    reader = Database.open_to_read(database_url)
    with reader.reading() as connection:
        assert read_head(connection).number == 4
    with pytest.raises(DatabaseError), reader.reading() as connection:
        connection.execute(head.update().values(number=9))
    opened.close()
    with reader.reading() as connection:
        assert read_head(connection).number == 4
    reader.close()


def test_a_new_file_is_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "zeronode.sqlite"
    Database.open(f"sqlite:///{path}").close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with sqlite3.connect(path) as raw:
        (application,) = raw.execute("PRAGMA application_id").fetchone()
    raw.close()
    assert application == schema.APPLICATION_ID


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "zeronode.sqlite"
    for body in (b"short", b"x" * 4_096):
        path.write_bytes(body)
        with pytest.raises(DatabaseError, match=r"damaged|not a database"):
            Database.open(f"sqlite:///{path}")
    with pytest.raises(DatabaseError, match="No such file"):
        Database.open(f"sqlite:///{tmp_path / 'missing' / 'x.sqlite'}")


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError) as caught:
        Database.open(f"postgresql://me:secret@/x?host={tmp_path}")
    assert "secret" not in str(caught.value)


def test_a_writer_that_waits_too_long_gives_up(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "WAIT_SECONDS", 0.2)
    opened = Database.open(database_url)
    with opened.transaction(), opened.reading() as reader:
        # Who only reads does not wait.
        assert reader.execute(select(head.c.number)).scalar_one() == 0
        with pytest.raises(DatabaseError, match="lock"), opened.transaction():
            pass
    opened.close()


@pytest.mark.parametrize("inline", [False, True])
async def test_calls_are_transactions(database: Database, inline: bool) -> None:
    shell = AsyncDatabase(database, inline)

    def add(connection: Connection, amount: int, *, fail: bool = False) -> int:
        number = connection.execute(select(head.c.number)).scalar_one()
        connection.execute(head.update().values(number=number + amount))
        if fail:
            raise ValueError
        return int(number)

    assert await shell.run(add, 5) == 0
    with pytest.raises(ValueError, match=r"^$"):
        await shell.run(add, 7, fail=True)
    assert await shell.read(read_head) == await shell.run(read_head)
    assert (await shell.read(read_head)).number == 5
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(shell.run, add, 1)
    assert (await shell.read(read_head)).number == 25


async def test_a_call_that_is_cancelled_is_whole(database: Database) -> None:
    shell = AsyncDatabase(database)
    began = trio.Event()

    def work(connection: Connection) -> None:
        trio.from_thread.run_sync(began.set)
        connection.execute(head.update().values(number=5))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(shell.run, work)
        await began.wait()
        nursery.cancel_scope.cancel()
    assert (await shell.read(read_head)).number == 5


def test_the_id_of_a_ledger_is_of_one_service() -> None:
    assert OURS != OTHERS
    assert isinstance(OURS, bytes)
    assert len(Digest(OURS)) == 32
