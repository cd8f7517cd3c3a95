"""What the contracts should compute, written again in plain Python.

Lane by lane and value by value, without any of the contracts' bit tricks, so that a mistake in one
is not repeated in the other.
"""

from __future__ import annotations

from collections.abc import Sequence

from eth_utils import keccak

LANES = 256
MAX_SCORE = 2**15 - 1
CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

DOMAIN_TYPE = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
REPORT_TYPE = (
    b"Report(uint32 epoch,uint32 shard,uint256 online,uint256 fraud,"
    b"bytes32 scores,bytes32 evidence)"
)


def word(value: int) -> bytes:
    return value.to_bytes(32, "big")


def pack(scores: Sequence[int]) -> list[int]:
    """256 lanes into 16 words, little end first. Lanes may use all 16 bits, to test refusals."""
    assert len(scores) == LANES
    raw = b"".join(score.to_bytes(2, "little") for score in scores)
    return [int.from_bytes(raw[i : i + 32], "little") for i in range(0, 512, 32)]


def blocks(scores: Sequence[int]) -> list[list[int]]:
    """The same words in four blocks of four, as `submit` takes them."""
    words = pack(scores)
    return [words[i : i + 4] for i in range(0, 16, 4)]


def unpack(words: Sequence[int]) -> list[int]:
    raw = b"".join(w.to_bytes(32, "little") for w in words)
    return [int.from_bytes(raw[i : i + 2], "little") for i in range(0, 512, 2)]


def committee(seed: bytes, shard: int, slots: int, seats: int) -> list[int]:
    """Checker index of each seat."""

    def draw(x: int) -> int:
        return int.from_bytes(keccak(seed + word(shard << 16 | x)), "big")

    size = min(seats, slots)
    if size == 0:
        return []
    offset = draw(0xFFFF) % slots
    members = []
    for seat in range(size):
        lo, hi = seat * slots // size, (seat + 1) * slots // size
        members.append((offset + lo + draw(seat) % (hi - lo)) % slots)
    return members


def low_medians(vectors: Sequence[Sequence[int]]) -> list[int]:
    middle = (len(vectors) - 1) // 2
    return [sorted(lane)[middle] for lane in zip(*vectors, strict=True)]


def deviates(score: int, median: int, tolerance_shift: int) -> bool:
    score_half, median_half = score // 2, median // 2
    tolerance = median // 2 ** (1 + tolerance_shift)
    return score_half > median_half + tolerance or score_half + tolerance < median_half


def deviations(scores: Sequence[int], medians: Sequence[int], tolerance_shift: int) -> int:
    pairs = zip(scores, medians, strict=True)
    return sum(deviates(score, median, tolerance_shift) for score, median in pairs)


def weight(lanes: int, deviating: int) -> int:
    return 0 if 2 * deviating > lanes else lanes - deviating


def majority(bitmaps: Sequence[int]) -> int:
    """Bits set in more than half of the bitmaps."""
    result = 0
    for bit in range(LANES):
        votes = sum(bitmap >> bit & 1 for bitmap in bitmaps)
        if 2 * votes > len(bitmaps):
            result |= 1 << bit
    return result


def without_fraud(scores: Sequence[int], fraud: int) -> list[int]:
    return [0 if fraud >> lane & 1 else score for lane, score in enumerate(scores)]


def domain_separator(chain_id: int, contract: str) -> bytes:
    return keccak(
        keccak(DOMAIN_TYPE)
        + keccak(b"Kaisar")
        + keccak(b"1")
        + word(chain_id)
        + bytes(12)
        + bytes.fromhex(contract.removeprefix("0x"))
    )


def report_digest(
    domain: bytes,
    epoch: int,
    shard: int,
    online: int,
    fraud: int,
    words: Sequence[int],
    evidence: bytes,
) -> bytes:
    scores_hash = keccak(b"".join(word(w) for w in words))
    fields = word(epoch) + word(shard) + word(online) + word(fraud) + scores_hash + evidence
    return keccak(b"\x19\x01" + domain + keccak(keccak(REPORT_TYPE) + fields))
