"""The checker's side of the network proof: ask, take the time, count, give a receipt.

One clock counts, this checker's, and only answers that arrive within a stage. What the other side
does can end a transfer, and then it counts for nothing; it cannot make a piece count twice.
"""

import logging
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import trio

from p2p_node.net.api import RequestStream
from p2p_node.net.nursery import private_nursery
from p2p_node.node import Node
from protocols.envelopes import seal
from protocols.epochs import TransferWindow
from protocols.errors import RemoteError
from protocols.membership import EpochView, Member
from protocols.messages import compute_message_digest
from protocols.params import CLOCK_DISPARITY_MS
from protocols.transfer_messages import TRANSFER_PROTOCOL, TransferReceipt, TransferRequest
from protocols.transfers import (
    PIECE_BYTES,
    compute_piece_digest,
    count_pieces,
    derive_piece_seeds,
    expand_pieces,
)
from protocols.types import Digest, Seat, Shard, TimeMs

logger = logging.getLogger(__name__)

LEAD_MS = 2_000
"""So long before its window a stream is opened: a dial takes a quarter of a second and more, which
would be most of a stage."""

FIRST_PIECES = 2
"""Under way before anything was answered; every answer then allows one more, as in TCP."""

MOST_PIECES = 16
"""Under way at most: 960 KiB, which fits the window of a stream (`NetworkLimits.stream_window`)."""

BATCH_PIECES = 16
"""Made at once, in a thread: about a millisecond's work."""


async def measure_transfers(
    node: Node, view: EpochView, shard: Shard, seat: Seat, checker: int
) -> None:
    """Transfer with each active provider of a shard in its window, and give it a receipt.

    Returns when the last window is over. A provider whose stage down is over already is left out.
    """
    providers = view.shard_providers(shard)
    async with trio.open_nursery() as nursery:
        for rank, provider in enumerate(providers):
            if provider.node_key == node.network.node_key:
                # This machine's own line: the others measure it.
                continue
            window = node.watcher.timeline.transfer_window(view.epoch, rank, len(providers))
            if node.clock.now() >= window.down_end:
                logger.warning("epoch %d provider %d: no transfer", view.epoch, provider.index)
                continue
            await node.clock.sleep_until(TimeMs(window.start - LEAD_MS))
            request = TransferRequest(
                epoch=view.epoch, shard=shard, seat=seat, checker=checker, provider=provider.index
            )
            nursery.start_soon(transfer_with, node, provider, request, window)


async def transfer_with(
    node: Node, provider: Member, request: TransferRequest, window: TransferWindow
) -> None:
    """Transfer with one provider in its window; never raises for what the provider does."""
    left = _last_moment(node, window) - trio.current_time()
    try:
        async with node.network.open_stream(
            provider.node_key, TRANSFER_PROTOCOL, max(left, 0.001)
        ) as stream:
            receipt = await _measure(node, stream, request, window)
    except RemoteError as error:
        node.network.counters.refuse(TRANSFER_PROTOCOL, error.reason)
        logger.info("epoch %d provider %d: no receipt: %s", request.epoch, provider.index, error)
        return
    logger.info(
        "epoch %d seat %d provider %d: %d bytes down, %d up in %d ms each",
        request.epoch,
        request.seat,
        provider.index,
        receipt.down_bytes,
        receipt.up_bytes,
        window.stage_ms,
    )


@dataclass(frozen=True, slots=True)
class Question:
    """What is sent to the provider, and the only right answer to it."""

    data: bytes
    answer: bytes


Make = Callable[[int, int], list[Question]]
"""Makes so many questions from this index on."""


def ask_down(transfer: Digest, secret: bytes) -> Make:
    """Make pieces whose digests the provider has to answer."""

    def make(first: int, count: int) -> list[Question]:
        pieces = expand_pieces(derive_piece_seeds(secret, first, count))
        return [
            Question(piece, compute_piece_digest(transfer, first + position, piece))
            for position, piece in enumerate(pieces)
        ]

    return make


def ask_up(secret: bytes) -> Make:
    """Make seeds that the provider has to answer with their pieces."""

    def make(first: int, count: int) -> list[Question]:
        seeds = derive_piece_seeds(secret, first, count)
        return [Question(*pair) for pair in zip(seeds, expand_pieces(seeds), strict=True)]

    return make


class Questions:
    """The questions of one stage, at most `most`, some made ahead."""

    def __init__(self, make: Make, most: int) -> None:
        self._make = make
        self._most = most
        self._made = 0
        self._ready: deque[Question] = deque()

    @property
    def any_left(self) -> bool:
        """Whether `take` has another one."""
        return bool(self._ready) or self._made < self._most

    async def prepare(self) -> None:
        """Make the next ones in a thread, unless some are ready or none are left."""
        count = min(BATCH_PIECES, self._most - self._made)
        if not self._ready and count:
            self._ready.extend(await trio.to_thread.run_sync(self._make, self._made, count))
            self._made += count

    async def take(self) -> Question:
        """Return the next one; only while there are any left."""
        await self.prepare()
        return self._ready.popleft()


