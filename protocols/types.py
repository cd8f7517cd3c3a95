"""Names for the plain values that travel between the parts.

All of them are ordinary `bytes` and `int` at run time; the names keep a wallet from being passed
where a node key is meant.
"""

from typing import NewType

NodeKey = NewType("NodeKey", bytes)
"""Ed25519 public key, 32 bytes: a node's libp2p identity and the key of its messages."""

Wallet = NewType("Wallet", bytes)
"""Account on the chain, 20 bytes (the last 20 of keccak256 of a secp256k1 public key)."""

NetworkId = NewType("NetworkId", bytes)
"""32 bytes that tell one deployment from every other; part of every signature."""

Digest = NewType("Digest", bytes)
"""A 32-byte hash."""

Epoch = NewType("Epoch", int)
"""Number of a round of consensus, from 0 at the genesis of the deployment."""

Shard = NewType("Shard", int)
"""Group of 256 consecutive provider indices: index // 256."""

Seat = NewType("Seat", int)
"""Place in a committee, 0 ≤ seat < k; also the number of its lockstep slot."""

TimeMs = NewType("TimeMs", int)
"""Unix time in milliseconds."""
