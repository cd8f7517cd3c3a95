"""`kaisar doctor`: what it prints, what each check makes of what it finds, and its exit status."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from chain.abi import CONTRACTS
from chain.deployment import Contract, Deployment, write_deployment
from chain.records import SlotKind
from p2p_node.cli import doctor, main
from p2p_node.cli.doctor import examine, find_running, format_findings
from p2p_node.cli.doctor_chain import check_endpoints, check_gas, describe_gas
from p2p_node.cli.doctor_checks import (
    LEAST_DISK_BYTES,
    LOW_DISK_BYTES,
    check_chain,
    check_clock,
    check_data_dir,
    check_keys,
    check_listen,
    check_network,
    check_open_files,
    check_policy,
    check_python,
    describe_host,
)
from p2p_node.funds import Spending, compute_outlook
from p2p_node.keystore import LIGHT_KDF, NODE_KEY_FILE, WALLET_FILE, Keystore
from p2p_node.run_file import RunFile
from p2p_node.setting_list import SETTINGS
from p2p_node.workloads.attestation.policy import POLICY_FILE
from p2p_node.workloads.self_check import Finding, Machine, Mark, check_devices
from protocols.device_facts import HostFacts
from protocols.params import MINIMAL
from protocols.types import Digest, Wallet
from tests.chain.backends import CHAIN_ID, DevchainBackend, running_devchain
from tests.fakes.nvml import GOOD_GPU, FakeGpus

NOW = 1_800_000_000


@pytest.fixture
def node_dir(data_dir: Path) -> Path:
    Keystore.create(data_dir, "secret", kdf=LIGHT_KDF)
    return data_dir


@pytest.fixture(scope="module")
def chain() -> Iterator[DevchainBackend]:
    with running_devchain() as backend:
        yield backend


# The command


def test_node_in_good_order(node_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On this machine, with or without a GPU; the wallet's password is not asked for."""
    status = main(["doctor", "--data-dir", str(node_dir), "--json"])
    found = json.loads(capsys.readouterr().out)
    marks = {check["check"]: check["mark"] for check in found["checks"]}
    failed = [check for check in found["checks"] if check["mark"] == "fail"]
    assert found["ok"] is not bool(failed)
    assert status == (1 if failed else 0)
    for name in ("python", "host", "numpy", "job on cpu", "data", "node key", "wallet", "port"):
        assert marks[name] == "ok", name
    assert marks["attestation"] == "not here"
    assert marks["rpc"] == "not here"
    assert "driver" in marks
    for check in found["checks"]:
        assert set(check) == {"check", "mark", "found", "reason", "fix"}
        assert check["mark"] == "ok" or check["reason"]


