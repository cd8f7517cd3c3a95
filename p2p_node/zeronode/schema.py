"""The tables of a service's database, and how older databases become newer ones.

A new database gets all tables as they are now. An older one takes the steps that it lacks; a step,
once released, is never changed: another one is added at the end, and the tables say what all steps
lead to.
"""

from collections.abc import Callable
from typing import Final

from sqlalchemy import BigInteger, Column, Connection, Table, func, inspect, select, text

from p2p_node.zeronode import (
    account_tables,
    chain_tables,
    draw_tables,
    ledger_tables,
    network_tables,
    uptime_tables,
)
from p2p_node.zeronode.errors import DatabaseError
from p2p_node.zeronode.metadata import metadata

TABLES: Final = (
    account_tables,
    chain_tables,
    draw_tables,
    ledger_tables,
    network_tables,
    uptime_tables,
)
"""Every module that adds tables to `metadata`: a line each, so that it is imported."""

APPLICATION_ID: Final = int.from_bytes(b"KZND", "big")
"""Stands in the header of the SQLite file, and tells it from any other program's."""

_SCHEMA_LOCK: Final = 0x4B5A4E44
"""Advisory lock of PostgreSQL that is held while tables are made."""

versions: Final = Table(
    "zeronode_versions", metadata, Column("version", BigInteger, primary_key=True)
)
"""Every version that this database has reached."""

Step = Callable[[Connection], None]

_STEPS: Final[tuple[Step, ...]] = ()
"""What leads from version 1 to 2, from 2 to 3, …"""

APPEND_ONLY: Final = (
    *ledger_tables.APPEND_ONLY,
    *uptime_tables.APPEND_ONLY,
    *chain_tables.APPEND_ONLY,
    *draw_tables.APPEND_ONLY,
)
NEVER_DELETED: Final = ledger_tables.NEVER_DELETED


def prepare(connection: Connection, steps: tuple[Step, ...] = _STEPS) -> None:
    """Bring the database to this version's tables, within the transaction of `connection`.

    DatabaseError for one of another program, or of a newer version of this one.
    """
    newest = 1 + len(steps)
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_SCHEMA_LOCK)))
    found = read_version(connection)
    if found > newest:
        raise DatabaseError(
            f"found version {found} of the tables, expected at most {newest}; "
            "a newer version of this program made them"
        )
    if found == newest:
        return
    if found == 0:
        _require_empty(connection)
        metadata.create_all(connection, checkfirst=False)
        for table in APPEND_ONLY:
            _forbid(connection, table, "UPDATE", "DELETE")
        for table in NEVER_DELETED:
            _forbid(connection, table, "DELETE")
        if connection.dialect.name == "sqlite":
            connection.execute(text(f"PRAGMA application_id = {APPLICATION_ID}"))
    else:
        for step in steps[found - 1 :]:
            step(connection)
    connection.execute(
        versions.insert(), [{"version": version} for version in range(found + 1, newest + 1)]
    )


def require_current(connection: Connection) -> None:
    """Raise DatabaseError unless the tables are those of this version."""
    newest = 1 + len(_STEPS)
    found = read_version(connection)
    if found != newest:
        raise DatabaseError(
            f"found version {found} of a ZeroNode service's tables, expected {newest}"
            + ("; the service brings them up when it starts" if found < newest else "")
        )


def read_version(connection: Connection) -> int:
    """Version of the tables in this database; 0 where there is none."""
    if connection.dialect.name == "sqlite":
        application = connection.execute(text("PRAGMA application_id")).scalar_one()
        if application not in (0, APPLICATION_ID):
            raise DatabaseError("another program's file, expected one of a ZeroNode service")
    if not inspect(connection).has_table(versions.name):
        return 0
    return int(connection.execute(select(func.max(versions.c.version))).scalar_one())


def _require_empty(connection: Connection) -> None:
    """Keep out of a database that somebody else uses, and of one that is half of ours."""
    present = set(inspect(connection).get_table_names())
    other = present if connection.dialect.name == "sqlite" else present & set(metadata.tables)
    if other:
        raise DatabaseError(
            f"found the tables {', '.join(sorted(other)[:5])}, expected an empty database"
        )


def _forbid(connection: Connection, table: Table, *actions: str) -> None:
    """Let the database itself refuse `actions` on the rows of `table`."""
    name = table.name
    if connection.dialect.name == "sqlite":
        for action in actions:
            connection.execute(
                text(
                    f"CREATE TRIGGER {name}_no_{action.lower()} BEFORE {action} ON {name} "
                    f"BEGIN SELECT RAISE(ABORT, '{name} is append-only'); END"
                )
            )
        return
    connection.execute(
        text(
            f"CREATE FUNCTION {name}_refuse() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION '{name} is append-only'; END $$"
        )
    )
    connection.execute(
        text(
            f"CREATE TRIGGER {name}_append_only BEFORE {' OR '.join(actions)} ON {name} "
            f"FOR EACH ROW EXECUTE FUNCTION {name}_refuse()"
        )
    )
    connection.execute(
        text(
            f"CREATE TRIGGER {name}_not_truncated BEFORE TRUNCATE ON {name} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {name}_refuse()"
        )
    )
