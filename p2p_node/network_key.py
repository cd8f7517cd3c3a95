"""The pre-shared key that makes a network private, in the file format that libp2p nodes share."""

from pathlib import Path
from typing import Final

from p2p_node.secret_files import read_secret_file
from protocols.errors import LocalError

HEADER: Final = "/key/swarm/psk/1.0.0/"
ENCODING: Final = "/base16/"
KEY_BYTES: Final = 32


class NetworkKeyError(LocalError):
    """The network key file does not hold a network key."""


def read_network_key(path: Path) -> bytes:
    """Return the 32 bytes of a swarm key file; NetworkKeyError or SecretFileError otherwise.

    Three lines: `/key/swarm/psk/1.0.0/`, `/base16/`, 64 hexadecimal digits.
    """
    content = read_secret_file(path, "network key file")
    try:
        header, encoding, digits = content.decode("ascii").split()
        key = bytes.fromhex(digits)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES or (header, encoding) != (HEADER, ENCODING):
        raise NetworkKeyError(
            f"network key file {path}: expected three lines: {HEADER}, {ENCODING} and "
            f"{2 * KEY_BYTES} hexadecimal digits"
        )
    return key
