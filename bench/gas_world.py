"""A deployment with one full shard, and everything that somebody can do on it, for measuring."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from bench.evm import Evm, make_key, wallet_of
from chain.abi import get_interface
from chain.calls import Calls
from chain.deploy_plan import DeploymentOptions, DeploymentPlan, plan_deployment
from chain.deployment import Contract, Deployment
from chain.records import Call
from protocols.committee import compute_committee
from protocols.hashing import keccak256
from protocols.params import MAINNET, TOKEN
from protocols.reports import (
    Report,
    SignedReport,
    compute_domain_separator,
    compute_report_digest,
    low_median,
)
from protocols.types import Digest, Epoch, Seat, Shard, Wallet

PROVIDERS: Final = 256
SEATS: Final = (4, 7, 11)
CHECKERS: Final = max(SEATS)
"""As many as seats, so that each has one in every epoch."""

RING_EPOCHS: Final = 28
"""Room for a claim of 24 epochs. Gas does not depend on the length of the ring once it has
wrapped."""

EPOCH_SECONDS: Final = 100_000
"""So long that every transaction of an epoch fits into it, one block each."""

SPREAD: Final = 0.02
SEED: Final = 1337
SHARD: Final = Shard(0)
STAKE: Final = 10 * TOKEN
FUND: Final = 10**6 * TOKEN

PRESET: Final = replace(
    MAINNET,
    name="bench",
    epoch_seconds=EPOCH_SECONDS,
    grace_seconds=EPOCH_SECONDS // 2,
    tolerance_shift=5,
    ring_epochs=RING_EPOCHS,
    unstake_delay_seconds=(RING_EPOCHS + 2) * EPOCH_SECONDS,
    min_provider_stake=TOKEN,
    min_checker_stake=TOKEN,
    provider_pool=1000 * TOKEN,
    checker_pool=1000 * TOKEN,
)


@dataclass(frozen=True, slots=True)
class Person:
    """A private key and its wallet."""

    key: Any
    wallet: Wallet


def make_people() -> list[Person]:
    """Everybody: the operator first, then providers, then checkers."""
    made = [make_key(number) for number in range(1 + PROVIDERS + CHECKERS)]
    return [Person(key, wallet_of(key)) for key in made]


@dataclass
class World:
    """The contracts on an EVM; one Consensus per size of committee, rewards for the largest."""

    evm: Evm
    people: Sequence[Person]
    random: random.Random = field(default_factory=lambda: random.Random(SEED))
    secrets: list[bytes] = field(default_factory=list)
    deployments: dict[int, Deployment] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Deploy and fund everything."""
        self.operator = self.people[0]
        self.providers = self.people[1 : 1 + PROVIDERS]
        self.checkers = self.people[1 + PROVIDERS :]
        self.chain_id = self.evm.chain_id
        options = DeploymentOptions(PRESET, FUND)
        plan = plan_deployment(self.operator.wallet, 0, self.evm.now(), options)
        for step in plan.steps:
            self.send(step.call, self.operator)
        self._make_deployments(plan)
        self.calls = Calls(self.deployments[CHECKERS])

    def _make_deployments(self, plan: DeploymentPlan) -> None:
        nothing = Digest(bytes(32))
        contracts = {name: Contract(at, nothing) for name, at in plan.addresses.items()}
        whole = Deployment(self.chain_id, plan.genesis, 0, contracts, PRESET)
        shape = get_interface("Consensus")
        for seats in SEATS:
            if seats == CHECKERS:
                self.deployments[seats] = whole
                continue
            arguments = (
                whole.address("Registry"),
                whole.address("Beacon"),
                seats,
                PRESET.grace_seconds,
                PRESET.tolerance_shift,
                PRESET.ring_epochs,
            )
            call = Call(None, shape.encode_deployment(arguments))
            created = self.evm.send(call, self.operator.wallet)["contractAddress"]
            other = Contract(Wallet(bytes.fromhex(created[2:])), nothing)
            self.deployments[seats] = replace(
                whole,
                contracts={**contracts, "Consensus": other},
                preset=replace(PRESET, seats=seats),
            )

    @property
    def whole(self) -> Deployment:
        """The deployment that leases and rewards belong to."""
        return self.deployments[CHECKERS]

    @property
    def epoch(self) -> int:
        """The epoch that is."""
        return (self.evm.now() - self.whole.genesis) // EPOCH_SECONDS

    def send(self, call: Call, sender: Person) -> int:
        """Execute a call; the gas that its receipt says."""
        return int(self.evm.send(call, sender.wallet)["gasUsed"])

    def call(self, contract: str, function: str, *arguments: object) -> Call:
        """Build a call that `Calls` has no name for."""
        shape = get_interface(contract).functions[function]
        return Call(self.deployments[CHECKERS].address(contract), shape.encode(arguments))

    def read(self, contract: str, function: str, *arguments: object) -> tuple[Any, ...]:
        """Ask a view."""
        shape = get_interface(contract).functions[function]
        address = self.deployments[CHECKERS].address(contract)
        return shape.decode(self.evm.read(address, shape.encode(arguments)))

    def enter(self, epoch: int) -> None:
        """Move the clock into an epoch."""
        self.evm.travel(self.deployments[CHECKERS].genesis + epoch * EPOCH_SECONDS + 1)

    def give_and_approve(self, person: Person, contract: str, amount: int) -> None:
        """Let `person` have tokens, and the contract take all of them."""
        self.send(self.calls.transfer(person.wallet, amount), self.operator)
        spender = self.deployments[CHECKERS].address(contract)
        self.send(self.calls.approve(spender, 2**256 - 1), person)

    def register(self, kind: str, people: Sequence[Person]) -> int:
        """Register everybody; the gas of the dearest registration, approval not included."""
        dearest = 0
        for person in people:
            self.give_and_approve(person, "Registry", STAKE)
            # Random key and binding: like real ones they have hardly a zero byte.
            key, half, other_half = (self.random.randbytes(32) for _ in range(3))
            call = self.call("Registry", f"register_{kind}", key, half, other_half, STAKE)
            dearest = max(dearest, self.send(call, person))
        return dearest

    def contribute(self) -> tuple[str, int]:
        """Let every checker feed the Beacon; name and gas of the last one's call."""
        name = "contribute" if self.secrets else "commit"
        fresh = [self.random.randbytes(32) for _ in self.checkers]
        gas = 0
        for index, checker in enumerate(self.checkers):
            following = keccak256(fresh[index])
            if self.secrets:
                call = self.calls.contribute(index, self.secrets[index], following)
            else:
                call = self.calls.commit(index, following)
            gas = self.send(call, checker)
        self.secrets = fresh
        return name, gas

    def make_reports(self, seats: int, epoch: Epoch, *, fraud: int = 0) -> list[SignedReport]:
        """Reports of a full committee that measured the same 256 providers within 2 %."""
        (seed,) = self.read("Beacon", "seed", epoch)
        members = compute_committee(Digest(seed), SHARD, CHECKERS, seats)
        true = [self.random.randrange(8_000, 32_000) for _ in range(PROVIDERS)]
        # A map of its own for each epoch, so that this word is overwritten like the others.
        online = self.random.getrandbits(PROVIDERS)
        return [
            self.sign(
                seats,
                seat,
                self.checkers[member],
                Report(
                    epoch=epoch,
                    shard=SHARD,
                    scores=tuple(
                        round(score * (1 + self.random.uniform(-SPREAD, SPREAD))) for score in true
                    ),
                    online=online,
                    fraud=fraud,
                    evidence=Digest(self.random.randbytes(32)),
                ),
            )
            for seat, member in enumerate(members)
        ]

    def seats(self, epoch: Epoch) -> tuple[int, ...]:
        """Checker index of each seat of the largest committee."""
        (seed,) = self.read("Beacon", "seed", epoch)
        return compute_committee(Digest(seed), SHARD, CHECKERS, CHECKERS)

    def seat_of(self, checker: int, epoch: Epoch) -> Seat:
        """The seat of a checker in it; everybody has one."""
        return Seat(self.seats(epoch).index(checker))

    def since(self, checker: int) -> int:
        """First epoch of a checker's tenancy."""
        _, since = self.read("Registry", "checker_tenant", checker)
        return int(since)

    def sign(self, seats: int, seat: int, checker: Person, report: Report) -> SignedReport:
        """Sign a report for the Consensus of this committee size."""
        consensus = self.deployments[seats].address("Consensus")
        digest = compute_report_digest(compute_domain_separator(self.chain_id, consensus), report)
        signed = checker.key.sign_msg_hash(digest)
        raw = signed.r.to_bytes(32, "big") + signed.s.to_bytes(32, "big") + bytes([27 + signed.v])
        return SignedReport(Seat(seat), report, raw)

    def submit(self, seats: int, epoch: Epoch, reports: Sequence[SignedReport]) -> int:
        """Settle the shard; the gas."""
        columns = zip(*(signed.report.scores for signed in reports), strict=True)
        medians = [low_median(column) for column in columns]
        call = Calls(self.deployments[seats]).submit(epoch, SHARD, medians, reports)
        return self.send(call, self.operator)
