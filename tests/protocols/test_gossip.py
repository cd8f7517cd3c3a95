"""The gossip rules, driven by tests/vectors/gossip, and on bytes that nobody wrote."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import protocols.gossip
from protocols.errors import GossipIgnore, GossipReject, RemoteError
from protocols.gossip import (
    ANNOUNCEMENT_ENTRIES,
    SEEN_ENTRIES,
    Equivocation,
    GossipMemory,
    Seen,
    read_report,
    reports_topic,
    restore_commitment,
    validate_announcement_gossip,
    validate_challenge_gossip,
    validate_report_gossip,
)
from protocols.messages import (
    Announcement,
    ChallengeAnnouncement,
    ReportCommitment,
    ReportMessage,
)
from protocols.reports import compute_report_digest
from protocols.signing import recover_wallet
from protocols.types import Epoch, Shard, TimeMs
from protocols.wire import Message
from tests.protocols import wire_reference as ref
from tests.protocols.gossip_world import RULES, judge, load_view, replay_seen, sizes
from tests.protocols.strategies import messages
from tests.vectors.builders import scene
from tests.vectors.builders.actors import NETWORK, node
from tests.vectors.generate import FILES, load

Case = dict[str, Any]

VECTORS = {
    name.removeprefix("gossip/").removesuffix(".json"): load(name)
    for name in FILES
    if name.startswith("gossip/") and not name.startswith("gossip/views/")
}

KINDS: dict[str, type[Message]] = {
    "announcement": Announcement,
    "challenge": ChallengeAnnouncement,
    "commitment": ReportCommitment,
    "report": ReportMessage,
}

VALID = {
    "announcement": (scene.announcement().seal(), scene.start_of(7)),
    "challenge": (scene.challenge().seal(), scene.slot_start(7, 2)),
    "commitment": (scene.commitment().seal(), scene.commit_start(7)),
    "report": (scene.report().seal(), scene.reveal_start(7)),
}

of_every_vector = pytest.mark.parametrize("case", VECTORS.values(), ids=VECTORS.keys())
of_every_rule = pytest.mark.parametrize("rule", RULES)


@of_every_vector
def test_vector(case: Case) -> None:
    memory = replay_seen(case)
    arguments = (
        memory,
        load_view(case["view"]),
        bytes.fromhex(case["message"]),
        TimeMs(case["now_ms"]),
    )

    if case["expected"] == "accept":
        verified = RULES[case["rule"]](*arguments)
        assert verified.raw.hex() == case["message"]
        return
    with pytest.raises(RemoteError) as caught:
        RULES[case["rule"]](*arguments)
    assert caught.value.reason == case["reason"]
    assert isinstance(caught.value, GossipIgnore) is (case["expected"] == "ignore")


@of_every_vector
def test_what_is_refused_leaves_no_trace(case: Case) -> None:
    memory = replay_seen(case)
    before = sizes(memory)
    view, data = load_view(case["view"]), bytes.fromhex(case["message"])

    first = judge(case["rule"], memory, view, data, case["now_ms"])
    after = sizes(memory)
    second = judge(case["rule"], memory, view, data, case["now_ms"])

    assert first == case["expected"]
    if first == "accept":
        assert sum(after) - sum(before) in (0, 1)
        assert second == "ignore"
    else:
        assert after == before
        assert second == first


@of_every_rule
def test_every_reason_of_the_rule_has_a_vector(rule: str) -> None:
    shown = {case["reason"] for case in VECTORS.values() if case["rule"] == rule}
    source = Path(protocols.gossip.__file__).read_text(encoding="utf-8")
    parts = re.split(r"^def ", source, flags=re.MULTILINE)
    shared = "" if rule == "announcement" else "".join(p for p in parts if p.startswith("_"))
    own = next(p for p in parts if p.startswith(f"validate_{rule}_gossip"))

    reasons = set(re.findall(r'(?:Gossip\w+|ForgedError)\("([^"]+)"\)', own + shared))

    assert len(reasons) > 4
    assert reasons <= shown


@of_every_rule
@pytest.mark.parametrize("expected", ["accept", "ignore", "reject"])
def test_every_judgement_of_the_rule_has_a_vector(rule: str, expected: str) -> None:
    assert any(case["rule"] == rule and case["expected"] == expected for case in VECTORS.values())


def test_a_member_is_known_before_it_is_active() -> None:
    view = load_view("usual")
    key = bytes(node("provider 260").verify_key)

    (_, member), *others = view.members_of(key)  # type: ignore[arg-type]

    assert not others
    assert member.index == 260
    assert not member.is_active(max(view.epochs))


def remember_commitment(memory: GossipMemory, **report_of: Any) -> None:
    """Let a memory accept the commitment to a report of the scene."""
    judgement = judge(
        "commitment",
        memory,
        load_view("usual"),
        scene.commitment(**report_of).seal(),
        scene.commit_start(7),
    )
    assert judgement == "accept"


def memory_for(rule: str) -> GossipMemory:
    """A memory in which the rule accepts its valid message."""
    return committed() if rule == "report" else GossipMemory()


def committed() -> GossipMemory:
    """A memory that has the commitment to the scene's usual report."""
    memory = GossipMemory()
    remember_commitment(memory)
    return memory


