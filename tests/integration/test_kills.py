"""kill -9 in every phase: the epoch settles with the quorum that is left, nobody equivocates.

Six checkers fill six seats and four make a quorum, so in each epoch two can go: the one that
would send the bundle, and another.
"""

import re
import time
from pathlib import Path

import pytest
import trio

from chain.client import ChainClient
from chain.deployment import read_deployment
from chain.records import SlotKind
from chain.rpc import Rpc
from p2p_node.keystore import read_wallet_address
from protocols.committee import compute_committee, compute_transmission_order
from protocols.epochs import Timeline
from protocols.types import Epoch, Shard, TimeMs
from tests.integration.network import LocalNetwork, run_network

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

CHECKERS = 6

PHASES = (Timeline.check_start, Timeline.commit_start, Timeline.bundle_start)

INTO_MS = 700
"""How far into the phase they are killed: a report is signed by then, and committed to."""

SHARD = Shard(0)


def test_epoch_settles_without_the_killed(tmp_path: Path) -> None:
    killed: dict[int, list[str]] = {}
    arguments = ("--checkers", str(CHECKERS), "--providers", "2", "--epochs", "4")
    with run_network(tmp_path, *arguments) as network:
        network.wait_for_line("are counted", 120)
        found = re.search(r"epochs (\d+) … (\d+) are counted", network.output())
        assert found is not None
        first = int(found.group(1))
        deployment = read_deployment(network.data / "deployment.json")
        timeline = Timeline(TimeMs(deployment.genesis * 1000), deployment.preset)
        for offset, begins in enumerate(PHASES):
            epoch = Epoch(first + offset)
            # By the clock: some phases are shorter than the run takes to say that they begin.
            wait_for_moment(network, timeline.check_start(epoch))
            victims = pick_victims(network, epoch)
            wait_for_moment(network, TimeMs(begins(timeline, epoch) + INTO_MS))
            for victim in victims:
                network.kill(victim)
            killed[epoch] = victims
        result = network.finish(240)
        logs = {n: network.log(f"checker-{n}") for n in range(1, CHECKERS + 1)}
    assert result["balances_ok"], network.output()
    assert [len(epoch["bundles"]) for epoch in result["epochs"]] == [1, 1, 1, 1], network.output()
    last = result["epochs"][-1]
    assert all(each["reported"] for each in last["checkers"]), "the restarted report again"
    assert sum(len(victims) for victims in killed.values()) == 6
    for log in logs.values():
        assert "equivocation" not in log
        assert "Traceback" not in log


def wait_for_moment(network: LocalNetwork, moment: TimeMs) -> None:
    """Wait for a moment of the network's calendar."""
    left = moment / 1000 - time.time()
    network.wait_for(lambda: time.time() * 1000 >= moment, f"{moment}", max(1, left + 1))


def pick_victims(network: LocalNetwork, epoch: Epoch) -> list[str]:
    """The checker whose rank it is to send this epoch's bundle, and the one of the last rank."""
    return trio.run(_pick_victims, network, epoch)


async def _pick_victims(network: LocalNetwork, epoch: Epoch) -> list[str]:
    deployment = read_deployment(network.data / "deployment.json")
    rpc = Rpc((network.data / "devchain.url").read_text().strip())
    try:
        chain = ChainClient(rpc, deployment)
        names = {}
        for number in range(1, CHECKERS + 1):
            name = f"checker-{number}"
            wallet = read_wallet_address(network.data / name)
            names[await chain.slot_index(SlotKind.CHECKER, wallet)] = name
        seed = await chain.seed(epoch)
    finally:
        rpc.close()
    committee = compute_committee(seed, SHARD, CHECKERS, deployment.preset.seats)
    order = compute_transmission_order(seed, SHARD, len(committee))
    return [names[committee[order[0]]], names[committee[order[-1]]]]
