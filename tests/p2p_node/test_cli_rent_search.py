"""What `kaisar rent search` makes of what providers say: filters, columns, JSON."""

import argparse
from dataclasses import replace
from typing import Any

import pytest

from p2p_node.cli.rent_search import Listing, _find_reported_misfit, _format, _to_json
from p2p_node.rental.renter_asking import Answer, Told
from p2p_node.rental.renter_market import Found, Hidden
from protocols.lease_market import Candidate, EpochRecord
from protocols.lease_offers import OfferedGpu, OfferedTemplate
from protocols.params import MINIMAL, TOKEN
from protocols.transfers import Rates
from protocols.types import NodeKey
from tests.p2p_node.rental.test_renter_asking import CAPABILITY
from tests.protocols.test_lease_market import offer

H100 = OfferedGpu("H100", 80 * 10**9)
MACHINE = replace(
    CAPABILITY,
    gpus=(H100, H100, OfferedGpu("T4", 16 * 10**9)),
    templates=(OfferedTemplate("jupyter", "image", (8888,), "notebooks"),),
)
TOLD = Told(Answer(MACHINE), rates=Rates(300_000_000, 200_000_000))
FOUND = Found(
    Candidate(offer(3, TOKEN // 3600), 0, [EpochRecord(True, 4000), EpochRecord(False, 0)]),
    NodeKey(b"\x07" * 32),
)


@pytest.mark.parametrize(
    ("told", "wishes", "misfit"),
    [
        (None, {}, None),
        (None, {"vram": 1}, "no answer"),
        (Told(problem="away"), {"template": "jupyter"}, "no answer"),
        (TOLD, {"vram": 80 * 10**9}, None),
        (TOLD, {"vram": 80 * 10**9 + 1}, "vram"),
        (TOLD, {"bandwidth": 200_000_000}, None),
        (TOLD, {"bandwidth": 200_000_001}, "bandwidth"),
        (TOLD, {"template": "jupyter"}, None),
        (TOLD, {"template": "pytorch"}, "template"),
        (Told(Answer(CAPABILITY)), {"vram": 81 * 10**9}, "vram"),
    ],
)
def test_what_is_asked_of_reports(
    told: Told | None, wishes: dict[str, Any], misfit: str | None
) -> None:
    arguments = argparse.Namespace(**{"vram": None, "bandwidth": None, "template": None} | wishes)
    assert _find_reported_misfit(told, arguments) == misfit


def test_the_list_says_what_is_proven_and_what_is_reported() -> None:
    hidden = Hidden(leased=1, away=2, unseen=0, gone=3)
    lines = _format(Listing([FOUND], {3: TOLD}, hidden, {"price": 4}), MINIMAL, 600)
    headers, _, row, _, left_out = lines
    assert headers.split()[:4] == ["provider", "value", "score", "rate"]
    assert "2,000.0" in row
    assert "1 of 2" in row
    assert "300/200 Mbit/s" in row
    assert row.endswith("2 × H100 80 GB, 1 × T4 16 GB, 8 cores, 17 GB, bubblewrap")
    assert left_out == "Left out: 1 leased now, 2 away, 3 gone, 4 by price."


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({}, "not asked"),
        ({3: Told(problem="peer not reached")}, "no answer: peer not reached"),
        ({3: Told(Answer(replace(MACHINE, gpus=(), cores=1)))}, "no GPU, 1 core, 17 GB"),
    ],
)
def test_what_is_not_known_is_said(told: dict[int, Told], said: str) -> None:
    lines = _format(Listing([FOUND], told, Hidden(), {}), MINIMAL, None)
    assert said in lines[-1]
    assert "not proven" in lines[-1]


def test_nobody_fits() -> None:
    assert _format(Listing([], {}, Hidden(), {}), MINIMAL, None) == [
        "No machine that can be leased now fits."
    ]


def test_programs_get_every_figure_exactly() -> None:
    shown = _to_json(FOUND, TOLD, MINIMAL, 600)
    assert shown["price_per_second"] == str(TOKEN // 3600)
    assert shown["quote"]["amount"] == str(600 * (TOKEN // 3600))
    assert shown["proven"]["epochs_seen"] == 1
    assert shown["proven"]["up_bits_per_second"] == 200_000_000
    assert shown["reported"]["gpus"][2] == {"name": "T4", "memory": 16 * 10**9}
    assert shown["reported"]["templates"] == {"jupyter": [8888]}
    assert shown["problem"] is None
    too_long = _to_json(FOUND, None, MINIMAL, 10**6)
    assert (too_long["quote"], too_long["reported"]) == (None, None)
