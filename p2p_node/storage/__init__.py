"""What must survive a restart: one SQLite file per node, one process per data directory."""

from p2p_node.storage.async_store import AsyncStore
from p2p_node.storage.errors import DirectoryInUseError, StoreError
from p2p_node.storage.journal import StoreJournal
from p2p_node.storage.store import Store

__all__ = ["AsyncStore", "DirectoryInUseError", "Store", "StoreError", "StoreJournal"]