def test_a_line_for_each_check(node_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor", "--data-dir", str(node_dir)])
    lines = capsys.readouterr().out.splitlines()
    *checks, empty, last = lines
    assert empty == ""
    assert all(line.startswith(tuple(mark.value for mark in Mark)) for line in checks)
    assert last.partition(" ")[0].isdigit()
    assert " ok" in last


def test_no_data_directory_yet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor", "--data-dir", str(tmp_path / "none"), "--json"])
    checks = json.loads(capsys.readouterr().out)["checks"]
    (data,) = [check for check in checks if check["check"] == "data"]
    assert (data["mark"], data["fix"]) == ("not here", "kaisar wallet create")
    assert not [check for check in checks if check["check"] in ("node key", "wallet")]
    assert not (tmp_path / "none").exists()


def test_failed_check_is_the_exit_status(
    node_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (node_dir / WALLET_FILE).chmod(0o644)
    assert main(["doctor", "--data-dir", str(node_dir)]) == 1
    (line,) = [
        line for line in capsys.readouterr().out.splitlines() if line.startswith("fail      wallet")
    ]
    assert "mode 0644" in line
    assert "-> chmod 600" in line


def test_bad_setting_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--rpc", "nonsense"]) == 2
    assert "rpc: found" in capsys.readouterr().err


def test_gpus_are_among_the_checks(
    node_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gpus = FakeGpus(gpus=(replace(GOOD_GPU, ecc_uncorrected_volatile=2),))
    monkeypatch.setattr(doctor, "check_devices", lambda: check_devices(Machine(gpus.open)))
    assert main(["doctor", "--data-dir", str(node_dir)]) == 1
    text = capsys.readouterr().out
    assert "fail      gpu 0" in text
    assert "2 uncorrectable memory errors" in text
    assert "ok        job on cpu" in text


def test_findings_are_aligned() -> None:
    assert format_findings(
        [
            Finding("a", Mark.OK, "good"),
            Finding("longer", Mark.FAIL, "bad", "because", "do this"),
            Finding("b", Mark.ABSENT, "nothing", "not needed"),
        ]
    ) == [
        "ok        a       good",
        "fail      longer  bad; because -> do this",
        "not here  b       nothing; not needed",
    ]
    assert format_findings([]) == []


# Host


def test_python() -> None:
    assert check_python().mark is Mark.OK
    assert check_python((3, 12, 0)).mark is Mark.OK
    old = check_python((3, 10, 4))
    assert (old.mark, old.found) == (Mark.FAIL, "3.10.4")


def test_host() -> None:
    facts = HostFacts(
        cpu="CPU", cores=2, memory_total=8 * 10**9, kernel="Linux 6", container="docker",
        hypervisor="KVM",
    )  # fmt: skip
    assert describe_host(facts).found == (
        "CPU, 2 cores, 8.0 GB, Linux 6, in a container (docker), in a virtual machine (KVM)"
    )
    assert describe_host(HostFacts()).found == ""


@pytest.mark.parametrize(
    ("limit", "mark"),
    [(1 << 20, Mark.OK), (1024, Mark.OK), (1023, Mark.WARN), (256, Mark.WARN), (255, Mark.FAIL)],
)
def test_open_files(limit: int, mark: Mark) -> None:
    assert check_open_files(limit).mark is mark


# Data directory


def marks(findings: Iterator[Finding]) -> dict[str, Mark]:
    return {finding.check: finding.mark for finding in findings}


@pytest.mark.parametrize(
    ("free", "mark"),
    [
        (LOW_DISK_BYTES, Mark.OK),
        (LOW_DISK_BYTES - 1, Mark.WARN),
        (LEAST_DISK_BYTES, Mark.WARN),
        (LEAST_DISK_BYTES - 1, Mark.FAIL),
    ],
)
def test_room_on_the_disk(data_dir: Path, free: int, mark: Mark) -> None:
    assert marks(check_data_dir(data_dir, free)) == {"data": Mark.OK, "disk": mark}


def test_directory_that_others_can_read(data_dir: Path) -> None:
    data_dir.chmod(0o755)
    (finding,) = check_data_dir(data_dir)
    assert finding.mark is Mark.FAIL
    assert "found mode 0755" in finding.found
    assert finding.fix == f"chmod 700 {data_dir}"


def test_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert marks(check_data_dir(tmp_path / "file")) == {"data": Mark.FAIL}


def test_directory_that_cannot_be_written_to(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may write anywhere, so the answer is made up."""
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    (finding,) = check_data_dir(data_dir)
    assert finding.mark is Mark.FAIL
    assert "cannot be written to" in finding.found


def test_keys(node_dir: Path) -> None:
    assert marks(check_keys(node_dir)) == {"node key": Mark.OK, "wallet": Mark.OK}
    (node_dir / NODE_KEY_FILE).chmod(0o640)
    (node_dir / WALLET_FILE).unlink()
    assert marks(check_keys(node_dir)) == {"node key": Mark.FAIL, "wallet": Mark.ABSENT}


def test_broken_keys_are_not_shown(node_dir: Path) -> None:
    content = "5ec2e7" * 5
    (node_dir / NODE_KEY_FILE).write_text(content)
    (node_dir / WALLET_FILE).write_text(content)
    findings = list(check_keys(node_dir))
    assert [finding.mark for finding in findings] == [Mark.FAIL, Mark.FAIL]
    assert not [finding for finding in findings if content in str(finding)]


def test_policy(node_dir: Path) -> None:
    assert check_policy(node_dir).mark is Mark.ABSENT
    (node_dir / POLICY_FILE).write_text('[revoked]\nserials = ["1", "2"]\n')
    assert check_policy(node_dir).found.endswith("2 revoked, 0 references")
    (node_dir / POLICY_FILE).write_text("nonsense")
    assert check_policy(node_dir).mark is Mark.FAIL


# Ports


def test_free_port(unused_tcp_port: int) -> None:
    addresses = (f"/ip4/127.0.0.1/tcp/{unused_tcp_port}", "/ip4/0.0.0.0/tcp/0")
    assert [finding.mark for finding in check_listen(addresses, None)] == [Mark.OK, Mark.OK]


def test_port_that_is_taken() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"/ip4/127.0.0.1/tcp/{other.getsockname()[1]}"
        (finding,) = check_listen((address,), None)
        assert finding.mark is Mark.FAIL
        assert "Address already in use" in finding.found
        (finding,) = check_listen((address,), 42)
        assert finding.mark is Mark.OK
        assert "process 42" in finding.found


def test_address_of_another_host() -> None:
    (finding,) = check_listen(("/ip4/192.0.2.1/tcp/4001",), None)
    assert finding.mark is Mark.FAIL


def test_running_node_is_found(data_dir: Path) -> None:
    assert find_running(data_dir) is None
    with RunFile(data_dir) as run_file:
        run_file.write(role="provider", peer_id="12D3", wallet=Wallet(bytes(20)), addresses=[])
        assert find_running(data_dir) == os.getpid()
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    (data_dir / "running.json").write_text(json.dumps({"pid": process.pid}))
    assert find_running(data_dir) is None


# Chain


@pytest.mark.parametrize(
    ("now_ms", "mark", "found"),
    [
        (NOW * 1000, Mark.OK, "+0.0 s"),
        (NOW * 1000 + 30_000, Mark.OK, "+30.0 s"),
        (NOW * 1000 - 30_000, Mark.OK, "-30.0 s"),
        (NOW * 1000 + 30_001, Mark.FAIL, "30 s ahead"),
        (NOW * 1000 - 30_001, Mark.FAIL, "30 s behind"),
    ],
)
def test_clock(now_ms: int, mark: Mark, found: str) -> None:
    finding = check_clock(now_ms, NOW)
    assert finding.mark is mark
    assert found in finding.found


def make_deployment(chain_id: int) -> Deployment:
    return Deployment(
        chain_id=chain_id,
        genesis=NOW,
        block=1,
        contracts={
            name: Contract(Wallet(bytes([number]) * 20), Digest(bytes([number]) * 32))
            for number, name in enumerate(CONTRACTS, start=1)
        },
        preset=MINIMAL,
    )


async def test_chain_of_another_network(chain: DevchainBackend) -> None:
    now_ms = chain.chain.head().timestamp * 1000
    rpc, known, clock, network = await check_chain(chain.url, None, now_ms)
    assert (rpc.mark, known.mark, clock.mark) == (Mark.OK, Mark.OK, Mark.OK)
    assert network.mark is Mark.ABSENT
    assert "local, blocks of 1 s" in known.found
    assert f"chain {CHAIN_ID}" in rpc.found
    *_, network = await check_chain(chain.url, make_deployment(CHAIN_ID + 1), now_ms)
    assert (network.mark, network.found) == (
        Mark.FAIL,
        f"wrong chain: chain id: found {CHAIN_ID}, expected {CHAIN_ID + 1}",
    )
    *_, network = await check_chain(chain.url, make_deployment(CHAIN_ID), now_ms)
    assert network.mark is Mark.FAIL
    assert "no code at" in network.found


def test_chains_that_are_known_and_their_numbers() -> None:
    peaq = check_network(3338, "mainnet")
    assert (peaq.mark, peaq.found) == (
        Mark.OK,
        "peaq, blocks of 7 s, final after 21 s, gas in PEAQ",
    )
    assert check_network(9990, None).mark is Mark.OK
    other = check_network(9990, "minimal")
    assert other.mark is Mark.WARN
    assert "the deployment has the numbers of minimal" in other.found
    assert "are testnet's" in other.reason
    unknown = check_network(1, "mainnet")
    assert unknown.mark is Mark.WARN
    assert "1 is none of peaq 3338, agung 9990, local 31337" in unknown.found


async def test_chain_that_does_not_answer(unused_tcp_port: int) -> None:
    (finding,) = await check_chain(f"http://127.0.0.1:{unused_tcp_port}/secret", None)
    assert (finding.check, finding.mark) == ("rpc", Mark.FAIL)
    assert "secret" not in str(finding)


async def test_every_endpoint_is_shown(chain: DevchainBackend, unused_tcp_port: int) -> None:
    now_ms = chain.chain.head().timestamp * 1000
    nobody = f"http://127.0.0.1:{unused_tcp_port}"
    found = {each.check: each for each in await check_endpoints([nobody, chain.url], None, now_ms)}
    assert (found["rpc 1"].mark, found["rpc 2"].mark) == (Mark.WARN, Mark.OK)
    assert "uses another one" in found["rpc 1"].reason
    assert found["clock 2"].mark is Mark.OK
    # None does.
    for finding in await check_endpoints([nobody, nobody + "/"], None, now_ms):
        assert finding.mark is Mark.FAIL
    # One alone is shown as it always was.
    assert await check_endpoints([chain.url], None, now_ms) == await check_chain(
        chain.url, None, now_ms
    )


@pytest.mark.parametrize(
    ("balance", "mark"), [(10**18, Mark.OK), (3 * 10**15, Mark.WARN), (0, Mark.FAIL)]
)
def test_gas(balance: int, mark: Mark) -> None:
    outlook = compute_outlook(balance, 10**9, SlotKind.PROVIDER, MINIMAL, Spending())
    finding = describe_gas(outlook, "PEAQ", "0xabc")
    assert finding.mark is mark
    assert ("or more to 0xabc" in finding.fix) is (mark is not Mark.OK)
    assert f"about {outlook.epochs_left:,} epochs" in finding.found


async def test_gas_of_a_wallet_without_a_chain(node_dir: Path, unused_tcp_port: int) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}"
    assert await check_gas([url], make_deployment(1), node_dir) == []


async def test_network_as_deployed(chain: DevchainBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    async def verify(rpc: object, deployment: Deployment) -> None:
        return

    monkeypatch.setattr("p2p_node.cli.doctor_checks.verify_deployment", verify)
    deployment = make_deployment(CHAIN_ID)
    *_, network = await check_chain(chain.url, deployment, chain.chain.head().timestamp * 1000)
    assert network.mark is Mark.OK
    assert deployment.network_id.hex()[:16] in network.found


def test_chain_is_looked_at_where_it_is_named(
    node_dir: Path, capsys: pytest.CaptureFixture[str], unused_tcp_port: int
) -> None:
    words = ["doctor", "--data-dir", str(node_dir), "--json"]
    url = f"http://127.0.0.1:{unused_tcp_port}"
    write_deployment(node_dir / "d.json", make_deployment(1))
    for more in (["--rpc", url], ["--rpc", url, "--deployment", str(node_dir / "d.json")]):
        assert main([*words, *more]) == 1
        found = json.loads(capsys.readouterr().out)
        assert not found["ok"]
        assert [check["mark"] for check in found["checks"] if check["check"] == "rpc"] == ["fail"]
    (node_dir / "d.json").write_text("{}")
    assert main([*words, "--deployment", str(node_dir / "d.json")]) == 2


def test_this_very_moment_is_used(chain: DevchainBackend) -> None:
    chain.chain.mine(int(time.time()))
    settings = {name: setting.default for name, setting in SETTINGS.items()}
    settings["rpc"] = (chain.url,)
    findings = {each.check: each for each in examine(settings, has_endpoint=True)}
    assert findings["clock"].mark is Mark.OK
    assert findings["rpc"].mark is Mark.OK
