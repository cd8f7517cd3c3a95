"""The shape of an account's standing, as it is answered and told with credits."""

from typing import Final

from p2p_node.zeronode.schemas import (
    DAY,
    SERVICE,
    TICKETS,
    TIME,
    UNITS,
    WALLET,
    fields,
    flag,
    listing,
    nullable,
    number,
    text,
    words,
)
from p2p_node.zeronode.standing import MAX_SEGMENTS

SECONDS: Final = number(about="Whole seconds.")

STANDING: Final = fields(
    "All that is shown of an account.",
    wallet=WALLET,
    home=flag("Whether this service's ledger holds the account."),
    home_service=SERVICE,
    now_ms=TIME,
    day=DAY,
    day_ends_ms=TIME,
    uptime_today_s=SECONDS,
    segments_today=listing(
        listing(TIME, 2, "[from, to)", least=2), MAX_SEGMENTS, "When the account earned today."
    ),
    today_units=number(about="What today's uptime brings when it is booked at the day's end."),
    pending_units=number(about="What yesterday's brings, until it is booked."),
    points_units=number(about="Points in the ledger, in units of 1/2880 point."),
    tickets=TICKETS,
    multiplier=number(1, 2),
    nft=fields(token=nullable(text("[0-9]{1,78}", 78)), state=words(40)),
    streak=fields(days=number(), checked_in=flag(), next_units=UNITS, resets_ms=nullable(TIME)),
    referral=fields(
        code=words(32),
        link=words(400),
        referred=flag("Whether somebody invited this account."),
        run_s=SECONDS,
        gate_s=SECONDS,
        gated=flag("Whether the invitation brought its tickets."),
        waiting_reason=words(200),
        invited=number(),
        invited_gated=number(),
    ),
    location=fields(
        country=words(64),
        region=words(64),
        network=words(64),
        coarse=nullable(listing(number(-1800, 1800), 2, "Latitude, longitude.", least=2)),
        mismatch=nullable(flag()),
    ),
    status=fields(earning=flag(), reason=words(200)),
    next_draw=nullable(fields(id=words(64), closes_ms=TIME)),
)
