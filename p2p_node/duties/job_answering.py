"""The provider's answers to one job: commit to each proof in turn, then open what is asked for."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from p2p_node.net.api import RequestStream
from p2p_node.node import Node
from p2p_node.workloads.core_chains import ChainWork
from p2p_node.workloads.core_worker import CoreWorker
from p2p_node.workloads.device_group import DeviceGroup, GroupWork
from protocols.chains import (
    ChainJob,
    SegmentIndex,
    decode_segment_indices,
    derive_iterations,
    encode_commitments,
)
from protocols.envelopes import ENVELOPE_OVERHEAD, Verified, open_envelope, seal
from protocols.errors import LocalError, MalformedError
from protocols.host_proof import (
    encode_passes,
    encode_work,
    parse_request,
)
from protocols.memory import PassCommitment
from protocols.messages import (
    ChainRequest,
    Chains,
    Commitment,
    Openings,
    OpenRequest,
    Passes,
    PassRequest,
    compute_message_digest,
)
from protocols.scoring import MILLI
from protocols.types import Digest
from protocols.wire import Message

logger = logging.getLogger(__name__)

Request = TypeVar("Request", PassRequest, ChainRequest, OpenRequest)


@dataclass(frozen=True, slots=True)
class Host:
    """What a provider offers: its devices, and its cores if it offers them."""

    devices: DeviceGroup
    cores: CoreWorker | None = None


class JobAnswer:
    """One job in progress, on the stream that brought it, from its finished work to its end."""

    def __init__(
        self, node: Node, host: Host, stream: RequestStream, job_id: Digest, work: GroupWork
    ) -> None:
        self._node = node
        self._preset = node.preset
        self._network = node.watcher.view.network
        self._host = host
        self._stream = stream
        self._id = job_id
        self._group = work
        self._works = work.list_works()

    @property
    def roots(self) -> tuple[bytes, ...]:
        """Work root of each device, as the Commitment lists them."""
        return tuple(work.commitment.root for work in self._works)

    async def run(self, receipts: Sequence[bytes]) -> None:
        """Send the Commitment, then answer the checker's requests to the last.

        Raises RemoteError for what the checker does, and the backends' errors when a device fails
        in between: then there is nothing to answer with.
        """
        works = tuple(map(encode_work, self._works))
        await self._send(Commitment(job=self._id, devices=works, receipts=tuple(receipts)))
        passes = await self._answer_passes()
        request = await self._receive(ChainRequest)
        self._require_window(request.message.window_ms, self._preset.chain_window_ms)
        chains = await self._run_chains(request.message)
        try:
            await self._send_chains(request, chains)
            await self._answer_openings(passes, chains)
        finally:
            if chains:
                chains.close()

    async def _answer_passes(self) -> tuple[PassCommitment | None, ...]:
        preset = self._preset
        request = await self._receive(PassRequest)
        self._require_window(request.message.window_ms, preset.pass_window_ms)
        done = await self._group.run_passes(
            request.message.nonce,
            window_s=preset.pass_window_ms / MILLI,
            limit_s=_limit(preset.pass_window_ms, preset.pass_slack_ms),
        )
        passes = tuple(done.get(work.device) for work in self._works)
        await self._send(
            Passes(
                job=self._id,
                request=compute_message_digest(request.body),
                devices=tuple(map(encode_passes, passes)),
            )
        )
        return passes

    async def _run_chains(self, request: ChainRequest) -> ChainWork | None:
        if self._host.cores is None:
            return None
        preset = self._preset
        job = ChainJob(
            digest=self._id,
            nonce=request.nonce,
            provider=self._node.network.node_key,
            iterations=derive_iterations(preset.reference_chain_rate, preset.chain_window_ms),
        )
        try:
            return await self._host.cores.run(
                job,
                window_s=preset.chain_window_ms / MILLI,
                limit_s=_limit(preset.chain_window_ms, preset.chain_slack_ms),
            )
        except (LocalError, MemoryError) as error:
            # No reason to give up what the devices did: cores need not be offered.
            logger.warning("no chains: %s: %s", type(error).__name__, error)
            return None

    async def _send_chains(self, request: Verified[ChainRequest], work: ChainWork | None) -> None:
        await self._send(
            Chains(
                job=self._id,
                request=compute_message_digest(request.body),
                chains=encode_commitments(work.commitments) if work else b"",
            )
        )

    async def _answer_openings(
        self, passes: Sequence[PassCommitment | None], chains: ChainWork | None
    ) -> None:
        request = await self._receive(OpenRequest)
        message = request.message
        asked = parse_request(message.rows, message.passes, self._works, passes)
        segments: tuple[SegmentIndex, ...] = ()
        if message.chains:
            segments = decode_segment_indices(message.chains, chains.commitments if chains else ())
        paths = b""
        if self._host.cores and chains and segments:
            paths = await self._host.cores.open(chains, segments)
        rows, pass_rows = await self._group.open_request(self._works, asked)
        await self._send(
            Openings(
                job=self._id,
                request=compute_message_digest(request.body),
                rows=rows,
                passes=pass_rows,
                chains=paths,
            )
        )

    async def _receive(self, kind: type[Request]) -> Verified[Request]:
        data = await self._stream.receive(kind.MAX_BYTES + ENVELOPE_OVERHEAD)
        request = open_envelope(data, kind, self._network, signer=self._stream.peer)
        if request.message.job != self._id:
            raise MalformedError("request about another job")
        return request

    def _require_window(self, found: int, expected: int) -> None:
        if found != expected:
            raise MalformedError("window not allowed", f"found {found} ms, expected {expected}")

    async def _send(self, message: Message) -> None:
        await self._stream.send(seal(self._node.identity.node_key, self._network, message))


def _limit(window_ms: int, slack_ms: int) -> float:
    """Seconds after which a stage is given up: half of its slack is left for the answer's way."""
    return (window_ms + slack_ms // 2) / MILLI
