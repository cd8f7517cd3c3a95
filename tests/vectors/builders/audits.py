"""tests/vectors/audits: reports held against transcripts, with one thing wrong at a time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any

from tests.protocols import compute_reference as compute
from tests.protocols import transfer_reference as transfer
from tests.protocols import transfer_vectors as transfers
from tests.protocols.audit_reference import Device, Exchange, Fields, Numbers, evidence
from tests.vectors.builders import scene
from tests.vectors.builders.actors import NETWORK, node, secret
from tests.vectors.builders.scene import EPOCH, STAKE

NUMBERS = Numbers()
SEAT = 2
LANE = 0
CHECKER = scene.holder(0, SEAT)
RECEIVED = 400_000
"""Bytes that a checker sends and receives, as its receipt says."""

LEASE = 4711
"""What a leased provider names."""

LARGER = (Device(m=20, rounds=4),)
"""More rows than are opened."""

OTHERS: Mapping[int, Sequence[bytes]] = {1: (b"asked", b"answered")}
"""Transcript of the other lane under the same root; nothing looks into it."""


@dataclass(frozen=True, slots=True)
class Case:
    """One lane of a report and what is shown for it. `reason` None means that the audit holds."""

    name: str
    about: str
    messages: Sequence[bytes]
    reason: str | None = None
    score: int = 0
    fraud: int = 0
    online: int = 0b11
    lane: int = LANE
    signed: Sequence[bytes] | None = None
    """Transcript under the evidence root, where it is another than `messages`."""
    path: bytes | None = None
    others: Mapping[int, Sequence[bytes]] = field(default_factory=lambda: OTHERS)
    lease: int = 0
    """The lease that the transcript names, and an auditor has to look up."""
    leased_score: int = 0
    """What it is worth, as far as the auditor could confirm it."""

    def shown(self) -> dict[str, Any]:
        """The case for JSON."""
        signed = self.messages if self.signed is None else self.signed
        root, paths = evidence({**self.others, self.lane: signed})
        scores = [0] * 256
        scores[self.lane] = self.score
        judgement = {
            "scores": scores,
            "online": self.online,
            "fraud": self.fraud << self.lane,
            "evidence": root,
        }
        path = paths[self.lane] if self.path is None else self.path
        return {
            "name": self.name,
            "about": self.about,
            "report": scene.report(seat=SEAT, judgement=judgement).seal().hex(),
            "lane": self.lane,
            "path": path.hex(),
            "messages": [each.hex() for each in self.messages],
            "lease": self.lease,
            "leased_score": self.leased_score,
            "reason": self.reason,
        }


@cache
def job() -> Exchange:
    """The job of seat 2 with provider 0 in the scene's epoch."""
    return Exchange(
        network=NETWORK,
        checker_key=node(scene.checker_name(CHECKER)),
        provider_key=node("provider 0"),
        place={"epoch": EPOCH, "shard": 0, "seat": SEAT, "checker": CHECKER, "provider": 0},
        secret=scene.challenge_secret(EPOCH, 0, SEAT),
        b_seed=compute.b_seed(scene.SEEDS[EPOCH], NUMBERS.k, NUMBERS.n),
        numbers=NUMBERS,
    )


def _spoil(t: int, rows: list[bytes]) -> list[bytes]:
    return [bytes([row[0] ^ 1]) + row[1:] for row in rows] if t == 1 else rows


def _cut(messages: Sequence[bytes], count: int) -> list[bytes]:
    return list(messages[:count])


def _refusal(**change: Any) -> bytes:
    fields: Fields = {"job": job().id, "code": 1, "detail": "busy", "lease": 0, **change}
    return job().answer("JobRefusal", fields)


def _with(position: int, message: bytes) -> list[bytes]:
    """The honest transcript up to a message that is put in the place of another."""
    return [*_cut(job().messages(), position), message]


def _points_of_line() -> int:
    """The bandwidth term of three receipts: 200 points for 75 Mbit/s down and up."""
    rate = transfer.rate([RECEIVED] * 3, scene.SEATS, transfers.MOST, transfers.STAGE_MS)
    return 200 * rate // 75_000_000


