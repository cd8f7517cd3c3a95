"""What `kaisar doctor` looks at besides devices: host, data directory, ports, chain."""

import os
import platform
import shutil
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from chain.answers import parse_head
from chain.deployment import Deployment, verify_deployment
from chain.errors import ChainError
from chain.networks import NETWORKS, find_network
from chain.rpc import Rpc
from p2p_node.clock import MAX_DRIFT_MS
from p2p_node.config import redact_url
from p2p_node.keystore import (
    NODE_KEY_FILE,
    WALLET_FILE,
    open_node_key,
    read_wallet_address,
)
from p2p_node.secret_files import DIRECTORY_MODE, SecretFileError, check_private_directory
from p2p_node.workloads.attestation.policy import POLICY_FILE, PolicyError, read_policy
from p2p_node.workloads.self_check import GB, Finding, Mark
from protocols.device_facts import HostFacts
from protocols.errors import LocalError

OLDEST_PYTHON: Final = (3, 11)

LEAST_DISK_BYTES: Final = 100_000_000
"""A node's store stays far below; with less than this its write-ahead log can fail."""

LOW_DISK_BYTES: Final = 2 * GB

LEAST_FILES: Final = 256
LOW_FILES: Final = 1024
"""Open files: a connection each, of at most 512 peers, and what the process itself has open."""


def check_python(version: tuple[int, ...] = tuple(sys.version_info[:3])) -> Finding:
    """Is this Python one that Kaisar runs on?"""
    found = ".".join(map(str, version))
    if version[:2] >= OLDEST_PYTHON:
        return Finding("python", Mark.OK, f"{found}, {platform.python_implementation()}")
    oldest = ".".join(map(str, OLDEST_PYTHON))
    return Finding(
        "python", Mark.FAIL, found, f"at least {oldest} is needed", f"install Python {oldest}"
    )


def describe_host(facts: HostFacts) -> Finding:
    """One line on the machine; never wrong."""
    cores = "" if facts.cores is None else f"{facts.cores} cores"
    memory = "" if facts.memory_total is None else f"{facts.memory_total / GB:.1f} GB"
    virtual = f"in a virtual machine ({facts.hypervisor})" if facts.hypervisor else ""
    container = f"in a container ({facts.container})" if facts.container else ""
    parts = (facts.cpu, cores, memory, facts.kernel, container, virtual)
    return Finding("host", Mark.OK, ", ".join(part for part in parts if part))


def check_data_dir(data_dir: Path, free: int | None = None) -> Iterator[Finding]:
    """Is the data directory private and writable, with room? `free` bytes, asked if not given."""
    if not data_dir.exists():
        yield Finding(
            "data",
            Mark.ABSENT,
            f"{data_dir}",
            "no node has run with it yet",
            "kaisar wallet create",
        )
        return
    try:
        check_private_directory(data_dir)
    except SecretFileError as error:
        yield Finding(
            "data",
            Mark.FAIL,
            str(error),
            "keys are kept in it",
            f"chmod {DIRECTORY_MODE:o} {data_dir}",
        )
        return
    if not os.access(data_dir, os.W_OK | os.X_OK):
        yield Finding(
            "data",
            Mark.FAIL,
            f"{data_dir} cannot be written to",
            "the node keeps its store there",
            f"give it to the user of the node: chown {os.geteuid()} {data_dir}",
        )
        return
    yield Finding("data", Mark.OK, f"{data_dir}, writable, mode {DIRECTORY_MODE:04o}")
    left = shutil.disk_usage(data_dir).free if free is None else free
    found = f"{left / GB:.1f} GB free at {data_dir}"
    if left >= LOW_DISK_BYTES:
        yield Finding("disk", Mark.OK, found)
        return
    yield Finding(
        "disk",
        Mark.WARN if left >= LEAST_DISK_BYTES else Mark.FAIL,
        found,
        "the node's store must be able to grow",
        "make room, or choose another --data-dir",
    )


def check_keys(data_dir: Path) -> Iterator[Finding]:
    """Are both keys there, whole, and for their owner only? The wallet stays encrypted."""
    for name, file, look in (
        ("node key", NODE_KEY_FILE, open_node_key),
        ("wallet", WALLET_FILE, read_wallet_address),
    ):
        path = data_dir / file
        if not path.exists():
            yield Finding(
                name, Mark.ABSENT, f"no {path}", "a provider needs one", "kaisar wallet create"
            )
            continue
        try:
            look(data_dir)
        except LocalError as error:
            yield Finding(
                name,
                Mark.FAIL,
                str(error),
                "the node does not start with it",
                f"chmod 600 {path}, or bring the file back from its copy",
            )
            continue
        yield Finding(name, Mark.OK, f"{path}, mode 0600")


def check_policy(data_dir: Path) -> Finding:
    """Can the operator's lists for attestations be read?"""
    path = data_dir / POLICY_FILE
    if not path.exists():
        return Finding(
            "attestation",
            Mark.ABSENT,
            f"no {path}",
            "without it a checker looks for neither revoked certificates nor known firmware",
            "see docs/spec/device.md; nothing else depends on it",
        )
    try:
        policy = read_policy(path)
    except PolicyError as error:
        return Finding(
            "attestation",
            Mark.FAIL,
            str(error),
            "a checker does not start with it",
            "see docs/spec/device.md for its form",
        )
    revoked = len(policy.revoked_serials or ()) + len(policy.revoked_fingerprints or ())
    return Finding(
        "attestation",
        Mark.OK,
        f"{path}: {revoked} revoked, {len(policy.references or ())} references",
    )


