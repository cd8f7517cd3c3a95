"""What an account has reached, for missions and campaigns: one reading of the tables."""

from sqlalchemy import Connection

from p2p_node.zeronode.check_in import read_streak
from p2p_node.zeronode.nft import has_held
from p2p_node.zeronode.referrals import count_invited, read_stretches, run_window_ms
from p2p_node.zeronode.uptime_book import booked_seconds
from protocols.types import TimeMs, Wallet
from protocols.uptime import clip, find_runs, seconds
from protocols.zeronode_missions import Progress, first_day_of_week
from protocols.zeronode_rules import ZeroNodeRules
from protocols.zeronode_streaks import days_alive


def read_progress(
    connection: Connection, wallet: Wallet, rules: ZeroNodeRules, now_ms: int
) -> Progress:
    """Return what an account has reached at `now_ms`."""
    today = rules.day_of(TimeMs(now_ms))
    midnight, monday = rules.day_start(today), rules.day_start(first_day_of_week(today))
    since = max(0, min(monday, midnight - run_window_ms(rules)))
    stretches = read_stretches(connection, wallet, since, now_ms, rules)
    runs = [run.paid_ms for run in find_runs(stretches, rules) if run.end_ms > midnight]
    return Progress(
        uptime_today_s=seconds(clip(stretches, midnight, now_ms)),
        uptime_week_s=seconds(clip(stretches, monday, now_ms)),
        uptime_total_s=booked_seconds(connection, wallet),
        run_s=max(runs, default=0) // 1000,
        streak_days=days_alive(read_streak(connection, wallet), today),
        referrals=count_invited(connection, wallet)[1],
        nft=int(has_held(connection, wallet, today)),
    )
