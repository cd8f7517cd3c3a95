"""Integer arithmetic between the chain's time and epochs, phases and lockstep slots."""

from dataclasses import dataclass
from enum import Enum

from protocols.errors import LocalError
from protocols.params import Preset
from protocols.types import Epoch, Seat, TimeMs


class Phase(Enum):
    """Where in its epoch a moment lies; each phase ends at a deadline."""

    DRAW = "draw"
    CHECK = "check"
    REVEAL = "reveal"
    BUNDLE = "bundle"


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

    def check_start(self, epoch: Epoch) -> TimeMs:
        """When the first lockstep slot opens."""
        return TimeMs(self.start_of(epoch) + self.preset.draw_ms)

    def slot_start(self, epoch: Epoch, seat: Seat) -> TimeMs:
        """When the slot of `seat` opens."""
        return TimeMs(self.check_start(epoch) + seat * self.preset.slot_ms)

    def slot_end(self, epoch: Epoch, seat: Seat) -> TimeMs:
        """When the slot of `seat` is over."""
        return TimeMs(self.slot_start(epoch, seat) + self.preset.slot_ms)

    def reveal_start(self, epoch: Epoch) -> TimeMs:
        """When reports may be published."""
        return TimeMs(self.check_start(epoch) + self.preset.check_ms)

    def bundle_start(self, epoch: Epoch) -> TimeMs:
        """When rank 0 may send the bundle."""
        return TimeMs(self.reveal_start(epoch) + self.preset.reveal_ms)

    def bundle_end(self, epoch: Epoch) -> TimeMs:
        """When the contract stops taking bundles of `epoch`, which is then closed."""
        return TimeMs(self.start_of(Epoch(epoch + 1)) + self.preset.grace_seconds * 1000)

    def phase_at(self, now: TimeMs) -> Phase:
        """Return the phase that `now` lies in."""
        epoch = self.epoch_at(now)
        if now < self.check_start(epoch):
            return Phase.DRAW
        if now < self.reveal_start(epoch):
            return Phase.CHECK
        if now < self.bundle_start(epoch):
            return Phase.REVEAL
        return Phase.BUNDLE
