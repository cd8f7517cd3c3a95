"""The record of a finished draw: one file, signed by its service, that anybody can recompute.

It is JSON in exactly one form: members in the order of `docs/spec/zeronode.md`, one space of
indentation a level, `", "` nowhere, a line feed at the end, byte strings in lower-case hex, text in
printable ASCII. What is read is written again and must be the same bytes, so nothing in a file can
be changed, not even a space, without being noticed: either the form is another, or the signature
does not hold. The signature covers the file as it is without its member `signature`.

`verify_transcript` trusts nobody: the operator's key says only who is answerable. What a file alone
cannot show is when the commitment was made; `check_record` compares that with the chain.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from nacl.signing import SigningKey

from protocols import drand
from protocols.errors import ForgedError, LocalError, MalformedError
from protocols.lucky_draw import (
    MAX_ENTRIES,
    MAX_TICKETS,
    SEED_BYTES,
    Award,
    Entry,
    Prize,
    Source,
    SourceKind,
    Terms,
    build_ticket_tree,
    compute_awards,
    compute_commitment,
    compute_returns,
    compute_seed,
    draw_prizes,
    find_terms_fault,
    hash_server_seed,
    is_in_time,
    known_from_ms,
)
from protocols.signing import NODE_SIGNATURE_BYTES, sign_node_message, verify_node_signature
from protocols.types import Digest, NetworkId, NodeKey, TimeMs, Wallet

FORMAT: Final = "kaisar/draw-transcript/1"
"""The file's first member."""

DOMAIN: Final = b"kaisar/draw/transcript/1"
"""Domain of the service's signature."""

MAX_TRANSCRIPT_BYTES: Final = 16 << 20
"""MAX_ENTRIES entries and as many awards are 13 MB."""

_MAX_OPENINGS: Final = 2_048
"""Brackets and braces: MAX_PRIZES objects, and names full of them, are half as many. The parser
takes stack for each, and py_ecc lifts the limit of recursion that would stop it in time."""

Progress = Callable[[str, int, int], None]
"""Told what is being done, how far it is, and how far it goes."""

_CHUNK: Final = 8192
"""Tickets between two calls of a Progress."""

_LAST_INTEGER: Final = (1 << 53) - 1
_SOURCES: Final = {"drand-quicknet": SourceKind.DRAND, "beacon": SourceKind.BEACON}
_SOURCE_NAMES: Final = {kind: name for name, kind in _SOURCES.items()}
_EVIDENCE_BYTES: Final = {
    SourceKind.DRAND: drand.SIGNATURE_BYTES,
    SourceKind.BEACON: SEED_BYTES,
}


@dataclass(frozen=True, slots=True)
class Reveal:
    """What became known after the commitment.

    `evidence` is drand's signature of the round, or the Beacon's seed itself.
    """

    server_seed: bytes
    evidence: bytes


