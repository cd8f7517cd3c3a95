"""`kaisar doctor`: what is right and what is wrong with this machine, a line each."""

import argparse
import os
import resource
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from chain.deployment import Deployment, read_deployment
from p2p_node.cli.doctor_chain import check_endpoints, check_gas
from p2p_node.cli.doctor_checks import (
    check_data_dir,
    check_keys,
    check_listen,
    check_open_files,
    check_policy,
    check_python,
    describe_host,
    findings_to_json,
)
from p2p_node.cli.doctor_rental import check_rental
from p2p_node.cli.event_loop import run_async
from p2p_node.cli.main import FAILURE, SUCCESS, Subparsers, add_json_flag
from p2p_node.cli.status import is_alive
from p2p_node.config import add_flags, load_settings
from p2p_node.display import show_json, show_lines
from p2p_node.keystore import WALLET_FILE
from p2p_node.run_file import read_run_file
from p2p_node.setting_list import SETTINGS
from p2p_node.workloads.host_facts import read_host_facts
from p2p_node.workloads.self_check import Finding, Mark, check_devices

MARKS: Final = (Mark.OK, Mark.ABSENT, Mark.WARN, Mark.FAIL)


def add_parser(subparsers: Subparsers) -> None:
    """Add the command's flags."""
    parser = subparsers.add_parser(
        "doctor",
        help="check this machine: GPUs, software, data directory, chain",
        description=(
            "Check what a node needs, and print a line for each: ok, warn, fail or not here, what "
            "was found, why it matters, what to do. The chain is looked at where --rpc or "
            "--deployment is given. Exit status 0 when nothing failed."
        ),
    )
    add_json_flag(parser)
    renting = ("price", "runner", "cores", "memory", "templates")
    looked_at = ("role", "data_dir", "rpc", "deployment", "listen")
    service = tuple(name for name in SETTINGS if name.startswith("zeronode_"))
    add_flags(parser, (*looked_at, *(f"rental_{name}" for name in renting), *service))


def run(arguments: argparse.Namespace) -> int:
    """Check, and print what was found."""
    settings = load_settings(arguments, os.environ)
    # The default endpoint is looked at when it was asked for, not because it is the default.
    has_endpoint = arguments.rpc is not None or settings["rpc"] != SETTINGS["rpc"].default
    findings = list(examine(settings, has_endpoint=has_endpoint))
    if arguments.json:
        show_json(findings_to_json(findings))
    else:
        show_lines([*format_findings(findings), "", summarise(findings)])
    return FAILURE if any(finding.mark is Mark.FAIL for finding in findings) else SUCCESS


def examine(settings: Mapping[str, Any], *, has_endpoint: bool) -> Iterator[Finding]:
    """Do all checks, in the order in which they are shown.

    The chain is looked at when an endpoint was named, or a deployment.
    """
    data_dir: Path = settings["data_dir"]
    yield check_python()
    yield describe_host(read_host_facts(data_dir))
    yield from check_devices()
    yield check_open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    yield from check_data_dir(data_dir)
    if data_dir.exists():
        yield from check_keys(data_dir)
        yield check_policy(data_dir)
    yield from check_rental(settings)
    yield from check_listen(settings["listen"], find_running(data_dir))
    is_service = settings["role"] == "zeronode"
    if is_service:
        # Imported here: other roles need no database.
        from p2p_node.cli.doctor_zeronode import check_listing, check_zeronode

        yield from check_zeronode(settings, os.environ, find_running(data_dir))
    deployment: Deployment | None = None
    if settings["deployment"] is not None:
        deployment = read_deployment(settings["deployment"])
    if deployment is None and not has_endpoint:
        yield Finding("rpc", Mark.ABSENT, "not looked at", "no endpoint was named", "--rpc URL")
        return
    yield from run_async(check_endpoints, settings["rpc"], deployment)
    if deployment is not None and (data_dir / WALLET_FILE).exists():
        yield from run_async(check_gas, settings["rpc"], deployment, data_dir)
        if is_service:
            yield from run_async(check_listing, settings["rpc"], deployment, data_dir)


def find_running(data_dir: Path) -> int | None:
    """The process of a node that runs with this data directory, if one does."""
    pid = (read_run_file(data_dir) or {}).get("pid")
    return pid if isinstance(pid, int) and is_alive(pid) else None


def format_findings(findings: Sequence[Finding]) -> list[str]:
    """A line each: mark, what was looked at, what was found; then reason and fix, if any."""
    width = max((len(finding.check) for finding in findings), default=0)
    lines = []
    for finding in findings:
        text = f"{finding.mark:8}  {finding.check:{width}}  {finding.found}"
        if finding.reason:
            text += f"; {finding.reason}"
        if finding.fix:
            text += f" -> {finding.fix}"
        lines.append(text.rstrip())
    return lines


def summarise(findings: Sequence[Finding]) -> str:
    """The last line: how many of each."""
    counts = {mark: sum(finding.mark is mark for finding in findings) for mark in MARKS}
    return ", ".join(f"{count} {mark}" for mark, count in counts.items() if count)
