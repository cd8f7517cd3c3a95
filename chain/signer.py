"""Whoever signs a wallet's transactions."""

from typing import Any, Protocol

from eth_account import Account
from eth_account.signers.local import LocalAccount

from chain.recursion import cap_recursion
from protocols.errors import LocalError
from protocols.types import Wallet

cap_recursion()


class Signer(Protocol):
    """A wallet that signs transactions; where its key is kept is its own affair."""

    @property
    def address(self) -> Wallet:
        """The wallet's address."""

    def sign_transaction(self, transaction: dict[str, Any]) -> bytes:
        """Sign an EIP-1559 transaction and return it encoded.

        The fields have their names in JSON-RPC; numbers are integers, `to` and `data` bytes.
        """


class KeySigner:
    """Signs with a 32-byte secp256k1 private key held in memory; never shows it.

    LocalError when the bytes are no private key.
    """

    def __init__(self, private_key: bytes) -> None:
        try:
            self._account: LocalAccount = Account.from_key(private_key)
        except ValueError:
            # Without the cause: its text could carry the key.
            raise LocalError("private key: expected 32 bytes of a secp256k1 key") from None
        self._address = Wallet(bytes.fromhex(self._account.address[2:]))

    def __repr__(self) -> str:
        return f"KeySigner(0x{self._address.hex()})"

    @property
    def address(self) -> Wallet:
        """The wallet's address."""
        return self._address

    def sign_transaction(self, transaction: dict[str, Any]) -> bytes:
        """Sign an EIP-1559 transaction; return it encoded."""
        return bytes(self._account.sign_transaction(transaction).raw_transaction)
