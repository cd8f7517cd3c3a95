"""A small network on a titanoboa chain: contracts, wallets, registrations, reports and bundles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import boa
import rlp
from eth_keys import keys
from eth_utils import keccak, to_checksum_address

from tests.chain.contracts import reference

CONTRACTS = Path(__file__).parents[3] / "chain" / "contracts"
MOCKS = Path(__file__).parent / "mocks"

UNIT = 10**18
NO_EXIT = 2**32 - 1
EPOCH_SECONDS = 600
GRACE_SECONDS = 120
UNSTAKE_DELAY = 3_300
TOLERANCE_SHIFT = 4
RING = 4
REUSE_DELAY = 8
SUPPLY = 10**9 * UNIT
PROVIDER_POOL = 1_000 * UNIT
CHECKER_POOL = 500 * UNIT
ERA, CARRY = 1_000, 4
STEWARD_DELAY = 1_000
FRAUD_SLASH_BPS = 3_000
BOUNTY_BPS = 1_000
EMISSION_BPS = 10_000
PARAMETERS = (UNIT, 2 * UNIT, FRAUD_SLASH_BPS, BOUNTY_BPS, EMISSION_BPS)
BAN_WEEK, BAN_MONTH, BAN_HALF_YEAR = 7, 30, 182

LEASE_FEE_BPS, LEASE_PENALTY_BPS = 500, 1_000
ACCEPT_SECONDS, MAX_LEASE_SECONDS = 100, 100_000

AFTER_TOKEN = (
    "Registry",
    "Steward",
    "Beacon",
    "Consensus",
    "Rewards",
    "Delegation",
    "Penalties",
    "Rental",
)
"""What is deployed after the token, in this order: addresses are known before."""


@cache
def deployer(name: str) -> Any:
    """A contract's deployer; compiled once per test run."""
    path = CONTRACTS / f"{name}.vy"
    return boa.load_partial(str(path if path.exists() else MOCKS / f"{name}.vy"))


@cache
def private_key(name: str) -> Any:
    return keys.PrivateKey(keccak(name.encode()))


def wallet(name: str) -> str:
    """The address of the wallet called `name`."""
    return str(private_key(name).public_key.to_checksum_address())


def wallet_of_nobody() -> str:
    return to_checksum_address(bytes(20))


@dataclass(frozen=True)
class Report:
    """One seat's report before it is encoded."""

    seat: int
    signer: str
    scores: Sequence[int]
    online: int = 2**reference.LANES - 1
    fraud: int = 0
    evidence: bytes = b"\x11" * 32


