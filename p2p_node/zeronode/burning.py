"""Points for tickets: 300 points each, as many as one likes, in one entry of the ledger."""

import re
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from p2p_node.zeronode.accounts import require_account, wallet_text
from p2p_node.zeronode.ledger import Line, Transfer, Unit, balance, post, user_account
from protocols.errors import MalformedError
from protocols.types import Wallet
from protocols.zeronode_rules import TICKET_UNITS

MAX_TICKETS: Final = 1_000_000
"""Of one request; more than anybody's points buy, and far from where amounts end."""

ISSUE: Final = "issue:burn"
BURNT: Final = "burn:points"

_REQUEST: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class Burned:
    """What a request came to, and what the account has now."""

    tickets: int
    units: int
    points_units: int
    tickets_left: int


def burn(connection: Connection, wallet: Wallet, tickets: int, request: str, now_ms: int) -> Burned:
    """Burn points of an account for `tickets`; `request` is the client's name for this wish.

    The same request again changes nothing. MalformedError for a request or a number that cannot be
    meant, InsufficientError for more than the account has booked, KeyReusedError for a request that
    was used with another number.
    """
    require_account(connection, wallet)
    if not 1 <= tickets <= MAX_TICKETS:
        raise MalformedError(
            "not a number of tickets", f"found {tickets}, expected 1 to {MAX_TICKETS}"
        )
    if not _REQUEST.fullmatch(request):
        raise MalformedError(
            "not the name of a request",
            f"found {request[:64]!r}, expected 1 to 64 letters, digits, - or _",
        )
    account, units = user_account(wallet), tickets * TICKET_UNITS
    lines = (
        Line(account, Unit.POINTS, -units),
        Line(BURNT, Unit.POINTS, units),
        Line(ISSUE, Unit.TICKETS, -tickets),
        Line(account, Unit.TICKETS, tickets),
    )
    key = f"burn:{wallet_text(wallet)}:{request}"
    post(connection, Transfer(key, "burn", lines), now_ms)
    return Burned(
        tickets,
        units,
        balance(connection, account, Unit.POINTS),
        balance(connection, account, Unit.TICKETS),
    )
