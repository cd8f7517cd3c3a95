"""tests/vectors/gossip/report: what the rule of reports accepts, ignores and rejects."""

from collections.abc import Iterator
from typing import Any

from tests.protocols import wire_reference as ref
from tests.vectors.builders import scene
from tests.vectors.builders.actors import CHAIN_ID, CONSENSUS, secret, wallet_key
from tests.vectors.builders.gossip_case import (
    Case,
    Seen,
    ignored,
    judge_epochs,
    judge_seats,
)
from tests.vectors.builders.scene import (
    DISPARITY_MS,
    EPOCH,
    bundle_end,
    challenge,
    commit_start,
    commitment,
    report,
    reveal_start,
    slot_start,
)
from tests.vectors.builders.signing import spoilt_signatures


def reports() -> Iterator[Case]:
    """Rule `report`."""
    opens = reveal_start(EPOCH)
    now = opens + 1_000
    yield from _accepted(opens, now)
    yield ignored(
        "too_early",
        "A millisecond earlier than the disparity of clocks allows.",
        report(),
        opens - DISPARITY_MS - 1,
        "too early",
        seen=(_committed(),),
    )
    yield from judge_epochs(report)
    yield from _repeated(now)
    yield from _commitments(now)
    yield ignored(
        "wrong_secret",
        "Not the secret that the challenge seen here committed to.",
        report(secret=secret("another challenge")),
        now,
        "wrong secret",
        seen=(("challenge", challenge(), slot_start(EPOCH, 2)), _committed()),
    )
    yield from judge_seats(report, lambda epoch, _seat: reveal_start(epoch) + 1_000)
    yield from _empty_lanes(_seat_in_last_shard(), now)
    yield from _bad_scores(now)
    yield from _wallets(now)


def _committed(**report_of: Any) -> Seen:
    """The commitment to the report with these arguments, in its time."""
    return "commitment", commitment(**report_of), commit_start(report_of.get("epoch", EPOCH)) + 100


def _accepted(opens: int, now: int) -> Iterator[Case]:
    committed = _committed()
    challenged = ("challenge", challenge(), slot_start(EPOCH, 2))
    yield Case(
        "without_challenge",
        "Who missed the challenge takes any secret.",
        report(),
        now,
        seen=(committed,),
    )
    yield Case(
        "with_challenge",
        "The secret is the one that was committed to.",
        report(),
        now,
        seen=(challenged, committed),
    )
    yield Case(
        "reveal_begins_within_disparity",
        "Half a second before the reveal phase by our clock.",
        report(),
        opens - DISPARITY_MS,
        seen=(committed,),
    )
    yield Case(
        "at_the_end_of_the_grace",
        "The last millisecond in which the contract takes bundles.",
        report(epoch=6),
        bundle_end(6),
        seen=(_committed(epoch=6),),
    )
    filled = {"scores": [0x7FFF] * 256, "online": 2**256 - 1, "fraud": 2**256 - 1}
    yield Case(
        "all_lanes",
        "Every lane of a full shard has a score.",
        report(judgement=filled),
        now,
        seen=(_committed(judgement=filled),),
    )
    last = _seat_in_last_shard()
    full = {"scores": [5] * 4 + [0] * 252, "online": 0b1111, "fraud": 0b1000}
    yield Case(
        "all_lanes_of_the_last_shard",
        "Shard 1 has lanes 0 … 3.",
        report(shard=1, seat=last, judgement=full),
        now,
        seen=(_committed(shard=1, seat=last, judgement=full),),
    )
    nothing = {"scores": [0] * 256, "online": 0, "fraud": 0, "evidence": bytes(32)}
    yield Case(
        "nothing_seen",
        "Nobody answered: a report of zeros.",
        report(judgement=nothing),
        now,
        seen=(_committed(judgement=nothing),),
    )
    yield Case(
        "other_seat_seen",
        "The first report of this seat, though not of the shard.",
        report(),
        now,
        seen=(committed, _committed(seat=1), ("report", report(seat=1), now)),
    )
    yield Case(
        "shown_too_soon_to_others",
        "Judged once before its commitment came, and again after it.",
        report(),
        now,
        seen=(committed,),
        refused=(("report", report(salt=secret("another salt")), now),),
    )


