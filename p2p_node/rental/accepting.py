"""Accepting reservations: one at a time, and the same one again after a restart."""

import logging
from typing import Final

import trio

from chain.errors import ChainError, FailedError, ObsoleteError, RevertedError
from p2p_node.display import format_amount
from p2p_node.rental.keeping import LeaseKeeper
from protocols.errors import LocalError
from protocols.lease_keeping import is_seen
from protocols.leases import Lease, LeaseState
from protocols.types import TimeMs

logger = logging.getLogger(__name__)

RETRY_SECONDS: Final = 5.0


async def accept_forever(keeper: LeaseKeeper) -> None:
    """Accept one reservation after the other, until cancelled."""
    while True:
        await keeper.wait_for_look()
        lease = keeper.find_wanted()
        if lease is None:
            continue
        node = keeper.node
        if not is_seen(node.watcher.timeline, node.clock.started_at, node.clock.now()):
            # Whoever sees that a provider is absent could have its bond for the asking.
            keeper.warn(
                f"lease {lease.id} is not accepted before the next epoch: this node began after "
                "most of the slots of this one, in which it counts as away"
            )
            continue
        try:
            await _accept(keeper, lease)
        except ObsoleteError:
            # Reclaimed meanwhile, or accepted already: the next look tells.
            logger.info("lease %d is not reserved any more", lease.id)
        except (RevertedError, FailedError) as error:
            await _give_up(keeper, lease, error)
        except (ChainError, LocalError) as error:
            keeper.warn(f"lease {lease.id} not accepted yet: {error}")
            await trio.sleep(RETRY_SECONDS)


async def _give_up(keeper: LeaseKeeper, lease: Lease, error: ChainError) -> None:
    """Try a lease that was refused no more. It is forgotten only if it is not accepted already."""
    try:
        newest = await keeper.contract.reader.lease(lease.id)
    except ChainError as unread:
        keeper.warn(f"lease {lease.id} not accepted yet: {unread}")
        return
    if newest is None or newest.state is not LeaseState.ACTIVE:
        logger.warning("lease %d is not accepted: %s", lease.id, error)
        await keeper.drop(lease.id, refuse=True)


async def _accept(keeper: LeaseKeeper, lease: Lease) -> None:
    node, bond = keeper.node, lease.terms.bond
    held = await node.chain.token_balance(keeper.wallet)
    if held < bond:
        logger.warning(
            "lease %d is not accepted: its bond is %s, and the wallet holds %s",
            lease.id,
            format_amount(bond),
            format_amount(held),
        )
        await keeper.drop(lease.id, refuse=True)
        return
    await keeper.choose(lease)
    deadline = node.clock.deadline(TimeMs(lease.accept_by * 1000))
    approve, accept = keeper.contract.calls.accept(lease)
    if await node.chain.allowance(keeper.wallet, keeper.contract.address) < bond:
        await node.transactions.execute(
            approve, label=f"bond of lease {lease.id}", deadline=deadline, confirmations=1
        )

    async def is_obsolete() -> bool:
        newest = await keeper.contract.reader.lease(lease.id)
        return newest is None or newest.state is not LeaseState.RESERVED

    receipt = await node.transactions.execute(
        accept,
        label=f"acceptance of lease {lease.id}",
        deadline=deadline,
        confirmations=1,
        is_obsolete=is_obsolete,
    )
    keeper.accepted.add(lease.id)
    logger.info(
        "lease %d accepted: %d s for %s, %d gas",
        lease.id,
        lease.seconds,
        format_amount(lease.seconds * lease.terms.price),
        receipt.gas_used,
    )
