"""What a renter reads from the chain: offers, what was proved behind them, and its own leases."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from chain.client import ChainClient
from chain.records import SlotRecord
from chain.rental_client import RentalClient
from chain.rental_history import LeaseStep, find_block, read_lease_steps
from chain.rpc import JsonRpc
from p2p_node.rental.renter_book import LeaseBook, LeaseNote
from protocols.epochs import Timeline
from protocols.errors import LocalError
from protocols.lease_market import Candidate, EpochRecord
from protocols.leases import Lease, LeaseState, Offer, compute_overlap
from protocols.params import LANES
from protocols.signing import is_binding_valid
from protocols.types import Epoch, NodeKey, Shard, TimeMs, Wallet

PAGE: Final = 32
"""Leases per page, as in Rental.vy."""

MAX_LEASES_READ: Final = 8192
"""Leases looked at in one search, the newest first."""

CLOCK_SECONDS: Final = 120
"""How far this machine's clock may be behind the chain's when a lease is looked for by its age."""

GIVEN_UP_SECONDS: Final = 86_400
"""For so long an opening that failed is looked for on the chain nevertheless."""


class NoLeaseError(LocalError):
    """There is no such lease, or not the one that was meant."""


@dataclass(frozen=True, slots=True)
class Found:
    """A provider that can be rented now, with the key that its node is reached by."""

    candidate: Candidate
    node_key: NodeKey

    @property
    def index(self) -> int:
        """Slot of the provider."""
        return self.candidate.offer.provider


@dataclass(frozen=True, slots=True)
class Hidden:
    """How many offers are not shown, and why."""

    leased: int = 0
    away: int = 0
    unseen: int = 0
    """Not in any settled epoch yet."""
    gone: int = 0
    """Made by whoever had the slot before, or has left."""


@dataclass(frozen=True, slots=True)
class OwnLease:
    """A lease of this renter's: its note, and what the chain has of it, None before it is there."""

    note: LeaseNote
    lease: Lease | None

    @property
    def on_chain(self) -> Lease:
        """The lease; NoLeaseError when it is not on the chain."""
        if self.lease is None:
            raise NoLeaseError(
                f"lease {self.name}: it is not on the chain; `kaisar rent open --resume` goes on "
                "with its opening"
            )
        return self.lease

    @property
    def name(self) -> str:
        """Its number, or its name while it has none."""
        return str(self.note.id) if self.note.id is not None else self.note.name


@dataclass(frozen=True, slots=True)
class Absences:
    """In how many closed epochs of a lease, not judged yet, the checkers saw the provider away, and
    whether the last closed one is among them."""

    unjudged: int
    in_last: bool


