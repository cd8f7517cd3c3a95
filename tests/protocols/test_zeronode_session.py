"""Which beats count: the session machine against everything that may come."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.types import NodeKey, TimeMs
from protocols.uptime import Stretch, compute_day, find_gate, find_runs, seconds
from protocols.zeronode_beats import sign_beat, verify_challenge
from protocols.zeronode_frames import Beat
from protocols.zeronode_rules import MAINNET_RULES, MINIMAL_RULES, TICKET_UNITS
from protocols.zeronode_session import (
    BOOTS_REMEMBERED,
    BeatFault,
    BeatRefused,
    BootTrail,
    Session,
)
from tests.protocols.zeronode_world import BOOT, NETWORK, SID, START, Client, key_of, nonce, public

DAY = MAINNET_RULES.day_ms


def beat(client: Client, asked: int, answered: int) -> Stretch | None:
    """One challenge and its answer."""
    return client.session.on_beat(client.answer(client.ask(asked)), TimeMs(answered))


def refuse(client: Client, answer: Beat, now: int) -> BeatFault:
    """What a beat is refused for."""
    with pytest.raises(BeatRefused) as caught:
        client.session.on_beat(answer, TimeMs(now))
    assert caught.value.reason == caught.value.fault.value
    return caught.value.fault


def test_the_second_beat_earns_the_time_between_both() -> None:
    client = Client()
    assert beat(client, START, START + 5) is None
    assert beat(client, START + 15_000, START + 15_004) == Stretch(
        TimeMs(START + 5), TimeMs(START + 15_004)
    )


def test_a_challenge_is_signed_for_the_key_and_names_its_time() -> None:
    client = Client()
    for expected in (1, 2):
        challenge = client.ask(START)
        assert (challenge.sid, challenge.seq, challenge.answer_ms) == (SID, expected, 5_000)
        verify_challenge(
            NETWORK,
            public("service"),
            SID,
            expected,
            challenge.nonce,
            public("client"),
            challenge.sig,
        )


def test_a_stalled_service_pays_no_more_than_the_maximum() -> None:
    client = Client()
    beat(client, START, START)
    assert beat(client, START + 100_000, START + 100_001) == Stretch(
        TimeMs(START + 70_001), TimeMs(START + 100_001)
    )


@pytest.mark.parametrize(("delay", "paid"), [(5_000, True), (5_001, False)])
def test_an_answer_counts_up_to_its_deadline(delay: int, paid: bool) -> None:
    client = Client()
    beat(client, START, START)
    asked = START + 15_000
    answer = client.answer(client.ask(asked))
    assert client.session.deadline == asked + 5_000
    if paid:
        assert client.session.on_beat(answer, TimeMs(asked + delay)) is not None
    else:
        assert refuse(client, answer, asked + delay) is BeatFault.LATE
    # Only an unbroken chain goes on earning.
    assert (beat(client, START + 30_000, START + 30_000) is not None) == paid


def test_a_replayed_beat_earns_nothing_and_ends_the_chain() -> None:
    client = Client()
    beat(client, START, START)
    answer = client.answer(client.ask(START + 15_000))
    assert client.session.on_beat(answer, TimeMs(START + 15_001)) is not None
    assert refuse(client, answer, START + 15_002) is BeatFault.REPLAYED
    client.ask(START + 30_000)
    assert refuse(client, answer, START + 30_001) is BeatFault.REPLAYED
    assert beat(client, START + 45_000, START + 45_001) is None


def test_beats_in_another_order_earn_nothing() -> None:
    client = Client()
    beat(client, START, START)
    first = client.answer(client.ask(START + 15_000))
    second = client.answer(client.ask(START + 19_000))
    # The first was still open when the second was asked for: it is missed.
    assert client.session.on_beat(second, TimeMs(START + 19_001)) is None
    assert refuse(client, first, START + 19_002) is BeatFault.REPLAYED
    third, fourth = client.ask(START + 35_000), client.ask(START + 36_000)
    assert refuse(client, client.answer(third), START + 36_001) is BeatFault.LATE
    assert client.session.on_beat(client.answer(fourth), TimeMs(START + 36_002)) is None


@pytest.mark.parametrize("seq", [0, 3, (1 << 32) - 1])
def test_a_sequence_that_was_never_sent_earns_nothing(seq: int) -> None:
    client = Client()
    beat(client, START, START)
    answer = client.answer(replace(client.ask(START + 15_000), seq=seq))
    assert refuse(client, answer, START + 15_001) is BeatFault.WRONG_SEQUENCE


def test_another_sessions_beat_earns_nothing() -> None:
    client = Client()
    beat(client, START, START)
    answer = client.answer(replace(client.ask(START + 15_000), sid=bytes(16)))
    assert refuse(client, answer, START + 15_001) is BeatFault.WRONG_SESSION


def test_another_keys_beat_earns_nothing() -> None:
    client = Client(name="somebody else")
    assert refuse(client, client.answer(client.ask(START)), START) is BeatFault.FORGED


@pytest.mark.parametrize("field", ["network", "service", "sid", "seq", "nonce", "boot", "sig"])
def test_a_signature_over_anything_else_earns_nothing(field: str) -> None:
    client = Client()
    beat(client, START, START)
    challenge = client.ask(START + 15_000)
    said: dict[str, object] = {
        "network": NETWORK,
        "service": public("service"),
        "sid": SID,
        "seq": challenge.seq,
        "nonce": challenge.nonce,
        "boot": BOOT,
    }
    good = sign_beat(client.key, **said)  # type: ignore[arg-type]
    assert good == client.answer(challenge).sig
    other = {"sid": bytes(16), "seq": challenge.seq + 1, "boot": bytes(16)}
    if field == "sig":
        sig = bytes([good[0] ^ 1]) + good[1:]
    else:
        sig = sign_beat(client.key, **{**said, field: other.get(field, bytes(32))})  # type: ignore[arg-type]
    answer = Beat(sid=SID, seq=challenge.seq, sig=sig)
    assert refuse(client, answer, START + 15_001) is BeatFault.FORGED
    # The right one still closes the challenge, but begins a new chain.
    assert client.session.on_beat(client.answer(challenge), TimeMs(START + 15_002)) is None


def test_an_unanswered_challenge_ends_the_chain() -> None:
    client = Client()
    assert not client.session.expire(START)
    beat(client, START, START)
    assert client.session.deadline is None
    client.ask(START + 15_000)
    assert not client.session.expire(TimeMs(START + 20_000))
    assert client.session.expire(TimeMs(START + 20_001))
    assert not client.session.expire(TimeMs(START + 20_002))
    assert client.session.deadline is None
    assert beat(client, START + 30_000, START + 30_001) is None


def test_a_session_is_over_after_too_many_misses_in_a_row() -> None:
    client = Client()
    answer = client.answer(client.ask(START))
    client.session.expire(TimeMs(START + 5_001))
    refuse(client, answer, START + 5_002)
    assert not client.session.is_over
    beat(client, START + 15_000, START + 15_001)
    assert client.session.misses == 0
    for number in range(3):
        assert not client.session.is_over
        refuse(client, answer, START + 15_002 + number)
    assert client.session.is_over


def test_a_broken_chain_begins_anew() -> None:
    client = Client()
    beat(client, START, START)
    client.session.break_chain()
    assert beat(client, START + 15_000, START + 15_000) is None
    assert beat(client, START + 30_000, START + 30_000) is not None
    assert client.session.misses == 0


def test_a_clock_that_goes_back_pays_nothing() -> None:
    client = Client()
    beat(client, START, START)
    assert beat(client, START - DAY, START - DAY + 3) is None
    assert beat(client, START - DAY, START - DAY + 3) is None


def test_a_reconnected_client_earns_nothing_for_the_gap() -> None:
    first, second = Client(), Client()
    beat(first, START, START)
    one = beat(first, START + 15_000, START + 15_000)
    assert beat(second, START + 40_000, START + 40_000) is None
    two = beat(second, START + 55_000, START + 55_000)
    assert one is not None
    assert two is not None
    assert seconds([one, two]) == 30
    assert len(find_runs([one, two], MAINNET_RULES)) == 1


def test_a_day_through_the_session_machine_earns_exactly_300_points() -> None:
    client = Client()
    stretches = []
    asked = START - 40_000
    step = 0
    while asked < START + DAY + 40_000:
        # As a service does: times of chance from 12 to 22 s, and answers that take their time.
        answered = asked + nonce(step)[0] * 5_000 // 255
        paid = beat(client, asked, answered)
        if paid is not None:
            stretches.append(paid)
        step += 1
        asked += 12_000 + int.from_bytes(nonce(step)[1:5], "big") % 10_001
    today = MAINNET_RULES.day_of(START)
    plain = compute_day(stretches, today, MAINNET_RULES, None, None)
    assert plain.units == TICKET_UNITS == 864_000 == 300 * 2_880
    assert (plain.doubled_units, plain.referred_units) == (0, 0)
    held = compute_day(stretches, today, MAINNET_RULES, TimeMs(START - 1), TimeMs(START - 1))
    assert held.units + held.doubled_units == 2 * 864_000
    assert held.referred_units * 10 == held.units + held.doubled_units
    gate = find_gate(stretches, MAINNET_RULES)
    assert gate == stretches[0].start_ms + 6 * 3_600_000
    referred = compute_day(stretches, today, MAINNET_RULES, None, gate)
    assert referred.referred_units == (START + DAY - gate) // 1_000
    # Days before and after have only what was answered in them.
    for day in (today - 1, today + 1):
        assert 0 < compute_day(stretches, day, MAINNET_RULES, None, None).seconds <= 40 + 27


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["good", "none", "replay", "late", "forged", "sid", "ahead"]),
        st.integers(0, 60_000),
        st.integers(0, 5_000),
    ),
    max_size=30,
)


@given(STEPS)
@settings(max_examples=60)
def test_whatever_comes_is_paid_only_between_two_good_beats(
    steps: list[tuple[str, int, int]],
) -> None:
    client, forger = Client(MINIMAL_RULES), Client(name="forger")
    now, good_before, last = int(START), False, None
    earned: list[Stretch] = []
    for kind, wait, delay in steps:
        asked = now + wait
        challenge = client.ask(asked)
        now = asked + delay
        answer = client.answer(challenge)
        before = earned[-1].end_ms if earned else START
        if kind == "good":
            paid = client.session.on_beat(answer, TimeMs(now))
            if paid is not None:
                assert good_before
                assert before <= paid.start_ms
                assert paid.end_ms == now
                assert paid.length_ms <= MINIMAL_RULES.max_credit_ms
                earned.append(paid)
            good_before, last = True, answer
            continue
        good_before = False
        bad = {
            "none": None,
            "replay": last,
            "late": answer,
            "forged": forger.answer(challenge),
            "sid": replace(answer, sid=bytes(16)),
            "ahead": replace(answer, seq=challenge.seq + 1),
        }[kind]
        if kind == "late":
            now = asked + MINIMAL_RULES.answer_ms + 1
        if bad is None:
            client.session.expire(TimeMs(asked + MINIMAL_RULES.answer_ms + 1))
        else:
            refuse(client, bad, now)
    assert seconds(earned) * 1_000 <= now - START


def test_a_session_is_of_its_own_key() -> None:
    session = Session(NETWORK, public("service"), SID, NodeKey(bytes(32)), BOOT, MAINNET_RULES)
    challenge = session.challenge(key_of("service"), nonce(1), START)
    with pytest.raises(BeatRefused, match="forged"):
        session.on_beat(Beat(sid=SID, seq=challenge.seq, sig=bytes(64)), START)


def boot(number: int) -> bytes:
    """A browser's start."""
    return number.to_bytes(16, "big")


def test_a_boot_that_comes_back_after_another_is_a_copy() -> None:
    trail = BootTrail()
    for number, copied in ((1, False), (1, False), (2, False), (2, False), (1, True), (2, True)):
        trail, found = trail.extend(boot(number))
        assert found == copied
    assert trail.boots == (boot(1), boot(2))


def test_boots_are_forgotten_one_after_another() -> None:
    trail = BootTrail()
    for number in range(100):
        trail, found = trail.extend(boot(number))
        assert not found
        assert len(trail.boots) <= BOOTS_REMEMBERED
    assert trail.extend(boot(100 - BOOTS_REMEMBERED))[1]
    assert not trail.extend(boot(99 - BOOTS_REMEMBERED))[1]
