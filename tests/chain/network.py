"""A deployed network on the devchain, whose clock the test moves."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import trio
from nacl.signing import SigningKey

from chain.calls import Calls
from chain.client import ChainClient
from chain.deploy import DeploymentOptions, deploy
from chain.deployment import Deployment
from chain.devchain.config import DevchainConfig
from chain.devchain.service import RunningDevchain, serving
from chain.journal import MemoryJournal
from chain.records import Call, Receipt, SlotKind
from chain.rpc import Rpc
from chain.signer import KeySigner
from chain.transactions import TransactionManager
from protocols.committee import compute_committee
from protocols.hashing import keccak256
from protocols.params import LANES, MINIMAL, TOKEN, Preset
from protocols.reports import (
    Report,
    SignedReport,
    agree,
    compute_domain_separator,
    compute_report_digest,
)
from protocols.signing import sign_binding, sign_digest
from protocols.types import Digest, Epoch, NodeKey, Seat, Shard, Wallet
from tests.chain.backends import CHAIN_ID, ETHER, FUNDER

SECONDS = 60.0
FIRST_SHARD = Shard(0)

PRESET = replace(MINIMAL, epoch_seconds=600, grace_seconds=100, unstake_delay_seconds=40_000)
"""Epochs long enough for a block per transaction and second."""


def secret_of(number: int, epoch: int) -> bytes:
    return keccak256(f"secret {number} {epoch}".encode())


class ChainAtHand(Protocol):
    """What a network needs of its chain beside its endpoint."""

    def head(self) -> Any:
        """Return the newest block; its `timestamp` counts."""

    def mine(self, timestamp: int) -> Any:
        """Make a block of this time out of what waits."""

    def has_pending(self) -> bool:
        """Tell whether something waits."""


class Running(Protocol):
    """A chain that is served."""

    @property
    def url(self) -> str:
        """Where."""

    @property
    def chain(self) -> ChainAtHand:
        """The chain."""


@dataclass
class Person:
    """A wallet with a node key and its manager."""

    private_key: bytes
    manager: TransactionManager
    node_key: SigningKey
    signer: KeySigner
    index: int = -1


@dataclass
class Network:
    """Contracts, people, and shorthand for what they do."""

    running: Running
    rpc: Rpc
    deployment: Deployment
    client: ChainClient
    calls: Calls
    funder: TransactionManager
    now: int
    checkers: list[Person] = field(default_factory=list)
    providers: list[Person] = field(default_factory=list)

    @property
    def preset(self) -> Preset:
        return self.deployment.preset

    def enter(self, epoch: int, seconds: int = 0) -> None:
        """Move the clock, and make the block that shows it."""
        self.now = self.deployment.genesis + epoch * self.preset.epoch_seconds + seconds
        assert self.running.chain.head().timestamp < self.now, "the clock only runs forward"
        self.running.chain.mine(self.now)

    async def execute(self, manager: TransactionManager, call: Call, label: str) -> Receipt:
        return await manager.execute(
            call, label=label, deadline=trio.current_time() + SECONDS, confirmations=1
        )

    async def register(self, person: Person, kind: SlotKind, stake: int) -> None:
        """Give a person its stake and let it register; checkers commit to a secret as well."""
        wallet = person.signer.address
        await self.execute(self.funder, self.calls.transfer(wallet, stake), f"for {wallet.hex()}")
        registry = self.deployment.address("Registry")
        approve, register = self.calls.register(
            kind,
            NodeKey(bytes(person.node_key.verify_key)),
            sign_binding(person.node_key, CHAIN_ID, registry, wallet),
            stake,
        )
        await self.execute(person.manager, approve, "approval")
        await self.execute(person.manager, register, "registration")
        index = await self.client.slot_index(kind, wallet)
        assert index is not None
        person.index = index
        if kind is SlotKind.CHECKER:
            commitment = keccak256(secret_of(index, 0))
            await self.execute(person.manager, self.calls.commit(index, commitment), "commitment")

    async def contribute(self, person: Person, epoch: int) -> Receipt:
        """Open the commitment that was made `epoch` − 1 times before."""
        call = self.calls.contribute(
            person.index,
            secret_of(person.index, epoch - 1),
            keccak256(secret_of(person.index, epoch)),
        )
        return await self.execute(person.manager, call, f"contribution {epoch}")

    async def sign_reports(
        self, epoch: Epoch, vectors: Sequence[Sequence[int]], shard: Shard = FIRST_SHARD
    ) -> list[SignedReport]:
        """One report per vector, by the committee's first seats."""
        slots = sum(slot.created_epoch < epoch for slot in await self.client.checkers())
        seed = await self.client.seed(epoch)
        committee = compute_committee(seed, shard, slots, self.preset.seats)
        domain = compute_domain_separator(CHAIN_ID, self.deployment.address("Consensus"))
        by_index = {person.index: person for person in self.checkers}
        reports = []
        for seat, scores in enumerate(vectors):
            report = Report(
                epoch=epoch,
                shard=shard,
                scores=tuple(scores) + (0,) * (LANES - len(scores)),
                online=(1 << len(scores)) - 1,
                fraud=0,
                evidence=Digest(b"\x11" * 32),
            )
            digest = compute_report_digest(domain, report)
            key = by_index[committee[seat]].private_key
            reports.append(SignedReport(Seat(seat), report, sign_digest(key, digest)))
        return reports

    async def bundle(
        self, epoch: Epoch, reports: Sequence[SignedReport], shard: Shard = FIRST_SHARD
    ) -> Call:
        """The call that submits reports."""
        agreement = agree([each.report for each in reports], self.preset.tolerance_shift)
        return self.calls.submit(
            epoch,
            shard,
            agreement.medians,
            reports,
        )


