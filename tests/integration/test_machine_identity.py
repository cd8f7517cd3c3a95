"""A provider's process on anvil with a stand-in for peaq's precompile: ours first, then peaq's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from chain.calls import Calls
from chain.client import ChainClient
from chain.deployment import read_deployment
from chain.did import MachineCard, encode_did_document
from chain.errors import RevertedError
from chain.hexes import to_hex
from chain.identity import DID_PRECOMPILE, READ_ATTRIBUTE, name_attribute
from chain.journal import MemoryJournal
from chain.records import SlotKind
from chain.rpc import Rpc
from chain.transactions import TransactionManager
from p2p_node.keystore import LIGHT_KDF, PASSWORD_VARIABLE, Keystore, WalletKey
from protocols.params import MINIMAL
from tests.chain.backends import CHAIN_ID, running_anvil
from tests.chain.peaq import stand_in
from tests.integration.test_deploy import mining

pytestmark = pytest.mark.integration

KEY = bytes(31) + b"\x2b"
SECONDS = 90
ENVIRONMENT = os.environ | {PASSWORD_VARIABLE: "secret"}


def kaisar(*words: str) -> list[str]:
    return [sys.executable, "-m", "p2p_node", *words]


def test_a_provider_registers_with_us_and_then_with_peaq(tmp_path: Path) -> None:
    directories = tmp_path / "deployer", tmp_path / "provider"
    for directory in directories:
        directory.mkdir(mode=0o700)
    deployer, provider = directories
    wallet = Keystore.create(deployer, "secret", kdf=LIGHT_KDF, private_key=KEY).wallet
    keys = Keystore.create(provider, "secret", kdf=LIGHT_KDF)
    file = tmp_path / "network.json"
    with running_anvil() as backend, mining(backend):
        backend.request("anvil_setCode", to_hex(DID_PRECOMPILE), to_hex(stand_in("PeaqDid").code))
        for address in (wallet.address, keys.wallet_address):
            backend.request("anvil_setBalance", to_hex(address), hex(100 * 10**18))
        chain = ("--rpc", backend.url)
        deploy = kaisar("deploy", "--network", "local", *chain, "--out", str(file))
        deploy += ["--data-dir", str(deployer)]
        subprocess.run(deploy, env=ENVIRONMENT, check=True, timeout=SECONDS, capture_output=True)
        trio.run(give_stake, backend.url, file, keys)
        log = tmp_path / "node.log"
        with log.open("w") as output:
            node = subprocess.Popen(
                kaisar(
                    *("node", "--role", "provider", "--deployment", str(file), *chain),
                    *("--data-dir", str(provider), "--machine-identity", "did"),
                    *("--devices", "cpu", "--cores", "0", "--cpu-memory", "64"),
                ),
                env=ENVIRONMENT,
                stderr=output,
                stdout=output,
            )
            try:
                trio.run(wait_for_document, backend.url, file, keys)
                trio.run(wait_for_words, log, "is now registered")
            finally:
                node.terminate()
                node.wait(SECONDS)
        said = log.read_text()
        ours, theirs = said.index("registered as provider"), said.index("is now registered")
        assert ours < theirs


async def give_stake(url: str, file: Path, keys: Keystore) -> None:
    rpc, deployment = Rpc(url), read_deployment(file)
    manager = TransactionManager(rpc, WalletKey(KEY), MemoryJournal(), chain_id=CHAIN_ID)
    call = Calls(deployment).transfer(keys.wallet_address, MINIMAL.min_provider_stake)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(manager.run)
        deadline = trio.current_time() + SECONDS
        await manager.execute(call, label="stake", deadline=deadline, confirmations=1)
        nursery.cancel_scope.cancel()
    rpc.close()


async def wait_for_document(url: str, file: Path, keys: Keystore) -> None:
    """Wait until the attribute is there; it must be what the node's keys and network give."""
    rpc, deployment = Rpc(url), read_deployment(file)
    card = MachineCard(CHAIN_ID, deployment.network_id, keys.wallet_address, keys.node_key)
    read = to_hex(READ_ATTRIBUTE.encode((card.wallet, name_attribute(card))))
    call = {"to": to_hex(DID_PRECOMPILE), "data": read}
    client = ChainClient(rpc, deployment)
    with trio.fail_after(SECONDS):
        while await client.slot_index(SlotKind.PROVIDER, card.wallet) is None:
            await trio.sleep(0.2)
        while True:
            try:
                found = await rpc.octets("eth_call", call, "latest")
                break
            except RevertedError:
                await trio.sleep(0.2)
    ((_, value, _, _),) = READ_ATTRIBUTE.decode(found)
    assert value == encode_did_document(card)
    rpc.close()


async def wait_for_words(log: Path, words: str) -> None:
    with trio.fail_after(SECONDS):
        while words not in log.read_text():
            await trio.sleep(0.2)
