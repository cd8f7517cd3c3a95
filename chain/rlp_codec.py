"""RLP, the encoding of transactions and headers, behind types: the rlp package has none."""

from typing import Any, Final

import rlp  # type: ignore[import-untyped]

RlpError: Final[type[Exception]] = rlp.exceptions.RLPException
"""Root of what the package raises for bytes that are no RLP, or not of the form asked for."""


def encode_rlp(value: object) -> bytes:
    """Encode bytes, numbers, lists of these, and objects that know their own form."""
    encoded: bytes = rlp.encode(value)
    return encoded


def decode_rlp(encoded: bytes, form: object) -> Any:
    """Decode an object of the given form; RlpError when the bytes are not one."""
    return rlp.decode(encoded, sedes=form)
