"""The cipher of a libp2p private network.

Every byte of a connection is XORed with XSalsa20 under the pre-shared key, each direction under a
random nonce of 24 bytes that its sender sends first. A peer without the key sees noise and sends
noise, so it gets no further than the first handshake. The encryption proper (Noise) runs inside.

Source: libp2p specification "Private Networks", /key/swarm/psk/1.0.0. py-libp2p 0.8.1 has a
private network of its own (`libp2p.security.pnet`), which departs from that: Salsa20 with a nonce
of 8 bytes. It talks to no other libp2p, 8 random bytes repeat after about 2^32 connections, and a
nonce that arrives in two TCP segments fails the connection; so we follow the specification.
"""

import secrets
import struct

from Crypto.Cipher import Salsa20

NONCE_BYTES = 24

_SIGMA = struct.unpack("<4I", b"expand 32-byte k")
_MASK = 0xFFFFFFFF
# The columns, then the rows, of the 4x4 state of Salsa20: (target, source, source, rotation).
_DOUBLE_ROUND = tuple(
    (quarter[(step + 1) % 4], quarter[step], quarter[(step + 3) % 4], (7, 9, 13, 18)[step])
    for quarter in (
        (0, 4, 8, 12),
        (5, 9, 13, 1),
        (10, 14, 2, 6),
        (15, 3, 7, 11),
        (0, 1, 2, 3),
        (5, 6, 7, 4),
        (10, 11, 8, 9),
        (15, 12, 13, 14),
    )
    for step in range(4)
)


def _hsalsa20(key: bytes, nonce: bytes) -> bytes:
    """Derive the subkey of XSalsa20 from the key and the first 16 bytes of the nonce."""
    k = struct.unpack("<8I", key)
    n = struct.unpack("<4I", nonce)
    x = [_SIGMA[0], *k[:4], _SIGMA[1], *n, _SIGMA[2], *k[4:], _SIGMA[3]]
    for _ in range(10):
        for target, first, second, turn in _DOUBLE_ROUND:
            total = (x[first] + x[second]) & _MASK
            x[target] ^= ((total << turn) | (total >> (32 - turn))) & _MASK
    return struct.pack("<8I", x[0], x[5], x[10], x[15], x[6], x[7], x[8], x[9])


class StreamCipher:
    """One direction of a private connection. XOR is its own inverse."""

    def __init__(self, network_key: bytes, nonce: bytes) -> None:
        subkey = _hsalsa20(network_key, nonce[:16])
        self._cipher = Salsa20.new(key=subkey, nonce=nonce[16:])

    def apply(self, data: bytes) -> bytes:
        """Encrypt or decrypt the next bytes of the direction."""
        return self._cipher.encrypt(data)


def new_nonce() -> bytes:
    """A random nonce for the direction we send."""
    return secrets.token_bytes(NONCE_BYTES)
