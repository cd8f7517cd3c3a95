"""Keys on disk: made once, for their owner only, and never shown."""

import copy
import json
import logging
import os
import pickle
import stat
from pathlib import Path

import pytest
from eth_account import Account

from p2p_node.keystore import (
    LIGHT_KDF,
    NODE_KEY_FILE,
    PASSWORD_VARIABLE,
    STRONG_KDF,
    WALLET_FILE,
    Keystore,
    KeystoreError,
    NodeSigningKey,
    WalletKey,
    decrypt_wallet,
    open_node_key,
    open_or_create_node_key,
    open_wallet,
    read_password,
    read_wallet_address,
)
from p2p_node.secret_files import SecretFileError, create_secret_file, read_secret_file
from protocols.signing import recover_wallet
from protocols.types import Digest

PASSWORD = "correct horse"
PRIVATE_KEY = bytes(31) + b"\x07"
DIGEST = Digest(bytes(range(32)))


@pytest.fixture
def keystore(data_dir: Path) -> Keystore:
    return Keystore.create(data_dir, PASSWORD, kdf=LIGHT_KDF, private_key=PRIVATE_KEY)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_opened_keys_are_the_created_ones(keystore: Keystore, data_dir: Path) -> None:
    opened = Keystore.open(data_dir, PASSWORD)
    assert opened.node_key == keystore.node_key
    assert opened.wallet_address == keystore.wallet_address
    assert opened.node_signing_key.verify_key.encode() == opened.node_key


def test_wallet_is_the_one_given(keystore: Keystore) -> None:
    expected = Account.from_key(PRIVATE_KEY).address
    assert keystore.wallet.checksum_address == expected
    assert keystore.wallet.address == bytes.fromhex(expected[2:])
    assert keystore.wallet_address == bytes.fromhex(expected[2:])


def test_new_keys_differ(tmp_path: Path) -> None:
    first = Keystore.create(tmp_path / "a", PASSWORD, kdf=LIGHT_KDF)
    second = Keystore.create(tmp_path / "b", PASSWORD, kdf=LIGHT_KDF)
    assert first.node_key != second.node_key
    assert first.wallet_address != second.wallet_address


def test_modes_do_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Keystore.create(tmp_path / "deep" / "node", PASSWORD, kdf=LIGHT_KDF)
    finally:
        os.umask(before)
    directory = tmp_path / "deep" / "node"
    assert mode_of(directory) == 0o700
    assert mode_of(directory / NODE_KEY_FILE) == 0o600
    assert mode_of(directory / WALLET_FILE) == 0o600
    assert sorted(path.name for path in directory.iterdir()) == [NODE_KEY_FILE, WALLET_FILE]


def test_digest_signature_recovers_to_the_wallet(keystore: Keystore) -> None:
    assert recover_wallet(DIGEST, keystore.sign_digest(DIGEST)) == keystore.wallet_address


def test_transaction_is_signed_by_the_wallet(keystore: Keystore) -> None:
    transaction = {
        "type": 2,
        "chainId": 31337,
        "nonce": 0,
        "to": "0x" + "11" * 20,
        "value": 1,
        "data": b"",
        "gas": 21_000,
        "maxFeePerGas": 2,
        "maxPriorityFeePerGas": 1,
    }
    signed = keystore.transaction_signer.sign_transaction(transaction)
    assert Account.recover_transaction(signed) == keystore.wallet.checksum_address


def test_wallet_is_never_overwritten(keystore: Keystore, data_dir: Path) -> None:
    before = (data_dir / WALLET_FILE).read_bytes()
    with pytest.raises(KeystoreError, match="not overwritten"):
        Keystore.create(data_dir, "another", kdf=LIGHT_KDF)
    assert (data_dir / WALLET_FILE).read_bytes() == before


def test_creation_that_stopped_half_way_is_finished(data_dir: Path) -> None:
    node_key = open_or_create_node_key(data_dir)
    finished = Keystore.create(data_dir, PASSWORD, kdf=LIGHT_KDF)
    assert finished.node_signing_key == node_key