@dataclass(frozen=True, slots=True)
class Transcript:
    """A finished draw. `committed_s` is the time of the block that has the commitment.

    Without a `reveal` it was missed, and the awards are what the terms say for that; `committed_s`
    is then 0 when the commitment had not come on the chain.
    """

    terms: Terms
    entries: tuple[Entry, ...]
    committed_s: int
    reveal: Reveal | None
    awards: tuple[Award, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was recomputed out of a file. `seed` is None for a missed reveal.

    `won` counts tickets by place in the prize table, the last one those that won nothing; it is
    empty for a missed reveal.
    """

    transcript: Transcript
    commitment: Digest
    seed: Digest | None
    won: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """What the chain says of a draw: its commitment, the time of the block, who made it.

    `beacon_seed` is the seed of the epoch that the terms name, None where none is needed.
    """

    commitment: Digest
    committed_s: int
    service: NodeKey
    beacon_seed: Digest | None


def no_progress(what: str, done: int, total: int) -> None:
    """Tell nobody."""


def make_transcript(
    terms: Terms, entries: tuple[Entry, ...], committed_s: int, reveal: Reveal | None
) -> Transcript:
    """Finish a draw: work out its awards. LocalError for a reveal that the terms do not allow."""
    if reveal is None:
        returns = compute_returns(entries, terms.missed_bonus)
        return Transcript(terms, entries, committed_s, None, returns)
    try:
        randomness = _find_randomness(terms, reveal)
    except (ForgedError, MalformedError) as error:
        raise LocalError(f"draw {terms.draw}: {error}") from error
    seed = compute_seed(terms.key, terms.root, reveal.server_seed, randomness)
    outcomes = draw_prizes(terms.prizes, seed, 0, terms.tickets)
    awards = compute_awards(terms.prizes, entries, outcomes)
    return Transcript(terms, entries, committed_s, reveal, awards)


def sign_transcript(key: SigningKey, transcript: Transcript) -> bytes:
    """Write and sign the file. LocalError unless `key` is that of the terms' service."""
    if bytes(key.verify_key) != transcript.terms.service:
        raise LocalError("a transcript is signed by the key of the service in its terms")
    document = _to_document(transcript)
    signature = sign_node_message(key, DOMAIN, transcript.terms.network, _render(document))
    return _render({**document, "signature": signature.hex()})


def read_transcript(data: bytes) -> Transcript:
    """Read a file and check its form and its signature.

    MalformedError for other bytes than `sign_transcript` writes, ForgedError for a signature that
    is not the service's.
    """
    if len(data) > MAX_TRANSCRIPT_BYTES:
        raise MalformedError("transcript too long", f"at most {MAX_TRANSCRIPT_BYTES} bytes")
    if data.count(b"[") + data.count(b"{") > _MAX_OPENINGS:
        raise MalformedError("transcript is not canonical", "nested as no transcript is")
    try:
        document = json.loads(data.decode("ascii"))
    except ValueError as error:
        raise MalformedError("transcript is not JSON", str(error)[:200]) from error
    transcript, signature = _from_document(document)
    body = _to_document(transcript)
    if _render({**body, "signature": signature.hex()}) != data:
        raise MalformedError("transcript is not canonical", "its form is not the only one")
    terms = transcript.terms
    verify_node_signature(terms.service, DOMAIN, terms.network, _render(body), signature)
    return transcript


def verify_transcript(data: bytes, progress: Progress = no_progress) -> Verdict:
    """Recompute a draw out of its file alone.

    MalformedError or ForgedError, with the reason, for the first thing that does not hold. What
    stays open is what only the chain knows: `check_record`.
    """
    progress("signature", 0, 1)
    transcript = read_transcript(data)
    terms = transcript.terms
    if fault := find_terms_fault(terms):
        raise MalformedError("draw terms not allowed", fault)
    tickets = sum(entry.tickets for entry in transcript.entries)
    if tickets != terms.tickets:
        raise ForgedError("ticket count differs", f"{tickets} in the list, {terms.tickets} frozen")
    progress("tickets", 0, tickets)
    if build_ticket_tree(terms.key, transcript.entries).root != terms.root:
        raise ForgedError("ticket root differs", "the list is not the one that was frozen")
    commitment = compute_commitment(terms)
    reveal = transcript.reveal
    if reveal is None:
        awards = compute_returns(transcript.entries, terms.missed_bonus)
        _require_awards(transcript, awards)
        return Verdict(transcript, commitment, None, ())
    progress("randomness", 0, 1)
    seed = compute_seed(terms.key, terms.root, reveal.server_seed, _find_randomness(terms, reveal))
    if terms.source.kind is SourceKind.DRAND:
        _require_in_time(terms.source, transcript.committed_s, known_from_ms(terms.source, 0, 0))
    outcomes: list[int] = []
    while len(outcomes) < tickets:
        count = min(_CHUNK, tickets - len(outcomes))
        outcomes += draw_prizes(terms.prizes, seed, len(outcomes), count)
        progress("prizes", len(outcomes), tickets)
    _require_awards(transcript, compute_awards(terms.prizes, transcript.entries, outcomes))
    won = [0] * (len(terms.prizes) + 1)
    for place in outcomes:
        won[place] += 1
    return Verdict(transcript, commitment, seed, tuple(won))


def check_record(
    verdict: Verdict, record: Record | None, genesis_s: int, epoch_seconds: int
) -> None:
    """Compare a verified file with the chain; ForgedError for what differs.

    `record` is None when the chain has none of this draw: only a missed reveal may lack it.
    """
    transcript = verdict.transcript
    terms = transcript.terms
    if record is None:
        if transcript.reveal is not None or transcript.committed_s:
            raise ForgedError("commitment not on chain", f"draw {terms.draw}")
        return
    if record.commitment != verdict.commitment:
        raise ForgedError("commitment differs from the chain", f"draw {terms.draw}")
    if record.service != terms.service:
        raise ForgedError("commitment of another service", f"draw {terms.draw}")
    if transcript.reveal is None and not transcript.committed_s:
        return  # It may have come on the chain after the draw was given up.
    if record.committed_s != transcript.committed_s:
        raise ForgedError(
            "time of commitment differs from the chain",
            f"{transcript.committed_s} in the file, {record.committed_s} on the chain",
        )
    if transcript.reveal is None:
        return
    _require_in_time(
        terms.source, record.committed_s, known_from_ms(terms.source, genesis_s, epoch_seconds)
    )
    if terms.source.kind is SourceKind.BEACON and record.beacon_seed != transcript.reveal.evidence:
        raise ForgedError("randomness differs from the chain", f"epoch {terms.source.number}")


def _find_randomness(terms: Terms, reveal: Reveal) -> bytes:
    if hash_server_seed(reveal.server_seed) != terms.seed_hash:
        raise ForgedError("server seed differs", "it is not the one that was committed to")
    if terms.source.kind is SourceKind.DRAND:
        return drand.verify_round(terms.source.number, reveal.evidence)
    return reveal.evidence


def _require_in_time(source: Source, committed_s: int, known_ms: TimeMs) -> None:
    if not is_in_time(source, committed_s, known_ms):
        raise ForgedError(
            "committed too late",
            f"in a block of {committed_s}, but the randomness could be known from "
            f"{known_ms // 1000} on",
        )


def _require_awards(transcript: Transcript, awards: tuple[Award, ...]) -> None:
    if transcript.awards != awards:
        raise ForgedError("awards differ", "the tickets do not win what the file says")


def _render(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=1, ensure_ascii=True) + "\n").encode()


