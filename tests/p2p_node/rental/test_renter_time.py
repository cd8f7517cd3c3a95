"""The end of a lease is announced in time, moves with an extension, and ends what uses it."""

from dataclasses import replace

import pytest
import trio

from chain.errors import UnavailableError
from p2p_node.cli.rent_common import RentError, describe_unusable, warn_of_end
from protocols.leases import Lease, LeaseState
from tests.p2p_node.rental.test_renter_receipts import LEASE

START = LEASE.started_at
HOUR = replace(LEASE, seconds=3600)


class Clock:
    """Says what is said with the second at which it was, and is the chain as well."""

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.said: list[tuple[int, str]] = []
        self.start = trio.current_time()
        self.is_down = False

    def now(self) -> float:
        return START + trio.current_time() - self.start

    def say(self, text: str) -> None:
        self.said.append((round(self.now() - START), text))

    async def read(self, lease_id: int) -> Lease:
        assert lease_id == self.lease.id
        if self.is_down:
            raise UnavailableError("no answer")
        return self.lease

    async def until_over(self) -> None:
        with pytest.raises(RentError, match="is over"):
            await warn_of_end(self.read, HOUR, self.say, self.now)


@pytest.mark.parametrize("is_down", [False, True])
async def test_warnings_come_when_they_are_due(autojump_clock: object, is_down: bool) -> None:
    clock = Clock(HOUR)
    clock.is_down = is_down
    await clock.until_over()
    assert [moment for moment, _ in clock.said] == [3000, 3540]
    assert "ends in 10 min" in clock.said[0][1]
    assert "`kaisar rent extend 5 --hours N`" in clock.said[0][1]
    assert clock.now() >= START + 3600


async def test_an_extension_moves_them(autojump_clock: object) -> None:
    clock = Clock(HOUR)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(clock.until_over)
        await trio.sleep(3550)
        clock.lease = replace(HOUR, seconds=7200)
    assert [moment for moment, _ in clock.said] == [3000, 3540, 6600, 7140]


async def test_an_early_end_is_seen(autojump_clock: object) -> None:
    clock = Clock(HOUR)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(clock.until_over)
        await trio.sleep(100)
        clock.lease = replace(HOUR, state=LeaseState.ENDED, ended_at=START + 100)
    assert clock.said == []
    assert clock.now() < START + 140


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, None),
        ({"state": LeaseState.RESERVED, "started_at": 0}, "`kaisar rent reclaim`"),
        ({"seconds": 60}, "its time is over since 1 min"),
        ({"state": LeaseState.RECLAIMED, "started_at": 0}, "never began"),
        ({"state": LeaseState.SETTLED, "ended_at": START + 110}, "it was ended 10 s ago"),
    ],
)
def test_why_a_lease_cannot_be_used(change: dict[str, object], said: str | None) -> None:
    problem = describe_unusable(replace(LEASE, **change), START + 120)  # type: ignore[arg-type]
    assert (problem is None) if said is None else (problem is not None and said in problem)
