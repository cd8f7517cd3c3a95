"""What a run shows: a live view in a terminal, plain lines elsewhere, a table at the end."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

from rich.console import Console
from rich.status import Status
from rich.table import Table

from p2p_node.testnet.outcome import (
    Outcome,
    Participant,
    SettledEpoch,
    error_rate,
    provider_score,
    total_reward,
)
from p2p_node.testnet.rental_outcome import Rental
from p2p_node.testnet.zeronode_outcome import Extension
from protocols.epochs import Phase
from protocols.params import TOKEN
from protocols.types import Epoch


class Screen(Protocol):
    """What a run tells the person who started it."""

    def say(self, text: str) -> None:
        """Name the step that begins."""

    def problem(self, text: str) -> None:
        """Tell something that went wrong; the run goes on."""

    def progress(self, epoch: Epoch, phase: Phase, bundles: int, shards: int) -> None:
        """Tell where the chain is; called often."""

    def epoch(self, outcome: Outcome, settled: SettledEpoch) -> None:
        """Tell what a counted epoch came to."""


class PlainScreen:
    """One line per event, with the seconds since the start; for logs and pipes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._started = time.monotonic()
        self._last: tuple[Epoch, Phase] | None = None

    def say(self, text: str) -> None:
        """Write a line."""
        seconds = time.monotonic() - self._started
        self._stream.write(f"{seconds:6.1f} s  {text}\n")
        self._stream.flush()

    def problem(self, text: str) -> None:
        """Write a line that says so."""
        self.say(f"problem: {text}")

    def progress(self, epoch: Epoch, phase: Phase, bundles: int, shards: int) -> None:
        """Write a line when epoch or phase change."""
        if (epoch, phase) != self._last:
            self._last = (epoch, phase)
            self.say(f"epoch {epoch}: {phase.value}")

    def epoch(self, outcome: Outcome, settled: SettledEpoch) -> None:
        """Write one line for the epoch."""
        self.say(summarise(outcome, settled))


class LiveScreen:
    """Finished steps as lines, the present one as a moving status line at the bottom."""

    def __init__(self, console: Console, status: Status) -> None:
        self._console = console
        self._status = status

    def say(self, text: str) -> None:
        """Show the step in the status line."""
        self._status.update(text)

    def problem(self, text: str) -> None:
        """Print above the status line."""
        self._console.print(f"[yellow]{text}")

    def progress(self, epoch: Epoch, phase: Phase, bundles: int, shards: int) -> None:
        """Show epoch and phase in the status line."""
        self._status.update(f"epoch {epoch}: {phase.value}, {bundles} of {shards} bundles")

    def epoch(self, outcome: Outcome, settled: SettledEpoch) -> None:
        """Print one line for the epoch."""
        self._console.print(summarise(outcome, settled))


@contextmanager
def open_screen(stream: TextIO | None = None) -> Iterator[Screen]:
    """Choose the screen for `stream`, standard error by default: standard output stays free for
    results."""
    stream = stream or sys.stderr
    if not stream.isatty():
        yield PlainScreen(stream)
        return
    console = Console(file=stream, highlight=False)
    with console.status("starting") as status:
        yield LiveScreen(console, status)


def summarise(outcome: Outcome, settled: SettledEpoch) -> str:
    """Say in one line how an epoch went."""
    reports = sum(len(bundle.seats) for bundle in settled.bundles)
    gas = sum(bundle.gas_used for bundle in settled.bundles)
    earners = sum(total_reward(settled, each) > 0 for each in outcome.participants)
    return (
        f"epoch {settled.epoch} closed: {len(settled.bundles)} of {outcome.shards} bundles, "
        f"{reports} reports, {gas} gas, {earners} of {len(outcome.participants)} earn"
    )