def _to_document(transcript: Transcript) -> dict[str, Any]:
    terms, reveal = transcript.terms, transcript.reveal
    return {
        "format": FORMAT,
        "terms": {
            "network": terms.network.hex(),
            "service": terms.service.hex(),
            "draw": terms.draw,
            "prizes": [
                {
                    "name": each.name,
                    "ppm": each.ppm,
                    "units": each.units,
                    "tickets": each.tickets,
                }
                for each in terms.prizes
            ],
            "root": terms.root.hex(),
            "tickets": terms.tickets,
            "seed_hash": terms.seed_hash.hex(),
            "source": _SOURCE_NAMES[terms.source.kind],
            "number": terms.source.number,
            "closed_ms": terms.closed_ms,
            "reveal_by_ms": terms.reveal_by_ms,
            "missed_bonus": terms.missed_bonus,
        },
        "committed_s": transcript.committed_s,
        "reveal": reveal
        and {"server_seed": reveal.server_seed.hex(), "evidence": reveal.evidence.hex()},
        "entries": [f"0x{each.wallet.hex()} {each.tickets}" for each in transcript.entries],
        "awards": [
            f"0x{each.wallet.hex()} {each.units} {each.tickets}" for each in transcript.awards
        ],
    }


def _from_document(document: object) -> tuple[Transcript, bytes]:
    """Read what is there; that nothing else is there shows when it is written again."""
    whole = _Reader(document)
    if whole.text("format") != FORMAT:
        raise MalformedError("transcript of another format", f"expected {FORMAT}")
    terms = _Reader(whole.take("terms"))
    source = _SOURCES.get(terms.text("source"))
    if source is None:
        raise MalformedError("transcript field not allowed", f"source: expected {list(_SOURCES)}")
    reveal = whole.take("reveal")
    return (
        Transcript(
            Terms(
                NetworkId(terms.data("network", 32)),
                NodeKey(terms.data("service", 32)),
                terms.text("draw"),
                tuple(_to_prize(_Reader(each)) for each in terms.items("prizes", 1 << 10)),
                Digest(terms.data("root", 32)),
                terms.integer("tickets"),
                Digest(terms.data("seed_hash", 32)),
                Source(source, terms.integer("number")),
                TimeMs(terms.integer("closed_ms")),
                TimeMs(terms.integer("reveal_by_ms")),
                terms.integer("missed_bonus"),
            ),
            tuple(_to_entry(each) for each in whole.items("entries", MAX_ENTRIES)),
            whole.integer("committed_s"),
            None if reveal is None else _to_reveal(_Reader(reveal), source),
            tuple(_to_award(each) for each in whole.items("awards", MAX_ENTRIES)),
        ),
        whole.data("signature", NODE_SIGNATURE_BYTES),
    )


