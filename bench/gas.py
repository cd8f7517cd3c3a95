"""Gas of the contracts, from the receipts of real transactions on py-evm under london rules.

The claim: settling a full shard of 256 providers, everything included (21,000, calldata,
signatures, medians, counters, storage, event), costs at most 1,600 gas per provider with 11 reports
and 1,200 with 7.

What is measured is the steady state: the ring has wrapped, so scores overwrite scores, and so does
every other word that a bundle writes. All 256 lanes are in use; scores are 15-bit numbers, and the
reports on one provider lie within 2 % of its true score.

    python -m bench.gas [--json PATH]
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low
from typing import Any

from eth.vm.forks.london import LondonVM
from eth_account import Account
from eth_keys import keys
from eth_tester import EthereumTester, PyEVMBackend
from eth_utils import keccak
from web3 import EthereumTesterProvider, Web3

from chain.compile import ARTEFACTS_DIR, DEPLOYED

PROVIDERS = 256
CHECKERS = 16
SEATS = (4, 7, 11)
RING_EPOCHS = 4
"""The shortest ring the contract allows: gas does not depend on its length once it has wrapped."""

EPOCH_SECONDS = 100_000
"""So long that every transaction of an epoch fits into it, one block each."""

UNIT = 10**18
SPREAD = 0.02
SEED = 1337

LIMITS = {7: 1_200, 11: 1_600}
"""Gas per provider that the project holds itself to (issue 2)."""

PEERS = (
    ("Chainlink OCR2 aggregator, one report, 11 signatures", 177_300),
    ("Chainlink OCR3 ECDSA verifier, one report, 11 signatures", 97_800),
    ("Wormhole core, one message, 13 signatures", 198_000),
)
"""Published contracts, compiled and measured elsewhere by the project; one value each, not 256."""

REPORT_TYPE = {
    "Report": [
        {"name": "epoch", "type": "uint32"},
        {"name": "shard", "type": "uint32"},
        {"name": "online", "type": "uint256"},
        {"name": "fraud", "type": "uint256"},
        {"name": "scores", "type": "bytes32"},
        {"name": "evidence", "type": "bytes32"},
    ]
}

Key = Any  # an eth_keys.PrivateKey: the package exports no types


@dataclass(frozen=True, slots=True)
class Person:
    """A wallet with its signing key."""

    key: Key
    address: str


class Chain:
    """An in-process chain; every transaction is mined into a block of its own."""

    def __init__(self, people: int) -> None:
        private = [keys.PrivateKey(keccak(f"bench {i}".encode())) for i in range(people)]
        self.people = [Person(key, key.public_key.to_checksum_address()) for key in private]
        genesis = {
            key.public_key.to_canonical_address(): {
                "balance": 10**24,
                "nonce": 0,
                "code": b"",
                "storage": {},
            }
            for key in private
        }
        backend = PyEVMBackend(genesis_state=genesis, vm_configuration=((0, LondonVM),))
        self.tester = EthereumTester(backend)
        known = {account.lower() for account in self.tester.get_accounts()}
        for person in self.people:
            if person.address.lower() not in known:
                self.tester.add_account(person.key.to_hex())
        self.web3 = Web3(EthereumTesterProvider(self.tester))
        self.web3.eth.default_account = self.people[0].address

    def now(self) -> int:
        """Return the timestamp of the newest block."""
        return int(self.web3.eth.get_block("latest")["timestamp"])

    def deploy(self, name: str, *arguments: object) -> Any:
        """Deploy an artefact as the first person."""
        artefact = json.loads((ARTEFACTS_DIR / f"{name}.json").read_text("utf-8"))
        factory = self.web3.eth.contract(abi=artefact["abi"], bytecode=artefact["bytecode"])
        receipt = self._receipt(factory.constructor(*arguments), self.people[0])
        return self.web3.eth.contract(address=receipt["contractAddress"], abi=artefact["abi"])

    def send(self, call: Any, sender: Person) -> int:
        """Send a call; return the gas its receipt says."""
        return int(self._receipt(call, sender)["gasUsed"])

    def _receipt(self, call: Any, sender: Person) -> Any:
        sent = call.transact({"from": sender.address, "gas": 12_000_000})
        receipt = self.web3.eth.get_transaction_receipt(sent)
        if receipt["status"] != 1:
            raise RuntimeError(f"transaction failed: {call}")
        return receipt


class World:
    """A deployment with a full shard, and a Consensus per size of committee."""

    def __init__(self) -> None:
        self.random = random.Random(SEED)
        self.chain = Chain(1 + PROVIDERS + CHECKERS)
        self.operator, *others = self.chain.people
        self.providers = others[:PROVIDERS]
        self.checkers = others[PROVIDERS:]
        deploy = self.chain.deploy
        self.token = deploy("Token", "Kaisar", "KAI", 10**9 * UNIT)
        self.registry = deploy(
            "Registry",
            self.token.address,
            UNIT,
            UNIT,
            UNIT,
            self.chain.now(),
            EPOCH_SECONDS,
            0,
            RING_EPOCHS + 1,
        )
        self.beacon = deploy("Beacon", self.registry.address)
        self.consensus = {
            seats: deploy(
                "Consensus",
                self.registry.address,
                self.beacon.address,
                seats,
                EPOCH_SECONDS // 2,
                5,
                RING_EPOCHS,
            )
            for seats in SEATS
        }
        self.rewards = deploy(
            "Rewards",
            self.token.address,
            self.registry.address,
            self.consensus[max(SEATS)].address,
            self.beacon.address,
            1000 * UNIT,
            1000 * UNIT,
        )
        self.register_gas = {
            "register_provider": self._register("register_provider", self.providers),
            "register_checker": self._register("register_checker", self.checkers),
        }
        self._fund()
        self.secrets = [b""] * CHECKERS

    def _register(self, name: str, people: Sequence[Person]) -> int:
        """Register everybody; return the gas of the dearest registration."""
        dearest = 0
        for person in people:
            self.chain.send(self.token.functions.transfer(person.address, 10 * UNIT), self.operator)
            self.chain.send(self.token.functions.approve(self.registry.address, 2**256 - 1), person)
            # Random key and binding: like real ones they have hardly a zero byte.
            key, half, other_half = (self.random.randbytes(32) for _ in range(3))
            call = self.registry.functions[name](key, half, other_half, 10 * UNIT)
            dearest = max(dearest, self.chain.send(call, person))
        return dearest

    def _fund(self) -> None:
        amount = 10**6 * UNIT
        self.chain.send(self.token.functions.approve(self.rewards.address, amount), self.operator)
        self.chain.send(self.rewards.functions.fund(amount), self.operator)

    def epoch_start(self, epoch: int) -> int:
        """Return the first second of an epoch."""
        return int(self.registry.functions.epoch_start(epoch).call())

    def enter(self, epoch: int) -> None:
        """Move the clock into an epoch."""
        self.chain.tester.time_travel(self.epoch_start(epoch) + 1)

    def contribute(self) -> dict[str, int]:
        """Let every checker contribute to the beacon; return the gas of the last one's call."""
        gas = 0
        name = "commit" if not self.secrets[0] else "contribute"
        for index, person in enumerate(self.checkers):
            opened, self.secrets[index] = self.secrets[index], self.random.randbytes(32)
            following = keccak(self.secrets[index])
            if name == "commit":
                call = self.beacon.functions.commit(index, following)
            else:
                call = self.beacon.functions.contribute(index, opened, following)
            gas = self.chain.send(call, person)
        return {name: gas}

    def submit(self, seats: int, epoch: int) -> int:
        """Settle the shard with a full committee; return the gas."""
        consensus = self.consensus[seats]
        functions = consensus.functions
        members = functions.committee(epoch, 0).call()
        # A map of its own for each epoch, so that this word is overwritten like the others.
        online = self.random.getrandbits(PROVIDERS)
        vectors = self._vectors(seats)
        reports = [
            self._report(consensus, epoch, seat, self.checkers[member], vector, online)
            for seat, (member, vector) in enumerate(zip(members, vectors, strict=True))
        ]
        medians = _pack([median_low(lane) for lane in zip(*vectors, strict=True)])
        call = functions.submit(epoch, 0, _blocks(medians), reports)
        return self.chain.send(call, self.operator)

    def _vectors(self, count: int) -> list[list[int]]:
        """Scores of `count` checkers that measured the same 256 providers."""
        true = [self.random.randrange(8_000, 32_000) for _ in range(PROVIDERS)]
        return [
            [round(score * (1 + self.random.uniform(-SPREAD, SPREAD))) for score in true]
            for _ in range(count)
        ]

    def _report(
        self,
        consensus: Any,
        epoch: int,
        seat: int,
        checker: Person,
        vector: list[int],
        online: int,
    ) -> tuple[object, ...]:
        words = _pack(vector)
        message = {
            "epoch": epoch,
            "shard": 0,
            "online": online,
            "fraud": 0,
            "scores": keccak(b"".join(word.to_bytes(32, "big") for word in words)),
            "evidence": self.random.randbytes(32),
        }
        domain = {
            "name": "Kaisar",
            "version": "1",
            "chainId": self.chain.web3.eth.chain_id,
            "verifyingContract": consensus.address,
        }
        signed = Account.sign_typed_data(checker.key, domain, REPORT_TYPE, message)
        vs = signed.s | (signed.v - 27) << 255
        r = signed.r.to_bytes(32, "big")
        return seat, _blocks(words), online, message["fraud"], message["evidence"], r, vs


