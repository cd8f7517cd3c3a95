"""tests/vectors/gossip/report: what the rule of reports accepts, ignores and rejects."""

from collections.abc import Iterator

from tests.protocols import wire_reference as ref
from tests.vectors.builders import scene
from tests.vectors.builders.actors import CHAIN_ID, CONSENSUS, secret, wallet_key
from tests.vectors.builders.gossip_case import Case, ignored, judge_epochs, judge_seats
from tests.vectors.builders.scene import (
    DISPARITY_MS,
    EPOCH,
    bundle_end,
    challenge,
    report,
    reveal_start,
    slot_start,
)
from tests.vectors.builders.signing import spoilt_signatures


def reports() -> Iterator[Case]:
    """Rule `report`."""
    opens = reveal_start(EPOCH)
    now = opens + 1_000
    challenged = ("challenge", challenge(), slot_start(EPOCH, 2))
    first = ("report", report(), now)
    yield Case("without_challenge", "Who missed the challenge takes any secret.", report(), now)
    yield Case(
        "with_challenge",
        "The secret is the one that was committed to.",
        report(),
        now,
        seen=(challenged,),
    )
    yield Case(
        "reveal_begins_within_disparity",
        "Half a second before the reveal phase by our clock.",
        report(),
        opens - DISPARITY_MS,
    )
    yield Case(
        "at_the_end_of_the_grace",
        "The last millisecond in which the contract takes bundles.",
        report(epoch=6),
        bundle_end(6),
    )
    yield Case(
        "all_lanes",
        "Every lane of a full shard has a score.",
        report(judgement={"scores": [0x7FFF] * 256, "online": 2**256 - 1, "fraud": 2**256 - 1}),
        now,
    )
    last = scene.seat_of(next(each for each in scene.ACTIVE if _sits(each, 1)), 1)
    full = {"scores": [5] * 4 + [0] * 252, "online": 0b1111, "fraud": 0b1000}
    yield Case(
        "all_lanes_of_the_last_shard",
        "Shard 1 has lanes 0 … 3.",
        report(shard=1, seat=last, judgement=full),
        now,
    )
    yield Case(
        "nothing_seen",
        "Nobody answered: a report of zeros.",
        report(judgement={"scores": [0] * 256, "online": 0, "fraud": 0, "evidence": bytes(32)}),
        now,
    )
    yield Case(
        "other_seat_seen",
        "The first report of this seat, though not of the shard.",
        report(),
        now,
        seen=(("report", report(seat=1), now),),
    )
    yield ignored(
        "too_early",
        "A millisecond earlier than the disparity of clocks allows.",
        report(),
        opens - DISPARITY_MS - 1,
        "too early",
    )
    yield from judge_epochs(report)
    yield ignored(
        "replayed", "The same message again.", report(), now, "seen before", seen=(first,)
    )
    yield ignored(
        "equivocation",
        "A second, different report of the same seat.",
        report(judgement={"online": 0b001}),
        now,
        "equivocation",
        seen=(first,),
    )
    yield ignored(
        "wrong_secret",
        "Not the secret that the challenge seen here committed to.",
        report(secret=secret("another challenge")),
        now,
        "wrong secret",
        seen=(challenged,),
    )
    yield from judge_seats(report, lambda epoch, _seat: reveal_start(epoch) + 1_000)
    yield from _empty_lanes(last, now)
    yield from _bad_scores(now)
    yield from _wallets(now)


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
