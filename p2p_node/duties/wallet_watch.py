"""Saying in time that the wallet will not be able to pay for gas much longer."""

import logging
import math

import trio

from chain.errors import ChainError
from chain.networks import find_network
from chain.records import SlotKind
from p2p_node.display import format_amount
from p2p_node.funds import (
    ENOUGH_EPOCHS,
    Outlook,
    Spending,
    compute_outlook,
    read_spending,
    write_spending,
)
from p2p_node.keystore import checksum_address
from p2p_node.node import Node

logger = logging.getLogger(__name__)

REMIND_SECONDS = 6 * 3600.0
"""Between two warnings while nothing changes; one also comes whenever what is left has halved."""


class Reminder:
    """Decides when it is time to say that the wallet is running dry."""

    def __init__(self) -> None:
        self._told_left: int | None = None
        self._told_at = -math.inf

    @property
    def has_warned(self) -> bool:
        """Whether there was a warning since the wallet last held enough."""
        return self._told_left is not None

    def is_due(self, left: int, now: float) -> bool:
        """Tell whether to warn, with `left` epochs left at `now` (seconds); remember it if so."""
        if left >= ENOUGH_EPOCHS:
            self._told_left = None
            return False
        told = self._told_left
        if told is None or left < told / 2 or now - self._told_at >= REMIND_SECONDS:
            self._told_left, self._told_at = left, now
            return True
        return False


async def watch_wallet(node: Node, kind: SlotKind) -> None:
    """Once an epoch, note what it cost and look how long the wallet can go on; until cancelled."""
    reminder, spending = Reminder(), read_spending(node.data_dir)
    paid_before = node.transactions.paid
    while True:
        try:
            _tell(node, reminder, await read_outlook(node, kind, spending))
        except ChainError as error:
            # Whoever needs the chain more urgently says so.
            logger.debug("wallet not looked at: %s", error)
        await trio.sleep(node.preset.epoch_seconds)
        paid = node.transactions.paid
        spending = spending.add_epoch(paid - paid_before)
        paid_before = paid
        try:
            write_spending(node.data_dir, spending)
        except OSError as error:
            logger.warning("what gas costs is not kept: %s", error.strerror)


async def read_outlook(node: Node, kind: SlotKind, spending: Spending) -> Outlook:
    """Ask the chain for the wallet's balance and the price of gas."""
    head = await node.chain.head()
    balance = await node.chain.gas_balance(node.identity.wallet)
    return compute_outlook(balance, head.base_fee, kind, node.preset, spending)


def _tell(node: Node, reminder: Reminder, outlook: Outlook) -> None:
    left, had_warned = outlook.epochs_left, reminder.has_warned
    chain = find_network(node.chain.deployment.chain_id)
    coin = "native units" if chain is None else chain.coin
    if reminder.is_due(left, trio.current_time()):
        logger.warning(
            "the wallet runs dry: it holds %s, enough for about %d epochs at %s each; "
            "send %s or more to %s",
            format_amount(outlook.balance, coin),
            left,
            format_amount(outlook.per_epoch, coin),
            format_amount(outlook.missing, coin),
            checksum_address(node.identity.wallet),
        )
    elif had_warned and not reminder.has_warned:
        logger.info("the wallet holds enough again, for about %d epochs", left)
