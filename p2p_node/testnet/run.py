"""One run of a local network, from an empty directory to the last unit of every balance."""

import itertools
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from chain.audit.auditing import audit_epochs, closes_at
from chain.calls import Calls
from chain.client import ChainClient
from chain.deploy import DeploymentOptions, deploy
from chain.deployment import Deployment, write_deployment
from chain.errors import ChainError
from chain.journal import MemoryJournal
from chain.records import Call
from chain.rental_client import RentalClient
from chain.rpc import Rpc
from chain.signer import KeySigner
from chain.transactions import TransactionManager
from p2p_node.keystore import LIGHT_KDF, Keystore
from p2p_node.run_file import read_run_file
from p2p_node.testnet.accounts import find_odd_penalties
from p2p_node.testnet.outcome import Outcome, Participant, find_unpaid
from p2p_node.testnet.plan import (
    Member,
    TestnetPlan,
    draw_password,
    list_members,
    list_rentals,
    node_child,
)
from p2p_node.testnet.processes import Child, Household, kaisar_command
from p2p_node.testnet.reading import RunEvents, RunReader, read_slots, read_stakes
from p2p_node.testnet.rental_checks import check_rental
from p2p_node.testnet.rental_outcome import Rental
from p2p_node.testnet.rentals import PROVIDER_FLAGS, Surroundings, read_money, run_rentals
from p2p_node.testnet.screen import Screen
from p2p_node.testnet.zeronode_outcome import ZeroNodeRun
from protocols.errors import LocalError
from protocols.params import LANES
from protocols.types import Epoch, TimeMs

logger = logging.getLogger(__name__)

START_SECONDS = 120.0
"""For a chain, a deployment or all processes to come up; on two cores it takes some 20 s."""

REGISTER_SECONDS = 120.0

GENESIS_SECONDS = 18
"""From the first transaction to the start of epoch 0. The deployment takes 14 s; then nine
processes need 17 to 24 s on two slow cores to come up and register. Who registers within epoch 0,
which lasts 25 s on `minimal`, is counted from epoch 1 on; a second too late costs a whole epoch."""

RENTAL_SECONDS = 300.0
"""For the commands of all renters, on a busy machine."""

RENTAL_EPOCHS = 8
"""The longest leases, and what comes before and after them."""

CLAIM_SECONDS = 60.0
"""After the last epoch closed, for everybody's claims to be in a block."""

POLL_SECONDS = 0.5
FUNDED_GAS = 10 * 10**18
"""Native units per wallet: hundreds of bundles even at peaq's price."""

RESERVE_EPOCHS = 50
"""The reward fund holds this many epochs more than the run is asked for."""

DEVCHAIN_GAS = 10**24

MAX_UNMINED = 16
"""Transactions of the funder under way at once, so that everybody is funded in a block or two."""

LAST_BLOCKS = 3
"""Blocks to wait for after the nodes have stopped: what they had sent is then in one of them."""


@dataclass(frozen=True, slots=True)
class TestnetOptions:
    """How to run: `rpc_url` None starts a devchain; `funder` pays for deployment and wallets."""

    __test__ = False  # its name would make pytest take it for a test

    directory: Path
    funder: KeySigner
    rpc_url: str | None = None
    allow_skipped: bool = False
    """Whether the chain is disturbed on purpose, so that epochs may be lost to it."""
    audit: bool = False
    """Whether every epoch is recomputed from the chain's data at the end."""
    runner: str | None = None
    """What keeps renters apart from this machine; None without rentals."""


async def run_testnet(plan: TestnetPlan, options: TestnetOptions, screen: Screen) -> Outcome:
    """Run the plan and return what it came to; every child process has ended when this returns.

    Raises LocalError or ChainError when the network cannot be brought up at all.
    """
    started = time.monotonic()
    password = draw_password()
    members = list_members(plan, options.directory, password)
    Keystore.create(options.directory / "bootstrap-1", password, kdf=LIGHT_KDF)
    household = Household(screen.problem)
    async with trio.open_nursery() as nursery:
        try:
            nursery.start_soon(household.run)
            screen.say("starting the chain")
            rpc_url = options.rpc_url or await _start_devchain(household, options, members)
            async with _chain_access(rpc_url, options.funder) as access:
                run = _Run(plan, options, screen, household, members, password, access)
                outcome = await run.run()
        finally:
            with trio.CancelScope(shield=True):
                await household.stop()
            nursery.cancel_scope.cancel()
    outcome.seconds = time.monotonic() - started
    return outcome


@dataclass(frozen=True, slots=True)
class _Access:
    rpc_url: str
    rpc: Rpc
    chain_id: int
    manager: TransactionManager


