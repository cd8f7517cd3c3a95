"""`kaisar deploy` as a process, on anvil with agung's chain id: killed on its way, continued."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from chain.deployment import read_deployment, verify_deployment
from chain.networks import AGUNG
from chain.rpc import Rpc
from p2p_node.keystore import LIGHT_KDF, PASSWORD_VARIABLE, Keystore
from tests.chain.backends import AnvilBackend, running_anvil

pytestmark = pytest.mark.integration

KEY = bytes(31) + b"\x2a"
SECONDS = 60


@contextmanager
def mining(backend: AnvilBackend) -> Iterator[None]:
    """Blocks in time, as agung makes them, only faster."""
    stop = threading.Event()

    def mine() -> None:
        while not stop.wait(0.1):
            backend.mine()

    clock = threading.Thread(target=mine)
    clock.start()
    try:
        yield
    finally:
        stop.set()
        clock.join()


def start(backend: AnvilBackend, data_dir: Path, out: Path, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "p2p_node", "deploy", "--network", "agung"),
            *("--rpc", backend.url, "--data-dir", str(data_dir), "--out", str(out)),
            *("--reward-fund", "100000", "--json", *words),
        ],
        env=os.environ | {PASSWORD_VARIABLE: "secret"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: "subprocess.Popen[str]") -> tuple[dict[str, object], str]:
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    parsed = json.loads(out)
    assert isinstance(parsed, dict)
    return parsed, err


def test_a_killed_deployment_goes_on_and_keeps_its_addresses(
    data_dir: Path, tmp_path: Path
) -> None:
    wallet = Keystore.create(data_dir, "secret", kdf=LIGHT_KDF, private_key=KEY).wallet
    out = tmp_path / "agung.json"
    with running_anvil(chain_id=AGUNG.chain_id) as backend:
        backend.request("anvil_setBalance", wallet.checksum_address, hex(100 * 10**18))
        promised, _ = finish(start(backend, data_dir, out, "--dry-run"))
        assert backend.request("eth_getTransactionCount", wallet.checksum_address, "pending") == (
            "0x0"
        )
        with mining(backend):
            killed = start(backend, data_dir, out, "--yes")
            assert killed.stderr is not None
            for line in killed.stderr:
                if line.startswith("2 of "):
                    break
            killed.kill()
            killed.communicate(timeout=SECONDS)
            assert not out.exists()
            # Whatever it had sent comes into a block.
            backend.mine(2)
            result, said = finish(start(backend, data_dir, out, "--yes"))
        assert result["sent"] is True
        assert int(str(result["done"])) >= 2
        assert f"\n{result['done']} of" not in f"\n{said}"
        # Genesis is that of the first attempt, not of the dry run before it; addresses are both's.
        assert result["addresses"] == promised["addresses"]
        trio.run(verify, backend.url, out)
        assert not out.with_name("agung.json.part").exists()


async def verify(url: str, file: Path) -> None:
    rpc = Rpc(url)
    deployment = read_deployment(file)
    assert (deployment.chain_id, deployment.preset.name) == (AGUNG.chain_id, AGUNG.preset)
    await verify_deployment(rpc, deployment)
    rpc.close()
