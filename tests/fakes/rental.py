"""Rental.vy as a provider sees it, in memory: a block a second, final some blocks later.

The rules of money are not here: `tests/chain/contracts` has them. What a provider's transactions
change is, and every block can be read again.
"""

from collections.abc import Awaitable, Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import trio

from chain.client import BlockTag
from chain.errors import ChainError, ExpiredError, ObsoleteError, RevertedError
from chain.records import Call, Head, Receipt
from p2p_node.rental.chain_view import PAGE
from protocols.leases import Base, Lease, LeaseState, Offer, Terms
from protocols.types import Digest, Epoch, NodeKey, Wallet

RENTER = Wallet(b"\x77" * 20)
ADDRESS = Wallet(b"\x99" * 20)
PRICE, MINIMUM, MAXIMUM, BOND = 10, 20, 10**6, 60


@dataclass
class State:
    leases: dict[int, Lease] = field(default_factory=dict)
    offers: dict[int, Offer] = field(default_factory=dict)
    owed: dict[Wallet, int] = field(default_factory=dict)
    approved: int = 0
    balance: int = 10**6


class FakeRental:
    """The chain. `failures` are raised by the next reads, one each; `is_down` by all."""

    def __init__(
        self, start: int, epoch_at: Callable[[int], Epoch], *, accept_seconds: int = 200
    ) -> None:
        self.start = start
        self.epoch_at = epoch_at
        self.finality = 3
        self.frozen: int | None = None
        """Set, this block stays the final one."""
        self.accept_seconds = accept_seconds
        self.is_down = False
        self._began = trio.current_time()
        self._states: dict[int, State] = {0: State()}

    # What happens.

    @property
    def number(self) -> int:
        """The newest block."""
        return 10 + int(trio.current_time() - self._began)

    @property
    def now(self) -> int:
        """Its time."""
        return self.start + self.number

    def write(self) -> State:
        """What a transaction of now may change."""
        number = self.number
        if number not in self._states:
            self._states[number] = deepcopy(self.state_at(number))
        return self._states[number]

    def state_at(self, number: int) -> State:
        return self._states[max(each for each in self._states if each <= number)]

    def open(self, provider: int, wallet: Wallet, key: NodeKey, seconds: int = 100) -> int:
        leases = self.write().leases
        number = len(leases) + 1
        leases[number] = Lease(
            id=number,
            state=LeaseState.RESERVED,
            provider=provider,
            provider_wallet=wallet,
            renter=RENTER,
            key=key,
            terms=Terms(PRICE, MINIMUM, MAXIMUM, 500, BOND),
            seconds=seconds,
            accept_by=self.now + self.accept_seconds,
            started_at=0,
            ended_at=0,
            ended_by_provider=False,
            judged_until=Epoch(0),
            away_seconds=0,
            gone=False,
            collected=0,
            base=Base(Epoch(0), 0, 0),
        )
        return number

    def change(self, number: int, **changes: Any) -> None:
        leases = self.write().leases
        leases[number] = replace(leases[number], **changes)

    def reclaim(self, number: int) -> None:
        self.change(number, state=LeaseState.RECLAIMED)

    def end(self, number: int) -> None:
        self.change(number, state=LeaseState.ENDED, ended_at=self.now)

    def freeze(self) -> None:
        """Let no more blocks become final."""
        self.frozen = self.number - self.finality

    def of(self, number: int) -> Lease:
        return self.state_at(self.number).leases[number]

    # What is read.

    async def head(self, block: BlockTag = "latest") -> Head:
        await self._read()
        number = self._number_of(block)
        return Head(number, number.to_bytes(32, "big"), self.start + number, 0)

    async def offer(self, provider: int, block: BlockTag = "latest") -> Offer | None:
        return (await self._read(block)).offers.get(provider)

    async def lease_count(self, block: BlockTag = "latest") -> int:
        return len((await self._read(block)).leases)

    async def lease(self, lease_id: int, block: BlockTag = "latest") -> Lease | None:
        return (await self._read(block)).leases.get(lease_id)

    async def leases(
        self, first: int, count: int = PAGE, block: BlockTag = "latest"
    ) -> tuple[Lease, ...]:
        leases = (await self._read(block)).leases
        return tuple(leases[n] for n in range(first, first + min(count, PAGE)) if n in leases)

    async def current_lease(self, provider: int, block: BlockTag = "latest") -> int:
        state = await self._read(block)
        now = self.start + self._number_of(block)
        found = [
            lease.id
            for lease in state.leases.values()
            if lease.provider == provider and lease.is_usable(now)
        ]
        return found[0] if found else 0

    async def owed(self, wallet: Wallet, block: BlockTag = "latest") -> int:
        return (await self._read(block)).owed.get(wallet, 0)

    async def token_balance(self, wallet: Wallet, block: BlockTag = "latest") -> int:
        return (await self._read(block)).balance

    async def allowance(self, owner: Wallet, spender: Wallet, block: BlockTag = "latest") -> int:
        assert spender == ADDRESS
        return (await self._read(block)).approved

    async def _read(self, block: BlockTag = "latest") -> State:
        await trio.lowlevel.checkpoint()
        if self.is_down:
            raise ChainError("the test says so")
        return self.state_at(self._number_of(block))

    def _number_of(self, block: BlockTag) -> int:
        if block == "latest":
            return self.number
        if isinstance(block, str):
            return self.number - self.finality if self.frozen is None else self.frozen
        return block