def _repeated(now: int) -> Iterator[Case]:
    first = (_committed(), ("report", report(), now))
    yield ignored("replayed", "The same message again.", report(), now, "seen before", seen=first)
    yield ignored(
        "in_other_words",
        "The same judgement of the same seat with another salt.",
        report(salt=secret("another salt")),
        now,
        "seen before",
        seen=first,
    )
    for field, value in (("online", 0b001), ("fraud", 0), ("scores", [1] + [0] * 255)):
        yield ignored(
            f"equivocation_on_{field}",
            "A second, different report that the same wallet signed.",
            report(judgement={field: value}),
            now,
            "equivocation",
            seen=first,
        )
    yield ignored(
        "equivocation_on_evidence",
        "Other evidence is another report too.",
        report(judgement={"evidence": bytes(32)}),
        now,
        "equivocation",
        seen=first,
    )
    yield ignored(
        "equivocation_with_one_not_committed",
        "The first was committed to and accepted, the second was not: both are signed.",
        report(judgement={"online": 0b001}, salt=secret("another salt")),
        now,
        "equivocation",
        seen=first,
    )
    yield ignored(
        "equivocation_without_commitments",
        "Neither was committed to, so neither is accepted: both are signed.",
        report(judgement={"online": 0b001}),
        now,
        "equivocation",
        refused=(("report", report(), now),),
    )


def _commitments(now: int) -> Iterator[Case]:
    yield ignored(
        "not_committed",
        "Nothing was committed to in time: it may be a copy.",
        report(),
        now,
        "not committed",
    )
    yield ignored(
        "commitment_of_another_seat",
        "Somebody else's commitment does not help.",
        report(),
        now,
        "not committed",
        seen=(_committed(seat=1),),
    )
    yield ignored(
        "committed_to_another_report",
        "It changed its mind after it had read what others think.",
        report(),
        now,
        "not as committed",
        seen=(_committed(judgement={"online": 0b001}),),
    )
    yield ignored(
        "committed_with_another_salt",
        "The salt belongs to what was committed to.",
        report(salt=secret("another salt")),
        now,
        "not as committed",
        seen=(_committed(),),
    )
    repeated = commitment(commitment=commitment(seat=1).fields["commitment"])
    yield ignored(
        "commitment_of_another_repeated",
        "A commitment names its wallet: repeated by another, it opens to nothing.",
        report(salt=scene.report_salt(EPOCH, 0, 1)),
        now,
        "not as committed",
        seen=(("commitment", repeated, commit_start(EPOCH) + 100),),
    )


def _seat_in_last_shard() -> int:
    return scene.seat_of(next(each for each in scene.ACTIVE if _sits(each, 1)), 1)


def _sits(checker: int, shard: int) -> bool:
    return checker in ref.committee(scene.SEEDS[EPOCH], shard, scene.CHECKER_SLOTS, scene.SEATS)


def _empty_lanes(seat: int, now: int) -> Iterator[Case]:
    """Shard 1 has four lanes; the fifth belongs to nobody."""
    quiet = {"scores": [0] * 256, "online": 0, "fraud": 0}
    for name, change in (
        ("score_in_an_empty_lane", {"scores": [0] * 4 + [1] + [0] * 251}),
        ("score_in_the_last_lane", {"scores": [0] * 255 + [1]}),
        ("online_in_an_empty_lane", {"online": 1 << 4}),
        ("fraud_in_an_empty_lane", {"fraud": 1 << 255}),
    ):
        yield Case(
            name,
            "A lane that no provider has.",
            report(shard=1, seat=seat, judgement={**quiet, **change}),
            now,
            "empty lane reported",
        )


def _bad_scores(now: int) -> Iterator[Case]:
    for lane in (0, 255):
        scores = [0] * 256
        scores[lane] = 0x8000
        yield Case(
            f"score_of_16_bits_in_lane_{lane}",
            "Scores have 15 bits.",
            report(judgement={"scores": scores}),
            now,
            "bad score vector",
        )


def _wallets(now: int) -> Iterator[Case]:
    holder = scene.wallet_name(scene.checker_name(scene.holder(0, 2)), "c")
    told = report().fields
    typed = {
        "epoch": told["epoch"],
        "shard": told["shard"],
        "online": int.from_bytes(told["online"], "big"),
        "fraud": int.from_bytes(told["fraud"], "big"),
        "scores": [301, 299, 0] + [0] * 253,
        "evidence": told["evidence"],
    }
    digest = ref.typed_digest(ref.typed_report(CHAIN_ID, CONSENSUS, typed))
    for name, signature in spoilt_signatures(digest, wallet_key(holder)):
        if len(signature) == 65:
            yield Case(
                f"wallet_signature_{name}",
                "Not a signature that the contract would take.",
                report(wallet_signature=signature),
                now,
                "bad wallet signature",
            )
    yield Case(
        "wallet_of_another",
        "Signed by a wallet that does not hold the seat.",
        report(signed_by="outsider"),
        now,
        "unexpected wallet",
    )
    for field, value in (
        ("epoch", 6),
        ("shard", 1),
        ("online", 0),
        ("fraud", 0),
        ("scores", [0] * 256),
        ("evidence", bytes(32)),
    ):
        yield Case(
            f"wallet_signed_other_{field}",
            f"The wallet signed a report with another {field}.",
            report(signed={field: value}),
            now,
            "unexpected wallet",
        )
