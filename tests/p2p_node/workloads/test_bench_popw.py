"""`python -m bench.popw`: its figures and its curve; status 1 for a proof that is wrong."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench import popw
from bench.detection import measure_detection
from p2p_node.workloads.exact_product import ExactProduct, Scratch
from p2p_node.workloads.gpu import warmup
from p2p_node.workloads.gpu.backend import GpuBackend
from p2p_node.workloads.gpu.devices import GpuFacts, GpuList
from p2p_node.workloads.numpy_backend import NumpyBackend
from protocols.compute import Shape
from protocols.rejection import ProofRejected
from tests import require
from tests.fakes.gpu_runtime import HostRuntime

_SETTINGS = {
    "--backend": "numpy",
    "--k": "64",
    "--n": "64",
    "--rows": "32",
    "--window": "0.01",
    "--pass-window": "0.01",
    "--repeats": "2",
    "--draws": "2",
    "--threads": "1",
    "--memory": "64",
}
SMALL = [word for pair in _SETTINGS.items() for word in pair]


class WrongProduct(ExactProduct):
    """Off by one in every place."""

    def multiply(
        self,
        a: np.ndarray,
        out: np.ndarray,
        scratch: Scratch,
        checkpoint: Callable[[], None],
    ) -> None:
        super().multiply(a, out, scratch, checkpoint)
        out += 1


def test_figures_of_a_small_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "out.json"
    assert popw.main([*SMALL, "--json", str(path)]) == 0
    figures = json.loads(path.read_text())
    assert json.loads(capsys.readouterr().out) == figures
    assert (figures["backend"], figures["shape"]) == ("numpy", {"m": 32, "k": 64, "n": 64})
    assert figures["ratio"] == pytest.approx(
        figures["prover_rate_tops"] / figures["gemm_rate_tops"], rel=1e-2
    )
    assert figures["verify_ms"] > 0
    # 64 rows at least, with their share of roots and paths.
    assert figures["job_bytes"] > 64 * 4 * 64
    memory = figures["memory"]
    assert memory["kept_bytes"] == memory["kept_rounds"] * 32 * 4 * 64
    assert memory["pass_rate_gbs"] > 0
    assert len(figures["rounds"]) == len(memory["passes"]) == 2
    assert {point["skipped"] for point in figures["detection"]} >= {0.0, 0.01, 0.1}
    for point in figures["detection"]:
        assert set(point) == {"skipped", "caught", "expected"}


def test_a_wrong_proof_ends_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def make_wrong(*settings: int) -> NumpyBackend:
        return NumpyBackend(*settings, make_product=WrongProduct)

    monkeypatch.setattr(popw, "NumpyBackend", make_wrong)
    assert popw.main(SMALL) == 1
    captured = capsys.readouterr()
    assert "openings row" in captured.err
    assert captured.out == ""


def test_a_verifier_that_refuses_nothing_ends_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(popw, "verify_host", lambda *_: None)
    assert popw.main(SMALL) == 1
    assert "accepted a spoilt proof" in capsys.readouterr().err


def test_a_gpu_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(popw, "list_gpus", lambda: GpuList((), "CuPy is not usable: not there"))
    assert popw.main(["--backend", "cupy"]) == 1
    assert "GPU 0: CuPy is not usable" in capsys.readouterr().err


class SmallGpu(GpuBackend):
    """A GPU whose copies fit a host."""

    def measure_copy_rate(self, repeats: int, size: int = 1 << 20) -> float:
        return super().measure_copy_rate(repeats, size)


def test_the_same_command_measures_a_gpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the host's runtime: the kernels are real, the device is not."""
    require.program("compiler")
    opened: list[int] = []

    def open_gpu(index: int) -> GpuBackend:
        opened.append(index)
        return SmallGpu(HostRuntime())

    found = GpuList((GpuFacts(0, "first", 0), GpuFacts(1, "second", 0)), None)
    monkeypatch.setattr(popw, "list_gpus", lambda: found)
    monkeypatch.setattr(popw, "open_gpu", open_gpu)
    monkeypatch.setattr(popw, "GEMM_SECONDS", 0.01)
    monkeypatch.setattr(warmup, "TRIAL_SECONDS", 0.001)
    words = [word for word in SMALL if word not in ("--backend", "numpy")]
    assert popw.main([*words, "--device", "1"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert opened == [1]
    assert figures["backend"] == "cupy"
    assert figures["memory"]["kept_bytes"] > 0
    assert figures["memory"]["pass_rate_gbs"] > 0


def test_passes_are_verified_as_well() -> None:
    backend = NumpyBackend(rows=32)
    shape = backend.prepare(bytes(32), 64, 64)
    bench = popw.Bench("numpy", backend, popw.NumpyPeer(shape, 1), shape, bytes(32))
    proof = popw.prove(bench, 0.01, 0.01)
    backend.close()
    assert shape == Shape(32, 64, 64)
    check = popw.prepare_check(bytes(32), shape, bytes(32))
    proof.verify(check)
    flipped = bytes([proof.pass_paths[-1] ^ 1])
    object.__setattr__(proof, "pass_paths", proof.pass_paths[:-1] + flipped)
    with pytest.raises(ProofRejected, match="pass path"):
        proof.verify(check)


def test_detection_is_as_expected() -> None:
    """At 1 % half of 200 draws: four deviations are 0.14."""
    honest, one_percent, half = measure_detection((0.0, 0.01, 0.5), 200)
    assert honest.caught == honest.expected == 0
    assert one_percent.expected == pytest.approx(0.4744, abs=1e-4)
    assert one_percent.caught == pytest.approx(one_percent.expected, abs=0.14)
    assert half.caught == 1
