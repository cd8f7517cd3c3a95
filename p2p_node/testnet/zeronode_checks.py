"""Whether a run's extensions were paid what they answered for: recomputed from the stretches."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, select

from p2p_node.testnet.zeronode_outcome import Extension, ExtensionKind, ZeroNodeRun
from p2p_node.zeronode.account_tables import referrals
from p2p_node.zeronode.accounts import wallet_text
from p2p_node.zeronode.day_roots import days_after
from p2p_node.zeronode.ledger import Unit, balances_of, entry_by_key, user_account
from p2p_node.zeronode.ledger_check import check_books
from p2p_node.zeronode.nft import find_link
from p2p_node.zeronode.uptime_book import stretches_of
from protocols.types import Digest, TimeMs, Wallet
from protocols.uptime import compute_day, find_gate, total_ms
from protocols.zeronode_rules import UNITS_PER_SECOND, ZeroNodeRules


def check_run(
    connection: Connection,
    run: ZeroNodeRun,
    rules: ZeroNodeRules,
    anchored: Mapping[int, Digest],
) -> None:
    """Fill in what was paid, and note what should have been otherwise in `run.problems`.

    `anchored` are the roots that the chain has of this service's days.
    """
    days = [closed.summary.day for closed in days_after(connection, -1)]
    run.days = days
    run.roots = {day: root.hex() for day, root in anchored.items()}
    report = check_books(connection, anchored.get)
    run.entries = report.entries
    run.problems += [f"ledger: {problem}" for problem in report.problems]
    if report.anchored != len(days):
        run.problems.append(f"{report.anchored} of {len(days)} days are anchored as recomputed")
    shares: dict[Wallet, int] = {}
    gates: dict[Wallet, int] = {}
    for extension in run.extensions:
        _check_uptime(connection, run, extension, days, rules, shares, gates)
    for extension in run.extensions:
        _check_balances(connection, run, extension, shares, gates)


def _check_uptime(
    connection: Connection,
    run: ZeroNodeRun,
    extension: Extension,
    days: Sequence[int],
    rules: ZeroNodeRules,
    shares: dict[Wallet, int],
    gates: dict[Wallet, int],
) -> None:
    wallet, text = extension.wallet, wallet_text(extension.wallet)
    everything = stretches_of(connection, wallet, days[0], days[-1]) if days else ()
    _check_answers(run, extension, total_ms(everything))
    link = find_link(connection, wallet)
    linked = None if link is None else link.linked_ms
    share = _find_share(connection, wallet)
    gate = find_gate(everything, rules)
    if share is not None:
        referrer, from_ms = share
        if from_ms != gate:
            run.problems.append(f"{extension.name}: shares from {from_ms}, the gate was {gate}")
        for account in (wallet, referrer):
            gates[account] = gates.get(account, 0) + 1
    elif extension.kind is ExtensionKind.INVITED and gate is not None:
        run.problems.append(f"{extension.name}: passed the gate at {gate}, which brought nothing")
    for day in days:
        due = compute_day(
            stretches_of(connection, wallet, day, day),
            day,
            rules,
            linked,
            None if share is None else TimeMs(share[1]),
        )
        extension.seconds += due.seconds
        extension.uptime_units += due.units
        extension.doubled_units += due.doubled_units
        for key, amount in (
            (f"uptime:{text}:{day}", due.units),
            (f"nft:{text}:{day}", due.doubled_units),
            (f"ref:{text}:{day}", due.referred_units),
        ):
            paid = _paid_by(connection, key)
            if paid != amount:
                run.problems.append(f"{extension.name}: {key} paid {paid} units, due are {amount}")
        if share is not None:
            shares[share[0]] = shares.get(share[0], 0) + due.referred_units


def _check_answers(run: ZeroNodeRun, extension: Extension, recorded_ms: int) -> None:
    """Compare what the client was told with what is in the book."""
    kind, told = extension.kind, extension.told_ms
    if kind is ExtensionKind.LATE:
        if told or recorded_ms:
            run.problems.append(
                f"{extension.name}: {recorded_ms} ms for answers that came too late"
            )
    elif kind is ExtensionKind.COPIED:
        # The answer in which a copy is replaced may be in the book without being told.
        if not told <= recorded_ms <= extension.lived_ms:
            run.problems.append(
                f"{extension.name}: {recorded_ms} ms recorded of {extension.lived_ms} ms, told "
                f"were {told}"
            )
    elif told != recorded_ms or not told:
        run.problems.append(f"{extension.name}: {recorded_ms} ms recorded, told were {told}")


def _check_balances(
    connection: Connection,
    run: ZeroNodeRun,
    extension: Extension,
    shares: Mapping[Wallet, int],
    gates: Mapping[Wallet, int],
) -> None:
    found = balances_of(connection, user_account(extension.wallet))
    extension.points_units, extension.tickets = found[Unit.POINTS], found[Unit.TICKETS]
    extension.shared_units = shares.get(extension.wallet, 0)
    due = extension.uptime_units + extension.doubled_units + extension.shared_units
    if extension.uptime_units != extension.seconds * UNITS_PER_SECOND:
        run.problems.append(f"{extension.name}: {extension.uptime_units} units of uptime")
    if extension.points_units != due:
        run.problems.append(f"{extension.name}: has {extension.points_units} units, due are {due}")
    tickets = gates.get(extension.wallet, 0)
    if extension.tickets != tickets:
        run.problems.append(f"{extension.name}: {extension.tickets} tickets, due are {tickets}")
    if extension.kind is ExtensionKind.HOLDER and not extension.doubled_units:
        run.problems.append(f"{extension.name}: nothing was doubled")


def _paid_by(connection: Connection, key: str) -> int:
    """Return what an entry gave to whom it is for; 0 if there is none."""
    entry = entry_by_key(connection, key)
    if entry is None:
        return 0
    return sum(line.amount for line in entry.transfer.lines if line.account.startswith("user:"))


def _find_share(connection: Connection, wallet: Wallet) -> tuple[Wallet, int] | None:
    table = referrals.c
    row = connection.execute(
        select(table.referrer, table.share_from_ms).where(table.referee == wallet_text(wallet))
    ).one_or_none()
    if row is None or row.share_from_ms is None:
        return None
    return Wallet(bytes.fromhex(row.referrer[2:])), int(row.share_from_ms)