def test_an_equivocator_cannot_make_honest_forwarders_look_guilty() -> None:
    """It tells two halves of the network two challenges; neither half may blame the other."""
    view = load_view("usual")
    one, two = committed(), committed()
    challenge = scene.challenge().seal()
    other = scene.challenge(commitment=bytes(32)).seal()
    now = scene.slot_start(7, 2)
    for memory, told, later in ((one, challenge, other), (two, other, challenge)):
        assert judge("challenge", memory, view, told, now) == "accept"
        assert judge("challenge", memory, view, later, now) == "ignore"

    report = scene.report().seal()

    assert judge("report", one, view, report, scene.reveal_start(7)) == "accept"
    assert judge("report", two, view, report, scene.reveal_start(7)) == "ignore"


def test_a_report_is_read_as_it_was_signed() -> None:
    data, now = VALID["report"]
    verified = validate_report_gossip(committed(), load_view("usual"), data, TimeMs(now))

    signed = read_report(verified.message)

    assert signed.seat == 2
    assert signed.report.scores[:3] == (301, 299, 0)
    assert signed.report.online == 0b011
    assert signed.report.fraud == 0b100
    assert signed.signature == verified.message.wallet_signature


# Commitments and equivocation


def test_whoever_reads_a_report_first_is_too_late_to_commit() -> None:
    """A report goes out when its author's clock says so. No honest clock is then further behind
    than the disparity: from that moment on, none takes a commitment."""
    view = load_view("usual")
    slowest = scene.reveal_start(7) - scene.DISPARITY_MS
    copied = scene.commitment(seat=1).seal()

    assert judge("report", committed(), view, VALID["report"][0], slowest) == "accept"
    for since in (1, 200, 2 * scene.DISPARITY_MS):
        assert judge("commitment", committed(), view, copied, slowest + since) == "ignore"


def test_a_commitment_kept_over_a_restart_counts_again() -> None:
    view, memory = load_view("usual"), GossipMemory()
    now = TimeMs(scene.reveal_start(7) + 1_000)
    kept = scene.commitment().seal()

    restore_commitment(memory, view, kept, now)

    assert judge("report", memory, view, scene.report().seal(), now) == "accept"
    with pytest.raises(GossipIgnore, match="seen before"):
        restore_commitment(memory, view, kept, now)
    with pytest.raises(GossipReject, match="not in committee"):
        restore_commitment(memory, view, scene.commitment(seat=1, by="outsider").seal(), now)
    with pytest.raises(GossipIgnore, match="past epoch"):
        restore_commitment(memory, view, kept, TimeMs(scene.bundle_end(7) + 1))


