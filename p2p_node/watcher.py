"""Follows the chain: head, epochs, members; hands out immutable views of it."""

import logging
from collections.abc import Sequence
from typing import Protocol

import trio

from chain.errors import ChainError
from chain.records import Head, SlotRecord
from p2p_node.clock import MAX_DRIFT_MS, Clock
from protocols.epochs import Timeline
from protocols.gossip import NetworkView
from protocols.membership import EpochView, Member, select_members
from protocols.signing import is_binding_valid
from protocols.types import Digest, Epoch, NetworkId, TimeMs, Wallet

logger = logging.getLogger(__name__)

EPOCHS_KEPT = 3
"""This epoch, the one in its grace, and one more for messages that cross the border."""

POLLS_PER_EPOCH = 20
"""Head polls per epoch, at most one a second: rare enough for a public endpoint."""


class EpochSource(Protocol):
    """What the watcher reads from the chain."""

    async def head(self) -> Head:
        """Return number and timestamp of the newest block."""

    async def seed(self, epoch: Epoch) -> Digest:
        """Return the epoch's seed; only this epoch's and the last one's can be had."""

    async def providers(self) -> Sequence[SlotRecord]:
        """Return all provider slots."""

    async def checkers(self) -> Sequence[SlotRecord]:
        """Return all checker slots."""


class Watcher:
    """Keeps the newest `NetworkView`. `run` does the work; everything else only reads."""

    def __init__(
        self,
        chain: EpochSource,
        clock: Clock,
        *,
        network: NetworkId,
        domain: Digest,
        timeline: Timeline,
        chain_id: int,
        registry: Wallet,
    ) -> None:
        self._chain = chain
        self._clock = clock
        self._chain_id = chain_id
        self._registry = registry
        self._epochs: dict[Epoch, EpochView] = {}
        self._bindings: dict[bytes, bool] = {}
        self._changed = trio.Event()
        self._last_reading: tuple[Epoch, bool] | None = None
        self.timeline = timeline
        self.head: Head | None = None
        self.view = NetworkView(network, domain, timeline, {})

    @property
    def clock(self) -> Clock:
        """The clock that the epochs are told by."""
        return self._clock

    async def run(self) -> None:
        """Poll until cancelled. An endpoint that fails is tried again at the next poll."""
        pause = min(1.0, self.timeline.preset.epoch_seconds / POLLS_PER_EPOCH)
        while True:
            try:
                await self._poll()
            except ChainError as error:
                logger.warning("chain not read, next try in %.1f s: %s", pause, error)
            await trio.sleep(pause)

    async def next_view(self, last: Epoch) -> EpochView:
        """Wait for the view of an epoch after `last`, and return the newest.

        Epochs that a long outage of the chain swallowed are left out.
        """
        while max(self._epochs, default=last) <= last:
            await self._changed.wait()
        return self._epochs[max(self._epochs)]

    async def wait_for_change(self) -> None:
        """Wait until another epoch is read or the members change."""
        await self._changed.wait()

    def current_epoch(self) -> Epoch:
        """Return the epoch by the node's clock."""
        return self.timeline.epoch_at(max(self._clock.now(), self.timeline.genesis_ms))

    async def _poll(self) -> None:
        head = await self._chain.head()
        self.head = head
        drift = abs(head.timestamp * 1000 - self._clock.now())
        if drift > MAX_DRIFT_MS:
            logger.warning("newest block is %.1f s away from this clock", drift / 1000)
        moment = TimeMs(head.timestamp * 1000)
        if moment < self.timeline.genesis_ms:
            return
        epoch = self.timeline.epoch_at(moment)
        # Members are read again when the check phase is over: whoever registered during this
        # epoch is then known, and can announce itself, before it becomes active in the next.
        reading = (epoch, moment >= self.timeline.reveal_start(epoch))
        if self._last_reading is not None and reading <= self._last_reading:
            return
        self._epochs[epoch] = await self._read(epoch)
        self._last_reading = reading
        for old in sorted(self._epochs)[:-EPOCHS_KEPT]:
            del self._epochs[old]
        before = self.view
        self.view = NetworkView(before.network, before.domain, before.timeline, dict(self._epochs))
        self._changed.set()
        self._changed = trio.Event()

    async def _read(self, epoch: Epoch) -> EpochView:
        seed = await self._chain.seed(epoch)
        providers = await self._chain.providers()
        checkers = await self._chain.checkers()
        return EpochView(
            epoch=epoch,
            seed=seed,
            seats=self.timeline.preset.seats,
            checker_slots=sum(slot.created_epoch < epoch for slot in checkers),
            provider_slots=sum(slot.created_epoch < epoch for slot in providers),
            checkers=select_members(self._bound(checkers), epoch),
            providers=select_members(self._bound(providers), epoch),
        )

    def _bound(self, slots: Sequence[SlotRecord]) -> list[Member]:
        """Keep the slots whose node key agreed to the wallet; each is checked once."""
        members = []
        for slot in slots:
            identity = slot.node_key + slot.wallet + slot.binding
            if identity not in self._bindings:
                self._bindings[identity] = is_binding_valid(
                    slot.node_key, self._chain_id, self._registry, slot.wallet, slot.binding
                )
                if not self._bindings[identity]:
                    logger.warning("slot %d ignored: its binding is false", slot.index)
            if self._bindings[identity]:
                members.append(
                    Member(
                        index=slot.index,
                        wallet=slot.wallet,
                        node_key=slot.node_key,
                        stake=slot.stake,
                        joined=Epoch(slot.joined_epoch),
                        exits=Epoch(slot.exit_epoch),
                    )
                )
        return members
