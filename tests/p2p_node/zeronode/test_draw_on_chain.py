"""A draw on a real chain, from entry to award, and what `kaisar zeronode verify-draw` says."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
import trio
from nacl.signing import SigningKey

from chain.deployment import write_deployment
from chain.zeronode_calls import ZeroNodeCalls
from chain.zeronode_client import ZeroNodeClient
from p2p_node.cli import main
from p2p_node.clock import Clock
from p2p_node.zeronode import draws
from p2p_node.zeronode.database import Database
from p2p_node.zeronode.draw_anchor import ChainAnchor
from p2p_node.zeronode.draw_duty import make_draw_duty
from p2p_node.zeronode.draws import State
from p2p_node.zeronode.parts import ServiceIdentity
from p2p_node.zeronode.service import open_service
from p2p_node.zeronode.settings import ZeroNodeSettings
from protocols.draw_transcript import (
    Reveal,
    Transcript,
    make_transcript,
    read_transcript,
    sign_transcript,
)
from protocols.lucky_draw import (
    Entry,
    Source,
    SourceKind,
    Terms,
    build_ticket_tree,
    compute_commitment,
    compute_key,
    hash_server_seed,
)
from protocols.types import Digest, Epoch, NodeKey, TimeMs
from protocols.zeronode_rules import MINIMAL_RULES
from tests.chain.network import Network, network
from tests.p2p_node.zeronode.drawing_world import ALICE, BOB, PRIZES, give

pytestmark = pytest.mark.integration

KEY = SigningKey(b"z" * 32)
SERVICE = NodeKey(bytes(KEY.verify_key))
DRAW = "quick-0"
SEED = b"s" * 32


class ChainClock:
    """Time as the chain has it; the test makes its blocks."""

    def __init__(self, net: Network) -> None:
        self._net = net

    def now(self) -> TimeMs:
        return TimeMs(self._net.running.chain.head().timestamp * 1000)

    def deadline(self, moment: TimeMs) -> float:
        return trio.current_time() + 60


@asynccontextmanager
async def listed_network() -> AsyncIterator[Network]:
    """A chain on which minutes pass in a second, and a service that it lists."""
    async with network(0, 1) as net:
        chain = net.running.chain

        async def pass_time() -> None:
            while True:
                chain.mine(chain.head().timestamp + 5)
                await trio.sleep(0.05)

        wallet = net.providers[0].manager.wallet
        call = ZeroNodeCalls(net.deployment).add_service(wallet, SERVICE)
        await net.execute(net.funder, call, "listing")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pass_time)
            yield net
            nursery.cancel_scope.cancel()


def make_anchor(net: Network) -> ChainAnchor:
    return ChainAnchor(
        ZeroNodeClient(net.rpc, net.deployment),
        ZeroNodeCalls(net.deployment),
        net.providers[0].manager,
        SERVICE,
        cast("Clock", ChainClock(net)),
    )


class Verifier:
    """The command, with the chain."""

    def __init__(self, net: Network, directory: Path) -> None:
        self._net = net
        self._directory = directory
        self._deployment = directory / "deployment.json"
        write_deployment(self._deployment, net.deployment)

    async def run(self, content: bytes, *words: str) -> int:
        path = self._directory / "draw.json"
        path.write_bytes(content)
        where = ["--deployment", str(self._deployment), "--rpc", self._net.running.url]
        command = ["zeronode", "verify-draw", str(path), *where, *words]
        return await trio.to_thread.run_sync(main, command)


def write_schedule(path: Path, opens: TimeMs) -> None:
    moment = datetime.fromtimestamp(opens // 1000, UTC)
    path.write_text(
        f"""
