"""Every number of ZeroNode, with its reason; `docs/spec/zeronode.md` shows them.

Times are in milliseconds, days are counted from the Unix epoch, amounts are integers: points in
units of 1/2880, so that a second of uptime, a tenth of it, and its double are whole numbers.
"""

from dataclasses import dataclass, replace
from typing import Final

from protocols.errors import LocalError
from protocols.types import TimeMs

UNITS_PER_POINT: Final = 2_880
"""24 hours earn 300 points; with 10 units per second these are 864,000 units."""

UNITS_PER_SECOND: Final = 10
"""For a second of uptime, and once more for a holder of an NFT."""

REFERRED_UNITS_PER_SECOND: Final = 1
"""For the referrer: exactly 10 % of what the second earns, and as much for a doubled one."""

TICKET_UNITS: Final = 300 * UNITS_PER_POINT
"""Burnt for one ticket."""

CHECK_IN_POINTS: Final = (5, 10, 15, 20, 25, 30, 50)
"""For days 1 … 7 in a row, then again from the first. Kaisar says that it grows to the seventh day;
the sums are ours. A whole week gives half of what a day of uptime gives."""

GATES_PER_DAY: Final = 10
"""Referees of one referrer that pass the gate in a day; more wait for the next. Nobody has more
friends who install an extension on the same day; a farm does."""


@dataclass(frozen=True, slots=True)
class ZeroNodeLimits:
    """What a service takes; published in its answers. An operator may set others."""

    sessions_per_key: int
    """A second one closes the first: newest wins."""
    sessions_per_account: int
    """Open at once. Only the newest earns."""
    sessions_per_address: int
    """By one IPv4 address or IPv6 /64."""
    sessions_per_subnet: int
    """By one IPv4 /24 or IPv6 /48."""
    sessions_per_network: int
    """By one autonomous system, where the operator has a database that tells it."""
    sessions: int
    """Of one service altogether."""
    keys_per_account: int
    """Not revoked ones; a key is one browser profile."""
    requests_per_minute: int
    """HTTP requests by one address."""


@dataclass(frozen=True, slots=True)
class ZeroNodeRules:
    """One complete set of numbers: what services of one network must agree on."""

    name: str
    day_ms: int
    """Length of a day. Uptime is booked by days, a check-in counts once in each."""
    close_delay_ms: int
    """From the end of a day to its booking: time for other services' receipts to arrive."""
    hello_ms: int
    """For a client to answer the greeting."""
    challenge_min_ms: int
    challenge_max_ms: int
    """Between two challenges passes a random time from the one to the other: Chromium ends a silent
    extension worker after 30 s, and nobody knows the moment beforehand."""
    answer_ms: int
    """For a beat, from the moment in which the challenge was sent."""
    max_credit_ms: int
    """Most that one beat earns; above the longest honest time between two."""
    max_misses: int
    """So many challenges unanswered and beats refused in a row end the session. One late answer is
    two of them: unanswered when its time was over, refused when it came."""
    join_gap_ms: int
    """Shorter interruptions do not end a run of consecutive uptime, but earn nothing. Three times
    the time in which Chromium's alarm revives a killed worker."""
    gate_ms: int
    """Uptime within one run after which a referral counts: Kaisar's six consecutive hours."""
    batch_ms: int
    """How often a service gossips the receipts that it has gathered."""
    limits: ZeroNodeLimits

    def day_of(self, moment: TimeMs) -> int:
        """The day that a moment belongs to."""
        return moment // self.day_ms

    def day_start(self, day: int) -> TimeMs:
        """First moment of a day."""
        return TimeMs(day * self.day_ms)

    def day_end(self, day: int) -> TimeMs:
        """First moment after a day."""
        return TimeMs((day + 1) * self.day_ms)

    def close_time(self, day: int) -> TimeMs:
        """From when on a day may be booked."""
        return TimeMs(self.day_end(day) + self.close_delay_ms)


MAINNET_RULES: Final = ZeroNodeRules(
    name="mainnet",
    day_ms=86_400_000,
    close_delay_ms=120_000,
    hello_ms=10_000,
    challenge_min_ms=12_000,
    challenge_max_ms=22_000,
    answer_ms=5_000,
    max_credit_ms=30_000,
    max_misses=3,
    join_gap_ms=90_000,
    gate_ms=21_600_000,
    batch_ms=30_000,
    limits=ZeroNodeLimits(
        sessions_per_key=1,
        sessions_per_account=5,
        sessions_per_address=2,
        sessions_per_subnet=8,
        sessions_per_network=400,
        sessions=4_000,
        keys_per_account=5,
        requests_per_minute=120,
    ),
)

TESTNET_RULES: Final = replace(MAINNET_RULES, name="testnet")
"""The same: what holds there shall hold here."""

MINIMAL_RULES: Final = ZeroNodeRules(
    name="minimal",
    day_ms=60_000,
    close_delay_ms=4_000,
    hello_ms=10_000,
    challenge_min_ms=2_000,
    challenge_max_ms=4_000,
    answer_ms=5_000,
    max_credit_ms=10_000,
    max_misses=3,
    join_gap_ms=8_000,
    gate_ms=20_000,
    batch_ms=1_000,
    limits=ZeroNodeLimits(
        sessions_per_key=1,
        sessions_per_account=5,
        sessions_per_address=4_000,
        sessions_per_subnet=4_000,
        sessions_per_network=4_000,
        sessions=4_000,
        keys_per_account=5,
        requests_per_minute=60_000,
    ),
)
"""One machine, where all clients share an address and a day lasts a minute."""

_RULES: Final = {rules.name: rules for rules in (MAINNET_RULES, TESTNET_RULES, MINIMAL_RULES)}


def rules_of(preset_name: str) -> ZeroNodeRules:
    """Look up the numbers that go with a preset; LocalError names the ones there are."""
    try:
        return _RULES[preset_name]
    except KeyError:
        known = ", ".join(sorted(_RULES))
        raise LocalError(
            f"ZeroNode rules: found {preset_name!r}, expected one of {known}"
        ) from None
