"""What can go wrong with the data directory. All of it is local: no peer is to blame.

LocalError
└── StoreError              the file cannot be used, or a rule of the store was broken
    └── DirectoryInUseError another process works on this data directory
"""

from protocols.errors import LocalError


class StoreError(LocalError):
    """The store's file cannot be read or written, or is not this node's."""


class DirectoryInUseError(StoreError):
    """Another process holds the data directory."""
