"""Claims: what is due, once, in parts that a transaction takes, closing first what has to be."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock

from chain.calls import MAX_CLAIMS, MAX_CLOSED
from chain.errors import FailedError
from chain.records import Call
from p2p_node.clock import Clock
from p2p_node.duties.claiming import claim_forever
from p2p_node.node import Node
from protocols.epochs import Timeline
from protocols.messages import Role
from protocols.params import MINIMAL
from protocols.types import Epoch, Seat, Shard, TimeMs

TIMELINE = Timeline(TimeMs(0), MINIMAL)
INDEX = 3
SHARD, SEAT = Shard(1), Seat(2)


class Till:
    """Pays what is claimed; epochs before `open_epoch` are closed."""

    def __init__(self, now: Epoch, *, open_epoch: int | None = None) -> None:
        self.open_epoch = now - 1 if open_epoch is None else open_epoch
        self.paid: set[Epoch] = set()
        self.unearned: set[Epoch] = set()
        self.claims: list[list[Any]] = []
        self.closings = 0
        self.failures = 0
        self.recorded: set[Epoch] = set()
        self.clock = Clock(started_at=TimeMs(TIMELINE.bundle_end(Epoch(now - 1)) + 1))
        self.node = cast(
            "Node",
            SimpleNamespace(
                clock=self.clock,
                preset=MINIMAL,
                chain=self,
                calls=SimpleNamespace(
                    claim_provider=lambda index, epochs: ("claim", list(epochs)),
                    claim_checker=lambda index, items: ("claim", list(items)),
                    close_epochs=lambda: ("close", []),
                ),
                transactions=SimpleNamespace(execute=self._execute),
                store=self,
                watcher=SimpleNamespace(
                    timeline=TIMELINE,
                    current_epoch=lambda: TIMELINE.epoch_at(self.clock.now()),
                ),
            ),
        )

    # The chain.

    async def is_closed(self, epoch: Epoch) -> bool:
        return TIMELINE.bundle_end(epoch) <= self.clock.now()

    async def next_open_epoch(self) -> Epoch:
        return Epoch(self.open_epoch)

    async def provider_reward(self, index: int, epoch: Epoch) -> int:
        assert epoch < self.open_epoch + MAX_CLOSED, "cannot be told before more is closed"
        return 0 if epoch in self.unearned else 5

    async def provider_claimed(self, index: int, epoch: Epoch) -> bool:
        return epoch in self.paid

    async def checker_reward(self, index: int, epoch: Epoch, shard: Shard, seat: Seat) -> int:
        assert (index, shard, seat) == (INDEX, SHARD, SEAT)
        return 0 if epoch in self.unearned else 5

    async def checker_claimed(self, index: int, epoch: Epoch, shard: Shard) -> bool:
        assert (index, shard) == (INDEX, SHARD)
        return epoch in self.paid

    # The store.

    async def claimed_epochs(self) -> frozenset[Epoch]:
        return frozenset(self.recorded)

    async def record_claims(self, epochs: list[Epoch]) -> None:
        self.recorded |= set(epochs)

    async def own_seats(self, epoch: Epoch) -> list[tuple[Shard, Seat]]:
        return [(SHARD, SEAT)]

    async def _execute(self, call: Call, **_: object) -> Any:
        if self.failures:
            self.failures -= 1
            raise FailedError("claim", bytes(32), None)
        what, items = cast("Any", call)
        if what == "close":
            self.closings += 1
            self.open_epoch += MAX_CLOSED
        else:
            assert 1 <= len(items) <= MAX_CLAIMS
            self.claims.append(items)
            self.paid |= {each[0] if isinstance(each, tuple) else each for each in items}
        return SimpleNamespace(gas_used=1)

    async def run(self, role: Role, joined: int, seconds: float) -> None:
        with trio.move_on_after(seconds):
            await claim_forever(self.node, role, INDEX, Epoch(joined))


@pytest.mark.parametrize("role", list(Role))
async def test_what_was_missed_is_claimed_in_one_go(autojump_clock: MockClock, role: Role) -> None:
    till = Till(Epoch(10))
    till.paid, till.unearned = {Epoch(6)}, {Epoch(8)}
    await till.run(role, 5, 1)
    due = [5, 7, 9]
    expected = due if role is Role.PROVIDER else [(epoch, SHARD, SEAT) for epoch in due]
    assert till.claims == [expected]
    assert till.closings == 0, "the claim closes what it needs"
    assert till.recorded == {5, 6, 7, 8, 9}


async def test_each_epoch_is_claimed_when_it_is_closed(autojump_clock: MockClock) -> None:
    till = Till(Epoch(10))
    await till.run(Role.PROVIDER, 9, 2 * MINIMAL.epoch_seconds + 1)
    assert till.claims == [[9], [10], [11]]


async def test_a_claim_that_fails_is_made_again(autojump_clock: MockClock) -> None:
    till = Till(Epoch(10))
    till.failures = 2
    await till.run(Role.PROVIDER, 9, 10)
    assert till.claims == [[9]]


async def test_more_epochs_than_a_claim_closes_are_closed_first(autojump_clock: MockClock) -> None:
    till = Till(Epoch(200), open_epoch=1)
    await till.run(Role.PROVIDER, 0, 1)
    assert till.closings == 3
    # No further back than the ring, and in parts that one transaction takes.
    first = 200 - MINIMAL.ring_epochs + 2
    assert [epoch for claim in till.claims for epoch in claim] == list(range(first, 200))
