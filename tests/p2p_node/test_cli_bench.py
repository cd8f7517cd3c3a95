"""`kaisar bench`: a machine measured by itself, its score explained, its devices reserved."""

import json
from pathlib import Path

import pytest
import trio

from p2p_node.cli import main
from p2p_node.workloads import host_bench
from p2p_node.workloads.device_group import GroupWork
from p2p_node.workloads.reservation import LOCK_FILE, Reservation
from protocols.params import WEIGHTS

SMALL = [
    "--preset",
    "minimal",
    "--seconds",
    "0.05",
    "--devices",
    "cpu",
    "--cores",
    "1",
    "--cpu-memory",
    "64",
]


@pytest.fixture
def data_dir(tmp_path: Path) -> list[str]:
    return ["--data-dir", str(tmp_path)]


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = main(["bench", *words])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_every_term_is_shown_with_its_reason(
    capsys: pytest.CaptureFixture[str], data_dir: list[str]
) -> None:
    status, out, err = run(capsys, *SMALL, *data_dir)
    assert status == 0
    for name in WEIGHTS:
        assert f"\n{name} " in out
    for reason in (
        "checkers measure it",
        "no proof of disks",
        "earn ten points",
        "GB credited of",
        "shown by 1 chains",
        "at full uptime, with no stake",
        "minimal, 0.05 s of computing",
    ):
        assert reason in out
    # Not on a terminal: a line for each stage, in words.
    assert "computing, 0.05 s\n" in err
    assert "\r" not in err


def test_json_has_the_score_and_what_it_is_made_of(
    capsys: pytest.CaptureFixture[str], data_dir: list[str]
) -> None:
    status, out, _ = run(capsys, *SMALL, *data_dir, "--json")
    assert status == 0
    figures = json.loads(out)
    terms = figures["terms"]
    assert {name: term["weight"] for name, term in terms.items()} == WEIGHTS
    total = sum(term["weight"] * term["thousandths"] for term in terms.values())
    assert figures["score"] == pytest.approx(total / 10, abs=0.5)
    assert {name for name, term in terms.items() if term["measured"]} == {"cpu", "gpu", "memory"}
    assert terms["bandwidth"]["thousandths"] == terms["disk"]["thousandths"] == 0
    assert terms["gpu"]["thousandths"] > 0
    (device,) = figures["devices"]
    assert (device["device"], device["kind"], figures["dropped"]) == (0, "cpu", {})
    assert device["passes"] >= 1


def test_cores_may_be_left_out(capsys: pytest.CaptureFixture[str], data_dir: list[str]) -> None:
    status, out, _ = run(capsys, *SMALL, *data_dir, "--cores", "0")
    assert status == 0
    assert "no cores are offered" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--preset", "moon"], "preset: found 'moon', expected one of mainnet, minimal, testnet"),
        (["--seconds", "0"], "seconds: found 0"),
        (["--seconds", "601"], "seconds: found 601"),
        (["--devices", "tpu"], "devices: found"),
    ],
)
def test_what_cannot_be_meant_is_named(
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    data_dir: list[str],
) -> None:
    status, _, err = run(capsys, *data_dir, *words)
    assert status == 2
    assert message in err


def test_a_gpu_that_is_not_there_is_a_failure(
    capsys: pytest.CaptureFixture[str], data_dir: list[str]
) -> None:
    status, _, err = run(capsys, *data_dir, "--devices", "gpu:99")
    assert status == 1
    assert "no GPU" in err


def test_devices_that_are_in_use_are_left_alone(
    capsys: pytest.CaptureFixture[str],
    data_dir: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("p2p_node.cli.bench._PATIENCE_SECONDS", -1_000)

    async def hold() -> None:
        node = Reservation(tmp_path / LOCK_FILE)
        async with node.reserve("rented", wait_s=1):
            assert await trio.to_thread.run_sync(main, ["bench", *SMALL, *data_dir]) == 1
        node.close()

    trio.run(hold)
    assert "in use: rented" in capsys.readouterr().err


def test_a_node_beside_it_is_told_meanwhile(
    data_dir: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Reservation(tmp_path / LOCK_FILE)
    told: list[str | None] = []
    measure = host_bench.assess

    def look_and_assess(*arguments: object) -> object:
        told.append(node.find_holder())
        return measure(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(host_bench, "assess", look_and_assess)
    assert main(["bench", *SMALL, *data_dir]) == 0
    told.append(node.find_holder())
    node.close()
    assert str(told[0]).startswith("kaisar bench, process ")
    assert told[1] is None


def test_a_proof_that_does_not_hold_is_a_failure(
    capsys: pytest.CaptureFixture[str], data_dir: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def spoil(*arguments: object) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
        rows, paths = await open_honestly(*arguments)  # type: ignore[arg-type]
        return (bytes([rows[0][0] ^ 1]) + rows[0][1:],), paths

    open_honestly = GroupWork.open_request
    monkeypatch.setattr(GroupWork, "open_request", spoil)
    status, out, err = run(capsys, *SMALL, *data_dir)
    assert (status, out) == (1, "")
    assert "openings path" in err


def test_a_directory_that_is_not_there_is_not_made(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status, _, _ = run(capsys, *SMALL, "--data-dir", str(tmp_path / "none"))
    assert status == 0
    assert not (tmp_path / "none").exists()
