"""Audits: vectors, and what no vector can show."""

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.audits import (
    AuditFailed,
    AuditFault,
    audit_lane,
    audit_report,
    draw_lanes,
    find_named_lease,
    replay_job,
)
from protocols.compute import Shape, derive_b_seed
from protocols.envelopes import open_envelope
from protocols.freivalds import RowCheck, prepare_check
from protocols.gossip import NetworkView, read_report
from protocols.jobs import plan_job
from protocols.messages import AuditResponse, ReportMessage
from protocols.params import AUDIT_LANES, MINIMAL
from protocols.reports import Report
from protocols.scoring import Verdict
from protocols.types import Digest, Epoch, NodeKey, Seat, Shard
from tests.protocols.gossip_world import load_view
from tests.vectors.builders import audits, scene
from tests.vectors.builders.actors import NETWORK, node, secret
from tests.vectors.generate import load

Case = dict[str, Any]

LANES = load("audits/lanes.json")
REPORTS = load("audits/reports.json")
DRAWS = load("audits/draws.json")

EPOCH = Epoch(LANES["epoch"])


@cache
def load_network() -> NetworkView:
    """The scene's network with the job's numbers in its preset."""
    view = load_view(LANES["view"])
    numbers = {name: int(value) for name, value in LANES["preset"].items()}
    preset = replace(view.timeline.preset, **numbers)
    return replace(view, timeline=replace(view.timeline, preset=preset))


@cache
def load_check() -> RowCheck:
    """An auditor's own row check."""
    preset = load_network().timeline.preset
    seed = load_network().epochs[EPOCH].seed
    b_seed = derive_b_seed(seed, preset.k, preset.n)
    shape = Shape(1, preset.k, preset.n)
    return prepare_check(b_seed, shape, bytes.fromhex(LANES["row_check_secret"]))


def read(case: Case) -> ReportMessage:
    """The report of a case."""
    data = bytes.fromhex(case["report"])
    return open_envelope(data, ReportMessage, load_network().network).message


def response_of(case: Case) -> AuditResponse:
    """What is shown."""
    messages = tuple(bytes.fromhex(each) for each in case["messages"])
    return AuditResponse(path=bytes.fromhex(case["path"]), messages=messages)


def audit(case: Case, check: RowCheck | None = None) -> None:
    """Audit the lane of a case."""
    network = load_network()
    audit_lane(
        network,
        network.epochs[EPOCH],
        check or load_check(),
        read(case),
        case["lane"],
        response_of(case),
        case["leased_score"],
    )


def find_case(name: str) -> Case:
    """The case of this name."""
    (case,) = (case for case in LANES["cases"] if case["name"] == name)
    return case


@pytest.mark.parametrize("case", LANES["cases"], ids=lambda case: case["name"])
def test_lane_vector(case: Case) -> None:
    if case["reason"] is None:
        audit(case)
        return
    with pytest.raises(AuditFailed) as caught:
        audit(case)
    assert caught.value.reason == case["reason"]


@pytest.mark.parametrize("case", LANES["cases"], ids=lambda case: case["name"])
def test_the_lease_to_look_up(case: Case) -> None:
    network = load_network()
    provider = network.epochs[EPOCH].providers[0]

    assert find_named_lease(network.network, provider, response_of(case)) == case["lease"]


@pytest.mark.parametrize("case", REPORTS, ids=lambda case: case["name"])
def test_report_vector(case: Case) -> None:
    report = read_report(read(case)).report
    view = load_view(case["view"]).epochs[EPOCH]

    if case["reason"] is None:
        audit_report(report, view)
        return
    with pytest.raises(AuditFailed) as caught:
        audit_report(report, view)
    assert caught.value.reason == case["reason"]


@pytest.mark.parametrize("case", DRAWS, ids=lambda case: case["name"])
def test_draw_vector(case: Case) -> None:
    report = make_report(int(case["online"], 16))

    assert (
        list(draw_lanes(report, bytes.fromhex(case["randomness"]), case["count"]))
        == (case["lanes"])
    )


def make_report(online: int) -> Report:
    """A report of which only the bitmap matters."""
    return Report(EPOCH, Shard(0), (0,) * 256, online, 0, Digest(bytes(32)))


def test_every_fault_has_a_vector() -> None:
    shown = {case["reason"] for case in [*LANES["cases"], *REPORTS]}

    assert shown - {None} == {fault.value for fault in AuditFault}


@given(online=st.integers(0, 2**256 - 1), randomness=st.binary(min_size=32, max_size=32))
def test_lanes_are_drawn_among_those_online(online: int, randomness: bytes) -> None:
    drawn = draw_lanes(make_report(online), randomness)

    assert len(drawn) == min(AUDIT_LANES, online.bit_count())
    assert all(online >> lane & 1 for lane in drawn)


