"""What a service does by itself: grants referrals, closes days, exchanges the key of addresses."""

import logging
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import trio
from sqlalchemy import Connection

from p2p_node.zeronode.address_hashes import SECRET_BYTES, take_address_key
from p2p_node.zeronode.day_close import Facts, Holding, close_day, find_day
from p2p_node.zeronode.errors import DatabaseError
from p2p_node.zeronode.homes import choose_homes, is_home
from p2p_node.zeronode.parts import Service
from p2p_node.zeronode.referrals import make_share_finder, settle_gates
from protocols.errors import KaisarError
from protocols.types import TimeMs, Wallet

logger = logging.getLogger(__name__)

SETTLE_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 2.0
"""Between two looks whether a day is to be closed."""

RETRY_SECONDS: Final = 10.0
KEY_SECONDS: Final = 3600.0


class Holders(Protocol):
    """Who held a linked token at the end of a day: `nft.HolderReader`."""

    async def read(self, day: int, now_ms: TimeMs) -> Mapping[Wallet, Holding] | None:
        """Return them; None when the chain does not tell yet."""


async def settle_referrals(service: Service) -> None:
    """Grant what referrals have come to, until cancelled."""
    cursor = ""
    while True:
        try:
            cursor = await _settle(service, cursor)
        except KaisarError as error:
            # Also a fault of ours: sessions and everything else go on.
            logger.error("referrals wait: %s", error)
        await trio.sleep(SETTLE_SECONDS)


async def _settle(service: Service, cursor: str) -> str:
    settled = await service.database.run(
        settle_gates, service.rules, service.now(), cursor, _make_is_home(service)
    )
    for wallet in settled.granted:
        logger.info("referral of 0x%s granted", wallet.hex())
    return settled.cursor


def _make_is_home(service: Service) -> Callable[[Connection, Wallet], bool]:
    own = service.identity.service
    return lambda connection, wallet: is_home(connection, wallet, own)


async def close_days(service: Service, holders: Holders | None) -> None:
    """Close each day when its time has come, until cancelled."""
    while True:
        try:
            has_closed = await close_next_day(service, holders)
        except KaisarError as error:
            logger.error("a day waits to be closed: %s", error)
            await trio.sleep(RETRY_SECONDS)
        else:
            await trio.sleep(0 if has_closed else CLOSE_SECONDS)


async def close_next_day(service: Service, holders: Holders | None) -> bool:
    """Close the next day that is to be closed now; whether there was one."""
    now, rules, database = service.now(), service.rules, service.database
    day = await database.read(find_day, rules, now)
    if day is None:
        return False
    held = {} if holders is None else await holders.read(day, now)
    if held is None:
        await trio.sleep(CLOSE_SECONDS)
        return False
    own = service.identity.service
    facts = Facts(
        holders=held,
        is_home=lambda connection, wallet, day: bool(choose_homes(connection, own, day, (wallet,))),
        # It looks for the gate first, in the transaction that pays the day.
        find_share=make_share_finder(rules, now),
    )
    closing = await close_day(database, day, rules, now, facts)
    logger.info(
        "day %d closed: %d accounts, %d s of uptime, root %s",
        *(day, closing.accounts, closing.seconds, closing.day.root.hex()),
    )
    return True


async def keep_address_key(service: Service) -> None:
    """Exchange the key of address hashes when it is old, until cancelled."""
    while True:
        await trio.sleep(KEY_SECONDS)
        try:
            service.address_key = await service.database.run(
                take_address_key, service.random(SECRET_BYTES), service.now()
            )
        except DatabaseError as error:
            logger.error("the key of address hashes stays: %s", error)
