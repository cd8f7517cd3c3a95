"""The wire and contract rules once more, written from docs/spec and from nothing in protocols/.

It favours the plainest form over speed and accepts whatever it is given: the vectors under
tests/vectors are made with it, valid and invalid ones alike, so that code and vectors can differ.
Signatures come from eth_account and libsodium.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from eth_account import Account
from eth_account.messages import SignableMessage, encode_typed_data
from eth_hash.auto import keccak
from nacl.signing import SigningKey

VERSION = 1

FORMS: dict[str, tuple[int, int, dict[str, str]]] = {
    "Announcement": (
        1,
        4096,
        {
            "role": "uint8",
            "wallet": "bytes[20]",
            "time": "uint64",
            "addresses": "list[8] of text[256]",
            "software": "text[32]",
        },
    ),
    "ChallengeAnnouncement": (
        2,
        128,
        {
            "epoch": "uint32",
            "shard": "uint32",
            "seat": "uint8",
            "checker": "uint16",
            "commitment": "bytes[32]",
        },
    ),
    "ReportMessage": (
        3,
        1024,
        {
            "epoch": "uint32",
            "shard": "uint32",
            "seat": "uint8",
            "checker": "uint16",
            "scores": "bytes[512]",
            "online": "bytes[32]",
            "fraud": "bytes[32]",
            "evidence": "bytes[32]",
            "secret": "bytes[32]",
            "salt": "bytes[32]",
            "wallet_signature": "bytes[65]",
        },
    ),
    "Job": (
        4,
        256,
        {
            "epoch": "uint32",
            "shard": "uint32",
            "seat": "uint8",
            "checker": "uint16",
            "provider": "uint32",
            "nonce": "bytes[32]",
            "k": "uint32",
            "n": "uint32",
            "window_ms": "uint32",
        },
    ),
    "Commitment": (
        5,
        10_240,
        {
            "job": "bytes[32]",
            "devices": "list[16] of bytes[48]",
            "receipts": "list[16] of bytes[0…512]",
        },
    ),
    "OpenRequest": (
        6,
        20_480,
        {
            "job": "bytes[32]",
            "rows": "list[16] of bytes[0…768]",
            "passes": "list[16] of bytes[0…256]",
            "chains": "bytes[0…256]",
        },
    ),
    "Openings": (
        7,
        16_777_216,
        {
            "job": "bytes[32]",
            "request": "bytes[32]",
            "rows": "list[16] of bytes[0…16777216]",
            "passes": "list[16] of bytes[0…65536]",
            "chains": "bytes[0…16384]",
        },
    ),
    "JobRefusal": (
        8,
        256,
        {"job": "bytes[32]", "code": "uint8", "detail": "text[128]", "lease": "uint64"},
    ),
    "ReportsRequest": (9, 64, {"epoch": "uint32", "shard": "uint32"}),
    "ReportsResponse": (10, 32_896, {"reports": "list[16] of bytes[0…2048]"}),
    "PassRequest": (11, 128, {"job": "bytes[32]", "nonce": "bytes[32]", "window_ms": "uint32"}),
    "Passes": (
        12,
        1024,
        {"job": "bytes[32]", "request": "bytes[32]", "devices": "list[16] of bytes[36]"},
    ),
    "ChainRequest": (13, 128, {"job": "bytes[32]", "nonce": "bytes[32]", "window_ms": "uint32"}),
    "Chains": (
        14,
        18_560,
        {"job": "bytes[32]", "request": "bytes[32]", "chains": "bytes[0…18432]"},
    ),
    "ReportCommitment": (
        20,
        128,
        {
            "epoch": "uint32",
            "shard": "uint32",
            "seat": "uint8",
            "checker": "uint16",
            "commitment": "bytes[32]",
        },
    ),
    "AuditRequest": (21, 64, {"epoch": "uint32", "shard": "uint32", "lane": "uint8"}),
    "AuditResponse": (
        22,
        16_776_960,
        {"path": "bytes[0…256]", "messages": "list[8] of bytes[0…16776960]"},
    ),
    "LeaseAccess": (
        30,
        256,
        {
            "lease": "uint64",
            "peer": "bytes[32]",
            "time": "uint64",
            "nonce": "bytes[16]",
            "purpose": "uint8",
            "request": "bytes[32]",
        },
    ),
    "LeaseAnswer": (31, 512, {"access": "bytes[32]", "code": "uint8", "detail": "text[200]"}),
    "DeployRequest": (32, 128, {"template": "text[64]"}),
    "StatusRequest": (33, 16, {}),
    "RunRequest": (
        34,
        266_304,
        {
            "argv": "bytes[0…131072]",
            "environment": "bytes[0…131072]",
            "directory": "bytes[0…4096]",
            "rows": "uint16",
            "columns": "uint16",
            "detached": "uint1",
        },
    ),
    "UploadRequest": (35, 4160, {"path": "bytes[0…4096]", "files": "uint32", "size": "uint64"}),
    "FetchRequest": (36, 4160, {"path": "bytes[0…4096]"}),
    "ForwardRequest": (37, 16, {"port": "uint16"}),
    "LogsRequest": (38, 32, {"tail": "uint32", "follow": "uint1"}),
}
"""Number, cap of the body in bytes and fields of each message, as docs/spec/messages.md has them,
and of those of a lease docs/spec/leases.md.