class FakeRentalCalls:
    """Calls that `FakeWallet` understands: a name and numbers."""

    class deployment:  # noqa: N801
        @staticmethod
        def address(name: str) -> Wallet:
            assert name == "Rental"
            return ADDRESS

    def offer(self, price: int, minimum: int, maximum: int, capability: Digest) -> Call:
        return Call(ADDRESS, f"offer {price} {minimum} {maximum} {capability.hex()}".encode())

    def withdraw_offer(self) -> Call:
        return Call(ADDRESS, b"withdraw_offer")

    def accept(self, lease: Lease) -> tuple[Call, Call]:
        return (
            Call(ADDRESS, f"approve {lease.terms.bond}".encode()),
            Call(ADDRESS, f"accept {lease.id}".encode()),
        )

    def end(self, lease_id: int, *, confirmed: bool) -> Call:
        assert not confirmed
        return Call(ADDRESS, f"end {lease_id}".encode())

    def judge(self, lease_id: int, count: int) -> Call:
        return Call(ADDRESS, f"judge {lease_id} {count}".encode())

    def collect(self, lease_id: int) -> Call:
        return Call(ADDRESS, f"collect {lease_id}".encode())

    def settle(self, lease_id: int) -> Call:
        return Call(ADDRESS, f"settle {lease_id}".encode())

    def withdraw(self, wallet: Wallet) -> Call:
        return Call(ADDRESS, b"withdraw")


class FakeWallet:
    """A provider's transactions, each in a block a second later.

    `sent` lists what got into a block; `reverting` names what the contract refuses; what is in
    `held` stays out of any block until it is taken out of there.
    """

    def __init__(self, rental: FakeRental, provider: int, wallet: Wallet) -> None:
        self.rental = rental
        self.provider = provider
        self.wallet = wallet
        self.sent: list[str] = []
        self.reverting: set[str] = set()
        self.held: set[str] = set()

    async def execute(
        self,
        call: Call,
        *,
        label: str,
        deadline: float,
        confirmations: object = "finalized",
        is_obsolete: Callable[[], Awaitable[bool]] | None = None,
    ) -> Receipt:
        text = call.data.decode()
        name, *arguments = text.split()
        with trio.move_on_at(deadline):
            if is_obsolete is not None and await is_obsolete():
                raise ObsoleteError(label)
            if name in self.reverting:
                raise RevertedError(3, "reverted", "the test says so")
            while name in self.held:
                await trio.sleep(1)
            await trio.sleep(1)
            self._apply(name, arguments)
            self.sent.append(text)
            if confirmations == "finalized":
                await trio.sleep(self.rental.finality + 1)
            return Receipt(
                transaction_hash=bytes(32),
                block_number=1,
                block_hash=bytes(32),
                succeeded=True,
                gas_used=1,
                gas_price=1,
                contract=None,
                logs=(),
            )
        raise ExpiredError(label)

    def _apply(self, name: str, arguments: list[str]) -> None:
        rental = self.rental
        state = rental.write()
        if name == "approve":
            state.approved = int(arguments[0])
        elif name == "offer":
            price, minimum, maximum = map(int, arguments[:3])
            state.offers[self.provider] = Offer(
                self.provider,
                self.wallet,
                Epoch(0),
                price,
                minimum,
                maximum,
                Digest(bytes.fromhex(arguments[3])),
            )
        elif name == "withdraw_offer":
            del state.offers[self.provider]
        elif name == "withdraw":
            state.balance += state.owed.pop(self.wallet)
        else:
            self._apply_to_lease(name, rental.of(int(arguments[0])), state)

    def _apply_to_lease(self, name: str, lease: Lease, state: State) -> None:
        rental, number = self.rental, lease.id
        if name == "accept":
            assert lease.state is LeaseState.RESERVED
            assert rental.now <= lease.accept_by
            assert not any(
                each.is_usable(rental.now) and each.provider == self.provider
                for each in state.leases.values()
            )
            assert state.approved >= lease.terms.bond
            state.approved -= lease.terms.bond
            state.balance -= lease.terms.bond
            rental.change(
                number,
                state=LeaseState.ACTIVE,
                started_at=rental.now,
                judged_until=rental.epoch_at(rental.now),
            )
        elif name == "end":
            rental.end(number)
            rental.change(number, ended_by_provider=True)
        elif name == "settle":
            assert lease.state in (LeaseState.ACTIVE, LeaseState.ENDED)
            assert lease.ends_at <= rental.now
            state.owed[self.wallet] = state.owed.get(self.wallet, 0) + lease.seconds * PRICE
            rental.change(number, state=LeaseState.SETTLED)
        elif name == "judge":
            rental.change(number, judged_until=Epoch(lease.judged_until + 64))
        else:
            assert name == "collect"
            state.owed[self.wallet] = state.owed.get(self.wallet, 0) + 1
