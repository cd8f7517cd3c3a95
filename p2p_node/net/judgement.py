"""What a judge says about a gossiped message.

A judge is a plain function `judge(data, sender) -> Judgement`: `data` are the exact bytes of the
message, `sender` is the node key of the peer that handed them to us (who wrote them is written
inside). It is called once per new message.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Accept:
    """The message is valid and new: deliver it here and pass it on."""


@dataclass(frozen=True, slots=True)
class Ignore:
    """The message is of no use here and now: drop it, blame nobody.

    `reason` is a fixed phrase, the label of a counter.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Reject:
    """No honest peer would have passed this message on: drop it and blame the peer that did.

    `reason` is a fixed phrase, the label of a counter.
    """

    reason: str


Judgement = Accept | Ignore | Reject
Judge = Callable[[bytes, bytes], Judgement]

ACCEPT = Accept()
