"""Whoever holds a key, and what is seen of it."""

import pytest
from eth_account import Account

from chain.signer import KeySigner
from protocols.errors import LocalError
from tests.chain.test_devchain_node import signed

KEY = b"\xa1" * 32


def test_the_address_is_the_one_everybody_derives() -> None:
    assert "0x" + KeySigner(KEY).address.hex() == Account.from_key(KEY).address.lower()


def test_a_signature_is_the_wallets() -> None:
    signer = KeySigner(KEY)
    raw = signed(signer, 3)
    assert Account.recover_transaction(raw).lower() == "0x" + signer.address.hex()


def test_the_key_is_not_shown() -> None:
    signer = KeySigner(KEY)
    assert KEY.hex() not in repr(signer)
    assert signer.address.hex() in repr(signer)


@pytest.mark.parametrize("key", [b"", b"\x01" * 31, b"\x01" * 33, bytes(32), b"\xff" * 32])
def test_what_is_no_key_is_not_repeated_in_the_error(key: bytes) -> None:
    with pytest.raises(LocalError, match="private key") as caught:
        KeySigner(key)
    assert caught.value.__cause__ is None
    assert not key or key.hex() not in str(caught.value)
