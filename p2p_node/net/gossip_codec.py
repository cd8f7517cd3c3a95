"""The wire format of gossipsub: `libp2p.pubsub.pb.rpc_pb2`, checked before it is believed.

Messages are unsigned at this layer ("StrictNoSign"): every message of ours is an envelope that its
author signed over domain, network and exact bytes, and is named by its content. A second signature
would be made once and verified at every hop without telling anything new. As the policy demands,
messages that carry an author, number, key or signature are refused.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError
from libp2p.pubsub.pb import rpc_pb2

from p2p_node.net.framing import encode_frame
from p2p_node.net.mesh import Control
from p2p_node.net.message_cache import MessageId
from protocols.errors import MalformedError

_MAX_MESSAGES = 1000
_MAX_SUBSCRIPTIONS = 1000
_MAX_CONTROL = 200
_MAX_IDS = 5000
_MAX_ID_BYTES = 64


@dataclass(frozen=True, slots=True)
class Rpc:
    """One frame of a peer: every list is within its bound."""

    subscriptions: list[tuple[str, bool]] = field(default_factory=list)
    messages: list[tuple[str, bytes]] = field(default_factory=list)
    control: Control | None = None


def decode_rpc(frame: bytes) -> Rpc:
    """Parse one frame. Raises MalformedError, whose reason says what is wrong."""
    rpc = rpc_pb2.RPC()
    try:
        rpc.ParseFromString(frame)
    except DecodeError as error:
        raise MalformedError("gossip frame does not parse") from error
    if len(rpc.subscriptions) > _MAX_SUBSCRIPTIONS or len(rpc.publish) > _MAX_MESSAGES:
        raise MalformedError("too many entries in a gossip frame")
    return Rpc(
        subscriptions=[(_text(one.topicid), one.subscribe) for one in rpc.subscriptions],
        messages=[_message(one) for one in rpc.publish],
        control=_control(rpc.control) if rpc.HasField("control") else None,
    )


def _message(message: rpc_pb2.Message) -> tuple[str, bytes]:
    if message.from_id or message.seqno or message.signature or message.key:
        raise MalformedError("gossip message names an author")
    if len(message.topicIDs) != 1:
        raise MalformedError("gossip message without exactly one topic")
    return _text(message.topicIDs[0]), message.data


def _control(control: rpc_pb2.ControlMessage) -> Control:
    entries = (control.graft, control.prune, control.ihave, control.iwant)
    if sum(len(one) for one in entries) > _MAX_CONTROL:
        raise MalformedError("too many entries in a gossip frame")
    ids = 0
    for advert in (*control.ihave, *control.iwant):
        ids += len(advert.messageIDs)
    if ids > _MAX_IDS:
        raise MalformedError("too many entries in a gossip frame")
    return Control(
        graft=[_text(one.topicID) for one in control.graft],
        # Peers that a prune proposes instead are not looked at: addresses come from the DHT.
        prune=[(_text(one.topicID), float(min(one.backoff, 1 << 31))) for one in control.prune],
        ihave=[(_text(one.topicID), _ids(one.messageIDs)) for one in control.ihave],
        iwant=[name for one in control.iwant for name in _ids(one.messageIDs)],
    )


def _text(topic: str | bytes) -> str:
    # The protobuf library hands out a string field that is not UTF-8 as bytes.
    if not isinstance(topic, str):
        raise MalformedError("topic is not UTF-8")
    return topic


def _ids(names: Iterable[bytes]) -> list[MessageId]:
    return [name for name in names if len(name) <= _MAX_ID_BYTES]


def encode_message(topic: str, data: bytes) -> bytes:
    """The frame of one message, the same for every peer."""
    rpc = rpc_pb2.RPC()
    message = rpc.publish.add()
    message.data = data
    message.topicIDs.append(topic)
    return encode_frame(rpc.SerializeToString())


def encode_subscriptions(topics: Iterable[str], *, follow: bool) -> bytes:
    """The frame that says which topics we follow from now on, or no longer."""
    rpc = rpc_pb2.RPC()
    for topic in topics:
        entry = rpc.subscriptions.add()
        entry.subscribe = follow
        entry.topicid = topic
    return encode_frame(rpc.SerializeToString())


def encode_control(control: Control) -> bytes:
    """The frame of some control entries."""
    rpc = rpc_pb2.RPC()
    for topic in control.graft:
        rpc.control.graft.add().topicID = topic
    for topic, backoff in control.prune:
        prune = rpc.control.prune.add()
        prune.topicID = topic
        prune.backoff = int(backoff)
    for topic, ids in control.ihave:
        ihave = rpc.control.ihave.add()
        ihave.topicID = topic
        ihave.messageIDs.extend(ids)
    if control.iwant:
        rpc.control.iwant.add().messageIDs.extend(control.iwant)
    return encode_frame(rpc.SerializeToString())
