"""What can go wrong on the network, as the rest of the program sees it.

    RemoteError
    ├── PeerUnreachableError     no known address led to the peer in time
    ├── ProtocolRefusedError     the peer is there, but does not serve this protocol to us now
    ├── StreamEndedError         the peer closed or reset the stream, or the connection died
    ├── DeadlineError            an operation took longer than it may
    └── MessageTooLongError      the peer announced a message above the cap
    LocalError
    └── NetworkClosedError       the network was used after it was closed

Every reason is a fixed phrase, so that it can be a counter's label.
"""

from protocols.errors import LocalError, RemoteError


class PeerUnreachableError(RemoteError):
    """No known address led to the peer before the deadline."""


class ProtocolRefusedError(RemoteError):
    """The peer answered, but does not serve this protocol, or serves no more of it at once."""


class StreamEndedError(RemoteError):
    """The peer closed or reset the stream, or its connection died, before the message was there."""


class DeadlineError(RemoteError):
    """A read, a write or an opening took longer than its deadline."""


class MessageTooLongError(RemoteError):
    """The peer announced a message above the cap; nothing of it was read, the stream is reset."""


class NetworkClosedError(LocalError):
    """The network was used after it was closed."""
