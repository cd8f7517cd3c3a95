"""Reorganisations under a running network: of every depth from 1 to 10 with KAISAR_FULL.

One per epoch, most of them just after its bundle was accepted, when the bundle, contributions to
the seed and claims are among the blocks that are taken back.
"""

from collections import Counter
from pathlib import Path

import pytest
import trio

from chain.client import ChainClient
from chain.deployment import read_deployment
from chain.events import BundleAccepted
from chain.rpc import Rpc
from protocols.epochs import Phase
from protocols.types import Epoch, Shard
from tests import require
from tests.integration.anvil import anvil_running
from tests.integration.network import LocalNetwork, run_network

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

FINALITY = 12
DEPTHS = range(1, 11) if require.is_full() else (10,)
"""Five and a half minutes for all of them, two for the deepest."""
SHARD = Shard(0)

SEEN_BLOCKS = 2
"""After so many seconds every node has looked: what it never saw in a block is not taken back."""

OTHER_MOMENTS = {2: Phase.DRAW, 5: Phase.CHECK, 8: Phase.REVEAL}
"""The depths that do not wait for the bundle, and the phase that they come in."""


def test_no_bundle_is_lost_or_doubled(tmp_path: Path) -> None:
    arguments = ("--checkers", "4", "--providers", "2", "--epochs", str(len(DEPTHS) + 1))
    with (
        anvil_running(FINALITY) as anvil,
        run_network(tmp_path, "--rpc", anvil.url, "--allow-skipped", *arguments) as network,
    ):
        first = network.first_epoch()
        accepted = []
        for epoch, depth in enumerate(DEPTHS, first):
            if depth in OTHER_MOMENTS:
                network.wait_for_line(f"epoch {epoch}: {OTHER_MOMENTS[depth].value}", 60)
            else:
                wait_for_bundle(network, anvil.url, Epoch(epoch))
                accepted.append(epoch)
                if depth > SEEN_BLOCKS:
                    seen = anvil.height() + SEEN_BLOCKS
                    network.wait_for(lambda seen=seen: anvil.height() >= seen, "more blocks", 30)
            anvil.reorganise_now(depth, keeps_transactions=depth % 2 == 0)
        result = network.finish(240)
        logs = network.logs()
        counts = trio.run(count_bundles, network.data, anvil.url)
    assert result["balances_ok"], network.output()
    assert result["ok"], network.output()
    settled = {each["epoch"] for each in result["epochs"] if each["bundles"]}
    assert set(accepted) <= settled, "a bundle was lost"
    assert set(counts.values()) == {1}, "a bundle was doubled"
    assert first + len(DEPTHS) in settled, "nothing goes on afterwards"
    assert "was taken back" in logs
    assert "Traceback" not in logs


def wait_for_bundle(network: LocalNetwork, url: str, epoch: Epoch) -> None:
    network.wait_for_line(f"epoch {epoch}: {Phase.BUNDLE.value}", 60)
    deployment = read_deployment(network.data / "deployment.json")
    rpc = Rpc(url)

    def is_there() -> bool:
        return trio.run(ChainClient(rpc, deployment).has_bundle, epoch, SHARD)

    try:
        network.wait_for(is_there, f"the bundle of epoch {epoch}", 15)
    finally:
        rpc.close()


async def count_bundles(data: Path, url: str) -> Counter[tuple[Epoch, Shard]]:
    """Count the accepted bundles of each epoch and shard, by the chain as it is in the end."""
    deployment = read_deployment(data / "deployment.json")
    rpc = Rpc(url)
    try:
        chain = ChainClient(rpc, deployment)
        events = await chain.events(deployment.block, "latest")
    finally:
        rpc.close()
    return Counter((e.epoch, e.shard) for e, _ in events if isinstance(e, BundleAccepted))