def _to_prize(prize: "_Reader") -> Prize:
    return Prize(
        prize.text("name"), prize.integer("ppm"), prize.integer("units"), prize.integer("tickets")
    )


def _to_reveal(reveal: "_Reader", source: SourceKind) -> Reveal:
    return Reveal(
        reveal.data("server_seed", SEED_BYTES), reveal.data("evidence", _EVIDENCE_BYTES[source])
    )


def _to_entry(text: object) -> Entry:
    wallet, tickets = _split(text, 2)
    if not 1 <= tickets <= MAX_TICKETS:
        raise MalformedError("transcript field not allowed", f"an entry of {tickets} tickets")
    return Entry(wallet, tickets)


def _to_award(text: object) -> Award:
    wallet, units, tickets = _split(text, 3)
    return Award(wallet, units, tickets)


def _split(text: object, count: int) -> tuple[Any, ...]:
    """Read a wallet and the numbers behind it."""
    parts = text.split(" ") if isinstance(text, str) else []
    try:
        wallet = bytes.fromhex(parts[0][2:])
        numbers = [int(part) for part in parts[1:]]
    except (ValueError, IndexError):
        raise MalformedError("transcript field not allowed", "an entry or an award") from None
    if len(wallet) != 20 or len(parts) != count:
        raise MalformedError("transcript field not allowed", "an entry or an award")
    return (Wallet(wallet), *numbers)


class _Reader:
    """Takes members of a JSON object by their type."""

    def __init__(self, value: object) -> None:
        if not isinstance(value, dict):
            raise MalformedError("transcript field not allowed", "expected an object")
        self._value: dict[str, object] = value

    def take(self, name: str) -> object:
        if name not in self._value:
            raise MalformedError("transcript field missing", name)
        return self._value[name]

    def text(self, name: str) -> str:
        value = self.take(name)
        if not isinstance(value, str):
            raise MalformedError("transcript field not allowed", f"{name}: expected text")
        return value

    def integer(self, name: str) -> int:
        value = self.take(name)
        if type(value) is not int or not 0 <= value <= _LAST_INTEGER:
            raise MalformedError("transcript field not allowed", f"{name}: expected an integer")
        return value

    def items(self, name: str, most: int) -> list[object]:
        value = self.take(name)
        if not isinstance(value, list) or len(value) > most:
            raise MalformedError("transcript field not allowed", f"{name}: expected a list")
        return value

    def data(self, name: str, length: int) -> bytes:
        try:
            data = bytes.fromhex(self.text(name))
        except ValueError:
            data = b""
        if len(data) != length:
            raise MalformedError("transcript field not allowed", f"{name}: expected {length} bytes")
        return data