def print_outcome(outcome: Outcome) -> None:
    """Print the final tables: who scored and earned what, and what went wrong."""
    console = Console(highlight=False)
    _print_members(outcome, console, providers=True)
    _print_members(outcome, console, providers=False)
    bundles = [bundle for epoch in outcome.counted for bundle in epoch.bundles]
    if bundles:
        gas = ", ".join(f"{bundle.gas_used:,}" for bundle in bundles)
        console.print(f"gas per bundle: {gas}")
    for rental in outcome.rentals:
        console.print(describe_rental(rental), soft_wrap=True)
    if outcome.zeronodes is not None:
        for extension in outcome.zeronodes.extensions:
            console.print(describe_extension(extension), soft_wrap=True)
    for each in outcome.participants:
        standing = describe_standing(outcome, each)
        if standing:
            console.print(f"{each.name}: {standing}")
    for problem in outcome.problems:
        console.print(f"went wrong: {problem}", style="yellow")
    balances = "add up" if outcome.balances_ok else "do NOT add up"
    verdict = "ok" if outcome.ok else "NOT ok"
    console.print(
        f"{verdict}: {len(outcome.counted)} epochs in {outcome.seconds:.0f} s, balances {balances}"
    )


def _print_members(outcome: Outcome, console: Console, *, providers: bool) -> None:
    measure = "score" if providers else "error rate"
    table = Table(box=None, pad_edge=False)
    for title in ("provider" if providers else "checker", "slot", "kind"):
        table.add_column(title)
    for epoch in outcome.counted:
        table.add_column(f"epoch {epoch.epoch}: {measure}", justify="right")
    table.add_column("earned, KAI", justify="right")
    for each in outcome.participants:
        if each.is_provider is not providers:
            continue
        if providers:
            cells = [str(provider_score(epoch, each)) for epoch in outcome.counted]
        else:
            cells = [
                f"{error_rate(epoch, each):.3f}" if _has_reported(epoch, each.index) else "silent"
                for epoch in outcome.counted
            ]
        earned = f"{outcome.earned(each) / TOKEN:.4f}"
        table.add_row(each.name, str(each.index), each.kind, *cells, earned)
    console.print(table)


def describe_rental(rental: Rental) -> str:
    """Say where a rental's money went, in the token's smallest unit."""
    said = f"{rental.name}: lease of {rental.provider}, {rental.kind.value}"
    if rental.money is None or rental.lease is None:
        return f"{said}: not settled"
    money, settled = rental.money, rental.money.settlement
    return (
        f"{said}: {settled.charged_seconds} of {rental.lease.seconds} s charged at "
        f"{rental.lease.terms.price}; escrow {money.escrow} + bond {money.bond} = "
        f"paid {settled.paid} + fee {settled.fee} + refund {settled.refund} + "
        f"bond back {settled.bond_back}"
    )


def describe_extension(extension: Extension) -> str:
    """Say what an extension earned and why, in units of 1/2880 point."""
    return (
        f"{extension.name}: {extension.kind.value}; {extension.seconds} s of "
        f"{extension.lived_ms // 1000}; {extension.points_units} units = uptime "
        f"{extension.uptime_units} + doubled {extension.doubled_units} + shares "
        f"{extension.shared_units}; {extension.tickets} tickets"
    )


def describe_standing(outcome: Outcome, participant: Participant) -> str:
    """Say what a participant's stake lost and how long it is banned; empty for most."""
    said = [
        f"{each.offence.value} in epoch {each.epoch}: lost {each.slashed / TOKEN:g} KAI in epoch "
        f"{each.landed}"
        for each in outcome.penalties_of(participant)
    ]
    ban = outcome.ban_of(participant)
    if ban is not None:
        until = "for good" if ban.until is None else f"until epoch {ban.until}"
        said.append(f"banned from epoch {ban.first}, {until}")
    return "; ".join(said)


def _has_reported(epoch: SettledEpoch, checker: int) -> bool:
    return any(seat.checker == checker for bundle in epoch.bundles for seat in bundle.seats)
