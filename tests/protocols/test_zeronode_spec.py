"""The tables of docs/spec/zeronode.md say what the code does."""

import re
from dataclasses import fields
from typing import get_args

import pytest

from protocols import uptime_gossip, zeronode_beats, zeronode_frames, zeronode_rules
from protocols.uptime_homes import SETTLED_MS
from protocols.zeronode_frames import ClientFrame, ServiceFrame
from protocols.zeronode_rules import ZeroNodeLimits, ZeroNodeRules, rules_of
from protocols.zeronode_session import BOOTS_REMEMBERED, BeatFault
from tests.protocols import zeronode_reference as ref
from tests.protocols.compute_vectors import load
from tests.protocols.test_spec import ROOT, read, rows, section, shown

PAGE = read("zeronode.md")
NAMES = ("mainnet", "testnet", "minimal")
ALL = [rules_of(name) for name in NAMES]


def numbers() -> dict[str, list[str]]:
    """All tables of numbers: name → the other cells."""
    return {cells[0].strip("`"): cells[1:] for cells in rows(section(PAGE, "## Numbers"))}


def test_rules_and_limits_are_as_in_the_tables() -> None:
    expected = {
        each.name: [shown(getattr(rules, each.name)) for rules in ALL]
        for each in fields(ZeroNodeRules)
        if each.name not in ("name", "limits")
    } | {
        each.name: [shown(getattr(rules.limits, each.name)) for rules in ALL]
        for each in fields(ZeroNodeLimits)
    }
    found = {name: cells[:3] for name, cells in numbers().items() if len(cells) == 4}
    assert found == expected


def test_constants_are_as_in_the_table() -> None:
    found = {name: cells[0] for name, cells in numbers().items() if len(cells) == 2}
    assert len(found) == 5
    assert found == {name: shown(getattr(zeronode_rules, name)) for name in found}
    points = [str(each) for each in zeronode_rules.CHECK_IN_POINTS]
    told = f"{', '.join(points[:-1])} and {points[-1]} points on days 1 … {len(points)}"
    assert told in section(PAGE, "## Numbers")


def test_statements_are_as_in_the_table() -> None:
    sizes = {"session": "SESSION", "boot": "BOOT", "key": "KEY", "service": "KEY"}
    table = rows(section(PAGE, "## Statements"))
    assert {cells[0]: cells[1].strip("`").encode() for cells in table} == ref.TAGS
    for _, _, written, _ in table:
        for name, size in re.findall(r"([a-z' ]+) \((\d+)\)", written):
            kind = sizes.get(name.strip(), "NONCE")
            expected = 4 if name.strip() == "sequence" else getattr(zeronode_beats, f"{kind}_BYTES")
            assert int(size) == expected, name


def test_frames_are_as_in_the_table() -> None:
    table = {cells[0].strip("`"): cells[1:] for cells in rows(section(PAGE, "## Frames"))[:8]}
    kinds = {
        kind.T: (sender, kind)
        for sender, union in (("client", ClientFrame), ("service", ServiceFrame))
        for kind in get_args(union)
    }
    assert table.keys() == kinds.keys()
    for name, (sender, kind) in kinds.items():
        told_by, written = table[name]
        assert told_by == sender
        assert re.findall(r"`([a-z_]+)`", written) == [each.name for each in fields(kind)]
    text = section(PAGE, "## Frames")
    for value in (
        f"at most {shown(zeronode_frames.MAX_CLIENT_CHARS)} characters",
        f"{shown(zeronode_frames.MAX_SERVICE_CHARS)} from a service",
        f"at most {zeronode_frames.MAX_BRACKETS} opening brackets",
        f"text of ≤ {zeronode_frames.MAX_AGENT_CHARS}",
        f"text of ≤ {zeronode_frames.MAX_REASON_CHARS}",
    ):
        assert value in text


def reasons(heading: str) -> list[str]:
    """The reasons of a table, in its order."""
    return [cells[-1].strip("`") for cells in rows(section(PAGE, heading))]


def test_reasons_of_frames_are_those_of_the_vectors() -> None:
    refused = {case["reason"] for case in load("zeronode/frames.json") if "reason" in case}
    assert refused == set(reasons("## Frames")[8:])


def test_reasons_of_a_service_are_those_of_the_code() -> None:
    folder = ROOT / "p2p_node" / "zeronode"
    source = "".join(
        (folder / f"{name}.py").read_text(encoding="utf-8")
        for name in ("beats", "sessions", "limits", "beat_writer", "web_socket")
    )
    stated = [
        reason
        for cells in rows(section(PAGE, "### Order"))
        for reason in re.findall(r"`([^`]+)`", cells[0])
    ]
    assert len(stated) > 10
    for reason in stated:
        if reason != "bad node signature":
            assert f'"{reason}"' in source, reason
    named = set(re.findall(r'^[A-Z_]+: Final = "([^"]+)"$', source, re.MULTILINE))
    named |= set(re.findall(r'(?:TooMany|WriterBusy|MalformedError)\("([^"]+)"', source))
    # These two are in the account's standing only.
    assert named - {"not connected", "two copies"} <= set(stated)


def test_reasons_of_beats_are_those_of_the_code() -> None:
    assert set(reasons("## The session")) == {fault.value for fault in BeatFault}
    steps = [step for case in load("zeronode/sessions.json") for step in case["steps"]]
    assert {step["reason"] for step in steps if "reason" in step} == set(reasons("## The session"))
    assert BOOTS_REMEMBERED == 8
    assert "last eight boots" in PAGE


def test_reasons_of_the_rule_are_those_of_its_vectors() -> None:
    stated = {(cells[2].strip("`"), cells[1]) for cells in rows(section(PAGE, "## Rule: receipts"))}
    of_envelopes = {"bad node signature", "wrong network", "wrong kind", "oversized", "bad field"}
    vectors = {
        (case["reason"], case["expected"])
        for case in load("zeronode/gossip.json")
        if case["expected"] != "accept" and case["reason"] not in of_envelopes
    }
    assert stated == vectors


def test_numbers_of_the_rule_are_those_of_the_code() -> None:
    text = section(PAGE, "## Rule: receipts")
    for value in (
        f"`sent_ms` + {shown(uptime_gossip.BATCH_LIFETIME_MS)}",
        f"`sent_ms` − {uptime_gossip.BATCH_DAYS} · `day_ms`",
        f"the {uptime_gossip.NUMBERS_REMEMBERED} accepted batches with the highest numbers",
        f"fewer than {uptime_gossip.BATCHES_PER_MINUTE} batches",
        f"at most {shown(uptime_gossip.SERVICES_REMEMBERED)} services",
    ):
        assert value in text
    assert f"settled {shown(SETTLED_MS)} ms from now" in section(PAGE, "## Homes")


def test_reasons_of_departures_are_those_of_the_vectors() -> None:
    of_envelopes = {"wrong network", "wrong kind", "bad field", None}
    refused = {case["reason"] for case in load("zeronode/departures.json")} - of_envelopes
    assert refused == set(reasons("### Moving"))


@pytest.mark.parametrize("name", ref.FORMS)
def test_messages_are_as_in_the_tables(name: str) -> None:
    kind, cap, forms = ref.FORMS[name]
    table = rows(section(PAGE, f"### {name}"))
    assert [(cells[0].strip("`"), cells[1]) for cells in table] == list(forms.items())
    assert [str(kind), name, shown(cap)] in rows(section(PAGE, "## Messages"))
