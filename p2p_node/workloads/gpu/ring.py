"""The ring: the rows of C of a job's last rounds, and the fill of the memory proof."""

from collections.abc import Iterator
from dataclasses import dataclass

from p2p_node.workloads.backend import DeviceMemoryError
from p2p_node.workloads.gpu.runtime import Buffer, Runtime
from p2p_node.workloads.gpu.sizing import MIN_SLOTS, Plan


@dataclass(frozen=True, slots=True)
class Run:
    """Rounds that lie end to end: the first of them is number `first` of what was asked for."""

    address: int
    first: int
    slots: int


class Ring:
    """Slots of m rows each; round t is in slot t mod `slots`.

    Memory is taken in segments, when their first slot is about to be used: by then the device has
    rounds to go on with, and the time that it takes is not lost. Where memory turns out to be
    short, the ring is as large as what there was, from MIN_SLOTS upwards.
    """

    def __init__(self, runtime: Runtime, plan: Plan) -> None:
        self._runtime = runtime
        self._plan = plan
        self._segments: list[Buffer] = []
        self._slots = plan.slots
        self._reserved = 0

    @property
    def slots(self) -> int:
        """Rounds that it holds; may become less until the first slot is used again."""
        return self._slots

    def reserve(self, round_number: int) -> None:
        """Have memory for a round; rounds are asked for in order. Raises DeviceMemoryError when
        there is not even enough for MIN_SLOTS."""
        while self._reserved <= min(round_number, self._slots - 1):
            count = min(self._plan.segment_slots, self._slots - self._reserved)
            try:
                self._segments.append(self._runtime.allocate(count * self._plan.slot))
            except DeviceMemoryError:
                # Somebody else took what was free a moment ago.
                if self._reserved < MIN_SLOTS:
                    raise
                self._slots = self._reserved
            else:
                self._reserved += count

    def locate(self, round_number: int, row: int = 0) -> int:
        """Address of a row of a round that is in the ring."""
        segment, slot = divmod(round_number % self._slots, self._plan.segment_slots)
        start = self._segments[segment].address + slot * self._plan.slot
        return start + row * self._plan.shape.row_bytes

    def split(self, first_round: int, rounds: int, most: int) -> Iterator[Run]:
        """Cut consecutive rounds into runs of at most `most` that lie end to end."""
        done = 0
        while done < rounds:
            slot = (first_round + done) % self._slots
            in_segment = self._plan.segment_slots - slot % self._plan.segment_slots
            count = min(most, rounds - done, in_segment, self._slots - slot)
            yield Run(self.locate(slot), done, count)
            done += count

    def free(self) -> None:
        """Give all of it back. May be called twice."""
        for segment in self._segments:
            segment.free()
