"""The encrypted connection: py-libp2p's Noise handshake, then our own record layer.

The handshake (Noise XX over X25519, ChaCha20-Poly1305 and SHA-256, the Ed25519 node key signing the
static key) is `libp2p.security.noise` unchanged. Afterwards py-libp2p reads each record in two
awaits per layer and assembles exactly the number of bytes its muxer asked for; here whatever the
socket holds is decrypted in one go and handed on.

Nothing but Noise is offered. `libp2p.new_host()` also accepts TLS, secio and *plaintext*, where a
stranger names any public key as its own.
"""

import struct

from libp2p.crypto.keys import KeyPair, PrivateKey
from libp2p.crypto.x25519 import create_new_key_pair as create_x25519_key_pair
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.peer.id import ID
from libp2p.security.noise.patterns import PatternXX
from libp2p.security.secure_session import SecureSession

from p2p_node.net.identity import node_key_of
from p2p_node.net.tcp import TcpConnection
from protocols.errors import ForgedError
from protocols.types import NodeKey

_LENGTH = struct.Struct("!H")
_TAG = 16
_MAX_PLAINTEXT = 65_535 - _TAG


class NoiseIdentity:
    """What a node needs to prove its key in a handshake.

    The X25519 static key is made anew for each process; the node key signs it.
    """

    def __init__(self, key_pair: KeyPair) -> None:
        self._key: PrivateKey = key_pair.private_key
        self._static: PrivateKey = create_x25519_key_pair().private_key
        self.peer_id = ID.from_pubkey(key_pair.public_key)

    async def secure(
        self, connection: TcpConnection, expected: NodeKey | None
    ) -> "NoiseConnection":
        """Run the handshake; as the dialler `expected` is the key the other side has to prove.

        Raises ForgedError for a wrong identity, and whatever py-libp2p raises on garbage.
        """
        pattern = PatternXX(self.peer_id, self._key, self._static)
        if connection.is_initiator:
            session = await pattern.handshake_outbound(connection, None)
        else:
            session = await pattern.handshake_inbound(connection)
        remote = node_key_of(session.get_remote_peer())
        if remote is None:
            raise ForgedError("not an Ed25519 identity")
        if expected is not None and remote != expected:
            raise ForgedError("another identity than dialled", remote.hex())
        return NoiseConnection(connection, session, remote)


class NoiseConnection:
    """An encrypted connection to a peer whose key is proved."""

    def __init__(self, tcp: TcpConnection, session: SecureSession, remote: NodeKey) -> None:
        self.tcp = tcp
        self.remote = remote
        self.is_initiator = tcp.is_initiator
        state = session.conn.noise_state  # type: ignore[attr-defined]
        self._encrypt = state.encrypt
        self._decrypt = state.decrypt
        self._encrypted = b""
        self._plain = b""

    def send(self, data: bytes) -> None:
        """Encrypt `data` and hand it to the socket. Raises ConnectionClosedError."""
        if len(data) <= _MAX_PLAINTEXT:
            record = self._encrypt(data)
            self.tcp.send(_LENGTH.pack(len(record)) + record)
            return
        for start in range(0, len(data), _MAX_PLAINTEXT):
            self.send(data[start : start + _MAX_PLAINTEXT])

    async def receive(self) -> bytes:
        """All plaintext that is there, at least one byte; empty at the end of the connection.

        Raises ConnectionClosedError, or NoiseInvalidMessage when a record was tampered with.
        """
        if self._plain:
            data, self._plain = self._plain, b""
            return data
        while True:
            received = await self.tcp.receive()
            if not received:
                return b""
            plain = self._open(self._encrypted + received if self._encrypted else received)
            if plain:
                return plain

    async def read(self, n: int | None = None) -> bytes:
        """At least one and at most `n` bytes, for the negotiation of the muxer."""
        data = await self.receive()
        if not data:
            raise ConnectionClosedError("closed by the peer", transport="noise")
        if n is not None and n < len(data):
            self._plain = data[n:]
            data = data[:n]
        return data

    async def write(self, data: bytes) -> None:
        """Send `data` and wait until the socket took it, for the negotiation of the muxer."""
        self.send(data)
        while self.tcp.unsent:
            await self.tcp.write(b"")

    def _open(self, data: bytes) -> bytes:
        """Decrypt the complete records at the start of `data`, keep the rest."""
        position, end = 0, len(data)
        parts = []
        while end - position >= _LENGTH.size:
            body = position + _LENGTH.size
            after = body + _LENGTH.unpack_from(data, position)[0]
            if after > end:
                break
            parts.append(self._decrypt(data[body:after]))
            position = after
        self._encrypted = data[position:]
        return parts[0] if len(parts) == 1 else b"".join(parts)
