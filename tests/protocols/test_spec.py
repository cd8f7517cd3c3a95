"""The tables in docs/spec say what the code does."""

import json
import re
from dataclasses import fields
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import protocols.params as params
from protocols.params import PRESETS, TOKEN, Preset
from tests.protocols import wire_reference as ref
from tests.vectors.generate import FILES, load

ROOT = Path(__file__).parent.parent.parent
SPEC = ROOT / "docs" / "spec"
PAGES = sorted(SPEC.glob("*.md"))

IN_TOKENS = {
    "min_provider_stake",
    "min_checker_stake",
    "max_stake",
    "provider_pool",
    "checker_pool",
}

LEASE_KINDS = 30
"""From this kind on messages are described with the leases."""

Row = list[str]


def read(page: str) -> str:
    """The text of a page."""
    return (SPEC / page).read_text(encoding="utf-8")


def section(text: str, heading: str, *, deep: bool = False) -> str:
    """What stands under a heading, up to the next one (of its own level, when `deep`)."""
    end = heading.split()[0] + " " if deep else "#"
    found = re.search(rf"^{re.escape(heading)}\n(.*?)(?=^{end}|\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, heading
    return found.group(1)


def rows(text: str) -> list[Row]:
    """Cells of all table rows, without heads and rules."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    rules = [position for position, cells in enumerate(lines) if set("".join(cells)) <= set("-:| ")]
    skipped = {*rules, *(position - 1 for position in rules)}
    return [
        [cell.strip(" |") for cell in cells]
        for position, cells in enumerate(lines)
        if position not in skipped
    ]


def shown(value: int) -> str:
    """A number as the tables write it."""
    return f"{value:,}"


def describe(preset: Preset, name: str) -> str:
    """A number of a preset as the table writes it."""
    value: Any = getattr(preset, name)
    if name not in IN_TOKENS:
        return shown(value)
    tokens = Decimal(value) / TOKEN
    return f"{tokens.quantize(1) if tokens == tokens.to_integral() else tokens.normalize():,f}"


def test_presets_are_as_in_the_table() -> None:
    table = {
        cells[0].strip("`"): cells[1:4]
        for cells in rows(section(read("README.md"), "## Numbers"))
        if len(cells) >= 4
    }

    expected = {
        each.name: [
            describe(PRESETS[name], each.name) for name in ("mainnet", "testnet", "minimal")
        ]
        for each in fields(Preset)
        if each.name != "name"
    }

    assert table == expected


def test_constants_are_as_in_the_table() -> None:
    table = {
        cells[0].strip("`"): cells[1]
        for cells in rows(section(read("README.md"), "## Numbers"))
        if len(cells) == 3
    }

    assert len(table) > 5
    assert table == {name: shown(getattr(params, name)) for name in table}


@pytest.mark.parametrize("name", ref.FORMS)
def test_fields_of_a_message_are_as_in_its_table(name: str) -> None:
    page = "leases.md" if ref.FORMS[name][0] >= LEASE_KINDS else "messages.md"
    table = rows(section(read(page), f"### {name}"))

    assert [(cells[0].strip("`"), cells[1]) for cells in table] == list(ref.FORMS[name][2].items())


def test_kinds_and_caps_are_as_in_the_table() -> None:
    table = rows(section(read("messages.md"), "## Kinds"))

    assert [(int(cells[0]), cells[1], cells[2]) for cells in table] == [
        (kind, name, shown(cap)) for name, (kind, cap, _) in ref.FORMS.items()
    ]


@pytest.mark.parametrize("rule", ["announcement", "challenge", "commitment", "report"])
def test_reasons_of_a_rule_are_those_of_its_vectors(rule: str) -> None:
    """Each with the judgement that the vectors have for it."""
    table = rows(section(read("gossip.md"), f"## Rule: {rule}"))
    vectors = [
        load(name)
        for name in FILES
        if name.startswith(f"gossip/{rule}/") and "/envelope_" not in name
    ]

    stated = {(cells[2].strip("`"), cells[1]) for cells in table[1:]}

    assert stated == {
        (case["reason"], case["expected"]) for case in vectors if case["expected"] != "accept"
    }


def test_reasons_of_the_codec_and_envelopes_are_stated() -> None:
    stated = set(re.findall(r"\| `([a-z ]+)` \|$", read("messages.md"), re.MULTILINE))
    shown_by = [
        *load("codec/invalid.json"),
        *load("envelopes/invalid.json")["cases"],
        *(case for name in ref.FORMS for case in load(f"messages/{name}.json")["invalid"]),
    ]

    assert {case["reason"] for case in shown_by} == stated - {"unexpected signer"}


def test_domain_tags_are_those_of_the_code() -> None:
    table = {cells[0].strip("`") for cells in rows(section(read("README.md"), "## Domain tags"))}
    found = {
        tag
        for source in (ROOT / "protocols").glob("*.py")
        for tag in re.findall(r'b"(kaisar/[^"]*)"', source.read_text(encoding="utf-8"))
    }

    assert table == found


def test_every_reason_of_the_contracts_is_stated() -> None:
    names = "token|registry|steward|beacon|consensus|rewards|delegation|penalties|rental|nft|anchor"
    found = {
        reason
        for source in (ROOT / "chain" / "contracts").glob("*.vy")
        for reason in re.findall(
            rf'"((?:{names}): [^"]+)"',
            source.read_text(encoding="utf-8"),
        )
    }
    stated = set(re.findall(rf"`((?:{names}): [^`]+)`", read("contracts.md")))

    assert stated == found


@pytest.mark.parametrize(
    "name",
    [
        *("Registry", "Steward", "Beacon", "Consensus", "Rewards", "Delegation", "Penalties"),
        *("Rental", "Nft", "ZeroNodeAnchor"),
    ],
)
def test_every_call_and_event_of_a_contract_is_named(name: str) -> None:
    artefact = json.loads((ROOT / "chain" / "artefacts" / f"{name}.json").read_text("utf-8"))
    text = section(read("contracts.md"), f"## {name}", deep=True)

    for entry in artefact["abi"]:
        if entry["type"] in ("function", "event"):
            assert re.search(rf"`{entry['name']}[`(]", text), entry["name"]
    for called in re.findall(r"`([a-zA-Z_0-9]+)\(", text):
        assert called in {entry.get("name") for entry in artefact["abi"]}, called


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_names_of_vectors_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    anchors = {
        other.name: {
            re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")
            for heading in re.findall(r"^#+ (.+)$", other.read_text("utf-8"), re.MULTILINE)
        }
        for other in PAGES
    }

    for target, anchor in re.findall(r"\]\(([a-z-A-Z]+\.md)(?:#([a-z0-9-]+))?\)", text):
        assert target in anchors, target
        assert not anchor or anchor in anchors[target], f"{target}#{anchor}"
    for name in re.findall(r"`((?:[a-z]+/)+[A-Za-z_]+\.json)`", text):
        assert (ROOT / "tests" / "vectors" / name).is_file(), name


def test_every_page_is_in_the_index() -> None:
    listed = {cells[0] for cells in rows(read("README.md"))}

    for page in PAGES:
        assert page.name == "README.md" or f"[{page.name}]({page.name})" in listed
