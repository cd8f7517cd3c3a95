"""Messages with a varint length in front, as libp2p's own protocols use."""

from p2p_node.net.errors import MessageTooLongError, StreamEndedError
from p2p_node.net.mux_stream import MuxStream
from protocols.errors import MalformedError

_MAX_PREFIX = 5


def encode_varint(value: int) -> bytes:
    """Unsigned LEB128."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode_frame(message: bytes) -> bytes:
    """The length of `message`, then `message`."""
    return encode_varint(len(message)) + message


class FrameSplitter:
    """Cuts a stream of bytes into frames of at most `max_bytes`.

    Holds no more than one incomplete frame, and looks at it again only once it is complete: a peer
    that sends a frame byte by byte costs an append per byte.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._rest = bytearray()
        self._needed = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that `data` completes.

        Raises MalformedError or MessageTooLongError; the stream is of no more use then.
        """
        if self._rest:
            self._rest += data
            if len(self._rest) < self._needed:
                return []
            data = bytes(self._rest)
            self._rest.clear()
        frames = []
        position, end = 0, len(data)
        while position < end:
            length, body = _read_varint(data, position)
            if body < 0:
                self._needed = 0
                break
            if length > self._max_bytes:
                raise MessageTooLongError("frame too long", f"{length} bytes")
            if body + length > end:
                self._needed = body + length - position
                break
            frames.append(data[body : body + length])
            position = body + length
        if position < end:
            self._rest += data[position:]
        return frames


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    """Value and position behind it; the position is -1 while the varint is incomplete."""
    value = shift = 0
    for at in range(position, min(position + _MAX_PREFIX, len(data))):
        byte = data[at]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at + 1
        shift += 7
    if len(data) - position >= _MAX_PREFIX:
        raise MalformedError("length prefix too long")
    return 0, -1


async def read_frame(stream: MuxStream, max_bytes: int, *, begun: bytes = b"") -> bytes:
    """Read one frame, of which `begun` has arrived; what follows it on the stream is lost.

    Raises MalformedError, MessageTooLongError or StreamEndedError.
    """
    splitter = FrameSplitter(max_bytes)
    frames = splitter.feed(begun)
    while not frames:
        data = await stream.receive_some()
        if not data:
            raise StreamEndedError("closed by the peer")
        frames = splitter.feed(data)
    return frames[0]
