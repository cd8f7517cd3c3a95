"""The lucky draw: what is fixed before the randomness, and what every ticket gets after it.

A draw is fair when nobody, its operator included, can steer it. So in this order:

1. The tickets are frozen: entries in the order in which they came, each a number of tickets of one
   wallet. Ticket i has the leaf SHA-256(TICKET_TAG ‖ key ‖ i ‖ wallet), i in 8 bytes, and
   `protocols.merkle` makes the root. Whoever holds a ticket can show that it is in.
2. Everything that decides is committed to on the chain (`Terms`): the root, the prize table, the
   hash of the service's secret, which future randomness counts, and what happens when the secret
   is not revealed in time.
3. The randomness becomes public, and the service reveals its secret. Neither alone is enough:
   seed = SHA-256(SEED_TAG ‖ key ‖ root ‖ server seed ‖ randomness).
4. Ticket i tries SHA-256(ROLL_TAG ‖ seed ‖ i ‖ attempt), i in 8 bytes and attempt = 0, 1, … in 4:
   the digest's first 20 bits are a number below 2^20, and the first one below a million is the
   ticket's. No number is folded onto another (no modulo), so all are equally likely. A prize of
   p parts per million has the next p numbers, in the order of the table; the rest win nothing.

All integers here are big-endian.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import accumulate
from typing import Final

from protocols.codec import encode
from protocols.drand import MAX_ROUND, time_of_round
from protocols.errors import LocalError
from protocols.merkle import MerkleTree, build_tree
from protocols.types import Digest, NetworkId, NodeKey, TimeMs, Wallet
from protocols.zeronode_rules import TICKET_UNITS

KEY_TAG: Final = b"kaisar/draw/key/1"
TICKET_TAG: Final = b"kaisar/draw/ticket/1"
TERMS_TAG: Final = b"kaisar/draw/terms/1"
SEED_TAG: Final = b"kaisar/draw/seed/1"
ROLL_TAG: Final = b"kaisar/draw/roll/1"

ODDS: Final = 1_000_000
"""Numbers that a ticket can get; odds are so many of them."""

SEED_BYTES: Final = 32

MAX_PRIZES: Final = 24
MAX_NAME_BYTES: Final = 40
MAX_ID_BYTES: Final = 48
MAX_ENTRIES: Final = 100_000
MAX_TICKETS: Final = 1_000_000
MAX_PRIZE_TICKETS: Final = 1_000_000
MAX_PRIZE_UNITS: Final = MAX_PRIZE_TICKETS * TICKET_UNITS
MAX_MISSED_BONUS: Final = 100

LEAST_LEAD_MS: Final = 15_000
"""A commitment has to be on the chain so long before a drand round: the times of blocks are only
about right. The seed of a Beacon is of the same chain, and needs no such room."""

_ATTEMPT_BITS: Final = 20

_ID_LETTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


class SourceKind(IntEnum):
    """Where the randomness comes from."""

    DRAND = 1
    """A round of drand's quicknet (`protocols.drand`)."""

    BEACON = 2
    """The seed of an epoch of this deployment's Beacon, for test networks: whoever contributes
    last to an epoch's seed can still choose between two."""


_LAST_NUMBER: Final = {SourceKind.DRAND: MAX_ROUND, SourceKind.BEACON: (1 << 32) - 1}


@dataclass(frozen=True, slots=True)
class Source:
    """Which future randomness counts: a round of drand, or an epoch of the Beacon."""

    kind: SourceKind
    number: int


@dataclass(frozen=True, slots=True)
class Prize:
    """A prize that `ppm` of a million tickets win: units of points, or tickets, one of them 0."""

    name: str
    ppm: int
    units: int
    tickets: int

    @property
    def value(self) -> int:
        """Its worth in units, a ticket at its price of 300 points."""
        return self.units + self.tickets * TICKET_UNITS


@dataclass(frozen=True, slots=True)
class Entry:
    """Tickets of one wallet that entered together."""

    wallet: Wallet
    tickets: int


@dataclass(frozen=True, slots=True)
class Award:
    """What a wallet gets in all: units of points, and tickets."""

    wallet: Wallet
    units: int
    tickets: int


