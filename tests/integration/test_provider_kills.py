"""kill -9 on providers between their commitments and their openings: slow, no fraud, and back.

Stages begin at fixed moments: commitments have arrived, or will not, when the time beyond the
work's window is over, and nothing is opened before the stages of passes and chains are. Three
providers are killed in between. Where a busy machine was late for all of them, as the checker's
verdicts tell, it is tried once more in a later slot.
"""

import re
import time
from pathlib import Path

import pytest
import trio

from chain.client import ChainClient
from chain.deployment import Deployment, read_deployment
from chain.records import SlotKind
from chain.rpc import Rpc
from p2p_node.keystore import read_wallet_address
from protocols.epochs import Timeline
from protocols.types import Epoch, Seat, TimeMs
from tests.integration.network import LocalNetwork, run_network

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

PROVIDERS = ("provider-1", "provider-2", "provider-3")
CHECKERS = 4
APART_MS = 80
"""Between two kills."""

FIRST_MS = 450
"""From the end of the work's window to the first kill."""


def test_provider_killed_after_its_commitment_is_slow_and_comes_back(tmp_path: Path) -> None:
    arguments = ("--checkers", str(CHECKERS), "--providers", "3", "--epochs", "3")
    with run_network(tmp_path, *arguments) as network:
        network.wait_for_line("are counted", 120)
        found = re.search(r"epochs (\d+) … (\d+) are counted", network.output())
        assert found is not None
        killed_in = Epoch(int(found.group(1)) + 1)
        deployment = read_deployment(network.data / "deployment.json")
        indices = trio.run(read_indices, network, deployment)
        timeline = Timeline(TimeMs(deployment.genesis * 1000), deployment.preset)
        verdicts = kill_all(network, timeline, indices, killed_in, Seat(0), FIRST_MS)
        if "SLOW" not in verdicts:
            shift = APART_MS if verdicts.count("ABSENT") > 1 else -2 * APART_MS
            verdicts += kill_all(network, timeline, indices, killed_in, Seat(2), FIRST_MS + shift)
        result = network.finish(150)
        logs = {name: network.log(name) for name in PROVIDERS}
        seen = "".join(network.log(f"checker-{number + 1}") for number in range(CHECKERS))
    # One that was late has been through with its job.
    assert set(verdicts) <= {"SLOW", "ABSENT", "OK"}
    assert "SLOW" in verdicts, "committed, and never opened"
    assert " WRONG " not in seen
    assert result["balances_ok"], network.output()
    before, _, after = ({p["name"]: p for p in epoch["providers"]} for epoch in result["epochs"])
    for name in PROVIDERS:
        assert before[name]["score"] > 0, network.output()
        # Machines that run tests are shared: half is within the tolerance of reports.
        assert 3 * after[name]["score"] > before[name]["score"], "scored as before"
        assert "Traceback" not in logs[name]
    deaths = [line for line in result["problems"] if "provider" in line]
    assert deaths, "they were killed"
    assert all("SIGKILL" in line for line in deaths), deaths


def kill_all(
    network: LocalNetwork,
    timeline: Timeline,
    indices: dict[str, int],
    epoch: Epoch,
    seat: Seat,
    after_ms: int,
) -> list[str]:
    """Kill every provider during its job with one seat; return that checker's verdicts."""
    moment = timeline.slot_start(epoch, seat) + timeline.preset.window_ms + after_ms
    for position, name in enumerate(PROVIDERS):
        network.wait_for(lambda name=name: network.pid(name), f"{name} up", 60)
        wait_until_clock(moment + position * APART_MS)
        network.kill(name)
    return [
        str(
            network.wait_for(
                lambda name=name: find_verdict(network, epoch, seat, indices[name]),
                f"verdict on {name} by seat {seat} in epoch {epoch}",
                30,
            )
        )
        for name in PROVIDERS
    ]


def find_verdict(network: LocalNetwork, epoch: Epoch, seat: Seat, provider: int) -> str | None:
    """What the checker of a seat made of a provider, as soon as it has said so in its log."""
    pattern = re.compile(rf"epoch {epoch} seat {seat} provider {provider}: ([A-Z]+)\b")
    for number in range(CHECKERS):
        found = pattern.search(network.log(f"checker-{number + 1}"))
        if found:
            return found.group(1)
    return None


def wait_until_clock(moment_ms: int) -> None:
    """Sleep to a moment of the network's calendar, which must not be over."""
    left = moment_ms / 1000 - time.time()
    assert left > -1, f"{-left:.1f} s too late"
    while time.time() < moment_ms / 1000:
        time.sleep(0.01)


async def read_indices(network: LocalNetwork, deployment: Deployment) -> dict[str, int]:
    """The slots of the providers."""
    rpc = Rpc((network.data / "devchain.url").read_text().strip())
    try:
        chain = ChainClient(rpc, deployment)
        found = {}
        for name in PROVIDERS:
            index = await chain.slot_index(
                SlotKind.PROVIDER, read_wallet_address(network.data / name)
            )
            assert index is not None
            found[name] = index
    finally:
        rpc.close()
    return found
