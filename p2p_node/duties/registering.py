"""Joining the network on the first start: wait for funds, approve the stake, register, commit."""

import logging

import trio

from chain.errors import ChainError
from chain.records import NO_EXIT, Call, SlotKind
from p2p_node.duties.seeding import make_commitment
from p2p_node.node import Node
from protocols.errors import LocalError
from protocols.messages import Role
from protocols.params import TOKEN
from protocols.signing import sign_binding
from protocols.types import Epoch

logger = logging.getLogger(__name__)

GAS_RESERVE = 10**16
"""Native units that a wallet should hold before it starts to send: 0.01, about five simple
transactions at peaq's 100 gwei."""

FUNDS_POLL_SECONDS = 1.0
TELL_EVERY_POLLS = 15
TRANSACTION_SECONDS = 600.0


class BannedError(LocalError):
    """This node's wallet can never be a checker again."""


async def ensure_registered(node: Node, role: Role) -> int:
    """Return this wallet's slot index, registering it first if it has none.

    A banned wallet waits for the end of its ban; BannedError where there is none.
    """
    while True:
        try:
            index = await _find_slot(node, role)
            if index is None:
                if role is Role.CHECKER:
                    await _wait_out_ban(node)
                stake = await node.chain.minimum_stake(kind_of(role))
                await _wait_for_funds(node, stake)
                await _register(node, role, stake)
                continue
            await _tell_standing(node, role, index)
            if role is Role.CHECKER:
                await _ensure_committed(node, index)
            return index
        except ChainError as error:
            logger.warning("not registered yet: %s", error)
            await trio.sleep(FUNDS_POLL_SECONDS)


def kind_of(role: Role) -> SlotKind:
    """Translate a role into the registry's kind of slot."""
    return SlotKind.PROVIDER if role is Role.PROVIDER else SlotKind.CHECKER


async def _find_slot(node: Node, role: Role) -> int | None:
    return await node.chain.slot_index(kind_of(role), node.identity.wallet)


async def _wait_out_ban(node: Node) -> None:
    """Wait until this wallet may register as a checker."""
    wallet = node.identity.wallet
    until = await node.chain.barred_until(wallet)
    if until == NO_EXIT:
        raise BannedError(f"0x{wallet.hex()} is banned from checking for good")
    # A registration counts from the next epoch on.
    first = Epoch(max(0, until - 1))
    if node.watcher.current_epoch() < first:
        logger.warning(
            "0x%s is banned from checking until epoch %d; it registers then", wallet.hex(), until
        )
        await node.clock.sleep_until(node.watcher.timeline.start_of(first))


async def _tell_standing(node: Node, role: Role, index: int) -> None:
    """Say so where the slot takes no part in epochs."""
    slot = await node.chain.slot(kind_of(role), index)
    if slot.is_suspended and slot.joined_epoch <= node.watcher.current_epoch():
        return
    if slot.is_suspended:
        logger.warning(
            "checker %d is banned in the epochs %d … %d",
            index,
            slot.exit_epoch,
            slot.joined_epoch - 1,
        )
    elif slot.exit_epoch != NO_EXIT:
        logger.warning(
            "%s %d has left, or was made to, with epoch %d; its stake of %d KAI can be withdrawn "
            "after the unstake delay, and the wallet registered anew",
            role.name.lower(),
            index,
            slot.exit_epoch,
            slot.stake // TOKEN,
        )


async def _wait_for_funds(node: Node, stake: int) -> None:
    wallet = node.identity.wallet
    polls = 0
    while True:
        tokens = await node.chain.token_balance(wallet)
        gas = await node.chain.gas_balance(wallet)
        if tokens >= stake and gas >= GAS_RESERVE:
            return
        if polls % TELL_EVERY_POLLS == 0:
            logger.warning(
                "waiting for funds on 0x%s: needs %d KAI to stake (has %d) and some %s native "
                "units for gas (has %d)",
                wallet.hex(),
                -(-stake // TOKEN),
                tokens // TOKEN,
                GAS_RESERVE,
                gas,
            )
        polls += 1
        await trio.sleep(FUNDS_POLL_SECONDS)


async def _register(node: Node, role: Role, stake: int) -> None:
    chain = node.chain
    node_key = node.network.node_key
    binding = sign_binding(
        node.identity.node_key,
        chain.deployment.chain_id,
        chain.deployment.address("Registry"),
        node.identity.wallet,
    )
    registry = chain.deployment.address("Registry")
    approve, register = node.calls.register(kind_of(role), node_key, binding, stake)
    # Whoever crashed in between has approved already.
    if await chain.allowance(node.identity.wallet, registry) < stake:
        await _execute(node, approve, "stake approval")
    await _execute(node, register, "registration")
    logger.info("registered as %s with a stake of %d KAI", role.name.lower(), stake // TOKEN)


async def _ensure_committed(node: Node, index: int) -> None:
    standing = await node.chain.commitment(index)
    if standing.digest == bytes(32):
        call = node.calls.commit(index, await make_commitment(node))
        await _execute(node, call, "seed commitment")


async def _execute(node: Node, call: Call, label: str) -> None:
    # One confirmation will do: the next step fails, and is tried again, if a reorganisation of
    # the chain takes this one back.
    deadline = trio.current_time() + TRANSACTION_SECONDS
    await node.transactions.execute(call, label=label, deadline=deadline, confirmations=1)