@asynccontextmanager
async def _chain_access(rpc_url: str, funder: KeySigner) -> AsyncIterator[_Access]:
    rpc = Rpc(rpc_url)
    try:
        chain_id = await rpc.quantity("eth_chainId")
        manager = TransactionManager(
            rpc,
            funder,
            MemoryJournal(),
            chain_id=chain_id,
            poll_seconds=0.2,
            max_unmined=MAX_UNMINED,
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(manager.run)
            yield _Access(rpc_url, rpc, chain_id, manager)
            nursery.cancel_scope.cancel()
    finally:
        rpc.close()


async def _start_devchain(
    household: Household, options: TestnetOptions, members: list[Member]
) -> str:
    """Start the devchain with money for everybody's gas, and return its URL."""
    ready = options.directory / "devchain.url"
    command = kaisar_command(
        "devchain", "--port", "0", "--ready-file", str(ready), "--exit-with-parent"
    )
    wallets = [each.participant.wallet for each in members]
    funded = [(options.funder.address, DEVCHAIN_GAS), *((w, FUNDED_GAS) for w in wallets)]
    for wallet, amount in funded:
        command += ["--fund", f"0x{wallet.hex()}={amount}"]
    child = Child("devchain", command, options.directory / "devchain.log", {}, is_node=False)
    household.start(child)
    with trio.move_on_after(START_SECONDS):
        while not ready.exists():
            await trio.sleep(0.05)
        return ready.read_text().strip()
    raise LocalError(f"the devchain did not start:\n{child.tail()}")


class _Run:
    """The steps of one run, once there is a chain."""

    def __init__(
        self,
        plan: TestnetPlan,
        options: TestnetOptions,
        screen: Screen,
        household: Household,
        members: list[Member],
        password: str,
        access: _Access,
    ) -> None:
        self._plan = plan
        self._options = options
        self._screen = screen
        self._household = household
        self._members = members
        self._password = password
        self._access = access
        self._participants = [each.participant for each in members]
        self._rentals = list_rentals(plan, options.directory, password)
        self._deployment_file = options.directory / "deployment.json"

    async def run(self) -> Outcome:
        """Deploy, start everybody, follow the epochs, settle the accounts."""
        self._screen.say("deploying the contracts")
        deployment = await self._deploy()
        chain = ChainClient(self._access.rpc, deployment)
        self._screen.say(f"starting {len(self._members) + 1} nodes")
        bootstrap = await self._start_bootstrap()
        for member in self._members:
            self._household.start(self._child(member, bootstrap))
        await self._fund(deployment)
        first = await self._wait_until_registered(chain)
        reader = RunReader(
            chain,
            RentalClient(self._access.rpc, deployment),
            RunEvents(chain),
            self._participants,
            self._plan.preset,
            self._reward_fund,
        )
        outcome = Outcome(self._plan.preset, self._participants, self._count_shards())
        outcome.allow_skipped = self._options.allow_skipped
        outcome.rentals = self._rentals
        last = Epoch(first + self._plan.epochs - 1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._rent, reader, bootstrap, first)
            if self._plan.zeronodes:
                outcome.zeronodes = ZeroNodeRun()
                nursery.start_soon(self._run_zeronodes, outcome.zeronodes, deployment, bootstrap)
            await self._follow(reader, outcome, first, last)
        await self._settle_accounts(reader, outcome, first, last)
        if self._options.audit:
            await self._audit(chain, outcome)
        self._collect_problems(outcome)
        return outcome

    @property
    def _reward_fund(self) -> int:
        preset = self._plan.preset
        emission = preset.provider_pool + preset.checker_pool
        return emission * (self._plan.epochs + RESERVE_EPOCHS)

    async def _deploy(self) -> Deployment:
        plan, access = self._plan, self._access
        preset = plan.preset
        deadline = trio.current_time() + START_SECONDS
        options = DeploymentOptions(
            preset=preset,
            reward_fund=self._reward_fund,
            genesis=int(time.time()) + GENESIS_SECONDS,
        )
        deployment = await deploy(
            access.rpc, access.manager, access.chain_id, options, deadline=deadline
        )
        write_deployment(self._deployment_file, deployment)
        return deployment

    def _child(self, member: Member, bootstrap: str | None) -> Child:
        runner = self._options.runner if member.role == "provider" else None
        return node_child(
            member.participant.name,
            member.role,
            member.data_dir,
            deployment=self._deployment_file,
            rpc_url=self._access.rpc_url,
            bootstrap=bootstrap,
            password=self._password,
            flags=(*PROVIDER_FLAGS, "--rental-runner", runner) if runner else (),
        )

    async def _start_bootstrap(self) -> str:
        data_dir = self._options.directory / "bootstrap-1"
        child = node_child(
            "bootstrap-1",
            "bootstrap",
            data_dir,
            deployment=self._deployment_file,
            rpc_url=self._access.rpc_url,
            bootstrap=None,
            password=self._password,
        )
        self._household.start(child)
        with trio.move_on_after(START_SECONDS):
            while (running := read_run_file(data_dir)) is None:
                await trio.sleep(0.05)
            return str(running["addresses"][0])
        raise LocalError(f"the bootstrap node did not start:\n{child.tail()}")

    async def _fund(self, deployment: Deployment) -> None:
        """Give everybody its stake or what its lease costs, and gas."""
        calls = Calls(deployment)
        limiter = trio.CapacityLimiter(MAX_UNMINED)
        everybody: list[Participant | Rental] = [*self._participants, *self._rentals]
        async with trio.open_nursery() as nursery:
            for each in everybody:
                # The devchain gives gas to those it was started with.
                if self._options.rpc_url is not None or isinstance(each, Rental):
                    gas = Call(to=each.wallet, value=FUNDED_GAS)
                    nursery.start_soon(self._send, gas, f"gas for {each.name}", limiter)
                tokens = calls.transfer(each.wallet, each.funded)
                nursery.start_soon(self._send, tokens, f"tokens of {each.name}", limiter)

    async def _send(self, call: Call, label: str, limiter: trio.CapacityLimiter) -> None:
        deadline = trio.current_time() + START_SECONDS
        async with limiter:
            await self._access.manager.execute(
                call, label=label, deadline=deadline, confirmations=1
            )

    async def _wait_until_registered(self, chain: ChainClient) -> Epoch:
        """Wait for every registration; return the first epoch in which everybody is active."""
        self._screen.say("waiting for everybody to register")
        with trio.move_on_after(REGISTER_SECONDS):
            while not await read_slots(chain, self._participants):
                await trio.sleep(POLL_SECONDS)
            joined = [slot.joined_epoch for slot in await chain.providers()]
            joined += [slot.joined_epoch for slot in await chain.checkers()]
            return max(joined)
        missing = [each.name for each in self._participants if each.index < 0]
        tails = "\n".join(f"{c.name}: {c.tail()}" for c in self._household.children)
        raise LocalError(f"not registered in time: {', '.join(missing)}\n{tails}")

    async def _follow(self, reader: RunReader, outcome: Outcome, first: Epoch, last: Epoch) -> None:
        """Show the epochs go by until the last one is closed."""
        timeline, events = reader.timeline, reader.events
        self._screen.say(f"epochs {first} … {last} are counted")
        seconds_left = timeline.bundle_end(last) / 1000 - time.time()
        next_epoch, told = first, ""
        with trio.fail_after(seconds_left + START_SECONDS):
            while next_epoch <= last:
                try:
                    await events.update()
                    head = await reader.chain.head()
                    now = TimeMs(head.timestamp * 1000)
                    epoch = timeline.epoch_at(now)
                    held = sum(found == epoch for found, _ in events.bundles)
                    self._screen.progress(epoch, timeline.phase_at(now), held, outcome.shards)
                    if await reader.chain.is_closed(next_epoch, head.number):
                        (settled,) = await reader.read_epochs(next_epoch, next_epoch, head.number)
                        self._screen.epoch(outcome, settled)
                        next_epoch = Epoch(next_epoch + 1)
                        continue
                    told = ""
                except ChainError as error:
                    if str(error) != told:
                        told = str(error)
                        self._screen.problem(f"the chain was not read: {told}")
                await trio.sleep(POLL_SECONDS)

    async def _rent(self, reader: RunReader, bootstrap: str, first: Epoch) -> None:
        """Run the rentals, once an epoch has settled in which every provider has shown its machine:
        what a leased provider scores comes from it."""
        if not self._rentals:
            return
        with trio.move_on_after(RENTAL_SECONDS + RENTAL_EPOCHS * self._plan.preset.epoch_seconds):
            while not await reader.chain.is_closed(first):
                await trio.sleep(POLL_SECONDS)
            await run_rentals(
                self._rentals,
                Surroundings(
                    chain=reader.chain,
                    rental=reader.rental,
                    directory=self._options.directory,
                    deployment=self._deployment_file,
                    rpc_url=self._access.rpc_url,
                    bootstrap=bootstrap,
                    password=self._password,
                    find_index={each.name: each.index for each in self._participants}.__getitem__,
                    kill=self._household.kill,
                    say=self._screen.say,
                ),
            )
            return
        for each in self._rentals:
            each.problems.append(f"{each.name}: not over in time")

    async def _run_zeronodes(
        self, run: ZeroNodeRun, deployment: Deployment, bootstrap: str
    ) -> None:
        """Run a service with extensions beside the rest."""
        # Imported here: the service's parts take time that other runs should not pay.
        from p2p_node.testnet.zeronodes import ZeroNodeSurroundings, run_zeronodes

        limiter = trio.CapacityLimiter(1)

        def start(name: str, role: str, data_dir: Path, flags: tuple[str, ...]) -> Child:
            child = node_child(
                name,
                role,
                data_dir,
                deployment=self._deployment_file,
                rpc_url=self._access.rpc_url,
                bootstrap=bootstrap,
                password=self._password,
                flags=flags,
            )
            self._household.start(child)
            return child

        await run_zeronodes(
            run,
            self._plan.zeronodes,
            ZeroNodeSurroundings(
                directory=self._options.directory,
                deployment=deployment,
                rpc=self._access.rpc,
                password=self._password,
                gas=FUNDED_GAS,
                start=start,
                send=lambda call, label: self._send(call, label, limiter),
                say=self._screen.say,
                problem=self._screen.problem,
            ),
        )

    async def _settle_accounts(
        self, reader: RunReader, outcome: Outcome, first: Epoch, last: Epoch
    ) -> None:
        """Wait for the claims, stop all nodes, and compare every balance at one block.

        Nodes go on to settle and claim epochs after the last counted one until they are stopped;
        what was paid for those is part of the balances too.
        """
        self._screen.say("waiting for the last claims")
        chain, events = reader.chain, reader.events
        unpaid: list[str] = []
        with trio.move_on_after(CLAIM_SECONDS):
            while True:
                head = await chain.head()
                outcome.counted = await reader.read_epochs(first, last, head.number)
                unpaid = find_unpaid(outcome)
                if not unpaid:
                    break
                await trio.sleep(POLL_SECONDS)
        outcome.problems.extend(unpaid)
        await self._household.stop_nodes()
        block = await self._wait_for_blocks(chain, LAST_BLOCKS)
        await events.update()
        read_stakes(events, self._participants)
        outcome.penalties = await reader.read_penalties()
        outcome.bans = events.bans
        for rental in outcome.rentals:
            rental.money = read_money(rental, events.all)
        newest = max([last, *(epoch for epoch, _ in events.bundles)])
        epochs = await reader.read_epochs(Epoch(0), newest, block)
        outcome.counted = epochs[first : last + 1]
        genesis = chain.deployment.genesis
        for rental in outcome.rentals:
            rental.problems += check_rental(rental, epochs, genesis, self._plan.preset)
        differences = await reader.compare_balances(outcome, epochs, block)
        differences += find_odd_penalties(outcome)
        outcome.problems.extend(differences)
        outcome.balances_ok = not differences and not unpaid

    async def _audit(self, chain: ChainClient, outcome: Outcome) -> None:
        """Audit every epoch whose grace is over in the final blocks, as anybody could."""
        self._screen.say("auditing every epoch from the chain's own data")
        final = await chain.head("finalized")
        epochs = itertools.takewhile(
            lambda epoch: closes_at(chain.deployment, epoch) <= final.timestamp,
            map(Epoch, itertools.count()),
        )
        outcome.audited = await audit_epochs(chain, list(epochs), lambda *_: None)
        for verdict in outcome.audited:
            if verdict.difference is not None:
                outcome.problems.append(f"audit of epoch {verdict.epoch}: {verdict.difference}")
        compared = sum(sum(verdict.counts.values()) for verdict in outcome.audited)
        equal = sum(verdict.is_equal for verdict in outcome.audited)
        self._screen.say(
            f"{equal} of {len(outcome.audited)} epochs are equal, {compared} values compared"
        )

    async def _wait_for_blocks(self, chain: ChainClient, count: int) -> int:
        """Let transactions still on their way arrive; return the number of the newest block."""
        target = (await chain.head()).number + count
        with trio.fail_after(START_SECONDS):
            while (head := await chain.head()).number < target:
                await trio.sleep(POLL_SECONDS)
        return head.number

    def _count_shards(self) -> int:
        return -(-self._plan.all_providers // LANES)

    def _collect_problems(self, outcome: Outcome) -> None:
        for child in self._household.children:
            outcome.problems.extend(f"{child.name} {death}" for death in child.deaths)
        for rental in outcome.rentals:
            outcome.problems.extend(rental.problems)
        if outcome.zeronodes is not None:
            outcome.problems.extend(outcome.zeronodes.problems)
