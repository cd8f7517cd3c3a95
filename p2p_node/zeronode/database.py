"""One door to the database of a service, SQLite or PostgreSQL: transactions, one writer at a time.

On SQLite a writer begins with BEGIN IMMEDIATE; on PostgreSQL it locks the row of the ledger's head.
So writers follow each other, in one process or several, and each sees what the one before wrote.
A commit returns when it is on the disk.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, Self, TypeVar

import trio
from sqlalchemy import Connection, Engine, create_engine, event, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from p2p_node.zeronode import schema
from p2p_node.zeronode.errors import DatabaseError
from p2p_node.zeronode.ledger_tables import head
from p2p_node.zeronode.metadata import metadata
from p2p_node.zeronode.uptime_tables import counter
from protocols.types import Digest

__all__ = ["AsyncDatabase", "Database", "metadata"]

WAIT_SECONDS: Final = 30
"""How long a writer waits for the one before, and whoever needs a connection for a free one."""

CONNECT_SECONDS: Final = 10
STATEMENT_SECONDS: Final = 300
"""Longest single statement; a check of years of books reads in pieces."""

CONNECTIONS: Final = 8
"""Most connections of one process."""

MAX_IDLE_LOG_BYTES: Final = 64 << 20
"""What SQLite's write-ahead log shrinks to after a large transaction."""

SMALLEST_PAGE: Final = 512
"""Bytes of the smallest file that SQLite writes."""

_READING: Final = "kaisar_reading"

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class Database:
    """A service's database. May be used from any thread."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self.name = name
        """What to call it in messages; without a password."""

    @classmethod
    def open(cls, url: str, ledger: Digest | None = None) -> Self:
        """Open `sqlite:////absolute/path` or `postgresql://…`, and make what tables it lacks.

        `ledger` says whose books these are (`compute_ledger_id`); None takes them as they are.
        DatabaseError when it cannot be opened, or holds the books of another service.
        """
        parsed = _parse(url)
        name = parsed.render_as_string(hide_password=True)
        if parsed.get_backend_name() == "sqlite":
            engine = _make_sqlite_engine(Path(parsed.database or ""))
        else:
            engine = _make_postgresql_engine(parsed)
        database = cls(engine, name)
        try:
            with database._begin(engine) as connection, database._named():
                schema.prepare(connection)
                _claim(connection, ledger)
        except BaseException:
            engine.dispose()
            raise
        return database

    @classmethod
    def open_to_read(cls, url: str) -> Self:
        """Open a database that there is, without changing anything in it, not even its tables.

        DatabaseError also when its tables are not of this version.
        """
        parsed = _parse(url)
        name = parsed.render_as_string(hide_password=True)
        if parsed.get_backend_name() == "sqlite":
            engine = _make_sqlite_engine(Path(parsed.database or ""), read_only=True)
        else:
            engine = _make_postgresql_engine(parsed)
        database = cls(engine, name)
        try:
            with database.reading() as connection, database._named():
                schema.require_current(connection)
        except BaseException:
            engine.dispose()
            raise
        return database

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._engine.dialect.name

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Write: all of the block is committed at its end, or nothing when it raises.

        Waits for the writer before, WAIT_SECONDS at most. Errors of the database come out as
        DatabaseError. After one at the very end the outcome is unknown: do it again, with the same
        keys.
        """
        with self._begin(self._engine) as connection:
            connection.execute(select(head.c.number).with_for_update()).one()
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Read one state of the database, without waiting for a writer or stopping one."""
        with self._begin(self._engine.execution_options(**{_READING: True})) as connection:
            yield connection

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Put the database's name before what is wrong with it."""
        try:
            yield
        except DatabaseError as error:
            raise DatabaseError(f"{self.name}: {error}") from error

    @contextmanager
    def _begin(self, engine: Engine) -> Iterator[Connection]:
        try:
            with engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise DatabaseError(f"{self.name}: {_describe(error)}") from error