def test_secret_file_is_never_overwritten(data_dir: Path) -> None:
    create_secret_file(data_dir / "a", b"first")
    with pytest.raises(SecretFileError, match="exists already"):
        create_secret_file(data_dir / "a", b"second")
    assert read_secret_file(data_dir / "a", "it") == b"first"
    assert [path.name for path in data_dir.iterdir()] == ["a"]


@pytest.mark.parametrize("name", [NODE_KEY_FILE, WALLET_FILE])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_file_that_others_can_reach_is_refused(
    keystore: Keystore, data_dir: Path, name: str, mode: int
) -> None:
    (data_dir / name).chmod(mode)
    with pytest.raises(SecretFileError, match=rf"found mode {mode:04o}.*chmod 600 .*{name}"):
        Keystore.open(data_dir, PASSWORD)


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o777])
def test_directory_that_others_can_reach_is_refused(
    keystore: Keystore, data_dir: Path, mode: int
) -> None:
    data_dir.chmod(mode)
    try:
        with pytest.raises(SecretFileError, match=rf"found mode {mode:04o}.*chmod 700"):
            Keystore.open(data_dir, PASSWORD)
    finally:
        data_dir.chmod(0o700)


def test_wrong_password(keystore: Keystore, data_dir: Path) -> None:
    with pytest.raises(KeystoreError, match="the password is wrong") as caught:
        open_wallet(data_dir, "wrong horse")
    assert "horse" not in str(caught.value)


def test_empty_password_is_refused(data_dir: Path) -> None:
    with pytest.raises(KeystoreError, match="empty"):
        Keystore.create(data_dir, "", kdf=LIGHT_KDF)


def test_missing_files_are_named(data_dir: Path) -> None:
    with pytest.raises(SecretFileError, match=r"node\.key: there is no such file"):
        Keystore.open(data_dir, PASSWORD)
    open_or_create_node_key(data_dir)
    with pytest.raises(SecretFileError, match=r"wallet\.json: there is no such file"):
        Keystore.open(data_dir, PASSWORD)
    with pytest.raises(SecretFileError, match="nowhere"):
        Keystore.open(data_dir / "nowhere", PASSWORD)


@pytest.mark.parametrize(
    "content",
    [b"", b"12" * 31, b"12" * 33, b"zz" * 32, b"\xff" * 64],
    ids=["empty", "short", "long", "not hexadecimal", "not ASCII"],
)
def test_broken_node_key(data_dir: Path, content: bytes) -> None:
    create_secret_file(data_dir / NODE_KEY_FILE, content)
    with pytest.raises(KeystoreError, match="expected 64 hexadecimal digits"):
        open_node_key(data_dir)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "found no JSON"),
        (b"\xff", "found no JSON"),
        (b"[]", "found list, expected an object"),
        (b"{}", "no encrypted wallet of version 3"),
        (b'{"version": 5}', "no encrypted wallet of version 3"),
        (b'{"version": 3, "crypto": {"kdf": "none"}}', "no encrypted wallet of version 3"),
    ],
)
def test_broken_wallet(data_dir: Path, content: bytes, message: str) -> None:
    create_secret_file(data_dir / WALLET_FILE, content)
    with pytest.raises(KeystoreError, match=message):
        open_wallet(data_dir, PASSWORD)


def test_oversized_secret_is_refused(data_dir: Path) -> None:
    create_secret_file(data_dir / WALLET_FILE, b" " * 70_000)
    with pytest.raises(SecretFileError, match="longer than"):
        open_wallet(data_dir, PASSWORD)


def test_secret_must_be_an_ordinary_file(data_dir: Path) -> None:
    os.mkfifo(data_dir / WALLET_FILE, 0o600)
    with pytest.raises(SecretFileError, match="not an ordinary file"):
        open_wallet(data_dir, PASSWORD)


@pytest.mark.parametrize("key", [b"", bytes(32), b"\xff" * 32, bytes(33)])
def test_number_that_is_no_private_key(key: bytes) -> None:
    with pytest.raises(KeystoreError, match="no private key"):
        WalletKey(key)