@dataclass(frozen=True, slots=True)
class Terms:
    """Everything that is fixed before the randomness; its commitment stands on the chain.

    `draw` names the draw within its service. `seed_hash` is SHA-256 of the server seed. When the
    seed is not revealed by `reveal_by_ms`, every ticket goes back to its wallet, and each wallet
    gets `missed_bonus` tickets on top.
    """

    network: NetworkId
    service: NodeKey
    draw: str
    prizes: tuple[Prize, ...]
    root: Digest
    tickets: int
    seed_hash: Digest
    source: Source
    closed_ms: TimeMs
    reveal_by_ms: TimeMs
    missed_bonus: int

    @property
    def key(self) -> Digest:
        """The draw's name on the chain."""
        return compute_key(self.network, self.service, self.draw)


def compute_key(network: NetworkId, service: NodeKey, draw: str) -> Digest:
    """Name a draw on the chain: SHA-256(KEY_TAG ‖ network ‖ service ‖ draw), UTF-8."""
    return Digest(hashlib.sha256(KEY_TAG + network + service + draw.encode()).digest())


def compute_commitment(terms: Terms) -> Digest:
    """Commit to `terms`: SHA-256(TERMS_TAG ‖ their canonical encoding, see docs/spec)."""
    encoded = encode(
        [
            terms.network,
            terms.service,
            terms.draw,
            [[each.name, each.ppm, each.units, each.tickets] for each in terms.prizes],
            terms.root,
            terms.tickets,
            terms.seed_hash,
            [int(terms.source.kind), terms.source.number],
            terms.closed_ms,
            terms.reveal_by_ms,
            terms.missed_bonus,
        ]
    )
    return Digest(hashlib.sha256(TERMS_TAG + encoded).digest())


def hash_server_seed(server_seed: bytes) -> Digest:
    """Return what the terms say of the server's secret: its plain SHA-256."""
    return Digest(hashlib.sha256(server_seed).digest())


def build_ticket_tree(key: Digest, entries: Iterable[Entry]) -> MerkleTree:
    """Freeze the tickets. LocalError when there are none."""
    sha256 = hashlib.sha256
    prefix = TICKET_TAG + key
    return build_tree(
        b"".join(
            sha256(prefix + index.to_bytes(8, "big") + wallet).digest()
            for index, wallet in enumerate(list_tickets(entries))
        )
    )


def hash_ticket(key: Digest, index: int, wallet: Wallet) -> Digest:
    """Leaf of one ticket."""
    data = TICKET_TAG + key + index.to_bytes(8, "big") + wallet
    return Digest(hashlib.sha256(data).digest())


def list_tickets(entries: Iterable[Entry]) -> Iterator[Wallet]:
    """Give the wallet of every ticket, in order."""
    for entry in entries:
        for _ in range(entry.tickets):
            yield entry.wallet


def compute_seed(key: Digest, root: Digest, server_seed: bytes, randomness: bytes) -> Digest:
    """Mix what decides. LocalError unless both secrets have SEED_BYTES."""
    if len(server_seed) != SEED_BYTES or len(randomness) != SEED_BYTES:
        raise LocalError(f"{len(server_seed)} and {len(randomness)} bytes, expected {SEED_BYTES}")
    return Digest(hashlib.sha256(SEED_TAG + key + root + server_seed + randomness).digest())


def roll(seed: Digest, index: int) -> int:
    """Return the number of ticket `index`, 0 … ODDS − 1, each equally likely."""
    sha256 = hashlib.sha256
    prefix = ROLL_TAG + seed + index.to_bytes(8, "big")
    attempt = 0
    while True:
        digest = sha256(prefix + attempt.to_bytes(4, "big")).digest()
        number = int.from_bytes(digest[:3], "big") >> (24 - _ATTEMPT_BITS)
        if number < ODDS:
            return number
        attempt += 1


def draw_prizes(prizes: Sequence[Prize], seed: Digest, first: int, count: int) -> list[int]:
    """Place in `prizes` that each of the tickets first … first + count − 1 wins.

    A ticket without a prize has the place len(prizes), one behind the table.
    """
    bounds = list(accumulate(each.ppm for each in prizes))
    return [bisect_right(bounds, roll(seed, index)) for index in range(first, first + count)]


def compute_awards(
    prizes: Sequence[Prize], entries: Sequence[Entry], outcomes: Sequence[int]
) -> tuple[Award, ...]:
    """Add up what each wallet has won, in the order of first entries; who won nothing is left out.

    `outcomes` has the place of every ticket's prize, as `draw_prizes` gives them.
    """
    sums: dict[Wallet, list[int]] = {entry.wallet: [0, 0] for entry in entries}
    for wallet, place in zip(list_tickets(entries), outcomes, strict=True):
        if place < len(prizes):
            sums[wallet][0] += prizes[place].units
            sums[wallet][1] += prizes[place].tickets
    return tuple(Award(wallet, *won) for wallet, won in sums.items() if any(won))