@dataclass(slots=True)
class Pace:
    """How far one stage got, and whether another piece still makes sense.

    Times are trio's, in seconds. Pieces that would arrive late only stand in the way of the stage
    after this one, so none is sent that would, by what the line has carried so far.
    """

    started: float
    until: float
    asked: int = 0
    answered: int = 0
    counted: int = 0

    @property
    def waiting(self) -> int:
        """Pieces under way."""
        return self.asked - self.answered

    def allows(self, now: float) -> bool:
        """Tell whether to send one more now."""
        if now >= self.until or self.waiting >= min(MOST_PIECES, FIRST_PIECES + self.answered):
            return False
        if not self.answered:
            return True
        each = (now - self.started) / self.answered
        return now + each * (self.waiting + 1) <= self.until

    def answer(self, now: float) -> None:
        """Take note of a right answer; it counts when it came in time."""
        self.answered += 1
        if now <= self.until:
            self.counted += 1


class Conversation:
    """Questions out, answers in, over one stream. `read` runs beside whoever asks."""

    def __init__(self, stream: RequestStream, until: float) -> None:
        self._stream = stream
        self._until = until
        self._expected: deque[tuple[bytes, Pace]] = deque()
        self._change = trio.lowlevel.ParkingLot()
        self._failure: RemoteError | None = None

    async def read(self) -> None:
        """Read answers until cancelled or until one is wrong or missing; never raises for that."""
        try:
            while True:
                while not self._expected:
                    await self._change.park()
                answer, pace = self._expected[0]
                data = await self._stream.receive(len(answer), within=self._left())
                arrived = trio.current_time()
                if data != answer:
                    raise RemoteError("wrong answer to a piece")
                self._expected.popleft()
                pace.answer(arrived)
                self._change.unpark_all()
        except RemoteError as error:
            self._failure = error
            self._change.unpark_all()

    async def run_stage(self, questions: Questions, until: float) -> int:
        """Ask until the stage is over, and return the bytes that were answered in time.

        Raises RemoteError when an answer was wrong, or the stream is over.
        """
        pace = Pace(trio.current_time(), until)
        try:
            await self._ask(questions, pace)
        except RemoteError as error:
            # What the reader found comes first: the stream may have been reset for it.
            raise self._failure or error from None
        if self._failure is not None:
            raise self._failure
        return pace.counted * PIECE_BYTES

    async def _ask(self, questions: Questions, pace: Pace) -> None:
        while self._failure is None and trio.current_time() < pace.until:
            if questions.any_left and pace.allows(trio.current_time()):
                question = await questions.take()
                self._expected.append((question.answer, pace))
                pace.asked += 1
                self._change.unpark_all()
                await self._stream.send(question.data, within=self._left())
            elif pace.waiting:
                with trio.move_on_at(pace.until):
                    await self._change.park()
            else:
                return

    def _left(self) -> float:
        return max(self._until - trio.current_time(), 0.001)


async def _measure(
    node: Node, stream: RequestStream, request: TransferRequest, window: TransferWindow
) -> TransferReceipt:
    clock, network, most = node.clock, node.watcher.view.network, count_pieces(node.preset)
    transfer = compute_message_digest(request.encode())
    down = Questions(ask_down(transfer, secrets.token_bytes(32)), most)
    up = Questions(ask_up(secrets.token_bytes(32)), most)
    await down.prepare()
    await up.prepare()
    conversation = Conversation(stream, _last_moment(node, window))
    await clock.sleep_until(window.start)
    await stream.send(seal(node.identity.node_key, network, request))
    async with private_nursery() as nursery:
        nursery.start_soon(conversation.read)
        down_bytes = await conversation.run_stage(down, clock.deadline(window.down_end))
        await clock.sleep_until(window.up_start)
        up_bytes = await conversation.run_stage(up, clock.deadline(window.up_end))
        if not down_bytes + up_bytes:
            raise RemoteError("nothing arrived in time")
        receipt = TransferReceipt(
            epoch=request.epoch,
            shard=request.shard,
            seat=request.seat,
            checker=request.checker,
            provider=request.provider,
            down_bytes=down_bytes,
            up_bytes=up_bytes,
        )
        await stream.send(seal(node.identity.node_key, network, receipt))
        nursery.cancel_scope.cancel()
    return receipt


def _last_moment(node: Node, window: TransferWindow) -> float:
    """Until when, on trio's clock, the provider takes the receipt: clocks may differ, and a busy
    machine be late. Nothing counts any more that arrives after its stage."""
    return node.clock.deadline(TimeMs(window.end + CLOCK_DISPARITY_MS))
