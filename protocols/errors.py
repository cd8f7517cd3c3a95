"""The errors of Kaisar, in one tree.

    KaisarError
    ├── LocalError            our own bug, or our own misuse: never blamed on a peer
    └── RemoteError           somebody else's fault: refused with a reason that is counted
        ├── MalformedError    the bytes do not parse, are too long or are not canonical
        ├── ForgedError       a signature, a key or a binding does not hold
        ├── GossipIgnore      not useful (late, early, seen before): dropped, nobody is blamed
        └── GossipReject      breaks a rule that every honest sender can keep

Every `RemoteError` carries a `reason`: a short fixed phrase without data of the peer's, so that
it can be used as the label of a counter, and a `detail` for the log.
"""


class KaisarError(Exception):
    """Root of all errors raised on purpose in this project."""


class LocalError(KaisarError):
    """This program broke its own rules, or was given arguments that no caller may give."""


class RemoteError(KaisarError):
    """A peer, or the bytes of one, broke a rule.

    `reason` is a fixed phrase (a counter's label); `detail` says what was found.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class MalformedError(RemoteError):
    """Bytes that do not parse as what they should be, exceed their cap or are not canonical."""


class ForgedError(RemoteError):
    """A signature that does not verify, or a key that is not the one expected."""


class GossipIgnore(RemoteError):
    """A message that is not useful here and now; it is dropped and the sender is not blamed."""


class GossipReject(RemoteError):
    """A message that no honest peer would send or forward."""