@pytest.mark.parametrize(
    "name", [name for name, case in VECTORS.items() if case["reason"] == "equivocation"]
)
def test_equivocation_carries_what_the_contract_takes(name: str) -> None:
    case, view = VECTORS[name], load_view("usual")
    if not name.startswith("report/"):
        # Two challenges or commitments are signed by no wallet: nothing to show.
        with pytest.raises(GossipIgnore) as ignored:
            RULES[case["rule"]](
                replay_seen(case), view, bytes.fromhex(case["message"]), TimeMs(case["now_ms"])
            )
        assert not isinstance(ignored.value, Equivocation)
        return

    with pytest.raises(Equivocation) as caught:
        validate_report_gossip(
            replay_seen(case), view, bytes.fromhex(case["message"]), TimeMs(case["now_ms"])
        )

    found = caught.value
    signed = (found.first, found.second)
    digests = {compute_report_digest(view.domain, each.report) for each in signed}
    wallets = {
        recover_wallet(compute_report_digest(view.domain, each.report), each.signature)
        for each in signed
    }
    assert found.checker == scene.holder(0, 2)
    assert len(digests) == 2
    assert wallets == {view.epochs[Epoch(7)].checkers[found.checker].wallet}
    assert {(each.report.epoch, each.report.shard) for each in signed} == {(7, 0)}


@pytest.mark.parametrize(
    "change",
    [
        {"signed_by": "outsider"},
        {"signed": {"online": 0}},
        {"wallet_signature": bytes(65)},
        {"by": "outsider"},
        {"by": scene.checker_name(scene.holder(0, 1))},
        {"seat": 1, "signed_by": scene.wallet_name(scene.checker_name(scene.holder(0, 2)), "c")},
        {"epoch": 6},
        {"epoch": 8},
    ],
)
def test_nobody_equivocates_by_what_others_sign(change: dict[str, Any]) -> None:
    """A forged, foreign or unrelated report makes no evidence, and takes no first one's place."""
    view, memory = load_view("usual"), committed()
    now = TimeMs(scene.reveal_start(7) + 1_000)
    other = scene.report(judgement={"online": 0b001}, **change).seal()

    for _ in range(2):
        with pytest.raises(RemoteError) as caught:
            validate_report_gossip(memory, view, other, now)
        assert not isinstance(caught.value, Equivocation)

    assert judge("report", memory, view, scene.report().seal(), now) == "accept"


def test_topics_of_reports_are_per_shard() -> None:
    assert [reports_topic(Shard(shard)) for shard in (0, 390)] == ["reports/0", "reports/390"]


# Memory


def test_seen_forgets_the_oldest_beyond_its_limit() -> None:
    seen = Seen(limit=3)
    for number in range(5):
        seen.add(bytes([number]), number)

    assert len(seen) == 3
    assert [seen.get(number) for number in range(5)] == [None, None, b"\2", b"\3", b"\4"]


def test_seen_again_is_no_longer_the_oldest() -> None:
    seen = Seen(limit=2)
    seen.add(b"a", 1)
    seen.add(b"b", 2)
    seen.add(b"c", 1)
    seen.add(b"d", 3)

    assert [seen.get(1), seen.get(2), seen.get(3)] == [b"c", None, b"d"]


@given(st.lists(st.integers(0, 20)), st.integers(1, 8))
def test_seen_stays_bounded_and_remembers_the_newest(keys: list[int], limit: int) -> None:
    seen = Seen(limit=limit)
    for position, key in enumerate(keys):
        seen.add(position.to_bytes(4, "big"), key)
        assert len(seen) <= limit

    newest = list(dict.fromkeys(reversed(keys)))[:limit]
    assert all(seen.get(key) is not None for key in newest)
    assert len(seen) == len(newest)


