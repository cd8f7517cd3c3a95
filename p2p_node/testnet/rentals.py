"""Real rentals against the providers of a local network, by the commands that a renter would use.

Each renter has a wallet and a data directory of its own and leases one machine: it uploads a
file, runs a command over it, and then stays to the end, or ends the lease half-way, or loses its
provider.
"""

import json
import os
import secrets
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trio

from chain.client import ChainClient
from chain.events import Event
from chain.hexes import to_hex
from chain.records import Log
from chain.rental_client import RentalClient
from chain.rental_events import LeaseAccepted, LeaseEnded, LeaseOpened, LeaseSettled
from p2p_node.keystore import LIGHT_KDF, PASSWORD_VARIABLE, Keystore
from p2p_node.testnet.processes import kaisar_command
from p2p_node.testnet.rental_checks import last_epoch_of
from p2p_node.testnet.rental_outcome import Money, Rental, RentalKind
from protocols.errors import LocalError
from protocols.leases import Lease, Settlement, compute_settlement
from protocols.params import TOKEN, Preset

PRICE: Final = "360"
"""KAI per hour that the network's providers ask, a tenth of one per second: a fee on it is worth
some points of score even where a handful of providers share all of the emission."""

MINIMUM: Final = "5s"
"""The shortest lease: less than half of the one that is cancelled."""

MAXIMUM: Final = "1h"

PROVIDER_FLAGS: Final = (
    *("--rental-price", PRICE, "--rental-minimum", MINIMUM, "--rental-maximum", MAXIMUM),
    *("--rental-cores", "1", "--rental-memory", "512", "--rental-disk", "256"),
)
"""What providers are started with where there are renters."""

FUNDED: Final = 20 * TOKEN
"""What each renter's wallet is given, many times what its lease costs; and each provider's for
bonds, as it may have earned nothing yet."""

COMMAND_SECONDS: Final = 180.0
"""For one command of a renter: transactions are waited for until they are final."""

POLL_SECONDS: Final = 0.5

_KINDS: Final = (RentalKind.COMPLETED, RentalKind.CANCELLED, RentalKind.KILLED)

_EPOCHS: Final = {
    RentalKind.COMPLETED: 2,
    RentalKind.CANCELLED: 2,
    # Whenever it is killed, one of them has all of its slots after that.
    RentalKind.KILLED: 3,
}
"""How long leases are, in epochs."""


def plan_kinds(count: int) -> list[RentalKind]:
    """Say how each of `count` rentals ends, in turn."""
    return [_KINDS[number % len(_KINDS)] for number in range(count)]


