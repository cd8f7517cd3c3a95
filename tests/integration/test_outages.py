"""The only endpoint is away for 30 s, more than an epoch, from each phase on.

The epoch settles or is cleanly skipped; afterwards epochs settle again, and nothing is stuck. Every
phase is tried with KAISAR_FULL.
"""

from pathlib import Path

import pytest

from p2p_node.keystore import read_wallet_address
from protocols.epochs import Phase
from tests import require
from tests.chain.tcp_proxy import TcpProxy, proxied
from tests.integration.anvil import RunningAnvil, anvil_running
from tests.integration.network import LocalNetwork, run_network, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

OUTAGE_SECONDS = 30
EPOCHS_EACH = 3
"""One is cut, the next one lacks its beginning, and the third is whole."""

PHASES = tuple(Phase) if require.is_full() else (Phase.CHECK,)
"""Nine minutes for all of them, two and a half for one."""


def test_epochs_settle_again(tmp_path: Path) -> None:
    count = EPOCHS_EACH * len(PHASES) + 1
    arguments = ("--checkers", "4", "--providers", "2", "--epochs", str(count), "--allow-skipped")
    with (
        anvil_running(2) as anvil,
        proxied(anvil.url) as line,
        run_network(tmp_path, "--rpc", line.url, *arguments) as network,
    ):
        first = network.first_epoch()
        for number, phase in enumerate(PHASES):
            epoch = first + EPOCHS_EACH * number
            network.wait_for_line(f"epoch {epoch}: {phase.value}", 120)
            cut(network, line)
        result = network.finish(300)
        logs = network.logs()
        stuck = find_stuck(network, anvil)
    assert result["balances_ok"], network.output()
    assert result["ok"], network.output()
    settled = {each["epoch"] for each in result["epochs"] if each["bundles"]}
    for number, phase in enumerate(PHASES):
        whole = first + EPOCHS_EACH * number + EPOCHS_EACH - 1
        if phase is Phase.BUNDLE:
            # Here the line comes back in the middle of the third.
            whole += 1
        assert whole in settled, f"after the outage from {phase.value} on: {network.output()}"
    assert stuck == []
    assert "Traceback" not in logs
    assert not [problem for problem in result["problems"] if "ended" in problem], result["problems"]


def cut(network: LocalNetwork, line: TcpProxy) -> None:
    line.cut()
    try:
        ended = wait_until(lambda: network.process.poll() is not None, OUTAGE_SECONDS)
        assert not ended, network.output()
    finally:
        line.restore()


def find_stuck(network: LocalNetwork, anvil: RunningAnvil) -> list[str]:
    """List the nodes that have a transaction outside the chain, though blocks go on."""
    stuck = []
    for directory in sorted(network.data.glob("*-*")):
        if not (directory / "wallet.json").exists():
            continue
        wallet = "0x" + read_wallet_address(directory).hex()
        counts = [anvil.request("eth_getTransactionCount", wallet, tag) for tag in _TAGS]
        if counts[0] != counts[1]:
            stuck.append(directory.name)
    return stuck


_TAGS = ("latest", "pending")