def _pack(scores: Sequence[int]) -> list[int]:
    """Pack 256 scores, sixteen to a word, little end first."""
    return [
        sum(score << 16 * lane for lane, score in enumerate(scores[first : first + 16]))
        for first in range(0, 256, 16)
    ]


def _blocks(words: Sequence[int]) -> list[Sequence[int]]:
    """Cut sixteen words into the four blocks of four that the contract takes."""
    return [words[first : first + 4] for first in range(0, 16, 4)]


def measure() -> dict[str, Any]:
    """Run everything; return the figures."""
    world = World()
    actions = dict(world.register_gas)
    actions |= world.contribute()
    first: dict[int, int] = {}
    steady: dict[int, int] = {}
    # Epochs 1..4 fill the ring; 5 and 6 write over it.
    last = RING_EPOCHS + 2
    for epoch in range(1, last + 1):
        world.enter(epoch)
        actions |= world.contribute()
        for seats in SEATS:
            gas = world.submit(seats, epoch)
            first.setdefault(seats, gas)
            if epoch > RING_EPOCHS:
                steady[seats] = max(gas, steady.get(seats, 0))
    world.enter(last + 2)
    actions |= _claims(world, last)
    return {
        "submit": {
            str(seats): {"gas": gas, "per_provider": round(gas / PROVIDERS, 1)}
            for seats, gas in steady.items()
        },
        "submit_first": {
            str(seats): {"gas": gas, "per_provider": round(gas / PROVIDERS, 1)}
            for seats, gas in first.items()
        },
        "actions": actions,
        "sizes": _sizes(),
        "setting": {
            "providers": PROVIDERS,
            "ring_epochs": RING_EPOCHS,
            "spread": SPREAD,
            "seed": SEED,
            "evm": "py-evm, london",
            "python": platform.python_version(),
        },
    }


