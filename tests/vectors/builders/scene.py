"""The little network in which the gossip vectors play.

Two shards, four seats, epochs of 20 seconds; epoch 7, with epoch 6 still in its grace. Who is
registered:

    checkers   0, 1    active
               2       left, active up to epoch 6
               3, 4    active
               5       its node key never agreed to its wallet, so nodes do not know it
               6       registered in epoch 7, active from epoch 8
    providers  0        active
               1        active; the same node is checker 1
               257      active, in shard 1, which has 4 lanes
               260      registered in epoch 7, active from epoch 8
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nacl.signing import SigningKey

from tests.protocols import wire_reference as ref
from tests.vectors.builders.actors import (
    CHAIN_ID,
    CONSENSUS,
    NETWORK,
    node,
    secret,
    wallet,
    wallet_key,
)

GENESIS_MS = 1_700_000_000_000
SEATS = 4
LENGTHS = {
    "epoch_seconds": 20,
    "draw_ms": 2_000,
    "transfer_ms": 1_000,
    "check_ms": 10_000,
    "commit_ms": 2_000,
    "reveal_ms": 2_500,
    "grace_seconds": 5,
    "seats": SEATS,
}
"""The calendar, in the names of a preset. Of its own, so that presets may change."""

DISPARITY_MS = 500
SLOT_MS = LENGTHS["check_ms"] // SEATS
CHECKER_SLOTS = 6
PROVIDER_SLOTS = 260
STAKE = 1000 * 10**18
FOREVER = (1 << 32) - 1

LEFT = 2
UNBOUND = 5
ACTIVE = (0, 1, 3, 4)
"""Checker slots in epoch 7."""

EPOCH = 7
"""The epoch in which the vectors play, unless they say otherwise."""


def start_of(epoch: int) -> int:
    """First millisecond of an epoch."""
    return GENESIS_MS + epoch * 1000 * LENGTHS["epoch_seconds"]


def check_start(epoch: int) -> int:
    """When the first slot opens."""
    return start_of(epoch) + LENGTHS["draw_ms"] + LENGTHS["transfer_ms"]


def slot_start(epoch: int, seat: int) -> int:
    """When the slot of a seat opens."""
    return check_start(epoch) + seat * SLOT_MS


def commit_start(epoch: int) -> int:
    """When commitments to reports may be published."""
    return check_start(epoch) + LENGTHS["check_ms"]


def reveal_start(epoch: int) -> int:
    """When reports may be published."""
    return commit_start(epoch) + LENGTHS["commit_ms"]


def bundle_end(epoch: int) -> int:
    """When the contract stops taking bundles."""
    return start_of(epoch + 1) + 1000 * LENGTHS["grace_seconds"]


def _find_seed(epoch: int) -> bytes:
    """A seed that seats the active checkers in shard 0, and both of the others in shard 1."""
    for number in range(10_000):
        seed = secret(f"seed {number} of epoch {epoch}")
        first = ref.committee(seed, 0, CHECKER_SLOTS, SEATS)
        second = ref.committee(seed, 1, CHECKER_SLOTS, SEATS)
        if {LEFT, UNBOUND}.isdisjoint(first) and {LEFT, UNBOUND} <= set(second):
            return seed
    raise AssertionError("no such seed")


SEEDS = {epoch: _find_seed(epoch) for epoch in (6, 7, 8)}


def checker_name(index: int) -> str:
    """Name of the node behind a checker slot."""
    return f"checker {index}"


def provider_name(index: int) -> str:
    """Name of the node behind a provider slot."""
    return checker_name(1) if index == 1 else f"provider {index}"


def holder(shard: int, seat: int, epoch: int = EPOCH) -> int:
    """Checker index of a seat."""
    return ref.committee(SEEDS[epoch], shard, CHECKER_SLOTS, SEATS)[seat]


def seat_of(checker: int, shard: int, epoch: int = EPOCH) -> int:
    """Seat of a checker in a shard."""
    return ref.committee(SEEDS[epoch], shard, CHECKER_SLOTS, SEATS).index(checker)


def views() -> dict[str, dict[str, Any]]:
    """What a node may know of this network, by name."""
    both = {"epochs": [_epoch_view(6), _epoch_view(7)]}
    common = {
        "network": NETWORK.hex(),
        "chain_id": CHAIN_ID,
        "consensus": CONSENSUS.hex(),
        "domain_separator": bytes(ref.typed_report(CHAIN_ID, CONSENSUS, _EMPTY).header).hex(),
        "genesis_ms": GENESIS_MS,
        "calendar": LENGTHS,
    }
    return {"usual": {**common, **both}, "nothing_read_yet": {**common, "epochs": []}}


_EMPTY: dict[str, Any] = {
    "epoch": 0,
    "shard": 0,
    "online": 0,
    "fraud": 0,
    "scores": [0] * 256,
    "evidence": bytes(32),
}


def _epoch_view(epoch: int) -> dict[str, Any]:
    checkers = {0: 1, 1: 1, LEFT: 1, 3: 1, 4: 1, 6: 8}
    providers = {0: 1, 1: 1, 257: 1, 260: 8}
    return {
        "epoch": epoch,
        "seed": SEEDS[epoch].hex(),
        "seats": SEATS,
        "checker_slots": CHECKER_SLOTS,
        "provider_slots": PROVIDER_SLOTS,
        "checkers": [
            _member(checker_name(index), index, joined, 7 if index == LEFT else FOREVER, "c")
            for index, joined in checkers.items()
            if not (index == LEFT and epoch >= 7)
        ],
        "providers": [
            _member(provider_name(index), index, joined, FOREVER, "p")
            for index, joined in providers.items()
        ],
    }


def wallet_name(name: str, side: str) -> str:
    """A node that is both provider and checker has a wallet for each."""
    return f"{name} ({side})"


def _member(name: str, index: int, joined: int, exits: int, side: str) -> dict[str, Any]:
    return {
        "index": index,
        "wallet": wallet(wallet_name(name, side)).hex(),
        "node_key": bytes(node(name).verify_key).hex(),
        "stake": str(STAKE),
        "joined": joined,
        "exits": exits,
    }


@dataclass(frozen=True, slots=True)
class Sealed:
    """A message of the scene before it is sealed: its rule's message, fields and signer."""

    name: str
    fields: Mapping[str, Any]
    key: SigningKey = field(repr=False)

    def seal(self) -> bytes:
        """The bytes that are gossiped."""
        return ref.seal(self.key, NETWORK, self.name, self.fields)


