"""Transcripts: recomputed by anybody, and refused after any change."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from protocols.draw_transcript import (
    MAX_TRANSCRIPT_BYTES,
    Record,
    Reveal,
    Transcript,
    Verdict,
    check_record,
    make_transcript,
    read_transcript,
    sign_transcript,
    verify_transcript,
)
from protocols.errors import ForgedError, LocalError, MalformedError, RemoteError
from protocols.lucky_draw import (
    Award,
    Entry,
    Prize,
    Source,
    SourceKind,
    Terms,
    build_ticket_tree,
    compute_commitment,
    compute_key,
    hash_server_seed,
)
from protocols.types import Digest, NetworkId, NodeKey, TimeMs, Wallet
from tests.vectors.builders.actors import NETWORK, node, secret, wallet
from tests.vectors.builders.draws import ROUNDS, TABLE
from tests.vectors.generate import load

KEY = node("zeronode")
SERVICE = NodeKey(bytes(KEY.verify_key))
SERVER_SEED = secret("server seed")
ROUND_S = 1_692_806_364
"""Time of round 1000."""
EPOCH_SEED = Digest(secret("seed of epoch 77"))
PRIZES = tuple(Prize(*prize) for prize in TABLE)

SMALL = (Entry(Wallet(wallet("alice")), 3), Entry(Wallet(wallet("bob")), 1))


def make_terms(entries: tuple[Entry, ...], source: Source, draw: str = "weekly-1") -> Terms:
    network = NetworkId(NETWORK)
    return Terms(
        network,
        SERVICE,
        draw,
        PRIZES,
        Digest(build_ticket_tree(compute_key(network, SERVICE, draw), entries).root),
        sum(entry.tickets for entry in entries),
        hash_server_seed(SERVER_SEED),
        source,
        TimeMs((ROUND_S - 600) * 1000),
        TimeMs((ROUND_S + 600) * 1000),
        1,
    )


def drawn(entries: tuple[Entry, ...] = SMALL) -> Transcript:
    terms = make_terms(entries, Source(SourceKind.DRAND, 1000))
    reveal = Reveal(SERVER_SEED, bytes.fromhex(ROUNDS[1000]))
    return make_transcript(terms, entries, ROUND_S - 500, reveal)


def by_beacon(entries: tuple[Entry, ...] = SMALL) -> Transcript:
    terms = make_terms(entries, Source(SourceKind.BEACON, 77))
    return make_transcript(terms, entries, 5_000, Reveal(SERVER_SEED, EPOCH_SEED))


def missed(committed_s: int = ROUND_S - 500) -> Transcript:
    terms = make_terms(SMALL, Source(SourceKind.DRAND, 1000))
    return make_transcript(terms, SMALL, committed_s, None)


def refuse(data: bytes) -> str:
    """The reason for which a file is refused."""
    with pytest.raises(RemoteError) as refused:
        verify_transcript(data)
    return refused.value.reason


@pytest.mark.parametrize("case", load("draws/transcripts.json"), ids=lambda case: case["name"])
def test_vector(case: dict[str, Any]) -> None:
    content = case["content"].encode()
    if case["reason"] is None:
        transcript = verify_transcript(content).transcript
        assert sign_transcript(KEY, transcript) == content
        remade = make_transcript(
            transcript.terms, transcript.entries, transcript.committed_s, transcript.reveal
        )
        assert remade == transcript
    else:
        assert refuse(content) == case["reason"]


@pytest.mark.parametrize("make", [drawn, by_beacon, missed])
def test_what_is_signed_is_read_and_verified(make: Callable[[], Transcript]) -> None:
    transcript = make()
    data = sign_transcript(KEY, transcript)
    assert read_transcript(data) == transcript
    verdict = verify_transcript(data)
    assert verdict.transcript == transcript
    assert verdict.commitment == compute_commitment(transcript.terms)
    assert sum(verdict.won) == (transcript.terms.tickets if transcript.reveal else 0)


def test_a_missed_reveal_returns_the_tickets_and_one_more() -> None:
    verdict = verify_transcript(sign_transcript(KEY, missed()))
    assert [(each.units, each.tickets) for each in verdict.transcript.awards] == [(0, 4), (0, 2)]
    assert verdict.seed is None
    assert verdict.won == ()


@pytest.mark.parametrize("make", [by_beacon, missed])
def test_every_changed_byte_is_refused(make: Callable[[], Transcript]) -> None:
    data = sign_transcript(KEY, make())
    for position, byte in enumerate(data):
        for bit in range(8):
            changed = data[:position] + bytes([byte ^ (1 << bit)]) + data[position + 1 :]
            refuse(changed)


def test_every_missing_and_added_byte_is_refused() -> None:
    data = sign_transcript(KEY, by_beacon())
    for position in range(len(data)):
        refuse(data[:position] + data[position + 1 :])
        refuse(data[:position] + b" " + data[position:])
        refuse(data[:position] + b"0" + data[position:])
    refuse(data + b"\n")
    refuse(b"")


def test_changed_bytes_of_a_big_file_are_refused() -> None:
    generator = random.Random(7)
    entries = tuple(
        Entry(Wallet(generator.randbytes(20)), generator.randint(1, 9)) for _ in range(2_000)
    )
    data = sign_transcript(KEY, by_beacon(entries))
    assert verify_transcript(data).transcript.terms.tickets > 2_000
    for _ in range(50):
        position = generator.randrange(len(data))
        other = data[position] ^ generator.randint(1, 255)
        refuse(data[:position] + bytes([other]) + data[position + 1 :])


def test_progress_is_told_of_long_work() -> None:
    told: list[tuple[str, int, int]] = []
    entries = (Entry(SMALL[0].wallet, 10_000),)
    verify_transcript(sign_transcript(KEY, by_beacon(entries)), lambda *each: told.append(each))
    assert ("prizes", 8192, 10_000) in told
    assert told[-1] == ("prizes", 10_000, 10_000)


DRAWN = drawn()
TERMS = DRAWN.terms
REVEAL = Reveal(SERVER_SEED, bytes.fromhex(ROUNDS[1000]))


@pytest.mark.parametrize(
    ("transcript", "reason"),
    [
        (replace(DRAWN, terms=replace(TERMS, prizes=())), "draw terms not allowed"),
        (replace(DRAWN, terms=replace(TERMS, tickets=5)), "ticket count differs"),
        (replace(DRAWN, entries=SMALL[::-1]), "ticket root differs"),
        (replace(DRAWN, entries=(Entry(SMALL[0].wallet, 4),)), "ticket root differs"),
        (replace(DRAWN, terms=replace(TERMS, draw="weekly-2")), "ticket root differs"),
        (
            replace(DRAWN, terms=replace(TERMS, seed_hash=Digest(bytes(32)))),
            "server seed differs",
        ),
        (replace(DRAWN, reveal=replace(REVEAL, server_seed=bytes(32))), "server seed differs"),
        (
            replace(DRAWN, reveal=replace(REVEAL, evidence=bytes.fromhex(ROUNDS[657_413]))),
            "drand signature does not hold",
        ),
        (replace(DRAWN, reveal=replace(REVEAL, evidence=bytes(48))), "drand signature is no point"),
        (replace(DRAWN, committed_s=ROUND_S), "committed too late"),
        (replace(DRAWN, committed_s=ROUND_S - 14), "committed too late"),
        (replace(DRAWN, awards=()), "awards differ"),
        (replace(DRAWN, awards=(*DRAWN.awards, Award(SMALL[1].wallet, 1, 0))), "awards differ"),
        (replace(missed(), awards=()), "awards differ"),
    ],
)
def test_what_an_operator_may_not_sign(transcript: Transcript, reason: str) -> None:
    assert refuse(sign_transcript(KEY, transcript)) == reason


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b'"missed_bonus": 1', b'"missed_bonus": 2'),
        lambda data: data.replace(
            SERVICE.hex().encode(), bytes(node("eve").verify_key).hex().encode()
        ),
        lambda data: data.replace(NETWORK.hex().encode(), b"00" * 32),
    ],
)
def test_what_somebody_else_may_not_change(change: Callable[[bytes], bytes]) -> None:
    data = sign_transcript(KEY, drawn())
    assert change(data) != data
    assert refuse(change(data)) == "bad node signature"


DATA = sign_transcript(KEY, DRAWN)
NOT_ALLOWED = "transcript field not allowed"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b" " * (MAX_TRANSCRIPT_BYTES + 1), "transcript too long"),
        (b"\xff", "transcript is not JSON"),
        (b"{", "transcript is not JSON"),
        (b"[" * 2_000, "transcript is not JSON"),
        (b"[" * 100_000, "transcript is not canonical"),
        (b"1" * 100_000, "transcript is not JSON"),
        (b"[]", NOT_ALLOWED),
        (b"{}", "transcript field missing"),
        (DATA.replace(b"transcript/1", b"transcript/2"), "transcript of another format"),
        (DATA.replace(b'"drand-quicknet"', b'"dice"'), NOT_ALLOWED),
        (DATA.replace(b'"drand-quicknet"', b'"beacon"'), NOT_ALLOWED),
        (DATA.replace(b'"tickets": 4', b'"tickets": "4"'), NOT_ALLOWED),
        (DATA.replace(b'"tickets": 4', b'"tickets": true'), NOT_ALLOWED),
        (DATA.replace(b'"tickets": 4', b'"tickets": -4'), NOT_ALLOWED),
        (DATA.replace(b'"tickets": 4', b'"tickets": 4e0'), NOT_ALLOWED),
        (DATA.replace(b'"tickets": 4', b'"tickets": 9007199254740992'), NOT_ALLOWED),
        (DATA.replace(b'"draw": "weekly-1"', b'"draw": 1'), NOT_ALLOWED),
        (DATA.replace(b'"prizes": [', b'"prizes": 7, "x": ['), NOT_ALLOWED),
        (DATA.replace(NETWORK.hex().encode(), b"0x"), NOT_ALLOWED),
        (DATA.replace(b"0x", b"0y", 1), "transcript is not canonical"),
        (DATA.replace(b' 3"', b' 0"'), NOT_ALLOWED),
        (DATA.replace(b' 3"', b' 1000001"'), NOT_ALLOWED),
        (DATA.replace(b' 3"', b' 3 3"'), NOT_ALLOWED),
        (DATA.replace(b' 3"', b' three"'), NOT_ALLOWED),
        (DATA.replace(b' 3"', b' +3"'), "transcript is not canonical"),
        (DATA.replace(b'"entries": [', b'"entries": [7,'), NOT_ALLOWED),
        (DATA.replace(b'"entries": [', b'"entries": ["",'), NOT_ALLOWED),
        (DATA.replace(b'"entries": [', b'"entries": ["0x00 1",'), NOT_ALLOWED),
        (
            DATA.replace(b'"committed_s"', b'"more": 1, "committed_s"'),
            "transcript is not canonical",
        ),
        (DATA.replace(b"\n", b"\r\n"), "transcript is not canonical"),
        (DATA.upper(), "transcript field missing"),
    ],
)
def test_what_is_not_the_one_form(data: bytes, reason: str) -> None:
    assert data != DATA
    assert refuse(data) == reason


def test_only_the_service_of_the_terms_signs() -> None:
    with pytest.raises(LocalError, match="key of the service"):
        sign_transcript(node("eve"), drawn())


def test_a_transcript_is_not_made_of_a_wrong_reveal() -> None:
    with pytest.raises(LocalError, match="server seed differs"):
        make_transcript(TERMS, SMALL, 1, replace(REVEAL, server_seed=bytes(32)))


def verify(transcript: Transcript) -> tuple[Verdict, Record]:
    """A verdict, and what an honest chain says of it."""
    verdict = verify_transcript(sign_transcript(KEY, transcript))
    beacon = EPOCH_SEED if transcript.terms.source.kind is SourceKind.BEACON else None
    return verdict, Record(verdict.commitment, transcript.committed_s, SERVICE, beacon)


GENESIS_S, EPOCH_SECONDS = 5_001 - 76 * 25, 25
"""So that epoch 76 begins a second after the commitment of `by_beacon`."""


@pytest.mark.parametrize("transcript", [DRAWN, by_beacon(), missed()])
def test_a_chain_that_agrees(transcript: Transcript) -> None:
    verdict, record = verify(transcript)
    check_record(verdict, record, GENESIS_S, EPOCH_SECONDS)


def test_a_missed_draw_may_lack_its_commitment_or_have_it_late() -> None:
    verdict, record = verify(missed(committed_s=0))
    check_record(verdict, None, GENESIS_S, EPOCH_SECONDS)
    check_record(verdict, replace(record, committed_s=9), GENESIS_S, EPOCH_SECONDS)
    with pytest.raises(ForgedError, match="differs from the chain"):
        check_record(verdict, replace(record, commitment=Digest(bytes(32))), 0, 1)


@pytest.mark.parametrize(
    ("transcript", "change", "genesis_s", "reason"),
    [
        (DRAWN, None, GENESIS_S, "commitment not on chain"),
        (missed(), None, GENESIS_S, "commitment not on chain"),
        (
            DRAWN,
            {"commitment": Digest(bytes(32))},
            GENESIS_S,
            "commitment differs from the chain",
        ),
        (DRAWN, {"service": NodeKey(bytes(32))}, GENESIS_S, "commitment of another service"),
        (
            DRAWN,
            {"committed_s": ROUND_S - 400},
            GENESIS_S,
            "time of commitment differs from the chain",
        ),
        (by_beacon(), {}, GENESIS_S - 1, "committed too late"),
        (
            by_beacon(),
            {"beacon_seed": Digest(bytes(32))},
            GENESIS_S,
            "randomness differs from the chain",
        ),
        (by_beacon(), {"beacon_seed": None}, GENESIS_S, "randomness differs from the chain"),
    ],
)
def test_a_chain_that_does_not_agree(
    transcript: Transcript, change: dict[str, Any] | None, genesis_s: int, reason: str
) -> None:
    verdict, record = verify(transcript)
    with pytest.raises(ForgedError) as refused:
        check_record(
            verdict, None if change is None else replace(record, **change), genesis_s, EPOCH_SECONDS
        )
    assert refused.value.reason == reason


def test_refusals_are_of_the_two_kinds() -> None:
    with pytest.raises(MalformedError):
        read_transcript(b"")
