"""A bundle judged again: right as it is, and every single thing that can be altered is named."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from chain.audit.bundles import BundleFacts, judge_bundle
from chain.audit.calldata import Submission, find_submission
from chain.audit.findings import Checks, DifferenceError
from chain.calls import Calls
from chain.events import DelegatedStake, Left, Slashed
from chain.records import SlotKind
from protocols.params import TOKEN
from protocols.types import Digest, Epoch, Seat
from tests.chain.audit.scene import (
    EPOCH,
    PROVIDERS,
    RULES,
    SEED,
    SHARD,
    Scene,
    alter_seat,
    everybody,
    log_at,
    make_scene,
    replay,
    vector,
    wallet_of,
)
from tests.chain.samples import DEPLOYMENT


def judge(scene: Scene) -> Checks:
    checks = Checks()
    judge_bundle(scene.facts, SEED, scene.tenancies, RULES, checks)
    return checks


def difference_of(scene: Scene) -> tuple[str, str, str, str]:
    """Field, place, found and expected of the first difference."""
    with pytest.raises(DifferenceError) as caught:
        judge(scene)
    found = caught.value.difference
    assert found.contract == "Consensus"
    return found.field, str(found.place), found.found, found.expected


def test_a_right_bundle_is_equal() -> None:
    scene = make_scene()
    checks = Checks()
    settled = judge_bundle(scene.facts, SEED, scene.tenancies, RULES, checks)
    assert settled.scores == vector(100, 200, 300)
    assert settled.lanes == PROVIDERS
    assert [(each.seat, each.deviations, each.weight) for each in settled.seats] == [
        (0, 0, 3),
        (1, 0, 3),
        (2, 1, 2),
    ]
    assert settled.total == 600
    assert settled.weighted == sum(each.weight * each.units for each in settled.seats)
    assert checks.counts["Consensus.signer"] == 3
    assert checks.counts["Consensus.scores"] == 256


def test_fraud_is_counted_as_nothing() -> None:
    scene = make_scene(fraud=0b10)
    judge(scene)
    assert scene.facts.scores == vector(100, 0, 300)


def test_an_expired_bundle_is_judged_without_the_contracts_storage() -> None:
    scene = make_scene()
    scene.facts = replace(scene.facts, was_asked=False, record=None, scores=None)
    assert "Consensus.scores" not in judge(scene).counts


def submitted(facts: BundleFacts) -> Submission:
    assert facts.submission is not None
    return facts.submission


def with_report(facts: BundleFacts, number: int, **changes: object) -> BundleFacts:
    reports = list(submitted(facts).reports)
    reports[number] = replace(reports[number], **changes)  # type: ignore[arg-type]
    return replace(facts, submission=replace(submitted(facts), reports=tuple(reports)))


def with_event(facts: BundleFacts, **changes: object) -> BundleFacts:
    return replace(facts, event=replace(facts.event, **changes))  # type: ignore[arg-type]


def with_record(facts: BundleFacts, **changes: object) -> BundleFacts:
    assert facts.record is not None
    return replace(facts, record=replace(facts.record, **changes))  # type: ignore[arg-type]


def event_seat(seat: int, **changes: int) -> Callable[[BundleFacts], BundleFacts]:
    return lambda facts: with_event(facts, reports=alter_seat(facts.event.reports, seat, **changes))


def record_seat(seat: int, **changes: int) -> Callable[[BundleFacts], BundleFacts]:
    def change(facts: BundleFacts) -> BundleFacts:
        assert facts.record is not None
        return with_record(facts, reports=alter_seat(facts.record.reports, seat, **changes))

    return change


ALTERED: dict[str, tuple[Callable[[BundleFacts], BundleFacts], str, str]] = {
    # name: (change, field, place)
    "score in storage": (
        lambda facts: replace(facts, scores=vector(100, 201, 300)),
        "scores",
        "lane 1",
    ),
    "score of a lane without a provider": (
        lambda facts: replace(facts, scores=vector(100, 200, 300, 7)),
        "scores",
        "lane 3",
    ),
    "online in storage": (lambda f: with_record(f, online=0b11), "bundle.online", ""),
    "fraud in storage": (lambda f: with_record(f, fraud=1), "bundle.fraud", ""),
    "lanes in storage": (lambda f: with_record(f, lanes=4), "bundle.lanes", ""),
    "checker in storage": (record_seat(1, checker=77), "bundle.checker", "seat 1"),
    "deviations in storage": (record_seat(2, deviations=0), "bundle.deviations", "seat 2"),
    "units in storage": (record_seat(0, units=5), "bundle.units", "seat 0"),
    "online in the event": (lambda f: with_event(f, online=1), "BundleAccepted.online", ""),
    "fraud in the event": (lambda f: with_event(f, fraud=1), "BundleAccepted.fraud", ""),
    "total in the event": (lambda f: with_event(f, total=601), "BundleAccepted.total", ""),
    "checker in the event": (event_seat(0, checker=77), "BundleAccepted.checker", "seat 0"),
    "deviations in the event": (
        event_seat(0, deviations=3),
        "BundleAccepted.deviations",
        "seat 0",
    ),
    "units in the event": (event_seat(1, units=1), "BundleAccepted.units", "seat 1"),
    "a seat less in the event": (
        lambda f: with_event(f, reports=f.event.reports[1:]),
        "BundleAccepted.reported",
        "",
    ),
    "median in the calldata": (
        lambda f: replace(f, submission=replace(submitted(f), medians=vector(100, 200, 301))),
        "median",
        "lane 2",
    ),
    "score in the calldata": (
        lambda f: with_report(f, 1, scores=vector(111, 190, 300)),
        "signer",
        "seat 1",
    ),
    "evidence in the calldata": (
        lambda f: with_report(f, 0, evidence=Digest(b"\x12" * 32)),
        "signer",
        "seat 0",
    ),
    "signature": (lambda f: with_report(f, 2, signature=b"\x01" * 65), "signer", "seat 2"),
    "sixteen bits in a lane": (
        lambda f: with_report(f, 2, scores=vector(40_000)),
        "score",
        "seat 2",
    ),
    "seat twice": (lambda f: with_report(f, 2, seat=Seat(1)), "seat", "seat 1"),
    "seat beyond the committee": (lambda f: with_report(f, 2, seat=Seat(4)), "seat", "seat 4"),
    "no quorum": (
        lambda f: replace(f, submission=replace(submitted(f), reports=submitted(f).reports[:2])),
        "quorum",
        "",
    ),
    "nothing in storage": (lambda f: replace(f, record=None), "has_bundle", ""),
    "no call": (lambda f: replace(f, submission=None), "submit", ""),
}


@pytest.mark.parametrize("name", ALTERED)
def test_what_was_altered_is_named(name: str) -> None:
    change, field, place = ALTERED[name]
    scene = make_scene()
    scene.facts = change(scene.facts)
    found_field, found_place, found, expected = difference_of(scene)
    assert found_field == field
    assert found_place == f"epoch {EPOCH}, shard {SHARD}" + (f", {place}" if place else "")
    assert found != expected


def test_an_altered_score_says_what_it_should_be() -> None:
    scene = make_scene()
    scene.facts = replace(scene.facts, scores=vector(100, 201, 300))
    assert difference_of(scene) == ("scores", "epoch 5, shard 0, lane 1", "201", "200")


def test_another_seed_seats_others() -> None:
    scene = make_scene()
    with pytest.raises(DifferenceError, match="signer"):
        judge_bundle(scene.facts, Digest(bytes(32)), scene.tenancies, RULES, Checks())


def test_a_score_in_a_lane_without_a_provider_is_found() -> None:
    scene = make_scene(vectors=((1, 2, 3, 4),) * 3)
    assert difference_of(scene)[:2] == ("unused lane", "epoch 5, shard 0, lane 3")


def test_the_seats_weigh_what_they_had_when_the_bundle_came() -> None:
    """What happens to a stake afterwards changes nothing; what happened before counts."""
    scene = make_scene()
    first = scene.facts.event.reports[0].checker
    slashed = Slashed(SlotKind.CHECKER, first, wallet_of(SlotKind.CHECKER, first), 1, TOKEN)
    more = DelegatedStake(first, 40 * TOKEN)
    scene.tenancies.apply(slashed, log_at(1001))
    judge(scene)
    scene.tenancies = replay(*everybody(), more)
    assert difference_of(scene) == (
        "BundleAccepted.units",
        "epoch 5, shard 0, seat 0",
        str(1000 + first),
        str(1040 + first),
    )
    scene.facts = event_seat(0, units=1040 + first)(scene.facts)
    scene.facts = record_seat(0, units=1040 + first)(scene.facts)
    judge(scene)


def test_who_had_left_before_the_epoch_has_no_seat() -> None:
    scene = make_scene()
    checker = scene.facts.event.reports[1].checker
    wallet = wallet_of(SlotKind.CHECKER, checker)
    for exit_epoch, is_active in ((EPOCH, False), (EPOCH + 1, True)):
        left = Left(SlotKind.CHECKER, checker, wallet, Epoch(exit_epoch))
        scene.tenancies = replay(*everybody(), left)
        if is_active:
            judge(scene)
        else:
            assert difference_of(scene)[:2] == ("seat", "epoch 5, shard 0, seat 1")


def test_a_call_inside_another_is_found() -> None:
    data = Calls(DEPLOYMENT).submit(EPOCH, SHARD, vector(1), []).data
    wrapped = b"\x99" * 100 + data[:4] + b"\x01" * 7 + data
    found = find_submission(wrapped, EPOCH, SHARD)
    assert found is not None
    assert found.medians == vector(1)
    assert find_submission(wrapped, Epoch(EPOCH + 1), SHARD) is None
    assert find_submission(b"", EPOCH, SHARD) is None
