"""Follows the chain: head, epochs, members; hands out immutable views of it.

A view is read at one block. While that block is not final, every look at the chain also looks
whether it is still there; if not, seed and members are read again. An epoch whose committees came
out differently starts again as long as its check phase has not begun; after that it is skipped,
because the jobs were done for committees that the contract does not know.

Where the draw phase leaves the time, views are read at the finalised block and cannot change at
all.
"""

import logging
from collections.abc import Sequence
from typing import Protocol

import trio

from chain.client import BlockTag
from chain.errors import ChainError, RefusedError, WrongChainError
from chain.outage import Outage
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

FINAL_DRAW_MS = 45_000
"""Draw phases at least this long wait for finality. On peaq the first block of an epoch comes
within 7 s and is final 21 s later; as much again is left for a slow one, and to read. `mainnet` has
60 s. `testnet` with 20 s and `minimal` with 2 s read the newest block, and look whether it stays
there."""

FINAL_DRAW_PARTS = (3, 4)
"""The part of the draw phase after which the newest block is read, final or not."""

POLLS_PER_EPOCH = 20
"""Head polls per epoch, at most one a second: rare enough for a public endpoint."""


class EpochSource(Protocol):
    """What the watcher reads from the chain."""

    async def head(self, block: BlockTag = "latest") -> Head:
        """Return number, hash and timestamp of a block."""

    async def seed(self, epoch: Epoch, block: BlockTag = "latest") -> Digest:
        """Return the epoch's seed; old ones cannot be had."""

    async def providers(self, block: BlockTag = "latest") -> Sequence[SlotRecord]:
        """Return all provider slots."""

    async def checkers(self, block: BlockTag = "latest") -> Sequence[SlotRecord]:
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
        self._anchor: Head | None = None
        self._looked_at: bytes | None = None
        self._skipped: set[Epoch] = set()
        self.timeline = timeline
        self.head: Head | None = None
        self.view = NetworkView(network, domain, timeline, {})

    @property
    def clock(self) -> Clock:
        """The clock that the epochs are told by."""
        return self._clock

    async def run(self) -> None:
        """Poll until cancelled. An endpoint that fails is tried again at the next poll.

        Raises WrongChainError if the endpoint serves another chain.
        """
        pause = min(1.0, self.timeline.preset.epoch_seconds / POLLS_PER_EPOCH)
        outage = Outage(logger, "the chain is not read")
        while True:
            try:
                await self._poll()
            except WrongChainError:
                raise
            except ChainError as error:
                outage.note(error)
            else:
                outage.end()
            await trio.sleep(pause)

    async def next_view(self, last: Epoch) -> EpochView:
        """Wait for the view of an epoch after `last`, and return the newest.

        Epochs that a long outage of the chain swallowed are left out.
        """
        while max(self._epochs, default=last) <= last:
            await self._changed.wait()
        return self._epochs[max(self._epochs)]

    async def wait_for_replacement(self, view: EpochView) -> EpochView | None:
        """Wait until a reorganisation makes `view` wrong; return what takes its place.

        None when its check phase had begun by then: the epoch is to be skipped.
        """
        while True:
            if view.epoch in self._skipped:
                return None
            newest = self._epochs.get(view.epoch, view)
            if not _is_same_draw(newest, view):
                return newest
            await self._changed.wait()

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
        await self._look_whether_anchor_stands(head)
        epoch = self.timeline.epoch_at(moment)
        # Members are read again when the check phase is over: whoever registered during this
        # epoch is then known, and can announce itself, before it becomes active in the next.
        reading = (epoch, moment >= self.timeline.reveal_start(epoch))
        if self._last_reading is not None and reading <= self._last_reading:
            return
        is_first = self._last_reading is None or self._last_reading[0] < epoch
        block = await self._choose_block(epoch, head) if is_first else head
        if block is None:
            return
        self._keep(await self._read(epoch, block.number))
        self._last_reading = reading
        if is_first:
            # A final block need not be watched.
            self._anchor = head if block is head else None

    def _keep(self, view: EpochView) -> None:
        """Let a view that was read take the place of the one before, and tell everybody."""
        known = self._epochs.get(view.epoch)
        if known is not None and not _is_same_draw(known, view):
            self._note_other_draw(view.epoch)
        self._epochs[view.epoch] = view
        for old in sorted(self._epochs)[:-EPOCHS_KEPT]:
            del self._epochs[old]
            self._skipped.discard(old)
        before = self.view
        self.view = NetworkView(before.network, before.domain, before.timeline, dict(self._epochs))
        self._changed.set()
        self._changed = trio.Event()

    def _note_other_draw(self, epoch: Epoch) -> None:
        if self._clock.now() < self.timeline.check_start(epoch):
            logger.warning("epoch %d: the chain was reorganised, seats are drawn anew", epoch)
        elif epoch not in self._skipped:
            logger.warning(
                "epoch %d: skipped, the chain was reorganised after its checks had begun", epoch
            )
            self._skipped.add(epoch)

    async def _look_whether_anchor_stands(self, head: Head) -> None:
        """Read again what was read at a block that is another one now."""
        anchor = self._anchor
        if anchor is None or head.hash == self._looked_at or head.number < anchor.number:
            # A chain that is shorter for the moment tells nothing: it has to grow past the block.
            return
        there = head if head.number == anchor.number else await self._chain.head(anchor.number)
        if there.hash == anchor.hash:
            self._looked_at = head.hash
            return
        logger.warning("block %d, at which the epoch was read, is another one now", anchor.number)
        # Seeds are settled when their epoch begins, so only the newest two can have changed.
        newest = self.timeline.epoch_at(TimeMs(head.timestamp * 1000))
        for epoch in sorted(self._epochs):
            if newest - 1 <= epoch <= newest:
                self._keep(await self._read(epoch, head.number))
        self._anchor = head
        # An epoch that has not begun again on the new branch is read when it does.
        if self._last_reading is not None and self._last_reading[0] > newest:
            self._last_reading = (newest, True)

    async def _choose_block(self, epoch: Epoch, head: Head) -> Head | None:
        """Choose the block to read an epoch at for the first time; None to wait for a final one."""
        preset, start = self.timeline.preset, self.timeline.start_of(epoch)
        if preset.draw_ms < FINAL_DRAW_MS:
            return head
        part, parts = FINAL_DRAW_PARTS
        if self._clock.now() >= start + preset.draw_ms * part // parts:
            return head
        try:
            final = await self._chain.head("finalized")
        except RefusedError:
            # Not every chain knows the tag.
            return head
        return final if final.timestamp * 1000 >= start else None

    async def _read(self, epoch: Epoch, block: int) -> EpochView:
        seed = await self._chain.seed(epoch, block)
        providers = await self._chain.providers(block)
        checkers = await self._chain.checkers(block)
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
                        stake=slot.scored_stake,
                        joined=Epoch(slot.joined_epoch),
                        exits=Epoch(slot.exit_epoch),
                    )
                )
        return members


def _is_same_draw(one: EpochView, other: EpochView) -> bool:
    """Tell whether two views of an epoch have the same committees and the same providers."""
    return _draw_of(one) == _draw_of(other)


def _draw_of(view: EpochView) -> tuple[object, ...]:
    """What committees are made of; members that join later make no difference."""
    active = [
        [
            (each.index, each.wallet, each.node_key)
            for each in sorted(members.values(), key=_index)
            if each.is_active(view.epoch)
        ]
        for members in (view.checkers, view.providers)
    ]
    return view.seed, view.checker_slots, view.provider_slots, *active


def _index(member: Member) -> int:
    return member.index
