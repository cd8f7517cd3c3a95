"""keccak256, the chain's hash. The proof uses SHA-256 instead (see `compute`)."""

from eth_hash.auto import keccak

from protocols.types import Digest


def keccak256(*parts: bytes) -> Digest:
    """Hash the concatenation of `parts`; callers use fixed-width parts so that it is injective."""
    return Digest(keccak(b"".join(parts)))
