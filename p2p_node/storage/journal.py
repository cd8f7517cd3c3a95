"""The transaction journal, kept in the node's store."""

from collections.abc import Sequence

from chain.journal import JournalEntry
from p2p_node.storage.store import Store


class StoreJournal:
    """Implements `chain.journal.Journal`. A store holds one wallet's journal."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def record(self, entry: JournalEntry) -> None:
        """Append an entry; it is on the disk when this returns."""
        with self._store.transaction() as connection:
            connection.execute(
                "INSERT INTO journal (nonce, hash, raw, label) VALUES (?, ?, ?, ?)",
                (entry.nonce, entry.hash, entry.raw, entry.label),
            )

    def forget(self, nonce: int) -> None:
        """Drop all entries with this nonce."""
        with self._store.transaction() as connection:
            connection.execute("DELETE FROM journal WHERE nonce = ?", (nonce,))

    def entries(self) -> Sequence[JournalEntry]:
        """Return all entries in the order in which they were recorded."""
        with self._store.transaction() as connection:
            rows = connection.execute(
                "SELECT nonce, hash, raw, label FROM journal ORDER BY number"
            ).fetchall()
        return [JournalEntry(*row) for row in rows]
