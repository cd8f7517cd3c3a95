"""`kaisar zeronode verify-draw`: recomputes a draw out of its transcript, trusting nobody.

Exit status 0 only when everything holds that can be checked, and that is the chain's part too
unless --offline says that it is not wanted; 1 for a transcript that does not hold; 2 when something
could not be found out.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from chain.deployment import Deployment, read_deployment, verify_deployment
from chain.errors import ChainError, RevertedError
from chain.zeronode_client import ZeroNodeClient
from p2p_node.chain_access import open_endpoints
from p2p_node.cli.event_loop import run_async
from p2p_node.cli.main import FAILURE, SUCCESS, USAGE, Subparsers
from p2p_node.cli.progress import Progress
from p2p_node.config import add_flags, load_settings
from p2p_node.display import show_json, show_lines
from protocols.draw_transcript import (
    MAX_TRANSCRIPT_BYTES,
    Record,
    Transcript,
    Verdict,
    check_record,
    verify_transcript,
)
from protocols.errors import ForgedError, LocalError, RemoteError
from protocols.lucky_draw import ODDS, SourceKind, list_tickets
from protocols.types import Digest, Epoch, Wallet
from protocols.zeronode_rules import UNITS_PER_POINT

CHECKED_DRAWN: Final = (
    "form and signature of the file",
    "prize table: a ticket is worth less than it costs",
    "root of the tickets, out of the list of entries",
    "the service's seed, against the hash committed to",
    "the number and the prize of every ticket, and all awards",
)
CHECKED_MISSED: Final = (
    "form and signature of the file",
    "root of the tickets, out of the list of entries",
    "tickets given back, with the bonus",
)
CHECKED_DRAND: Final = "the randomness: drand's signature of the round"
CHECKED_CHAIN: Final = "commitment on the chain, by this service and at the time that the file says"
CHECKED_BEFORE: Final = "that it stood there before the randomness could be known"
CHECKED_BEACON: Final = "the randomness: the seed that the chain has"

MISSING_CHAIN: Final = "that the commitment stood on the chain before the randomness could be known"
MISSING_BEACON: Final = "the randomness: only the chain knows the seeds of its Beacon"
MISSING_SERVICE: Final = "whether the key that signed is a service's of this network"
MISSING_COMPLETE: Final = "whether the list has everybody who entered: look for your own entries"


class Unknown(LocalError):
    """The chain could not say what is asked of it."""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Add the action's flags."""
    parser = subparsers.add_parser(
        "verify-draw",
        help="recompute a lucky draw from its transcript",
        description=(
            "Recompute a lucky draw from its transcript: signature, tickets, commitment, "
            "randomness, the prize of every ticket, all awards. With --deployment and --rpc it "
            "also asks the chain when the commitment was made. Needs no key and no trust in the "
            "service. Exit status 0 only if all of this holds, 1 if something does not, 2 if it "
            "could not be found out; --offline is content without the chain."
        ),
    )
    parser.add_argument("file", metavar="FILE", help="the transcript, as the service gives it")
    parser.add_argument(
        "--wallet", metavar="0x…", type=_parse_wallet, help="show what this account entered and got"
    )
    parser.add_argument(
        "--offline", action="store_true", help="leave out what only the chain can say"
    )
    add_flags(parser, ("rpc", "deployment"))
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Verify, and show what came of it."""
    settings = load_settings(arguments, os.environ)
    deployment = None
    if not arguments.offline and settings["deployment"] is not None:
        deployment = read_deployment(settings["deployment"])
    content = _read(Path(arguments.file))
    progress = Progress()
    try:
        verdict = verify_transcript(
            content, lambda what, done, total: progress.update(_tell(what, done, total))
        )
        if deployment is not None:
            progress.update("asking the chain")
            run_async(_check_chain, settings["rpc"], deployment, verdict)
    except (ChainError, Unknown) as error:
        progress.clear()
        print(f"kaisar zeronode verify-draw: {error}", file=sys.stderr)
        if arguments.json:
            show_json({"holds": None, "error": str(error)})
        return USAGE
    except RemoteError as error:
        progress.clear()
        if arguments.json:
            show_json({"holds": False, "reason": error.reason, "detail": error.detail})
        else:
            show_lines([f"DOES NOT HOLD: {error}"])
        return FAILURE
    progress.clear()
    with_chain = deployment is not None
    if arguments.json:
        show_json(verdict_to_json(verdict, with_chain, arguments.wallet))
    else:
        show_lines(format_verdict(verdict, with_chain, arguments.wallet))
    if with_chain or arguments.offline:
        return SUCCESS
    print(
        "kaisar zeronode verify-draw: the chain was not asked; give --deployment and --rpc, or "
        "--offline if this is enough",
        file=sys.stderr,
    )
    return USAGE


async def read_record(client: ZeroNodeClient, transcript: Transcript) -> Record | None:
    """Read what the chain's final blocks have of a draw; None for no commitment.

    ForgedError when the key that signed is no service's, ChainError when the chain does not answer,
    Unknown when it has forgotten a seed.
    """
    terms = transcript.terms
    own = [
        each.index for each in await client.services("finalized") if each.node_key == terms.service
    ]
    if not own:
        raise ForgedError("signed by no service of the network", terms.service.hex())
    for index in own:
        found = await client.draw_of(index, terms.key, "finalized")
        if found is not None:
            seed = None
            if transcript.reveal is not None and terms.source.kind is SourceKind.BEACON:
                seed = await _read_seed(client, Epoch(terms.source.number))
            return Record(found.commitment, found.committed_at, terms.service, seed)
    return None


def verdict_to_json(
    verdict: Verdict, with_chain: bool, wallet: Wallet | None = None
) -> dict[str, Any]:
    """Return a verdict as JSON. Counts of points are in units of 1/2880."""
    transcript = verdict.transcript
    terms = transcript.terms
    checked, missing = list_checks(verdict, with_chain)
    document: dict[str, Any] = {
        "holds": True,
        "draw": terms.draw,
        "network": terms.network.hex(),
        "service": terms.service.hex(),
        "outcome": "missed" if transcript.reveal is None else "drawn",
        "entries": len(transcript.entries),
        "tickets": terms.tickets,
        "wallets": len({each.wallet for each in transcript.entries}),
        "root": terms.root.hex(),
        "commitment": verdict.commitment.hex(),
        "committed_s": transcript.committed_s,
        "source": terms.source.kind.name.lower(),
        "number": terms.source.number,
        "seed": verdict.seed and verdict.seed.hex(),
        "prizes": [
            {"name": prize.name, "ppm": prize.ppm, "won": won}
            for prize, won in zip(terms.prizes, verdict.won, strict=False)
        ],
        "awarded_units": sum(each.units for each in transcript.awards),
        "awarded_tickets": sum(each.tickets for each in transcript.awards),
        "checked": checked,
        "not_checked": missing,
    }
    if wallet is not None:
        entered, units, tickets = _own(transcript, wallet)
        document["wallet"] = {"tickets": entered, "units": units, "awarded_tickets": tickets}
    return document


def format_verdict(verdict: Verdict, with_chain: bool, wallet: Wallet | None = None) -> list[str]:
    """Write a verdict for people."""
    transcript = verdict.transcript
    terms = transcript.terms
    wallets = len({each.wallet for each in transcript.entries})
    units = sum(each.units for each in transcript.awards)
    tickets = sum(each.tickets for each in transcript.awards)
    lines = [
        f"draw {terms.draw}: holds" + ("" if with_chain else ", as far as a file can show"),
        f"  service {terms.service.hex()}",
        f"  {terms.tickets:,} tickets of {wallets:,} accounts",
    ]
    if transcript.reveal is None:
        lines.append(
            f"  MISSED: the service did not reveal in time; {tickets:,} tickets went back, with "
            f"{terms.missed_bonus} on top for each account"
        )
    else:
        for prize, won in zip(terms.prizes, verdict.won, strict=False):
            expected = terms.tickets * prize.ppm / ODDS
            lines.append(f"  {won:,} × {prize.name} ({expected:,.1f} to be expected)")
        lines.append(f"  in all {units / UNITS_PER_POINT:,.0f} points and {tickets:,} tickets")
    if wallet is not None:
        entered, won_units, won_tickets = _own(transcript, wallet)
        lines.append(
            f"  0x{wallet.hex()}: {entered:,} tickets; got {won_units / UNITS_PER_POINT:,.0f} "
            f"points and {won_tickets:,} tickets"
        )
    checked, missing = list_checks(verdict, with_chain)
    lines += ["checked:", *(f"  {each}" for each in checked)]
    return [*lines, "not checked:", *(f"  {each}" for each in missing)]


def list_checks(verdict: Verdict, with_chain: bool) -> tuple[list[str], list[str]]:
    """Say what was checked, and what was not."""
    transcript = verdict.transcript
    is_drawn = transcript.reveal is not None
    is_beacon = transcript.terms.source.kind is SourceKind.BEACON
    checked = list(CHECKED_DRAWN if is_drawn else CHECKED_MISSED)
    missing = []
    if is_drawn and not is_beacon:
        checked.append(CHECKED_DRAND)
    if with_chain:
        if is_drawn or transcript.committed_s:
            checked.append(CHECKED_CHAIN)
        if is_drawn:
            checked.append(CHECKED_BEFORE)
        if is_drawn and is_beacon:
            checked.append(CHECKED_BEACON)
    else:
        missing.append(MISSING_SERVICE)
        if is_drawn:
            missing.append(MISSING_CHAIN)
        if is_drawn and is_beacon:
            missing.append(MISSING_BEACON)
    return checked, [*missing, MISSING_COMPLETE]


async def _check_chain(urls: Sequence[str], deployment: Deployment, verdict: Verdict) -> None:
    terms = verdict.transcript.terms
    if terms.network != deployment.network_id:
        raise ForgedError(
            "draw of another network",
            f"found {terms.network.hex()}, the deployment is {deployment.network_id.hex()}",
        )
    with closing(open_endpoints(urls, deployment.chain_id)) as rpc:
        await verify_deployment(rpc, deployment)
        record = await read_record(ZeroNodeClient(rpc, deployment), verdict.transcript)
    check_record(verdict, record, deployment.genesis, deployment.preset.epoch_seconds)


async def _read_seed(client: ZeroNodeClient, epoch: Epoch) -> Digest:
    """Read a seed that the contract may have let go of: then out of the state of its own time."""
    try:
        return await client.beacon_seed(epoch, "finalized")
    except RevertedError:
        deployment = client.deployment
        start = deployment.genesis + epoch * deployment.preset.epoch_seconds
        head = await client.first_final_block(start)
    if head is None:
        raise ForgedError("randomness that nobody can know yet", f"epoch {epoch}")
    try:
        return await client.beacon_seed(epoch, head.number)
    except ChainError as error:
        raise Unknown(
            f"the chain keeps seeds of 256 epochs, and this endpoint no state of block "
            f"{head.number}: {error}"
        ) from error


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_TRANSCRIPT_BYTES + 1)


def _own(transcript: Transcript, wallet: Wallet) -> tuple[int, int, int]:
    entered = sum(each == wallet for each in list_tickets(transcript.entries))
    own = [each for each in transcript.awards if each.wallet == wallet]
    return entered, sum(each.units for each in own), sum(each.tickets for each in own)


def _tell(what: str, done: int, total: int) -> str:
    return f"{what}: {done:,} of {total:,}" if total > 1 else f"checking the {what}"


def _parse_wallet(text: str) -> Wallet:
    digits = text.removeprefix("0x")
    try:
        wallet = bytes.fromhex(digits)
    except ValueError:
        wallet = b""
    if len(wallet) != 20 or not text.startswith("0x"):
        raise argparse.ArgumentTypeError(f"found {text[:60]!r}, expected 0x and 40 hex digits")
    return Wallet(wallet)