def compute_returns(entries: Sequence[Entry], missed_bonus: int) -> tuple[Award, ...]:
    """What a missed reveal gives: all tickets back, and the bonus once for each wallet."""
    sums: dict[Wallet, int] = {}
    for entry in entries:
        sums[entry.wallet] = sums.get(entry.wallet, missed_bonus) + entry.tickets
    return tuple(Award(wallet, 0, tickets) for wallet, tickets in sums.items())


def find_table_fault(prizes: Sequence[Prize]) -> str:
    """Say what is wrong with a prize table, "" when nothing is.

    Odds are at most a million in sum, and a ticket is worth less than it costs: who burns points
    for tickets without end must lose by it.
    """
    if not 1 <= len(prizes) <= MAX_PRIZES:
        return f"{len(prizes)} prizes, expected 1 to {MAX_PRIZES}"
    names = [each.name for each in prizes]
    if len(set(names)) < len(names):
        return "two prizes of the same name"
    for each in prizes:
        if fault := _find_prize_fault(each):
            return fault
    if (odds := sum(each.ppm for each in prizes)) > ODDS:
        return f"odds of {odds} ppm in sum, expected at most {ODDS}"
    if (expected := sum(each.ppm * each.value for each in prizes)) >= ODDS * TICKET_UNITS:
        return (
            f"a ticket is worth {expected // ODDS} units on average, expected less than its price "
            f"of {TICKET_UNITS}"
        )
    return ""


def find_terms_fault(terms: Terms) -> str:
    """Say what no terms may say, "" when nothing is wrong."""
    if not is_draw_id(terms.draw):
        return f"a draw {terms.draw[:MAX_ID_BYTES]!r}, expected a short name in a-z, 0-9 and -"
    if not 1 <= terms.tickets <= MAX_TICKETS:
        return f"{terms.tickets} tickets, expected 1 to {MAX_TICKETS}"
    if not 0 <= terms.missed_bonus <= MAX_MISSED_BONUS:
        return f"a bonus of {terms.missed_bonus} tickets, expected 0 to {MAX_MISSED_BONUS}"
    if not 1 <= terms.source.number <= _LAST_NUMBER[terms.source.kind]:
        return f"{terms.source.kind.name.lower()} number {terms.source.number}, out of range"
    if terms.reveal_by_ms <= terms.closed_ms:
        return "a reveal that is due before the draw is closed"
    return find_table_fault(terms.prizes)


def is_draw_id(text: str) -> bool:
    """Tell whether `text` can name a draw: 1 … MAX_ID_BYTES of a-z, 0-9 and -, no - in front."""
    return 0 < len(text) <= MAX_ID_BYTES and set(text) <= _ID_LETTERS and text[0] != "-"


def known_from_ms(source: Source, genesis_s: int, epoch_seconds: int) -> TimeMs:
    """Moment before which nobody can know the randomness.

    A drand round: its time. A seed of the Beacon: the start of the epoch before, whose
    contributions decide it; the calendar is the deployment's.
    """
    if source.kind is SourceKind.DRAND:
        return time_of_round(source.number)
    return TimeMs((genesis_s + (source.number - 1) * epoch_seconds) * 1000)


def is_in_time(source: Source, committed_s: int, known_ms: TimeMs) -> bool:
    """Tell whether a commitment in a block of this time came before the randomness."""
    lead_ms = LEAST_LEAD_MS if source.kind is SourceKind.DRAND else 1
    return committed_s * 1000 + lead_ms <= known_ms


def _find_prize_fault(prize: Prize) -> str:
    name = prize.name
    if not (name and name.isascii() and name.isprintable() and len(name) <= MAX_NAME_BYTES):
        return f"a prize {name[:MAX_NAME_BYTES]!r}, expected a short name in printable ASCII"
    if not 1 <= prize.ppm <= ODDS:
        return f"{name}: odds of {prize.ppm} ppm, expected 1 to {ODDS}"
    if not 0 <= prize.units <= MAX_PRIZE_UNITS or not 0 <= prize.tickets <= MAX_PRIZE_TICKETS:
        return f"{name}: {prize.units} units and {prize.tickets} tickets, out of range"
    if (prize.units > 0) == (prize.tickets > 0):
        return f"{name}: expected either points or tickets"
    return ""
