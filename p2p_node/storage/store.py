"""What a node must still know after a crash, in one SQLite file.

Every writing method returns when its rows are on the disk, so that the caller may act on them.
All methods are synchronous and may be called from any thread; none holds the store for longer
than one transaction of a few rows. From Trio, use `AsyncStore`.
"""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

from p2p_node.duties.observations import Observation, Transcript
from p2p_node.storage.errors import StoreError
from p2p_node.storage.lock import DirectoryLock
from p2p_node.storage.schema import open_database
from protocols.scoring import Verdict
from protocols.types import Digest, Epoch, NetworkId, Seat, Shard

STORE_FILE: Final = "node.sqlite3"

OWN_REPORT_EPOCHS: Final = 224
"""Own reports are kept for as long as any deployment can pay for them (the contract's longest
ring): they name the seats to claim. Older epochs are refused for good."""

TRANSCRIPT_EPOCHS: Final = 24
"""How long anybody can ask for the evidence behind a report: a day of mainnet."""

WORKING_EPOCHS: Final = 3
"""Observations, secrets and commitments serve one epoch and its grace; one more for clocks."""

TRANSCRIPTS_PER_TRANSACTION: Final = 16
"""Dropped at once; a large transaction would keep everybody else waiting."""

MAX_TRANSCRIPT_BYTES: Final = 2 << 30
"""Transcripts beyond this are dropped, oldest first, but for those that audits of reports on their
way to a bundle still ask for. A full shard of 256 providers takes some 900 MiB per epoch at the
mainnet shape: 96 rows of 32 KiB, their paths and the round roots."""

AUDITED_EPOCHS: Final = 2
"""The epoch under way and the one before, which is in its grace: a report whose transcripts are
gone would not be bundled, so these stay, however many there are."""

KEPT_BEACON_SECRETS: Final = 16_384
"""The newest secrets; far more than the one that stands on the chain, since a secret is drawn
for every attempt to commit and nobody knows which attempt will count."""

KEPT_CLAIMS: Final = 1024
"""The newest claimed epochs: more than any ring, so what is forgotten cannot be claimed again."""