[quick]
first_opens = {moment:%Y-%m-%dT%H:%M:%SZ}
every_seconds = 1000000
open_seconds = 300
lead_seconds = 60
reveal_seconds = 3600
source = "beacon"
prizes = [
    {{ name = "points", ppm = 300000, points = 300 }},
    {{ name = "tickets", ppm = 300000, tickets = 1 }},
]
"""
    )


async def test_a_draw_on_a_chain(
    database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "draws.toml"
    async with AsyncExitStack() as stack:
        net = await stack.enter_async_context(listed_network())
        clock = ChainClock(net)
        write_schedule(path, clock.now())
        client = ZeroNodeClient(net.rpc, net.deployment)
        service = await stack.enter_async_context(
            open_service(
                ZeroNodeSettings(database=database_url, draws=path),
                ServiceIdentity(KEY, net.deployment.network_id, net.deployment.chain_id),
                MINIMAL_RULES,
                cast("Clock", clock),
                tmp_path,
                chain=client,
            )
        )
        database = service.database.database
        give(database, ALICE, 9)
        give(database, BOB, 2)
        hold = make_draw_duty(service, client, net.deployment, net.providers[0].manager)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hold)
            with trio.fail_after(120):
                await wait_for(database, State.OPEN)
                with database.transaction() as connection:
                    draws.enter(connection, ALICE, DRAW, 9, "r", clock.now())
                    draws.enter(connection, BOB, DRAW, 2, "r", clock.now())
                await wait_for(database, State.DONE)
            nursery.cancel_scope.cancel()
        with database.reading() as connection:
            content = draws.read_transcript(connection, DRAW)
        assert content is not None
        transcript = read_transcript(content)
        assert transcript.reveal is not None

        verifier = Verifier(net, tmp_path)
        assert await verifier.run(content, "--wallet", "0x" + ALICE.hex()) == 0
        said = capsys.readouterr().out
        assert "draw quick-0: holds\n" in said
        assert "11 tickets of 2 accounts" in said
        assert f"0x{ALICE.hex()}: 9 tickets" in said
        assert "the randomness: the seed that the chain has" in said
        assert await verifier.run(content, "--json") == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["holds"], found["outcome"], found["tickets"]) == (True, "drawn", 11)
        assert found["not_checked"] == [
            "whether the list has everybody who entered: look for your own entries"
        ]
        assert await verifier.run(content.replace(b" 9", b" 8")) == 1
        assert "DOES NOT HOLD: bad node signature" in capsys.readouterr().out


async def wait_for(database: Database, state: State) -> None:
    while True:
        with database.reading() as connection:
            draw = draws.find_draw(connection, DRAW)
        if draw is not None and draw.state is state:
            return
        await trio.sleep(0.05)


ENTRIES = (Entry(ALICE, 2),)


def terms_of(net: Network, draw: str, epoch: int, service: NodeKey = SERVICE) -> Terms:
    network_id = net.deployment.network_id
    root = build_ticket_tree(compute_key(network_id, service, draw), ENTRIES).root
    return Terms(
        network_id,
        service,
        draw,
        PRIZES,
        Digest(root),
        2,
        hash_server_seed(SEED),
        Source(SourceKind.BEACON, epoch),
        TimeMs(1),
        TimeMs(2),
        1,
    )


async def test_what_the_chain_does_not_bear_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with listed_network() as net:
        client = ZeroNodeClient(net.rpc, net.deployment)
        anchor, verifier = make_anchor(net), Verifier(net, tmp_path)

        async def reason_of(transcript: Transcript, key: SigningKey = KEY) -> Any:
            status = await verifier.run(sign_transcript(key, transcript), "--json")
            found = json.loads(capsys.readouterr().out)
            assert status == (0 if found["holds"] else 1)
            return found.get("reason")

        late = terms_of(net, "late", 1)
        with trio.fail_after(60):
            while await client.head("finalized") is None or await epoch_of(client) < 1:
                await trio.sleep(0.05)
            await anchor.commit(late.key, compute_commitment(late), TimeMs(1 << 60))
            found = await anchor.find(late.key)
        assert found is not None
        assert found.commitment == compute_commitment(late)
        assert await anchor.is_listed()
        reveal = Reveal(SEED, await client.beacon_seed(Epoch(1)))

        drawn = make_transcript(late, ENTRIES, found.committed_s, reveal)
        assert await reason_of(drawn) == "committed too late"
        backdated = make_transcript(late, ENTRIES, 1, reveal)
        assert await reason_of(backdated) == "time of commitment differs from the chain"
        other = make_transcript(terms_of(net, "other", 1), ENTRIES, found.committed_s, reveal)
        assert await reason_of(other) == "commitment not on chain"
        changed = make_transcript(replace(late, missed_bonus=2), ENTRIES, 1, reveal)
        assert await reason_of(changed) == "commitment differs from the chain"
        missed = make_transcript(terms_of(net, "other", 1), ENTRIES, 0, None)
        assert await reason_of(missed) is None
        eve = SigningKey(b"e" * 32)
        foreign = terms_of(net, "late", 1, NodeKey(bytes(eve.verify_key)))
        forged = make_transcript(foreign, ENTRIES, found.committed_s, reveal)
        assert await reason_of(forged, eve) == "signed by no service of the network"
        elsewhere = make_transcript(
            replace(late, network=type(late.network)(b"n" * 32)), ENTRIES, 1, None
        )
        # Its tickets were frozen under another key.
        assert await reason_of(elsewhere) == "ticket root differs"


async def epoch_of(client: ZeroNodeClient) -> int:
    head = await client.head("finalized")
    deployment = client.deployment
    return (head.timestamp - deployment.genesis) // deployment.preset.epoch_seconds