def make_rentals(
    kinds: Sequence[RentalKind],
    directory: Path,
    password: str,
    preset: Preset,
    choose: Callable[[RentalKind], str],
) -> list[Rental]:
    """Create everybody's keys under `directory`; `choose` names the provider of each."""
    rentals = []
    for number, kind in enumerate(kinds, 1):
        name = f"renter-{number}"
        keystore = Keystore.create(directory / name, password, kdf=LIGHT_KDF)
        rentals.append(
            Rental(
                name=name,
                kind=kind,
                provider=choose(kind),
                wallet=keystore.wallet_address,
                funded=FUNDED,
                seconds=_EPOCHS[kind] * preset.epoch_seconds,
            )
        )
    return rentals


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a rental needs of the run. `find_index` gives a provider's slot by its name, `kill`
    ends its process for good, `say` tells the person who started the run."""

    chain: ChainClient
    rental: RentalClient
    directory: Path
    deployment: Path
    rpc_url: str
    bootstrap: str
    password: str
    find_index: Callable[[str], int]
    kill: Callable[[str], None]
    say: Callable[[str], None]


async def run_rentals(rentals: Sequence[Rental], around: Surroundings) -> None:
    """Run all rentals side by side, each until its money is where it belongs.

    What goes wrong with one of them is noted in its `problems`.
    """
    async with trio.open_nursery() as nursery:
        for rental in rentals:
            nursery.start_soon(_Tenant(rental, around).run)


class _Tenant:
    """One renter, going through its lease."""

    def __init__(self, rental: Rental, around: Surroundings) -> None:
        self._rental = rental
        self._around = around

    async def run(self) -> None:
        rental = self._rental
        try:
            lease = await self._open()
            await self._use(lease)
            await self._leave(lease)
        except LocalError as error:
            rental.problems.append(f"{rental.name}: {error}")
            self._around.say(f"{rental.name}: {error}")

    async def _open(self) -> Lease:
        rental, around = self._rental, self._around
        index = around.find_index(rental.provider)
        opened = await self._ask("open", str(index), "--seconds", str(rental.seconds), "--yes")
        lease = await around.rental.lease(opened["lease"])
        if lease is None or not lease.started_at:
            raise LocalError(f"lease {opened['lease']}: not active, though it was opened")
        rental.lease = lease
        around.say(
            f"{rental.name}: leased {rental.provider} for {lease.seconds} s, lease {lease.id}"
        )
        return lease

    async def _use(self, lease: Lease) -> None:
        """Take a file there, have it read there, and see that it is the same."""
        word = secrets.token_hex(16)
        folder = self._data_dir / "work"
        folder.mkdir()
        (folder / "word").write_text(word)
        output = await self._run(
            *("run", "--lease", str(lease.id), "--upload", str(folder)),
            *("--", "sh", "-c", "cat word && echo from $(pwd)"),
        )
        self._rental.output = output
        if not output.startswith(f"{word}from /"):
            raise LocalError(f"lease {lease.id}: the command printed {output!r}")

    async def _leave(self, lease: Lease) -> None:
        rental, around = self._rental, self._around
        if rental.kind is RentalKind.CANCELLED:
            await self._wait_until(lease.started_at + lease.seconds // 2)
            await self._ask("end", str(lease.id))
        elif rental.kind is RentalKind.KILLED:
            around.kill(rental.provider)
            around.say(f"{rental.name}: {rental.provider} was killed")
            await self._wait_until(lease.ends_at)
            await self._wait_until_judged(lease)
            await self._ask("end", str(lease.id))
        while not await self._note_state(lease.id):
            await trio.sleep(POLL_SECONDS)
        around.say(f"{rental.name}: lease {lease.id} is settled")

    async def _note_state(self, lease_id: int) -> bool:
        """Keep the lease as it is now; tell whether it is settled."""
        found = await self._around.rental.lease(lease_id)
        if found is not None:
            self._rental.lease = found
        return found is not None and found.state.name == "SETTLED"

    async def _wait_until(self, moment: int) -> None:
        """Wait until the chain's time has come to `moment`."""
        while (await self._around.chain.head()).timestamp < moment:
            await trio.sleep(POLL_SECONDS)

    async def _wait_until_judged(self, lease: Lease) -> None:
        """Wait until no bundle can come any more that says something about the lease."""
        chain = self._around.chain
        deployment = chain.deployment
        last = last_epoch_of(lease, deployment.genesis, deployment.preset.epoch_seconds)
        while not await chain.is_closed(last):
            await trio.sleep(POLL_SECONDS)

    @property
    def _data_dir(self) -> Path:
        return self._around.directory / self._rental.name

    async def _ask(self, *arguments: str) -> dict[str, Any]:
        """Run `kaisar rent …` for its JSON document."""
        document = json.loads(await self._run(*arguments, "--json"))
        if not isinstance(document, dict):
            raise LocalError(f"kaisar rent {arguments[0]}: no JSON object")
        return document

    async def _run(self, action: str, *arguments: str) -> str:
        """Run `kaisar rent ACTION …` and return its standard output; LocalError if it fails."""
        around = self._around
        command = kaisar_command("rent", action)
        if action in ("open", "run"):
            command += ["--bootstrap", around.bootstrap]
        # The two before take several values each, so a flag that takes one comes last.
        command += ["--rpc", around.rpc_url, "--deployment", str(around.deployment)]
        command += ["--data-dir", str(self._data_dir)]
        log = (self._data_dir / "renter.log").open("ab")
        with log, trio.move_on_after(COMMAND_SECONDS) as scope:
            done = await trio.run_process(
                [*command, *arguments],
                stdin=subprocess.DEVNULL,
                capture_stdout=True,
                stderr=log,
                check=False,
                env={**os.environ, PASSWORD_VARIABLE: around.password},
            )
            if done.returncode == 0:
                return bytes(done.stdout).decode(errors="replace")
        how = "took too long" if scope.cancelled_caught else f"failed:\n{self._tail()}"
        raise LocalError(f"kaisar rent {action} {how}")

    def _tail(self, lines: int = 5) -> str:
        text = (self._data_dir / "renter.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])


def read_money(rental: Rental, events: Sequence[tuple[Event, Log]]) -> Money | None:
    """Find in the contract's events what a rental's lease moved; None before it is settled."""
    lease = rental.lease
    if lease is None:
        return None
    escrow, bond, end_tx = 0, 0, ""
    for event, log in events:
        match event:
            case LeaseOpened(id=lease.id):
                escrow += event.escrow
            case LeaseAccepted(id=lease.id):
                bond += event.bond
            case LeaseEnded(id=lease.id):
                end_tx = to_hex(log.transaction_hash)
            case LeaseSettled(id=lease.id):
                charged = compute_settlement(
                    lease, lease.ends_at, lease.away_seconds, gone=lease.gone
                ).charged_seconds
                settled = Settlement(
                    charged, event.paid, event.fee, event.refund, event.bond_back, event.penalty
                )
                return Money(escrow, bond, settled, end_tx, to_hex(log.transaction_hash))
    return None
