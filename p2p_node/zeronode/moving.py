"""An account leaves for another service, and arrives there: once, with all that it has.

The old home takes the balances out through `moved:<new home>` and signs what left, in one
transaction; whoever asks again gets the same departure. The new home puts them in through
`moved:<old home>`, under a key made of the departure, so that a departure arrives once however
often it is brought. What an account holds where it is not at home (a ticket for somebody who was
invited there, a prize of a draw) leaves in the same way, without any facts.
"""

import hashlib
from dataclasses import dataclass

from nacl.signing import SigningKey
from sqlalchemy import Connection, insert, select, update

from p2p_node.zeronode.account_facts_book import read_facts, restore_facts
from p2p_node.zeronode.accounts import (
    note_opening,
    open_account,
    require_account,
    wallet_text,
)
from p2p_node.zeronode.day_close import ON_ARRIVAL, first_unbooked_day, mark_booked
from p2p_node.zeronode.homes import AwayError, find_home, find_url, set_home
from p2p_node.zeronode.ledger import (
    Line,
    Transfer,
    Unit,
    balances_of,
    moved_account,
    post,
    user_account,
)
from p2p_node.zeronode.network_tables import arrivals, departures
from p2p_node.zeronode.refusals import Conflict, NotFound, NotYet
from p2p_node.zeronode.uptime_book import KEPT_DAYS, booked_days_of, unpaid_stretches_of
from protocols.account_facts import AccountFacts
from protocols.envelopes import Verified, seal
from protocols.types import NodeKey, TimeMs, Wallet
from protocols.uptime import compute_day
from protocols.uptime_gossip import ServiceView, check_departure
from protocols.uptime_homes import SETTLED_MS, Home
from protocols.uptime_messages import Departure
from protocols.zeronode_rules import ZeroNodeRules


@dataclass(frozen=True, slots=True)
class Arrived:
    """What a departure brought; `is_home` tells whether the account is at home here since."""

    service: NodeKey
    points: int
    tickets: int
    is_home: bool


def depart(
    connection: Connection,
    wallet: Wallet,
    to: NodeKey,
    key: SigningKey,
    view: ServiceView,
    now: TimeMs,
) -> bytes:
    """Let an account leave, with its balances and facts; return the departure, signed.

    From a service that is not its home, the balances leave for the home. NotFound for a service
    that is not listed; NotYet while an earlier day is not booked; Conflict for this service itself;
    AwayError when the home is yet another.
    """
    own = NodeKey(bytes(key.verify_key))
    if to == own:
        raise Conflict("the account is here already")
    if to not in view.services:
        raise NotFound("no such service", to.hex())
    account = require_account(connection, wallet)
    home = find_home(connection, wallet)
    is_move = home is None or home.service == own
    if home is not None and home.service not in (own, to):
        raise AwayError(home.service, find_url(connection, home.service))
    balances = balances_of(connection, user_account(wallet))
    last = _find_last(connection, wallet, to)
    if not is_move and not any(balances.values()):
        if last is None:
            raise Conflict("the account has nothing here")
        return last
    if is_move:
        _require_booked(connection, wallet, home, view.rules, now)
    since = -1 if home is None else home.since_ms
    departed = TimeMs(max(now, since + 1, _last_departed(connection, wallet) + 1))
    lines = []
    for unit in Unit:
        if balances[unit]:
            lines.append(Line(user_account(wallet), unit, -balances[unit]))
            lines.append(Line(moved_account(to), unit, balances[unit]))
    if lines:
        name = f"departure:{wallet_text(wallet)}:{departed}"
        post(connection, Transfer(name, "departure", tuple(lines)), now)
    facts = read_facts(connection, wallet, view.rules, now).encode() if is_move else b""
    message = Departure(
        wallet=wallet,
        destination=to,
        departed_ms=departed,
        first_day=view.rules.day_of(departed),
        opened_ms=TimeMs(min(account.opened_ms, departed)),
        points=balances[Unit.POINTS],
        tickets=balances[Unit.TICKETS],
        facts=facts,
    )
    sealed = seal(key, view.network, message)
    connection.execute(
        insert(departures).values(
            digest=_digest(own, message.encode()),
            wallet=wallet_text(wallet),
            service=to.hex(),
            departed_ms=departed,
            is_move=is_move,
            told_ms=0,
            message=sealed,
        )
    )
    if is_move:
        set_home(connection, wallet, Home(to, departed, now), 0)
    return sealed