@asynccontextmanager
async def network(
    checkers: int = 4,
    providers: int = 3,
    *,
    preset: Preset = PRESET,
    reward_fund: int = 100_000 * TOKEN,
    serve: Callable[[Sequence[Wallet]], AbstractContextManager[Running]] | None = None,
) -> AsyncIterator[Network]:
    """Deploy and register everybody in epoch 0; a block is made whenever something waits.

    `serve` starts another chain than the devchain, on which these wallets are rich.
    """
    keys = [keccak256(f"wallet {number}".encode()) for number in range(checkers + providers)]
    signers = [KeySigner(key) for key in keys]
    rich = [signer.address for signer in (FUNDER, *signers)]
    async with AsyncExitStack() as stack:
        running = stack.enter_context((serve or serve_devchain)(rich))
        rpc = Rpc(running.url)
        stack.callback(rpc.close)
        nursery = await stack.enter_async_context(trio.open_nursery())
        stack.callback(nursery.cancel_scope.cancel)

        def manage(signer: KeySigner) -> TransactionManager:
            manager = TransactionManager(
                rpc,
                signer,
                MemoryJournal(),
                chain_id=CHAIN_ID,
                poll_seconds=0.02,
                max_unmined=16,
            )
            nursery.start_soon(manager.run)
            return manager

        async def mine_what_waits() -> None:
            while True:
                if running.chain.has_pending():
                    running.chain.mine(running.chain.head().timestamp + 1)
                await trio.sleep(0.01)

        nursery.start_soon(mine_what_waits)
        funder = manage(FUNDER)
        deployment = await _deploy(rpc, running, funder, preset, reward_fund)
        made = Network(
            running,
            rpc,
            deployment,
            ChainClient(rpc, deployment),
            Calls(deployment),
            funder,
            deployment.genesis,
        )
        for number, (key, signer) in enumerate(zip(keys, signers, strict=True)):
            node_key = SigningKey(keccak256(b"node", key))
            person = Person(key, manage(signer), node_key, signer)
            (made.checkers if number < checkers else made.providers).append(person)
        async with trio.open_nursery() as registering:
            for person in made.checkers:
                registering.start_soon(
                    made.register, person, SlotKind.CHECKER, preset.min_checker_stake
                )
            for person in made.providers:
                registering.start_soon(
                    made.register, person, SlotKind.PROVIDER, preset.min_provider_stake
                )
        assert await made.client.epoch() == 0, "registering took longer than an epoch"
        yield made


def serve_devchain(rich: Sequence[Wallet]) -> AbstractContextManager[RunningDevchain]:
    """Start the devchain, on which these wallets are rich."""
    funded = tuple((wallet, 1000 * ETHER) for wallet in rich)
    return serving(DevchainConfig(chain_id=CHAIN_ID, port=0, block_seconds=0, funded=funded))


async def _deploy(
    rpc: Rpc,
    running: Running,
    funder: TransactionManager,
    preset: Preset,
    reward_fund: int,
) -> Deployment:
    finished = trio.Event()

    async def make_blocks() -> None:
        # The deployer waits for finality, so blocks must go on when nothing waits any more.
        while not finished.is_set():
            running.chain.mine(running.chain.head().timestamp + 1)
            await trio.sleep(0.05)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(make_blocks)
        deployment = await deploy(
            rpc,
            funder,
            CHAIN_ID,
            DeploymentOptions(preset, reward_fund),
            deadline=trio.current_time() + SECONDS,
        )
        finished.set()
    return deployment
