"""Typed reads from the contracts of one deployment.

Every read takes the block it is about: `latest`, `finalized`, or a number, for reads that must
fit together. Payouts and leases act on `finalized` only; `latest` may be taken back.
"""

from collections.abc import Sequence
from typing import Any, Final, Literal, TypeAlias

from chain.abi import get_interface
from chain.answers import parse_head, parse_log, parse_receipt, parse_transaction
from chain.deployment import Deployment
from chain.errors import MalformedAnswerError, RevertedError
from chain.events import Event, decode_event
from chain.hexes import parse_hex_bytes, to_hex
from chain.records import (
    BundleRecord,
    Commitment,
    DelegationPool,
    Head,
    Holding,
    Log,
    Parameter,
    Receipt,
    SlotKind,
    SlotRecord,
    Totals,
    TransactionRecord,
    unpack_reports,
)
from chain.rpc import JsonRpc
from protocols.bans import Standing
from protocols.lanes import unpack_words
from protocols.types import Digest, Epoch, NodeKey, Seat, Shard, Wallet

BlockTag: TypeAlias = Literal["latest", "finalized"] | int

PAGE: Final = 64
"""Slots per page, as in Registry.vy."""

MAX_SLOTS: Final = 1 << 20
"""Slots of a kind that are read at most: an endpoint that makes up more is not believed."""

NO_BUNDLE: Final = "consensus: no bundle"


