"""What an account has beside its balances: read when it leaves, and put back where it arrives."""

from typing import Final

from sqlalchemy import Connection, Table, delete, func, insert, select, update

from p2p_node.zeronode.account_tables import (
    account_keys,
    campaign_claims,
    mission_claims,
    referrals,
    streaks,
)
from p2p_node.zeronode.accounts import parse_wallet, wallet_text
from p2p_node.zeronode.nft import Link, find_link, restore_link
from protocols.account_facts import (
    MAX_CLAIMS,
    MAX_TASKS,
    AccountFacts,
    Claim,
    InvitedBy,
    NftLink,
    TaskClaim,
)
from protocols.types import NodeKey, TimeMs, Wallet
from protocols.zeronode_rules import ZeroNodeRules

CLAIM_DAYS: Final = 8
"""The newest claim of a mission travels along if it is of these days: without it a weekly mission
could be claimed again. Those that are made once for all travel in any case."""


def read_facts(
    connection: Connection, wallet: Wallet, rules: ZeroNodeRules, now: TimeMs
) -> AccountFacts:
    """Return what travels with an account."""
    text = wallet_text(wallet)
    revoked = connection.scalars(
        select(account_keys.c.key)
        .where(account_keys.c.wallet == text, account_keys.c.revoked_ms.is_not(None))
        .order_by(account_keys.c.bound_ms, account_keys.c.key)
    ).all()
    streak = connection.execute(select(streaks).where(streaks.c.wallet == text)).one_or_none()
    link = find_link(connection, wallet)
    return AccountFacts(
        revoked=tuple(map(_key, revoked)),
        streak_days=0 if streak is None else streak.days,
        streak_last_day=0 if streak is None else streak.last_day,
        nft=None if link is None else NftLink(link.token, link.linked_ms),
        referral=_read_referral(connection, text),
        claims=_read_claims(connection, text, now - CLAIM_DAYS * rules.day_ms),
        tasks=_read_tasks(connection, text),
    )


def restore_facts(connection: Connection, wallet: Wallet, facts: AccountFacts, now: TimeMs) -> None:
    """Put back what travelled with an account. What is here of an earlier stay is kept.

    A key that is revoked and not bound here is not written down: the word of another service must
    not keep a key from whoever has it.
    """
    text = wallet_text(wallet)
    for key in facts.revoked:
        connection.execute(
            update(account_keys)
            .where(account_keys.c.key == key.hex(), account_keys.c.wallet == text)
            .where(account_keys.c.revoked_ms.is_(None))
            .values(revoked_ms=now)
        )
    if facts.streak_days:
        connection.execute(delete(streaks).where(streaks.c.wallet == text))
        connection.execute(
            insert(streaks).values(
                wallet=text, days=facts.streak_days, last_day=facts.streak_last_day
            )
        )
    if facts.nft is not None:
        restore_link(connection, Link(wallet, facts.nft.token, TimeMs(facts.nft.linked_ms)))
    if facts.referral is not None and facts.referral.referrer != wallet:
        _restore_referral(connection, text, facts.referral)
    for claim in facts.claims:
        values = {
            "wallet": text,
            "mission": claim.mission,
            "window_number": claim.window,
            "claimed_ms": claim.claimed_ms,
            "units": 0,
            "tickets": 0,
        }
        _insert_new(connection, mission_claims, ("wallet", "mission", "window_number"), values)
    for task in facts.tasks:
        values = {
            "wallet": text,
            "campaign": task.campaign,
            "task": task.task,
            "claimed_ms": task.claimed_ms,
            "tickets": 0,
        }
        _insert_new(connection, campaign_claims, ("wallet", "campaign", "task"), values)


def _read_referral(connection: Connection, text: str) -> InvitedBy | None:
    row = connection.execute(select(referrals).where(referrals.c.referee == text)).one_or_none()
    if row is None:
        return None
    return InvitedBy(
        parse_wallet(row.referrer),
        row.bound_ms,
        row.shared_ms,
        row.gate_ms,
        row.granted_day,
        row.share_from_ms,
    )


def _restore_referral(connection: Connection, text: str, referral: InvitedBy) -> None:
    granted = connection.execute(
        select(referrals.c.granted_day).where(referrals.c.referee == text)
    ).scalar_one_or_none()
    if granted is not None:
        # Its tickets are in these books, and cannot be given again.
        return
    connection.execute(delete(referrals).where(referrals.c.referee == text))
    connection.execute(
        insert(referrals).values(
            referee=text,
            referrer=wallet_text(referral.referrer),
            bound_ms=referral.bound_ms,
            shared_ms=referral.shared_ms,
            gate_ms=referral.gate_ms,
            granted_day=referral.granted_day,
            share_from_ms=referral.share_from_ms,
        )
    )


def _read_claims(connection: Connection, text: str, since: int) -> tuple[Claim, ...]:
    table = mission_claims.c
    rows = connection.execute(
        select(table.mission, func.max(table.window_number), func.max(table.claimed_ms))
        .where(table.wallet == text)
        .where((table.window_number == 0) | (table.claimed_ms >= since))
        .group_by(table.mission)
        # Missions that have long left the file may be more than fit; the newest go.
        .order_by(func.max(table.claimed_ms).desc(), table.mission)
        .limit(MAX_CLAIMS)
    ).all()
    return tuple(sorted((Claim(*row) for row in rows), key=lambda claim: claim.mission))


def _read_tasks(connection: Connection, text: str) -> tuple[TaskClaim, ...]:
    table = campaign_claims.c
    rows = connection.execute(
        select(table.campaign, table.task, table.claimed_ms)
        .where(table.wallet == text)
        .order_by(table.claimed_ms.desc(), table.campaign, table.task)
        .limit(MAX_TASKS)
    ).all()
    return tuple(TaskClaim(row.campaign, row.task, row.claimed_ms) for row in rows)


def _insert_new(
    connection: Connection, table: Table, key: tuple[str, ...], values: dict[str, object]
) -> None:
    query = select(table)
    for name in key:
        query = query.where(table.c[name] == values[name])
    if connection.execute(query).first() is None:
        connection.execute(insert(table).values(**values))


def _key(text: str) -> NodeKey:
    return NodeKey(bytes.fromhex(text))
