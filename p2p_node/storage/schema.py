"""The tables of a node's SQLite file, and how older files become newer ones.

A step, once released, is never changed: another one is added at the end.
"""

import os
import sqlite3
from pathlib import Path
from typing import Final

from p2p_node.storage.errors import StoreError

APPLICATION_ID: Final = int.from_bytes(b"KAIS", "big")
"""Stands in the file's header, and tells a node's file from any other SQLite file."""

BUSY_SECONDS = 10.0
"""How long to wait for a reader such as `kaisar status`, which holds the file for milliseconds."""

SMALLEST_PAGE: Final = 512
"""Bytes of the smallest file that SQLite writes."""

MAX_IDLE_LOG_BYTES: Final = 64 << 20
"""What the write-ahead log shrinks to after a large transaction."""

_STEPS: Final[tuple[tuple[str, ...], ...]] = (
    (
        # Small facts about the file itself: which network it belongs to, how far it was pruned.
        "CREATE TABLE facts (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
        # The equivocation guard: at most one row per epoch and shard, and it is never updated.
        """CREATE TABLE own_reports (
            epoch INTEGER NOT NULL, shard INTEGER NOT NULL, seat INTEGER NOT NULL,
            digest BLOB NOT NULL, sealed BLOB NOT NULL,
            PRIMARY KEY (epoch, shard))""",
        """CREATE TABLE challenge_secrets (
            epoch INTEGER NOT NULL, shard INTEGER NOT NULL, seat INTEGER NOT NULL,
            secret BLOB NOT NULL,
            PRIMARY KEY (epoch, shard, seat)) WITHOUT ROWID""",
        # A shard whose slot was served, even if it had no provider to observe.
        """CREATE TABLE assessments (
            epoch INTEGER NOT NULL, shard INTEGER NOT NULL,
            PRIMARY KEY (epoch, shard)) WITHOUT ROWID""",
        """CREATE TABLE observations (
            epoch INTEGER NOT NULL, shard INTEGER NOT NULL, lane INTEGER NOT NULL,
            verdict INTEGER NOT NULL, score INTEGER NOT NULL, rate INTEGER NOT NULL,
            transcript BLOB NOT NULL,
            PRIMARY KEY (epoch, shard, lane)) WITHOUT ROWID""",
        """CREATE TABLE transcripts (
            epoch INTEGER NOT NULL, shard INTEGER NOT NULL, lane INTEGER NOT NULL,
            size INTEGER NOT NULL,
            job BLOB, answer BLOB, request BLOB, openings BLOB,
            PRIMARY KEY (epoch, shard, lane))""",
        "CREATE INDEX transcript_sizes ON transcripts (epoch, size)",
        """CREATE TABLE beacon_secrets (
            number INTEGER PRIMARY KEY, commitment BLOB NOT NULL UNIQUE,
            secret BLOB NOT NULL)""",
        "CREATE TABLE claims (epoch INTEGER PRIMARY KEY)",
        """CREATE TABLE journal (
            number INTEGER PRIMARY KEY, nonce INTEGER NOT NULL, hash BLOB NOT NULL,
            raw BLOB NOT NULL, label TEXT NOT NULL)""",
        "CREATE INDEX journal_nonces ON journal (nonce)",
    ),
    (
        # A job has as many messages as it has stages; the older transcripts were of other jobs.
        "DROP INDEX transcript_sizes",
        "DROP TABLE transcripts",
        """CREATE TABLE transcripts (
            epoch INTEGER NOT NULL, shard INTEGER NOT NULL, lane INTEGER NOT NULL,
            size INTEGER NOT NULL, messages BLOB NOT NULL,
            PRIMARY KEY (epoch, shard, lane))""",
        "CREATE INDEX transcript_sizes ON transcripts (epoch, size)",
    ),
    (
        # What others committed to before reports were revealed: without it, a checker that was
        # started again in between could take no report.
        """CREATE TABLE commitments (
            epoch INTEGER NOT NULL, shard INTEGER NOT NULL, seat INTEGER NOT NULL,
            sealed BLOB NOT NULL,
            PRIMARY KEY (epoch, shard, seat)) WITHOUT ROWID""",
    ),
    (
        # Leases that this provider chose to accept. `place` is what was made ready for the renter,
        # NULL before; the workspace of one that is not wiped may still hold its files, and the
        # money of one that is not settled may still be on its way.
        """CREATE TABLE leases (
            id INTEGER PRIMARY KEY, place BLOB,
            wiped INTEGER NOT NULL DEFAULT 0, settled INTEGER NOT NULL DEFAULT 0)""",
    ),
)

SCHEMA_VERSION: Final = len(_STEPS)


def open_database(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Open a node's file, make it if there is none, and bring it to this version's schema.

    StoreError when it is damaged, of another program, or of a newer version of this one. The
    connection may be used from any thread, by one at a time.
    """
    try:
        connection = _connect(path, read_only=read_only)
        try:
            _check_header(connection, path)
            if not read_only:
                # FULL: a commit returns when it is on the disk, power cut or not.
                connection.execute("PRAGMA journal_mode = WAL").close()
                connection.execute("PRAGMA synchronous = FULL").close()
                connection.execute(f"PRAGMA journal_size_limit = {MAX_IDLE_LOG_BYTES}").close()
                _migrate(connection)
            _check_integrity(connection, path)
        except BaseException:
            connection.close()
            raise
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{path}: damaged, or not a node's file: {error}") from error
    return connection


def _connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    if not read_only:
        # Made here and not by SQLite, which would let the umask decide who can read it.
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            size = path.stat().st_size
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror}") from error
        # SQLite takes a file without a whole header for a new one, and writes over it.
        if 0 < size < SMALLEST_PAGE:
            raise StoreError(f"{path}: damaged, or not a node's file: {size} bytes")
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rw'}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )


def _check_header(connection: sqlite3.Connection, path: Path) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION_ID and (application or tables):
        raise StoreError(f"{path}: another program's file, expected a node's")
    version = _version_of(connection)
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{path}: found schema {version}, expected at most {SCHEMA_VERSION}; "
            "a newer version of this program made it"
        )


def _version_of(connection: sqlite3.Connection) -> int:
    found = connection.execute(
        "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'migrations'"
    ).fetchone()
    if not found[0]:
        return 0
    (version,) = connection.execute("SELECT coalesce(max(version), 0) FROM migrations").fetchone()
    return int(version)


def _migrate(connection: sqlite3.Connection) -> None:
    """Take the steps that the file lacks, each as a whole or not at all."""
    for version, statements in enumerate(_STEPS, start=1):
        if version <= _version_of(connection):
            continue
        connection.execute("BEGIN IMMEDIATE")
        try:
            if version == 1:
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute("CREATE TABLE migrations (version INTEGER PRIMARY KEY)")
            for statement in statements:
                connection.execute(statement)
            connection.execute("INSERT INTO migrations VALUES (?)", (version,))
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _check_integrity(connection: sqlite3.Connection, path: Path) -> None:
    """Look through what a wrong bit could turn into a wrong signature.

    Transcripts are left out: there may be gigabytes of them, and each is checked by its digest
    when it is used.
    """
    for table in ("own_reports", "challenge_secrets", "beacon_secrets", "journal"):
        (answer,) = connection.execute(f"PRAGMA integrity_check('{table}')").fetchone()
        if answer != "ok":
            raise StoreError(f"{path}: damaged: {answer}")