def _holding() -> Iterator[Case]:
    whole = job().messages()
    most = job().most(STAKE)
    receipts = [
        transfers.seal(seat, provider=0, down_bytes=RECEIVED, up_bytes=RECEIVED)
        for seat in range(3)
    ]
    on_line = job().other(receipts=receipts)
    refuted = job().other(tamper=_spoil).messages()
    yield Case("at_its_bound", "The most that its work can be worth.", whole, score=most)
    yield Case("below_its_bound", "What a slower clock would find.", whole, score=most - 1)
    yield Case("for_nothing", "A low score is left to the median.", whole)
    yield Case(
        "with_receipts",
        "Receipts of three seats prove a line.",
        on_line.messages(),
        score=on_line.most(STAKE, bandwidth=_points_of_line()),
    )
    yield Case(
        "without_cores",
        "A host need not offer its cores.",
        job().other(segments=()).messages(),
        score=job().other(segments=()).most(STAKE),
    )
    yield Case(
        "only_lane",
        "A tree of one leaf has no path.",
        whole,
        score=most,
        online=0b1,
        others={},
    )
    larger = job().other(devices=LARGER)
    yield Case(
        "larger",
        "Not all of its rows are opened.",
        larger.messages(),
        score=larger.most(STAKE),
    )
    yield Case("refuted", "Rows that are not the product, and a fraud mark.", refuted, fraud=1)
    yield Case("busy", "The provider did not take the job.", _with(1, _refusal()))
    leased = _with(1, _refusal(lease=LEASE))
    excused = {"lease": LEASE, "leased_score": 700}
    yield Case("leased", "Confirmed, for all that it is worth.", leased, score=700, **excused)
    yield Case("leased_for_less", "A low score is left to the median.", leased, score=1, **excused)
    yield Case("leased_unconfirmed", "Busy as anybody.", leased, lease=LEASE)
    yield Case("refused_later", "It took the job and gave it up.", _with(3, _refusal()))
    yield Case("late_with_passes", "No answer came in time.", _cut(whole, 3))
    yield Case("late_with_openings", "All but the openings came in time.", _cut(whole, 7))
    other_job = job().commitment(job=secret("another job"))
    yield Case(
        "answer_to_another_job",
        "Signed by the provider, but not to be used: slow.",
        _with(1, job().answer("Commitment", other_job)),
    )
    other_request = job().passes(request=secret("another request"))
    yield Case(
        "answer_to_another_request",
        "Likewise.",
        _with(3, job().answer("Passes", other_request)),
    )
    no_device = job().answer("Commitment", job().commitment(devices=[]))
    yield Case("no_device", "Nothing was done.", _with(1, no_device))


def _unfounded() -> Iterator[Case]:
    whole = job().messages()
    most = job().most(STAKE)
    nothing = "no transcript"
    yield Case("nothing_shown", "A copier has no transcripts.", [], nothing, score=most)
    yield Case("job_only", "Nothing that the provider signed.", _cut(whole, 1), nothing)
    root = "transcript not in evidence"
    yield Case(
        "not_in_evidence",
        "An honest transcript, but not the one that the report was signed with.",
        whole,
        root,
        score=most,
        signed=[b"something else"],
    )
    yield Case("path_too_short", "No siblings.", whole, root, score=most, path=b"")
    yield Case("path_too_long", "One sibling more.", whole, root, score=most, path=bytes(64))
    yield Case("path_of_another", "Another sibling.", whole, root, score=most, path=bytes(32))
    yield Case(
        "lane_of_another",
        "The report does not call this lane online; its leaf has no place.",
        whole,
        "offline lane judged",
        score=most,
        online=0b10,
    )
    yield Case(
        "vacant_lane",
        "No provider is active in lane 2.",
        whole,
        "vacant lane judged",
        score=most,
        online=0b110,
        lane=2,
    )


