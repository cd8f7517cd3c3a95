"""Makes tests/vectors/transfers out of the reference.

`python -m tests.protocols.transfer_vectors` writes the files; a test says when they are stale.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.protocols import transfer_reference as ref
from tests.protocols.compute_vectors import Case, write
from tests.protocols.wire_reference import pack, sign
from tests.vectors.builders import scene
from tests.vectors.builders.actors import NETWORK, node, secret

REQUEST = {"epoch": "uint32", "shard": "uint32", "seat": "uint8", "checker": "uint16"}
FORMS: dict[str, tuple[int, int, dict[str, str]]] = {
    "TransferRequest": (15, 128, {**REQUEST, "provider": "uint32"}),
    "TransferReceipt": (
        17,
        128,
        {**REQUEST, "provider": "uint32", "down_bytes": "uint32", "up_bytes": "uint32"},
    ),
}
"""Number, cap of the body and fields of each message."""

FIELDS: dict[str, dict[str, int]] = {
    "TransferRequest": {"epoch": 7, "shard": 0, "seat": 2, "checker": 3, "provider": 41},
    "TransferReceipt": {
        "epoch": 7,
        "shard": 0,
        "seat": 2,
        "checker": 3,
        "provider": 41,
        "down_bytes": 24_576_000,
        "up_bytes": 61_440,
    },
}

Figures = Mapping[int, tuple[int, int]]
"""Bytes down and up by seat."""

STAGE_MS = 1000 // 2 // 2 - 1000 // 2 // 16
"""Two active providers share the scene's transfer phase of a second."""

MOST = 491_520
"""`transfer_bytes` of the scene."""


def pieces() -> list[Case]:
    """Seeds, the ends and the hash of what they expand to, and digests of it."""
    transfer = secret("transfer")
    cases = []
    for name, index in (("first piece", 0), ("another piece", 1), ("last piece", 2**32 - 1)):
        data = ref.piece(secret(name))
        cases.append(
            {
                "seed": secret(name).hex(),
                "bytes": len(data),
                "starts_with": data[:32].hex(),
                "ends_with": data[-32:].hex(),
                "sha256": ref.sha256(data).hex(),
                "transfer": transfer.hex(),
                "index": index,
                "digest": ref.digest(transfer, index, data).hex(),
            }
        )
    return cases


def messages() -> list[Case]:
    """One body of each message."""
    return [
        {
            "message": name,
            "kind": FORMS[name][0],
            "max_bytes": FORMS[name][1],
            "fields": fields,
            "body": pack(list(fields.values())).hex(),
        }
        for name, fields in FIELDS.items()
    ]


def seal(seat: int, by: str | None = None, kind: int = 17, **change: int) -> bytes:
    """A receipt about provider 1 of the scene, by the holder of a seat or somebody else."""
    checker = scene.holder(0, min(seat, scene.SEATS - 1))
    fields = {
        "epoch": scene.EPOCH,
        "shard": 0,
        "seat": seat,
        "checker": checker,
        "provider": 1,
        "down_bytes": 0,
        "up_bytes": 0,
        **change,
    }
    key = node(by or scene.checker_name(checker))
    body = pack(list(fields.values()))
    signature = sign(key, kind, NETWORK, body)
    return pack([1, kind, NETWORK, bytes(key.verify_key), body, signature])


def receipts(figures: Figures) -> list[bytes]:
    """A receipt for each seat."""
    return [seal(seat, down_bytes=d, up_bytes=u) for seat, (d, u) in figures.items()]


EVEN = dict.fromkeys(range(4), (100_000, 50_000))


def sums() -> list[Case]:
    """Receipts of a committee of four, and the rates that they prove."""
    three = {seat: EVEN[seat] for seat in range(3)}
    uneven = {0: (40_000, 9), 1: (60_000, 0), 2: (50_000, 7), 3: (30_000, 8)}
    boast = {**EVEN, 3: (491_520, 491_520)}
    above = dict.fromkeys(range(4), (2**32 - 1, 491_521))
    stingy = {0: (0, 0), **{seat: EVEN[seat] for seat in (1, 2, 3)}}
    largest = [
        *receipts(EVEN),
        seal(3, down_bytes=150_000, up_bytes=1),
        seal(3, down_bytes=1, up_bytes=70_000),
    ]
    return [
        _sum("all_alike", receipts(EVEN), EVEN),
        _sum("uneven", receipts(uneven), uneven),
        _sum("one_missing", receipts(three), three),
        _sum("too_few", receipts(three)[:2], {}),
        _sum("none", [], {}),
        _sum("one_gives_nothing", receipts(stingy), stingy),
        _sum("one_boasts", receipts(boast), boast),
        _sum("one_boasts_and_one_is_missing", receipts(boast)[1:], dict(list(boast.items())[1:])),
        _sum("above_what_may_be_transferred", receipts(above), above),
        _sum("the_same_seat_twice", receipts(three)[:2] * 2, {}),
        _sum("largest_of_a_seat", largest, {**EVEN, 3: (150_000, 70_000)}),
        *(
            _sum(name, [*receipts(three), spoilt], three)
            for name, spoilt in {
                "of_another_epoch": seal(3, epoch=6, down_bytes=100_000),
                "of_another_provider": seal(3, provider=0, down_bytes=100_000),
                "of_another_shard": seal(3, shard=1, down_bytes=100_000),
                "of_a_seat_that_is_not": seal(4, down_bytes=100_000),
                "by_another_member": seal(
                    3, by=scene.checker_name(scene.holder(0, 0)), down_bytes=100_000
                ),
                "by_an_outsider": seal(3, by="somebody", down_bytes=100_000),
                "with_another_index": seal(3, checker=2, down_bytes=100_000),
                "of_another_kind": seal(3, kind=15, down_bytes=100_000),
                "that_is_none": b"receipt",
            }.items()
        ),
    ]


def _sum(name: str, sealed: Sequence[bytes], figures: Figures) -> Case:
    down, up = (
        ref.rate([pair[position] for pair in figures.values()], scene.SEATS, MOST, STAGE_MS)
        for position in (0, 1)
    )
    return {
        "name": name,
        "view": "usual",
        "epoch": scene.EPOCH,
        "transfer_bytes": MOST,
        "provider": 1,
        "receipts": [each.hex() for each in sealed],
        "down_bits_per_s": down,
        "up_bits_per_s": up,
    }


FILES: dict[str, Callable[[], list[Any]]] = {
    "transfers/pieces.json": pieces,
    "transfers/messages.json": messages,
    "transfers/sums.json": sums,
}


if __name__ == "__main__":
    write(FILES)
