"""The machine's identity: tried a few times, counted, and never in the way."""

import logging

import pytest
import trio
from trio.testing import MockClock

from chain.errors import ExpiredError, QueueFullError, RevertedError
from chain.identity import IdentityError, IdentityKind, MachineIdentity
from p2p_node.duties.identifying import (
    ATTEMPTS,
    COUNTED_AS,
    PAUSE_SECONDS,
    MachineSettings,
    identify,
)
from p2p_node.net.counters import Counters

FOUND = MachineIdentity("did:peaq:7", was_there=False)


class Keeper:
    """Fails with what it was given, in turn, then succeeds."""

    def __init__(self, *failures: Exception) -> None:
        self._failures = list(failures)
        self.calls: list[tuple[str, float, tuple[int, ...]]] = []

    async def ensure_did(self, *, deadline: float) -> MachineIdentity:
        return self._answer("did")

    async def ensure_machine(
        self, *, tier: int, most_bond: int, deadline: float
    ) -> MachineIdentity:
        return self._answer("machine", tier, most_bond)

    def _answer(self, name: str, *arguments: int) -> MachineIdentity:
        self.calls.append((name, trio.current_time(), arguments))
        if self._failures:
            raise self._failures.pop(0)
        return FOUND


async def test_nothing_is_done_unless_asked_for() -> None:
    keeper = Keeper()
    await identify(keeper, MachineSettings(), Counters())
    assert keeper.calls == []


async def test_each_kind_goes_its_way(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    keeper, counters = Keeper(), Counters()
    await identify(keeper, MachineSettings(IdentityKind.DID), counters)
    await identify(keeper, MachineSettings(IdentityKind.MACHINE, 2, 55), counters)
    assert [(name, arguments) for name, _, arguments in keeper.calls] == [
        ("did", ()),
        ("machine", (2, 55)),
    ]
    assert "did:peaq:7 is now registered" in caplog.text
    assert not counters.refused


async def test_a_failure_is_told_counted_and_tried_again(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    keeper = Keeper(IdentityError("bond too high", "found 5"), ExpiredError("activation"))
    counters = Counters()
    started = trio.current_time()
    await identify(keeper, MachineSettings(IdentityKind.MACHINE), counters)
    assert [when - started for _, when, _ in keeper.calls] == [0, PAUSE_SECONDS, 2 * PAUSE_SECONDS]
    assert counters.refused == {
        (COUNTED_AS, "bond too high"): 1,
        (COUNTED_AS, "transaction expired"): 1,
    }
    assert "attempt 1 of 3: bond too high: found 5; the node goes on without it" in caplog.text


async def test_it_gives_up(autojump_clock: MockClock) -> None:
    keeper = Keeper(*(RevertedError(3, "execution reverted", None) for _ in range(9)))
    counters = Counters()
    await identify(keeper, MachineSettings(IdentityKind.DID), counters)
    assert len(keeper.calls) == ATTEMPTS
    assert counters.refused == {(COUNTED_AS, "reverted"): ATTEMPTS}


async def test_a_full_queue_is_no_reason_to_end(autojump_clock: MockClock) -> None:
    keeper, counters = Keeper(QueueFullError("64 wait")), Counters()
    await identify(keeper, MachineSettings(IdentityKind.DID), counters)
    assert len(keeper.calls) == 2
    assert counters.refused == {(COUNTED_AS, "local error"): 1}