`text[n]` is printable ASCII of at most n characters, `list[n]` an array of at most n items.
"""


def pack(value: Any) -> bytes:
    """Canonical msgpack of integers, bytes, text and arrays."""
    if isinstance(value, int):
        return _pack_uint(value)
    if isinstance(value, bytes):
        return _pack_sized(value, ((1 << 8, b"\xc4"), (1 << 16, b"\xc5"), (1 << 32, b"\xc6")))
    if isinstance(value, str):
        data = value.encode()
        if len(data) < 32:
            return bytes([0xA0 | len(data)]) + data
        return _pack_sized(data, ((1 << 8, b"\xd9"), (1 << 16, b"\xda"), (1 << 32, b"\xdb")))
    items = b"".join(pack(item) for item in value)
    if len(value) < 16:
        return bytes([0x90 | len(value)]) + items
    return b"\xdc" + len(value).to_bytes(2, "big") + items


def _pack_uint(value: int) -> bytes:
    if value < 0x80:
        return bytes([value])
    for size, head in ((1, b"\xcc"), (2, b"\xcd"), (4, b"\xce"), (8, b"\xcf")):
        if value < 1 << 8 * size:
            return head + value.to_bytes(size, "big")
    raise AssertionError(value)


def _pack_sized(data: bytes, heads: Sequence[tuple[int, bytes]]) -> bytes:
    for position, (limit, head) in enumerate(heads):
        if len(data) < limit:
            return head + len(data).to_bytes(1 << position, "big") + data
    raise AssertionError(len(data))


def body(name: str, fields: Mapping[str, Any]) -> bytes:
    """Encoded body of a message, whatever its fields hold."""
    return pack([fields[field] for field in FORMS[name][2]])


def message_digest(message: bytes) -> bytes:
    """Name of a message: the hash of its body."""
    return bytes(keccak(message))


def signed_bytes(kind: int, network: bytes, message: bytes) -> bytes:
    """What the signature of an envelope covers."""
    return b"kaisar/message/" + bytes([VERSION]) + kind.to_bytes(2, "big") + network + message


def sign(key: SigningKey, kind: int, network: bytes, message: bytes) -> bytes:
    """Signature of an envelope."""
    return key.sign(signed_bytes(kind, network, message)).signature


def seal(key: SigningKey, network: bytes, name: str, fields: Mapping[str, Any]) -> bytes:
    """A message in its envelope."""
    kind, message = FORMS[name][0], body(name, fields)
    signature = sign(key, kind, network, message)
    return pack([VERSION, kind, network, bytes(key.verify_key), message, signature])


def network_id(chain_id: int, consensus: bytes) -> bytes:
    """Network id of a deployment."""
    return keccak(b"kaisar/network/1" + chain_id.to_bytes(32, "big") + consensus)


def binding(key: SigningKey, chain_id: int, registry: bytes, wallet: bytes) -> bytes:
    """What a registration carries to bind a wallet to a node key."""
    return key.sign(
        b"kaisar/binding/1" + chain_id.to_bytes(32, "big") + registry + wallet
    ).signature


def challenge_commitment(secret: bytes) -> bytes:
    """Commitment in a challenge announcement."""
    return keccak(b"kaisar/challenge/1" + secret)


def report_commitment(wallet_address: bytes, digest: bytes, salt: bytes) -> bytes:
    """Commitment to a report, before it is shown."""
    return keccak(b"kaisar/report-commitment/1" + wallet_address + digest + salt)


def job_nonce(secret: bytes, provider: bytes) -> bytes:
    """Nonce of one provider's job."""
    return keccak(b"kaisar/job-nonce/1" + secret + provider)


