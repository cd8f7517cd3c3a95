"""What transactions called our contracts with.

Anybody may send a bundle or a claim, through a contract of its own as well. Such a contract usually
passes a call on as it was handed over, so calls are looked for anywhere in a transaction's data.
One that was put together by a contract in between cannot be read from calldata, and an audit says
so.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from chain.abi import Function, get_interface
from chain.errors import MalformedAnswerError
from protocols.lanes import unpack_words
from protocols.types import Digest, Epoch, Seat, Shard

MAX_CALLS = 256
"""Calls of one function that are looked for in one transaction's data."""

_S_MASK = (1 << 255) - 1


@dataclass(frozen=True, slots=True)
class SubmittedReport:
    """One seat's report as it was sent; lanes of `scores` may have all of their 16 bits."""

    seat: Seat
    scores: tuple[int, ...]
    online: int
    fraud: int
    evidence: Digest
    signature: bytes


@dataclass(frozen=True, slots=True)
class Submission:
    """The arguments of one call of `Consensus.submit`."""

    epoch: Epoch
    shard: Shard
    medians: tuple[int, ...]
    reports: tuple[SubmittedReport, ...]


def find_submission(data: bytes, epoch: Epoch, shard: Shard) -> Submission | None:
    """Find the bundle of an epoch and shard in a transaction's data; None if there is none."""
    for arguments in find_calls(get_interface("Consensus").functions["submit"], data):
        found_epoch, found_shard, medians, reports = arguments
        if (found_epoch, found_shard) == (epoch, shard):
            return Submission(
                epoch, shard, _lanes(medians), tuple(_to_report(each) for each in reports)
            )
    return None


def find_calls(function: Function, data: bytes) -> Iterator[Sequence[Any]]:
    """Yield the arguments of each call of `function` in a transaction's data, in their order."""
    start = -1
    for _ in range(MAX_CALLS):
        start = data.find(function.selector, start + 1)
        if start < 0:
            return
        try:
            yield function.decode_call(data[start:])
        except MalformedAnswerError:
            # Four bytes that look like the selector by chance, or somebody else's call.
            continue


def expand_signature(r: bytes, vs: int) -> bytes:
    """Return r ‖ s ‖ v of a signature in EIP-2098's form, which has v - 27 in the top bit of s."""
    return r + (vs & _S_MASK).to_bytes(32, "big") + bytes([27 + (vs >> 255)])


def _lanes(blocks: Sequence[Sequence[int]]) -> tuple[int, ...]:
    return unpack_words([word for block in blocks for word in block])


def _to_report(values: Sequence[Any]) -> SubmittedReport:
    seat, scores, online, fraud, evidence, r, vs = values
    return SubmittedReport(
        seat=Seat(seat),
        scores=_lanes(scores),
        online=online,
        fraud=fraud,
        evidence=Digest(evidence),
        signature=expand_signature(r, vs),
    )
