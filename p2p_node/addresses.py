"""Addresses of wallets and contracts as people type them."""

import re

from p2p_node.config import ConfigError
from p2p_node.keystore import checksum_address
from protocols.types import Wallet


def parse_address(name: str, text: str) -> Wallet:
    """Read an address; mixed case must be EIP-55's, since a typing error would cost everything.

    ConfigError names the setting, what was found and what is expected.
    """
    digits = text.removeprefix("0x")
    if not re.fullmatch("0x[0-9a-fA-F]{40}", text):
        raise ConfigError(f"{name}: found {text[:80]!r}, expected 0x and 40 digits")
    wallet = Wallet(bytes.fromhex(digits))
    if digits not in (digits.lower(), digits.upper()) and text != checksum_address(wallet):
        raise ConfigError(f"{name}: found {text!r}, whose capitals say that a digit is wrong")
    if set(digits) == {"0"}:
        raise ConfigError(f"{name}: found the zero address, which nobody owns")
    return wallet
