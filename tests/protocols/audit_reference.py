"""A job's transcript a second time, from docs/spec/{streams,reports}.md and the other references.

One object plays both sides of a job with the keys of checker and provider, so that every message
can be made otherwise than it should be. Nothing of `protocols` is used.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

from nacl.signing import SigningKey

from tests.protocols import chain_vectors as chains
from tests.protocols import compute_reference as compute
from tests.protocols import memory_reference as memory
from tests.protocols import wire_reference as ref
from tests.protocols.compute_reference import u32

OPENINGS, MEMORY_OPENINGS, CHAIN_OPENINGS = 64, 32, 32

Fields = dict[str, Any]


@dataclass(frozen=True)
class Numbers:
    """What the references need of a preset."""

    k: int = 32
    n: int = 16
    window_ms: int = 1_000
    pass_window_ms: int = 150
    chain_window_ms: int = 100
    reference_rate: int = 40_000
    reference_chain_rate: int = 1_000
    max_stake: int = 10_000 * 10**18

    @property
    def iterations(self) -> int:
        """Length of a segment: here always the least."""
        return max(64, self.reference_chain_rate * self.chain_window_ms // 1_024_000)


@dataclass(frozen=True)
class Device:
    """What a device does in a job."""

    number: int = 0
    m: int = 4
    rounds: int = 3
    kept: int = 1
    passes: int = 3


@dataclass(frozen=True)
class Exchange:
    """One job between one checker and one provider, which does what `devices` and `segments` say.

    `tamper` spoils the rows of a device's rounds, as in `compute_reference.prove`.
    """

    network: bytes
    checker_key: SigningKey = field(repr=False)
    provider_key: SigningKey = field(repr=False)
    place: Mapping[str, int]
    """epoch, shard, seat, checker and provider of the job."""
    secret: bytes
    b_seed: bytes
    numbers: Numbers = Numbers()
    devices: Sequence[Device] = (Device(), Device(1, m=3, rounds=2, kept=0, passes=0))
    segments: Sequence[int] = (5, 3)
    receipts: Sequence[bytes] = ()
    tamper: compute.Tamper | None = None

    def other(self, **changes: Any) -> "Exchange":
        """The same with something else."""
        return replace(self, **changes)

    # Requests

    @property
    def provider(self) -> bytes:
        return bytes(self.provider_key.verify_key)

    def nonce(self, name: str) -> bytes:
        return ref.message_digest(f"kaisar/{name}/1".encode() + self.secret + self.provider)

    def job(self, **change: Any) -> Fields:
        shape = {"k": self.numbers.k, "n": self.numbers.n, "window_ms": self.numbers.window_ms}
        return {**self.place, "nonce": self.nonce("job-nonce"), **shape, **change}

    @property
    def id(self) -> bytes:
        return ref.message_digest(ref.body("Job", self.job()))

    def pass_request(self) -> Fields:
        return {
            "job": self.id,
            "nonce": self.nonce("pass-nonce"),
            "window_ms": self.numbers.pass_window_ms,
        }

    def chain_request(self) -> Fields:
        return {
            "job": self.id,
            "nonce": self.nonce("chain-nonce"),
            "window_ms": self.numbers.chain_window_ms,
        }

    def randomness(self, messages: Sequence[bytes]) -> bytes:
        """From which the openings are drawn, after these messages."""
        return ref.message_digest(b"kaisar/openings/1" + self.secret + transcript_digest(messages))

    def open_request(self, randomness: bytes) -> Fields:
        devices = self.devices
        rows = compute.draw(randomness, [(d.rounds, d.m) for d in devices], OPENINGS)
        pairs = memory.draw(
            randomness,
            [(d.passes, d.kept * d.m) if d.passes else (0, 1) for d in devices],
            MEMORY_OPENINGS,
        )
        asked = [
            sorted({*chosen, *(done.locate(q) for _, q in drawn)}) if done else chosen
            for chosen, drawn, done in zip(rows, pairs, self.done_passes, strict=True)
        ]
        return {
            "job": self.id,
            "rows": [encode_pairs(each) for each in asked],
            "passes": [encode_pairs(each) for each in pairs],
            "chains": encode_pairs(chains.draw(randomness, list(self.segments), CHAIN_OPENINGS)),
        }

    # Answers

    @cached_property
    def proofs(self) -> list[compute.Proof]:
        return [
            compute.prove(
                compute.Job(
                    device.m,
                    self.numbers.k,
                    self.numbers.n,
                    self.b_seed,
                    self.nonce("job-nonce"),
                    self.provider,
                    device.number,
                ),
                device.rounds,
                self.tamper,
            )
            for device in self.devices
        ]

    @cached_property
    def done_passes(self) -> list[memory.Passes | None]:
        nonce = self.nonce("pass-nonce")
        return [
            memory.prove(proof, device.kept, nonce, device.passes) if device.passes else None
            for proof, device in zip(self.proofs, self.devices, strict=True)
        ]

    @cached_property
    def chains(self) -> list[list[bytes]]:
        job = chains.Job(self.id, self.nonce("chain-nonce"), self.provider, self.numbers.iterations)
        return [job.leaves(chain, count) for chain, count in enumerate(self.segments)]

    def commitment(self, **change: Any) -> Fields:
        works = [
            u32(d.number, d.m, d.rounds, d.kept) + proof.commitment
            for d, proof in zip(self.devices, self.proofs, strict=True)
        ]
        return {"job": self.id, "devices": works, "receipts": list(self.receipts), **change}

    def passes(self, **change: Any) -> Fields:
        devices = [
            u32(len(done.roots)) + done.commitment if done else bytes(36)
            for done in self.done_passes
        ]
        request = ref.message_digest(ref.body("PassRequest", self.pass_request()))
        return {"job": self.id, "request": request, "devices": devices, **change}

    def chain_answer(self, **change: Any) -> Fields:
        request = ref.message_digest(ref.body("ChainRequest", self.chain_request()))
        data = chains.commit(self.chains)
        return {"job": self.id, "request": request, "chains": data, **change}

    def openings(self, asked: Fields, **change: Any) -> Fields:
        opened = [
            proof.open(decode_pairs(rows)) if rows else b""
            for proof, rows in zip(self.proofs, asked["rows"], strict=True)
        ]
        passes = [
            done.open(decode_pairs(pairs)) if done else b""
            for done, pairs in zip(self.done_passes, asked["passes"], strict=True)
        ]
        data = chains.open_pairs(self.chains, decode_pairs(asked["chains"]))
        request = ref.message_digest(ref.body("OpenRequest", asked))
        fields = {"job": self.id, "request": request, "rows": opened, "passes": passes}
        return {**fields, "chains": data, **change}

    # Transcripts

    def ask(self, name: str, fields: Fields) -> bytes:
        """A message of the checker."""
        return ref.seal(self.checker_key, self.network, name, fields)

    def answer(self, name: str, fields: Fields) -> bytes:
        """A message of the provider."""
        return ref.seal(self.provider_key, self.network, name, fields)

    def messages(self, randomness: bytes | None = None) -> list[bytes]:
        """The whole transcript; `randomness` draws other openings than the protocol does."""
        messages = [
            self.ask("Job", self.job()),
            self.answer("Commitment", self.commitment()),
            self.ask("PassRequest", self.pass_request()),
            self.answer("Passes", self.passes()),
            self.ask("ChainRequest", self.chain_request()),
            self.answer("Chains", self.chain_answer()),
        ]
        asked = self.open_request(randomness or self.randomness(messages))
        messages.append(self.ask("OpenRequest", asked))
        messages.append(self.answer("Openings", self.openings(asked)))
        return messages

    def most(self, stake: int, bandwidth: int = 0) -> int:
        """The score that an audit allows; these devices hold too little to be credited for it."""
        numbers = self.numbers
        operations = sum(2 * d.m * numbers.k * numbers.n * d.rounds for d in self.devices)
        rate = operations * 1000 // numbers.window_ms
        done = [count * numbers.iterations for count in self.segments]
        per_s = sum(done) * 1000 // numbers.chain_window_ms
        tier = 32 * numbers.reference_chain_rate
        terms = {
            "bandwidth": bandwidth,
            "cpu": int(Fraction(400 * per_s, tier)),
            "gpu": 10_000 * rate // numbers.reference_rate,
            "memory": 0,
        }
        return ref.score(1000, 1000, stake, numbers.max_stake, terms)


def encode_pairs(pairs: Sequence[tuple[int, int]]) -> bytes:
    return b"".join(u32(*pair) for pair in pairs)


def decode_pairs(data: bytes) -> list[tuple[int, int]]:
    numbers = [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def transcript_digest(messages: Sequence[bytes]) -> bytes:
    """Name of a transcript."""
    return ref.message_digest(b"".join(ref.message_digest(each) for each in messages))


def leaf(lane: int, messages: Sequence[bytes]) -> bytes:
    """Leaf of a lane under the evidence root."""
    data = lane.to_bytes(2, "big") + transcript_digest(messages)
    return compute.sha256(b"kaisar/merkle-leaf/1", data)


def evidence(transcripts: Mapping[int, Sequence[bytes]]) -> tuple[bytes, dict[int, bytes]]:
    """Evidence root over the lanes' transcripts, and the path of each lane."""
    lanes = sorted(transcripts)
    leaves = [leaf(lane, transcripts[lane]) for lane in lanes]
    paths = {lane: b"".join(compute.merkle_path(leaves, i)) for i, lane in enumerate(lanes)}
    return compute.merkle_root(leaves), paths
