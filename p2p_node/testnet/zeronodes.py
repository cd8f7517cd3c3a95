"""A ZeroNode service with simulated extensions, for a whole day of the preset and what is before.

A day of `minimal` lasts a minute. The extensions end shortly before a day does, so that all they
were told is in days that are then booked, anchored and recomputed.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from chain.deployment import Deployment
from chain.errors import ChainError
from chain.records import Call
from chain.rpc import JsonRpc
from chain.zeronode_calls import ZeroNodeCalls
from chain.zeronode_client import ZeroNodeClient as ChainReader
from p2p_node.keystore import LIGHT_KDF, Keystore
from p2p_node.run_file import read_run_file
from p2p_node.testnet.extensions import Simulation, make_extensions
from p2p_node.testnet.processes import Child
from p2p_node.testnet.zeronode_checks import check_run
from p2p_node.testnet.zeronode_outcome import ExtensionKind, ZeroNodeRun
from p2p_node.zeronode.database import AsyncDatabase, Database
from p2p_node.zeronode.day_roots import days_after
from p2p_node.zeronode.settings import DATABASE_FILE
from protocols.errors import LocalError
from protocols.types import Digest, NodeKey, TimeMs, Wallet
from protocols.zeronode_rules import ZeroNodeRules, rules_of

SERVICE: Final = "zeronode-1"

FLAGS: Final = ("--zeronode-listen", "127.0.0.1:0")
"""What the service is started with."""

START_SECONDS: Final = 120.0

LAST_MS: Final = 2_000
"""Beside the longest wait for a challenge: before a day's end, for the last answers to be
written."""

CLOSE_SECONDS: Final = 120.0
"""From a day's end to its root on the chain, on a busy machine."""

TELL_SECONDS: Final = 10.0
POLL_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class ZeroNodeSurroundings:
    """What a service with extensions needs of the run. `start` starts a process of the role with
    flags, `send` sends a transaction of the funder's, who may list services and mint."""

    directory: Path
    deployment: Deployment
    rpc: JsonRpc
    password: str
    gas: int
    start: Callable[[str, str, Path, tuple[str, ...]], Child]
    send: Callable[[Call, str], Awaitable[None]]
    say: Callable[[str], None]
    problem: Callable[[str], None]


async def run_zeronodes(run: ZeroNodeRun, count: int, around: ZeroNodeSurroundings) -> None:
    """Run a service with so many extensions, and check what they were paid; into `run`."""
    try:
        await _Run(run, around).run(count)
    except LocalError as error:
        run.problems.append(f"{SERVICE}: {error}")
        around.problem(f"{SERVICE}: {error}")


class _Run:
    def __init__(self, run: ZeroNodeRun, around: ZeroNodeSurroundings) -> None:
        self._run = run
        self._around = around
        self._rules: ZeroNodeRules = rules_of(around.deployment.preset.name)
        self._chain = ChainReader(around.rpc, around.deployment)
        self._data_dir = around.directory / SERVICE

    async def run(self, count: int) -> None:
        run, around = self._run, self._around
        run.extensions = make_extensions(count)
        keystore = Keystore.create(self._data_dir, around.password, kdf=LIGHT_KDF)
        node_key = NodeKey(bytes(keystore.node_signing_key.verify_key))
        run.service = node_key.hex()
        await self._prepare_chain(keystore.wallet_address, node_key)
        url = await self._start()
        around.say(f"{SERVICE} serves {count} extensions at {url}")
        last_day = self._choose_day()
        await self._simulate(url, last_day)
        await self._wait_for_roots(keystore.wallet_address, last_day)
        paid = sum(each.points_units for each in run.extensions)
        verdict = "as recomputed" if not run.problems else f"{len(run.problems)} problems"
        around.say(f"{SERVICE}: {len(run.days)} days booked and anchored, {paid} units, {verdict}")

    async def _prepare_chain(self, wallet: Wallet, node_key: NodeKey) -> None:
        """Give the service gas, list it, and give the holder a token."""
        around, calls = self._around, ZeroNodeCalls(self._around.deployment)
        await around.send(Call(to=wallet, value=around.gas), f"gas for {SERVICE}")
        await around.send(calls.add_service(wallet, node_key), f"listing {SERVICE}")
        for extension in self._run.extensions:
            if extension.kind is ExtensionKind.HOLDER:
                await around.send(calls.mint(extension.wallet), f"NFT of {extension.name}")
                (extension.token,) = await self._chain.tokens_of(extension.wallet, "latest")

    async def _start(self) -> str:
        """Start the service and return where it is reached."""
        child = self._around.start(SERVICE, "zeronode", self._data_dir, FLAGS)
        with trio.move_on_after(START_SECONDS):
            while "url" not in (found := read_run_file(self._data_dir) or {}):
                await trio.sleep(0.05)
            return str(found["url"])
        raise LocalError(f"did not start:\n{child.tail()}")

    def _choose_day(self) -> int:
        """The day that comes whole: the next one."""
        return self._rules.day_of(_now()) + 1

    async def _simulate(self, url: str, last_day: int) -> None:
        run, rules, around = self._run, self._rules, self._around
        end = rules.day_end(last_day) - rules.challenge_max_ms - LAST_MS
        simulation = Simulation(run.extensions, url, around.problem)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(simulation.run)
            while (left := end - _now()) > 0:
                told = sum(each.told_ms for each in run.extensions)
                around.say(
                    f"{SERVICE}: {told // 1000} s of uptime answered for, day {last_day} ends in "
                    f"{(rules.day_end(last_day) - _now()) // 1000} s"
                )
                await trio.sleep(min(TELL_SECONDS, left / 1000))
            simulation.stop()

    async def _wait_for_roots(self, wallet: Wallet, last_day: int) -> None:
        """Wait until all days are booked and their roots on the chain; then check everything."""
        seconds = max(0, self._rules.day_end(last_day) - _now()) / 1000 + CLOSE_SECONDS
        database = await trio.to_thread.run_sync(
            Database.open, f"sqlite:///{self._data_dir / DATABASE_FILE}"
        )
        books = AsyncDatabase(database)
        try:
            with trio.move_on_after(seconds):
                while True:
                    days = [each.summary.day for each in await books.read(days_after, -1)]
                    roots = await self._read_roots(wallet, days)
                    if last_day in days and len(roots) == len(days):
                        await books.read(check_run, self._run, self._rules, roots)
                        return
                    await trio.sleep(POLL_SECONDS)
            raise LocalError(f"day {last_day} was not booked and anchored in time")
        finally:
            database.close()

    async def _read_roots(self, wallet: Wallet, days: Sequence[int]) -> dict[int, Digest]:
        """Read the roots that the chain has of these days; none while it cannot be read."""
        found = {}
        try:
            service = await self._chain.service_of(wallet)
            if service is None:
                return {}
            for day in days:
                root = await self._chain.root_of(service, day)
                if root is not None:
                    found[day] = root
        except ChainError:
            return {}
        return found


def _now() -> TimeMs:
    return TimeMs(time.time_ns() // 1_000_000)
