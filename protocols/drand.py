"""Rounds of drand's quicknet: what a signature of one proves, and when it can be known.

The network of drand signs the number of a round at the round's time, by a threshold of its members;
until then nobody knows the signature, and afterwards nobody can change it. quicknet's scheme is
`bls-unchained-g1-rfc9380`: BLS on BLS12-381 with signatures in G1 (48 bytes, compressed) and the
public key in G2 (96 bytes). With m = SHA-256(round, 8 bytes big-endian) and H the hash to G1 of RFC
9380 (suite BLS12381G1_XMD:SHA-256_SSWU_RO_, tag DST), a signature σ holds if and only if
e(σ, g2) = e(H(m), public key). The randomness of the round is SHA-256(σ).

The public key is pinned here, so a round needs trust in no server it was fetched from.
"""

import functools
import hashlib
from typing import Final

from py_ecc.bls.g2_primitives import subgroup_check
from py_ecc.bls.hash_to_curve import hash_to_G1
from py_ecc.bls.point_compression import decompress_G1, decompress_G2
from py_ecc.bls.typing import G1Compressed, G2Compressed, G2Uncompressed
from py_ecc.fields import optimized_bls12_381_FQ12 as FQ12
from py_ecc.optimized_bls12_381.optimized_curve import G2, neg
from py_ecc.optimized_bls12_381.optimized_pairing import final_exponentiate, pairing

from protocols.errors import ForgedError, LocalError, MalformedError
from protocols.types import Digest, TimeMs

CHAIN: Final = bytes.fromhex("52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971")
"""Hash of the chain's parameters, which names quicknet everywhere."""

PUBLIC_KEY: Final = bytes.fromhex(
    "83cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c"
    "8c4b450b6a0a6c3ac6a5776a2d1064510d1fec758c921cc22b0e17e63aaf4bcb"
    "5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8991ef5ece45a"
)
"""quicknet's key, a compressed point of G2."""

GENESIS_S: Final = 1_692_803_367
"""Unix seconds of round 1."""

PERIOD_S: Final = 3
"""Seconds between two rounds."""

DST: Final = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_"
"""Domain separation tag of the hash to the curve."""

SIGNATURE_BYTES: Final = 48

MAX_ROUND: Final = 1 << 40
"""A hundred thousand years of rounds: beyond it a number is a mistake."""


def time_of_round(round_number: int) -> TimeMs:
    """Moment at which `round_number` is signed; LocalError outside 1 … MAX_ROUND."""
    _require_round(round_number)
    return TimeMs((GENESIS_S + (round_number - 1) * PERIOD_S) * 1000)


def first_round_from(moment: TimeMs) -> int:
    """First round that is signed at `moment` or later."""
    late_ms = max(0, moment - GENESIS_S * 1000)
    return 1 + -(-late_ms // (PERIOD_S * 1000))


def verify_round(round_number: int, signature: bytes) -> Digest:
    """Check the signature of a round, and return the round's randomness.

    Takes about a quarter of a second. MalformedError unless it is one point of the curve in its
    only form, ForgedError when it is not the network's signature of this round.
    """
    _require_round(round_number)
    if len(signature) != SIGNATURE_BYTES:
        raise MalformedError("drand signature length", f"{len(signature)} bytes")
    try:
        point = decompress_G1(G1Compressed(int.from_bytes(signature, "big")))
    except ValueError as error:
        raise MalformedError("drand signature is no point", str(error)) from error
    if not subgroup_check(point):
        raise MalformedError("drand signature is no point", "outside of the group")
    message = hashlib.sha256(round_number.to_bytes(8, "big")).digest()
    hashed = hash_to_G1(message, DST, hashlib.sha256)  # type: ignore[arg-type]
    product = pairing(G2, point, final_exponentiate=False) * pairing(
        _public_point(), neg(hashed), final_exponentiate=False
    )
    if final_exponentiate(product) != FQ12.one():
        raise ForgedError("drand signature does not hold", f"round {round_number}")
    return Digest(hashlib.sha256(signature).digest())


@functools.cache
def _public_point() -> G2Uncompressed:
    high, low = int.from_bytes(PUBLIC_KEY[:48], "big"), int.from_bytes(PUBLIC_KEY[48:], "big")
    return decompress_G2(G2Compressed((high, low)))


def _require_round(round_number: int) -> None:
    if not 1 <= round_number <= MAX_ROUND:
        raise LocalError(f"drand round {round_number}, expected 1 to {MAX_ROUND}")