@dataclass
class World:
    """Contracts and the people registered there; people are names, from which their keys follow."""

    token: Any
    registry: Any
    steward: Any
    beacon: Any
    consensus: Any
    rewards: Any
    delegation: Any
    penalties: Any
    rental: Any
    seats: int
    genesis: int
    checkers: list[str] = field(default_factory=list)  # by index
    providers: list[str] = field(default_factory=list)

    # -- time

    @property
    def epoch(self) -> int:
        return int(self.registry.current_epoch())

    def enter(self, epoch: int, seconds: int = 0) -> None:
        """Move the clock to `seconds` after the start of `epoch`."""
        target = self.genesis + epoch * EPOCH_SECONDS + seconds
        assert target >= boa.env.timestamp, "the clock only runs forward"
        boa.env.timestamp = target

    # -- people

    def give(self, person: str, amount: int) -> None:
        self.token.transfer(wallet(person), amount)

    def register(self, kind: str, person: str, stake: int = 10 * UNIT) -> int:
        """Fund and register a wallet as "provider" or "checker"."""
        self.give(person, stake)
        with boa.env.prank(wallet(person)):
            self.token.approve(self.registry, stake)
            method: Callable[..., int] = getattr(self.registry, f"register_{kind}")
            index = method(keccak(b"node" + person.encode()), b"\x22" * 32, b"\x33" * 32, stake)
        people = self.checkers if kind == "checker" else self.providers
        if index == len(people):
            people.append(person)
        else:
            people[index] = person
        return index

    def populate(self, checkers: int, providers: int) -> None:
        """Register people in the current epoch."""
        for i in range(checkers):
            self.register("checker", f"checker {i}")
        for i in range(providers):
            self.register("provider", f"provider {i}")

    # -- beacon

    @staticmethod
    def secret(person: str, number: int) -> bytes:
        return keccak(f"secret {number} of {person}".encode())

    def commit(self, index: int, number: int = 0) -> None:
        """Commit to a checker's secret of that number."""
        person = self.checkers[index]
        with boa.env.prank(wallet(person)):
            self.beacon.commit(index, keccak(self.secret(person, number)))

    def commit_all(self) -> None:
        for index in range(len(self.checkers)):
            self.commit(index)

    def contribute(self, index: int, number: int = 0) -> None:
        """Open the secret of that number and commit to the next."""
        person = self.checkers[index]
        opened, following = self.secret(person, number), self.secret(person, number + 1)
        with boa.env.prank(wallet(person)):
            self.beacon.contribute(index, opened, keccak(following))

    # -- reports

    def committee(self, epoch: int, shard: int = 0, slots: int | None = None) -> list[int]:
        slots = len(self.checkers) if slots is None else slots
        return reference.committee(self.beacon.seed(epoch), shard, slots, self.seats)

    def reports(self, vectors: Sequence[Sequence[int]], epoch: int, shard: int = 0) -> list[Report]:
        """One report per vector, from the first seats of the committee."""
        members = self.committee(epoch, shard)
        return [
            Report(seat, self.checkers[members[seat]], vector)
            for seat, vector in enumerate(vectors)
        ]

    def domain(self) -> bytes:
        return reference.domain_separator(boa.env.evm.patch.chain_id, self.consensus.address)

    def signature(
        self, report: Report, epoch: int, shard: int = 0, domain: bytes | None = None
    ) -> tuple[int, int, int]:
        """(r, s, v) with v 27 or 28, by the report's signer."""
        digest = reference.report_digest(
            self.domain() if domain is None else domain,
            epoch,
            shard,
            report.online,
            report.fraud,
            reference.pack(report.scores),
            report.evidence,
        )
        signature = private_key(report.signer).sign_msg_hash(digest)
        return signature.r, signature.s, 27 + signature.v

    def encode(
        self,
        report: Report,
        epoch: int,
        shard: int = 0,
        signature: tuple[int, int, int] | None = None,
    ) -> tuple[object, ...]:
        r, s, v = signature or self.signature(report, epoch, shard)
        return (
            report.seat,
            reference.blocks(report.scores),
            report.online,
            report.fraud,
            report.evidence,
            reference.word(r),
            s | (v - 27) << 255,
        )

    def submit(
        self,
        reports: Sequence[Report],
        epoch: int,
        shard: int = 0,
        medians: Sequence[int] | None = None,
        encoded: Sequence[tuple[object, ...]] | None = None,
    ) -> None:
        if medians is None:
            medians = reference.low_medians([report.scores for report in reports])
        self.consensus.submit(
            epoch,
            shard,
            reference.blocks(medians),
            [self.encode(r, epoch, shard) for r in reports] if encoded is None else encoded,
        )

    # -- results, as Consensus keeps them (results.vy)

    def entry(self, epoch: int, place: int, *, of_seat: bool) -> tuple[int, int]:
        """Two words of shard << 4 | seat or w: the half of the seat or scores w; the epoch's."""
        places = [epoch << 32 | place, *[0] * 63]
        word, epoch_word = self.consensus.entries(places, 1, of_seat)[:2]
        return word, epoch_word

    def provider_share(self, epoch: int, index: int) -> tuple[int, int]:
        """A provider's score and the sum of all."""
        scores, epoch_word = self.entry(epoch, index // 16, of_seat=False)
        return scores >> 16 * (index % 16) & reference.MAX_SCORE, epoch_word >> 32 & 2**48 - 1

    def checker_share(self, epoch: int, shard: int, seat: int) -> tuple[int, int, int, int]:
        """Who held the seat, weight and units of its report, the sum of all weight * units."""
        half, epoch_word = self.entry(epoch, shard << 4 | seat & 15, of_seat=True)
        place = seat % 8
        if seat > 15 or not half >> 200 + place & 1:
            return 0, 0, 0, 0
        deviating, used = half >> 9 * place & 0x1FF, half >> 208 & 0x1FF
        seed = (epoch_word >> 160 << 160 | epoch).to_bytes(32, "big")
        members = reference.committee(seed, shard, epoch_word >> 144 & 0xFFFF, self.seats)
        assert self.consensus.seat_result(epoch, shard, seat) == (members[seat], deviating, used)
        units = half >> 72 + 16 * place & 0xFFFF
        weight = reference.weight(used, deviating)
        return members[seat], weight, units, epoch_word >> 80 & 2**64 - 1


def predict() -> dict[str, str]:
    """The addresses that the next deployments get, in the order of AFTER_TOKEN."""
    sender = boa.env.eoa.canonical_address
    nonce = boa.env.evm.vm.state.get_nonce(sender)
    return {
        name: to_checksum_address(keccak(rlp.encode([sender, nonce + i]))[12:])
        for i, name in enumerate(AFTER_TOKEN)
    }


def build(
    seats: int = 4,
    token: Any = None,
    ring: int = RING,
    reuse_delay: int = REUSE_DELAY,
    provider_pool: int = PROVIDER_POOL,
    checker_pool: int = CHECKER_POOL,
    era: int = ERA,
    carry: int = CARRY,
    unit: int = UNIT,
    parameters: Sequence[int] = PARAMETERS,
    seconds_to_genesis: int = 0,
) -> World:
    """Deploy everything, by default with genesis now."""
    genesis = boa.env.timestamp + seconds_to_genesis
    if token is None:
        token = deployer("Token").deploy("Kaisar", "KAI", SUPPLY)
    at = predict()
    registry = deployer("Registry").deploy(
        token,
        at["Steward"],
        at["Penalties"],
        at["Delegation"],
        unit,
        genesis,
        EPOCH_SECONDS,
        UNSTAKE_DELAY,
        reuse_delay,
    )
    steward = deployer("Steward").deploy(
        registry, wallet("owner"), wallet("guardian"), STEWARD_DELAY, parameters
    )
    beacon = deployer("Beacon").deploy(registry)
    consensus = deployer("Consensus").deploy(
        registry, beacon, seats, GRACE_SECONDS, TOLERANCE_SHIFT, ring
    )
    rewards = deployer("Rewards").deploy(
        token,
        registry,
        consensus,
        beacon,
        steward,
        at["Delegation"],
        provider_pool,
        checker_pool,
        era,
        carry,
    )
    delegation = deployer("Delegation").deploy(token, registry, rewards, at["Penalties"], ring + 1)
    penalties = deployer("Penalties").deploy(
        token,
        registry,
        consensus,
        rewards,
        delegation,
        steward,
        BAN_WEEK,
        BAN_MONTH,
        BAN_HALF_YEAR,
    )
    rental = deployer("Rental").deploy(
        token,
        registry,
        consensus,
        rewards,
        LEASE_FEE_BPS,
        LEASE_PENALTY_BPS,
        ACCEPT_SECONDS,
        MAX_LEASE_SECONDS,
    )
    world = World(
        token,
        registry,
        steward,
        beacon,
        consensus,
        rewards,
        delegation,
        penalties,
        rental,
        seats,
        genesis,
    )
    assert all(getattr(world, name.lower()).address == at[name] for name in AFTER_TOKEN)
    return world


def events(contract: Any) -> list[Any]:
    """What the last call of `contract` logged itself, without what others logged in it."""
    return [event for event in contract.get_logs() if event.address == contract.address]


def lanes(*scores: int) -> list[int]:
    """A vector that starts with these scores, the rest 0."""
    return [*scores, *[0] * (reference.LANES - len(scores))]


def change(report: Report, **changes: Any) -> Report:
    return replace(report, **changes)
