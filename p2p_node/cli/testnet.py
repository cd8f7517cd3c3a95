"""`kaisar testnet`: a whole network on this machine, and what everybody earned."""

import argparse
import json
import shutil
import tempfile
from pathlib import Path

from p2p_node.cli.event_loop import run_async
from p2p_node.config import ConfigError
from protocols.params import PRESETS

DEV_FUNDER_KEY = bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
"""Anvil's and hardhat's first development key, printed in their documentation and worth nothing:
it owns the money of local chains only."""

MIN_CHECKERS = 4

HONEST_PER_DISHONEST = 2
"""A quorum is two thirds of the seats: so many honest checkers make one when the others are banned,
slashed or not audited."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's flags."""
    parser = subparsers.add_parser(
        "testnet",
        help="run a whole network on this machine",
        description=(
            "Start a chain, deploy the contracts, start real nodes, follow the epochs, and show "
            "what everybody earned. Exit status 0 only if every epoch settled, the honest "
            "providers were paid and every balance adds up."
        ),
    )
    counts = (
        ("providers", 4, "honest providers"),
        ("epochs", 3, "epochs to run once everybody has registered"),
        ("cheating-providers", 0, "providers that compute half of the rows, in addition"),
        ("absent-providers", 0, "providers that register and are then gone, in addition"),
        ("lying-checkers", 0, "checkers that report too low scores, in addition"),
        ("copying-checkers", 0, "checkers that repeat what others revealed, in addition"),
        ("equivocating-checkers", 0, "checkers that sign two reports, in addition"),
        (
            "rentals",
            0,
            "leases by renters: in turn one that lasts, one that is cancelled half-way, and one "
            "whose provider, in addition, is killed",
        ),
        (
            "zeronodes",
            0,
            "browser extensions, simulated, with a ZeroNode service that pays their uptime",
        ),
    )
    parser.add_argument(
        "--checkers",
        type=_count,
        metavar="N",
        help=(
            f"honest checkers ({MIN_CHECKERS}, or twice the dishonest ones: so many make a quorum "
            "without them)"
        ),
    )
    for name, default, text in counts:
        parser.add_argument(
            f"--{name}", type=_count, default=default, metavar="N", help=f"{text} ({default})"
        )
    parser.add_argument(
        "--preset", choices=sorted(PRESETS), default="minimal", help="numbers to run with (minimal)"
    )
    parser.add_argument("--rpc", metavar="URL", help="use this chain instead of starting one")
    parser.add_argument(
        "--funder-key-file",
        type=Path,
        metavar="FILE",
        help="private key (hexadecimal) that pays on --rpc; default: anvil's first account",
    )
    parser.add_argument(
        "--allow-skipped",
        action="store_true",
        help="the chain is disturbed on purpose: only the last epoch must settle, and all accounts",
    )
    parser.add_argument(
        "--audit",
        action="store_true",
        help="at the end, recompute every epoch from the chain's data, as `kaisar audit` does",
    )
    parser.add_argument("--keep", action="store_true", help="keep keys, data and logs")
    parser.add_argument(
        "--json", dest="json_path", type=Path, metavar="PATH", help="write the result as JSON"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the network; 0 if everything that should hold did."""
    from chain.signer import KeySigner
    from p2p_node.testnet.plan import TestnetPlan
    from p2p_node.testnet.run import TestnetOptions, run_testnet
    from p2p_node.testnet.screen import open_screen, print_outcome
    from protocols.params import get_preset, resize_committee

    dishonest = sum(
        (
            arguments.lying_checkers,
            arguments.copying_checkers,
            arguments.equivocating_checkers,
        )
    )
    if arguments.checkers is None:
        arguments.checkers = max(MIN_CHECKERS, HONEST_PER_DISHONEST * dishonest)
    _require_sense(arguments)
    plan = TestnetPlan(
        preset=resize_committee(get_preset(arguments.preset), arguments.checkers + dishonest),
        checkers=arguments.checkers,
        providers=arguments.providers,
        cheating_providers=arguments.cheating_providers,
        absent_providers=arguments.absent_providers,
        lying_checkers=arguments.lying_checkers,
        copying_checkers=arguments.copying_checkers,
        equivocating_checkers=arguments.equivocating_checkers,
        rentals=arguments.rentals,
        zeronodes=arguments.zeronodes,
        epochs=arguments.epochs,
    )
    funder = KeySigner(_read_funder_key(arguments.funder_key_file))
    directory = Path(tempfile.mkdtemp(prefix="kaisar-testnet-"))
    try:
        with open_screen() as screen:
            screen.say(f"data and logs are in {directory}")
            if plan.checkers < plan.preset.quorum:
                screen.problem(
                    f"{plan.checkers} honest checkers make no quorum of {plan.preset.quorum} "
                    "without the dishonest, who may be banned, slashed or not audited"
                )
            options = TestnetOptions(
                directory,
                funder,
                arguments.rpc,
                allow_skipped=arguments.allow_skipped,
                audit=arguments.audit,
                runner=_choose_runner(directory) if arguments.rentals else None,
            )
            outcome = run_async(run_testnet, plan, options, screen)
    finally:
        if not arguments.keep:
            shutil.rmtree(directory, ignore_errors=True)
    result = outcome.to_json()
    if arguments.json_path is not None:
        arguments.json_path.write_text(json.dumps(result, indent=1) + "\n")
    if getattr(arguments, "json", False):
        print(json.dumps(result, indent=1))
    else:
        print_outcome(outcome)
    return 0 if outcome.ok else 1


def _count(text: str) -> int:
    if not text.isdecimal() or not text.isascii() or int(text) > 100:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a number from 0 to 100")
    return int(text)


def _require_sense(arguments: argparse.Namespace) -> None:
    if arguments.epochs < 1:
        raise ConfigError("epochs: found 0, expected at least 1")
    if arguments.providers + arguments.cheating_providers + arguments.absent_providers < 1:
        raise ConfigError("providers: found none, expected at least 1")
    if arguments.checkers < 1:
        raise ConfigError("checkers: found none, expected at least 1")
    if arguments.funder_key_file is not None and arguments.rpc is None:
        raise ConfigError("funder-key-file: only has a meaning together with --rpc")


def _choose_runner(directory: Path) -> str:
    """Choose what keeps renters apart from this machine, before anything is started.

    Bubblewrap needs no images, which Docker would have to download. NoRunnerError says what is
    missing.
    """
    from p2p_node.rental.choosing import choose_runner
    from p2p_node.rental.runner import NoRunnerError

    try:
        return choose_runner(directory / "trial", "bubblewrap").name
    except NoRunnerError:
        return choose_runner(directory / "trial").name


def _read_funder_key(path: Path | None) -> bytes:
    if path is None:
        return DEV_FUNDER_KEY
    from p2p_node.secret_files import read_secret_file

    try:
        text = read_secret_file(path, "funder key file").decode("ascii").strip()
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        # Without the cause: its text could carry the key.
        raise ConfigError(f"funder-key-file {path}: expected 64 hexadecimal digits") from None
