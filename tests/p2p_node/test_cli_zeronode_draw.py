"""`kaisar zeronode verify-draw` without a chain: what it says, and how it exits."""

import json
from pathlib import Path

import pytest

from p2p_node.cli import main
from protocols.draw_transcript import MAX_TRANSCRIPT_BYTES, sign_transcript
from tests.protocols.test_draw_transcript import KEY, by_beacon, drawn, missed
from tests.vectors.builders.actors import wallet

ALICE = "0x" + wallet("alice").hex()


@pytest.fixture(autouse=True)
def _no_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KAISAR_DEPLOYMENT", raising=False)


def verify(path: Path, content: bytes, *words: str) -> int:
    file = path / "draw.json"
    file.write_bytes(content)
    return main(["zeronode", "verify-draw", str(file), *words])


def test_without_a_chain_it_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = sign_transcript(KEY, drawn())
    assert verify(tmp_path, content, "--wallet", ALICE) == 2
    said = capsys.readouterr()
    assert "draw weekly-1: holds, as far as a file can show" in said.out
    assert "4 tickets of 2 accounts" in said.out
    assert f"{ALICE}: 3 tickets; got" in said.out
    _, missing = said.out.split("not checked:")
    assert "that the commitment stood on the chain before" in missing
    assert "the randomness" not in missing.replace("before the randomness", "")
    assert "the chain was not asked" in said.err
    assert verify(tmp_path, content, "--offline") == 0
    assert capsys.readouterr().err.count("the chain was not asked") == 0


def test_a_beacon_is_not_taken_on_trust(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(tmp_path, sign_transcript(KEY, by_beacon()), "--offline", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["holds"]
    assert found["source"] == "beacon"
    assert "the randomness: only the chain knows the seeds of its Beacon" in found["not_checked"]
    assert not any("randomness" in each for each in found["checked"])


def test_a_missed_reveal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(tmp_path, sign_transcript(KEY, missed()), "--offline") == 0
    assert "MISSED: the service did not reveal in time; 6 tickets" in capsys.readouterr().out
    assert verify(tmp_path, sign_transcript(KEY, missed()), "--offline", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["outcome"], found["seed"], found["prizes"]) == ("missed", None, [])


def test_what_does_not_hold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = sign_transcript(KEY, drawn()).replace(b'"missed_bonus": 1', b'"missed_bonus": 0')
    assert verify(tmp_path, content, "--offline") == 1
    assert capsys.readouterr().out == "DOES NOT HOLD: bad node signature\n"
    assert verify(tmp_path, content, "--json") == 1
    assert json.loads(capsys.readouterr().out)["reason"] == "bad node signature"
    assert verify(tmp_path, b"{}" * MAX_TRANSCRIPT_BYTES, "--offline") == 1
    assert "transcript too long" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["0x00", "alice", "0x" + "zz" * 20, ALICE[2:]])
def test_unusable_wallet(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(tmp_path, b"", "--wallet", text) == 2
    assert "expected 0x and 40 hex digits" in capsys.readouterr().err


def test_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zeronode", "verify-draw", str(tmp_path / "none.json")]) == 1
    assert "No such file" in capsys.readouterr().err
