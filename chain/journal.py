"""What a transaction manager must remember across a crash.

The rule: a signed transaction is recorded, durably, *before* it is first sent. Then whatever
happens, the restarted node knows every transaction that may be on the chain or on its way, sends
the very same bytes again where needed, and never signs a second intent for a nonce in use.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One signed attempt at one nonce.

    `raw` is the encoded transaction (up to 128 KiB), `hash` its keccak256, `label` the intent in
    words that the caller chose. Attempts at the same nonce replace one another; they are kept in
    the order in which they were recorded.
    """

    nonce: int
    hash: bytes
    raw: bytes
    label: str


class Journal(Protocol):
    """A small durable list. One wallet on one chain has one journal and one writer.

    The calls are synchronous and run on Trio's thread, so a write should take a disk sync, not
    more; there are a few per transaction.
    """

    def record(self, entry: JournalEntry) -> None:
        """Append an entry; it must be on disk when this returns."""

    def forget(self, nonce: int) -> None:
        """Drop all entries with this nonce.

        Called when the nonce's outcome is final or none of its attempts was ever accepted. Need
        not be on disk when this returns: an entry that comes back is settled again.
        """

    def entries(self) -> Sequence[JournalEntry]:
        """Return all entries in the order in which they were recorded."""


class MemoryJournal:
    """A journal that lasts as long as its object: for tests and for one-off commands."""

    def __init__(self) -> None:
        self._entries: list[JournalEntry] = []

    def record(self, entry: JournalEntry) -> None:
        """Append an entry."""
        self._entries.append(entry)

    def forget(self, nonce: int) -> None:
        """Drop all entries with this nonce."""
        self._entries = [entry for entry in self._entries if entry.nonce != nonce]

    def entries(self) -> Sequence[JournalEntry]:
        """Return all entries in the order in which they were recorded."""
        return tuple(self._entries)
