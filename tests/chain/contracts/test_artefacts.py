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
    # All but Beacon's, which alone is there and fresh.
    expected = {f"{name}.json" for name in compiling.DEPLOYED} - {"Beacon.json"} | {"Gone.json"}
    assert compiling.stale_artefacts() == sorted(expected)
    assert "Token.json" in capsys.readouterr().err


@pytest.mark.parametrize("name", compiling.DEPLOYED)
def test_deployed_code_is_small(name: str) -> None:
    assert 0 < int(str(load(name)["deployed_size"])) < compiling.MAX_DEPLOYED_BYTES


@pytest.mark.parametrize("name", compiling.DEPLOYED)
def test_code_runs_on_london(name: str) -> None:
    creation = bytes.fromhex(str(load(name)["bytecode"]).removeprefix("0x"))
    runtime = compiling.compile_runtime(name)
    # Within the code that creates it, a contract's code is data: it is looked through by itself.
    assert runtime in creation
    for code in (creation, runtime):
        found = set(compiling.opcodes(code))
        assert len(found) > 10
        newer = found & compiling.FORBIDDEN_OPCODES.keys()
        assert {compiling.FORBIDDEN_OPCODES[opcode] for opcode in newer} == set()


@pytest.mark.parametrize(
    ("code", "reached"),
    [
        # PUSH2 0x5f5e, TLOAD: only the last byte is an opcode that london lacks.
        ("615f5e5c", [0x61, 0x5C]),
        # RETURN, and then a table of which no byte runs.
        ("6000f35c5d5e", [0x60, 0xF3]),
        # JUMP, data, JUMPDEST, TSTORE.
        ("6004565f5b5d", [0x60, 0x56, 0x5B, 0x5D]),
        # A JUMPDEST inside of a PUSH is none, even after the end of a block.
        ("00615b5c5d", [0x00]),
    ],
)
def test_opcodes_are_those_that_can_be_reached(code: str, reached: list[int]) -> None:
    assert list(compiling.opcodes(bytes.fromhex(code))) == reached


def test_newer_opcodes_would_be_found() -> None:
    """Vyper for a later EVM writes PUSH0."""
    from vyper.compiler import compile_code
    from vyper.compiler.settings import Settings

    output = compile_code(
        "@external\ndef f() -> uint256:\n    return 0\n",
        output_formats=["bytecode_runtime"],
        settings=Settings(evm_version="shanghai"),
    )
    code = bytes.fromhex(output["bytecode_runtime"].removeprefix("0x"))
    assert 0x5F in set(compiling.opcodes(code))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_source_pins_compiler_and_evm(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines()
    assert lines[:2] == ["#pragma version 0.4.3", "#pragma evm-version london"]
