"""`kaisar audit`: what it says, and how it exits."""

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from chain.audit.findings import Difference, Place
from chain.audit.judging import Verdict
from chain.deployment import write_deployment
from p2p_node.cli import main
from p2p_node.cli.audit import format_verdict, parse_epochs, verdict_to_json
from p2p_node.config import ConfigError
from protocols.types import Epoch
from tests.chain.audit.proxy import altering, altering_call
from tests.chain.audit.test_audit import claim, settle, wait_for_finality
from tests.chain.network import Network, network

EQUAL = Verdict(Epoch(3), False, True, {"Consensus.scores": 256, "Beacon.seed": 1}, None)
DIFFERENT = Verdict(
    Epoch(3),
    True,
    False,
    {"Beacon.seed": 1},
    Difference("Consensus", "scores", Place(3, 0, lane=7), "12", "11"),
)


def test_an_equal_epoch_in_words() -> None:
    assert format_verdict(EQUAL) == [
        "epoch 3: equal, 257 values compared",
        "  Beacon: 1 seed",
        "  Consensus: 256 scores",
    ]
    assert verdict_to_json(EQUAL) == {
        "epoch": 3,
        "equal": True,
        "expired": False,
        "closed": True,
        "compared": {"Beacon.seed": 1, "Consensus.scores": 256},
        "difference": None,
    }


def test_a_difference_in_words() -> None:
    first, second, *rest = format_verdict(DIFFERENT)
    assert first == "epoch 3: DIFFERENT, after 1 equal values"
    assert second == "  Consensus.scores (epoch 3, shard 0, lane 7): found 12, expected 11"
    assert "expired" in rest[0]
    assert "nobody has closed it" in rest[1]
    found = verdict_to_json(DIFFERENT)["difference"]
    assert (found["contract"], found["field"], found["lane"]) == ("Consensus", "scores", 7)


def test_epochs_on_the_command_line() -> None:
    assert parse_epochs("7") == [7]
    assert parse_epochs("7-9") == [7, 8, 9]
    for text in ("", "-1", "x", "9-7", "1-", "0-99999", "1234567890", "٣"):
        with pytest.raises(ConfigError, match="epoch: found"):
            parse_epochs(text)


async def audit(net: Network, tmp_path: Path, *words: str, url: str | None = None) -> int:
    path = tmp_path / "deployment.json"
    write_deployment(path, net.deployment)
    where = ["--deployment", str(path), "--rpc", url or net.running.url]
    return await trio.to_thread.run_sync(main, ["audit", *words, *where])


async def test_anybody_audits_without_a_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    async with network() as net:
        await settle(net, 1, 1)
        net.enter(2, 200)
        await claim(net, [1])
        wait_for_finality(net)
        assert await audit(net, tmp_path, "0-1") == 0
        said = capsys.readouterr().out
        assert "epoch 0: equal" in said
        assert "epoch 1: equal" in said
        assert await audit(net, tmp_path, "1", "--json") == 0
        (verdict,) = json.loads(capsys.readouterr().out)["epochs"]
        assert verdict["equal"]
        assert verdict["compared"]["Consensus.scores"] == 256
        assert verdict["compared"]["Rewards.paid"] == 7
        assert sorted(tmp_path.iterdir()) == [tmp_path / "deployment.json"]

        # A single altered score, of lane 2 in the last but fifteen words.
        with altering_call(net.running.url, "Consensus", "scores", 15 * 32 + 4) as url:
            assert await audit(net, tmp_path, "1", "--json", url=url) == 1
        (verdict,) = json.loads(capsys.readouterr().out)["epochs"]
        assert verdict["difference"] == {
            "contract": "Consensus",
            "field": "scores",
            "epoch": 1,
            "shard": 0,
            "lane": 2,
            "seat": None,
            "index": None,
            "found": "31",
            "expected": "30",
        }

        # What cannot be found out is neither.
        assert await audit(net, tmp_path, "2") == 2
        assert "takes bundles for another" in capsys.readouterr().err
        assert await audit(net, tmp_path, "1", url="http://127.0.0.1:9") == 2
        assert "unreachable" in capsys.readouterr().err
        with altering(net.running.url, "eth_chainId", lambda _, __: "0x1") as url:
            assert await audit(net, tmp_path, "1", url=url) == 2
        assert "wrong chain" in capsys.readouterr().err
        with altering(net.running.url, "eth_getLogs", reverse) as url:
            assert await audit(net, tmp_path, "1", "--json", url=url) == 2
        assert "error" in json.loads(capsys.readouterr().out)


def reverse(_: list[Any], logs: Any) -> Any:
    """The same logs, but for the block that the first one is said to be in."""
    return [logs[0] | {"blockNumber": "0x0"}, *logs[1:]]
