"""The node's two keys on disk, and the only code that reads them.

    DIRECTORY/node.key      Ed25519 seed, 64 hexadecimal digits: libp2p identity and messages
    DIRECTORY/wallet.json   secp256k1 key, encrypted (Web3 Secret Storage, version 3)

Both have mode 0600 in a directory of mode 0700. Neither key nor password is ever an argument of a
command, part of a repr, or logged.
"""

import json
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NoReturn

from eth_account import Account
from eth_utils.address import to_checksum_address
from nacl.signing import SigningKey

from p2p_node.secret_files import (
    check_private_directory,
    create_secret_file,
    make_private_directory,
    read_secret_file,
)
from protocols.errors import LocalError
from protocols.signing import sign_digest
from protocols.types import Digest, NodeKey, Wallet

NODE_KEY_FILE: Final = "node.key"
WALLET_FILE: Final = "wallet.json"
PASSWORD_VARIABLE: Final = "KAISAR_WALLET_PASSWORD"  # noqa: S105 (the variable's name)

_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Number of points on secp256k1: private keys lie below it."""


class KeystoreError(LocalError):
    """A key is missing or broken, or the password is wrong."""


@dataclass(frozen=True, slots=True)
class Kdf:
    """How a password becomes the key that encrypts the wallet; `iterations` is the cost."""

    name: Literal["scrypt", "pbkdf2"]
    iterations: int


STRONG_KDF: Final = Kdf("scrypt", 1 << 18)
"""geth's standard: about a second and 256 MiB for every guess, and for every start of a node."""

LIGHT_KDF: Final = Kdf("pbkdf2", 1_000)
"""A millisecond. For local test networks, whose dozen nodes share two cores and whose tokens are
worth nothing; it protects a password that can be guessed at all from nobody."""


class NodeSigningKey(SigningKey):
    """A SigningKey that does not print itself: PyNaCl's own `str` is the secret seed."""

    def __str__(self) -> str:
        return repr(self)

    def __repr__(self) -> str:
        return f"<NodeSigningKey {bytes(self.verify_key).hex()}>"


class WalletKey:
    """A decrypted wallet: signs digests and transactions, and shows its address only."""

    __slots__ = ("__private_key", "_checksum_address")

    def __init__(self, private_key: bytes) -> None:
        if len(private_key) != 32 or not 0 < int.from_bytes(private_key, "big") < _ORDER:
            raise KeystoreError(
                "wallet key: found no private key of secp256k1, expected 32 bytes below its order"
            )
        self.__private_key = private_key
        self._checksum_address: str = Account.from_key(private_key).address

    @property
    def address(self) -> Wallet:
        """The account as 20 bytes."""
        return Wallet(bytes.fromhex(self._checksum_address[2:]))

    @property
    def checksum_address(self) -> str:
        """The account as people read it: 0x and EIP-55's mixed case."""
        return self._checksum_address

    def sign_digest(self, digest: Digest) -> bytes:
        """Sign 32 bytes: r ‖ s ‖ v, 65 bytes (see `protocols.signing.sign_digest`)."""
        return sign_digest(self.__private_key, digest)

    def sign_transaction(self, transaction: dict[str, Any]) -> bytes:
        """Sign a transaction given by the names of JSON-RPC; return it encoded."""
        signed = Account.sign_transaction(transaction, self.__private_key)
        return bytes(signed.raw_transaction)

    def encrypt(self, password: str, kdf: Kdf) -> bytes:
        """Return the key as a Web3 Secret Storage file."""
        sealed = Account.encrypt(self.__private_key, password, kdf.name, kdf.iterations)
        return json.dumps(sealed, indent=1).encode() + b"\n"

    def __repr__(self) -> str:
        return f"<WalletKey {self._checksum_address}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a wallet key is not pickled")


