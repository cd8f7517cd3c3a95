"""Copying does not pay: in every seeded run a copier earns less than every honest checker."""

from dataclasses import replace
from random import Random

import pytest

from protocols.committee import compute_transmission_order
from protocols.evidence import compute_evidence_root
from protocols.messages import compute_report_commitment
from protocols.reports import Report
from protocols.types import Digest
from tests.protocols.audit_reference import transcript_digest
from tests.protocols.copying_world import (
    CHECKERS,
    COPIER,
    EPOCHS,
    FRIEND,
    PRESET,
    PROVIDERS,
    SEATS,
    SHARD,
    Plan,
    Scene,
    Strategy,
    Told,
    Transcripts,
    audit,
    make_report,
    play_honestly,
    run,
)

SEEDS = range(50)


# What the copier tries. Each returns what it commits to in time, and what it shows afterwards.


def _as_own(
    scene: Scene, report: Report, rng: Random, transcripts: Transcripts | None = None
) -> Told:
    return Told(
        COPIER,
        scene.seat_of(COPIER),
        replace(report, epoch=scene.view.epoch),
        rng.randbytes(32),
        rng.randbytes(32),
        transcripts or {},
    )


def copy_after_reveals(scene: Scene, _last: Scene | None, rng: Random) -> Plan:
    """Read the friend's report, commit as fast as can be, and repeat it."""
    copied = _as_own(scene, scene.honest[FRIEND].report, rng)
    return Plan(None, copied.commit(), copied)


def commit_and_change(scene: Scene, _last: Scene | None, rng: Random) -> Plan:
    """Commit to something in time, and show a copy in its place."""
    nothing = make_report(scene.view.epoch, [], compute_evidence_root({}))
    held_out = _as_own(scene, nothing, rng)
    copied = replace(held_out, report=scene.honest[FRIEND].report)
    return Plan(held_out.commit(), copied.commit(), copied)


def repeat_last_epoch(scene: Scene, last: Scene | None, rng: Random) -> Plan:
    """Providers change little, one hopes. Of the last epoch's jobs there are no transcripts."""
    before = (last or scene).honest[FRIEND].report
    told = _as_own(scene, before, rng)
    return Plan(told.commit(), None, told)


def repeat_with_old_transcripts(scene: Scene, last: Scene | None, rng: Random) -> Plan:
    """The friend hands over the transcripts of the last epoch, too."""
    friend = (last or scene).honest[FRIEND]
    told = _as_own(scene, friend.report, rng, friend.transcripts)
    return Plan(told.commit(), None, replace(told, secret=friend.secret))


def guess(scene: Scene, _last: Scene | None, rng: Random) -> Plan:
    """Commit to scores made up, and to transcripts made up."""
    scores = [rng.randint(1, 2_000) for _ in range(PROVIDERS)]
    invented = {lane: [b"asked", b"answered"] for lane in range(PROVIDERS)}
    evidence = compute_evidence_root(
        {lane: Digest(transcript_digest(each)) for lane, each in invented.items()}
    )
    told = _as_own(scene, make_report(scene.view.epoch, scores, evidence), rng, invented)
    return Plan(told.commit(), None, told)


def claim_that_nobody_was_there(scene: Scene, _last: Scene | None, rng: Random) -> Plan:
    """A report of zeros needs no transcripts. It deviates from everything."""
    nothing = make_report(scene.view.epoch, [0] * PROVIDERS, compute_evidence_root({}))
    told = _as_own(scene, nothing, rng)
    return Plan(told.commit(), None, told)


def repeat_the_friends_commitment(scene: Scene, _last: Scene | None, rng: Random) -> Plan:
    """Publish the friend's commitment as one's own, and open it with the friend's salt."""
    friend = scene.honest[FRIEND]
    told = replace(_as_own(scene, friend.report, rng), salt=friend.salt)
    repeated = compute_report_commitment(CHECKERS[FRIEND].wallet, friend.digest, friend.salt)
    return Plan(told.commit_to(repeated), None, told)