class ChainClient:
    """Reads one deployment through one endpoint.

    Every method raises the errors of `Rpc.request`: UnavailableError (try again), RefusedError,
    RevertedError, and MalformedAnswerError when the answer is not what the contract gives.
    """

    def __init__(self, rpc: JsonRpc, deployment: Deployment) -> None:
        self._rpc = rpc
        self.deployment = deployment

    async def head(self, block: BlockTag = "latest") -> Head:
        """Return number, hash, timestamp and base fee of a block."""
        return parse_head(await self._rpc.request("eth_getBlockByNumber", _tag(block), False))

    async def epoch(self, block: BlockTag = "latest") -> Epoch:
        """Return the epoch at a block's time; RevertedError before the genesis."""
        (epoch,) = await self._read(block, "Registry", "current_epoch")
        return Epoch(epoch)

    async def seed(self, epoch: Epoch, block: BlockTag = "latest") -> Digest:
        """Return the seed of the current or the last epoch; RevertedError for any other."""
        (seed,) = await self._read(block, "Beacon", "seed", epoch)
        return Digest(seed)

    async def providers(self, block: BlockTag = "latest") -> tuple[SlotRecord, ...]:
        """Return all provider slots in order of their index."""
        return await self._slots("providers", block)

    async def checkers(self, block: BlockTag = "latest") -> tuple[SlotRecord, ...]:
        """Return all checker slots in order of their index."""
        return await self._slots("checkers", block)

    async def slot(self, kind: SlotKind, index: int, block: BlockTag = "latest") -> SlotRecord:
        """Return one slot; RevertedError when it was never allocated."""
        function = "provider" if kind is SlotKind.PROVIDER else "checker"
        (slot,) = await self._read(block, "Registry", function, index)
        return _to_slot(slot)

    async def slot_index(
        self, kind: SlotKind, wallet: Wallet, block: BlockTag = "latest"
    ) -> int | None:
        """Return the index of the slot that a wallet holds, or None."""
        function = "provider_index" if kind is SlotKind.PROVIDER else "checker_index"
        found, index = await self._read(block, "Registry", function, wallet)
        return int(index) if found else None

    async def commitment(self, checker: int, block: BlockTag = "latest") -> Commitment:
        """Return a checker's standing commitment."""
        digest, epoch = await self._read(block, "Beacon", "commitment", checker)
        return Commitment(Digest(digest), Epoch(epoch))

    async def contributed(self, epoch: Epoch, checker: int, block: BlockTag = "latest") -> bool:
        """Tell whether a checker contributed to the randomness in an epoch."""
        (contributed,) = await self._read(block, "Beacon", "contributed", epoch, checker)
        return bool(contributed)

    async def has_bundle(self, epoch: Epoch, shard: Shard, block: BlockTag = "latest") -> bool:
        """Tell whether a bundle was accepted; cheap, for asking just before sending one."""
        (found,) = await self._read(block, "Consensus", "has_bundle", epoch, shard)
        return bool(found)

    async def bundle(
        self, epoch: Epoch, shard: Shard, block: BlockTag = "latest"
    ) -> BundleRecord | None:
        """Return the accepted bundle, or None if there is none (any more)."""
        try:
            (packed,) = await self._read(block, "Consensus", "bundle", epoch, shard)
        except RevertedError as error:
            if error.revert_reason == NO_BUNDLE:
                return None
            raise
        reported, deviations, lanes, online, fraud, checkers, units = packed
        return BundleRecord(
            epoch=epoch,
            shard=shard,
            lanes=lanes,
            online=online,
            fraud=fraud,
            reports=unpack_reports(reported, deviations, checkers, units),
        )

    async def scores(
        self, epoch: Epoch, shard: Shard, block: BlockTag = "latest"
    ) -> tuple[int, ...] | None:
        """Return the 256 settled scores of a shard, or None if there are none (any more)."""
        try:
            (words,) = await self._read(block, "Consensus", "scores", epoch, shard)
        except RevertedError as error:
            if error.revert_reason == NO_BUNDLE:
                return None
            raise
        return unpack_words(words)

    async def totals(self, epoch: Epoch, block: BlockTag = "latest") -> Totals:
        """Return an epoch's sums; zeros when nothing was accepted."""
        return Totals(*await self._read(block, "Consensus", "totals", epoch))

    async def is_closed(self, epoch: Epoch, block: BlockTag = "latest") -> bool:
        """Tell whether an epoch takes no more bundles."""
        (closed,) = await self._read(block, "Consensus", "is_closed", epoch)
        return bool(closed)

    async def is_claimable(self, epoch: Epoch, block: BlockTag = "latest") -> bool:
        """Tell whether an epoch is closed and its scores are still there."""
        (claimable,) = await self._read(block, "Rewards", "claimable", epoch)
        return bool(claimable)

    async def provider_reward(self, provider: int, epoch: Epoch, block: BlockTag = "latest") -> int:
        """Return a provider's share of an epoch, paid or not; 0 when it is not payable."""
        (amount,) = await self._read(block, "Rewards", "provider_reward", provider, epoch)
        return int(amount)

    async def checker_reward(
        self, checker: int, epoch: Epoch, shard: Shard, seat: Seat, block: BlockTag = "latest"
    ) -> int:
        """Return the share that one report earned, paid or not; 0 when it is not payable."""
        (amount,) = await self._read(
            block, "Rewards", "checker_reward", checker, epoch, shard, seat
        )
        return int(amount)

    async def provider_claimed(
        self, provider: int, epoch: Epoch, block: BlockTag = "latest"
    ) -> bool:
        """Tell whether a provider's share was paid."""
        (claimed,) = await self._read(block, "Rewards", "provider_claimed", provider, epoch)
        return bool(claimed)

    async def checker_claimed(
        self, checker: int, epoch: Epoch, shard: Shard, block: BlockTag = "latest"
    ) -> bool:
        """Tell whether a checker was paid for its report on a shard."""
        (claimed,) = await self._read(block, "Rewards", "checker_claimed", checker, epoch, shard)
        return bool(claimed)

    async def next_open_epoch(self, block: BlockTag = "latest") -> Epoch:
        """Return the first epoch whose pools are not fixed yet."""
        (epoch,) = await self._read(block, "Rewards", "next_epoch")
        return Epoch(epoch)

    async def carries(self, block: BlockTag = "latest") -> tuple[int, int]:
        """Return what is carried on to later pools, of providers and of checkers."""
        provider_carry, checker_carry = await self._read(block, "Rewards", "carries")
        return int(provider_carry), int(checker_carry)

    async def pools(self, epoch: Epoch, block: BlockTag = "latest") -> tuple[int, int]:
        """Return an epoch's pools of providers and of checkers: those that were fixed when it was
        closed, or would be if it were closed now; zeros outside the claim window."""
        provider_pool, checker_pool = await self._read(block, "Rewards", "pools", epoch)
        return int(provider_pool), int(checker_pool)

    async def minimum_stake(self, kind: SlotKind, block: BlockTag = "latest") -> int:
        """Return the stake that a registration takes, in the token's smallest unit."""
        is_provider = kind is SlotKind.PROVIDER
        return await self.parameter(
            Parameter.MIN_PROVIDER_STAKE if is_provider else Parameter.MIN_CHECKER_STAKE, block
        )

    async def parameter(self, parameter: Parameter, block: BlockTag = "latest") -> int:
        """Return what a parameter of the Steward's is now."""
        (value,) = await self._read(block, "Steward", "value", parameter)
        return int(value)

    async def paused_until(self, block: BlockTag = "latest") -> int:
        """Return from when on bundles are taken, in Unix seconds; 0 if they were never paused."""
        (until,) = await self._read(block, "Registry", "paused_until")
        return int(until)

    async def stake_of(self, kind: SlotKind, index: int, block: BlockTag = "latest") -> int:
        """Return the own stake that is left in a slot, 0 when it was withdrawn or slashed."""
        (amount,) = await self._read(block, "Registry", "stake_of", int(kind), index)
        return int(amount)

    async def barred_until(self, wallet: Wallet, block: BlockTag = "latest") -> Epoch:
        """Return the first epoch in which a wallet may be a checker; NO_EXIT for never."""
        (epoch,) = await self._read(block, "Registry", "barred_until", wallet)
        return Epoch(epoch)

    async def standing(self, checker: int, block: BlockTag = "latest") -> Standing:
        """Return the wrong reports that were recorded of the wallet that holds a checker slot."""
        total, latest = await self._read(block, "Penalties", "standing", checker)
        return Standing(total, tuple(Epoch(each) for each in latest[:total]))

    async def fraud_punished(self, provider: int, epoch: Epoch, block: BlockTag = "latest") -> bool:
        """Tell whether a provider was punished for the majority's mark in an epoch."""
        (punished,) = await self._read(block, "Penalties", "fraud_punished", provider, epoch)
        return bool(punished)

    async def tenant(self, checker: int, block: BlockTag = "latest") -> tuple[Wallet, Epoch] | None:
        """Return who holds a checker slot, or held it last, and the first epoch of its tenancy."""
        wallet, since = await self._read(block, "Registry", "checker_tenant", checker)
        found = Wallet(parse_hex_bytes(wallet, 20))
        return (found, Epoch(since)) if any(found) else None

    async def commission(self, checker: int, block: BlockTag = "latest") -> int:
        """Return what part of its rewards a checker gives to its delegators, in ten-thousandths;
        0 when it has none."""
        (bps,) = await self._read(block, "Delegation", "commission", checker)
        return int(bps)

    async def delegation_pool(
        self, checker: int, since: Epoch, block: BlockTag = "latest"
    ) -> DelegationPool:
        """Return what all delegators of a checker's tenancy have together."""
        (pool,) = await self._read(block, "Delegation", "pool", checker, since)
        shares, stake, _, leaving, *_, closed = pool
        return DelegationPool(shares, stake, leaving, closed)

    async def holding(
        self, owner: Wallet, checker: int, since: Epoch, block: BlockTag = "latest"
    ) -> Holding:
        """Return what one delegator has in a checker's tenancy."""
        (holding,) = await self._read(block, "Delegation", "holding", owner, checker, since)
        return Holding(*holding)

    async def reward_fund(self, block: BlockTag = "latest") -> int:
        """Return what is left to pay rewards from."""
        (available,) = await self._read(block, "Rewards", "available")
        return int(available)

    async def token_balance(self, wallet: Wallet, block: BlockTag = "latest") -> int:
        """Return a wallet's tokens in the smallest unit."""
        (balance,) = await self._read(block, "Token", "balanceOf", wallet)
        return int(balance)

    async def allowance(self, owner: Wallet, spender: Wallet, block: BlockTag = "latest") -> int:
        """Return how much of `owner`'s tokens `spender` may take."""
        (allowance,) = await self._read(block, "Token", "allowance", owner, spender)
        return int(allowance)

    async def gas_balance(self, wallet: Wallet, block: BlockTag = "latest") -> int:
        """Return a wallet's balance in the chain's own coin, in wei: what it pays gas with."""
        return await self._rpc.quantity("eth_getBalance", to_hex(wallet), _tag(block))

    async def receipt(self, transaction_hash: bytes) -> Receipt | None:
        """Return the receipt of a transaction that is in a block, or None."""
        answer = await self._rpc.request("eth_getTransactionReceipt", to_hex(transaction_hash))
        return None if answer is None else parse_receipt(answer)

    async def transaction(self, transaction_hash: bytes) -> TransactionRecord | None:
        """Return a transaction that is in a block, or None."""
        answer = await self._rpc.request("eth_getTransactionByHash", to_hex(transaction_hash))
        return parse_transaction(answer)

    async def events(
        self, first: int, last: BlockTag, *, token: bool = True
    ) -> list[tuple[Event, Log]]:
        """Return the known events of the deployment's contracts in a range of blocks.

        Endpoints bound the range and the number of logs (RefusedError): ask for few blocks. Without
        `token` the transfers are left out, of which a token that others use too has any number;
        those of the collection always are.
        """
        contracts = self.deployment.contracts.items()
        left_out = {"Nft"} if token else {"Nft", "Token"}
        answer = await self._rpc.request(
            "eth_getLogs",
            {
                "fromBlock": _tag(first),
                "toBlock": _tag(last),
                "address": [to_hex(c.address) for name, c in contracts if name not in left_out],
            },
        )
        if not isinstance(answer, list):
            raise MalformedAnswerError("eth_getLogs: not a list")
        logs = [parse_log(item) for item in answer]
        return [
            (event, log)
            for log in logs
            if (event := decode_event(self.deployment, log)) is not None
        ]

    async def _slots(self, function: str, block: BlockTag) -> tuple[SlotRecord, ...]:
        slots: list[SlotRecord] = []
        while len(slots) < MAX_SLOTS:
            (page,) = await self._read(block, "Registry", function, len(slots), PAGE)
            for item in page:
                slot = _to_slot(item)
                if slot.index != len(slots):
                    raise MalformedAnswerError(f"Registry.{function}: slots out of order")
                slots.append(slot)
            if len(page) < PAGE:
                return tuple(slots)
        raise MalformedAnswerError(f"Registry.{function}: more than {MAX_SLOTS} slots")

    async def _read(
        self, block: BlockTag, contract: str, function: str, *arguments: object
    ) -> tuple[Any, ...]:
        return await call_view(self._rpc, self.deployment, block, contract, function, *arguments)


