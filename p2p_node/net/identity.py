"""Node keys and libp2p's names for them.

A node key is an Ed25519 public key. Its peer id is the key itself in libp2p's envelope (a protobuf
inside an identity multihash), so each is computed from the other without looking anything up.
"""

from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.keys import KeyPair
from libp2p.peer.id import ID

from protocols.types import NodeKey

# identity multihash (0x00), 36 bytes (0x24) of: PublicKey {type (0x08) = Ed25519 (0x01), data
# (0x12), 32 bytes (0x20)}. See the libp2p specification "Peer Ids and Keys".
_ED25519_PREFIX = bytes.fromhex("002408011220")


def key_pair_of(seed: bytes) -> KeyPair:
    """The libp2p key pair of an Ed25519 seed of 32 bytes."""
    return create_new_key_pair(seed)


def peer_id_of(node_key: bytes) -> ID:
    """The libp2p peer id of a node key."""
    return ID(_ED25519_PREFIX + node_key)


def node_key_of(peer_id: ID) -> NodeKey | None:
    """The node key inside a peer id; None when the identity is no Ed25519 key."""
    raw = peer_id.to_bytes()
    if len(raw) != len(_ED25519_PREFIX) + 32 or not raw.startswith(_ED25519_PREFIX):
        return None
    return NodeKey(raw[len(_ED25519_PREFIX) :])
