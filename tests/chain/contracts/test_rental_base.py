"""No score of a leased epoch ever becomes the base of a lease.

Such a score is up to four times what was proved; as a base it would be four times that the next
time, and so on, without any machine.
"""

import pytest

from tests.chain.contracts.renting import LEAST, build_market
from tests.chain.contracts.world import GRACE_SECONDS

PROVED, LEASED = 9, 36


@pytest.mark.parametrize("seconds", [1, GRACE_SECONDS - 1, GRACE_SECONDS, 2 * GRACE_SECONDS])
@pytest.mark.parametrize("after", range(1, 9))
def test_a_leased_score_is_no_base(after: int, seconds: int) -> None:
    """However long after the lease's last epoch, and however far into the epoch: also while the
    epoch before is still in its grace, and one more counts as closed last."""
    market = build_market()
    market.offer("provider 0")
    market.net.enter(3, GRACE_SECONDS)
    market.report(2, scores=[PROVED, 1])
    market.start(seconds=LEAST)
    ended = market.epoch
    market.report(ended, scores=[LEASED, 1])
    market.net.enter(ended + after, seconds)

    found = market.lease(market.start(seconds=LEAST)).base

    assert found.score in (PROVED, 0)
    # Behind the lease there are scores, but none of its own; or it is still too near.
    assert found.score == PROVED or after >= 5


def test_a_score_behind_a_lease_is_its_successors_base() -> None:
    market = build_market()
    market.offer("provider 0")
    market.net.enter(3, GRACE_SECONDS)
    market.report(2, scores=[PROVED])
    market.start(seconds=LEAST)
    ended = market.epoch
    market.report(ended, scores=[LEASED])
    market.report(ended + 1, scores=[PROVED + 1])
    market.net.enter(ended + 5, GRACE_SECONDS)

    assert market.lease(market.start(seconds=LEAST)).base.score == PROVED + 1
