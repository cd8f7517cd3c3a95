"""The provider's side of the network proof: answer pieces and seeds, collect receipts.

Everything is answered in the order in which it comes, one piece in hand at a time, so a checker
decides how much is under way and a stream costs no more than its window.
"""

import logging
from collections.abc import Callable

import trio

from p2p_node.net.api import RequestStream
from p2p_node.node import Node
from protocols.envelopes import ENVELOPE_OVERHEAD, open_envelope
from protocols.epochs import TransferWindow
from protocols.errors import MalformedError, RemoteError
from protocols.expand import SEED_BYTES
from protocols.messages import compute_message_digest
from protocols.params import CLOCK_DISPARITY_MS, LANES
from protocols.transfer_messages import TRANSFER_PROTOCOL, TransferReceipt, TransferRequest
from protocols.transfers import (
    PIECE_BYTES,
    compute_piece_digest,
    count_pieces,
    expand_pieces,
    find_window,
)
from protocols.types import Digest, Epoch, NodeKey, Seat, TimeMs

logger = logging.getLogger(__name__)


class TransferRefused(RemoteError):
    """A request that this provider does not take."""


class TransferServer:
    """Answers transfers for one provider slot, and keeps the receipts of the newest epoch.

    A seat is served once per epoch; so there are never more transfers or receipts than seats. While
    the machine is `leased` (not 0) its line is its renter's, and nothing is transferred: a leased
    provider is not scored by what it proves.
    """

    def __init__(self, node: Node, provider: int, leased: Callable[[], int] = lambda: 0) -> None:
        self._node = node
        self._provider = provider
        self._leased = leased
        self._epoch = Epoch(0)
        self._served: set[Seat] = set()
        self._receipts: dict[Seat, bytes] = {}

    def serve(self) -> None:
        """Answer transfers from now on, for as long as the network is open."""
        self._node.network.serve(TRANSFER_PROTOCOL, self._answer)

    def receipts_for(self, epoch: Epoch) -> list[bytes]:
        """Return the sealed receipts of an epoch's committee, by seat; at most MAX_SEATS.

        Each was signed by the holder of its seat. Empty for any epoch but the newest one that
        somebody transferred in.
        """
        if epoch != self._epoch:
            return []
        return [sealed for _, sealed in sorted(self._receipts.items())]

    def newest_receipts(self) -> list[bytes]:
        """Return the sealed receipts of the newest epoch that somebody transferred in."""
        return self.receipts_for(self._epoch)

    async def _answer(self, stream: RequestStream) -> None:
        network = self._node.watcher.view.network
        data = await stream.receive(TransferRequest.MAX_BYTES + ENVELOPE_OVERHEAD)
        verified = open_envelope(data, TransferRequest, network, signer=stream.peer)
        request = verified.message
        window = self._judge(request, verified.signer)
        if request.epoch > self._epoch:
            self._epoch = request.epoch
            self._served.clear()
            self._receipts.clear()
        self._served.add(request.seat)
        until = self._node.clock.deadline(TimeMs(window.end + CLOCK_DISPARITY_MS))
        transfer = compute_message_digest(verified.body)
        down, up, sealed = await self._answer_pieces(stream, transfer, until)
        receipt = open_envelope(sealed, TransferReceipt, network, signer=stream.peer)
        self._check_receipt(request, receipt.message, down, up)
        if request.epoch == self._epoch:
            self._receipts[request.seat] = sealed
        logger.info(
            "epoch %d seat %d: receipt for %d bytes down, %d up",
            request.epoch,
            request.seat,
            receipt.message.down_bytes,
            receipt.message.up_bytes,
        )

    def _judge(self, request: TransferRequest, signer: NodeKey) -> TransferWindow:
        """Find the window of a transfer that is taken: by a seat's holder, in time, once."""
        node = self._node
        view = node.watcher.view.epochs.get(request.epoch)
        if view is None or view.epoch != node.watcher.current_epoch():
            raise TransferRefused("transfer out of its window")
        if (request.provider, request.shard) != (self._provider, self._provider // LANES):
            raise TransferRefused("transfer with another provider")
        checker = view.seated(request.shard, request.seat)
        if checker is None or (checker.index, checker.node_key) != (request.checker, signer):
            raise TransferRefused("transfer by nobody of the committee")
        window, now = find_window(view, node.watcher.timeline, self._provider), node.clock.now()
        if window is None or not (
            window.start - CLOCK_DISPARITY_MS <= now < window.end + CLOCK_DISPARITY_MS
        ):
            raise TransferRefused("transfer out of its window")
        if request.epoch == self._epoch and request.seat in self._served:
            raise TransferRefused("transfer made before")
        if self._leased():
            raise TransferRefused("transfer while leased")
        return window

    async def _answer_pieces(
        self, stream: RequestStream, transfer: Digest, until: float
    ) -> tuple[int, int, bytes]:
        """Answer until something comes that is neither piece nor seed.

        Returns the pieces received and sent, and what came: the receipt, if all is well.
        """
        most = count_pieces(self._node.preset)
        down = up = 0
        while True:
            data = await stream.receive(PIECE_BYTES, within=_left(until))
            if len(data) == PIECE_BYTES and down < most:
                answer: bytes = compute_piece_digest(transfer, down, data)
                down += 1
            elif len(data) == SEED_BYTES and up < most:
                (answer,) = expand_pieces([data])
                up += 1
            else:
                return down, up, data
            await stream.send(answer, within=_left(until))

    def _check_receipt(
        self, request: TransferRequest, receipt: TransferReceipt, down: int, up: int
    ) -> None:
        """Take no receipt of anything else, nor one that says more than is true."""
        for name in ("epoch", "shard", "seat", "checker", "provider"):
            if getattr(receipt, name) != getattr(request, name):
                raise MalformedError("receipt of another transfer", name)
        if receipt.down_bytes > down * PIECE_BYTES or receipt.up_bytes > up * PIECE_BYTES:
            raise MalformedError("receipt of more than was transferred")


def _left(until: float) -> float:
    return max(until - trio.current_time(), 0.001)
