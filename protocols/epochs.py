"""Integer arithmetic between the chain's time and epochs, phases and lockstep slots."""

from dataclasses import dataclass
from enum import Enum

from protocols.errors import LocalError
from protocols.params import Preset
from protocols.types import Epoch, Seat, TimeMs

MAX_TRANSFER_WINDOW_MS = 2_000
"""A provider's part of the transfer phase is at most this long, however few providers there are.
Longer ones would only cost bytes: a stage of most of a second outlasts the start of a transfer."""

_SLACK_PART = 16


class Phase(Enum):
    """Where in its epoch a moment lies; each phase ends at a deadline."""

    DRAW = "draw"
    TRANSFER = "transfer"
    CHECK = "check"
    COMMIT = "commit"
    REVEAL = "reveal"
    BUNDLE = "bundle"


@dataclass(frozen=True, slots=True)
class TransferWindow:
    """When one provider transfers with its whole committee: first down to it, then up from it.

    Each half has a stage of its length less a sixteenth of the window; only what arrives within
    its stage counts. The rest is left for what is still under way, and for the receipt.
    """

    start: TimeMs
    """The stage down begins."""
    end: TimeMs
    """Everything is over, receipts included."""

    @property
    def stage_ms(self) -> int:
        """Length of each of the two stages, the time that bytes are divided by. At least 1."""
        length = self.end - self.start
        return max(1, length // 2 - length // _SLACK_PART)

    @property
    def down_end(self) -> TimeMs:
        """The stage down is over."""
        return TimeMs(self.start + self.stage_ms)

    @property
    def up_start(self) -> TimeMs:
        """The stage up begins: in the middle, at the same moment for all checkers."""
        return TimeMs(self.start + (self.end - self.start) // 2)

    @property
    def up_end(self) -> TimeMs:
        """The stage up is over."""
        return TimeMs(self.up_start + self.stage_ms)


@dataclass(frozen=True, slots=True)
class Timeline:
    """The calendar of one deployment: genesis (Unix ms) and the lengths of its preset."""

    genesis_ms: TimeMs
    preset: Preset

    def epoch_at(self, now: TimeMs) -> Epoch:
        """Return the epoch that `now` lies in; LocalError before the genesis."""
        if now < self.genesis_ms:
            raise LocalError(f"time {now} lies before the genesis {self.genesis_ms}")
        return Epoch((now - self.genesis_ms) // self.preset.epoch_ms)

    def start_of(self, epoch: Epoch) -> TimeMs:
        """First millisecond of `epoch`."""
        return TimeMs(self.genesis_ms + epoch * self.preset.epoch_ms)

    def transfer_start(self, epoch: Epoch) -> TimeMs:
        """When the first provider's transfers begin."""
        return TimeMs(self.start_of(epoch) + self.preset.draw_ms)

    def transfer_window(self, epoch: Epoch, rank: int, count: int) -> TransferWindow:
        """When the provider with this rank among the `count` active ones of its shard transfers.

        LocalError unless 0 ≤ rank < count.
        """
        if not 0 <= rank < count:
            raise LocalError(f"provider {rank} of {count}")
        length = min(self.preset.transfer_ms // count, MAX_TRANSFER_WINDOW_MS)
        start = self.transfer_start(epoch) + rank * length
        return TransferWindow(TimeMs(start), TimeMs(start + length))

    def check_start(self, epoch: Epoch) -> TimeMs:
        """When the first lockstep slot opens."""
        return TimeMs(self.transfer_start(epoch) + self.preset.transfer_ms)

    def slot_start(self, epoch: Epoch, seat: Seat) -> TimeMs:
        """When the slot of `seat` opens."""
        return TimeMs(self.check_start(epoch) + seat * self.preset.slot_ms)

    def slot_end(self, epoch: Epoch, seat: Seat) -> TimeMs:
        """When the slot of `seat` is over."""
        return TimeMs(self.slot_start(epoch, seat) + self.preset.slot_ms)

    def commit_start(self, epoch: Epoch) -> TimeMs:
        """When commitments to reports may be published."""
        return TimeMs(self.check_start(epoch) + self.preset.check_ms)

    def reveal_start(self, epoch: Epoch) -> TimeMs:
        """When reports may be published, and no more commitments."""
        return TimeMs(self.commit_start(epoch) + self.preset.commit_ms)

    def bundle_start(self, epoch: Epoch) -> TimeMs:
        """When rank 0 may send the bundle."""
        return TimeMs(self.reveal_start(epoch) + self.preset.reveal_ms)

    def bundle_end(self, epoch: Epoch) -> TimeMs:
        """When the contract stops taking bundles of `epoch`, which is then closed."""
        return TimeMs(self.start_of(Epoch(epoch + 1)) + self.preset.grace_seconds * 1000)

    def phase_at(self, now: TimeMs) -> Phase:
        """Return the phase that `now` lies in."""
        epoch = self.epoch_at(now)
        if now < self.transfer_start(epoch):
            return Phase.DRAW
        if now < self.check_start(epoch):
            return Phase.TRANSFER
        if now < self.commit_start(epoch):
            return Phase.CHECK
        if now < self.reveal_start(epoch):
            return Phase.COMMIT
        if now < self.bundle_start(epoch):
            return Phase.REVEAL
        return Phase.BUNDLE