def check_open_files(limit: int) -> Finding:
    """May the process have a connection to every peer? `limit` is the soft one."""
    found = f"{limit} may be open"
    if limit >= LOW_FILES:
        return Finding("files", Mark.OK, found)
    return Finding(
        "files",
        Mark.WARN if limit >= LEAST_FILES else Mark.FAIL,
        found,
        "every connection is one, and a checker has several hundred",
        f"ulimit -n {4 * LOW_FILES}, or LimitNOFILE= in the service's unit",
    )


def check_listen(addresses: Sequence[str], running: int | None) -> Iterator[Finding]:
    """Are the ports free? `running` is the process of a node that runs with this data already."""
    for address in addresses:
        _, kind, host, _, port, *_ = address.split("/")
        if port == "0":
            yield Finding("port", Mark.OK, f"{address}: any that is free")
            continue
        problem = _find_port_problem(kind, host, int(port))
        if problem is None:
            yield Finding("port", Mark.OK, f"{address} is free")
        elif running is not None:
            yield Finding("port", Mark.OK, f"{address} is taken, and process {running} is our node")
        else:
            yield Finding(
                "port",
                Mark.FAIL,
                f"{address}: {problem}",
                "the node cannot take connections there",
                f"end what has it (ss -ltnp 'sport = :{port}'), or choose another --listen",
            )


def _find_port_problem(kind: str, host: str, port: int) -> str | None:
    family = socket.AF_INET6 if kind.endswith("6") else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            # As the node does, or a port that was in use a minute ago would look taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        return error.strerror or str(error)
    return None


async def check_chain(
    url: str, deployment: Deployment | None, now_ms: int | None = None
) -> list[Finding]:
    """Does the endpoint answer, serve the expected network, and agree with this clock?"""
    rpc = Rpc(url)
    with closing(rpc):
        try:
            chain_id = await rpc.quantity("eth_chainId")
            head = parse_head(await rpc.request("eth_getBlockByNumber", "latest", False))
        except ChainError as error:
            return [
                Finding(
                    "rpc",
                    Mark.FAIL,
                    f"{redact_url(url)}: {error}",
                    "a node reads the calendar and its own account there",
                    "start the chain's node, or choose another --rpc",
                )
            ]
        found = [
            Finding("rpc", Mark.OK, f"{redact_url(url)}, chain {chain_id}, block {head.number}"),
            check_network(chain_id, None if deployment is None else deployment.preset.name),
            check_clock(time.time_ns() // 1_000_000 if now_ms is None else now_ms, head.timestamp),
        ]
        if deployment is None:
            reason = "which network it should be was not said"
            return [
                *found,
                Finding("network", Mark.ABSENT, "no deployment", reason, "--deployment"),
            ]
        try:
            await verify_deployment(rpc, deployment)
        except ChainError as error:
            return [
                *found,
                Finding(
                    "network",
                    Mark.FAIL,
                    str(error),
                    "the endpoint serves another network than the deployment file's",
                    "choose the --rpc or the --deployment that belongs to the other",
                ),
            ]
        name = deployment.preset.name
        found.append(
            Finding("network", Mark.OK, f"{name}, {deployment.network_id.hex()[:16]}, as deployed")
        )
        return found


def check_network(chain_id: int, preset: str | None) -> Finding:
    """Is it a chain whose times and bounds are known, with the numbers that are made for it?"""
    chain = find_network(chain_id)
    if chain is None:
        known = ", ".join(f"{each.name} {each.chain_id}" for each in NETWORKS.values())
        return Finding(
            "chain",
            Mark.WARN,
            f"{chain_id} is none of {known}",
            "its block time, finality and bound on gas are not known here",
            "choose another --rpc, unless the chain is your own",
        )
    found = (
        f"{chain.name}, blocks of {chain.block_ms / 1000:g} s, final after "
        f"{chain.finality_ms / 1000:g} s, gas in {chain.coin}"
    )
    if preset in (None, chain.preset):
        return Finding("chain", Mark.OK, found)
    return Finding(
        "chain",
        Mark.WARN,
        f"{found}; the deployment has the numbers of {preset}",
        f"those made for this chain are {chain.preset}'s: phases and ranks count on its block time",
        "ask whoever deployed it, or choose another --deployment",
    )


def check_clock(now_ms: int, timestamp: int) -> Finding:
    """Compare Unix milliseconds with the newest block's seconds."""
    ahead = now_ms / 1000 - timestamp
    if abs(ahead) * 1000 <= MAX_DRIFT_MS:
        return Finding("clock", Mark.OK, f"{ahead:+.1f} s against the newest block")
    if ahead < 0:
        return Finding(
            "clock",
            Mark.FAIL,
            f"{-ahead:.0f} s behind the newest block",
            "jobs would be answered outside of their slots",
            "timedatectl set-ntp true",
        )
    return Finding(
        "clock",
        Mark.FAIL,
        f"{ahead:.0f} s ahead of the newest block",
        "this clock is wrong, or the endpoint or its chain stands still",
        "timedatectl set-ntp true; if the clock is right, choose another --rpc",
    )


def findings_to_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """The whole result as `--json` prints it."""
    return {
        "ok": all(finding.mark is not Mark.FAIL for finding in findings),
        "checks": [
            {
                "check": finding.check,
                "mark": finding.mark.value,
                "found": finding.found,
                "reason": finding.reason,
                "fix": finding.fix,
            }
            for finding in findings
        ],
    }