@dataclass(frozen=True, slots=True)
class Keystore:
    """Both keys of one node, opened. Nothing in its repr is secret."""

    node_signing_key: NodeSigningKey
    wallet: WalletKey

    @classmethod
    def create(
        cls,
        directory: Path,
        password: str,
        *,
        kdf: Kdf = STRONG_KDF,
        private_key: bytes | None = None,
    ) -> "Keystore":
        """Make the keys that `directory` lacks, and the directory itself.

        `private_key` brings an existing wallet; otherwise a new one is drawn. KeystoreError when
        there is a wallet already. A node key that is there stays, so that a set-up which stopped
        half-way can be finished.
        """
        if not password:
            raise KeystoreError(
                "wallet password: found an empty one, expected at least a character"
            )
        make_private_directory(directory)
        if (directory / WALLET_FILE).exists():
            raise KeystoreError(f"{directory / WALLET_FILE} exists already, and is not overwritten")
        wallet = WalletKey(secrets.token_bytes(32) if private_key is None else private_key)
        node_key = open_or_create_node_key(directory)
        create_secret_file(directory / WALLET_FILE, wallet.encrypt(password, kdf))
        return cls(node_key, wallet)

    @classmethod
    def open(cls, directory: Path, password: str) -> "Keystore":
        """Read both keys. KeystoreError or SecretFileError says what is missing or wrong."""
        return cls(open_node_key(directory), open_wallet(directory, password))

    @property
    def node_key(self) -> NodeKey:
        """The public key of the node: its identity among peers."""
        return NodeKey(bytes(self.node_signing_key.verify_key))

    @property
    def wallet_address(self) -> Wallet:
        """The account that this node acts for."""
        return self.wallet.address

    @property
    def transaction_signer(self) -> WalletKey:
        """What the chain's transaction manager signs with (`chain.signer.Signer`)."""
        return self.wallet

    def sign_digest(self, digest: Digest) -> bytes:
        """Sign 32 bytes with the wallet: 65 bytes."""
        return self.wallet.sign_digest(digest)


def open_node_key(directory: Path) -> NodeSigningKey:
    """Read the node key of a data directory."""
    check_private_directory(directory)
    path = directory / NODE_KEY_FILE
    content = read_secret_file(path, "node key")
    try:
        return NodeSigningKey(bytes.fromhex(content.decode("ascii")))
    except ValueError:
        raise KeystoreError(
            f"node key {path}: found {len(content)} bytes that are no key, "
            "expected 64 hexadecimal digits"
        ) from None


def open_or_create_node_key(directory: Path) -> NodeSigningKey:
    """Read the node key of a data directory, or make both: all that a bootstrap node needs."""
    make_private_directory(directory)
    path = directory / NODE_KEY_FILE
    if not path.exists():
        create_secret_file(path, secrets.token_bytes(32).hex().encode() + b"\n")
    return open_node_key(directory)


def open_wallet(directory: Path, password: str) -> WalletKey:
    """Decrypt the wallet of a data directory."""
    check_private_directory(directory)
    path = directory / WALLET_FILE
    return WalletKey(decrypt_wallet(read_secret_file(path, "wallet"), password, str(path)))


def decrypt_wallet(content: bytes, password: str, source: str) -> bytes:
    """Return the private key in a Web3 Secret Storage file; `source` names it in errors."""
    fields = _parse_wallet(content, source)
    try:
        return bytes(Account.decrypt(fields, password))
    except ValueError as error:
        if "MAC mismatch" in str(error):
            raise KeystoreError(f"wallet {source}: the password is wrong") from None
        raise KeystoreError(f"wallet {source}: cannot be decrypted: {error}") from None
    except (KeyError, TypeError, NotImplementedError) as error:
        raise KeystoreError(f"wallet {source}: no encrypted wallet of version 3") from error


def read_wallet_address(directory: Path) -> Wallet:
    """Return the account of a data directory without its password."""
    path = directory / WALLET_FILE
    fields = _parse_wallet(read_secret_file(path, "wallet"), str(path))
    try:
        address = bytes.fromhex(str(fields["address"]).removeprefix("0x"))
    except (KeyError, ValueError):
        address = b""
    if len(address) != 20:
        raise KeystoreError(f"wallet {path}: it does not say its address")
    return Wallet(address)


def checksum_address(wallet: Wallet) -> str:
    """Write an account as people read it: 0x and EIP-55's mixed case."""
    return str(to_checksum_address(wallet))


def read_password(
    file: Path | None,
    environment: Mapping[str, str] = os.environ,
    prompt: Callable[[], str] | None = None,
) -> str:
    """Find the wallet's password: in `file`, else in the environment, else by asking.

    A file ends in at most one line break that is not part of the password. KeystoreError when
    there is no source at all.
    """
    if file is not None:
        content = read_secret_file(file, "wallet password file")
        try:
            return content.decode("utf-8").removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise KeystoreError(f"wallet password file {file}: not UTF-8") from None
    if PASSWORD_VARIABLE in environment:
        return environment[PASSWORD_VARIABLE]
    if prompt is not None:
        return prompt()
    raise KeystoreError(
        f"wallet password: found none, expected a file (--wallet-password-file), "
        f"the variable {PASSWORD_VARIABLE}, or a terminal to ask on"
    )


def _parse_wallet(content: bytes, source: str) -> dict[str, Any]:
    try:
        fields = json.loads(content)
    except ValueError:
        raise KeystoreError(f"wallet {source}: found no JSON") from None
    if not isinstance(fields, dict):
        raise KeystoreError(f"wallet {source}: found {type(fields).__name__}, expected an object")
    return fields