def _foreign() -> Iterator[Case]:
    """Requests and answers that are not this job's."""
    most = job().most(STAKE)
    asked = "request not of this job"
    others = {
        "secret": job().other(secret=secret("another secret")),
        "seat": job().other(place={**job().place, "seat": 1}),
        "epoch": job().other(place={**job().place, "epoch": EPOCH - 1}),
        "window": job().other(numbers=Numbers(window_ms=2_000)),
        "checker": job().other(checker_key=node("outsider")),
    }
    for name, other in others.items():
        about = f"The transcript of a job with another {name}."
        yield Case(f"job_of_another_{name}", about, other.messages(), asked, score=most)
    copied = job().other(
        checker_key=node(scene.checker_name(scene.holder(0, 1))),
        place={**job().place, "seat": 1, "checker": scene.holder(0, 1)},
        secret=scene.challenge_secret(EPOCH, 0, 1),
    )
    yield Case(
        "job_of_a_friend", "Another seat's honest transcript.", copied.messages(), asked, score=most
    )
    nonce = {**job().pass_request(), "nonce": secret("a known nonce")}
    yield Case(
        "passes_announced_before",
        "A nonce of passes that the provider may have known.",
        _with(2, job().ask("PassRequest", nonce)),
        asked,
    )
    yield Case(
        "openings_agreed_upon",
        "Drawn from other randomness than the secret and the transcript give.",
        job().other(devices=LARGER).messages(randomness=secret("what we have")),
        asked,
        score=most,
    )
    answered = "answer not signed by provider"
    for name, key in (("checker", job().checker_key), ("another", node("outsider"))):
        forged = job().other(provider_key=key).answer("Commitment", job().commitment())
        yield Case(
            f"answer_signed_by_{name}",
            "The provider never said that.",
            _with(1, forged),
            answered,
        )
    yield Case(
        "answer_of_another_kind",
        "Passes in the place of a commitment.",
        _with(1, job().answer("Passes", job().passes())),
        answered,
    )
    yield Case("answer_that_is_none", "No envelope.", _with(1, b"answer"), answered)
    flipped = bytearray(_refusal())
    flipped[-1] ^= 1
    yield Case(
        "refusal_spoilt", "A refusal with a bit flipped.", _with(1, bytes(flipped)), answered
    )


def _overstated() -> Iterator[Case]:
    """Honest transcripts, and reports that make something else of them."""
    whole = job().messages()
    most = job().most(STAKE)
    refuted = job().other(tamper=_spoil).messages()
    yield Case(
        "above_its_bound",
        "One more than the work can be worth.",
        whole,
        "score above proof",
        score=most + 1,
    )
    receipts = [
        transfers.seal(seat, provider=0, down_bytes=RECEIVED, up_bytes=RECEIVED)
        for seat in range(2)
    ]
    line = job().other(receipts=receipts)
    yield Case(
        "line_of_two_receipts",
        "Fewer than three receipts prove no bandwidth.",
        line.messages(),
        "score above proof",
        score=line.most(STAKE, bandwidth=_points_of_line()),
    )
    goes_on = "transcript goes on"
    again = [*_with(1, _refusal()), *_cut(whole, 8)[2:]]
    yield Case("on_after_a_refusal", "It would have ended there.", again, goes_on)
    yield Case("message_behind_the_last", "Nothing follows openings.", [*whole, whole[0]], goes_on)
    without = "score without proof"
    yield Case("score_for_busy", "It did no job.", _with(1, _refusal()), without, score=1)
    leased = _with(1, _refusal(lease=LEASE))
    excused = {"lease": LEASE, "leased_score": 700}
    yield Case("leased_above", "One more than it is worth.", leased, without, score=701, **excused)
    yield Case("leased_falsely", "Not confirmed.", leased, without, score=1, lease=LEASE)
    yield Case(
        "fraud_of_leased", "No proof, no fraud.", leased, "fraud without proof", fraud=1, **excused
    )
    yield Case(
        "leased_and_not_ready",
        "Only who is busy is excused.",
        _with(1, _refusal(lease=LEASE, code=7)),
        without,
        score=1,
        leased_score=700,
    )
    yield Case(
        "leased_in_another_job",
        "The refusal of a job before, when it was leased.",
        _with(1, _refusal(lease=LEASE, job=secret("another job"))),
        without,
        score=1,
        **excused,
    )
    yield Case(
        "leased_later",
        "It took the job, and so it was not leased.",
        _with(3, _refusal(lease=LEASE)),
        without,
        score=1,
        leased_score=700,
    )
    yield Case("score_for_late", "It was not opened.", _cut(whole, 7), without, score=most)
    yield Case("score_for_refuted", "It was refuted.", refuted, without, score=1, fraud=1)
    unfounded = "fraud without proof"
    yield Case("fraud_of_honest", "Its openings hold.", whole, unfounded, score=most, fraud=1)
    yield Case("fraud_of_late", "Being late is no fraud.", _cut(whole, 7), unfounded, fraud=1)
    yield Case("fraud_spared", "A friend is not accused.", refuted, "fraud not reported")