class Store:
    """One node's memory. `open` takes the data directory for this process, `close` lets it go."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        lock: DirectoryLock | None,
        max_transcript_bytes: int,
    ) -> None:
        self._connection = connection
        self._lock = lock
        self._max_transcript_bytes = max_transcript_bytes
        self._turn = threading.Lock()

    @classmethod
    def open(
        cls,
        directory: Path,
        network: NetworkId | None = None,
        *,
        max_transcript_bytes: int = MAX_TRANSCRIPT_BYTES,
    ) -> Self:
        """Open the store of a data directory, and make it if there is none.

        `network` binds it to one deployment for good: epochs of another would count from zero
        again and run into the guard. None takes whatever it is bound to. DirectoryInUseError when
        another process has the directory, StoreError when the file cannot be used.
        """
        lock = DirectoryLock(directory)
        try:
            store = cls(open_database(directory / STORE_FILE), lock, max_transcript_bytes)
            try:
                store._bind(network)
            except BaseException:
                store._connection.close()
                raise
        except BaseException:
            lock.close()
            raise
        return store

    @classmethod
    def open_for_reading(cls, directory: Path) -> Self:
        """Open the store beside a running node, for looking only; StoreError if there is none."""
        if not (directory / STORE_FILE).exists():
            raise StoreError(f"{directory}: no node has run with this data directory")
        return cls(open_database(directory / STORE_FILE, read_only=True), None, 0)

    def close(self) -> None:
        """Close the file and let the directory go."""
        with self._turn:
            self._connection.close()
            if self._lock is not None:
                self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What may be said only once

    def record_own_report(
        self, epoch: Epoch, shard: Shard, seat: Seat, digest: Digest, sealed: bytes
    ) -> bytes:
        """Return the one report that may be published for this epoch and shard.

        That is `sealed`, unless another one is on record: then the recorded one is returned and
        `sealed` must be thrown away, even if it was signed already. StoreError for an epoch so
        old that the record may be gone.
        """
        with self._writing() as connection:
            floor = self._own_report_floor(connection)
            if epoch < floor:
                raise StoreError(f"epoch {epoch} is over: reports before {floor} are not signed")
            connection.execute(
                "INSERT INTO own_reports VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (epoch, shard, seat, digest, sealed),
            )
            return _one(
                connection,
                "SELECT sealed FROM own_reports WHERE epoch = ? AND shard = ?",
                (epoch, shard),
            )

    def own_report(self, epoch: Epoch, shard: Shard) -> bytes | None:
        """Return the sealed report on record for this epoch and shard, if any."""
        rows = self._read(
            "SELECT sealed FROM own_reports WHERE epoch = ? AND shard = ?", (epoch, shard)
        )
        return rows[0][0] if rows else None

    def own_reports(self, epoch: Epoch) -> dict[Shard, bytes]:
        """Return all sealed reports on record for this epoch, by shard."""
        rows = self._read("SELECT shard, sealed FROM own_reports WHERE epoch = ?", (epoch,))
        return {Shard(shard): sealed for shard, sealed in rows}

    def own_seats(self, epoch: Epoch) -> list[tuple[Shard, Seat]]:
        """List the (shard, seat) pairs that this node reported for in an epoch."""
        rows = self._read(
            "SELECT shard, seat FROM own_reports WHERE epoch = ? ORDER BY shard", (epoch,)
        )
        return [(Shard(shard), Seat(seat)) for shard, seat in rows]

    def challenge_secret(self, epoch: Epoch, shard: Shard, seat: Seat, fresh: bytes) -> bytes:
        """Return the secret behind this slot's challenges: `fresh` when there is none yet."""
        with self._writing() as connection:
            connection.execute(
                "INSERT INTO challenge_secrets VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (epoch, shard, seat, fresh),
            )
            return _one(
                connection,
                "SELECT secret FROM challenge_secrets WHERE epoch = ? AND shard = ? AND seat = ?",
                (epoch, shard, seat),
            )

    def save_beacon_secret(self, commitment: Digest, secret: bytes) -> None:
        """Keep the secret behind a commitment; call it before the commitment is sent."""
        with self._writing() as connection:
            connection.execute(
                "INSERT INTO beacon_secrets (commitment, secret) VALUES (?, ?)"
                " ON CONFLICT DO NOTHING",
                (commitment, secret),
            )

    def beacon_secret(self, commitment: Digest) -> bytes | None:
        """Return the secret behind a commitment, or None when it was never known here."""
        rows = self._read("SELECT secret FROM beacon_secrets WHERE commitment = ?", (commitment,))
        return rows[0][0] if rows else None

    # What was seen

    def save_observations(
        self, epoch: Epoch, shard: Shard, observations: Sequence[Observation]
    ) -> None:
        """Keep everything that a finished slot told, with the transcripts that are still there.

        A crash in between leaves the slot without observations, as if it had not been served.
        """
        for observation in observations:
            if observation.parts.messages:
                self.save_transcript(epoch, shard, observation.lane, observation.parts)
        with self._writing() as connection:
            connection.execute(
                "INSERT INTO assessments VALUES (?, ?) ON CONFLICT DO NOTHING", (epoch, shard)
            )
            connection.executemany(
                "INSERT OR REPLACE INTO observations VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (epoch, shard, seen.lane, seen.verdict, seen.score, seen.rate, seen.transcript)
                    for seen in observations
                ],
            )

    def observations(self, epoch: Epoch, shard: Shard) -> list[Observation] | None:
        """Return a finished slot's observations by lane, without their transcripts.

        None when the slot was not finished; a finished slot may well have none.
        """
        with self._turn, _translating():
            done = self._connection.execute(
                "SELECT 1 FROM assessments WHERE epoch = ? AND shard = ?", (epoch, shard)
            ).fetchone()
            rows = self._connection.execute(
                "SELECT lane, verdict, score, rate, transcript FROM observations"
                " WHERE epoch = ? AND shard = ? ORDER BY lane",
                (epoch, shard),
            ).fetchall()
        if done is None:
            return None
        return [
            Observation(lane, Verdict(verdict), score, rate, Digest(transcript))
            for lane, verdict, score, rate, transcript in rows
        ]

    def transcript(self, epoch: Epoch, shard: Shard, lane: int) -> Transcript | None:
        """Return the sealed messages behind one observation, if they are still kept."""
        rows = self._read(
            "SELECT messages FROM transcripts WHERE epoch = ? AND shard = ? AND lane = ?",
            (epoch, shard, lane),
        )
        return Transcript(_split(rows[0][0])) if rows else None

    def transcript_lanes(self, epoch: Epoch, shard: Shard) -> list[int]:
        """List the lanes whose transcripts are kept."""
        rows = self._read(
            "SELECT lane FROM transcripts WHERE epoch = ? AND shard = ? ORDER BY lane",
            (epoch, shard),
        )
        return [lane for (lane,) in rows]

    # What others committed to

    def save_commitments(self, commitments: Sequence[tuple[Epoch, Shard, Seat, bytes]]) -> None:
        """Keep sealed commitments of others; the first of a seat stays."""
        with self._writing() as connection:
            connection.executemany(
                "INSERT INTO commitments VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", commitments
            )

    def commitments(self, first: Epoch) -> list[bytes]:
        """List the sealed commitments of all epochs from `first` on, as far as they are kept."""
        rows = self._read(
            "SELECT sealed FROM commitments WHERE epoch >= ? ORDER BY epoch, shard, seat", (first,)
        )
        return [sealed for (sealed,) in rows]

    # What was claimed

    def record_claims(self, epochs: Sequence[Epoch]) -> None:
        """Remember epochs with nothing left to claim."""
        with self._writing() as connection:
            connection.executemany(
                "INSERT INTO claims VALUES (?) ON CONFLICT DO NOTHING",
                [(epoch,) for epoch in epochs],
            )

    def claimed_epochs(self) -> frozenset[Epoch]:
        """Return the epochs with nothing left to claim, as far as they are remembered."""
        return frozenset(Epoch(epoch) for (epoch,) in self._read("SELECT epoch FROM claims"))

    # Upkeep

    @property
    def network(self) -> NetworkId | None:
        """The deployment that this store is bound to, if it is."""
        rows = self._read("SELECT value FROM facts WHERE name = 'network'")
        return NetworkId(rows[0][0]) if rows else None

    def prune(self, current: Epoch) -> None:
        """Drop what no epoch from `current` on can need; each kind has its own time (see above).

        Once dropped, an epoch's own reports cannot be recorded anew.
        """
        while self._prune_transcripts(current - TRANSCRIPT_EPOCHS):
            pass
        working = (current - WORKING_EPOCHS,)
        with self._writing() as connection:
            floor = max(current - OWN_REPORT_EPOCHS, self._own_report_floor(connection))
            connection.execute(
                "INSERT OR REPLACE INTO facts VALUES ('own report floor', ?)",
                (str(floor).encode(),),
            )
            connection.execute("DELETE FROM own_reports WHERE epoch < ?", (floor,))
            connection.execute("DELETE FROM challenge_secrets WHERE epoch < ?", working)
            connection.execute("DELETE FROM commitments WHERE epoch < ?", working)
            connection.execute("DELETE FROM assessments WHERE epoch < ?", working)
            connection.execute("DELETE FROM observations WHERE epoch < ?", working)
            connection.execute(
                "DELETE FROM beacon_secrets WHERE number <="
                " (SELECT max(number) FROM beacon_secrets) - ?",
                (KEPT_BEACON_SECRETS,),
            )
            connection.execute("DELETE FROM claims WHERE epoch < ?", (current - KEPT_CLAIMS,))

    def transcript_bytes(self) -> int:
        """Return the size of all transcripts kept."""
        return int(self._read("SELECT coalesce(sum(size), 0) FROM transcripts")[0][0])

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """For the package's own use: run statements that are durable together or not at all."""
        with self._writing() as connection:
            yield connection

    def _bind(self, network: NetworkId | None) -> None:
        found = self.network
        if network is None or found == network:
            return
        if found is not None:
            raise StoreError(
                f"the data directory belongs to network {found.hex()[:16]}, expected "
                f"{network.hex()[:16]}; use another --data-dir for another network"
            )
        with self._writing() as connection:
            connection.execute("INSERT INTO facts VALUES ('network', ?)", (network,))

    def _own_report_floor(self, connection: sqlite3.Connection) -> int:
        found = connection.execute(
            "SELECT value FROM facts WHERE name = 'own report floor'"
        ).fetchone()
        return int(found[0]) if found else 0

    def save_transcript(self, epoch: Epoch, shard: Shard, lane: int, parts: Transcript) -> None:
        """Keep the messages of one job, in place of older ones, as far as there is room."""
        size = sum(map(len, parts.messages))
        joined = b"".join(len(each).to_bytes(4, "big") + each for each in parts.messages)
        with self._writing() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO transcripts VALUES (?, ?, ?, ?, ?)",
                (epoch, shard, lane, size, joined),
            )
            self._drop_excess(connection, epoch - AUDITED_EPOCHS)

    def _prune_transcripts(self, first: int) -> bool:
        """Drop some transcripts of epochs before `first`; False when there were none."""
        with self._writing() as connection:
            cursor = connection.execute(
                "DELETE FROM transcripts WHERE rowid IN"
                " (SELECT rowid FROM transcripts WHERE epoch < ? LIMIT ?)",
                (first, TRANSCRIPTS_PER_TRANSACTION),
            )
            return cursor.rowcount > 0

    def _drop_excess(self, connection: sqlite3.Connection, last: int) -> None:
        """Drop the oldest transcripts, up to those of epoch `last`, until the rest fits."""
        (kept,) = connection.execute("SELECT sum(size) FROM transcripts").fetchone()
        excess = kept - self._max_transcript_bytes
        if excess <= 0:
            return
        doomed = []
        for row, size in connection.execute(
            "SELECT rowid, size FROM transcripts WHERE epoch <= ? ORDER BY epoch", (last,)
        ):
            if excess <= 0:
                break
            doomed.append((row,))
            excess -= size
        connection.executemany("DELETE FROM transcripts WHERE rowid = ?", doomed)

    def _read(self, statement: str, parameters: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with self._turn, _translating():
            return self._connection.execute(statement, parameters).fetchall()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Commit on the way out; on an error leave everything as it was."""
        with self._turn, _translating():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


@contextmanager
def _translating() -> Iterator[None]:
    """Turn SQLite's errors (full disk, damaged file, closed store) into StoreError."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(f"the store cannot be used: {error}") from error


def _one(connection: sqlite3.Connection, statement: str, parameters: tuple[object, ...]) -> bytes:
    (value,) = connection.execute(statement, parameters).fetchone()
    return bytes(value)


def _split(joined: bytes) -> list[bytes]:
    """Take apart messages that each stand behind their length in four bytes."""
    messages = []
    position = 0
    while position < len(joined):
        start = position + 4
        position = start + int.from_bytes(joined[position:start], "big")
        messages.append(joined[start:position])
    return messages
