"""An audit from end to end: read, judge, and say what came of it."""

from collections.abc import Sequence
from typing import Final

from chain.audit.chronicle import Chronicle
from chain.audit.judging import Judge, Verdict
from chain.audit.reading import Progress, Reader, read_entries
from chain.client import ChainClient
from chain.deployment import Deployment
from protocols.errors import LocalError
from protocols.types import Epoch

WARMUP_MARGIN_EPOCHS: Final = 1
"""Delegation's warm-up is so much longer than the ring."""


class OpenEpochError(LocalError):
    """An epoch that still takes bundles was to be audited."""


async def audit_epochs(
    chain: ChainClient, epochs: Sequence[Epoch], progress: Progress
) -> list[Verdict]:
    """Audit epochs whose grace is over, as of the newest final block.

    OpenEpochError for one whose grace is not over in that block; otherwise the errors of
    `ChainClient`, MalformedAnswerError too where the endpoint tells an impossible history.
    """
    deployment = chain.deployment
    head = await chain.head("finalized")
    for epoch in epochs:
        seconds = closes_at(deployment, epoch) - head.timestamp
        if seconds > 0:
            raise OpenEpochError(
                f"epoch {epoch}: takes bundles for another {seconds} s of the final blocks' time, "
                "expected one whose grace is over"
            )
    entries = await read_entries(chain, deployment.block, head.number, progress)
    warmup_epochs = deployment.preset.ring_epochs + WARMUP_MARGIN_EPOCHS
    chronicle = Chronicle(entries, warmup_epochs)
    reader = Reader(chain, chronicle, head, progress)
    judge = Judge(
        deployment, chronicle, await reader.genesis_accumulator(), await reader.first_epoch()
    )
    return [judge.judge(await reader.epoch_facts(epoch)) for epoch in epochs]


def closes_at(deployment: Deployment, epoch: Epoch) -> int:
    """Return the Unix second from which on no bundle of an epoch is accepted."""
    preset = deployment.preset
    return deployment.genesis + preset.epoch_seconds * (epoch + 1) + preset.grace_seconds