def draw(seed: bytes, number: int) -> int:
    """One draw out of an epoch's seed."""
    return int.from_bytes(keccak(seed + number.to_bytes(32, "big")), "big")


def committee(seed: bytes, shard: int, slots: int, seats: int) -> list[int]:
    """Checker index of each seat, as the contract finds it."""
    k = min(seats, slots)
    members = []
    for seat in range(k):
        offset = draw(seed, shard << 16 | 0xFFFF) % slots
        low, high = seat * slots // k, (seat + 1) * slots // k
        position = low + draw(seed, shard << 16 | seat) % (high - low)
        members.append((offset + position) % slots)
    return members


def transmission_order(seed: bytes, shard: int, seats: int) -> list[int]:
    """Seats in the order in which they send the bundle."""
    ranks = {seat: draw(seed, 1 << 64 | shard << 16 | seat) for seat in range(seats)}
    return sorted(ranks, key=lambda seat: ranks[seat])


def score_bytes(scores: Sequence[int]) -> bytes:
    """256 scores as the 512 bytes of a report: lane 0 in the last two bytes of the first word."""
    data = bytearray(512)
    for lane, score in enumerate(scores):
        end = 32 * (lane // 16) + 32 - 2 * (lane % 16)
        data[end - 2 : end] = score.to_bytes(2, "big")
    return bytes(data)


def typed_report(chain_id: int, consensus: bytes, report: Mapping[str, Any]) -> SignableMessage:
    """A report as EIP-712 typed data."""
    return encode_typed_data(
        {"name": "Kaisar", "version": "1", "chainId": chain_id, "verifyingContract": consensus},
        {
            "Report": [
                {"name": "epoch", "type": "uint32"},
                {"name": "shard", "type": "uint32"},
                {"name": "online", "type": "uint256"},
                {"name": "fraud", "type": "uint256"},
                {"name": "scores", "type": "bytes32"},
                {"name": "evidence", "type": "bytes32"},
            ]
        },
        {**report, "scores": keccak(score_bytes(report["scores"]))},
    )


def typed_digest(message: SignableMessage) -> bytes:
    """The 32 bytes that a wallet signs for typed data."""
    return keccak(b"\x19" + message.version + message.header + message.body)


def sign_report(private_key: bytes, message: SignableMessage) -> bytes:
    """65-byte signature of a report."""
    return bytes(Account.sign_message(message, private_key).signature)


def wallet(private_key: bytes) -> bytes:
    """Address of a wallet."""
    return bytes.fromhex(Account.from_key(private_key).address[2:])


def deviates(score: int, median: int, shift: int) -> bool:
    """Whether the halves of score and median are further apart than the tolerance."""
    return bool(abs(score // 2 - median // 2) > median // 2 ** (1 + shift))


def agree(
    scores: Sequence[Sequence[int]],
    online: Sequence[int],
    fraud: Sequence[int],
    shift: int,
) -> dict[str, Any]:
    """Consensus of reports, given as one entry per report of each argument; lane by lane."""
    count = len(scores)
    result: dict[str, Any] = {
        "medians": [],
        "scores": [],
        "online": 0,
        "fraud": 0,
        "deviations": [0] * count,
    }
    for lane in range(256):
        column = [report[lane] for report in scores]
        # The low median: the least value that at least half of the values do not exceed.
        median = min(v for v in column if 2 * sum(other <= v for other in column) >= count)
        guilty = 2 * sum((bitmap >> lane) % 2 for bitmap in fraud) > count
        present = 2 * sum((bitmap >> lane) % 2 for bitmap in online) > count
        result["medians"].append(median)
        result["scores"].append(0 if guilty else median)
        result["fraud"] += 2**lane * guilty
        result["online"] += 2**lane * present
        for position, value in enumerate(column):
            result["deviations"][position] += deviates(value, median, shift)
    return result


def score(uptime: int, validity: int, stake: int, max_stake: int, terms: Mapping[str, int]) -> int:
    """Kaisar's Worker_Score with factors and terms in thousandths, clamped to 15 bits."""
    weights = {"bandwidth": 2, "cpu": 1, "gpu": 3, "disk": 1, "memory": 1}
    stake_milli = 1000 + min(stake, max_stake) * 1000 // max_stake
    exact = (
        100
        * Fraction(uptime, 1000)
        * Fraction(validity, 1000)
        * Fraction(stake_milli, 1000)
        * sum((Fraction(weights[name] * points, 1000) for name, points in terms.items()))
    )
    half_up = (exact + Fraction(1, 2)).__floor__()
    return min(0x7FFF, half_up)
