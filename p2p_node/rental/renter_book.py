"""A renter's leases on disk: the key of each, and what was paid for with it.

    DATA_DIR/leases/NAME/lease.key    Ed25519 seed, 64 hexadecimal digits, mode 0600
    DATA_DIR/leases/NAME/lease.json   what was asked for, and the lease's number once it has one

NAME is the beginning of the public key. The key is on disk before anything is paid for it, and the
chain knows each lease's key; so whatever happens between, the lease is found again. Nothing here is
ever overwritten but lease.json, and that in one step.

Any number of processes may read a lease at the same time; only whoever holds the data directory
makes one.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from chain.deployment import write_whole
from p2p_node.keystore import NodeSigningKey, read_wallet_address
from p2p_node.secret_files import (
    check_private_directory,
    create_secret_file,
    make_private_directory,
    read_secret_file,
)
from protocols.errors import LocalError
from protocols.types import NetworkId, NodeKey, Wallet

LEASES_DIRECTORY: Final = "leases"
KEY_FILE: Final = "lease.key"
NOTE_FILE: Final = "lease.json"

NAME_DIGITS: Final = 16
"""64 bits of a public key: enough to tell a renter's leases apart."""

MAX_NOTE_BYTES: Final = 16 << 10

MAX_LEASES: Final = 10_000
"""Directories that are looked at; whoever has rented more often can move old ones away."""


class LeaseBookError(LocalError):
    """A lease's files are missing or broken."""


@dataclass(frozen=True, slots=True)
class LeaseNote:
    """What a renter remembers of one lease.

    `key` is the lease's public key in hexadecimal digits. `id` is None until the chain has it:
    the opening may be under way, or may have failed. `failed` says why, where that is known: then
    nothing was paid. `made_at` is in Unix seconds, `price` in the smallest unit per second,
    `minimum` the seconds that are paid for by who ends it early.
    """

    key: str
    network: str
    provider: int
    provider_key: str
    seconds: int
    price: int
    minimum: int
    template: str
    made_at: int
    id: int | None = None
    failed: str | None = None

    @property
    def name(self) -> str:
        """Name of the lease's directory, and of the lease as long as it has no number."""
        return self.key[:NAME_DIGITS]

    @property
    def public_key(self) -> NodeKey:
        """The key that stands in the lease on the chain."""
        return NodeKey(bytes.fromhex(self.key))


class LeaseBook:
    """The leases of one data directory on one network."""

    def __init__(self, data_dir: Path, network: NetworkId) -> None:
        self._data_dir = data_dir
        self._directory = data_dir / LEASES_DIRECTORY
        self._network = network.hex()

    @property
    def wallet(self) -> Wallet:
        """The wallet that pays for these leases; KeystoreError or SecretFileError without one."""
        return read_wallet_address(self._data_dir)

    def make(
        self,
        *,
        provider: int,
        provider_key: NodeKey,
        seconds: int,
        price: int,
        minimum: int,
        template: str,
        now: int,
    ) -> LeaseNote:
        """Draw a key for a lease that is about to be opened, and note it; both are on disk then."""
        make_private_directory(self._directory)
        key = NodeSigningKey(secrets.token_bytes(32))
        note = LeaseNote(
            key=bytes(key.verify_key).hex(),
            network=self._network,
            provider=provider,
            provider_key=provider_key.hex(),
            seconds=seconds,
            price=price,
            minimum=minimum,
            template=template,
            made_at=now,
        )
        make_private_directory(self._directory / note.name)
        create_secret_file(self._path(note) / KEY_FILE, bytes(key).hex().encode() + b"\n")
        self._write(note)
        return note

    def notes(self) -> list[LeaseNote]:
        """Return the leases of this network, in the order in which they were made.

        A directory without a note is left out: nothing was paid for it yet.
        """
        if not self._directory.exists():
            return []
        check_private_directory(self._directory)
        found = []
        for path in sorted(self._directory.iterdir())[:MAX_LEASES]:
            if (path / NOTE_FILE).exists():
                note = _read_note(path / NOTE_FILE)
                if note.network == self._network:
                    found.append(note)
        return sorted(found, key=lambda note: (note.made_at, note.name))

    def set_id(self, note: LeaseNote, lease_id: int) -> LeaseNote:
        """Note the number that the chain gave a lease."""
        changed = replace(note, id=lease_id, failed=None)
        self._write(changed)
        return changed

    def set_failed(self, note: LeaseNote, reason: str) -> LeaseNote:
        """Note that a lease was not opened, and nothing paid."""
        changed = replace(note, failed=reason)
        self._write(changed)
        return changed

    def read_key(self, note: LeaseNote) -> NodeSigningKey:
        """Read the key of a lease; LeaseBookError or SecretFileError says what is wrong."""
        path = self._path(note) / KEY_FILE
        content = read_secret_file(path, "lease key")
        try:
            key = NodeSigningKey(bytes.fromhex(content.decode("ascii")))
        except ValueError:
            raise LeaseBookError(
                f"lease key {path}: found {len(content)} bytes that are no key, "
                "expected 64 hexadecimal digits"
            ) from None
        if bytes(key.verify_key).hex() != note.key:
            raise LeaseBookError(f"lease key {path}: it is not the key in {NOTE_FILE} beside it")
        return key

    def _path(self, note: LeaseNote) -> Path:
        return self._directory / note.name

    def _write(self, note: LeaseNote) -> None:
        write_whole(self._path(note) / NOTE_FILE, json.dumps(asdict(note), indent=1) + "\n")


_FORMS: Final[Mapping[str, type | tuple[type, ...]]] = {
    "key": str,
    "network": str,
    "provider": int,
    "provider_key": str,
    "seconds": int,
    "price": int,
    "minimum": int,
    "template": str,
    "made_at": int,
    "id": (int, type(None)),
    "failed": (str, type(None)),
}


def _read_note(path: Path) -> LeaseNote:
    try:
        with path.open("rb") as file:
            fields: Any = json.loads(file.read(MAX_NOTE_BYTES))
        if not isinstance(fields, dict) or set(fields) != set(_FORMS):
            raise ValueError
        if not all(isinstance(fields[name], form) for name, form in _FORMS.items()):
            raise ValueError
        if len(bytes.fromhex(fields["key"])) != 32 or fields["key"][:NAME_DIGITS] != (
            path.parent.name
        ):
            raise ValueError
        if len(bytes.fromhex(fields["provider_key"])) != 32:
            raise ValueError
    except ValueError:
        raise LeaseBookError(
            f"{path}: found something else, expected the note of a lease; its key beside it still "
            "opens the lease on the chain that names it"
        ) from None
    return LeaseNote(**fields)
