"""Seeds, replayed: from one frozen seed to the next, and what is said about each."""

from dataclasses import replace

import pytest

from chain.audit.findings import Checks, DifferenceError
from chain.audit.seeds import (
    Contribution,
    SeedFacts,
    compute_genesis_accumulator,
    compute_seed,
    judge_seed,
)
from chain.events import Contributed, SeedFrozen
from protocols.hashing import keccak256
from protocols.types import Digest, Epoch, Wallet

GENESIS = compute_genesis_accumulator(31337, Wallet(b"\x03" * 20), b"\x44" * 32)
EPOCH = Epoch(6)


def contribution(number: int) -> Contribution:
    event = Contributed(Epoch(5), number, bytes([number]) * 32, Digest(bytes(32)))
    return Contribution(event, bytes([0xF0 + number]) * 32)


def facts() -> SeedFacts:
    start = Digest(b"\x21" * 32)
    end = keccak256(keccak256(start, b"\x01" * 32, b"\xf1" * 32), b"\x02" * 32, b"\xf2" * 32)
    seed = compute_seed(end, EPOCH)
    return SeedFacts(
        epoch=EPOCH,
        before=SeedFrozen(Epoch(5), compute_seed(start, Epoch(5)), start),
        contributions=[contribution(1), contribution(2)],
        frozen=SeedFrozen(EPOCH, seed, end),
        stored=seed,
    )


def test_a_seed_follows_from_the_contributions() -> None:
    checks = Checks()
    seed = judge_seed(facts(), GENESIS, checks)
    assert seed[12:] == bytes(16) + (6).to_bytes(4, "big")
    assert seed[:12] == keccak256(facts().frozen.accumulator, (6).to_bytes(32, "big"))[:12]  # type: ignore[union-attr]
    assert set(checks.counts) == {
        "Beacon.SeedFrozen.accumulator",
        "Beacon.SeedFrozen.seed",
        "Beacon.seed",
    }


def test_the_first_seed_follows_from_the_deployment() -> None:
    seed = compute_seed(GENESIS, Epoch(0))
    first = SeedFacts(Epoch(0), None, [], SeedFrozen(Epoch(0), seed, GENESIS), seed)
    assert judge_seed(first, GENESIS, Checks()) == seed
    with pytest.raises(DifferenceError, match="accumulator"):
        judge_seed(first, Digest(bytes(32)), Checks())


def test_an_epoch_that_nobody_touched_has_a_seed_too() -> None:
    untouched = replace(facts(), frozen=None, stored=None)
    checks = Checks()
    assert judge_seed(untouched, GENESIS, checks) == facts().stored
    assert not checks.counts


ALTERED = {
    "a secret": (replace(facts(), contributions=[contribution(1), contribution(3)]), "accumulator"),
    "their order": (
        replace(facts(), contributions=[contribution(2), contribution(1)]),
        "accumulator",
    ),
    "one left out": (replace(facts(), contributions=[contribution(1)]), "accumulator"),
    "the frozen seed": (
        replace(facts(), frozen=replace(facts().frozen, seed=Digest(bytes(32)))),  # type: ignore[type-var]
        "SeedFrozen.seed",
    ),
    "the stored seed": (replace(facts(), stored=Digest(bytes(32))), "seed"),
}


@pytest.mark.parametrize("name", ALTERED)
def test_what_was_altered_is_named(name: str) -> None:
    altered, field = ALTERED[name]
    with pytest.raises(DifferenceError) as caught:
        judge_seed(altered, GENESIS, Checks())
    difference = caught.value.difference
    assert difference.contract == "Beacon"
    assert difference.field.endswith(field)
    assert difference.place.epoch == EPOCH
