"""The deployment file: what goes in comes out, and anything else is named."""

import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.deployment import (
    MAX_FILE_BYTES,
    dump_deployment,
    parse_deployment,
    read_deployment,
    write_deployment,
)
from chain.errors import DeploymentFileError
from protocols.params import PRESETS
from tests.chain.samples import DEPLOYMENT


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    parsed = json.loads(dump_deployment(DEPLOYMENT))
    change(parsed)
    return json.dumps(parsed).encode()


def test_a_written_file_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "deployment.json"
    write_deployment(path, DEPLOYMENT)
    assert read_deployment(path) == DEPLOYMENT
    assert [entry.name for entry in path.parent.iterdir()] == ["deployment.json"]
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_survives(name: str) -> None:
    deployment = replace(DEPLOYMENT, preset=PRESETS[name])
    assert parse_deployment(dump_deployment(deployment).encode()) == deployment


def test_writing_replaces_the_file_in_one_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "deployment.json"
    write_deployment(path, DEPLOYMENT)

    def fail(self: Path, target: Path) -> Path:
        raise OSError("the disk is full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="full"):
        write_deployment(path, replace(DEPLOYMENT, block=99))
    assert read_deployment(path) == DEPLOYMENT
    assert [entry.name for entry in tmp_path.iterdir()] == ["deployment.json"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.pop("format"), "format: missing"),
        (lambda d: d.update(format=5), "format: found 5, expected 4"),
        (lambda d: d.update(format=1), "format: found 1, expected 4: it is of contracts without"),
        (
            lambda d: d.update(format=2),
            "format: found 2, expected 4: it is of contracts without leases, which",
        ),
        (
            lambda d: d.update(format=3),
            "format: found 3, expected 4: it is of contracts without ZeroNode, which",
        ),
        (lambda d: d.update(format="1"), "format: found '1', expected int"),
        (lambda d: d.update(chain_id=True), "chain_id: found 'True', expected int"),
        (lambda d: d.update(chain_id=-1), "chain_id: found -1, expected 0 or more"),
        (lambda d: d.update(genesis=1.5), "genesis: found '1.5', expected int"),
        (lambda d: d.update(extra=1), "extra: unknown field"),
        (lambda d: d.update(chain_id=1), "network_id: found 0x"),
        (lambda d: d.update(network_id="0x12"), "network_id: found '0x12', expected 32"),
        (lambda d: d.update(contracts=[]), "contracts: found"),
        (lambda d: d["contracts"].pop("Beacon"), "contracts.Beacon: missing"),
        (lambda d: d["contracts"].pop("Steward"), "contracts.Steward: missing"),
        (lambda d: d["contracts"].update(Parking={}), "contracts.Parking: unknown field"),
        (lambda d: d["contracts"].update(Token=5), "contracts.Token: found '5', expected dict"),
        (
            lambda d: d["contracts"]["Token"].update(address="0x00"),
            "contracts.Token.address: found '0x00', expected 20 hexadecimal bytes",
        ),
        (lambda d: d["contracts"]["Token"].pop("code_hash"), "contracts.Token.code_hash: missing"),
        (lambda d: d["contracts"]["Token"].update(a=1), "contracts.Token.a: unknown field"),
        (lambda d: d["preset"].pop("seats"), "preset.seats: missing"),
        (lambda d: d["preset"].update(seats="4"), "preset.seats: found '4', expected int"),
        (lambda d: d["preset"].update(sheets=4), "preset.sheets: unknown field"),
        (lambda d: d["preset"].pop("carry_epochs"), "preset.carry_epochs: missing"),
        (lambda d: d["preset"].pop("k"), "preset.k: missing"),
        (lambda d: d["preset"].update(k=0), "preset: k = 0"),
        (lambda d: d["preset"].update(name=5), "preset.name: found '5', expected str"),
    ],
)
def test_what_is_wrong_is_named(change: Callable[[dict[str, Any]], object], words: str) -> None:
    with pytest.raises(DeploymentFileError) as caught:
        parse_deployment(changed(change))
    assert words in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b"[" * 60_000])
def test_what_is_no_object(data: bytes) -> None:
    with pytest.raises(DeploymentFileError):
        parse_deployment(data)


def test_errors_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "deployment.json"
    with pytest.raises(DeploymentFileError, match=r"deployment\.json: No such file"):
        read_deployment(path)
    path.write_bytes(b" " * (MAX_FILE_BYTES + 1))
    with pytest.raises(DeploymentFileError, match=r"deployment\.json: longer than"):
        read_deployment(path)
    path.write_bytes(changed(lambda d: d.pop("block")))
    with pytest.raises(DeploymentFileError, match=r"deployment\.json: block: missing"):
        read_deployment(path)


@given(st.data())
def test_no_file_finds_a_bug(data: st.DataObject) -> None:
    text = bytearray(dump_deployment(DEPLOYMENT).encode())
    position = data.draw(st.integers(0, len(text) - 1))
    text[position : position + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    with contextlib.suppress(DeploymentFileError):
        parse_deployment(bytes(text))