def borrow_from_a_friend(scene: Scene, _last: Scene | None, rng: Random) -> Plan:
    """The friend is a traitor: it shares scores and transcripts before the commit phase."""
    friend = scene.honest[FRIEND]
    told = _as_own(scene, friend.report, rng, friend.transcripts)
    return Plan(told.commit(), None, replace(told, secret=friend.secret))


def bundle_oneself(scene: Scene, _last: Scene | None, rng: Random) -> Plan:
    """The contract knows nothing of commitments: whoever sends the bundle can put in a copy."""
    copied = _as_own(scene, scene.honest[FRIEND].report, rng)
    return Plan(None, None, copied, bundles_itself=True)


STRATEGIES: dict[str, Strategy] = {
    each.__name__: each
    for each in (
        copy_after_reveals,
        commit_and_change,
        repeat_last_epoch,
        repeat_with_old_transcripts,
        guess,
        claim_that_nobody_was_there,
        repeat_the_friends_commitment,
        borrow_from_a_friend,
        bundle_oneself,
    )
}


def test_honest_checkers_find_nothing_wrong_with_each_other() -> None:
    rng = Random(0)
    for seed in range(5):
        for scene in play_honestly(seed):
            for node in scene.nodes:
                assert len(node.held) == SEATS - 1
                for verified in node.held.values():
                    audit(scene, node, scene.honest[verified.message.checker], verified, rng)


def require_less_for_the_copier(seed: int, strategy: Strategy) -> None:
    outcome = run(seed, strategy)
    honest = [amount for index, amount in outcome.earned.items() if index != COPIER]
    assert outcome.earned[COPIER] < min(honest), f"seed {seed}: {outcome}"


def try_anything(scene: Scene, last: Scene | None, rng: Random) -> Plan:
    """Another strategy in every epoch."""
    return rng.choice(list(STRATEGIES.values()))(scene, last, rng)


def test_a_copier_earns_less_than_every_honest_checker_whatever_it_tries() -> None:
    for seed in SEEDS:
        require_less_for_the_copier(seed, try_anything)


@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES.keys())
def test_no_strategy_alone_does_better(strategy: Strategy) -> None:
    for seed in SEEDS[:10]:
        require_less_for_the_copier(seed, strategy)


@pytest.mark.parametrize(
    ("strategy", "reasons"),
    [
        (copy_after_reveals, {"too late", "not committed"}),
        (commit_and_change, {"too late", "not as committed"}),
        (repeat_last_epoch, {"no transcript"}),
        (repeat_with_old_transcripts, {"request not of this job"}),
        (guess, {"request not of this job"}),
        (repeat_the_friends_commitment, {"not as committed"}),
        (borrow_from_a_friend, {"request not of this job"}),
        (bundle_oneself, {"not committed"}),
    ],
)
def test_why_it_does_not_pay(strategy: Strategy, reasons: set[str]) -> None:
    outcome = run(0, strategy)

    assert outcome.refusals == reasons
    if strategy is not bundle_oneself:
        assert outcome.earned[COPIER] == 0


def test_without_its_rank_a_copier_earns_nothing_by_bundling_itself() -> None:
    """The residue: of every epoch in which it has rank 0 it gets an honest share, one in four here,
    one in eleven on mainnet."""
    shares = []
    for seed in SEEDS[:20]:
        scenes = play_honestly(seed)
        first = sum(
            compute_transmission_order(scene.view.seed, SHARD, SEATS)[0] == scene.seat_of(COPIER)
            for scene in scenes
        )
        earned = run(seed, bundle_oneself).earned[COPIER]
        assert (earned > 0) == (first > 0)
        shares.append(first / len(scenes))

    assert 0.15 < sum(shares) / len(shares) < 0.35


def test_honest_checkers_always_earn_their_part() -> None:
    outcome = run(0, copy_after_reveals)

    for index, amount in outcome.earned.items():
        if index != COPIER:
            assert amount >= len(EPOCHS) * PRESET.checker_pool // SEATS
