"""What a rank does about a bundle that the newest block has, until it is final."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from chain.errors import RefusedError, UnreachableError
from p2p_node.duties.bundle_finality import stays_on_chain
from p2p_node.node import Node
from protocols.membership import EpochView
from protocols.params import MINIMAL
from protocols.types import Epoch, Shard

VIEW = cast("EpochView", SimpleNamespace(epoch=Epoch(3)))
TURN = MINIMAL.rank_delay_ms / 1000


class FakeChain:
    """Has the bundle in the newest block and in the final one as the test has laid it down."""

    def __init__(self, looks: Sequence[tuple[bool, bool]], error: Exception | None = None) -> None:
        self._looks = list(looks)
        self._error = error

    async def has_bundle(self, epoch: Epoch, shard: Shard, block: str = "latest") -> bool:
        is_final, is_there = self._looks[0]
        if block == "finalized":
            if self._error is not None:
                raise self._error
            return is_final
        self._looks.pop(0)
        return is_there


def node_with(chain: FakeChain) -> Node:
    return cast("Node", SimpleNamespace(chain=chain, preset=MINIMAL))


async def seconds_of(chain: FakeChain, rank: int, outcome: bool) -> float:
    started = trio.current_time()
    assert await stays_on_chain(node_with(chain), VIEW, Shard(0), rank) is outcome
    return trio.current_time() - started


async def test_it_is_watched_until_it_is_final(autojump_clock: Any) -> None:
    chain = FakeChain([(False, True), (False, True), (True, True)])
    assert await seconds_of(chain, 1, True) == pytest.approx(2 * TURN / 4)


@pytest.mark.parametrize(("rank", "turns"), [(0, 1), (1, 1), (3, 3)])
async def test_its_sender_gets_time_to_send_it_again(
    autojump_clock: Any, rank: int, turns: int
) -> None:
    chain = FakeChain([(False, True), (False, False)])
    assert await seconds_of(chain, rank, False) == pytest.approx(2 * TURN / 4 + turns * TURN)


async def test_a_chain_that_knows_no_finality(autojump_clock: Any) -> None:
    chain = FakeChain([(False, True)], RefusedError(-32602, "unknown block tag"))
    assert await seconds_of(chain, 0, True) == 0


async def test_an_outage_is_the_callers_business(autojump_clock: Any) -> None:
    chain = FakeChain([(False, True)], UnreachableError("eth_call"))
    with pytest.raises(UnreachableError):
        await stays_on_chain(node_with(chain), VIEW, Shard(0), 0)