def lanes() -> dict[str, Any]:
    """Lanes, and whether their audit holds."""
    cases = [*_holding(), *_unfounded(), *_foreign(), *_overstated()]
    return {
        "view": "usual",
        "epoch": EPOCH,
        "preset": {name: str(value) for name, value in asdict(NUMBERS).items()},
        "row_check_secret": secret("row check").hex(),
        "cases": [case.shown() for case in cases],
    }


def reports() -> list[dict[str, Any]]:
    """Reports that contradict themselves or the registry, without a look at any transcript."""
    offline, vacant = "offline lane judged", "vacant lane judged"
    rows: list[tuple[str, list[int], int, int, str | None]] = [
        ("both_online", [5, 7], 0b11, 0b00, None),
        ("one_online", [5, 0], 0b01, 0b00, None),
        ("fraud_of_one", [5, 0], 0b11, 0b10, None),
        ("nobody", [0, 0], 0b00, 0b00, None),
        ("score_offline", [5, 7], 0b01, 0b00, offline),
        ("fraud_offline", [5, 0], 0b01, 0b10, offline),
        ("vacant_online", [5, 7, 0], 0b111, 0b00, vacant),
        ("vacant_scored", [5, 7, 1], 0b111, 0b00, vacant),
        ("vacant_scored_offline", [5, 7, 1], 0b011, 0b00, offline),
    ]
    return [
        {
            "name": name,
            "view": "usual",
            "report": scene.report(
                seat=SEAT,
                judgement={
                    "scores": scores + [0] * (256 - len(scores)),
                    "online": online,
                    "fraud": fraud,
                },
            )
            .seal()
            .hex(),
            "reason": reason,
        }
        for name, scores, online, fraud, reason in rows
    ]


def draws() -> list[dict[str, Any]]:
    """Lanes that are audited, by bitmap of those online and randomness."""
    cases = []
    for name, online, count in (
        ("all", 2**256 - 1, 1),
        ("all_four", 2**256 - 1, 4),
        ("last_only", 1 << 255, 1),
        ("two", 0b1001, 1),
        ("two_of_two", 0b1001, 2),
        ("fewer_than_asked_for", 0b1001, 5),
        ("none", 0, 1),
    ):
        for number in range(3):
            randomness = secret(f"audit {number}")
            lanes_online = [lane for lane in range(256) if online >> lane & 1]
            drawn = compute.draw_numbers(
                b"kaisar/audit/draw/1", randomness, len(lanes_online), count
            )
            cases.append(
                {
                    "name": f"{name}_{number}",
                    "online": online.to_bytes(32, "big").hex(),
                    "count": count,
                    "randomness": randomness.hex(),
                    "lanes": [lanes_online[position] for position in drawn],
                }
            )
    return cases


FILES = {
    "audits/lanes.json": lanes,
    "audits/reports.json": reports,
    "audits/draws.json": draws,
}