def _claims(world: World, last: int) -> dict[str, int]:
    functions = world.rewards.functions
    send, operator = world.chain.send, world.operator
    consensus = world.consensus[max(SEATS)].functions

    def items(checker: int, epochs: Sequence[int]) -> list[tuple[int, int, int]]:
        packed = {epoch: consensus.bundle(epoch, 0).call()[5] for epoch in epochs}
        return [
            (epoch, 0, seat)
            for epoch in epochs
            for seat in range(max(SEATS))
            if packed[epoch] >> 16 * seat & 0xFFFF == checker
        ]

    # A checker with a seat in both epochs. The first claim in an epoch opens the epoch's word.
    busy = next(c for c in range(1, CHECKERS) if len(items(c, [last - 1, last])) == 2)
    return {
        "claim_provider_first": send(functions.claim_provider(0, [last - 1]), operator),
        "claim_provider_1_epoch": send(functions.claim_provider(0, [last]), operator),
        "claim_provider_2_epochs": send(functions.claim_provider(1, [last - 1, last]), operator),
        "claim_checker_1_seat": send(
            functions.claim_checker(busy, items(busy, [last - 1])), operator
        ),
        "claim_checker_next_seat": send(
            functions.claim_checker(busy, items(busy, [last])), operator
        ),
    }


def _sizes() -> dict[str, int]:
    return {
        name: json.loads((ARTEFACTS_DIR / f"{name}.json").read_text("utf-8"))["deployed_size"]
        for name in DEPLOYED
    }


def render(result: dict[str, Any]) -> str:
    """Return the table for people."""
    lines = ["submit: 256 providers, everything included", ""]
    lines += [f"{'reports':>8} {'gas':>10} {'per provider':>13} {'limit':>7} {'first write':>12}"]
    for seats, row in result["submit"].items():
        limit = LIMITS.get(int(seats), "")
        fresh = result["submit_first"][seats]["gas"]
        cells = f"{seats:>8} {row['gas']:>10,} {row['per_provider']:>13,}"
        lines += [f"{cells} {limit:>7} {fresh:>12,}"]
    lines += ["", "published peers"]
    lines += [f"{gas:>10,}  {what}" for what, gas in PEERS]
    lines += ["", "other transactions"]
    lines += [f"{gas:>10,}  {name}" for name, gas in result["actions"].items()]
    lines += ["", "deployed bytes"]
    lines += [f"{size:>10,}  {name}" for name, size in result["sizes"].items()]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Command line; the exit status is 1 when a limit is exceeded."""
    parser = argparse.ArgumentParser(prog="python -m bench.gas", description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args(arguments)
    result = measure()
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(render(result))
    exceeded = [
        seats
        for seats, limit in LIMITS.items()
        if result["submit"][str(seats)]["per_provider"] > limit
    ]
    for seats in exceeded:
        print(f"limit exceeded with {seats} reports", file=sys.stderr)
    return 1 if exceeded else 0


if __name__ == "__main__":
    sys.exit(main())