def arrive(
    connection: Connection,
    wallet: Wallet,
    data: bytes,
    own: NodeKey,
    view: ServiceView,
    now: TimeMs,
) -> Arrived:
    """Let an account that asks for it arrive with a departure; the same one again changes nothing.

    One that is older than what is known of the account's home, or of a service that is not known to
    be that, brings its balances only. Once it is known, the same departure brings the account.
    MalformedError or ForgedError for what is no departure of a listed service to this one; Conflict
    for one of another account.
    """
    verified = check_departure(view, data, own, now)
    message, service = verified.message, verified.signer
    if message.wallet != wallet:
        raise Conflict("the departure is of another account")
    digest = _digest(service, verified.body)
    known = connection.execute(
        select(arrivals.c.is_move).where(arrivals.c.digest == digest)
    ).one_or_none()
    if known is not None and (known.is_move or not message.facts):
        return Arrived(service, message.points, message.tickets, known.is_move)
    is_move = bool(message.facts) and _take_home(connection, verified, own, now)
    open_account(connection, wallet, message.opened_ms)
    note_opening(connection, wallet, message.opened_ms)
    lines = []
    for unit, amount in ((Unit.POINTS, message.points), (Unit.TICKETS, message.tickets)):
        if amount:
            lines.append(Line(moved_account(service), unit, -amount))
            lines.append(Line(user_account(wallet), unit, amount))
    if lines:
        post(connection, Transfer(f"arrival:{digest}", "arrival", tuple(lines)), now)
    if is_move:
        restore_facts(connection, wallet, AccountFacts.decode(message.facts), now)
        _pay_missed_days(connection, verified, view, now)
    if known is not None:
        connection.execute(
            update(arrivals).where(arrivals.c.digest == digest).values(is_move=is_move)
        )
        return Arrived(service, message.points, message.tickets, is_move)
    connection.execute(
        insert(arrivals).values(
            digest=digest,
            wallet=wallet_text(wallet),
            service=service.hex(),
            is_move=is_move,
            arrived_ms=now,
        )
    )
    return Arrived(service, message.points, message.tickets, is_move)


def _take_home(
    connection: Connection, verified: Verified[Departure], own: NodeKey, now: TimeMs
) -> bool:
    """Be the account's home from now on; False if the departure is older than what is known, or
    the account is known to be at home with a third service.

    Where the account signed in here first, which was taken for the beginning, the departure holds.
    """
    message = verified.message
    home = find_home(connection, message.wallet)
    if home is not None and home.service not in (own, verified.signer):
        return False
    if home is not None and home.since_ms >= message.departed_ms:
        is_claim = home.service == own and not _has_come_home(connection, message.wallet)
        if not is_claim:
            return False
    # Whoever was claimed elsewhere before it was opened there, and moved before that was known, is
    # at home in one place all the same.
    settled = TimeMs(max(now, message.opened_ms + SETTLED_MS))
    home = Home(own, message.departed_ms, settled)
    set_home(connection, message.wallet, home, message.first_day)
    return True


def _has_come_home(connection: Connection, wallet: Wallet) -> bool:
    found = connection.execute(
        select(arrivals.c.digest)
        .where(arrivals.c.wallet == wallet_text(wallet), arrivals.c.is_move)
        .limit(1)
    )
    return found.first() is not None


def _pay_missed_days(
    connection: Connection, verified: Verified[Departure], view: ServiceView, now: TimeMs
) -> None:
    """Pay the uptime of days that were booked here while the departure was on its way.

    Without doubling and shares: who held what at their end is not looked at again.
    """
    message = verified.message
    wallet, account = message.wallet, user_account(message.wallet)
    end = first_unbooked_day(connection, wallet)
    # Stretches of the days before are gone.
    first = max(message.first_day, end - KEPT_DAYS)
    done = {each.day for each in booked_days_of(connection, wallet, first - 1) if each.here}
    for day in range(first, end):
        if day in done:
            continue
        stretches = unpaid_stretches_of(connection, wallet, day)
        units = compute_day(stretches, day, view.rules, None, None).units
        if units:
            lines = (
                Line("issue:uptime", Unit.POINTS, -units),
                Line(account, Unit.POINTS, units),
            )
            key = f"uptime:{wallet_text(wallet)}:{day}"
            post(connection, Transfer(key, "uptime", lines, ON_ARRIVAL), now)
    mark_booked(connection, wallet, message.first_day - 1)


def _require_booked(
    connection: Connection, wallet: Wallet, home: Home | None, rules: ZeroNodeRules, now: TimeMs
) -> None:
    """Raise NotYet while an earlier day may bring something, which nobody would book afterwards."""
    today = rules.day_of(now)
    first = first_unbooked_day(connection, wallet)
    came = 0 if home is None else rules.day_of(home.since_ms)
    # Others tell all of a day when it is over.
    if max(first, came) < today and now < rules.close_time(today - 1):
        raise NotYet("an earlier day is not booked yet", f"day {today - 1}")
    for day in range(max(first, today - KEPT_DAYS), today):
        if unpaid_stretches_of(connection, wallet, day):
            raise NotYet("an earlier day is not booked yet", f"day {day}")


def _find_last(connection: Connection, wallet: Wallet, to: NodeKey) -> bytes | None:
    table = departures.c
    found = connection.execute(
        select(table.message)
        .where(table.wallet == wallet_text(wallet), table.service == to.hex())
        .order_by(table.departed_ms.desc())
        .limit(1)
    ).scalar_one_or_none()
    return None if found is None else bytes(found)


def _last_departed(connection: Connection, wallet: Wallet) -> int:
    found = connection.execute(
        select(departures.c.departed_ms)
        .where(departures.c.wallet == wallet_text(wallet))
        .order_by(departures.c.departed_ms.desc())
        .limit(1)
    ).scalar_one_or_none()
    return -1 if found is None else int(found)


def _digest(service: NodeKey, body: bytes) -> str:
    """Name a departure by what was signed and by whom, not by its signature."""
    return hashlib.sha256(service + body).hexdigest()