async def call_view(
    rpc: JsonRpc,
    deployment: Deployment,
    block: BlockTag,
    contract: str,
    function: str,
    *arguments: object,
) -> tuple[Any, ...]:
    """Return what a view of a deployment's contract tells at a block."""
    shape = get_interface(contract).functions[function]
    call = {"to": to_hex(deployment.address(contract)), "data": to_hex(shape.encode(arguments))}
    return shape.decode(await rpc.octets("eth_call", call, _tag(block)))


def _tag(block: BlockTag) -> str:
    return to_hex(block) if isinstance(block, int) else block


def _to_slot(values: Sequence[Any]) -> SlotRecord:
    (
        index,
        wallet,
        node_key,
        binding_r,
        binding_s,
        created_epoch,
        joined_epoch,
        exit_epoch,
        stake_units,
        stake,
        since_epoch,
        scored_stake,
    ) = values
    return SlotRecord(
        index=index,
        wallet=Wallet(parse_hex_bytes(wallet, 20)),
        node_key=NodeKey(node_key),
        binding=binding_r + binding_s,
        created_epoch=Epoch(created_epoch),
        joined_epoch=Epoch(joined_epoch),
        exit_epoch=Epoch(exit_epoch),
        stake_units=stake_units,
        stake=stake,
        since_epoch=Epoch(since_epoch),
        scored_stake=scored_stake,
    )