def test_address_is_read_without_the_password(keystore: Keystore, data_dir: Path) -> None:
    assert read_wallet_address(data_dir) == keystore.wallet_address


@pytest.mark.parametrize("content", [b"{}", b'{"address": "12"}', b'{"address": "zz"}'])
def test_wallet_without_address(data_dir: Path, content: bytes) -> None:
    create_secret_file(data_dir / WALLET_FILE, content)
    with pytest.raises(KeystoreError, match="does not say its address"):
        read_wallet_address(data_dir)


def test_wallet_file_is_what_other_wallets_read(keystore: Keystore, data_dir: Path) -> None:
    fields = json.loads((data_dir / WALLET_FILE).read_bytes())
    assert fields["version"] == 3
    assert fields["crypto"]["kdf"] == "pbkdf2"
    assert bytes(Account.decrypt(fields, PASSWORD)) == PRIVATE_KEY
    content = (data_dir / WALLET_FILE).read_bytes()
    assert decrypt_wallet(content, PASSWORD, "it") == PRIVATE_KEY


def test_strong_kdf_is_the_default(data_dir: Path) -> None:
    Keystore.create(data_dir, PASSWORD)
    fields = json.loads((data_dir / WALLET_FILE).read_bytes())
    assert fields["crypto"]["kdf"] == STRONG_KDF.name == "scrypt"
    assert fields["crypto"]["kdfparams"]["n"] == STRONG_KDF.iterations
    assert Keystore.open(data_dir, PASSWORD).wallet_address == read_wallet_address(data_dir)


def secrets_of(keystore: Keystore) -> list[str]:
    """List every form in which the two keys could show up in a text."""
    forms = []
    for secret in (bytes(keystore.node_signing_key), PRIVATE_KEY):
        forms += [secret.hex(), str(secret), str(secret)[2:-1], str(list(secret))]
    return forms


def test_keys_do_not_show(keystore: Keystore, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        for thing in (keystore, keystore.wallet, keystore.node_signing_key):
            logging.getLogger("test").info("%s %r", thing, thing)
        keystore.sign_digest(DIGEST)
    texts = [caplog.text, f"{keystore}", f"{keystore.wallet}", f"{keystore.node_signing_key}"]
    for secret in secrets_of(keystore):
        for text in texts:
            assert secret not in text


def test_public_halves_do_show(keystore: Keystore) -> None:
    assert keystore.node_key.hex() in repr(keystore)
    assert keystore.wallet.checksum_address in repr(keystore)


def test_wallet_key_cannot_be_copied_out(keystore: Keystore) -> None:
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(keystore.wallet)
    with pytest.raises(TypeError, match="not pickled"):
        copy.copy(keystore.wallet)


def test_generated_node_keys_hide_themselves_too() -> None:
    key = NodeSigningKey.generate()
    assert bytes(key).hex() not in str(key)
    assert str(bytes(key)) not in str(key)


def test_password_from_a_file(data_dir: Path) -> None:
    create_secret_file(data_dir / "password", b"from the file \r\n")
    found = read_password(data_dir / "password", {PASSWORD_VARIABLE: "from the variable"})
    assert found == "from the file "


def test_password_from_the_environment() -> None:
    assert read_password(None, {PASSWORD_VARIABLE: "secret"}, lambda: "asked") == "secret"


def test_password_from_a_question() -> None:
    assert read_password(None, {}, lambda: "asked") == "asked"


def test_no_password_at_all() -> None:
    with pytest.raises(KeystoreError, match=r"--wallet-password-file.*KAISAR_WALLET_PASSWORD"):
        read_password(None, {})


def test_password_file_that_others_can_read(data_dir: Path) -> None:
    path = data_dir / "password"
    path.write_bytes(b"secret")
    path.chmod(0o644)
    with pytest.raises(SecretFileError, match="chmod 600"):
        read_password(path, {})


def test_password_file_that_is_no_text(data_dir: Path) -> None:
    create_secret_file(data_dir / "password", b"\xff\xfe")
    with pytest.raises(KeystoreError, match="not UTF-8"):
        read_password(data_dir / "password", {})