def test_every_lane_is_drawn_about_as_often() -> None:
    """Uniform, so that whoever made up a share of its lanes is found out by that share."""
    counts = dict.fromkeys(range(0, 256, 8), 0)
    online = sum(1 << lane for lane in counts)
    for number in range(3200):
        (lane,) = draw_lanes(make_report(online), secret(f"draw {number}"))
        counts[lane] += 1

    assert all(60 <= count <= 145 for count in counts.values())


@given(data=st.data())
def test_a_spoilt_transcript_never_holds(data: st.DataObject) -> None:
    """Whatever bytes are changed after the report was signed, they are not what it was signed
    with."""
    case = find_case("at_its_bound")
    messages = [bytes.fromhex(each) for each in case["messages"]]
    position = data.draw(st.integers(0, len(messages) - 1))
    message = messages[position]
    start = data.draw(st.integers(0, len(message)))
    end = data.draw(st.integers(start, min(len(message), start + 8)))
    changed = message[:start] + data.draw(st.binary(max_size=8)) + message[end:]
    messages[position] = changed

    spoilt = {**case, "messages": [each.hex() for each in messages]}
    if changed == message:
        audit(spoilt)
        return
    with pytest.raises(AuditFailed, match="transcript not in evidence"):
        audit(spoilt)


@given(data=st.data())
def test_a_transcript_of_any_bytes_is_judged(data: st.DataObject) -> None:
    """Its author signs a report over whatever it likes: there is always a verdict."""
    honest = [bytes.fromhex(each) for each in find_case("at_its_bound")["messages"]]
    shown = data.draw(
        st.lists(st.binary(max_size=300) | st.sampled_from(honest), min_size=1, max_size=8)
    )
    score = data.draw(st.integers(0, 2000))
    drawn = audits.Case("drawn", "Any bytes.", shown, score=score).shown()

    if shown == honest and score <= audits.job().most(scene.STAKE):
        audit(drawn)
        return
    try:
        audit(drawn)
    except AuditFailed:
        return
    # What holds is an honest exchange as far as it got, for no score.
    assert score == 0
    assert shown == honest[: len(shown)]


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("at_its_bound", Verdict.OK),
        ("refuted", Verdict.WRONG),
        ("busy", Verdict.BUSY),
        ("leased", Verdict.BUSY),
        ("leased_in_another_job", Verdict.SLOW),
        ("refused_later", Verdict.SLOW),
        ("late_with_openings", Verdict.SLOW),
        ("answer_to_another_job", Verdict.SLOW),
    ],
)
def test_a_replay_tells_how_the_job_ended(name: str, verdict: Verdict) -> None:
    case, network = find_case(name), load_network()
    message, view = read(case), network.epochs[EPOCH]
    plan = plan_job(
        epoch=EPOCH,
        shard=Shard(0),
        seat=Seat(message.seat),
        checker=message.checker,
        secret=message.secret,
        provider=view.providers[0],
        preset=network.timeline.preset,
    )
    key = NodeKey(bytes(node(scene.checker_name(message.checker)).verify_key))

    replay = replay_job(network, view, load_check(), plan, key, response_of(case).messages)

    assert replay.verdict is verdict
    assert (replay.measurement is None) is (verdict is not Verdict.OK)
    assert replay.lease == (audits.LEASE if name == "leased" else 0)


def test_every_auditor_finds_the_same_with_a_row_check_of_its_own() -> None:
    preset = load_network().timeline.preset
    b_seed = load_check().b_seed
    for number in range(5):
        check = prepare_check(b_seed, Shape(1, preset.k, preset.n), secret(f"auditor {number}"))
        audit(find_case("at_its_bound"), check)
        audit(find_case("refuted"), check)
        with pytest.raises(AuditFailed, match="fraud not reported"):
            audit(find_case("fraud_spared"), check)


def test_an_audited_provider_must_have_been_active() -> None:
    case, network = find_case("at_its_bound"), load_network()
    view = network.epochs[EPOCH]
    left = replace(view.providers[0], exits=EPOCH)
    without = replace(view, providers={**view.providers, 0: left})

    with pytest.raises(AuditFailed, match="vacant lane judged"):
        audit_lane(network, without, load_check(), read(case), 0, response_of(case))


def test_the_scene_plays_in_the_minimal_presets_windows() -> None:
    """Its numbers are the reference's; those that are not shown are the preset's."""
    shown = {name: int(value) for name, value in LANES["preset"].items()}

    assert {name: getattr(MINIMAL, name) for name in ("window_ms", "max_stake")} == {
        name: shown[name] for name in ("window_ms", "max_stake")
    }
    assert load_network().network == NETWORK