class AsyncDatabase:
    """A `Database` for Trio: one transaction at a time in a worker thread, in the order of calls.

    A call that is cancelled still finishes its transaction first. With `inline` everything happens
    in the event loop, for tests in virtual time.
    """

    def __init__(self, database: Database, inline: bool = False) -> None:
        self.database = database
        self._inline = inline
        self._limiter = trio.CapacityLimiter(1)

    async def run(
        self,
        function: Callable[Concatenate[Connection, Parameters], Result],
        /,
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """Return function(connection, …), called in one transaction that writes."""

        def work() -> Result:
            with self.database.transaction() as connection:
                return function(connection, *args, **kwargs)

        return await self._do(work)

    async def read(
        self,
        function: Callable[Concatenate[Connection, Parameters], Result],
        /,
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """Return function(connection, …), which only reads."""

        def work() -> Result:
            with self.database.reading() as connection:
                return function(connection, *args, **kwargs)

        return await self._do(work)

    async def _do(self, work: Callable[[], Result]) -> Result:
        if self._inline:
            await trio.lowlevel.checkpoint()
            return work()
        return await trio.to_thread.run_sync(work, limiter=self._limiter)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise DatabaseError(f"database: found no URL, expected {_EXPECTED}") from error
    if parsed.drivername == "sqlite" and Path(parsed.database or "").is_absolute():
        return parsed
    if parsed.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return parsed.set(drivername="postgresql+psycopg")
    raise DatabaseError(
        f"database: found {parsed.render_as_string(hide_password=True)!r}, expected {_EXPECTED}"
    )


_EXPECTED: Final = "sqlite:////absolute/path or postgresql://user@host/name"


def _make_sqlite_engine(path: Path, *, read_only: bool = False) -> Engine:
    flags = os.O_RDONLY if read_only else os.O_RDWR | os.O_CREAT
    # Made here and not by SQLite, which would let the umask decide who can read it.
    try:
        os.close(os.open(path, flags | os.O_CLOEXEC, 0o600))
        size = path.stat().st_size
    except OSError as error:
        raise DatabaseError(f"{path}: {error.strerror}") from error
    # SQLite takes a file without a whole header for a new one, and writes over it.
    if 0 < size < SMALLEST_PAGE:
        raise DatabaseError(f"{path}: damaged, or not a service's file: {size} bytes")

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            f"{path.as_uri()}?mode={'ro' if read_only else 'rw'}",
            uri=True,
            timeout=WAIT_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )

    engine = create_engine(
        "sqlite://",
        creator=connect,
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=WAIT_SECONDS,
        poolclass=QueuePool,
    )

    @event.listens_for(engine, "connect")
    def _set_up(connection: sqlite3.Connection, _: object) -> None:
        for pragma in (
            ()
            if read_only
            else (
                "journal_mode = WAL",
                # FULL: a commit returns when it is on the disk, power cut or not.
                "synchronous = FULL",
                "foreign_keys = ON",
                f"journal_size_limit = {MAX_IDLE_LOG_BYTES}",
            )
        ):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        reading = connection.get_execution_options().get(_READING)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


def _make_postgresql_engine(url: URL) -> Engine:
    milliseconds = 1000
    settings = {
        "lock_timeout": WAIT_SECONDS * milliseconds,
        "statement_timeout": STATEMENT_SECONDS * milliseconds,
        # Whoever holds the head's lock and died without closing its socket must not hold it on.
        "idle_in_transaction_session_timeout": STATEMENT_SECONDS * milliseconds,
        "synchronous_commit": "on",
    }
    engine = create_engine(
        url,
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=WAIT_SECONDS,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": CONNECT_SECONDS,
            "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
        },
    )

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if connection.get_execution_options().get(_READING):
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")

    return engine


def _claim(connection: Connection, ledger: Digest | None) -> None:
    """Write whose books these are, or see that they are ours."""
    if not connection.execute(select(counter.c.id)).all():
        connection.execute(counter.insert().values(id=1, changed=0, kept_from=0))
    found = connection.execute(select(head.c.ledger, head.c.number).with_for_update()).one_or_none()
    unowned = bytes(32)
    if found is None:
        start = ledger or unowned
        connection.execute(head.insert().values(id=1, ledger=start, number=0, hash=start))
    elif ledger is not None and found.ledger != ledger:
        if found.ledger != unowned or found.number:
            raise DatabaseError("the books of another service, or of another network")
        connection.execute(head.update().values(ledger=ledger, hash=ledger))


def _describe(error: SQLAlchemyError) -> str:
    """Name what went wrong, without the statement and its values."""
    original = getattr(error, "orig", None)
    words = str(original if original is not None else error).strip()
    return words.splitlines()[0] if words else type(error).__name__
