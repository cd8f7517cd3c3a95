"""The checker's end of a job's stream: requests, answers, and the time between them.

One clock counts: this checker's, from the moment in which a request is handed to the transport to
the arrival of the answer's last byte, nothing subtracted. It does not wait for the transport to
take the request: a peer could stop that a byte before the end, having read enough to begin.
"""

from typing import TypeVar

import trio
from nacl.signing import SigningKey

from p2p_node.duties.observations import Transcript
from p2p_node.net.api import RequestStream
from protocols.envelopes import ENVELOPE_OVERHEAD, open_envelope, peek_kind, seal
from protocols.errors import RemoteError
from protocols.messages import JobRefusal, Refusal
from protocols.types import Digest, NetworkId, NodeKey
from protocols.wire import Message

Answer = TypeVar("Answer", bound=Message)


class RefusedJob(RemoteError):
    """The provider answered that it does not take the job.

    `lease` is the lease that it names as the reason, or 0.
    """

    def __init__(self, reason: str, detail: str = "", *, lease: int = 0) -> None:
        super().__init__(reason, detail)
        self.lease = lease


class Exchange:
    """One job's stream; `transcript` holds what went over it, also when it ends halfway."""

    def __init__(
        self,
        stream: RequestStream,
        *,
        job: Digest,
        key: SigningKey,
        network: NetworkId,
        provider: NodeKey,
        transcript: Transcript,
    ) -> None:
        self._stream = stream
        self._job = job
        self._key = key
        self._network = network
        self._provider = provider
        self._transcript = transcript

    def digest(self) -> Digest:
        """Hash everything that went over the stream so far."""
        return self._transcript.digest()

    async def ask(
        self, request: Message, kind: type[Answer], *, within: float
    ) -> tuple[Answer, int]:
        """Send a request and wait for its answer, `within` seconds for both together.

        Returns the answer and how long it took, in microseconds, at least one. Raises RefusedJob
        for a JobRefusal, another RemoteError for whatever else is not the answer.
        """
        cap = max(kind.MAX_BYTES, JobRefusal.MAX_BYTES) + ENVELOPE_OVERHEAD
        data, elapsed_us = await self.fetch(request, cap=cap, within=within)
        return self.read(data, kind), elapsed_us

    async def fetch(self, request: Message, *, cap: int, within: float) -> tuple[bytes, int]:
        """Like `ask`, but return what came, at most `cap` bytes, without a look at it."""
        sealed = seal(self._key, self._network, request)
        self._transcript.messages.append(sealed)
        asked = trio.current_time()
        await self._stream.send(sealed, within=within)
        left = max(0.001, within - (trio.current_time() - asked))
        answer = await self._stream.receive(cap, within=left)
        return answer, max(1, round((trio.current_time() - asked) * 1_000_000))

    def read(self, data: bytes, kind: type[Answer]) -> Answer:
        """Open what `fetch` returned, and keep it as evidence once its signature holds.

        Errors as in `ask`. Opening megabytes takes milliseconds, and may be done in a thread.
        """
        if peek_kind(data, len(data), self._network) == JobRefusal.KIND:
            refusal = open_envelope(data, JobRefusal, self._network, signer=self._provider).message
            self._transcript.messages.append(data)
            if refusal.job != self._job:
                raise RemoteError("answer to another job")
            reason = _name_refusal(refusal.code)
            raise RefusedJob(reason, refusal.detail, lease=refusal.named_lease)
        answer = open_envelope(data, kind, self._network, signer=self._provider).message
        self._transcript.messages.append(data)
        return answer


def _name_refusal(code: int) -> str:
    try:
        return f"provider: {Refusal(code).name.lower().replace('_', ' ')}"
    except ValueError:
        return "provider: unknown refusal"