def announcement(name: str = "provider 0", role: int = 1, **change: Any) -> Sealed:
    """A registered node's announcement, made at the start of epoch 7."""
    fields = {
        "role": role,
        "wallet": wallet(wallet_name(name, "p" if role == 1 else "c")),
        "time": start_of(EPOCH),
        "addresses": ["/ip4/198.51.100.7/tcp/4001"],
        "software": "kaisar-node/0.1.0",
    }
    return Sealed("Announcement", {**fields, **change}, node(name))


def challenge(
    shard: int = 0, seat: int = 2, epoch: int = EPOCH, by: str | None = None, **change: Any
) -> Sealed:
    """The challenge announcement of a seat's holder, or of `by` in its place."""
    checker = holder(shard, seat, epoch) if shard < 2 and seat < SEATS else 0
    fields = {
        "epoch": epoch,
        "shard": shard,
        "seat": seat,
        "checker": checker,
        "commitment": ref.challenge_commitment(challenge_secret(epoch, shard, seat)),
    }
    return Sealed("ChallengeAnnouncement", {**fields, **change}, node(by or checker_name(checker)))


def challenge_secret(epoch: int, shard: int, seat: int) -> bytes:
    """What a challenge announcement commits to."""
    return secret(f"challenge of epoch {epoch}, shard {shard}, seat {seat}")


def report_salt(epoch: int, shard: int, seat: int) -> bytes:
    """What keeps a commitment to a report from being guessed."""
    return secret(f"salt of epoch {epoch}, shard {shard}, seat {seat}")


def judge_shard(
    shard: int = 0, seat: int = 2, epoch: int = EPOCH, **judgement: Any
) -> dict[str, Any]:
    """What the holder of a seat thinks of a shard, `judgement` in place of parts of it."""
    scores = [301, 299, 0] if shard == 0 else [0, 77]
    return {
        "epoch": epoch,
        "shard": shard,
        "online": 0b011 if shard == 0 else 0b010,
        "fraud": 0b100 if shard == 0 else 0,
        "scores": scores + [0] * (256 - len(scores)),
        "evidence": secret(f"evidence of seat {seat}"),
        **judgement,
    }


def commitment(
    shard: int = 0,
    seat: int = 2,
    epoch: int = EPOCH,
    by: str | None = None,
    judgement: Mapping[str, Any] | None = None,
    **change: Any,
) -> Sealed:
    """The commitment of a seat's holder to the `report` with the same arguments."""
    checker = holder(shard, seat, epoch) if shard < 2 and seat < SEATS else 0
    name = checker_name(checker)
    told = judge_shard(shard, seat, epoch, **(judgement or {}))
    digest = ref.typed_digest(ref.typed_report(CHAIN_ID, CONSENSUS, told))
    fields = {
        "epoch": epoch,
        "shard": shard,
        "seat": seat,
        "checker": checker,
        "commitment": ref.report_commitment(
            wallet(wallet_name(name, "c")), digest, report_salt(epoch, shard, seat)
        ),
    }
    return Sealed("ReportCommitment", {**fields, **change}, node(by or name))


def report(
    shard: int = 0,
    seat: int = 2,
    epoch: int = EPOCH,
    by: str | None = None,
    signed_by: str | None = None,
    signed: Mapping[str, Any] | None = None,
    judgement: Mapping[str, Any] | None = None,
    **change: Any,
) -> Sealed:
    """The report message of a seat's holder.

    `judgement` changes what is reported, `signed` what the wallet signs instead of it, `signed_by`
    whose wallet signs, `by` whose node seals, `change` the message's own fields.
    """
    checker = holder(shard, seat, epoch) if shard < 2 and seat < SEATS else 0
    name = checker_name(checker)
    told = judge_shard(shard, seat, epoch, **(judgement or {}))
    signature = ref.sign_report(
        wallet_key(signed_by or wallet_name(name, "c")),
        ref.typed_report(CHAIN_ID, CONSENSUS, {**told, **(signed or {})}),
    )
    fields = {
        "epoch": epoch,
        "shard": shard,
        "seat": seat,
        "checker": checker,
        "scores": ref.score_bytes(told["scores"]),
        "online": told["online"].to_bytes(32, "big"),
        "fraud": told["fraud"].to_bytes(32, "big"),
        "evidence": told["evidence"],
        "secret": challenge_secret(epoch, shard, seat),
        "salt": report_salt(epoch, shard, seat),
        "wallet_signature": signature,
    }
    return Sealed("ReportMessage", {**fields, **change}, node(by or name))