@dataclass(frozen=True, slots=True)
class Market:
    """Reads leases and offers of one deployment."""

    chain: ChainClient
    rental: RentalClient
    rpc: JsonRpc = field(repr=False)

    @property
    def timeline(self) -> Timeline:
        """The deployment's calendar."""
        deployment = self.chain.deployment
        return Timeline(TimeMs(deployment.genesis * 1000), deployment.preset)

    async def read_candidates(self, epochs: int) -> tuple[list[Found], Hidden]:
        """Read who can be rented now, with its last settled epochs, at most so many.

        Raises the errors of `ChainClient`.
        """
        head = await self.chain.head()
        block = head.number
        current = self.timeline.epoch_at(TimeMs(head.timestamp * 1000))
        offers = await self.rental.offers(block)
        slots = {slot.index: slot for slot in await self.chain.providers(block)}
        first = max(0, current - epochs)
        leases = await self._read_leases_since(self._start_of(first), block)
        standing = [each for each in offers if self._is_standing(each, slots, current)]
        leased = [
            offer
            for offer in standing
            if any(
                lease.provider == offer.provider and lease.is_usable(head.timestamp)
                for lease in leases
            )
        ]
        free = [offer for offer in standing if offer not in leased]
        records = await self._read_records(free, slots, leases, range(current - 1, first - 1, -1))
        found = [
            Found(
                Candidate(offer, slots[offer.provider].scored_stake, records[offer.provider]),
                slots[offer.provider].node_key,
            )
            for offer in free
        ]
        present = [each for each in found if not each.candidate.is_away]
        unseen = sum(not each.candidate.epochs for each in found)
        away = len(found) - len(present) - unseen
        return present, Hidden(len(leased), away, unseen, len(offers) - len(standing))

    async def find_own(self, book: LeaseBook) -> list[OwnLease]:
        """Read the leases of a book, and look for those that have no number yet by their keys.

        What is found out is noted in the book.
        """
        own = []
        # What was given up may have been on its way all the same.
        recent = (await self.chain.head()).timestamp - GIVEN_UP_SECONDS
        for note in book.notes():
            if note.id is None and (note.failed is None or note.made_at > recent):
                lease = await self.find_by_key(note, book.wallet)
                note = note if lease is None else book.set_id(note, lease.id)
            else:
                lease = None if note.id is None else await self.rental.lease(note.id)
            own.append(OwnLease(note, lease))
        return own

    async def find_by_key(self, note: LeaseNote, renter: Wallet) -> Lease | None:
        """Find the lease of this renter that names a note's key; None when it is not in a block
        (yet).

        The key is public as soon as it is sent, and anybody can name it in a lease of their own.
        """
        since = note.made_at - CLOCK_SECONDS
        for lease in await self._read_leases_since(since, (await self.chain.head()).number):
            if lease.key == note.public_key and lease.renter == renter:
                return lease
        return None

    async def read_absences(self, lease: Lease, now: int) -> Absences:
        """Look up what judging a lease now would find, in the epochs that the ring still has."""
        preset = self.chain.deployment.preset
        end = self.timeline.epoch_at(TimeMs(min(now, lease.ends_at) * 1000 - 1))
        head = (await self.chain.head()).timestamp
        current = self.timeline.epoch_at(TimeMs(head * 1000))
        shard, lane = Shard(lease.provider // LANES), lease.provider % LANES
        unjudged, in_last = 0, lease.gone
        for epoch in range(max(lease.judged_until, current - preset.ring_epochs), end + 1):
            if self.timeline.bundle_end(Epoch(epoch)) > head * 1000:
                break
            bundle = await self.chain.bundle(Epoch(epoch), shard)
            in_last = bundle is not None and not bundle.online >> lane & 1
            unjudged += in_last
        return Absences(unjudged, in_last)

    async def count_forgettable(self, lease: Lease, now: int) -> int:
        """Count the epochs with an absence of the provider that the ring will have lost before
        long, if nobody has them judged; 0 as long as there is time."""
        ring = self.chain.deployment.preset.ring_epochs
        current = self.timeline.epoch_at(TimeMs(now * 1000))
        if lease.state not in (LeaseState.ACTIVE, LeaseState.ENDED):
            return 0
        if current - lease.judged_until <= ring // 2:
            return 0
        return (await self.read_absences(lease, now)).unjudged

    async def read_steps(self, leases: Sequence[Lease]) -> list[LeaseStep]:
        """Read what happened to some leases, in its order."""
        if not leases:
            return []
        deployment = self.chain.deployment
        opened = min(each.accept_by for each in leases) - deployment.preset.lease_accept_seconds
        first = await find_block(self.rpc, opened, deployment.block)
        last = (await self.chain.head()).number
        ids = [each.id for each in leases]
        return await read_lease_steps(self.rpc, deployment, ids, first, last)

    async def node_key_of(self, lease: Lease) -> NodeKey:
        """Return the node key of the provider that a lease was made with."""
        slots = await self.chain.providers()
        if not lease.provider < len(slots) or slots[lease.provider].wallet != lease.provider_wallet:
            raise NoLeaseError(
                f"provider {lease.provider}: its slot has another owner now; `kaisar rent end` "
                "returns what was not used"
            )
        return slots[lease.provider].node_key

    async def _read_leases_since(self, moment: int, block: int) -> list[Lease]:
        """Read the leases that were opened or were still going on then, the newest first.

        A lease is opened before it is accepted by; whatever is further back than the longest lease
        and older than `moment` is over.
        """
        preset = self.chain.deployment.preset
        horizon = moment - preset.max_lease_seconds
        left = await self.rental.lease_count(block)
        read: list[Lease] = []
        while left > 0 and len(read) < MAX_LEASES_READ:
            count = min(PAGE, left)
            # Numbers begin with 1.
            page = await self.rental.leases(left - count + 1, count, block)
            read += reversed(page)
            left -= count
            if page and page[0].accept_by < horizon:
                break
        return [
            lease
            for lease in read
            if lease.accept_by - preset.lease_accept_seconds >= moment or lease.ends_at >= moment
        ]

    async def _read_records(
        self,
        offers: Sequence[Offer],
        slots: dict[int, SlotRecord],
        leases: Sequence[Lease],
        epochs: Sequence[int],
    ) -> dict[int, list[EpochRecord]]:
        records: dict[int, list[EpochRecord]] = {offer.provider: [] for offer in offers}
        shards = sorted({offer.provider // LANES for offer in offers})
        for epoch in map(Epoch, epochs):
            start, end = self._start_of(epoch), self._start_of(epoch + 1)
            for shard in map(Shard, shards):
                # Without a block: an old one's state is not what every endpoint keeps.
                bundle = await self.chain.bundle(epoch, shard)
                scores = bundle and await self.chain.scores(epoch, shard)
                if not bundle or not scores:
                    continue
                for index in (i for i in records if i // LANES == shard):
                    if epoch < slots[index].since_epoch:
                        continue
                    lane = index % LANES
                    records[index].append(
                        EpochRecord(
                            online=bool(bundle.online >> lane & 1),
                            score=scores[lane],
                            leased=any(
                                lease.provider == index and compute_overlap(lease, start, end)
                                for lease in leases
                            ),
                        )
                    )
        return records

    def _is_standing(self, offer: Offer, slots: dict[int, SlotRecord], epoch: Epoch) -> bool:
        """Tell whether an offer is that of the slot's owner, who takes part now, and whose node
        agreed to its wallet."""
        slot = slots.get(offer.provider)
        deployment = self.chain.deployment
        return (
            slot is not None
            and slot.wallet == offer.wallet
            and slot.since_epoch == offer.since
            and slot.is_active(epoch)
            and is_binding_valid(
                slot.node_key,
                deployment.chain_id,
                deployment.address("Registry"),
                slot.wallet,
                slot.binding,
            )
        )

    def _start_of(self, epoch: int) -> int:
        return self.timeline.start_of(Epoch(epoch)) // 1000


def choose_lease(
    own: Sequence[OwnLease], given: str | None, states: frozenset[LeaseState], what: str
) -> OwnLease:
    """Find the lease that a command is about: by number or name, else the only one in `states`.

    `what` says in errors what such a lease is, as in "active".
    """
    if given is not None:
        for each in own:
            if given in (str(each.note.id), each.note.name):
                return each
        known = ", ".join(each.name for each in own) or "none"
        raise NoLeaseError(f"lease: found {given!r}, expected one of this wallet's: {known}")
    fitting = [each for each in own if each.lease is not None and each.lease.state in states]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise NoLeaseError(f"there is no {what} lease: `kaisar rent status` shows all")
    names = ", ".join(each.name for each in fitting)
    raise NoLeaseError(f"there are {len(fitting)} {what} leases: say which ({names})")
