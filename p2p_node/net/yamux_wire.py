"""Constants of the yamux wire protocol."""

import struct

HEADER = struct.Struct("!BBHII")
"""Version, type, flags, stream id, length (of data, or a window delta, or a ping's value)."""

MAX_FRAME = 65_535 - 16 - HEADER.size
"""Bytes of data in a frame that we send: with its header it fills one Noise record."""

DATA = 0
WINDOW_UPDATE = 1
PING = 2
GO_AWAY = 3

GO_AWAY_NORMAL = 0

INITIAL_WINDOW = 256 * 1024
"""Bytes that either side may send on a new stream; fixed by the protocol."""

MAX_SEND_WINDOW = 1 << 30
"""A peer that grants more is not believed; nothing of ours is that long."""


# Flags of data and window-update frames; a ping uses SYN for asking and ACK for answering. Plain
# integers: an IntFlag makes an object for each test of a bit, a twentieth of the cost of a frame.
SYN = 1
ACK = 2
FIN = 4
RST = 8
KNOWN_FLAGS = SYN | ACK | FIN | RST
