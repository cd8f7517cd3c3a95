"""Frames, gossip frames, the private network's cipher: what comes from a peer, byte by byte."""

import os
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from libp2p.pubsub.pb import rpc_pb2
from nacl.secret import SecretBox

from p2p_node.net.errors import MessageTooLongError
from p2p_node.net.framing import FrameSplitter, encode_frame, encode_varint
from p2p_node.net.gossip_codec import (
    decode_rpc,
    encode_control,
    encode_message,
    encode_subscriptions,
)
from p2p_node.net.mesh import Control
from p2p_node.net.psk import NONCE_BYTES, StreamCipher, new_nonce
from protocols.errors import MalformedError


def strip(frame: bytes) -> bytes:
    (body,) = FrameSplitter(1 << 20).feed(frame)
    return body


@given(st.lists(st.binary(max_size=300), max_size=8), st.data())
def test_frames_survive_any_cutting(messages: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(encode_frame(message) for message in messages)
    splitter, out, position = FrameSplitter(1000), [], 0
    while position < len(stream):
        step = data.draw(st.integers(1, len(stream) - position))
        out += splitter.feed(stream[position : position + step])
        position += step
    assert out == messages


def test_a_frame_above_the_cap_is_refused_by_its_length_alone() -> None:
    assert FrameSplitter(10).feed(encode_frame(b"x" * 10)) == [b"x" * 10]
    with pytest.raises(MessageTooLongError):
        FrameSplitter(10).feed(encode_varint(11))
    with pytest.raises(MalformedError):
        FrameSplitter(10).feed(b"\xff" * 5)


def test_a_frame_sent_byte_by_byte_is_looked_at_once() -> None:
    splitter = FrameSplitter(1 << 20)
    frame = encode_frame(bytes(200_000))
    for position in range(len(frame) - 1):
        assert splitter.feed(frame[position : position + 1]) == []
    assert splitter.feed(frame[-1:]) == [bytes(200_000)]


def test_messages_subscriptions_and_control_round_trip() -> None:
    assert decode_rpc(strip(encode_message("/t", b"data"))).messages == [("/t", b"data")]
    subscriptions = decode_rpc(strip(encode_subscriptions(["/a", "/b"], follow=True)))
    assert subscriptions.subscriptions == [("/a", True), ("/b", True)]
    unsubscriptions = decode_rpc(strip(encode_subscriptions(["/a"], follow=False)))
    assert unsubscriptions.subscriptions == [("/a", False)]
    control = Control(
        graft=["/a"], prune=[("/b", 30.0)], ihave=[("/c", [b"1", b"2"])], iwant=[b"3"]
    )
    assert decode_rpc(strip(encode_control(control))).control == control


def _rpc(**fields: object) -> bytes:
    return rpc_pb2.RPC(**fields).SerializeToString()


def _message(**fields: object) -> bytes:
    return _rpc(publish=[rpc_pb2.Message(data=b"x", **{"topicIDs": ["/t"], **fields})])


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"\xff\xff\xff", "gossip frame does not parse"),
        (b"\x0a\xff\x01", "gossip frame does not parse"),
        (_message(from_id=b"me"), "gossip message names an author"),
        (_message(seqno=b"1"), "gossip message names an author"),
        (_message(signature=b"s"), "gossip message names an author"),
        (_message(key=b"k"), "gossip message names an author"),
        (_message(topicIDs=[]), "gossip message without exactly one topic"),
        (_message(topicIDs=["/a", "/b"]), "gossip message without exactly one topic"),
        (bytes.fromhex("0a0608011202ffff"), "topic is not UTF-8"),
        (bytes.fromhex("1208120178220 3ffffff".replace(" ", "")), "topic is not UTF-8"),
        (
            _rpc(subscriptions=[rpc_pb2.RPC.SubOpts(subscribe=True, topicid="/t")] * 1001),
            "too many entries in a gossip frame",
        ),
        (
            _rpc(publish=[rpc_pb2.Message(data=b"x", topicIDs=["/t"])] * 1001),
            "too many entries in a gossip frame",
        ),
        (
            _rpc(control=rpc_pb2.ControlMessage(graft=[rpc_pb2.ControlGraft(topicID="/t")] * 201)),
            "too many entries in a gossip frame",
        ),
        (
            _rpc(
                control=rpc_pb2.ControlMessage(
                    iwant=[rpc_pb2.ControlIWant(messageIDs=[b"i"] * 5001)]
                )
            ),
            "too many entries in a gossip frame",
        ),
    ],
)
def test_malformed_gossip_frames_are_refused_with_a_reason(frame: bytes, reason: str) -> None:
    with pytest.raises(MalformedError) as caught:
        decode_rpc(frame)
    assert caught.value.reason == reason


@given(st.binary(max_size=200))
def test_no_gossip_frame_raises_anything_else(frame: bytes) -> None:
    with suppress(MalformedError):
        decode_rpc(frame)


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 1000])
def test_the_private_networks_cipher_is_xsalsa20(size: int) -> None:
    key, nonce, text = os.urandom(32), new_nonce(), os.urandom(size)
    assert len(nonce) == NONCE_BYTES
    # libsodium's secretbox is XSalsa20 from its 32nd byte on, behind a tag of 16 bytes.
    expected = SecretBox(key).encrypt(text, nonce).ciphertext[16:]
    cipher = StreamCipher(key, nonce)
    cipher.apply(bytes(32))
    assert b"".join(cipher.apply(text[i : i + 7]) for i in range(0, size, 7)) == expected


def test_the_cipher_undoes_itself() -> None:
    key, nonce = os.urandom(32), new_nonce()
    assert StreamCipher(key, nonce).apply(StreamCipher(key, nonce).apply(b"hello")) == b"hello"
