"""The compiled contracts: fresh, small, and made of london opcodes only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chain import compile as compiling

SOURCES = sorted(compiling.CONTRACTS_DIR.glob("*.vy"))


def load(name: str) -> dict[str, object]:
    return json.loads(compiling.artefact_path(name).read_text("utf-8"))


def test_artefacts_equal_a_fresh_compile() -> None:
    assert compiling.stale_artefacts() == []


def test_check_fails_on_a_stale_a_missing_and_a_surplus_artefact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh = {name: load(name) for name in compiling.DEPLOYED}
    monkeypatch.setattr(compiling, "compile_contract", fresh.__getitem__)
    assert compiling.main(["--check"]) == 0
    for name in ("Token", "Beacon"):
        (tmp_path / f"{name}.json").write_bytes(compiling.artefact_path(name).read_bytes())
    (tmp_path / "Token.json").write_text("{}", "utf-8")
    (tmp_path / "Gone.json").write_text("{}", "utf-8")
    monkeypatch.setattr(compiling, "ARTEFACTS_DIR", tmp_path)
    assert compiling.main(["--check"]) == 1
    expected = ["Consensus.json", "Gone.json", "Registry.json", "Rewards.json", "Token.json"]
    assert compiling.stale_artefacts() == expected
    assert "Token.json" in capsys.readouterr().err


@pytest.mark.parametrize("name", compiling.DEPLOYED)
def test_deployed_code_is_small(name: str) -> None:
    assert 0 < int(str(load(name)["deployed_size"])) < compiling.MAX_DEPLOYED_BYTES


@pytest.mark.parametrize("name", compiling.DEPLOYED)
def test_code_runs_on_london(name: str) -> None:
    code = bytes.fromhex(str(load(name)["bytecode"]).removeprefix("0x"))
    found = set(compiling.opcodes(code)) & compiling.FORBIDDEN_OPCODES.keys()
    assert {compiling.FORBIDDEN_OPCODES[opcode] for opcode in found} == set()


def test_opcodes_steps_over_pushed_data() -> None:
    # PUSH2 0x5f5e, TLOAD: only the last byte is an opcode that london lacks.
    assert list(compiling.opcodes(bytes.fromhex("615f5e5c"))) == [0x61, 0x5C]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_source_pins_compiler_and_evm(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines()
    assert lines[:2] == ["#pragma version 0.4.3", "#pragma evm-version london"]