def test_a_flood_of_valid_messages_stays_bounded() -> None:
    """A key that announces for ever takes one entry, whatever the number of messages."""
    view, memory = load_view("usual"), GossipMemory()
    for step in range(200):
        now = scene.start_of(7) + 2_000 * step
        sealed = scene.announcement(time=now).seal()
        assert judge("announcement", memory, view, sealed, now) == "accept"

    assert sizes(memory) == (1, 0, 0, 0)


def test_the_memory_of_a_rule_is_bounded() -> None:
    memory = GossipMemory()
    for seen, limit in (
        (memory.announcements, ANNOUNCEMENT_ENTRIES),
        (memory.challenges, SEEN_ENTRIES),
        (memory.commitments, SEEN_ENTRIES),
        (memory.reports, SEEN_ENTRIES),
        (memory.statements, SEEN_ENTRIES),
    ):
        for number in range(limit + 10):
            seen.add(b"", number)
        assert len(seen) == limit


# Bytes that nobody wrote


@of_every_rule
@given(data=st.binary(max_size=1500), now=st.integers(0, (1 << 64) - 1))
def test_arbitrary_bytes_are_rejected(rule: str, data: bytes, now: int) -> None:
    memory = GossipMemory()

    assert judge(rule, memory, load_view("usual"), data, now) == "reject"
    assert sizes(memory) == (0, 0, 0, 0)


@of_every_rule
@given(data=st.data())
def test_a_mutated_message_is_rejected(rule: str, data: st.DataObject) -> None:
    valid, now = VALID[rule]
    start = data.draw(st.integers(0, len(valid)))
    end = data.draw(st.integers(start, min(start + 8, len(valid))))
    mutated = valid[:start] + data.draw(st.binary(max_size=8)) + valid[end:]

    expected = "accept" if mutated == valid else "reject"

    assert judge(rule, memory_for(rule), load_view("usual"), mutated, now) == expected


@of_every_rule
@given(data=st.data())
def test_a_well_signed_message_of_any_content_is_judged(rule: str, data: st.DataObject) -> None:
    """Members may say anything; the rules must have an answer and never another error."""
    name = data.draw(st.sampled_from(["provider 0", "checker 0", "checker 1", "outsider"]))
    message = data.draw(messages(KINDS[rule]))
    kind, now = KINDS[rule], data.draw(st.integers(0, (1 << 64) - 1))
    sealed = ref.pack(
        [
            ref.VERSION,
            kind.KIND,
            NETWORK,
            bytes(node(name).verify_key),
            message.encode(),
            ref.sign(node(name), kind.KIND, NETWORK, message.encode()),
        ]
    )

    assert judge(rule, GossipMemory(), load_view("usual"), sealed, now) in ("ignore", "reject")


@given(data=st.data())
def test_a_report_of_a_seated_checker_with_any_content_is_judged(data: st.DataObject) -> None:
    """The signature of the wallet is checked on whatever the seat's holder puts in."""
    valid = scene.report()
    drawn = data.draw(messages(ReportMessage))
    names = st.sampled_from(["scores", "online", "fraud", "evidence", "wallet_signature"])
    kept = data.draw(st.sets(names))
    changed = {name: getattr(drawn, name) for name in kept}
    message = scene.Sealed(valid.name, {**valid.fields, **changed}, valid.key)

    judgement = judge(
        "report",
        committed(),
        load_view("usual"),
        message.seal(),
        scene.reveal_start(7),
    )

    assert judgement == ("accept" if message.fields == valid.fields else "reject")


def test_refusals_say_which_kind_they_are() -> None:
    view, now = load_view("usual"), TimeMs(scene.slot_start(7, 2))
    outsider = scene.challenge(by="outsider").seal()

    with pytest.raises(GossipReject, match="not in committee"):
        validate_challenge_gossip(GossipMemory(), view, outsider, now)
    with pytest.raises(GossipIgnore, match="unknown signer"):
        validate_announcement_gossip(
            GossipMemory(), view, scene.announcement("outsider").seal(), TimeMs(scene.start_of(7))
        )
